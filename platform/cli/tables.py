"""Tables of scores, and the formats in which commands print their tables."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..records.comparability import check_comparable
from ..records.schema import (
    FROM_OWN_BACKGROUND,
    PARTS,
    RunRecord,
    Score,
    SweepRecord,
)
from ..records.unscored import unscored_sentence
from ..tuning.ranking import ranking
from .ending import say

GAP = 3
"""Columns between two columns of a table on a terminal."""
Value = str | float | int | None
"""A value of a table for programs; None where there is none."""

if TYPE_CHECKING:
    from ..pipeline.run import Row
    from ..tuning.spaces import PaperFigure


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, in texts for readers and in values for programs.

    Attributes:
        head: titles of the columns.
        rows: texts of the cells, by row.
        values: value by name, for each row.
        notes: lines under the table.
        numbers: whether all columns after the first one are numbers.
        plain: the whole table as text for a stream that is not a terminal, where this is not the
            texts of the cells in columns.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    values: Sequence[Mapping[str, Value]]
    notes: Sequence[str] = ()
    numbers: bool = True
    plain: str = ""

    def __str__(self) -> str:
        body = [self.plain or aligned(self.head, self.rows)] if self.rows else []
        return "\n".join([*body, *self.notes])


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], plain: str) -> Table:
    """Return a table of texts, whose cells are their own values; `plain` as for `Table`."""
    values = [dict(zip(head, row, strict=True)) for row in rows]
    return Table(head=head, rows=rows, values=values, numbers=False, plain=plain)


class Printer:
    """The output of a command: one table, and lines on what the command does.

    Args:
        format: table, json, csv or markdown; in a format other than table, standard output holds
            the table alone, and the lines go to standard error.
    """

    def __init__(self, format: str = "table") -> None:
        self.format = format

    def line(self, text: str = "") -> None:
        """Print a line.

        Raises:
            StreamError: standard output cannot be written.
        """
        if self.format == "table":
            say(text)
            return
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)

    def table(self, table: Table) -> None:
        """Print the table of the command, and its notes.

        Raises:
            StreamError: standard output cannot be written.
        """
        if text := self._in_format(table):
            say(text)
        for note in table.notes:
            self.line(note)

    def _in_format(self, table: Table) -> str:
        """Return a table in the format of the command."""
        match self.format:
            case "json":
                return as_json(table)
            case "csv":
                return as_csv(table)
            case "markdown":
                return as_markdown(table)
        if not table.rows:
            return ""
        return (
            on_terminal(table) if is_terminal() else table.plain or aligned(table.head, table.rows)
        )


def is_terminal() -> bool:
    """Return whether standard output is a terminal that can show more than plain text."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a text whose first column is aligned to the left and every other to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    out = []
    for number, line in enumerate(lines):
        first = line[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        out.append("  ".join([first, *rest]).rstrip())
        if number == 0:
            out.append("  ".join("-" * width for width in widths))
    return "\n".join(out)


def on_terminal(table: Table) -> str:
    """Return a table as it looks on a terminal, in the width of the terminal.

    Columns of numbers that do not fit follow below, with the first column before them again.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False)
    texts = []
    for columns in _fitting(table, console.width):
        with console.capture() as capture:
            grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
            for column in columns:
                right = table.numbers and column
                grid.add_column(
                    Text(table.head[column]),
                    justify="right" if right else "left",
                    no_wrap=bool(right),
                    overflow="fold",
                )
            for row in table.rows:
                grid.add_row(*(Text(row[column]) for column in columns))
            console.print(grid)
        texts.append(capture.get())
    return "\n".join(texts).removesuffix("\n")


def _fitting(table: Table, width: int) -> list[list[int]]:
    """Return groups of columns that fit into a width, each group with the first column."""
    if not table.numbers:
        return [[*range(len(table.head))]]
    lines = [table.head, *table.rows]
    widths = [max(len(line[k]) for line in lines) + GAP for k in range(len(table.head))]
    widths[0] = min(widths[0], max(width // 2, 12))
    groups: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        if sum(widths[k] for k in [*groups[-1], column]) - GAP > width and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(column)
    return groups


def as_json(table: Table) -> str:
    """Return a list of objects, one for each row."""
    return json.dumps([dict(row) for row in table.values], indent=2, ensure_ascii=False)


def as_csv(table: Table) -> str:
    """Return lines with commas, the names of the values first; empty without rows."""
    names = list(dict.fromkeys(name for row in table.values for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.values)
    return stream.getvalue().removesuffix("\n")


def as_markdown(table: Table) -> str:
    """Return a table for a page in Markdown; empty without rows."""
    if not table.rows:
        return ""
    alignments = [":--", *["--:" if table.numbers else ":--" for _ in table.head[1:]]]
    lines = [table.head, alignments, *table.rows]
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _values(score: Score) -> dict[str, float]:
    values = {
        "mIoU": score.value,
        "precision": score.precision,
        "recall": score.recall,
        "FP": score.false_positives,
        "FN": score.false_negatives,
    }
    for kind in PARTS:
        if score.parts and kind in score.parts:
            values[kind] = score.parts[kind]
    if score.boundary is not None:
        values["boundary F"] = score.boundary
    return values


def score_rows(runs: Sequence[RunRecord]) -> list[Row]:
    """Return the rows of the table of runs that differ only in their seeds.

    Results of a run without scores have rows, too, for their pictures.
    """
    scores = runs[0].scores
    has_scores = any(scores.values())
    return [(str(id), id, runs) for id, by_split in scores.items() if by_split or not has_scores]


def score_table(runs: Sequence[RunRecord]) -> Table:
    """Return the scores of runs that differ only in their seeds, in percent, as a table.

    With several seeds, a cell holds the mean and the standard deviation over seeds.
    """
    return comparison_table(score_rows(runs))


def comparison_table(rows: Sequence[Row]) -> Table:
    """Return a table of the scores of several experiments on one data set, over the same seeds.

    Args:
        rows: for each experiment the title, the result, and the runs over all seeds.

    Raises:
        InputError: the experiments were scored on unlike data.
    """
    check_comparable(rows)
    splits = dict.fromkeys(s for _, id, runs in rows for s in runs[0].scores[id])
    sentences = dict.fromkeys(unscored_sentence(run) for _, _, runs in rows for run in runs)
    unscored = [text for text in sentences if text]
    lines = [
        (title, split, [run.scores[id][split] for run in runs])
        for split in splits
        for title, id, runs in rows
        if split in runs[0].scores[id]
    ]
    if not lines:
        notes = unscored or ["no split with masks was scored"]
        return Table(head=(), rows=(), values=(), notes=notes)
    head = list(dict.fromkeys(name for _, _, scores in lines for name in _values(scores[0])))
    runs = rows[0][2]
    seeds = ", ".join(str(run.seed) for run in runs)
    chosen = {scores[0].threshold_from for _, _, scores in lines}
    any_score = lines[0][2][0]
    note = (
        f"percent; {len(any_score.scored)} classes; {any_score.rule}; threshold from "
        f"{' or '.join(sorted(chosen))}; seed{'s' if len(runs) > 1 else ''} {seeds}"
    )
    return Table(
        head=["", *head, "threshold"],
        rows=[_cells(title, split, scores, head) for title, split, scores in lines],
        values=[
            {"result": title, "split": split, **_numbers(scores, head), "seeds": seeds}
            for title, split, scores in lines
        ],
        notes=[note, *unscored],
    )


def _cells(title: str, split: str, scores: Sequence[Score], head: Sequence[str]) -> list[str]:
    """Return the texts of a row for the scores of one result, one score for each seed."""
    columns = [[_values(score).get(name, math.nan) for score in scores] for name in head]
    return [f"{title} on {split} (n={scores[0].n})", *map(_cell, columns), _thresholds(scores)]


def _numbers(scores: Sequence[Score], head: Sequence[str]) -> dict[str, Value]:
    """Return the values of a row for programs: means in percent, and standard deviations."""
    out: dict[str, Value] = {"n": scores[0].n}
    for name in head:
        out |= _mean(name, [_values(score).get(name, math.nan) for score in scores])
    first = scores[0]
    return {
        **out,
        "threshold": _thresholds(scores),
        "threshold from": first.threshold_from,
        "classes": len(first.scored),
        "rule": first.rule,
    }


def _mean(name: str, values: Sequence[float]) -> dict[str, Value]:
    """Return the mean of shares in percent and, of several, their standard deviation, by name."""
    known = not any(math.isnan(v) for v in values)
    out: dict[str, Value] = {name: round(100 * statistics.fmean(values), 4) if known else None}
    if len(values) > 1:
        out[f"{name} sd"] = round(100 * statistics.stdev(values), 4) if known else None
    return out


def _thresholds(scores: Sequence[Score]) -> str:
    """Return the thresholds of a table's row, or a dash if no threshold was chosen."""
    if scores[0].threshold_from == FROM_OWN_BACKGROUND:
        return "-"
    return "/".join(f"{t:.2f}" for t in sorted({s.threshold for s in scores}))


def _cell(values: Sequence[float]) -> str:
    if any(math.isnan(v) for v in values):  # no precision without an activated pixel
        return "-"
    mean = 100 * statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}"


