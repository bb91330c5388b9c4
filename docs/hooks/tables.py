"""Hook of the documentation site that writes tables from the code when the site is built.

A line `<!-- table: NAME ARGUMENT -->` of a page is replaced by the table of that name, so that no
default, range or list of names is written by hand. `TABLES` holds the tables by name.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"^<!-- table: (\S+)(?: (\S+))? -->$", re.MULTILINE)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(value: Any) -> str:
    """Return the text of a cell, in which no character divides the table."""
    return str(value).replace("\n", " ").replace("|", "\\|")


def code(value: Any) -> str:
    """Return a value of an option as code, as the command line takes it."""
    if value is None or isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value != "" else "empty"


def bounds(field: Any) -> str:
    """Return the allowed values of an option, from its pydantic field."""
    from wsss.platform.config.rules import choices_of, rule_of

    rule, choices = rule_of(field), choices_of(field)
    if choices:
        return ", ".join(map(code, choices))
    return "" if rule is None or rule.low is None else f"{rule.low:,g} to {rule.high:,.10g}"


def methods(_: str) -> str:
    """Return the table of all methods, with links to their pages."""
    from wsss.platform.method import methods

    return table(
        ["method", "source", "presets"],
        [
            [f"[`{name}`]({name}.md)", cls.source, ", ".join(f"`{p}`" for p in cls.presets)]
            for name, cls in methods().items()
        ],
    )


def options(name: str) -> str:
    """Return the table of the options of a method, or of a group of an experiment's options."""
    from wsss.platform.config.experiment import Experiment
    from wsss.platform.config.fields import fields_of
    from wsss.platform.config.rules import rule_of
    from wsss.platform.method import methods

    if name in methods():
        config: Any = methods()[name].Config()
    else:
        config = Experiment() if name == "experiment" else attrgetter(name)(Experiment())
    prefix = "" if name == "experiment" else f"{name}."
    rows = [
        [f"`{prefix}{key}`", code(getattr(config, key)), bounds(field), field.description]
        for key, field in fields_of(type(config)).items()
        if rule_of(field)
    ]
    return table(["option", "default", "values", "meaning"], rows)


def presets(method: str) -> str:
    """Return the table of the options in which the presets of a method differ."""
    from wsss.platform.config.fields import walk
    from wsss.platform.method import build_experiment, find_method

    names = list(find_method(method).presets)
    values = {
        name: {field: value for field, value, _ in walk(build_experiment(method, preset=name))}
        for name in names
    }
    rows = [
        [f"`{field}`", *(code(values[name][field]) for name in names)]
        for field in values[names[0]]
        if len({repr(values[name][field]) for name in names}) > 1
    ]
    return table(["option", *(f"`{name}`" for name in names)], rows)


def recipes(_: str) -> str:
    """Return the table of the recipes of segmenters: one row for each option that differs."""
    from wsss.platform.config.experiment import Segment
    from wsss.platform.config.fields import walk
    from wsss.platform.config.recipes import RECIPES

    values = {
        name: {field: value for field, value, _ in walk(recipe(Segment()))}
        for name, recipe in RECIPES.items()
    }
    first = next(iter(values.values()))
    rows = [
        [f"`{field}`", *(code(v[field]) for v in values.values())]
        for field in first
        if len({repr(v[field]) for v in values.values()}) > 1
    ]
    return table(["option of `segment`", *(f"`{name}`" for name in values)], rows)


def crfs(_: str) -> str:
    """Return the table of the parameter sets of DenseCRF."""
    from wsss.platform.ops.crf import CRFS

    names = [f.name for f in fields(next(iter(CRFS.values())))]
    rows = [[f"`{name}`", *(f"{getattr(c, n):g}" for n in names)] for name, c in CRFS.items()]
    return table(["`refine.crf`", *(n.replace("_", " ") for n in names)], rows)


def search_spaces(method: str) -> Any:
    """Return the module with the search spaces of a method, or of all methods (`common`)."""
    return importlib.import_module(f"wsss.tune_spaces.{method.replace('-', '_')}")


