"""Tables for a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..records.result_id import ResultId
from ..records.schema import OWN, PARTS, Point, RunRecord, Score, SweepRecord, ranking


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
    if score.boundary is not None:
        values["boundary F"] = score.boundary
    return values


def score_table(runs: Sequence[RunRecord]) -> str:
    """The scores of runs that differ only in their seeds, in percent: mean and spread.

    The spread is the standard deviation over seeds; with one seed there is none.
    """
    rows = [(str(id), id, runs) for id, of_split in runs[0].scores.items() if of_split]
    return comparison(rows) if rows else "no split with masks was scored"


def comparison(rows: Sequence[tuple[str, ResultId, Sequence[RunRecord]]]) -> str:
    """The scores of several experiments on one data set, each over the same seeds.

    Args:
        rows: title, result, and the runs over seeds.
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
    head = list(dict.fromkeys(name for of in columns.values() for name in of[0]))
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
    """The thresholds of a table's row; a dash where none was chosen."""
    if scores[0].threshold_from == OWN:
        return "-"
    return "/".join(f"{t:.2f}" for t in sorted({s.threshold for s in scores}))


def _cell(values: Sequence[float]) -> str:
    if any(math.isnan(v) for v in values):  # nothing was activated, so no precision
        return "-"
    mean = 100 * statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}"


def best_points(sweep: SweepRecord) -> list[str]:
    """The best point of a sweep, and those that its spread over seeds does not tell from it."""
    first, *others = ranking(sweep.trials)
    labels = sweep.labels
    lines = [f"best on {sweep.split}: {_point(first, labels)}"]
    return lines + [f"not told from it: {_point(p, labels)}" for p in others if p.tied]


def _point(point: Point, labels: Mapping[str, str]) -> str:
    values = ", ".join(f"{labels[k]} {v}" for k, v in point.trials[0].params.items())
    if len(point.trials) == 1:
        return f"{values} ({100 * point.mean:.1f} %)"
    spread = f"{100 * point.mean:.1f} ± {100 * point.spread:.1f} %"
    return f"{values} ({spread} over {len(point.trials)} seeds)"


def _held(figure: Mapping[str, Any], sweep: SweepRecord) -> str:
    """Return the values of a figure's fields in the points that do not name them, or in all."""
    points = [changes for rows in figure["panels"].values() for _, changes, _ in rows]
    held = dict(sweep.default)
    for field in sweep.default:
        values = [changes[field] for changes in points if field in changes]
        if len(values) == len(points):
            del held[field]
            if len(set(map(repr, values))) == 1:
                held[field] = values[0]
    labels = sweep.labels
    return ", ".join(f"{labels[field]} {value}" for field, value in held.items())


def figure_table(figure: Mapping[str, Any], sweep: SweepRecord) -> str:
    """A paper's figure as this sweep has it, beside the numbers that the paper prints, percent.

    Args:
        figure: of `tune_spaces`.
        sweep: over its points.
    """
    ranked = ranking(sweep.trials)
    names = [str(s) for s in sorted({t.seed for t in sweep.trials})]
    seeds, rows = len(names), []
    for panel, points in figure["panels"].items():
        for label, changes, printed in points:
            own = [p for p in ranked if p.trials[0].params == changes]
            values = [t.value or math.nan for t in own[0].trials] if own else []
            ours = _cell(values) if own else "failed"
            if own and len(values) < seeds:
                ours += f" ({len(values)} of {seeds} seeds)"
            rows.append([f"{panel}: {label}", ours, "-" if printed is None else f"{printed:.1f}"])
    score = ranked[0].trials[0].score if ranked else None
    about = f"{sweep.split} of {sweep.dataset}, seeds {', '.join(names)}"
    if score:
        rule = "" if score.threshold_from == OWN else "best threshold; "
        about += f", n={score.n}, {len(score.scored)} classes, {rule}{score.rule}"
    if held := _held(figure, sweep):
        about += f"; where no row says otherwise: {held}"
    title = figure["title"]
    return f"{table([title, 'here', 'paper'], rows)}\nhere: {about}\npaper: {figure['published']}"
