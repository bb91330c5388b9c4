"""Tests of the commands in the README and the documentation: each is parsed, and each that carries
out experiments is planned."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from method_folders import method_folder
from written_pages import (
    DOCS,
    PAGES,
    ROOT,
    blocks,
    commands,
    demo_commands,
    files_of_method_folder,
    lines,
    name_of,
    quoted_commands,
)
from wsss.platform.cli import resolve
from wsss.platform.cli.options.experiment_options import (
    AblateOptions,
    CompareOptions,
    ExperimentOptions,
    FigureOptions,
    RunOptions,
    SweepOptions,
)
from wsss.platform.cli.options.kinds import Command
from wsss.platform.cli.options.store_options import ExportOptions, ImportOptions, MethodsOptions
from wsss.platform.cli.options.used import check_used
from wsss.platform.cli.parser import parse
from wsss.platform.config.experiment import Experiment, Segment
from wsss.platform.config.recipes import RECIPES
from wsss.platform.config.yaml_writer import experiment_file
from wsss.platform.data.formats.shards import Slice
from wsss.platform.errors import InputError
from wsss.platform.interop import exports, imports
from wsss.platform.interop.imports import Import
from wsss.platform.method import build_experiment, find_method
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.planner import plan
from wsss.platform.storage.artifact import Artifact, Stage
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store
from wsss.platform.tuning import spaces
from wsss.platform.tuning.search.known_points import draw_points
from wsss.platform.tuning.sweep import Sweep

COMMANDS = [(name_of(page), command) for page in PAGES for command in commands(page)]
COMMANDS += [("Makefile", command) for command in demo_commands()]
RAY_JOB = ROOT / "deploy" / "rayjob.yaml"
COMMANDS.append((name_of(RAY_JOB), yaml.safe_load(RAY_JOB.read_text())["spec"]["entrypoint"]))
RAY_COMMANDS = [
    (name_of(page), line) for page in PAGES for line in lines(page) if line.startswith("ray ")
]
OF_FOLDER = [row for row in COMMANDS if "squared.yaml" in row[1]]
"""Commands in the folder with a method that docs/clusters.md describes."""
QUOTED = [(name_of(page), command) for page in DOCS for command in quoted_commands(page)]
EXPERIMENTS = re.compile(r"\S*wsss (run|compare|ablate|sweep|figure) ")
"""Commands that carry out experiments."""
FILES = [
    path
    for path in sorted((ROOT / "experiments").glob("*.yaml"))
    if not path.stem.endswith("-base")
]
"""The experiment files that are carried out, without the files on which they build."""
FILE_COMMANDS = [
    (path.name, f"wsss {section[1] if section else 'run'} experiments/{path.name}")
    for path in FILES
    for section in [re.search(r"^(figure|compare):", path.read_text(), re.MULTILINE)]
]
NOWHERE = LocalFolder(Path("nowhere"))
IMPORTS = {"clip-es-maps": "clip-es", "toco": "msc-seg"}
"""The imports that commands name, by name, and the kind of each."""

BEST = Path("store/sweeps/sipe/best.yaml")
"""The experiment file that the sweep of the demo writes."""
ANIMALS = ("cat", "cow", "dog", "horse", "sheep", "person")
OTHERS = ("bus", "car", "chair", "sofa", "train")
SPLITS = {
    "scenes": ["train", "val"],
    "mixed": ["train", "train_cls", "val", "val_bal"],
    "mixed-half": ["train_cls", "search"],
    "mine": ["train", "val"],
    "mine-new": ["train", "val", "test"],
}
"""The splits of a data set by its name; all others have VOC's."""
RUNS = ("tuned",)
"""The finished runs that commands compare, by name."""


