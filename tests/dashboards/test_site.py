"""Tests of the pages as files: complete, self-contained, safe, and replaced as a whole."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from drawn_records import HOSTILE, QUOTES, make_run, make_sweep, make_trials
from drawn_store import add_run, add_sweep
from PIL import Image
from wsss.dashboards.content import gallery, image_scores
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.layers import seed
from wsss.dashboards.figures.parallel_coordinates import parallel_coordinates
from wsss.dashboards.figures.sensitivity import sensitivity
from wsss.dashboards.pages.layout import POLICY
from wsss.dashboards.pages.papers import leaderboard, tables
from wsss.dashboards.site import Site
from wsss.platform.cli import main
from wsss.platform.data.formats import label_maps, shards
from wsss.platform.data.images import decode_image, decode_mask
from wsss.platform.errors import InputError
from wsss.platform.metrics import ConfusionMatrix
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import RunRecord, SpeedRecord, SpeedRow, read_run
from wsss.platform.storage import filesystem
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store
from wsss.platform.tuning import spaces
from wsss.platform.tuning.search import grid

TUNE_SPACES = Path(__file__).parents[2] / "tune_spaces"

CAM, LPCAM = ResultId(localizer="cam"), ResultId(localizer="lpcam")


class Document(HTMLParser):
    """Elements of a page and the files that they name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def files(self) -> list[str]:
        names = [a.get("src") or a.get("href") for t, a in self.tags]
        return [n.partition("?")[0] for n in names if n and not n.startswith(("#", "data:"))]


def value_of(script: bytes | str | None) -> object:
    """Return the value that a script adds."""
    text = script.decode() if isinstance(script, bytes) else script or ""
    return json.loads("[" + text.removeprefix("wsss.add(").removesuffix(");\n") + "]")[2]


def run_of(store: Store, name: str = "run-0") -> RunRecord:
    return read_run(store.root / "runs" / name / "run.json")


def add_hostile(store: Store) -> None:
    """Add a run and a sweep whose every text is an attack."""
    classes = ("background", HOSTILE, QUOTES, "</style>", "&amp;", "moth", "x" * 200)
    add_run(store, dataclasses.replace(
        make_run(classes, name="hostile"), command=QUOTES, machine=HOSTILE, dataset=QUOTES,
        method=HOSTILE, experiment={HOSTILE: QUOTES}, versions={QUOTES: HOSTILE},
    ))  # fmt: skip
    sweep = make_sweep(24)
    params = {QUOTES: HOSTILE, "lpcam.K": 6, "lpcam.tau": 0.1}
    odd = dataclasses.replace(sweep.trials[0], params=params, error=f"{HOSTILE}\n{QUOTES}")
    space = {**sweep.space, QUOTES: [HOSTILE, "b"]}
    write_json(
        store.root / "sweeps" / "hostile" / "sweep.json",
        dataclasses.replace(
            sweep, split=HOSTILE, space=space, method=QUOTES, trials=(odd, *sweep.trials[1:])
        ),
    )


def test_a_report_is_whole_and_loads_nothing_from_elsewhere(store: Store, tmp_path: Path) -> None:
    add_sweep(store)
    out = Site(store, images=16).write(tmp_path / "report").parent
    pages = sorted(out.glob("*.html"))
    assert {p.name for p in pages} == {
        "index.html", "compare.html", "papers.html", "sweep.sweep-0.html",
        *(f"{kind}.run-{k}.html" for kind in ("run", "images", "prototypes") for k in (0, 1)),
    }  # fmt: skip
    for page in pages:
        for name in Document(page.read_text()).files():
            assert not re.match(r"[a-z]+:|//", name)
            assert (out / name).is_file(), (page.name, name)
    for file in [*out.glob("*.html"), *out.glob("*.js"), *out.glob("*.css")]:
        if file.name != "plotly.min.js":
            assert not re.search(r"https?://", file.read_text()), file.name
    assert not (out / "live.js").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report", "store"]


