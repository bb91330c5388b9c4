"""Tests of the README and its pages: commands become experiments, the example runs on fewer images,
links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from wsss.platform.cli import resolve
from wsss.platform.cli.parser import parser
from wsss.platform.config.experiment import Segment
from wsss.platform.config.recipes import RECIPES
from wsss.platform.storage.store import Store

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


LINES = [line.split("#")[0].strip()[2:] for b in blocks("console") for line in b.splitlines()]
COMMANDS = [c for line in LINES if re.match(r"\S*wsss ", c := line.split(" -- ")[-1])]
RAY_COMMANDS = [line for line in LINES if line.startswith("ray ")]


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) > 4


@pytest.mark.parametrize("page", ["README.md", "docs/measured.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text())
    for path, _, section in (link.partition("#") for link in links if "://" not in link):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists()
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if section else []
        slugs = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
        assert not section or section in slugs


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_parsed(command: str) -> None:
    words = shlex.split(command)
    assert words[0].endswith("wsss")
    parser().parse_args(words[1:])


@pytest.mark.parametrize("command", RAY_COMMANDS)
def test_a_command_of_ray_is_parsed(command: str) -> None:
    from ray.scripts.scripts import cli

    name, *words = shlex.split(command)
    group, context = cli, cli.make_context(name, words)
    while hasattr(group, "commands"):
        name, *words = (*context.protected_args, *context.args)
        group = group.commands[name]
        context = group.make_context(name, words, parent=context)
    assert context.params


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if re.search(r"wsss (run|compare|ablate|sweep) ", c)]
)
def test_a_command_becomes_an_experiment(command: str) -> None:
    """The experiment has all options of the command; no preset hides an option of the segmenter."""
    options = parser().parse_args(shlex.split(command)[1:])
    methods = getattr(options, "methods", None)
    for text in methods or [""]:
        method, _, localizer = text.partition(":")
        options.preset = "default"
        chosen = resolve.experiment(options, Store("none"), 0, method=method, localizer=localizer)
        assert chosen.data == options.data
        assert bool(chosen.baseline) == (bool(options.baseline) and "psdpm" in chosen.trained)
        assert chosen.refine.kind == (options.refine or "")
        if options.recipe:
            assert chosen.segment.training.lr == RECIPES[options.recipe](Segment()).training.lr


def test_the_python_example_runs(
    in_process: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = blocks("python")[0]
    smaller = example.replace("Scenes()", "Scenes(train=32, val=16)").replace(
        'preset="scenes"', 'preset="scenes", changes={"training.epochs": 1}'
    )
    assert smaller != example
    monkeypatch.chdir(tmp_path)
    exec(compile(smaller, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert re.search(r"cam \{'train': [\d.]+, 'val': [\d.]+\}", out)
    assert re.search(r"lpcam \{'train': [\d.]+, 'val': [\d.]+\}", out)
