"""Tests of commands that name an experiment file: its options, and the experiments it describes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wsss.platform.cli import main, resolve
from wsss.platform.cli.options.experiment_options import ExperimentOptions
from wsss.platform.cli.options.file_options import SUBJECTS
from wsss.platform.cli.options.used import check_used
from wsss.platform.cli.parser import COMMANDS, parse
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.yaml_writer import experiment_file
from wsss.platform.data import registry
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.method.sections import SECTIONS
from wsss.platform.storage.store import Store
from wsss.platform.tuning.sweep import Sweep
from wsss.platform.tuning.sweep_file import sweep_file

NOWHERE = Store("none")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in a folder of the test, with data sets that no file holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        registry, "open_dataset", lambda store, name: SimpleNamespace(about={"source": name})
    )


def write(text: str, name: str = "a.yaml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def options_of(words: str) -> Any:
    options = parse(words.split())
    assert isinstance(options, ExperimentOptions)
    return options


def experiment_of(words: str, **variant: Any) -> Experiment:
    options = options_of(words)
    return resolve.experiment(options, NOWHERE, 0, **variant)


LPCAM = """
method: lpcam
preset: paper
recipe: lpcam-voc
data: voc
seed: 3
training: {epochs: 7, lr: 0.2}
segment: {network: deeplabv2}
lpcam.tau: 0.2
"""


def test_a_file_describes_a_run() -> None:
    write(LPCAM)
    options = options_of("run a.yaml")
    assert (options.method, options.data, options.seeds) == ("lpcam", "voc", (3,))
    made = resolve.experiment(options, NOWHERE, 3)
    changes = {
        "data": "voc",
        "seed": 3,
        "training.epochs": 7,
        "training.lr": 0.2,
        "segment.network": "deeplabv2",
        "lpcam.tau": 0.2,
    }
    expected = build_experiment("lpcam", preset="paper", recipe="lpcam-voc", changes=changes)
    assert made == expected


def test_options_on_the_command_line_count_more_than_the_file() -> None:
    write(LPCAM + "run: {seeds: [4, 5]}\n")
    words = (
        "run a.yaml --data coco --preset release --seeds 8 --refine irn --set training.epochs=2 "
        "--backbone resnet18 --recipe psdpm-coco --segment upernet --localizer cam"
    )
    options = options_of(words)
    assert options.seeds == (8,)
    made = resolve.experiment(options, NOWHERE, 8)
    changes = {
        "data": "coco",
        "seed": 8,
        "refine.kind": "irn",
        "training.epochs": 2,
        "training.lr": 0.2,
        "network.backbone": "resnet18",
        "segment.network": "upernet",
        "lpcam.tau": 0.2,
    }
    assert made == build_experiment(
        "lpcam", preset="release", localizer="cam", recipe="psdpm-coco", changes=changes
    )


def test_a_file_extends_another_in_its_own_folder() -> None:
    Path("more").mkdir()
    write("data: voc\npreset: paper\nnetwork.weights: w.pth\n", "more/base.yaml")
    write("extends: base.yaml\nmethod: cam\n", "more/a.yaml")
    made = experiment_of("run more/a.yaml")
    assert (made.data, made.training) == ("voc", build_experiment("cam", preset="paper").training)
    assert made.network.weights == str(Path("w.pth").absolute()), "relative to the command"


def test_the_preset_suits_the_data_of_the_file() -> None:
    write("method: lpcam\n")
    scenes = build_experiment("lpcam", preset="scenes")
    assert experiment_of("run a.yaml") == scenes
    changes = {"data": "voc"}
    assert experiment_of("run a.yaml --data voc") == build_experiment("lpcam", changes=changes)


def test_the_seeds_of_a_file() -> None:
    write("method: cam\nseed: 4\nrun: {seeds: [1, 2]}\nablate.seeds: [7]\n")
    assert options_of("run a.yaml").seeds == (1, 2)
    assert options_of("run a.yaml --seeds 9").seeds == (9,)
    assert options_of("ablate a.yaml").seeds == (7,)
    assert options_of("sweep a.yaml").seed == 4
    assert options_of("sweep a.yaml --seed 5").seed == 5


PSDPM = "method: psdpm\ndata: voc\nbaseline: {method: sipe, localizer: lpcam, training.epochs: 3}\n"


def test_the_baseline_of_a_file() -> None:
    write(PSDPM)
    made = experiment_of("run a.yaml")
    assert made.combination == "psdpm@sipe:lpcam"
    assert made.baseline
    assert made.baseline.training.epochs == 3
    assert experiment_of("run a.yaml --baseline cam").combination == "psdpm@cam"


def test_another_data_set_or_seed_also_holds_for_a_baseline_whose_fields_are_all_given() -> None:
    write(f"{PSDPM}  \nseed: 1\n".replace("epochs: 3", "epochs: 3, data: voc, seed: 1"))
    made = experiment_of("run a.yaml --data coco")
    assert made.baseline
    assert (made.data, made.baseline.data) == ("coco", "coco")
    assert (made.seed, made.baseline.seed) == (0, 0)


def test_a_file_describes_a_comparison() -> None:
    write(f"{PSDPM}lpcam.tau: 0.2\ncompare: {{methods: [cam, lpcam, psdpm], seeds: [1]}}\n")
    options = options_of("compare a.yaml")
    assert (options.methods, options.seeds) == (("cam", "lpcam", "psdpm"), (1,))
    made = {
        text: resolve.experiment(options, NOWHERE, 1, **resolve.parse_combination(text))
        for text in options.methods
    }
    assert made["cam"] == build_experiment("cam", changes={"data": "voc", "seed": 1})
    assert made["lpcam"].settings["lpcam"].tau == 0.2
    assert made["psdpm"].combination == "psdpm@sipe:lpcam"
    check_used(options, list(made.values()))
    assert options_of("compare a.yaml cam sipe").methods == ("cam", "sipe")


def test_a_file_describes_a_comparison_of_refinements() -> None:
    write("method: cam\ndata: voc\ncompare: {methods: [cam], refine: [crf, par]}\n")
    assert options_of("compare a.yaml").refinements == ("crf", "par")
    assert options_of("compare a.yaml --refine irn").refinements == ("irn",)


def test_a_file_describes_an_ablation() -> None:
    write("method: sipe\npreset: paper\ndata: voc\nsipe: {weight: 0.5, inference_weight: 2}\n")
    made = experiment_of("ablate a.yaml", method="sipe", changes={"sipe.weight": 0.0})
    assert (made.settings["sipe"].weight, made.settings["sipe"].inference_weight) == (0, 2)


def test_a_file_describes_a_figure() -> None:
    write("data: voc\nfigure: {name: lpcam-5, repeats: 3}\ntraining.epochs: 2\ncpal.weight: 0.1\n")
    options = options_of("figure a.yaml")
    assert (options.figure, options.repeats, options.name) == ("lpcam-5", 3, None)
    made = resolve.experiment(options, NOWHERE, 0, method="lpcam")
    changes = {"data": "voc", "training.epochs": 2}
    assert made == build_experiment("lpcam", preset="paper", changes=changes)
    write("figure: cpal-4\n")
    assert options_of("figure a.yaml").figure == "cpal-4"


SWEEP = """
method: lpcam
data: voc
sweep:
  space: {lpcam.tau: [0.1, 0.2], views.scales: [[1, 0.5], [1]]}
  split: val
  trials: 3
  search: tpe
  repeats: 2
  concurrent: 1
