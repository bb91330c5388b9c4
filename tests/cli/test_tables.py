"""Tests of tables: on a terminal, in text, and in the formats for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANG
from wsss.platform.cli import main
from wsss.platform.cli.tables import Printer, Table, aligned, comparison_table, score_table
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import FROM_OWN_BACKGROUND, RunRecord, Score

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ID = ResultId(localizer="lpcam")


def score(split: str = "val", best: float = 0.5, **changes: object) -> Score:
    """Return a score with three thresholds, of which the second one is the best."""
    made = Score(
        split=split,
        n=16,
        classes=("background", "cat", "dog"),
        scored=(0, 1, 2),
        rule="a rule",
        thresholds=(0.1, 0.2, 0.3),
        miou=(0.3, best, 0.4),
        threshold=0.2,
        threshold_from="train",
        iou=(0.9, 0.3, None),
        false_positives=0.1,
        false_negatives=0.2,
        precision=0.6,
        recall=0.7,
        parts={"discriminative": 0.9, "other": 0.5, "context": 0.2},
        boundary=0.4,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def run(seed: int, *scores: Score) -> RunRecord:
    """Return the record of a run with scores of one result."""
    return RunRecord(
        name=f"run-{seed}",
        method="lpcam",
        dataset="scenes",
        seed=seed,
        experiment={},
        digest="d" * 64,
        command="wsss run lpcam",
        machine="2 cores",
        versions={},
        started="2026-01-01T00:00:00+0000",
        seconds=1.0,
        scores={ID: {s.split: s for s in scores}},
    )


RUNS = [run(0, score("train"), score("val", 0.25)), run(1, score("train"), score("val", 0.26))]


def test_a_table_as_text_has_aligned_columns() -> None:
    assert aligned(["", "mIoU"], [["a", "9.1"], ["long", "10.0"]]) == (
        "      mIoU\n----  ----\na      9.1\nlong  10.0"
    )
    text = str(score_table(RUNS))
    assert re.search(r"^lpcam on val \(n=16\) +25\.5 ± 0\.7 +60\.0 ± 0\.0 ", text, re.MULTILINE)
    assert text.endswith("\npercent; 3 classes; a rule; threshold from train; seeds 0, 1")
    assert str(score_table([run(0)])) == "no split with masks was scored"


def test_values_for_programs_are_numbers_in_percent() -> None:
    train, val = score_table(RUNS).values
    assert (train["result"], train["split"], val["split"]) == ("lpcam", "train", "val")
    assert (val["mIoU"], val["mIoU sd"], val["n"]) == (25.5, 0.7071, 16)
    assert (val["classes"], val["rule"], val["seeds"]) == (3, "a rule", "0, 1")
    (alone,) = score_table(
        [run(0, score(precision=float("nan"), threshold_from=FROM_OWN_BACKGROUND))]
    ).values
    assert (alone["mIoU"], alone["precision"], alone["threshold"]) == (50.0, None, "-")
    assert "mIoU sd" not in alone


def printed(format: str, table: Table, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what a command prints to its two streams."""
    printer = Printer(format)
    printer.line("a line")
    printer.table(table)
    out, err = capsys.readouterr()
    return out, err


@pytest.mark.parametrize("format", ["json", "csv", "markdown"])
def test_standard_output_holds_the_table_alone(
    format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = comparison_table([("a|b, c", ID, RUNS)])
    out, err = printed(format, table, capsys)
    assert err == f"a line\n{table.notes[0]}\n"
    if format == "json":
        rows = json.loads(out)
        assert rows == [dict(row) for row in table.values]
    elif format == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["mIoU"] for row in rows] == ["50.0", "25.5"]
        assert rows[0]["result"] == "a|b, c"
    else:
        head, sides, *lines = out.splitlines()
        assert {line.count("|") - line.count("\\|") for line in (head, sides, *lines)} == {12}
        assert "a\\|b, c on val (n=16)" in lines[1]
    assert printed("table", table, capsys) == (f"a line\n{table}\n", "")


def test_a_table_without_rows_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    empty = score_table([run(0)])
    note = f"{empty.notes[0]}\n"
    assert printed("table", empty, capsys) == (f"a line\n{note}", "")
    assert printed("json", empty, capsys) == ("[]\n", f"a line\n{note}")
    for format in ("csv", "markdown"):
        assert printed(format, empty, capsys) == ("", f"a line\n{note}")


@pytest.mark.parametrize("format", ["json", "csv", "markdown"])
def test_methods_and_the_state_of_the_machine_are_tables(
    format: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words in (["methods"], ["methods", "lpcam"], ["doctor", "--store", str(tmp_path)]):
        assert main([*words, "--format", format]) == 0
        out = capsys.readouterr().out
        rows = json.loads(out) if format == "json" else list(csv.reader(io.StringIO(out)))
        assert len(rows) > 4


SHOW = """
import sys
sys.path.insert(0, sys.argv[1])
from test_tables import ID, RUNS, Printer, comparison_table
names = ("cam", "prototypes and consistency", "lpcam > irn > deeplabv2")
Printer().table(comparison_table([(name, ID, RUNS) for name in names]))
"""


def on_terminal(columns: int, **environment: str) -> str:
    """Return what a table looks like on a terminal of some width."""
    words = [sys.executable, "-c", SHOW, str(Path(__file__).parent)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    settings = {"COLUMNS": str(columns), "TERM": "xterm-256color", "PYTHONPATH": path}
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "COLUMNS")}
    master, slave = pty.openpty()
    with subprocess.Popen(words, stdout=slave, env={**kept, **settings, **environment}) as process:
        os.close(slave)
        chunks = []
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
        assert process.wait(HANG) == 0
    os.close(master)
    return b"".join(chunks).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_no_column_is_cut_on_a_terminal(columns: int) -> None:
    """Columns that do not fit follow below, with the first column again."""
    shown = on_terminal(columns)
    text = ANSI.sub("", shown)
    assert shown != text
    body = text.partition("percent; ")[0]
    assert max(len(line) for line in body.splitlines()) <= columns
    assert "…" not in body
    for name in ("mIoU", "precision", "recall", "discriminative", "boundary F", "threshold"):
        assert name in body
    assert body.count("25.5 ± 0.7") == 3
    assert (body.count("mIoU"), body.count("cam on val") > 1) == (1, columns < 200)


def test_a_terminal_without_colours_gets_none() -> None:
    assert "\x1b[3" not in on_terminal(120, NO_COLOR="1")
    dumb = on_terminal(120, TERM="dumb")
    assert "\x1b" not in dumb
    assert "----  " in dumb


def test_a_preset_that_a_method_lacks_prints_nothing_but_the_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["methods", "lpcam", "--preset", "gone"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "unknown preset 'gone' of lpcam" in err