def test_a_report_of_one_run_has_no_dead_links(store: Store, tmp_path: Path) -> None:
    out = Site(store, runs=["run-1"], sweeps=[], images=16).write(tmp_path / "report").parent
    for page in out.glob("*.html"):
        for name in Document(page.read_text()).files():
            assert (out / name).is_file(), (page.name, name)


def test_a_run_whose_data_set_is_gone_keeps_its_scores(store: Store, tmp_path: Path) -> None:
    run = run_of(store)
    shutil.rmtree(store.folder("shards", run.shards))
    out = Site(store).write(tmp_path / "report").parent
    assert "LPCAM" in (out / "run.run-0.html").read_text()
    assert not list(out.glob("prototypes*"))


@pytest.mark.parametrize("path", sorted(TUNE_SPACES.glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_the_page_of_every_search_space_lists_its_trials(store: Store, path: Path) -> None:
    """The kind of the values does not matter, nor do trials that failed."""
    name = "lpcam" if path.stem == "common" else path.stem
    for title, space in spaces._spaces_of_method(name).items():
        listed = {field: list(values) for field, values in space.items()}
        points = list(itertools.islice(grid(listed), 40))
        trials = [
            dataclasses.replace(t, params=p)
            for t, p in zip(make_trials(len(points)), points, strict=True)
        ]
        record = dataclasses.replace(
            make_sweep(0), name=title, space=listed, default=points[0], trials=tuple(trials)
        )
        write_json(store.root / "sweeps" / title / "sweep.json", record)
        text = (Site(store).file(f"sweep.{title}.html") or b"").decode()
        assert text.count('class="pill') >= len(points)


def test_fields_with_one_last_name_stay_apart_on_the_page_of_a_sweep(store: Store) -> None:
    """Each field keeps its own column, panel and axis, under a label that identifies it."""
    space = {"training.lr": [0.1, 0.2], "segment.training.lr": [0.01, 0.02], "lpcam.tau": [0.1]}
    points = list(grid(space))
    trials = tuple(
        dataclasses.replace(trial, params=point)
        for trial, point in zip(make_trials(4), points, strict=True)
    )
    record = dataclasses.replace(
        make_sweep(4), name="rates", space=space, default=points[0], trials=trials
    )
    write_json(store.root / "sweeps" / "rates" / "sweep.json", record)
    text = (Site(store).file("sweep.rates.html") or b"").decode()
    for label in ("training.lr", "segment.training.lr", "tau"):
        assert f'<button type="button">{label}</button>' in text
    assert "<dd>tau 0.1, segment.training.lr 0.01, training.lr 0.1</dd>" in text
    axes = parallel_coordinates(record)["layout"]["xaxis"]["ticktext"]
    field_titles = ["training.<br>lr", "segment.<br>training.<br>lr", "tau"]
    assert axes == [f"<b>{title}</b>" for title in (*field_titles, "mIoU %")]
    panels = sensitivity(record)["layout"]
    titles = [panels[axis]["title"]["text"] for axis in ("xaxis", "xaxis2", "xaxis3")]
    assert titles == field_titles


def test_boundaries_are_files_of_the_maps_that_used_them(store: Store) -> None:
    site, run = Site(store), run_of(store)
    edge_paths = [p for p in site.paths() if p.endswith(".edges.png")]
    runs = (run, run_of(store, "run-1"))
    keys = {key[:16] for r in runs for key in r.maps[LPCAM].values()}
    assert {p.split("/")[1] for p in edge_paths} == keys
    piece = shards.slices(store.open("shards", run.shards), "val")[0]
    folder = store.open("maps", run.maps[LPCAM]["val"]).folder
    id, levels = next(
        iter(label_maps.read(label_maps.file_of_slice(folder, piece, label_maps.EDGES)).items())
    )
    maps_key = run.maps[LPCAM]["val"][:16]
    picture = Image.open(io.BytesIO(site.file(f"layers/{maps_key}/{id}.edges.png") or b""))
    np.testing.assert_array_equal(np.array(picture), levels)
    assert site.file(f"layers/{run.maps[CAM]['val'][:16]}/{id}.edges.png") is None
    shutil.rmtree(folder)
    index = value_of(Site(store).file(f"data/{run.name}/val/index.js"))
    assert isinstance(index, dict)
    assert not any(source["edges"] for source in index["sources"])


def test_a_sweep_shows_its_best_and_untuned_run_on_all_splits(store: Store) -> None:
    sweep = dataclasses.replace(make_sweep(8), run="run-0", untuned="run-1")
    write_json(store.root / "sweeps" / sweep.name / "sweep.json", sweep)
    path = f"sweep.{sweep.name}.html"
    text = (Site(store).file(path) or b"").decode()
    rows = re.findall(r"<tr>.*?</tr>", text.partition('id="trials"')[0], re.DOTALL)
    for label in ("untuned", "best"):
        listed = [row for row in rows if f"LPCAM, {label}" in row]
        assert [any(f">{s}<" in row for row in listed) for s in ("train", "val")] == [True, True]
        assert any(f"LPCAM, DenseCRF, {label}" in row for row in rows)
    assert {"run.run-0.html", "run.run-1.html"} <= set(Document(text).files())
    (store.root / "runs" / "run-1" / "run.json").write_text('{"half')
    broken = (Site(store).file(path) or b"").decode()
    assert "LPCAM, best trial" in broken
    assert "run.run-1.html" not in Document(broken).files()
    alone = (Site(store, runs=[]).file(path) or b"").decode()
    assert "LPCAM, best trial" in alone
    assert not {"run.run-0.html", "run.run-1.html"} & set(Document(alone).files())


def test_speeds_are_listed_by_machine_and_over_time(store: Store) -> None:
    site = Site(store)
    assert "speed.html" not in set(site.paths())
    assert site.file("speed.html") is None
    assert b"speed.html" not in (site.file("index.html") or b"")
    for number, machine in ((1, "2 cores"), (2, "2 cores"), (3, "a <b>GPU</b>")):
        rows = (
            SpeedRow(stage="walk", unit="images/s", ours=6.0 * number, peer=2.0, limit=0.5),
            SpeedRow(stage="alone", unit="images/s", ours=1.0),
        )
        started = f"2026-01-0{number}T00:00:00+00:00"
        record = SpeedRecord(name=str(number), started=started, machine=machine, rows=rows)
        write_json(store.root / "speeds" / f"{number}.json", record)
    filesystem.write(store.root / "speeds" / "4.json", b"{}")
    assert "speed.html" in set(site.paths())
    page = (site.file("speed.html") or b"").decode()
    assert page.count("<table") == 2
    assert 'data-v="6.0"' in page  # 12 against 2 images/s, the newest of the machine
    assert page.count('class="plot"') == 1
    assert "<b>GPU" not in page
    assert "4.json" in (site.file("index.html") or b"").decode()
    assert "speed.html" not in set(Site(store, runs=[], sweeps=[]).paths())


def test_every_page_has_the_policy_and_no_inline_script(store: Store) -> None:
    add_sweep(store)
    site = Site(store)
    for path in site.paths():
        if not path.endswith(".html"):
            continue
        page = Document((site.file(path) or b"").decode())
        assert [a["content"] for t, a in page.tags if a.get("http-equiv")] == [POLICY]
        for tag, attributes in page.tags:
            if tag == "script":
                assert attributes.get("src") or attributes.get("type") == "application/json"
            assert tag != "style"
            assert not any(name.startswith("on") for name in attributes)
    assert POLICY.startswith("default-src 'none'; script-src 'self';")


def test_a_site_of_one_run_or_one_sweep_has_no_other_pages(store: Store) -> None:
    add_sweep(store)
    paths = set(Site(store, runs=["run-1"], sweeps=[], images=16).paths())
    assert "run.run-1.html" in paths
    assert not {"run.run-0.html", "compare.html", "sweep.sweep-0.html"} & paths
    site = Site(store, runs=[], sweeps=["sweep-0"])
    assert {"index.html", "sweep.sweep-0.html"} <= set(site.paths())
    assert site.file("run.run-1.html") is None


@pytest.mark.parametrize("count", [0, 1, 500])
def test_the_page_of_a_sweep_counts_any_number_of_trials(store: Store, count: int) -> None:
    add_sweep(store, count)
    text = (Site(store).file("sweep.sweep-0.html") or b"").decode()
    assert f"{count} trial{'s' * (count != 1)} of LPCAM on scenes" in text


def test_a_sweep_of_failed_trials_names_the_errors(store: Store) -> None:
    add_sweep(store, 24, fail=lambda k: True)
    text = (Site(store).file("sweep.sweep-0.html") or b"").decode()
    assert text.count('<span class="pill bad">failed</span>') == 24
    assert text.count("<td>K must be at least 1 &lt;script&gt;") == 24


def test_an_empty_store_has_an_overview(tmp_path: Path) -> None:
    site = Site(Store(tmp_path / "nothing"))
    assert b"no run yet" in (site.file("index.html") or b"")
    assert {"index.html", "papers.html"} <= set(site.paths())


def test_a_damaged_record_is_named_and_hides_no_other_record(store: Store) -> None:
    (store.root / "runs" / "run-0" / "run.json").write_text('{"scores": {}}')
    text = (Site(store).file("index.html") or b"").decode()
    assert "cannot be read by this version" in text
    assert "run.run-1.html" in text


def test_hostile_texts_are_escaped(store: Store) -> None:
    add_hostile(store)
    site = Site(store)
    for path in ("index.html", "compare.html", "run.hostile.html", "sweep.hostile.html"):
        text = (site.file(path) or b"").decode()
        for raw in (HOSTILE, QUOTES, "<img src=x", "</style>"):
            assert raw not in text, path
        tags = Document(text).tags
        assert sum(t == "script" for t, _ in tags) == text.count("</script>")
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    "path",
    [
        "../store/runs/run-0/run.json", "runs/run-0/run.json", "run...html", "run.%2e%2e.html",
        "data/../run.js", "data/run-0/run.json", "data/run-0/val/999.js", "data/run-0/../index.js",
        "layers/../x.jpg", "examples/../x.jpg", "examples/0000000000000000.jpg",
        "data/run-0/../example.js", "data/run-0/train/../sizes.js", "data/run-0/nobody/sizes.js",
        "layers/0000000000000000/a.jpg", "", ".", "app.js/", "papers.json",
        "live.js", "run.nobody.html", "images.nobody.html", "sweep.run-0.html", "\x00.html",
    ],
)  # fmt: skip
def test_a_site_has_no_files_but_its_pages(scenes: Path, path: str) -> None:
    assert Site(Store(scenes)).file(path) is None


def test_pictures_are_found_by_artifact_and_image(scenes: Path) -> None:
    site, run = Site(Store(scenes)), run_of(Store(scenes))
    images = gallery.Gallery(site.artifacts, run, "val")
    paths = list(images.layers())
    assert len(paths) == 20 * (2 + 3 + 4 + 1 + 1)
    for path in paths[:20]:
        picture = site.file(path)
        assert picture is not None, path
        assert picture[:4] in (b"\xff\xd8\xff\xe0", b"\x89PNG", b"wsss")
        stem, _, _ = path.rpartition("/")
        assert site.file(f"{stem}/nobody.jpg") is None


def test_each_prototype_has_a_strip_of_its_closest_images(scenes: Path) -> None:
    """The images of a strip are cut around the position that is closest to the prototype."""
    store = Store(scenes)
    run, site, artifacts = run_of(store), Site(store), ArtifactCache(store)
    document = Document((site.file("prototypes.run-0.html") or b"").decode())
    pictures = [a for t, a in document.tags if t == "img"]
    patches_of = artifacts.patches(run.maps[LPCAM]["train"])
    assert len(pictures) == len(patches_of) > 2
    (value, number), patches = min(patches_of.items())
    assert [p.cosine for p in patches] == sorted((p.cosine for p in patches), reverse=True)
    attributes = pictures[0]
    assert patches[0].id in str(attributes["alt"])
    strip = Image.open(io.BytesIO(site.file(str(attributes["src"])) or b""))
    assert strip.size == (96 * len(patches[:6]), 96)
    row = artifacts.images(run.shards, artifacts.slice_of(run.shards, patches[0].id))[patches[0].id]
    image = decode_image(row["image"], "a")
    center = [int(v * n) for v, n in zip((patches[0].y, patches[0].x), image.shape, strict=False)]
    expected = np.zeros((96, 96, 3))
    for y, x in np.ndindex(*image.shape[:2]):
        position = (48 - center[0] + y, 48 - center[1] + x)
        if min(position) >= 0 and max(position) < 94:
            expected[position] = image[y, x]
    difference = np.abs(np.asarray(strip)[:, :94] - expected[:, :94]).mean(-1)
    difference[38:58, 38:58] = 0  # the box in the middle
    assert np.mean(difference > 40) < 0.02
    assert site.file(f"prototypes/{run.maps[LPCAM]['train'][:16]}/{value}.77.jpg") is None
    assert site.file(f"prototypes/{run.shards[:16]}/{value}.{number}.jpg") is None


def test_limited_images_are_spread_over_the_split(scenes: Path) -> None:
    site, run = Site(Store(scenes)), run_of(Store(scenes))
    few = gallery.Gallery(site.artifacts, run, "val", limit=10)
    every = gallery.Gallery(site.artifacts, run, "val")
    assert len(every.ids()) == 20
    assert 10 <= len(few.ids()) < 20
    assert set(few.ids()) < set(every.ids())


def test_a_chunk_holds_the_scores_of_its_images(scenes: Path) -> None:
    store = Store(scenes)
    site, run = Site(store), run_of(store)
    index = value_of(site.file("data/run-0/val/index.js"))
    rows = value_of(site.file("data/run-0/val/0.js"))
    assert isinstance(index, dict)
    assert isinstance(rows, list)
    assert [s["title"] for s in index["sources"]] == ["CAM", "LPCAM", "LPCAM, DenseCRF"]
    assert index["chunks"] == [len(rows)]
    artifacts = ArtifactCache(store)
    position = 7
    id = index["ids"][position]
    piece = artifacts.slice_of(run.shards, id)
    row = artifacts.images(run.shards, piece)[id]
    target = decode_mask(row["mask"], id)
    prediction = seed(
        artifacts.maps(run.maps[LPCAM]["val"], piece)[id], index["sources"][1]["threshold"]
    )
    matrix = ConfusionMatrix(7)
    matrix.update(target, prediction)
    height, width, classes, figures = rows[position]
    assert (height, width) == target.shape
    assert classes == [c + 1 for c in row["labels"]]
    assert figures[1][0] == pytest.approx(matrix.mean_iou(), abs=1e-4)
    wrong = int((target != prediction)[target != 255].sum()) / int((target != 255).sum())
    assert sum(figures[1][1:]) == pytest.approx(wrong, abs=2e-4)


def test_a_set_of_image_scores_is_computed_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Site(store).file("data/run-0/val/0.js")

    def never(*_: object) -> None:
        raise AssertionError("judged again")

    monkeypatch.setattr(image_scores, "score_of_image", never)
    assert Site(store).file("data/run-0/val/0.js") == first


def test_the_figure_of_sizes_names_their_bounds_and_objects(scenes: Path) -> None:
    site = Site(Store(scenes))
    figure = value_of(site.file("data/run-0/val/sizes.js"))
    assert isinstance(figure, dict)
    assert [trace["name"] for trace in figure["data"]] == ["CAM", "LPCAM", "LPCAM, DenseCRF"]
    ticks = figure["layout"]["yaxis"]["ticktext"]
    assert [tick.split("<br>")[0] for tick in ticks] == ["small", "medium", "large"]
    objects = [int(tick.split("<br>")[2].split()[0]) for tick in ticks]
    rows = value_of(site.file("data/run-0/val/0.js"))
    assert isinstance(rows, list)
    assert sum(objects) == sum(len(row[2]) for row in rows)
    assert "thirds of the objects" in figure["layout"]["title"]["subtitle"]["text"]
    page = Document((site.file("run.run-0.html") or b"").decode())
    figures = [a for t, a in page.tags if t == "figure"]
    files = [a.get("data-file") for a in figures]
    at = files.index("data/run-0/val/sizes.js")
    assert figures[at - 1]["aria-label"] == "IoU % by class"


def test_an_earlier_report_is_replaced_and_nothing_else(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "report"
    for name in ("run-0", "run-1"):
        Site(store, runs=[name], sweeps=[], images=16).write(out)
    assert (out / "run.run-1.html").exists()
    assert not (out / "run.run-0.html").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="something other"):
        Site(store).write(other)
    with pytest.raises(InputError, match="is a file"):
        Site(store).write(other / "thesis.tex")
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]


