"""Tests of reading YAML: words, places of fields, files that extend others, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.config.yaml_reader import LARGEST, read
from wsss.platform.config.yaml_writer import value_text
from wsss.platform.errors import InputError


def write(folder: Path, text: str | bytes, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def values(path: Path) -> dict[str, object]:
    return {name: entry.value for name, entry in read(path).items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("3", 3),
        ("-3", -3),
        ("010", 10),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", None),
        ("'none'", "none"),
        ('"1"', "1"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1e", "1e"),
        ("4d", "4d"),
        ("=", "="),
        ("resnet50", "resnet50"),
        ("[1, 0.5, none]", [1, 0.5, None]),
        ("[]", []),
        ("\n  - a\n  - b", ["a", "b"]),
        ("a # comment", "a"),
    ],
)
def test_words_are_read_as_on_the_command_line(text: str, value: object, tmp_path: Path) -> None:
    read_value = values(write(tmp_path, f"field: {text}\n"))["field"]
    assert read_value == value
    assert type(read_value) is type(value)


@settings(deadline=None)
@given(
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8")),
        st.lists(st.text(st.characters(codec="utf-8"))).map(tuple),
        st.sampled_from(("none", "No", "1e3", "~", "a: b", "- a", "# a", "&a", "*a", "!a", "%a")),
    )
)
def test_each_written_value_is_read_again(
    value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("a"), f"field: {value_text(value)}\n")
    expected = list(value) if isinstance(value, tuple) else value
    assert values(path)["field"] == expected
    if isinstance(value, int | float):
        assert yaml.safe_load(path.read_text()) == {"field": value}


def test_fields_are_nested_or_dotted_and_keep_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path, "# comment\nmethod: cam\ntraining:\n  lr: 1e-3\n  a.b: 2\nrefine.beta: 3\n"
    )
    entries = read(path)
    assert {name: (e.value, e.line) for name, e in entries.items()} == {
        "method": ("cam", 2),
        "training.lr": (1e-3, 4),
        "training.a.b": (2, 5),
        "refine.beta": (3, 6),
    }
    assert entries["training.lr"].place == f"{path}, line 4"


def test_a_byte_order_mark_and_an_empty_file_are_read(tmp_path: Path) -> None:
    assert values(write(tmp_path, b"\xef\xbb\xbfmethod: cam\r\n")) == {"method": "cam"}
    assert values(write(tmp_path, "# nothing\n")) == {}


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (BOMB, 1, "it has an anchor or alias; write the value out"),
        ("a: 1\nb: *a\n", 2, "it has an anchor or alias"),
        ("a: 1\n<<: {b: 2}\na: 2\n", 3, "a is given twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", 3, "a.b is given twice, first in line 2"),
        ("a:\n  b: 1\na.b: 2\n", 3, "a.b is given twice, first in line 2"),
        ("baseline: a\nbaseline: {method: b}\n", 2, "baseline.method is given beside baseline, li"),
        ("baseline.localizer: b\nbaseline: a\n", 2, "baseline is given beside baseline.localizer"),
        ("figure: a\nfigure: {name: b}\n", 2, "figure.name is given beside figure, line 1; leave"),
        ("sweep.space: a\nsweep.space.b: [1]\n", 2, "sweep.space.b is given beside sweep.space, l"),
        ("sweep.space.b: [1]\nsweep.space: a\n", 2, "sweep.space is given beside sweep.space.b, l"),
        ("sweep.space: {b: [1], b: {uniform: [1, 2]}}", 1, "sweep.space.b.uniform is given beside"),
        ("sweep.space.g: [{b: 1, b.choice: [1]}]", 1, "b.choice is given beside b, line 1; leave"),
        ("sweep:\n  space: {}\n", 2, "sweep.space is empty; give values to try, or leave it out"),
        ("sweep.space.b: {}\n", 1, "sweep.space.b is empty; give values to try, or leave it out"),
        ("sweep.space.g: [{b: {}}]\n", 1, "b is empty; give values to try, or leave it out"),
        ("a: 1\n1: 2\n", 2, "the name of a field is '1'; it must be a text"),
        ("true: 2\n", 1, "the name of a field is 'true'; it must be a text"),
        ("[a, b]: 2\n", 1, "the name of a field is a list or group; it must be a text"),
        ("a:\n\tb: 1\n", 2, "it holds a tab; use blanks"),
        ("a: [{b: 1}]\n", 1, "a list holds fields; it must hold values"),
        ("- a\n- b\n", 1, "it holds no fields; write NAME: VALUE"),
        ("just words\n", 1, "it holds no fields; write NAME: VALUE"),
        ("a: !!python/object:os.system x\n", 1, "it has the tag tag:yaml.org,2002:python/object"),
        ("a: !!float 1\n", 1, "it has the tag tag:yaml.org,2002:float; leave the tag out"),
        ("a: ! 1\n", 1, "it has the tag !; leave the tag out"),
        ("a: 1\n---\nb: 2\n", 2, "it holds a second document; remove the line ---"),
        ("a: [1\nb: 2\n", 2, "it is not YAML: "),
        ("a: 'b\n", 2, "it is not YAML: found unexpected end of stream"),
        ("a: 1\nb: \x00\n", 2, "it holds a character that YAML does not allow; remove it"),
        ("a: " + "[" * 50 + "]" * 50, 1, "it is nested deeper than 20 levels"),
        ("a: " + "{a: " * 5000, 1, "it is nested deeper than 20 levels"),
        (b"a: 1\nb: \xe9t\xe9\n", 2, "it is not UTF-8; save it as UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, "it is not UTF-8; save it as UTF-8"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_its_line(
    text: str | bytes, line: int, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line {line}: {message}")


def test_huge_files_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has more than \d+ bytes; it is no experiment file"):
        read(write(tmp_path, "a: 1\n" * (LARGEST // 5 + 1)))
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "b.yaml")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "pipe")


def test_a_number_too_long_for_python_is_a_text(tmp_path: Path) -> None:
    assert values(write(tmp_path, f"a: {'9' * 9000}\n")) == {"a": "9" * 9000}


def test_a_file_extends_others_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "method: cam\nseed: 1\ntraining.lr: 1\n", "first.yaml")
    write(tmp_path / "base", "extends: first.yaml\nseed: 2\nnew: 5\n", "second.yaml")
    path = write(tmp_path, "extends: base/second.yaml\ntraining:\n  lr: 3\n")
    entries = read(path)
    own = {name: entry.value for name, entry in entries.items() if name != "extends"}
    assert own == {"method": "cam", "seed": 2, "new": 5, "training.lr": 3}
    assert entries["seed"].place == f"{tmp_path}/base/second.yaml, line 2"
    assert entries["training.lr"].place == f"{path}, line 3"


@pytest.mark.parametrize(
    ("base", "text", "expected"),
    [
        ("baseline: cam", "baseline: lpcam", {"baseline": "lpcam"}),
        ("baseline: cam", "baseline.method: lpcam", {"baseline.method": "lpcam"}),
        (
            "baseline: {method: cam, localizer: sipe, seed: 3}",
            "baseline: lpcam",
            {"baseline": "lpcam", "baseline.seed": 3},
        ),
        ("figure: {name: a, seed: 1}", "figure: b", {"figure": "b", "figure.seed": 1}),
        ("figure: a", "figure.name: b", {"figure.name": "b"}),
        ("sweep.space: a", "sweep.space: {b: [1]}", {"sweep.space.b": [1]}),
        ("sweep.space: {b: [1], c.uniform: [1, 2]}", "sweep.space: a", {"sweep.space": "a"}),
        (
            "sweep.space: {b: [1], c.d: {uniform: [1, 2]}, e: {uniform: [1, 2]}}",
            "sweep.space: {c.d: [3], e: {randint: [1, 2]}}",
            {"sweep.space.b": [1], "sweep.space.c.d": [3], "sweep.space.e.randint": [1, 2]},
        ),
    ],
)
def test_a_field_replaces_the_same_field_of_the_extended_file_under_another_name(
    base: str, text: str, expected: dict[str, object], tmp_path: Path
) -> None:
    write(tmp_path, f"{base}\n", "base.yaml")
    fields = values(write(tmp_path, f"extends: base.yaml\n{text}\n"))
    assert {k: v for k, v in fields.items() if k != "extends"} == expected


def test_a_baseline_may_have_fields_of_its_own_beside_its_name(tmp_path: Path) -> None:
    text = "baseline: lpcam\nbaseline.training.epochs: 3\n"
    assert values(write(tmp_path, text)) == {"baseline": "lpcam", "baseline.training.epochs": 3}


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: ./a.yaml\n", "b.yaml")
    path = write(tmp_path, "method: cam\nextends: b.yaml\n")
    with pytest.raises(InputError, match=r"b\.yaml, line 1: extends leads back to .*a\.yaml"):
        read(path)
    for k in range(30):
        write(tmp_path, f"extends: {k + 1}.yaml\n", f"{k}.yaml")
    with pytest.raises(InputError, match="more than 20 files extend each other; merge"):
        read(tmp_path / "0.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: 3", "line 1: extends is 3; it must be a path"),
        ("extends:", "line 1: extends is None; it must be a path"),
        ("extends: [a, b]", "line 1: extends is ['a', 'b']; it must be a path"),
        ("a: 1\nextends: lost.yaml", "line 2: there is no file"),
    ],
)
def test_a_wrong_base_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(write(tmp_path, text))
    assert message in str(caught.value)