"""
INTERVALS = """
method: lpcam
sweep:
  space:
    lpcam:
      tau: {uniform: [0.1, 0.3]}
      K: {qrandint: [4, 12, 4]}
    refiner:
    - {refine.kind: crf, refine.crf: {choice: [irn, psa]}}
    - {refine: {kind: irn, beta: {loguniform: [5, 15]}}}
  trials: 3
"""


def test_a_file_describes_a_sweep_with_its_space() -> None:
    write(SWEEP)
    title, sweep = resolve.sweep(options_of("sweep a.yaml --repeats 4"), NOWHERE)
    assert title == "a"
    assert list(sweep.space) == ["lpcam.tau", "views.scales"]
    assert (sweep.split, sweep.trials, sweep.kind) == ("val", 3, "tpe")
    assert (sweep.repeats, sweep.concurrent) == (4, 1)
    assert sweep.experiment_at({"views.scales": [1, 0.5]}).views.scales == (1, 0.5)
    write("method: lpcam\nsweep.space: figure-5\n")
    title, sweep = resolve.sweep(options_of("sweep a.yaml"), NOWHERE)
    assert title == "figure-5"
    assert sweep.space["lpcam.tau"].size == 5
    assert options_of("sweep a.yaml --space default").space == "default"


@pytest.mark.parametrize("text", [SWEEP, INTERVALS])
def test_the_file_in_the_record_of_a_sweep_describes_the_same_sweep(text: str) -> None:
    write(text)
    _, sweep = resolve.sweep(options_of("sweep a.yaml"), NOWHERE)
    write(sweep_file(sweep), "again.yaml")
    _, again = resolve.sweep(options_of("sweep again.yaml"), NOWHERE)
    assert again == sweep


COMPUTED = """
from ray import tune

