from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from drawn_records import HOSTILE, QUOTES, make_layers, make_run, make_sweep
from wsss.dashboards.layers import ImageLayers
from wsss.dashboards.pages import write_report
from wsss.platform.errors import InputError
from wsss.platform.runs import RunRecord, SweepRecord

FOUND = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
needs_chromium = pytest.mark.skipif(
    not Path(FOUND).exists(), reason="no Chromium on this machine (Debian package: chromium)"
)


class Page(HTMLParser):
    """Elements and the files they name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def files(self) -> list[str]:
        names = [a.get("src") or a.get("href") for t, a in self.tags]
        return [n for n in names if n and not n.startswith("#")]


def report(tmp_path: Path, **parts: Any) -> tuple[Path, Page]:
    full = {"run": make_run(), "sweep": make_sweep(), "images": [make_layers(k) for k in range(6)]}
    page = write_report(tmp_path / "report", **{**full, **parts})
    return page, Page(page.read_text())


def hostile() -> dict[str, Any]:
    classes = ("background", HOSTILE, QUOTES, "</style>", "&amp;", "moth", "x" * 200)
    run = dataclasses.replace(
        make_run(classes, name=HOSTILE), command=QUOTES, machine=HOSTILE, dataset=QUOTES
    )
    sweep = make_sweep(24)
    params = {QUOTES: HOSTILE, "K": 6, "tau": 0.1}
    odd = dataclasses.replace(sweep.trials[0], params=params, error=f"{HOSTILE}\n{QUOTES}")
    space = {**sweep.space, QUOTES: [HOSTILE, "b"]}
    sweep = dataclasses.replace(
        sweep, name=QUOTES, split=HOSTILE, space=space, trials=(odd, *sweep.trials[1:])
    )
    return {"run": run, "sweep": sweep}


def test_folder_is_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    path, page = report(tmp_path)
    folder = path.parent
    assert {p.name for p in folder.iterdir()} == {
        "index.html",
        "plotly.min.js",
        "style.css",
        "app.js",
        "images",
    }
    for name in page.files():
        assert not re.match(r"[a-z]+:|//", name)
        assert (folder / name).is_file(), name
    for file in folder.iterdir():
        if file.is_file() and file.name != "plotly.min.js":
            assert not re.search(r"https?://", file.read_text()), file.name
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_policy_and_no_inline_script(tmp_path: Path) -> None:
    _, page = report(tmp_path)
    policies = [a["content"] for t, a in page.tags if a.get("http-equiv")]
    assert len(policies) == 1
    assert "default-src 'none'; script-src 'self';" in str(policies[0])
    for tag, attributes in page.tags:
        if tag == "script":
            assert attributes.get("src") or attributes.get("type") == "application/json"
        assert tag != "style"
        assert not any(name.startswith("on") for name in attributes)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_trials(tmp_path: Path, count: int) -> None:
    path, _ = report(tmp_path, sweep=make_sweep(count), run=None, images=[])
    assert f"{count} trials" in path.read_text()


def test_all_failed_names_the_errors(tmp_path: Path) -> None:
    path, _ = report(tmp_path, sweep=make_sweep(24, fail=lambda k: True), run=None, images=[])
    text = path.read_text()
    assert text.count('<span class="pill bad">failed</span>') == 24
    assert text.count("<td>K must be at least 1 &lt;script&gt;") == 24


def test_nothing_to_show(tmp_path: Path) -> None:
    path, _ = report(tmp_path, sweep=None, run=None, images=[])
    assert "nothing to show" in path.read_text()


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    path, page = report(tmp_path, **hostile())
    text = path.read_text()
    for raw in (HOSTILE, QUOTES, "<img src=x", "</style>"):
        assert raw not in text
    assert sum(t == "script" for t, _ in page.tags) == text.count("</script>")
    assert "&lt;script&gt;alert(1)" in text


def test_an_earlier_report_is_replaced_and_nothing_else(
    tmp_path: Path, run: RunRecord, layers: ImageLayers
) -> None:
    out = tmp_path / "report"
    for images in ([make_layers(1)], [layers]):
        write_report(out, run=run, sweep=None, images=images)
    assert (out / "images" / f"{layers.id}.jpg").exists()
    assert not (out / "images" / "2007_000001.jpg").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="something else"):
        write_report(other, run=run, sweep=None, images=[])
    with pytest.raises(InputError, match="is a file"):
        write_report(other / "thesis.tex", run=run, sweep=None, images=[])
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]


def test_a_report_that_fails_leaves_the_earlier_one(
    tmp_path: Path, run: RunRecord, layers: ImageLayers
) -> None:
    out = tmp_path / "report"
    before = write_report(out, run=run, sweep=None, images=[]).read_text()

    def broken() -> Iterator[ImageLayers]:
        yield layers
        raise InputError("the next image is broken")

    with pytest.raises(InputError, match="broken"):
        write_report(out, run=run, sweep=None, images=broken())
    assert (out / "index.html").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_summary_and_sections(tmp_path: Path, run: RunRecord, sweep: SweepRecord) -> None:
    path, page = report(tmp_path)
    text = path.read_text()
    sections = [a.get("id") for t, a in page.tags if t == "section"]
    assert sections == ["summary", "sweep", "curves", "images", "run"]
    tables = sum(t == "table" for t, _ in page.tags)
    assert sum(t == "caption" for t, _ in page.tags) == tables
    assert text.index("<td>CAM<") < text.index("<td>LPCAM<")
    assert "55.2" in text
    assert run.command in text
    assert "cached" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = play.chromium.launch(executable_path=FOUND, args=options)
        yield chromium
        chromium.close()


def until(page: Any, condition: str) -> None:
    """Waits up to 20 s; Playwright's own wait needs eval, which the page's policy forbids."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}")


