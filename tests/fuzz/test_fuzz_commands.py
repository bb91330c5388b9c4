"""Fuzz tests of the command line with hostile words, and of search spaces that a user writes."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import TEXTS, altered, attempt, check_sentence, fuzz, values
from hypothesis import example, given
from hypothesis import strategies as st
from wsss.platform.cli import main
from wsss.platform.config.limits import LIMITS
from wsss.platform.data.formats import shards
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.method import build_experiment
from wsss.platform.ray_runtime import cluster
from wsss.platform.storage.artifact_files import ArtifactFolder
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store
from wsss.platform.tuning import spaces
from wsss.platform.tuning.sweep import Sweep, searcher


class HeavyError(BaseException):
    """Error raised where a command would compute: all its words were accepted by then."""


def heavy(*args: Any, **kwargs: Any) -> None:
    raise HeavyError


def add_scenes(store: Store) -> None:
    """Write the data set `scenes` as `wsss data` leaves it, without Ray."""
    source = Scenes(train=32, val=1, size=32)  # no batch of a command is larger

    def write(folder: ArtifactFolder) -> dict[str, Any]:
        items = source.items()
        results = [
            shards.write_shard(folder / name, source, members, False)
            for name, members in shards.split_into_shards(items)
        ]
        return shards.manifest_entries(source, shards.conversion_of(source, items, results))

    artifact, _ = store.get(shards.stage_of(source), write)
    write_json(store.location("data", "scenes.json"), {"key": artifact.key, "source": "scenes"})


@pytest.fixture(scope="module")
def home(given_folder: Path) -> Iterator[Path]:
    """Yield a nested folder in which commands start; with a store, and HeavyError for computing."""
    store = Store(given_folder / "store")
    add_scenes(store)
    working = given_folder / "a" / "b" / "c"
    working.mkdir(parents=True)
    (working / "file").write_text("a file")
    for folder in (working / "pub", given_folder / "user"):
        folder.mkdir()
        (folder / "thesis.tex").write_text("years")
    os.chdir(working)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "_compute", heavy)
        patch.setattr(cluster, "connect", heavy)
        patch.setenv("WSSS_STORE", str(store))
        patch.setenv("HOME", str(given_folder / "user"))
        yield working


def call(words: list[str]) -> tuple[object, str]:
    """Run a command: it succeeds, raises HeavyError, or is refused in one sentence.

    Returns:
        Its exit code, None for a HeavyError; and the sentence, empty for a success.
    """
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    code: int | None = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except HeavyError:
            code = None
    err.seek(0)
    last_line = err.read().splitlines()[-1:] if code else []
    assert code in (None, 0, 2)
    for line in last_line:
        assert line.startswith("wsss: ")
        check_sentence(line)
    return code, "".join(last_line)


COMMANDS = [
    line.split()
    for line in """
    data scenes --train 3 --val 2 --size 32 --seed 1 --name other --quarantine 0.5
    data voc . --labels file --lists train val --name mine
    data coco . --year 2014 --labelled
    data coco . --annotations file val=pub/thesis.tex --images train=. val=pub --stuff --crowds draw
    data folder . --quarantine 0.1
    data folder . --orientation applied --mask-values 0=background 255=label --resize-masks
    run lpcam --set training.epochs=2 --set lpcam.tau=0.2 --seeds 0 1 --name a --page p
    run sipe+cam --localizer lpcam --backbone resnet18 --weights file --preset paper
    run cam --refine irn --segment deeplabv2 --recipe lpcam-voc --set scoring.splits=("train",)
    run psdpm --baseline lpcam:cam --imported b --quiet
    sweep lpcam --space default --trials 3 --split train --repeats 2 --concurrent 2 --seed 1
    sweep cpal --space mine.py:a --set cpal.tau=0.3
    compare cam lpcam sipe:lpcam --seeds 1 --preset release
    ablate ssc --preset scenes
    report out --run a --sweep b --images 3
    export out.tgz --to comp5 --run a --what lpcam --split val
    export out --to irn --what lpcam
    import irn . --data scenes --name b --splits train val
    methods lpcam --preset paper
    config lpcam --preset paper
    config psdpm --baseline cam
    config psdpm --schema
    methods
    doctor --verify
    doctor scenes --format csv
    data scenes --train 3 --val 2 --size 32 --check --format json
    """.strip().splitlines()
]
ACCEPTED = ("data scenes", "run lpcam", "run cam", "sweep lpcam", "ablate ssc")
OPTIONS = sorted({word for words in COMMANDS for word in words if word.startswith("--")})
PATHS = ("pub", "pub/thesis.tex", "pub/new", "file", "~", "~/thesis.tex", "s3://b")
HUGE = ("1e999", "nan", "inf", "-inf", "1" * 30, "1" * 4000, "1" * 9000, "0x" + "f" * 9000)
NUMBERS = [f"--{name}" for name in LIMITS]
NAMED = ("--name", "--run", "--sweep", "--data")
FIELDS = ("training.epochs", "training.lr", "views.scales", "network.weights", "seed", "data", "x")
words = (
    st.sampled_from(TEXTS)
    | st.sampled_from(PATHS)
    | st.text(max_size=10)
    | st.sampled_from(OPTIONS)
    | st.tuples(st.sampled_from(FIELDS), st.sampled_from(TEXTS) | values.map(repr)).map("=".join)
).filter(lambda t: "\0" not in t and not t.startswith("/"))


@st.composite
def altered_command(draw: st.DrawFn) -> list[str]:
    """Draw a command with some words changed, lost or added."""
    out = list(draw(st.sampled_from(COMMANDS)))
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(1, len(out)))
        edit = draw(st.sampled_from(("set", "set", "drop", "add", "option", "number", "name")))
        if edit == "set" and index < len(out):
            out[index] = draw(words)
        elif edit == "drop":
            del out[index : index + 1]
        elif edit == "add":
            out.insert(index, draw(words))
        elif edit == "number":
            out.append(f"{draw(st.sampled_from(NUMBERS))}={draw(st.sampled_from(HUGE) | words)}")
        elif edit == "name":
            out.append(f"{draw(st.sampled_from(NAMED))}={draw(words)}")
        elif edit == "option":
            out += [draw(st.sampled_from(OPTIONS)), draw(words)]
    return [word.encode("utf-8", "replace").decode() for word in out]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_only_some_commands_reach_a_computation(home: Path, command: list[str]) -> None:
    code, sentence = call(command)
    assert (code is None) == (" ".join(command[:2]) in ACCEPTED), sentence


@fuzz(60)
@given(altered_command())
@example(["sweep", "lpcam", "--repeats", "999999999999"])
@example(["sweep", "lpcam", "--repeats", "0"])
@example(["sweep", "lpcam", "--trials", "-1"])
@example(["run", "cam", "--set", "x=" + "-" * 9999 + "1"])
@example(["run", "cam", "--data", "a" * 300])
@example(["run", "cam", "--set", "training.epochs=" + "9" * 4000])
@example(["run", "cam", "--set", "training.epochs=0x" + "f" * 9000])
@example(["run", "cam", "--set", "training.lr=" + "9" * 4000])
@example(["run", "cam", "--set", "training.lr=1e999"])
@example(["run", "cam", "--set", "views.scales=(1.0, 1e999)"])
@example(["run", "cam", "--seeds", "9" * 9000])
@example(["run", "cam", "--name=-rf"])
@example(["sweep", "lpcam", "--name=.x"])
@example(["data", "folder", ".", "--name=-rf"])
@example(["compare", "cam", ""])
@example(["compare", ":lpcam"])
@example(["doctor", "--store", "file"])
@example(["run", "cam", "--store", "file/deep"])
@example(["data", "folder", "a" * 300])
@example(["data", "coco", ".", "--annotations", "a" * 300])
@example(["data", "coco", ".", "--annotations", "file", "file"])
@example(["data", "coco", ".", "--annotations", "=file", "--images", "val="])
@example(["data", "coco", ".", "--annotations", "-x=file"])
@example(["report", "pub"])
@example(["report", "~"])
@example(["report", "pub/thesis.tex", "--single-file"])
@example(["report", ""])
@example(["export", "pub/thesis.tex", "--to", "png"])
def test_a_hostile_command_keeps_the_files_of_a_user(home: Path, command: list[str]) -> None:
    """The command may succeed or be refused; the user's files stay."""
    call(command)
    assert (home / "file").read_text() == "a file"
    for folder in (home / "pub", Path("~").expanduser()):
        assert (folder / "thesis.tex").read_text() == "years"


