"""Tests of experiments as files: written and read again, and errors with file and line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wsss.platform.config.fields import replaced, resolved, values_in_key, walk
from wsss.platform.config.rules import choices_of, rule_of
from wsss.platform.config.yaml_writer import experiment_file
from wsss.platform.errors import FieldError, InputError
from wsss.platform.method import build_experiment, methods
from wsss.platform.method.experiment_files import ExperimentFile, experiment_of, json_schema

HEAD = ("method", "localizer", "imported")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=9) | st.sampled_from(
    ("none", "no", "1e-3", "true", "~", "a: b", "# a", "", " ", "-", "null", "0")
)


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


few_examples = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
COMBINATIONS = [
    *((name, "", "sipe+cam:lpcam" * cls.needs_baseline) for name, cls in methods().items()),
    ("sipe+cpal", "lpcam", ""),
    ("psdpm", "cam", "mine"),
]
"""Methods, each with a localizer and a baseline; either may be empty."""


BROKEN_RULES = (
    "must come first|so FPEM has no input|put {} once in it|write CLASS=TEXT|"
    "each text must be like|of a training, only"
)
"""Messages on the rules of options that a drawn value may break."""


@st.composite
def values_of(draw: st.DrawFn, field: Any) -> Any:
    """Draw a value of a field, of which some break a rule between fields."""
    rule, hint = rule_of(field), str(field.annotation)
    assert rule
    numbers = st.floats(rule.low, rule.high) if rule.high is not None else st.nothing()
    if choices := choices_of(field):
        value = st.sampled_from(choices)
    elif "Annotated" in hint:
        value = st.integers(0, 99).map(lambda k: round(k / 100, 2))
    elif "bool" in hint:
        value = st.booleans()
    elif "tuple[str" in hint:
        value = st.lists(TEXTS, min_size=int(rule.some), max_size=3).map(tuple)
    elif "tuple[int" in hint:
        value = st.tuples(*[st.integers(int(rule.low), int(rule.high))] * 2)
    elif "tuple[float, float]" in hint:
        value = st.tuples(numbers, numbers)
    elif "tuple" in hint:
        value = st.lists(numbers, max_size=3).map(lambda v: (1.0, *v))
    elif "int" in hint:
        value = st.integers(int(rule.low), int(rule.high))
    elif "float" in hint:
        value = numbers
    else:
        value = st.text("abc /.-", min_size=1) if rule.file else TEXTS
    return draw(st.none() | value if "None" in hint else value)


@pytest.mark.parametrize(("method", "localizer", "baseline"), COMBINATIONS)
@few_examples
@given(data=st.data())
def test_a_written_experiment_is_read_again(
    method: str, localizer: str, baseline: str, data: st.DataObject, tmp_path: Path
) -> None:
    preset = data.draw(st.sampled_from(("paper", "default", "scenes")))
    made = build_experiment(method, preset=preset, localizer=localizer, baseline=baseline)
    fields = {name: f for name, _, f in walk(made) if name.removeprefix("baseline.") not in HEAD}
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=8, unique=True)):
        value = data.draw(values_of(fields[name]))
        if (name, value) == ("baseline.segment.network", ""):
            continue  # every way to make a baseline gives it a segmenter
        try:
            made = replaced(made, {name: value})
        except FieldError as error:
            if not re.search(BROKEN_RULES, str(error)):
                raise
    path = tmp_path / "a.yaml"
    path.write_text(experiment_file(made), encoding="utf-8")
    again = experiment_of(path)
    assert again == made
    assert [(n, v, type(v)) for n, v, _ in walk(again)] == [
        (n, v, type(v)) for n, v, _ in walk(made)
    ]
    keyed = {name: None for name, _, f in walk(made) if (rule := rule_of(f)) and rule.file}
    one, two = (values_in_key(resolved(replaced(e, keyed), False)) for e in (made, again))
    assert json.dumps(one) == json.dumps(two)


PARTS = st.sampled_from(
    (
        "\n",
        "  ",
        "\t",
        ":",
        "- ",
        "[",
        "{",
        "}",
        "&a ",
        "*a",
        "!!int ",
        "'",
        '"',
        "#",
        "|",
        "? ",
        "---",
    )
)


@few_examples
@given(data=st.data())
def test_a_damaged_file_is_refused_in_one_sentence_or_read(
    data: st.DataObject, tmp_path: Path
) -> None:
    text = experiment_file(build_experiment("lpcam", preset="scenes"))
    lines = [line for line in text.splitlines() if "#" not in line and line]
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.integers(0, len(lines) - 1))
        column = data.draw(st.integers(0, len(lines[row])))
        part = data.draw(PARTS | st.text(max_size=3) | st.just(""))
        lines[row] = (
            lines[row][:column] + part + lines[row][column + data.draw(st.integers(0, 3)) :]
        )
    path = tmp_path / "a.yaml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        assert experiment_of(path).method
    except InputError as error:
        assert str(error).startswith(f"{path}")  # noqa: PT017


@pytest.mark.parametrize("method", sorted(methods()))
def test_a_written_file_explains_each_field(method: str) -> None:
    made = build_experiment(method, baseline="cam" if methods()[method].needs_baseline else "")
    text = experiment_file(made)
    assert max(map(len, text.splitlines())) <= 100
    flat = re.sub(r"\s+# ", " ", text)
    for name, _, field in walk(made):
        assert str(field.description) in flat
        assert f"{name.rpartition('.')[2]}: " in text
    assert "It must be a whole number between 1 and 100000." in flat


def test_a_short_file_builds_on_a_preset_and_on_other_files(tmp_path: Path) -> None:
    write(tmp_path, "method: lpcam\npreset: paper\ntraining: {epochs: 3, lr: 1e-3}\n", "base.yaml")
    text = "extends: base.yaml\ndata: voc\ntraining:\n  epochs: 4\nlpcam.tau: 0.5\nrefine:\n"
    path = write(tmp_path, text)
    changes = {"data": "voc", "training.epochs": 4, "training.lr": 1e-3, "lpcam.tau": 0.5}
    assert experiment_of(path) == build_experiment("lpcam", preset="paper", changes=changes)
    changed = experiment_of(path, {"training.epochs": 9, "preset": "release", "lpcam.K": 3})
    changes |= {"training.epochs": 9, "lpcam.K": 3}
    assert changed == build_experiment("lpcam", preset="release", changes=changes)


def test_the_preset_of_the_data_is_used_where_the_file_gives_none(tmp_path: Path) -> None:
    path = write(tmp_path, "method: sipe\nlocalizer: lpcam\n")
    assert experiment_of(path) == build_experiment("sipe", localizer="lpcam")
    scenes = build_experiment("sipe", localizer="lpcam", preset="scenes")
    assert experiment_of(path, preset="scenes") == scenes


@pytest.mark.parametrize(
    "lines",
    [
        "baseline: sipe:lpcam\ntraining.epochs: 7\nbaseline.lpcam.tau: 0.5",
        "baseline:\n  method: sipe\n  localizer: lpcam\n  lpcam: {tau: 0.5}\ntraining: {epochs: 7}",
    ],
)
def test_a_baseline_is_a_text_or_a_group(lines: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"method: psdpm\npreset: scenes\nrecipe: psdpm-voc\n{lines}\n")
    made = build_experiment(
        "psdpm",
        preset="scenes",
        baseline="sipe:lpcam",
        recipe="psdpm-voc",
        changes={"training.epochs": 7, "baseline.lpcam.tau": 0.5},
    )
    assert experiment_of(path) == made


def test_a_change_replaces_the_baseline_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "method: psdpm\nbaseline: {method: sipe, training.epochs: 3}\n")
    changes = {"baseline.training.epochs": 3}
    for change in ({"baseline": "cam"}, {"baseline.method": "cam"}):
        assert experiment_of(path, change) == build_experiment(
            "psdpm", baseline="cam", changes=changes
        )


def test_an_import_may_be_the_baseline(tmp_path: Path) -> None:
    path = write(tmp_path, "method: psdpm\nbaseline: {imported: mine}\n")
    assert experiment_of(path) == build_experiment("psdpm", baseline="mine")


PSDPM = "method: psdpm\nbaseline: cam\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("method: cam\ntraining:\n  epoch: 1\n", 3, "unknown field 'training.epoch'; the nearest"),
        ("method: cam\nlpcam.tau: 1\n", 2, "unknown field 'lpcam.tau'; "),
        ("method: cam\ntraining.epochs: 0\n", 2, "training.epochs is 0; it must be a whole number"),
        ("method: cam\ntraining.lr: none\n", 2, "training.lr is None; it must be a number between"),
        ("method: cam\nsegment.known: no\n", 2, "segment.known is 'no'; it must be true or false"),
        ("method: cam\ntraining.lr: '1'\n", 2, "training.lr is '1'; it must be a number between"),
        ("method: cam\nviews.scales: [0.5]\n", 2, "views.scales is (0.5,); 1 must come first"),
        ("method: cam\ntraining.resize: [1, .nan]\n", 2, "training.resize is [1, nan]; it must be"),
        ("method: cam\ntraining: 3\n", 2, "training is a group of fields; give the fields in it"),
        ("method: cam\nrefine.threshold: 0.375\n", 2, "refine.threshold is 0.375; it must be one"),
        ("method: cam\nnetwork.weights: ''\n", 2, "network.weights is empty; it must be a path"),
        ("method: cam\nseed: 1.5\n", 2, "seed is 1.5; it must be a whole number between 0 and"),
        ("# a\nmethod: cma\n", 2, "unknown method 'cma'; there are cam"),
        ("method: cam\npreset: papr\n", 2, "unknown preset 'papr' of cam; there are"),
        ("method: cam\nrecipe: mine\n", 2, "unknown recipe 'mine'; there are"),
        ("method: cam\nlocalizer: lpcma\n", 2, "unknown method 'lpcma'; there are cam"),
        ("method: cam+cma\n", 1, "unknown method 'cma'; there are cam"),
        ("method: psdpm\nbaseline:\n  method: cma\n", 3, "unknown method 'cma'; there are cam"),
        ("method: psdpm\nbaseline.localizer: cam\n", 2, "baseline.localizer is 'cam' without base"),
        ("method: 3\n", 1, "method is 3; it must be text"),
        (f"{PSDPM}baseline.training.epoch: 3\n", 3, "unknown field 'baseline.training.epoch'; the"),
        (f"{PSDPM}baseline.training.lr: -1\n", 3, "baseline.training.lr is -1; it must be a numb"),
        (f"{PSDPM}training.lr: -1\n", 3, "training.lr is -1; it must be a number between"),
        (
            f"{PSDPM}psdpm:\n  depth: 1\n  position: none\n  features: false\n  colour: false\n",
            5,
            "psdpm.position is 'none', and features and colour are False, so FPEM has no input",
        ),
    ],
)
def test_an_error_names_file_line_and_field(
    text: str, line: int, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        experiment_of(path)
    assert str(caught.value).startswith(f"{path}, line {line}: {message}")


def test_an_error_names_the_extended_file(tmp_path: Path) -> None:
    write(tmp_path, "method: cam\n\ntraining.epochs: 0\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nseed: 1\n")
    with pytest.raises(InputError, match=r"base\.yaml, line 3: training\.epochs is 0"):
        experiment_of(path)
    assert experiment_of(path, {"training.epochs": 1}).training.epochs == 1
    with pytest.raises(InputError, match=r"a\.yaml: training\.epochs is -1"):
        experiment_of(path, {"training.epochs": -1})


def test_space_and_figure_of_a_file_count_more_than_those_of_the_extended_file(
    tmp_path: Path,
) -> None:
    write(tmp_path, "sweep: {space: default}\nfigure: {name: cpal-4}\n", "base.yaml")
    text = "extends: base.yaml\nsweep: {space: {training.lr: [0.1]}}\nfigure: lpcam-5\n"
    file = ExperimentFile.read(write(tmp_path, text))
    assert (file.space, file.options("sweep")) == ({"training.lr": [0.1]}, {})
    assert file.options("figure") == {"name": "lpcam-5"}


def test_a_file_without_a_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.yaml: it names no method; write method: NAME"):
        experiment_of(write(tmp_path, "seed: 1\n"))


@pytest.mark.parametrize("method", sorted(methods()))
def test_the_schema_accepts_written_files(method: str) -> None:
    check = jsonschema.Draft202012Validator(json_schema(method))
    baseline = "cam" if methods()[method].needs_baseline else ""
    made = build_experiment(method, preset="paper", baseline=baseline)
    assert list(check.iter_errors(yaml.safe_load(experiment_file(made)))) == []
    assert check.is_valid({"preset": "paper"})
    assert not check.is_valid({"preset": "mine"})


@pytest.mark.parametrize(
    ("row", "valid"),
    [
        ({"sweep": {"space": {"lpcam.tau": [0.1]}, "trials": 3}, "figure": "lpcam-5"}, True),
        ({"sweep": {"space": "figure-5", "search": "tpe"}, "run": {"seeds": [0, 1]}}, True),
        ({"figure": {"name": "lpcam-5", "repeats": 3}, "compare": {"methods": ["cam"]}}, True),
        ({"sweep": {"trial": 3}}, False),
        ({"sweep": {"space": {"lpcam.tau": {"uniform": [0.1, 0.2]}}, "search": "gp"}}, True),
        ({"sweep": {"space": {"lpcam.tau": 0.1}}}, False),
        ({"sweep": {"space": {}}}, False),
        ({"sweep": {"search": "odd"}}, False),
        ({"run": {"seeds": 0}}, False),
    ],
)
def test_the_schema_has_the_sections_of_commands(row: dict[str, Any], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(json_schema("lpcam")).is_valid(row) == valid


def test_the_schema_of_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="unknown method 'mine'; there are cam"):
        json_schema("mine")