def _fixed(figure: PaperFigure, sweep: SweepRecord) -> str:
    """Return the values that fields have in all points, or in the points that do not set them."""
    points = [changes for rows in figure["panels"].values() for _, changes, _ in rows]
    fixed = dict(sweep.default)
    for field in sweep.default:
        values = [changes[field] for changes in points if field in changes]
        if len(values) == len(points):
            del fixed[field]
            if len(set(map(repr, values))) == 1:
                fixed[field] = values[0]
    labels = sweep.labels
    return ", ".join(f"{labels[field]} {value}" for field, value in sorted(fixed.items()))


def figure_table(figure: PaperFigure, sweep: SweepRecord) -> Table:
    """Return a table of a sweep over a paper's figure, beside the paper's numbers, in percent.

    Args:
        figure: one of the `FIGURES` in `tune_spaces`.
        sweep: record of the sweep over the points of the figure.
    """
    ranked = ranking(sweep.trials)
    names = [str(s) for s in sorted({t.seed for t in sweep.trials})]
    rows, values = [], []
    for panel, points in figure["panels"].items():
        for label, changes, printed in points:
            matches = [p for p in ranked if p.trials[0].params == changes]
            ours = [t.value or math.nan for t in matches[0].trials] if matches else []
            text = _cell(ours) if matches else "failed"
            if matches and len(ours) < len(names):
                text += f" ({len(ours)} of {len(names)} seeds)"
            rows.append([f"{panel}: {label}", text, "-" if printed is None else f"{printed:.1f}"])
            here = _mean("here", ours or [math.nan])
            values.append({"panel": panel, "point": str(label), **here, "paper": printed})
    score = ranked[0].trials[0].score if ranked else None
    about = f"{sweep.split} of {sweep.dataset}, seeds {', '.join(names)}"
    if score:
        rule = "" if score.threshold_from == FROM_OWN_BACKGROUND else "best threshold; "
        about += f", n={score.n}, {len(score.scored)} classes, {rule}{score.rule}"
    if fixed := _fixed(figure, sweep):
        about += f"; unless a row says otherwise: {fixed}"
    return Table(
        head=[figure["title"], "here", "paper"],
        rows=rows,
        values=values,
        notes=[f"here: {about}", f"paper: {figure['published']}"],
    )
