"""Tests of runs on images without masks: plans, thresholds, labels, lines, tables and pages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from in_process import stages_in_process
from small_jobs import CHAIN, SMALL, SMALL_WORDS
from wsss.dashboards.site import Site
from wsss.platform.api import open_run
from wsss.platform.cli import main
from wsss.platform.config.fields import dataclass
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, label_maps
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.data.sources.source import Item, Record
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.plan import Plan
from wsss.platform.pipeline.planner import plan
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import RunRecord, read_run
from wsss.platform.stages.labels.pseudo_labels import Cut, seed_labels
from wsss.platform.storage.store import Store

REASON = "because no image of train or val of data set 'mine' has a mask"


@dataclass(frozen=True, kw_only=True)
class Unmasked(Scenes):
    """Drawn scenes without the masks of some splits."""

    unmasked: ClassVar[tuple[str, ...]] = ("train", "val")

    def load(self, item: Item) -> Record:
        record = super().load(item)
        without = {"mask": None, "parts": None} if item.split in self.unmasked else {}
        return dataclasses.replace(record, **without)

    def fingerprint(self) -> str:
        return f"{super().fingerprint()[:-1]}{len(self.unmasked)}"


@dataclass(frozen=True, kw_only=True)
class HalfMasked(Unmasked):
    """Drawn scenes of which val alone has masks."""

    unmasked: ClassVar[tuple[str, ...]] = ("train",)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store with the data sets `mine`, without masks, and `half`, with masks of val."""
    made = Store(tmp_path_factory.mktemp("unscored"))
    with stages_in_process():
        registry.add(made, Unmasked(train=12, val=4), "mine", ProgressDisplay())
        registry.add(made, HalfMasked(train=12, val=4), "half", ProgressDisplay())
    return made


def planned(store: Store, method: str = "lpcam", data: str = "mine", **changes: Any) -> Plan:
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    made = build_experiment(method, preset="scenes", changes={"data": data, **SMALL, **fields})
    return plan(made, Catalog(store, False))


@pytest.mark.parametrize(
    ("method", "changes", "published"),
    [
        ("lpcam", {}, {"threshold": 0.3}),
        ("lpcam", {"refine__threshold": 0.2}, {}),
        ("cam", {"refine__kind": "crf"}, {"threshold": 0.15}),
        (
            "lpcam",
            {"refine__kind": "irn"},
            {"foreground": 0.45, "background": 0.25, "final": 0.35},
        ),
        (
            "ssc",
            {"refine__kind": "irn", "refine__foreground": 0.4, "refine__final": 0.5},
            {"background": 0.1},
        ),
        ("cam", {"refine__kind": "irn", "refine__threshold": 0.2}, {"final": 0.25}),
        ("sipe", {"refine__kind": "crf"}, {}),
        ("sipe", {"refine__kind": "irn"}, {"final": 0.25}),
        ("sipe", {"refine__kind": "irn", "refine__walk_background": True}, {}),
    ],
)
def test_published_thresholds_stand_in_for_chosen_ones(
    store: Store, method: str, changes: dict[str, Any], published: dict[str, float]
) -> None:
    made = planned(store, method, **changes)
    assert made.published == published
    given = {name.split("__")[1]: value for name, value in changes.items()}
    refine = made.experiment.refine
    for name, value in {**given, **published}.items():
        assert getattr(refine, name) == value
    assert not any(made.scores.values())
    assert not any(stage.name == "scores" for stage in made.stages)


def test_the_same_thresholds_given_by_hand_are_the_same_stages(store: Store) -> None:
    filled = planned(store, refine__kind="irn", segment__network="deeplabv2")
    values = {f"refine__{name}": value for name, value in filled.published.items()}
    given = planned(store, refine__kind="irn", segment__network="deeplabv2", **values)
    assert (given.digest, given.published) == (filled.digest, {})