class Described(Catalog):
    """A catalog of every data set that the pages name, for which no file is read."""

    def dataset(self, name: str) -> Artifact:
        about = {
            "classes": [*ANIMALS, *(OTHERS if name.startswith("mixed") else ())],
            "splits": SPLITS.get(name, ["train", "train_aug", "val"]),
            "source": "scenes" if name == "scenes" else "voc",
        }
        return Artifact(NOWHERE, {"key": "ab" * 32, "about": about})

    def imported(self, name: str) -> Import:
        stages = {
            split: Stage(name="import", version=1, config={"name": name, "split": split})
            for split in ("train", "train_aug", "val")
        }
        return Import(kind=IMPORTS[name], shards="ab" * 32, stages=stages)

    def slices(self, artifact: Artifact, split: str) -> list[Slice]:
        return [Slice(NOWHERE / "a.parquet", group=0, rows=256)]

    def ids(self, artifact: Artifact, split: str) -> list[str]:
        return []

    def has_masks(self, artifact: Artifact, split: str) -> bool:
        return True

    def has_labels(self, artifact: Artifact, split: str) -> bool:
        return True


@pytest.fixture(scope="module")
def named_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that commands name: weights, experiment files and a search space."""
    folder = tmp_path_factory.mktemp("commands")
    for _, command in COMMANDS:
        for word in re.findall(r"\S+\.pth?\b", command):
            path = Path(word.split("=")[-1])
            if not path.is_absolute():
                (folder / path).touch()
    (folder / "experiments").symlink_to(ROOT / "experiments")
    (folder / "weights").mkdir()
    for path in (folder / "experiments").glob("*.yaml"):
        for word in re.findall(r"weights/[\w-]+\.pth?\b", path.read_text()):
            (folder / word).touch()
    best = folder / BEST
    best.parent.mkdir(parents=True)
    best.write_text(experiment_file(build_experiment("cam", localizer="sipe", preset="scenes")))
    (folder / "mine.py").write_text(blocks(ROOT / "docs" / "sweeps.md", "python")[0])
    return folder


@pytest.fixture(autouse=True)
def _in_folder(named_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the files are that commands name, and where no test writes others."""
    monkeypatch.chdir(named_files)
    for name in ("WSSS_STORE", "WSSS_LOG"):
        monkeypatch.delenv(name, raising=False)


def parsed(command: str) -> Command:
    """Return the options of a command, whose weights on a cluster are a file of this test."""
    words = shlex.split(command)
    assert re.fullmatch(r"(\.venv/bin/)?wsss", words[0])
    options = parse(words[1:])
    assert options
    if isinstance(options, ExperimentOptions) and Path(options.weights or "").is_absolute():
        Path("elsewhere.pth").touch()
        options = dataclasses.replace(options, weights="elsewhere.pth")
    return options


def experiments_of(command: Command) -> Iterator[Experiment]:
    """Yield the experiments that a command carries out; of a sweep, each base and each point."""
    store = Store("none")
    assert isinstance(command, ExperimentOptions)
    preset = command.preset or ("scenes" if command.data == "scenes" else command.undrawn)
    options = dataclasses.replace(command, preset=preset)
    if isinstance(options, CompareOptions):
        for text in (word for word in options.methods if word not in RUNS):
            for kind in options.refinements or ("",):
                variant: resolve.Variant = {**resolve.parse_combination(text), "refine": kind}
                yield resolve.experiment(options, store, 0, **variant)
    elif isinstance(options, AblateOptions):
        for changes in find_method(options.method).ablation.values():
            yield resolve.experiment(options, store, 0, method=options.method, changes=changes)
    elif isinstance(options, FigureOptions):
        method, figure = spaces.find_figure(options.figure)
        base = resolve.experiment(options, store, options.seed, method=method)
        points = [changes for rows in figure["panels"].values() for _, changes, _ in rows]
        description = Sweep(base=base, space={}, listed_points=tuple(points), figure=options.figure)
        yield from map(description.experiment_at, points)
    elif isinstance(options, SweepOptions):
        _, description = resolve.sweep(options, store)
        yield from description.bases.values() or [description.base]
        yield from map(description.experiment_at, draw_points(description.space, 1, seed=0))
    else:
        assert isinstance(options, RunOptions)
        yield from (resolve.experiment(options, store, seed) for seed in options.seeds)


