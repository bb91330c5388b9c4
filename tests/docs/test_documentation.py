"""Tests of the documentation: its words agree with the code, and its site needs nothing from the
internet."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import types
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from written_pages import DOCS, PAGES, README, ROOT, blocks, name_of, prose, words
from wsss.platform.cli.parser import COMMANDS, SOURCES
from wsss.platform.config.fields import walk
from wsss.platform.method import build_experiment, methods

LONGEST = 900
"""Largest number of words of a page, without code blocks and without generated tables."""
OTHER_PROGRAMS = {"--editable", "--partition"}
"""Options of other programs than `wsss` that pages may name in a sentence."""
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Elements that make a browser load something, and the attribute with the address."""


@functools.cache
def fields() -> set[str]:
    """Return the names of all options of experiments."""
    return {
        name
        for method in methods()
        for name, _, _ in walk(
            build_experiment(method, baseline="cam" if method == "psdpm" else "")
        )
    }


@functools.cache
def options_of_commands() -> set[str]:
    """Return the options of all commands."""
    names = {
        field.name
        for kind in (*COMMANDS.values(), *SOURCES.values())
        for field in dataclasses.fields(kind)
    }
    return {"--help", *(f"--{name.replace('_', '-')}" for name in names)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_that_a_page_names_exist(page: Path) -> None:
    known = fields()
    groups = {name.split(".")[0] for name in known if "." in name}
    names = re.findall(r"`(?:--set )?'?([a-z]+(?:\.\w+)+)(?:=[^`]*)?`", prose(page))
    named = {name for name in names if name.split(".")[0] in groups and name != "baseline.FIELD"}
    assert named <= known | {name.rpartition(".")[0] for name in known}
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", prose(page)))
    assert named <= options_of_commands() | OTHER_PROGRAMS


def test_options_are_found_in_text() -> None:
    assert "baseline.training.lr" in fields()
    assert {"--set", "--resume", "--labels"} <= options_of_commands()
    assert any("`lpcam.tau`" in prose(page) for page in DOCS)


def test_every_method_has_a_page_with_its_options_and_presets() -> None:
    for name in methods():
        text = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
        for table in ("options", "presets", "published", "spaces"):
            if table != "options" or len(list(walk(methods()[name].Config()))):
                assert f"<!-- table: {table} {name} -->" in text, table


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_is_short(page: Path) -> None:
    assert len(words(prose(page))) <= LONGEST


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", prose(page))
    for path, _, section in (link.partition("#") for link in links if "://" not in link):
        target = page.parent / path if path else page
        assert target.exists(), path
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if section else []
        slugs = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
        assert not section or section in slugs or section.startswith("wsss."), section


def test_tests_and_files_that_pages_name_exist() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    quoted = [word for page in PAGES for word in re.findall(r"`([^`\n]+)`", prose(page))]
    assert {word for word in quoted if re.fullmatch(r"test_\w+", word)} <= defined
    folders = "platform|methods|tune_spaces|dashboards|deploy|tests"
    named = {word for word in quoted if re.fullmatch(rf"({folders})/[\w./-]*", word)}
    assert len(named) > 5
    assert {word for word in named if not (ROOT / word).exists()} == set()


def test_thresholds_of_irn_are_those_of_the_presets() -> None:
    text = (ROOT / "docs" / "refinement.md").read_text()
    for title, method in (("IRN", "cam"), ("LPCAM", "lpcam"), ("SSC", "ssc")):
        for preset in ("paper", "release"):
            refine = build_experiment(method, preset=preset).refine
            values = (refine.foreground, refine.background, refine.final)
            row = " | ".join(f"{value:.2f}" for value in values if value is not None)
            assert f"| {title} | {row} |" in text


def test_terms_of_the_glossary_are_defined_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    terms = re.findall(r"^([^\n:#]+)\n:   ", text, re.MULTILINE)
    assert len(terms) > 40
    assert terms == sorted(terms, key=str.lower)
    definitions = re.findall(r"^:   (.*)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"[A-Z].*\.", definition) for definition in definitions)


@pytest.mark.parametrize(
    ("page", "block", "name"),
    [(ROOT / "docs" / "methods" / "adding.md", 0, "Mine"), (README, 1, "Sparse")],
    ids=["docs", "README"],
)
def test_a_method_as_the_pages_add_one_is_a_method(
    page: Path, block: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from wsss.platform.method import Batch
    from wsss.platform.models.backbones import build

    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)  # where `dataclass` looks annotations up
    exec(blocks(page, "python")[block], vars(module))
    method_class = vars(module)[name]
    method = method_class(method_class.Config())
    network = method.network(3, build("small"))
    images, labels = torch.randn(2, 3, 64, 64), torch.ones(2, 3)
    batch = Batch(images=images, labels=labels, valid=torch.ones(2, 64, 64, dtype=torch.bool))
    terms = method.losses(network, batch, 0.5)
    assert "sparsity" in terms
    assert len(terms) == 2
    assert all(term.isfinite() for term in terms.values())
    maps = method.localize(network.eval(), images, labels)
    assert maps.shape[:2] == (2, 3)
    assert maps.min() >= 0


def test_the_hooks_that_the_documentation_names_exist() -> None:
    from wsss.platform.method import Method
    from wsss.platform.models.network import SeparatelyTrained

    text = (ROOT / "docs" / "methods" / "adding.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \| ", text, re.MULTILINE)
    hooks = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert len(hooks) > 8
    assert hooks <= set(dir(Method))
    assert f"`{SeparatelyTrained.__module__}.{SeparatelyTrained.__name__}`" in text


class Addresses(HTMLParser):
    """The addresses in a page of the site.

    Attributes:
        loaded: addresses of what a browser loads with the page.
        linked: addresses of links.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in LOADED and given.get(LOADED[tag]):
            self.loaded.append(given[LOADED[tag]])
        if tag == "link":
            self.loaded.append(given["href"])
        if tag == "a":
            self.linked.append(given.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, which fails on a warning, and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        from mkdocs.__main__ import cli

        done = CliRunner().invoke(cli, ["build", "--strict", "--site-dir", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(DOCS)
    for page in pages:
        for address in Addresses(page.read_text()).loaded:
            assert "//" not in address, f"{page.name}: {address}"
            target = (page.parent / address.split("?")[0].split("#")[0]).resolve()
            assert page.name == "404.html" or target.is_file(), f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text()
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", text), sheet.name


def test_links_of_the_site_lead_to_its_pages(site: Path) -> None:
    for page in site.rglob("*.html"):
        for address in Addresses(page.read_text()).linked:
            path = address.split("#")[0]
            if path and "://" not in address and page.name != "404.html":
                assert (page.parent / path).resolve().exists(), f"{page.name}: {address}"


def test_equations_and_tables_are_made(site: Path) -> None:
    text = (site / "methods" / "lpcam.html").read_text()
    assert text.count("<math ") > 10
    assert "<td><code>lpcam.tau</code></td>" in text
    value = methods()["lpcam"].Config().tau
    assert f"<td><code>lpcam.tau</code></td>\n<td><code>{value}</code></td>" in text
    for page in site.rglob("*.html"):
        content = page.read_text()
        assert "<!-- table" not in content, page.name
        assert 'class="arithmatex"' not in content, page.name
    commands = (site / "reference" / "commands.html").read_text()
    assert re.findall(r'id="wsss-([\w-]+)"', commands) == [
        "data",
        *(f"data-{kind}" for kind in SOURCES),
        *COMMANDS,
    ]
    assert "--labelled" in commands