def test_masks_of_one_split_choose_the_threshold_for_all_splits(store: Store) -> None:
    made = planned(store, data="half", refine__kind="irn")
    splits = {str(id): list(by_split) for id, by_split in made.scores.items()}
    assert splits == {"cam": ["val"], "lpcam": ["val"], "lpcam/irn": ["val"]}
    assert made.published == {}
    assert made.experiment.refine.final is None
    labels = {str(id): list(by_split) for id, by_split in made.labels.items()}
    assert labels == {"lpcam/irn": ["train"]}  # the scores of val come from the class maps
    assert made.final not in made.needs_no_threshold


def test_what_needs_true_masks_is_refused(store: Store, tmp_path: Path) -> None:
    changes = {"refine__kind": "masks", "segment__network": "deeplabv2"}
    message = "learns true masks, but no image of split 'train' .* has one; set refine.kind to crf"
    with pytest.raises(InputError, match=message):
        planned(store, **changes)
    for command in (["sweep", "lpcam"], ["figure", "lpcam-figure-7"]):
        code = main([*command, "--data", "mine", *SMALL_WORDS, "--store", str(store)])
        assert code == 2


def test_a_missing_split_is_named_with_an_example(store: Store) -> None:
    start = "names 'other'; data set 'mine' has train, val; name one of them"
    example = ", for example --set training.split=train"
    with pytest.raises(InputError, match=f"training.split {start}{example}$"):
        planned(store, training__split="other")
    example = r""", for example --set 'scoring.splits=\("train",\)'"""
    with pytest.raises(InputError, match=f"scoring.splits {start}{example}$"):
        planned(store, scoring__splits=("train", "other"))
    with pytest.raises(InputError, match=f"scoring.splits {start}$"):  # perhaps from --split
        planned(store, scoring__splits=("other",))


def test_a_sweep_says_that_it_needs_scores(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "lpcam", "--data", "half", *SMALL_WORDS, "--store", str(store)]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "trials: to compute" not in out
    assert "compares trials by their scores, but no image of split 'train' of data set" in err