SPACES = {"mine": {"lpcam.mu_f": [0.6, 0.8], "lpcam.mu_b": tune.sample_from(lambda: 0.5)}}
"""


def test_the_file_of_a_sweep_whose_space_holds_a_function_stands_for_no_other_space() -> None:
    write(COMPUTED, "mine.py")
    write("method: lpcam\n")
    _, sweep = resolve.sweep(options_of("sweep a.yaml --space mine.py"), NOWHERE)
    write(sweep_file(sweep), "again.yaml")
    with pytest.raises(InputError, match=r"a function computes 'lpcam.mu_b', which no .* --space"):
        resolve.sweep(options_of("sweep again.yaml"), NOWHERE)
    _, again = resolve.sweep(options_of("sweep again.yaml --space mine.py"), NOWHERE)
    assert list(again.space) == ["lpcam.mu_f", "lpcam.mu_b"]


def test_the_file_in_the_record_of_a_figure_describes_the_same_figure() -> None:
    base = resolve.experiment(options_of("figure lpcam-5 --data voc"), NOWHERE, 2, method="lpcam")
    point = {"lpcam.tau": 0.1}
    space = {"lpcam.tau": [0.1]}
    sweep = Sweep(base=base, space=space, listed_points=(point,), figure="lpcam-5", repeats=3)
    write(sweep_file(sweep))
    options = options_of("figure a.yaml")
    assert (options.figure, options.repeats, options.seed) == ("lpcam-5", 3, 2)
    assert resolve.experiment(options, NOWHERE, 2, method="lpcam") == base


def test_the_file_of_a_sweep_over_combinations_describes_the_same_experiments() -> None:
    write("method: sipe\nsipe.weight: 0.5\nsweep.space.combination: [cam, 'sipe:lpcam']\n")
    options = options_of("sweep a.yaml --set training.epochs=2 --preset paper")
    _, sweep = resolve.sweep(options, NOWHERE)
    assert sweep_file(sweep) == ""
    write(resolve.combinations_file(options, NOWHERE, sweep), "again.yaml")
    _, again = resolve.sweep(options_of("sweep again.yaml"), NOWHERE)
    assert again == sweep
    assert again.bases["sipe:lpcam"].settings["sipe"].weight == 0.5


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        ("run", "seed: 1", "a.yaml: it gives no method; write method: NAME"),
        ("figure", "seed: 1", "a.yaml: it gives no figure; write figure: NAME"),
        ("compare", "seed: 1", "a.yaml: it gives no methods; write compare: {methods: [NAME"),
        ("run", "method: cam\ntraining.epoch: 1", "a.yaml, line 2: unknown field 'training.epoch'"),
        ("run", "method: cam\ndata: 3", "a.yaml, line 2: data is 3; it must be text"),
        ("run", "method: cam\nseed: -1", "a.yaml, line 2: seed is -1; it must be a whole number"),
        ("run", "method: cam\nseed: [0, 1]", "line 2: seed is [0, 1]; it must be one whole number"),
        ("sweep", "method: cam\nseed: one", "a.yaml, line 2: seed is 'one'; it must be one whole"),
        ("run", "method: ''", "a.yaml: it gives no method; write method: NAME"),
        ("run", "method: cma", "a.yaml, line 1: unknown method 'cma'; there are cam"),
        ("run", "method: cam\npreset: odd", "a.yaml, line 2: unknown preset 'odd' of cam; there"),
        (
            "sweep",
            "sweep:\n  trial: 1",
            "a.yaml, line 2: unknown option 'sweep.trial'; there are sweep.split, sweep.repeats",
        ),
        ("sweep", "sweep.trials: -1", "a.yaml, line 1: sweep.trials is -1; it must be a whole num"),
        ("sweep", "sweep.search: odd", "a.yaml, line 1: sweep.search is 'odd'; it must be one of"),
        ("sweep", "sweep.space.lpcam.tau: 1", "a.yaml, line 1: sweep.space.lpcam.tau must be a li"),
        ("sweep", "sweep: 3", "a.yaml, line 1: sweep is a group of options; there are sweep.split"),
        ("run", "figure: 3", "a.yaml, line 1: figure is a group of options; there are figure.spl"),
        ("run", "run.seeds: []", "a.yaml, line 1: run.seeds is empty; it must have at least one"),
        (
            "compare",
            "compare.methods: 3",
            "a.yaml, line 1: compare.methods is 3; it must be a list",
        ),
    ],
)
def test_an_error_names_file_line_and_field(
    words: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(text)
    assert main([words, "a.yaml"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "localizer", "baseline"),
    [("psdpm", "", "sipe+cam:lpcam"), ("psdpm", "cam", "mine"), ("sipe+cpal", "lpcam", "")],
)
def test_the_file_in_the_record_of_a_run_describes_the_same_experiment(
    method: str, localizer: str, baseline: str
) -> None:
    changes = {"data": "voc", "seed": 3, "training.epochs": 2}
    made = build_experiment(
        method, preset="paper", localizer=localizer, baseline=baseline, changes=changes
    )
    write(experiment_file(made))
    options = options_of("run a.yaml")
    assert options.seeds == (3,)
    assert resolve.experiment(options, NOWHERE, 3) == made
    other = resolve.experiment(options_of("run a.yaml --data coco"), NOWHERE, 4)
    assert other == build_experiment(
        method,
        preset="paper",
        localizer=localizer,
        baseline=baseline,
        changes=changes | {"data": "coco", "seed": 4},
    )


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_section_is_refused_in_one_sentence_or_read(data: st.DataObject) -> None:
    lines = SWEEP.strip().splitlines()
    parts = st.sampled_from((":", "- ", "[", "]", "{}", "''", "null", "1e9", "-1", "true", "  "))
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(lines) - 1))
        column = data.draw(st.integers(0, len(lines[row])))
        rest = lines[row][column + data.draw(st.integers(0, 4)) :]
        lines[row] = lines[row][:column] + data.draw(parts) + rest
    write("\n".join(lines))
    with contextlib.suppress(InputError):
        _, sweep = resolve.sweep(options_of("sweep a.yaml"), NOWHERE)
        assert sweep.count


def test_a_recipe_on_the_command_line_needs_a_segmenter() -> None:
    write("method: cam\nrecipe: lpcam-voc\n")
    assert experiment_of("run a.yaml").segment.iterations == 20_000
    with pytest.raises(InputError, match="--recipe needs a segmenter"):
        experiment_of("run a.yaml --recipe swin")


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "gone.yml"]) == 2
    assert "there is no file gone.yml" in capsys.readouterr().err
    assert main(["run", "~nobody-here/gone.yaml"]) == 2
    assert "there is no file ~nobody-here/gone.yaml" in capsys.readouterr().err


def test_every_option_in_a_section_is_an_option_of_its_command() -> None:
    kinds = {COMMANDS[section]: section for section in SECTIONS}
    assert {kind: section for kind, (section, _, _) in SUBJECTS.items()} == kinds
    for kind, section in kinds.items():
        parameters = {*kind.__dataclass_fields__}
        renamed = {"name": "figure"} if section == "figure" else {}
        for name in SECTIONS[section].__dataclass_fields__:
            field = renamed.get(name, name)
            assert field in parameters
            default = getattr(SECTIONS[section](), name)
            if field not in ("figure", "methods"):
                assert kind.__dataclass_fields__[field].default == default