def spaces(method: str) -> str:
    """Return the table of the search spaces of a method, or of all methods (`common`)."""
    from wsss.platform.tuning.spaces import space_from
    from wsss.platform.tuning.spaces.domains import domains_by_field

    spaces_by_name = search_spaces(method).SPACES
    rows = [
        [f"`{name}`", f"`{field}`", domain_text(domain)]
        for name, space in spaces_by_name.items()
        for field, domains in domains_by_field(space_from(space)).items()
        for domain in domains
    ]
    return table(["space", "option", "values"], rows)


def domain_text(domain: Any) -> str:
    """Return the values of a domain of a search space, or the lowest and the highest number."""
    if hasattr(domain, "values"):
        return ", ".join(map(code, domain.values))
    low, high = map(code, domain.extremes)
    log = ", by their logarithm" if domain.log else ""
    step = f", in steps of {code(domain.step)}" if domain.step > 1 or 0 < domain.step < 1 else ""
    kind = "whole numbers" if domain.integer else "numbers"
    return f"{kind} from {low} to {high}{step}{log}"


def figures(_: str) -> str:
    """Return the table of the figures and tables of papers that `wsss figure` repeats."""
    from wsss.platform.method import methods

    rows = []
    for name in methods():
        for number, figure in getattr(search_spaces(name), "FIGURES", {}).items():
            panels = "; ".join(map(str, figure["panels"]))
            rows.append([f"`{name}-{number}`", figure["title"], panels, figure["published"]])
    return table(["name", "figure or table", "varies", "numbers of the paper"], rows)


def published(method: str) -> str:
    """Return the table of the main results that the papers print for a method, in mIoU percent."""
    papers = json.loads((ROOT / "dashboards" / "assets" / "papers.json").read_text())
    titles = {
        "seed": "seed masks, VOC train",
        "crf": "with DenseCRF",
        "refined": "pseudo labels, VOC train",
        "val": "segmenter, VOC val",
        "test": "VOC test",
        "coco": "COCO val",
    }
    entries = [e for e in papers["leaderboard"] if e["method"] == method]
    known = [key for key in titles if any(key in e["figures"] for e in entries)]
    rows = [[e["on"], *(e["figures"].get(key, ["-"])[0] for key in known)] for e in entries]
    return table(["on", *(titles[key] for key in known)], rows)


def backbones(_: str) -> str:
    """Return the names of all backbones."""
    from wsss.platform.models.backbones import BACKBONES

    return ", ".join(f"`{name}`" for name in BACKBONES)


def commands(_: str) -> str:
    """Return the help of every command, as a terminal shows it."""
    from wsss.platform.cli.parser import COMMANDS, SOURCES

    lines = ["data", *(f"data {kind}" for kind in SOURCES), *COMMANDS]
    return "\n\n".join(
        f"## wsss {line}\n\n```text\n{help_of(*line.split())}\n```" for line in lines
    )


def help_of(*words: str) -> str:
    """Return the help of the command line, or of one command."""
    from wsss.platform.cli import main

    environment = {k: v for k, v in os.environ.items() if k not in ("WSSS_STORE", "WSSS_LOG")}
    environment |= {"COLUMNS": "80", "NO_COLOR": "1"}
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        contextlib.redirect_stdout(io.StringIO()) as out,
    ):
        code = main([*words, "--help"])
    assert code == 0
    return out.getvalue().rstrip()


TABLES = {
    "backbones": backbones,
    "commands": commands,
    "crfs": crfs,
    "figures": figures,
    "methods": methods,
    "options": options,
    "presets": presets,
    "published": published,
    "recipes": recipes,
    "spaces": spaces,
}
"""The tables by name; each function takes the argument of the marker, or an empty text."""


def markers(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the argument of each table that a page asks for."""
    for match in MARKER.finditer(markdown):
        yield match[1], match[2] or ""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the Markdown of a page with its tables."""
    return MARKER.sub(lambda match: TABLES[match[1]](match[2] or ""), markdown)