def on_first_pages(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return each command once, with the first page that has it."""
    pages: dict[str, str] = {}
    for page, command in rows:
        pages.setdefault(command, page)
    return [(page, command) for command, page in pages.items()]


@pytest.mark.parametrize(
    ("page", "command"), on_first_pages(row for row in COMMANDS if not EXPERIMENTS.match(row[1]))
)
def test_a_command_without_an_experiment_is_parsed(page: str, command: str) -> None:
    options = parsed(command)
    if isinstance(options, ImportOptions):
        assert options.kind in imports.KINDS
    if isinstance(options, ExportOptions):
        assert options.to in exports.KINDS
    if isinstance(options, MethodsOptions) and options.method:
        build_experiment(options.method, preset=options.preset)


@pytest.mark.parametrize(("page", "command"), RAY_COMMANDS)
def test_a_command_of_ray_is_parsed(page: str, command: str) -> None:
    from ray.scripts.scripts import cli

    name, *words = shlex.split(command)
    group, context = cli, cli.make_context(name, words)
    while hasattr(group, "commands"):
        name, *words = (*context.protected_args, *context.args)
        group = group.commands[name]
        context = group.make_context(name, words, parent=context)
    assert context.params


@pytest.mark.parametrize(
    ("page", "command"),
    on_first_pages(
        [
            *(row for row in COMMANDS if EXPERIMENTS.match(row[1]) and row not in OF_FOLDER),
            *QUOTED,
            *FILE_COMMANDS,
        ]
    ),
)
def test_a_command_is_planned(page: str, command: str) -> None:
    """Each experiment of a command has all options of the command, and fits its data set."""
    options = parsed(command)
    assert isinstance(options, ExperimentOptions)
    catalog, planned = Described(Store("none"), gpu=False), []
    for e in experiments_of(options):
        assert e.data == options.data
        assert bool(e.baseline) == ("psdpm" in e.trained)
        if options.refinements:
            assert e.refine.kind in options.refinements
        if options.recipe:
            assert e.segment.training.lr == RECIPES[options.recipe](Segment()).training.lr
        planned.append(plan(e, catalog))
    assert planned
    assert all(p.stages for p in planned)
    check_used(options, [p.experiment for p in planned])


def test_a_command_in_a_folder_with_a_method_is_planned(tmp_path: Path) -> None:
    assert len(OF_FOLDER) == 3  # on this machine, as a job of Ray, and on Slurm
    for name, text in files_of_method_folder().items():
        (tmp_path / name).write_text(text)
    with method_folder(tmp_path, "squared"):
        Path("resnet50-19c8e357.pth").touch()
        for _, command in OF_FOLDER:
            (experiment,) = experiments_of(parsed(command))
            assert plan(experiment, Described(Store("none"), gpu=False)).stages
            assert (experiment.data, experiment.method) == ("voc", "squared")


def test_a_wrong_command_is_not_planned() -> None:
    for command in ("wsss run nothing", "wsss sweep lpcam --space hosts", "wsss figure lpcam-6"):
        with pytest.raises(InputError):
            list(experiments_of(parsed(command)))


def test_the_demo_goes_from_data_to_pages() -> None:
    """The run takes the best point of the sweep, and the last table has the run."""
    data, _, sweep, run, compare, report = demo_commands()
    assert data == "wsss data scenes"
    named = shlex.split(sweep)[-1]
    assert shlex.split(run)[2] == str(BEST) == f"store/sweeps/{named}/best.yaml"
    assert shlex.split(run)[-1] in shlex.split(compare)
    assert "--picture build/demo.png" in compare
    assert report == "wsss report build/demo"
    experiments = [e for command in (sweep, compare) for e in experiments_of(parsed(command))]
    assert {e.trained for e in experiments} == {("cam",), ("lpcam",)}
    catalog = Described(Store("none"), gpu=False)
    networks = {plan(e, catalog).network.key for e in experiments}
    assert len(networks) == 1, "all localizers read one trained network"


def test_the_quick_start_explains_each_command_of_the_demo() -> None:
    assert set(demo_commands()) <= set(commands(ROOT / "docs" / "quick-start.md"))


def test_the_pages_have_commands() -> None:
    assert len(COMMANDS) > 60
    assert len(QUOTED) > 2
    assert {page for page, _ in COMMANDS} >= {"README.md", "docs/quick-start.md", "docs/sweeps.md"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in lines(page) if line.startswith("make ")}
    named |= set(re.findall(r"`make ([a-z-]+)`", page.read_text()))
    assert named <= targets
