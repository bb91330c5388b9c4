"""Tests of what a shell completes, with bash itself where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from limits import HANG
from wsss.platform.cli import main
from wsss.platform.method import methods
from wsss.platform.records.result_id import REFINEMENTS

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")


@pytest.fixture
def completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return a function that returns what bash offers for the last word of a command line."""
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    command = tmp_path / "bin" / "wsss"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m wsss.platform.cli "$@"\n')
    command.chmod(0o755)
    for name in ("data/scenes.json", "data/voc.json", "runs/first/run.json", "sweeps/a/sweep.json"):
        (tmp_path / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / name).touch()

    def offered(*words: str) -> list[str]:
        code = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wsss; '
        done = subprocess.run(
            ["bash", "-c", code + 'printf "%s\\n" "${COMPREPLY[@]}"', "bash", script, *words],
            env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=HANG,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()

    return offered


@needs_bash
def test_bash_completes_commands_options_and_choices(completed: Callable[..., list[str]]) -> None:
    assert completed("wsss", "s") == ["sweep"]
    assert completed("wsss", "data", "") == ["voc", "coco", "folder", "scenes"]
    assert completed("wsss", "run", "lpcam", "--se") == ["--segment", "--set", "--seeds"]
    assert completed("wsss", "run", "lpcam", "--refine", "") == [*REFINEMENTS]
    assert "--no-quiet" not in completed("wsss", "run", "lpcam", "--")


@needs_bash
def test_bash_completes_names_of_methods_and_in_the_store(
    completed: Callable[..., list[str]],
) -> None:
    assert completed("wsss", "run", "") == sorted(methods())
    assert completed("wsss", "run", "cam", "--data", "") == ["scenes", "voc"]
    assert completed("wsss", "report", "out", "--run", "f") == ["first"]
    assert completed("wsss", "report", "out", "--sweep", "") == ["a"]
    assert completed("wsss", "run", "cam", "--store", "none", "--data", "") == []
    assert completed("wsss", "run", "cam", "--store", "s3://b", "--data", "") == []


def test_nothing_of_a_bucket_is_offered_and_no_client_is_loaded(tmp_path: Path) -> None:
    """A folder of the same name as the address is no store, and a client takes seconds."""
    for store in ("mine", "s3:/bucket"):
        (tmp_path / store / "runs" / "first").mkdir(parents=True)
        (tmp_path / store / "runs" / "first" / "run.json").touch()
        (tmp_path / store / "runs" / "without-a-record").mkdir()
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from wsss.platform.cli.options import completions\n"
        "for store in ('mine', 's3://bucket', 'none'):\n"
        "    context = {'store': SimpleNamespace(raw=store)}\n"
        "    print(completions.runs(context), completions.data_sets(context))\n"
        "print({'botocore', 'pyarrow', 'numpy', 'pydantic', 'ray'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=True,
    )
    assert done.stdout.splitlines() == ["['first'] []", "[] []", "[] []", "set()"]


@needs_bash
def test_bash_completes_experiment_files(
    completed: Callable[..., list[str]], tmp_path: Path
) -> None:
    for name in ("mine.yaml", "experiments/voc-lpcam.yaml", "more/theirs.yml", "more/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert completed("wsss", "run", "mi") == ["mine.yaml"]
    assert completed("wsss", "sweep", "ex") == ["experiments/voc-lpcam.yaml"]
    assert completed("wsss", "compare", "more/") == ["more/theirs.yml"]
    assert completed("wsss", "figure", "mi") == ["mine.yaml"]


def test_each_shell_gets_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    for shell, mark in (
        ("bash", "complete -F _wsss wsss"),
        ("zsh", "#compdef wsss"),
        ("fish", "complete -c wsss"),
    ):
        assert main(["completion", shell]) == 0
        assert mark in capsys.readouterr().out
    assert main(["completion", "csh"]) == 2
    assert "SHELL is 'csh'; it must be bash, zsh or fish" in capsys.readouterr().err
