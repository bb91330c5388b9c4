"""Tables for a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from .runs import PARTS, RunRecord, Score


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
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
    return values


def score_table(runs: Sequence[RunRecord]) -> str:
    """The scores of runs that differ only in their seeds, in percent: mean and spread.

    The spread is the standard deviation over seeds; with one seed there is none.
    """
    rows: list[list[str]] = []
    head: list[str] = []
    first = runs[0]
    for localizer, by_split in first.scores.items():
        for split, score in by_split.items():
            columns = [_values(r.scores[localizer][split]) for r in runs]
            head = [*columns[0], "threshold"]
            cells = [_cell([c[name] for c in columns]) for name in columns[0]]
            thresholds = {r.scores[localizer][split].threshold for r in runs}
            shown = "/".join(f"{t:.2f}" for t in sorted(thresholds))
            rows.append([f"{localizer} on {split} (n={score.n})", *cells, shown])
    any_score = next(iter(next(iter(first.scores.values())).values()))
    seeds = ", ".join(str(r.seed) for r in runs)
    note = (
        f"percent; {len(any_score.scored)} classes; {any_score.rule}; threshold chosen on "
        f"{any_score.threshold_from}; seed{'s' if len(runs) > 1 else ''} {seeds}"
    )
    return table(["", *head], rows) + "\n" + note


def _cell(values: Sequence[float]) -> str:
    mean = 100 * statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}"


def params(values: Mapping[str, object]) -> str:
    """Parameters in one line."""
    return ", ".join(f"{k} {v}" for k, v in values.items())
