"""Tests of the command line: options with types, help in sentences, and errors in one sentence."""

from __future__ import annotations

import re
import shlex
import typing
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from command_line import COMMAND_WORDS, app_of, arguments_of, is_option
from wsss.platform.cli import main, resolve
from wsss.platform.cli.options import experiment_options as experiments
from wsss.platform.cli.options import source_options as sources
from wsss.platform.cli.options import store_options as stores
from wsss.platform.cli.options.kinds import GROUPS
from wsss.platform.cli.parser import COMMANDS, SOURCES, parse
from wsss.platform.config.experiment import Refine, Segment
from wsss.platform.config.fields import walk
from wsss.platform.config.rules import choices_of
from wsss.platform.data import registry
from wsss.platform.errors import InputError
from wsss.platform.interop import exports, imports
from wsss.platform.method import methods
from wsss.platform.storage.store import Store
from wsss.platform.tuning import spaces
from wsss.platform.tuning.objectives import OBJECTIVES
from wsss.platform.tuning.search.kinds import SEARCHES
from wsss.platform.tuning.sweep import SCHEDULERS, Sweep

SENTENCE = re.compile(r"(?!(Of|That|What|Which|Whose)\b)[A-Z].*[.)]", re.DOTALL)
HELPS = [(), ("data",), *COMMAND_WORDS]


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that returns the help of a command on a terminal of some width."""

    def read(words: tuple[str, ...], columns: int = 80) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            assert main([*words, "--help"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return read


def options_in(text: str) -> list[str]:
    """Return the labels in the left column of a help."""
    return re.findall(r"^  (\S.*?)(?:  |$)", text.partition("Example:")[0], re.MULTILINE)


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_every_help_is_a_sentence(words: tuple[str, ...]) -> None:
    app = app_of(words)
    assert SENTENCE.fullmatch(app.help)
    for argument in arguments_of(words) if app.default_command else ():
        assert SENTENCE.fullmatch(str(argument.parameter.help)), argument.name


@pytest.mark.parametrize("words", COMMAND_WORDS, ids=" ".join)
def test_every_option_is_in_the_help_under_a_heading_and_has_a_metavar(
    words: tuple[str, ...], help_of: Callable[..., str]
) -> None:
    labels = " ".join(options_in(help_of(words)))
    for argument in arguments_of(words):
        assert argument.name in labels
        if is_option(argument):
            assert set(argument.parameter.group) <= set(GROUPS)
            assert bool(argument.parameter.metavar) == (argument.hint is not bool)


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_no_help_shows_a_default_that_says_nothing(
    words: tuple[str, ...], help_of: Callable[..., str]
) -> None:
    text = " ".join(help_of(words).split())
    assert re.findall(r"\(default: (?:None|False|\(\)|\[\]|)\)", text) == []
    assert "(" not in "".join(re.findall(r"\(default: ([^)]*)\)", text))


def test_the_default_of_an_option_is_part_of_its_sentence(
    help_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_STORE", "100% mine")
    assert "sets the default (default: 100% mine)." in " ".join(help_of(("doctor",)).split())
    assert "Splits to import (default: train val)." in " ".join(help_of(("import",)).split())
    assert "needs a number or a --budget (default: 0)." in " ".join(help_of(("sweep",)).split())


@pytest.mark.parametrize("columns", [10, 80, 500])
@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_help_fits_the_terminal(
    words: tuple[str, ...], columns: int, help_of: Callable[..., str]
) -> None:
    """Only a word that is longer than its line, and an example, go beyond the width."""
    text = help_of(words, columns).partition("Example:")[0]
    width = min(max(columns, 40), 101)
    assert [line for line in text.splitlines() if len(line) > width and " " in line.strip()] == []


def test_the_commands_stand_in_the_order_of_use(help_of: Callable[..., str]) -> None:
    names = [label for label in options_in(help_of(())) if not label.startswith("-")]
    assert names == ["data", *COMMANDS]
    assert names[:3] == ["data", "run", "sweep"]
    assert [n for n in options_in(help_of(("data",))) if n[0] != "-"] == [*SOURCES]


def test_a_command_line_without_a_command_prints_the_help(
    help_of: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ((), ("data",)):
        text = help_of(words)
        assert main(words) == 0
        assert capsys.readouterr().out == text
        assert main([*words, "-h"]) == 0
        assert capsys.readouterr().out == text


@pytest.mark.parametrize("words", COMMAND_WORDS, ids=" ".join)
def test_the_help_of_a_command_ends_with_an_example_of_it(
    words: tuple[str, ...], help_of: Callable[..., str]
) -> None:
    example = help_of(words).splitlines()[-1].strip()
    assert example.startswith(f"wsss {' '.join(words)} ")
    options = parse(shlex.split(example.partition(" > ")[0])[1:])
    assert type(options) is {**SOURCES, **COMMANDS}[words[-1]]


@pytest.mark.parametrize("name", ["run", "sweep", "figure", "compare", "ablate"])
def test_an_example_becomes_experiments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry, "open_dataset", lambda store, name: SimpleNamespace(about={"source": name})
    )
    options, store = parse(shlex.split(COMMANDS[name].example)[1:]), Store("none")
    if isinstance(options, experiments.CompareOptions):
        made = [
            resolve.experiment(options, store, 0, **resolve.parse_combination(text))
            for text in options.methods
        ]
    elif isinstance(options, experiments.FigureOptions):
        made = [resolve.experiment(options, store, 0, method=spaces.find_figure(options.figure)[0])]
    else:
        assert isinstance(options, experiments.Localized)
        made = [resolve.experiment(options, store, 0)]
    if isinstance(options, experiments.SweepOptions):
        _, space = spaces.find_space(options.method, options.space)
        kind = options.search or ""
        assert Sweep(base=made[0], space=space, trials=options.trials, kind=kind).count > 1
    if isinstance(options, experiments.AblateOptions):
        assert methods()[options.method].ablation
    assert {e.data for e in made} == {"scenes"}


def test_options_have_the_types_of_their_class() -> None:
    words = "sweep lpcam --trials 3 --resume --set a=1 --set b=2 --search tpe --store s"
    assert parse(words.split()) == experiments.SweepOptions(
        method="lpcam", trials=3, resume=True, set=("a=1", "b=2"), search="tpe", store="s"
    )
    assert parse(["compare", "cam", "sipe:lpcam", "--seeds", "0", "1", "2", "--store", "s"]) == (
        experiments.CompareOptions(methods=("cam", "sipe:lpcam"), seeds=(0, 1, 2), store="s")
    )
    assert parse(
        ["data", "voc", "p", "--lists", "a", "b", "--quarantine", "0.5", "--store", "s"]
    ) == (sources.VOCOptions(path="p", lists=("a", "b"), quarantine=0.5, store="s"))
    assert parse(["methods", "--store=s"]) == stores.MethodsOptions(store="s")
    assert parse(["run", "cam", "--name=-rf", "--store=s"]) == (
        experiments.RunOptions(method="cam", name="-rf", store="s")
    )


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": 1}', "null", "@file", "a=-5", "1e3", "½"])
def test_the_text_of_an_option_stays_as_typed(text: str) -> None:
    options = parse(["compare", text, "--set", text, "--data", text, "--set", f"x={text}"])
    assert isinstance(options, experiments.CompareOptions)
    assert (options.methods, options.data) == ((text,), text)
    assert options.set == (text, f"x={text}")


def test_the_last_value_of_an_option_counts() -> None:
    options = parse(["run", "cam", "--data", "a", "--data", "b", "--quiet", "--quiet"])
    assert isinstance(options, experiments.RunOptions)
    assert (options.data, options.quiet) == ("b", True)


def test_an_option_with_several_values_may_be_repeated() -> None:
    options = parse(["run", "cam", "--seeds", "0", "--seeds", "1", "2"])
    assert isinstance(options, experiments.RunOptions)
    assert options.seeds == (0, 1, 2)


def test_choices_are_those_of_the_configuration() -> None:
    def choices(options: type, name: str) -> set[str]:
        hint = typing.get_type_hints(options)[name]
        literal = next((h for h in typing.get_args(hint) if typing.get_args(h)), hint)
        return {*typing.get_args(literal)}

    def allowed(config: object, name: str) -> set[str]:
        return {*choices_of(next(f for n, _, f in walk(config) if n == name))} - {""}

    assert choices(experiments.RunOptions, "refine") == allowed(Refine(), "kind")
    assert choices(experiments.RunOptions, "segment") == allowed(Segment(), "network")
    assert choices(experiments.SweepOptions, "search") == set(SEARCHES)
    assert choices(experiments.SweepOptions, "objectives") == set(OBJECTIVES)
    assert choices(experiments.SweepOptions, "scheduler") == {*SCHEDULERS} - {""}
    assert choices(stores.ExportOptions, "to") == set(exports.KINDS)
    assert choices(stores.ImportOptions, "kind") == set(imports.KINDS)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("swep", "unknown command 'swep' of wsss; did you mean sweep?"),
        ("data foldr x", "unknown command 'foldr' of wsss data; did you mean folder?"),
        ("data xyz", "unknown command 'xyz' of wsss data; there are voc, coco, folder, scenes"),
        ("--odd", "unknown option '--odd' of wsss; see wsss --help"),
        ("sweep cam --trails 3", "unknown option '--trails' of wsss sweep; did you mean --trials?"),
        ("sweep cam --seeds 3", "unknown option '--seeds' of wsss sweep; did you mean --repeats?"),
        ("run cam --repeats 3", "unknown option '--repeats' of wsss run; did you mean --seeds?"),
        (
            "run cam --batch-size 8",
            "unknown option '--batch-size' of wsss run; did you mean --set "
            "training.batch_size=VALUE?",
        ),
        ("run cam --seed 3", "unknown option '--seed' of wsss run; did you mean --seeds?"),
        ("report --epochs 8", "unknown option '--epochs' of wsss report; see wsss report --help"),
        ("report out --single_file", "unknown option '--single_file'; write --single-file"),
        (
            "sweep cam --trials 1_000",
            "--trials is '1_000'; it must be a whole number from 0 to 100000",
        ),
        ("run cam --xyz 3", "unknown option '--xyz' of wsss run; see wsss run --help"),
        ("run cam --trial", "unknown option '--trial' of wsss run; see wsss run --help"),
        ("run", "wsss run needs METHOD; see wsss run --help"),
        (
            "data voc --lists train val PATH",
            "wsss data voc needs PATH; put it before --lists, which takes all words that follow it",
        ),
        ("import irn .", "wsss import needs --data; see wsss import --help"),
        ("run cam lpcam", "wsss run takes no further argument 'lpcam'; see wsss run --help"),
        ("run cam --data", "--data needs a value, NAME; see wsss run --help"),
        ("run cam --data --quiet", "--data needs a value, NAME; see wsss run --help"),
        ("run cam --seeds", "--seeds needs at least one value; see wsss run --help"),
        ("run cam --seeds 0 x", "--seeds is 'x'; it must be a whole number from 0 to 4294967295"),
        ("run cam --seeds 3 0 --seeds 3", "--seeds has 3 more than once; give each seed once"),
        ("run cam --seeds -1", "--seeds is '-1'; it must be a whole number from 0 to 4294967295"),
        (
            "run cam --refine cfr",
            "--refine is 'cfr'; it must be crf, irn, par, segments or masks; did you mean crf?",
        ),
        (
            "sweep cam --scheduler x",
            "--scheduler is 'x'; it must be asha, hyperband, median or pbt",
        ),
        ("run cam --quiet=odd", "--quiet takes no value 'odd'; leave it out"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_sentence(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr() == ("", f"wsss: {sentence}\n")
    with pytest.raises(InputError):
        parse(line.split())