SPACE = {"mine": {"lpcam.tau": [0.1, 0.2], "lpcam.clusters": [6, 12], "views.scales": [(1.0,)]}}


DENSE = (
    "lpcam.tau", "lpcam.mu_f", "lpcam.mu_b", "training.momentum", "training.power",
    "training.head_factor", "training.weight_decay", "training.clip_norm", "refine.beta",
)  # fmt: skip


@fuzz(40)
@given(altered(SPACE))
@example({"mine": {name: [k / 9 for k in range(9)] for name in DENSE}})
@example({"mine": {1: [2]}})
@example({1: {"lpcam.tau": [0.1]}})
def test_a_search_space_of_a_user_is_read_or_refused(home: Path, content: Any) -> None:
    Path("mine.py").write_text(f"nan, inf = float('nan'), float('inf')\nSPACES = {content!r}\n")
    space = attempt(spaces.find_space, "lpcam", "mine.py:mine")
    if space is None:
        return
    sweep = attempt(
        lambda: Sweep(base=build_experiment("lpcam", preset="scenes"), space=space[1], trials=3)
    )
    if sweep is not None:
        for point in searcher(sweep).points:
            sweep.trial_experiment(point, 1)


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "\0", "def"])
def test_a_search_space_that_does_not_run_is_refused(home: Path, text: str) -> None:
    Path("mine.py").write_text(text)
    assert attempt(spaces.find_space, "lpcam", "mine.py") is None