def test_a_report_that_fails_leaves_the_earlier_report(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "report"
    before = Site(store, runs=["run-0"], sweeps=[], images=16).write(out).read_text()
    key = run_of(store, "run-1").maps[CAM]["val"]
    next(store.folder("maps", key).glob("*.parquet")).write_bytes(b"broken")
    with pytest.raises(InputError, match="no intact artifact"):
        Site(store, images=16).write(out)
    assert (out / "index.html").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report", "store"]


def test_the_command_says_which_page_to_open(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_sweep(store)
    for words, page in (
        ((), "index.html"),
        (("--run", "run-1"), "run.run-1.html"),
        (("--sweep", "sweep-0"), "sweep.sweep-0.html"),
    ):
        out = tmp_path / page
        command = ["report", str(out), "--store", str(store.root), "--images", "16", *words]
        assert main(command) == 0
        assert capsys.readouterr().out == f"page: {(out / page).as_uri()}\n"
        assert (out / page).is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("dashboard", "--store", "nowhere"), "there is no store "),
        (("report", "out", "--run", "../x"), "'../x' is not allowed"),
        (("report", "out", "--sweep", "gone"), "there is no "),
        (("report", "store", "--single-file"), "store is a folder"),
        (("report", "store/data/scenes.json", "--single-file"), "something other than a report"),
    ],
)
def test_bad_input_is_one_sentence_and_code_two(
    store: Store,
    words: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(store.root.parent)
    data_file = store.root / "data" / "scenes.json"
    data_file.parent.mkdir(exist_ok=True)
    data_file.write_text("{}")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not Path("out").exists()
    assert data_file.read_text() == "{}"


def test_a_report_in_one_file_replaces_an_earlier_one(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report holds every file of the site unchanged."""
    out = tmp_path / "new" / "report.html"
    command = ["report", str(out), "--store", str(store.root), "--run", "run-1", "--single-file"]
    for _ in range(2):
        assert main(command) == 0
    assert capsys.readouterr().out == 2 * f"page: {out.as_uri()}\n"
    site = Site(store, runs=["run-1"], sweeps=[])
    content = dict(re.findall(r'data-path="([^"]+)">([^<]*)<', out.read_text()))
    assert set(content) == set(site.paths())
    for path in ("run.run-1.html", "plotly.min.js", min(p for p in content if p.endswith(".jpg"))):
        assert base64.b64decode(content[path]) == site.file(path)
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]


def test_each_figure_of_the_leaderboard_is_in_the_table_that_it_cites() -> None:
    table_of = {(t["paper"], t["table"]): t for t in tables()}
    assert len(table_of) == len(tables())
    assert {p for p, _ in table_of} == {"lpcam", "sipe", "cpal", "psdpm", "ssc"}
    for t in tables():
        assert all(len(row) == len(t["columns"]) for row in t["rows"]), t["caption"]
    for line in leaderboard():
        for value in line.figures.values():
            cited = re.findall(r"(\w+) paper, Table ([\w, ]+)", line.sources)
            rows = [
                row
                for paper, numbers in cited
                for number in numbers.split(", ")
                for row in table_of[paper.lower(), number]["rows"]
            ]
            assert any(value in row for row in rows), (line, value)


def test_rows_of_the_store_are_marked_as_other_data(scenes: Path) -> None:
    text = (Site(Store(scenes)).file("index.html") or b"").decode()
    board = text[text.index('id="leaderboard"') :]
    assert "other data: scenes" in board
    assert board.count("VOC 2012, COCO 2014") == len(leaderboard())