def visit(browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> tuple[Any, Any]:
    """The open page, and the list that its errors and requests off the disk go to."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("dialog", lambda d: (wrong.append("a script ran"), d.dismiss()))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url),
    )
    page.goto(path.as_uri())
    until(
        page,
        "document.querySelectorAll('figure.plot').length === "
        "document.querySelectorAll('.js-plotly-plot .main-svg:first-child').length",
    )
    return page, wrong


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_page_works_from_disk(tmp_path: Path, browser: Any, width: int) -> None:
    path, _ = report(tmp_path)
    page, wrong = visit(browser, path, width)
    assert page.locator("figure.plot .js-plotly-plot svg.main-svg").count() >= 8
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    seed = page.locator(".card img.seed").last
    target = page.locator(".card img.target").first
    assert not target.is_visible()
    page.get_by_label("target").check()
    assert target.is_visible()
    page.get_by_label("LPCAM seed").focus()
    assert seed.is_visible()
    page.keyboard.press("Space")
    assert not seed.is_visible()
    page.get_by_label("Opacity").fill("20")
    assert target.evaluate("e => getComputedStyle(e).opacity") == "0.2"
    page.get_by_label("CAM map", exact=True).click(modifiers=["Shift"])
    until(page, "document.querySelector('.card img.target').hidden")
    assert page.locator(".card img.map").first.is_visible()
    until(page, "document.querySelector('.card img.image').naturalWidth === 96")
    assert wrong == []
    page.close()


@needs_chromium
def test_order_of_images_and_trials(tmp_path: Path, browser: Any) -> None:
    blank = dataclasses.replace(make_layers(9), scores={"cam": None, "lpcam": None})
    path, _ = report(tmp_path, images=[blank, *(make_layers(k) for k in range(6))])
    page, wrong = visit(browser, path)
    page.get_by_label("Order").select_option(label="LPCAM: worst first")
    read = "cards => cards.map(c => Number(c.dataset.s1))"
    scores = page.locator(".card").evaluate_all(read)
    assert scores[:-1] == sorted(scores[:-1])
    assert page.locator(".card h3").last.inner_text() == blank.id
    page.get_by_role("button", name="mIoU %").click()
    first = page.locator("table.sortable tbody tr").first
    assert "best" in first.inner_text()
    assert wrong == []
    page.close()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_follow_the_scheme(tmp_path: Path, browser: Any, scheme: str) -> None:
    path, _ = report(tmp_path, images=[])
    page, wrong = visit(browser, path, scheme=scheme)

    def same() -> bool:
        ink = page.evaluate("getComputedStyle(document.body).color")
        return bool(page.locator(".gtitle").first.evaluate("e => getComputedStyle(e).fill") == ink)

    assert same()
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    for _ in range(100):
        if not same():
            page.wait_for_timeout(50)
    assert same()
    assert wrong == []
    page.close()


@needs_chromium
@pytest.mark.parametrize("case", ["hostile", "none", "one", "500", "failed"])
def test_no_script_of_a_name_runs(tmp_path: Path, browser: Any, case: str) -> None:
    sweeps = {
        "none": make_sweep(0),
        "one": make_sweep(1),
        "500": make_sweep(500),
        "failed": make_sweep(24, fail=lambda k: True),
    }
    parts = hostile() if case == "hostile" else {"run": None, "sweep": sweeps[case]}
    path, _ = report(tmp_path, **parts, **({} if case == "hostile" else {"images": []}))
    page, wrong = visit(browser, path, 390)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("img[src='x']").count() == 0
    if case == "hostile":
        drawn = page.locator(".js-plotly-plot").all_inner_texts()
        assert "&lt;" not in "".join(drawn)
    assert wrong == []
    page.close()
