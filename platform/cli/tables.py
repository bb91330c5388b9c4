"""Tables of scores for a terminal, in text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..records.result_id import ResultId
from ..records.schema import (
    FROM_OWN_BACKGROUND,
    PARTS,
    Point,
    RunRecord,
    Score,
    SweepRecord,
    ranking,
)

if TYPE_CHECKING:
    from ..tuning.spaces import PaperFigure


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is aligned to the left and every other to the right."""
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
    if score.boundary is not None:
        values["boundary F"] = score.boundary
    return values


def score_table(runs: Sequence[RunRecord]) -> str:
    """Return the scores of runs that differ only in their seeds, in percent, as a table.

    With several seeds, a cell holds the mean and the standard deviation over seeds.
    """
    rows = [(str(id), id, runs) for id, by_split in runs[0].scores.items() if by_split]
    return comparison_table(rows) if rows else "no split with masks was scored"


def comparison_table(rows: Sequence[tuple[str, ResultId, Sequence[RunRecord]]]) -> str:
    """Return a table of the scores of several experiments on one data set, over the same seeds.

    Args:
        rows: for each experiment the title, the result, and the runs over all seeds.
    """
    splits = dict.fromkeys(s for _, id, runs in rows for s in runs[0].scores[id])
    lines = [
        (
            f"{title} on {split} (n={runs[0].scores[id][split].n})",
            [r.scores[id][split] for r in runs],
        )
        for split in splits
        for title, id, runs in rows
        if split in runs[0].scores[id]
    ]
    columns = {title: [_values(s) for s in scores] for title, scores in lines}
    head = list(dict.fromkeys(name for scores in columns.values() for name in scores[0]))
    cells = [
        [
            title,
            *(_cell([c.get(name, math.nan) for c in columns[title]]) for name in head),
            _thresholds(scores),
        ]
        for title, scores in lines
    ]
    chosen = {scores[0].threshold_from for _, scores in lines}
    runs = rows[0][2]
    any_score = next(iter(runs[0].scores[rows[0][1]].values()))
    seeds = ", ".join(str(r.seed) for r in runs)
    note = (
        f"percent; {len(any_score.scored)} classes; {any_score.rule}; threshold from "
        f"{' or '.join(sorted(chosen))}; seed{'s' if len(runs) > 1 else ''} {seeds}"
    )
    return table(["", *head, "threshold"], cells) + "\n" + note


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


def best_points(sweep: SweepRecord) -> list[str]:
    """Return a line on the best point of a sweep, and one on each point that is tied with it.

    A point is tied if its difference from the best one lies within the spread over seeds.
    """
    first, *others = ranking(sweep.trials)
    labels = sweep.labels
    lines = [f"best on {sweep.split}: {_point(first, labels)}"]
    return lines + [f"tied with it: {_point(p, labels)}" for p in others if p.tied]


def _point(point: Point, labels: Mapping[str, str]) -> str:
    values = ", ".join(f"{labels[k]} {v}" for k, v in point.trials[0].params.items())
    if len(point.trials) == 1:
        return f"{values} ({100 * point.mean:.1f} %)"
    spread = f"{100 * point.mean:.1f} ± {100 * point.spread:.1f} %"
    return f"{values} ({spread} over {len(point.trials)} seeds)"


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
    return ", ".join(f"{labels[field]} {value}" for field, value in fixed.items())


def figure_table(figure: PaperFigure, sweep: SweepRecord) -> str:
    """Return a table of a sweep over a paper's figure, beside the paper's numbers, in percent.

    Args:
        figure: one of the `FIGURES` in `tune_spaces`.
        sweep: record of the sweep over the points of the figure.
    """
    ranked = ranking(sweep.trials)
    names = [str(s) for s in sorted({t.seed for t in sweep.trials})]
    seeds, rows = len(names), []
    for panel, points in figure["panels"].items():
        for label, changes, printed in points:
            matches = [p for p in ranked if p.trials[0].params == changes]
            values = [t.value or math.nan for t in matches[0].trials] if matches else []
            ours = _cell(values) if matches else "failed"
            if matches and len(values) < seeds:
                ours += f" ({len(values)} of {seeds} seeds)"
            rows.append([f"{panel}: {label}", ours, "-" if printed is None else f"{printed:.1f}"])
    score = ranked[0].trials[0].score if ranked else None
    about = f"{sweep.split} of {sweep.dataset}, seeds {', '.join(names)}"
    if score:
        rule = "" if score.threshold_from == FROM_OWN_BACKGROUND else "best threshold; "
        about += f", n={score.n}, {len(score.scored)} classes, {rule}{score.rule}"
    if fixed := _fixed(figure, sweep):
        about += f"; unless a row says otherwise: {fixed}"
    title = figure["title"]
    return f"{table([title, 'here', 'paper'], rows)}\nhere: {about}\npaper: {figure['published']}"