def test_a_method_that_published_nothing_asks_for_a_threshold(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsss.platform.pipeline.planner.published_refinement", lambda name: None)
    message = (
        r"no image of train or val of data set 'mine' has a mask, so no score chooses "
        r"refine\.foreground; set it, for example --set refine\.foreground=0\.3"
    )
    with pytest.raises(InputError, match=message):
        planned(store, refine__kind="irn", refine__final=0.3, refine__background=0.1)
    given = {"refine__foreground": 0.3, "refine__background": 0.1, "refine__final": 0.3}
    assert planned(store, refine__kind="irn", **given).published == {}


@pytest.fixture(scope="module")
def words(store: Store) -> list[str]:
    """Return the words of a whole run without scores."""
    few = [f"--set={name}={value}" for name, value in CHAIN.items() if name.endswith("epochs")]
    options = ["--refine=irn", "--segment=deeplabv2", "--name=whole", "--data=mine"]
    return ["run", "lpcam", *options, *few, *SMALL_WORDS, f"--store={store}"]


@pytest.fixture(scope="module")
def run(store: Store, words: list[str]) -> RunRecord:
    """Return the record of a whole run without scores: IRN and a segmenter."""
    with stages_in_process():
        assert main(words) == 0
    return read_run(store.location("runs", "whole", "run.json"))


@pytest.fixture
def _in_process(run: RunRecord) -> Iterator[None]:
    with stages_in_process():
        yield


@pytest.mark.usefixtures("_in_process")
def test_a_run_without_scores_says_why_and_where_its_labels_lie(
    store: Store, words: list[str], run: RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("all 16 stages are already in the store") for line in lines)
    texts = "refine.foreground=0.45, refine.background=0.25, refine.final=0.35"
    assert f"thresholds, which no score chooses, are published ones: {texts}" in lines
    assert f"nothing is scored, {REASON}" in lines
    folder = store.folder("labels", run.labels[ResultId.parse("lpcam/irn")]["train"])
    line = next(line for line in lines if line.startswith("labels lpcam/irn of train: "))
    where, _, command = line.removesuffix(")").partition(" (wsss ")
    assert where.endswith(f": {folder}")
    assert main([word.replace("FOLDER", str(store) + "-png") for word in command.split()]) == 0
    exported = {p.stem: p for p in Path(f"{store}-png").iterdir()}
    assert len(exported) == 12


def test_labels_are_class_maps_cut_at_the_published_threshold(store: Store, run: RunRecord) -> None:
    id = ResultId.parse("lpcam/irn")
    maps = store.open("maps", run.maps[id]["val"]).files(".parquet")
    labels = store.open("labels", run.labels[id]["val"]).files(".parquet")
    planes = {k: v for file in labels for k, v in label_maps.read(file.local()).items()}
    for image_maps in class_maps.read(file.local() for file in maps):
        values = np.array([0, *image_maps.classes], np.uint8)
        expected = values[seed_labels(image_maps, 0.35, Cut(levels=(0.35,)))]
        np.testing.assert_array_equal(planes.pop(image_maps.id), expected)
    assert not planes


def test_the_record_has_no_scores_and_keeps_its_thresholds(run: RunRecord) -> None:
    assert run.unscored == ("train", "val")
    assert not any(run.scores.values())
    texts = {str(id): threshold for id, threshold in run.thresholds.items()}
    assert texts == {"cam": 0.3, "lpcam": 0.3, "lpcam/irn": 0.35}
    assert set(map(str, run.labels)) == {"lpcam/irn", "lpcam/irn/deeplabv2"}


def test_python_shows_why_there_are_no_scores(store: Store, run: RunRecord) -> None:
    result = open_run("whole", store=str(store))
    assert repr(result) == f"nothing is scored, {REASON}"
    assert len(result.frame) == 0
    assert len(result.images("train")) == 12
    assert result.picture().width > 400
    assert result.figure("training").data
    with pytest.raises(InputError, match=f"nothing is scored, {REASON}; .* figure 'training'"):
        result.figure("classes")


def test_pages_show_pictures_without_target_and_scores(store: Store, run: RunRecord) -> None:
    site = Site(store)
    page = (site.file("run.whole.html") or b"").decode()
    assert f"Nothing is scored, {REASON}." in page.replace("&#39;", "'")
    assert "images.whole.html" in page
    assert "train, val (not scored)" in (site.file("index.html") or b"").decode()
    index = (site.file("data/whole/train/index.js") or b"").decode()
    value = json.loads(index.removeprefix("wsss.add(").removesuffix(");\n").split(",", 2)[2])
    assert value["scored"] is False
    assert [source["threshold"] for source in value["sources"]] == [0.3, 0.3, 0.35]
    assert value["total"] == 12
    paths = list(site.paths())
    assert not any("target" in path or "sizes" in path for path in paths)
    assert all(site.file(path) is not None for path in paths)


@pytest.mark.usefixtures("_in_process")
def test_a_comparison_without_scores_has_a_picture(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "strip.png"
    data = ["--data=mine", f"--store={store}", f"--picture={picture}"]
    code = main(["compare", "cam", "lpcam", "whole", *SMALL_WORDS, *data])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert f"nothing is scored, {REASON}" in out
    assert picture.exists()


@pytest.mark.usefixtures("_in_process")
def test_a_half_scored_run_names_the_other_half(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data=half", f"--store={store}", "--name=half"]
    assert main(["run", "cam", *SMALL_WORDS, *data]) == 0
    out = capsys.readouterr().out
    assert "cam on val (n=4)" in out
    assert "threshold from val" in out
    assert "split train is not scored, because no image of train of data set 'half'" in out
    index = (Site(store).file("data/half/train/index.js") or b"").decode()
    assert '"scored":false' in index
