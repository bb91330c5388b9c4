"""Short texts for names, values and the scope of scores, shared by figures, tables and pages."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

from ..platform.records.field_labels import short_text
from ..platform.records.result_id import ResultId
from ..platform.records.schema import (
    FROM_FIXED_VALUE,
    FROM_OWN_BACKGROUND,
    Score,
    SweepRecord,
    Trial,
)
from ..platform.tuning.objectives import scored_result

Value = float | int | str | bool

REFINEMENT_TITLES: Mapping[str, str] = {
    "crf": "DenseCRF",
    "irn": "IRN",
    "par": "PAR",
    "segments": "segments",
    "masks": "true masks",
}
OBJECTIVE_TEXTS: Mapping[str, str] = {
    "miou": "mIoU of the {}",
    "precision": "precision of the {}",
    "recall": "recall of the {}",
    "parts": "share of non-discriminative parts covered by the {}",
    "seconds": "seconds of a trial",
}
"""What each objective of a sweep measures, of the result that its trials score."""
LABEL_LENGTH = 34
"""Most characters of a parameter's label; `baseline.segment.training.weight_decay` fits."""


def score_scope(score: Score, owner: str) -> str:
    """Return the line that says what a score was measured on.

    It names the split, the number of images, the classes, the evaluation rule and the run or
    sweep, `owner`.
    """
    return f"{score.split} · {score.n:,} images · {classes_of(score)} · {score.rule} · {owner}"


def classes_of(score: Score) -> str:
    """Return how many classes the mean IoU runs over, as text."""
    foreground = sum(c > 0 for c in score.scored)
    background = " and background" if 0 in score.scored else ""
    return f"{foreground} class{'es' * (foreground != 1)}{background}"


def sweep_scope(sweep: SweepRecord) -> str:
    """Return the `score_scope` of a sweep's objective and how many of its trials are done."""
    scores = [t.score for t in sweep.trials if t.score is not None]
    done = sum(is_done(t) for t in sweep.trials)
    count = f"{done} of {len(sweep.trials)} trials done"
    if scores:
        return f"{score_scope(scores[0], sweep.name)} · {count}"
    return f"{sweep.split} · no trial was scored yet · {sweep.name} · {count}"


def objectives_text(sweep: SweepRecord) -> str:
    """Return what the objectives of a sweep measure, of which result, and on which split."""
    result = scored_result(sweep.labels)
    fixed = (FROM_OWN_BACKGROUND, FROM_FIXED_VALUE)
    if any(t.score and t.score.threshold_from not in fixed for t in sweep.trials):
        result += " at the best threshold"
    texts = [OBJECTIVE_TEXTS[name].format(result) for name in sweep.objectives]
    return f"{', '.join(texts)} on {sweep.split}"


def is_done(trial: Trial) -> bool:
    """Return whether a trial ran to its end with a finite result; a stopped trial did not."""
    return trial.status == "done" and trial.value is not None and math.isfinite(trial.value)


def objective(trial: Trial) -> float:
    """Return the objective of a trial for which `is_done` holds."""
    assert trial.value is not None
    return trial.value


def drawable(value: object) -> Value:
    """Return a parameter's value as a number, text or bool, which an axis can show."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, float | int | str) else str(value)


def value_of(trial: Trial, field: str) -> Value:
    """Return the value of a field in a trial, as an axis can show it."""
    return drawable(trial.params[field])


def drawable_sweep(sweep: SweepRecord) -> SweepRecord:
    """Return the sweep with all parameter values made `drawable`."""

    def drawable_params(params: Mapping[str, object]) -> dict[str, object]:
        return {name: drawable(value) for name, value in params.items()}

    return dataclasses.replace(
        sweep,
        default=drawable_params(sweep.default),
        trials=tuple(
            dataclasses.replace(trial, params=drawable_params(trial.params))
            for trial in sweep.trials
        ),
    )


def axis_title(label: str) -> str:
    """Return a parameter's label as an axis title: `segment.training.lr` takes three lines."""
    return plotly_text(label, LABEL_LENGTH).replace(".", ".<br>", 2)


def params_text(trial: Trial, labels: Mapping[str, str]) -> list[str]:
    """Return one line of hover text for each parameter of a trial.

    Args:
        trial: the trial.
        labels: label of each parameter by its field.
    """
    return [
        f"{plotly_text(labels[field], LABEL_LENGTH)} {plotly_text(short_text(drawable(value)), 20)}"
        for field, value in trial.params.items()
    ]


def are_numbers(values: Sequence[Value]) -> bool:
    """Return whether all values are numbers; a bool does not count as one."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def plotly_text(value: object, limit: int = 120) -> str:
    """Return text that is safe for Plotly, which reads a little HTML.

    Control characters become spaces, HTML is escaped, and text beyond `limit` characters is cut.
    """
    printable = "".join(c if c.isprintable() else " " for c in str(value))
    if len(printable) > limit:
        printable = printable[: limit - 1] + "…"
    return html.escape(printable, quote=False)


def method_title(name: str) -> str:
    """Return the name of a method or localizer as people write it: LPCAM for `lpcam`."""
    return name.upper() if name.isascii() and name.isalnum() and len(name) <= 8 else name


def result_title(id: ResultId) -> str:
    """Return the name of a result as people write it: `LPCAM, IRN, DEEPLABV2`."""
    refinement = REFINEMENT_TITLES[id.refinement] if id.refinement else ""
    names = [method_title(id.localizer), refinement, method_title(id.segmenter)]
    names.append("labels known" if id.known else "")
    return ("baseline: " if id.baseline else "") + ", ".join(name for name in names if name)


def count_text(count: int, noun: str) -> str:
    """Return a count with its noun: `1 run`, `2 runs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def sentence_text(message: str) -> str:
    """Return a message as a sentence, with a capital and a full stop; empty stays empty."""
    return f"{message[0].upper()}{message[1:]}." if message else ""
