"""Tests of every option that is a path: relative, absolute, with blanks, under `~`, empty."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from command_line import COMMAND_WORDS, arguments_of, is_option
from wsss.platform.cli import main, parser, resolve
from wsss.platform.cli.options.experiment_options import SweepOptions
from wsss.platform.cli.options.kinds import Command
from wsss.platform.config.fields import walk
from wsss.platform.config.rules import rule_of
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment

PATH_OPTIONS = {
    "store": "doctor --store {}",
    "out": "report {}",
    "out of export": "export {}",
    "path": "import irn {} --data scenes --name a",
    "path of voc": "data voc {}",
    "path of coco": "data coco {}",
    "path of folder": "data folder {}",
    "labels": "data voc . --labels {}",
    "labels of folder": "data folder . --labels {}",
    "annotations": "data coco . --annotations {}",
    "annotations of a split": "data coco . --annotations val={}",
    "images": "data coco . --images {}",
    "images of a split": "data coco . --images val={}",
    "weights": "run cam --weights {}",
    "page": "run cam --page {}",
    "page of a sweep": "sweep cam --page {}",
    "picture": "compare cam --picture {}",
    "space": "sweep lpcam --space {}.py",
    "space of several": "sweep lpcam --space {}.py:some",
}
FORMS = ("here", "not/here", "../up", ".", "a b/c  d", "{tmp}/there", "{tmp}/a b", "~/of/mine")
"""Paths as users type them; {tmp} stands for the folder of the test, and ~ for `home` in it."""
EACH_FORM = ("store", "labels", "images of a split", "space of several")
"""Options that are tried in each form."""
TWO_FORMS = ("../up", "~/of/mine")
"""Forms of the other options, which the same functions read."""
FILE_FIELDS = [
    (method, name)
    for method, changes in (("cam", {"segment.network": "deeplabv2"}), ("ssc", {}))
    for name, _, field in walk(build_experiment(method, preset="scenes", changes=changes))
    if (rule := rule_of(field)) and rule.file
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which commands start; its path holds a colon and blanks."""
    folder = tmp_path / "work: mine" / "now"
    (tmp_path / "home").mkdir()
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(folder)
    return folder


def expected(text: str, here: Path, tmp_path: Path) -> str:
    """Return the absolute path that a typed path stands for."""
    text = text.replace("~", str(tmp_path / "home"))
    return str(here / text)


def options_of(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> Command:
    """Return the options that a command gets from its words."""
    received: list[Command] = []
    actions = {Command: lambda options, command: received.append(options)}
    monkeypatch.setattr(parser, "_actions", lambda: actions)
    assert main(words) == 0
    return received[0]


@pytest.mark.parametrize(
    ("option", "form"),
    [
        (option, form)
        for option in PATH_OPTIONS
        for form in (FORMS if option in EACH_FORM else TWO_FORMS)
    ],
)
def test_a_path_is_absolute_once_it_is_parsed(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, form: str
) -> None:
    form = form.replace("{tmp}", str(tmp_path))
    words = [word.replace("{}", form) for word in PATH_OPTIONS[option].split(" ")]
    path = getattr(options_of(monkeypatch, words), option.partition(" ")[0])
    end = re.sub(r".*\{\}", "", PATH_OPTIONS[option]) if "space" in option else ""
    start = "val=" if option.endswith("of a split") else ""
    whole = start + expected(form + end, here, tmp_path)
    assert path == ((whole,) if option.startswith(("annotations", "images")) else whole)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "field"), FILE_FIELDS)
def test_a_file_of_a_configuration_is_absolute(
    here: Path, tmp_path: Path, method: str, field: str, form: str
) -> None:
    form = form.replace("{tmp}", str(tmp_path))
    changes = {field: form, **({"segment.network": "deeplabv2"} if "segment" in field else {})}
    made = build_experiment(method, preset="scenes", changes=changes)
    assert {n: v for n, v, _ in walk(made)}[field] == expected(form, here, tmp_path)
    with pytest.raises(InputError, match=f"{field} is empty; it must be a path"):
        build_experiment(method, preset="scenes", changes={**changes, field: ""})


def test_weight_files_are_among_the_files_of_configurations() -> None:
    assert {"network.weights", "segment.weights"} <= {name for _, name in FILE_FIELDS}


@pytest.mark.parametrize("option", [o for o in PATH_OPTIONS if "space" not in o])
@pytest.mark.parametrize("text", ["", "s3://bucket/folder"])
def test_an_empty_path_and_an_address_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str], option: str, text: str
) -> None:
    if option == "store" and text:
        return
    words = [word.replace("{}", text) for word in PATH_OPTIONS[option].split()]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"wsss: {resolve.PATHS[option.split(' ')[0]]} is ")
    assert message.endswith("; it must be a path\n")
    assert message.count("\n") == 1
    assert not os.listdir(here)


def test_an_address_of_a_store_and_the_name_of_a_space_stay_as_typed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sweep", "lpcam", "--store", "s3://bucket/folder", "--space", "crf"]
    options = options_of(monkeypatch, words)
    assert (options.store, options.space) == ("s3://bucket/folder", "crf")
    assert options.page is None


def test_the_store_from_the_environment_is_made_absolute(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, path in (("~/s", tmp_path / "home" / "s"), ("s", here / "s"), ("", here / "store")):
        monkeypatch.setenv("WSSS_STORE", text)
        assert options_of(monkeypatch, ["doctor"]).store == str(path)


def test_the_table_of_paths_names_every_option_that_is_a_path() -> None:
    """The help of an option that is a path names a folder, a file or an archive.

    An experiment file stands in the place of a method; it is read at once, where the command runs.
    """
    pattern = re.compile(r"\b(DIR|FILE(\.py)?)\b")
    paths = {
        argument.field_info.name
        for words in COMMAND_WORDS
        for argument in arguments_of(words)
        if pattern.search(f"{argument.parameter.metavar} {argument.parameter.help}")
        or (
            not is_option(argument)
            and re.search(r"\b([Ff]older|archive)\b", str(argument.parameter.help))
        )
    }
    paths -= {"method", "methods", "figure"}
    assert paths == set(resolve.PATHS)
    assert paths == {option.split(" ")[0] for option in PATH_OPTIONS}


def test_a_search_space_of_the_user_may_have_any_name(here: Path) -> None:
    from wsss.platform.tuning import spaces

    (here / "my spaces.py").write_text("SPACES = {'a b': {'lpcam.tau': [0.1]}}")
    options = parser.parse(["sweep", "lpcam", "--space", "my spaces.py:a b"])
    assert isinstance(options, SweepOptions)
    options = resolve.with_absolute_paths(options)
    title, space = spaces.find_space("lpcam", options.space)
    assert (title, spaces.space_in_file_form(space)) == ("my-spaces-a-b", {"lpcam.tau": [0.1]})
