"""Short texts for names, values and scopes that figures, tables and pages share."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..platform.records.result_id import ResultId
from ..platform.records.schema import Score, SweepRecord, Trial

Value = float | int | str | bool


LABEL = 34
"""Most characters of a parameter's label; `baseline.segment.training.weight_decay` fits."""


def scope(score: Score, whose: str) -> str:
    """Which images, how many, how many classes, by which rule, of which run or sweep: what a
    number means."""
    return f"{score.split} · {score.n:,} images · {classes_of(score)} · {score.rule} · {whose}"


def classes_of(score: Score) -> str:
    """How many classes the means run over."""
    foreground = sum(c > 0 for c in score.scored)
    background = " and background" if 0 in score.scored else ""
    return f"{foreground} class{'es' * (foreground != 1)}{background}"


def sweep_scope(sweep: SweepRecord) -> str:
    """`scope` of a sweep's objective, with how many of its trials are done."""
    scores = [t.score for t in sweep.trials if t.score is not None]
    done = sum(is_done(t) for t in sweep.trials)
    count = f"{done} of {len(sweep.trials)} trials done"
    if scores:
        return f"{scope(scores[0], sweep.name)} · {count}"
    return f"{sweep.split} · no image scored, so no n, classes or rule · {sweep.name} · {count}"


def is_done(trial: Trial) -> bool:
    """Whether a trial went to its end with a finite result; one that was stopped did not."""
    return trial.status == "done" and trial.value is not None and math.isfinite(trial.value)


def objective(trial: Trial) -> float:
    """The objective of a trial that is done."""
    assert trial.value is not None
    return trial.value


def drawable(value: Any) -> Value:
    """A parameter's value as axes take it: what is no number, text or truth value as text."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, float | int | str) else str(value)


def drawable_sweep(sweep: SweepRecord) -> SweepRecord:
    """The sweep with `drawable` values."""

    def plain(params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: drawable(value) for name, value in params.items()}

    return dataclasses.replace(
        sweep,
        space={name: [drawable(v) for v in values] for name, values in sweep.space.items()},
        default=plain(sweep.default),
        trials=tuple(dataclasses.replace(t, params=plain(t.params)) for t in sweep.trials),
    )


def axis_title(label: str) -> str:
    """A parameter's label as the title of an axis: `segment.training.lr` on three lines."""
    return text_of(label, LABEL).replace(".", ".<br>", 2)


def params_text(trial: Trial, labels: Mapping[str, str]) -> list[str]:
    """The parameters of a trial as lines of a hover text, by their labels."""
    return [
        f"{text_of(labels[field], LABEL)} {text_of(short(value), 20)}"
        for field, value in trial.params.items()
    ]


def numeric(values: Sequence[Value]) -> bool:
    """Whether all values are numbers (a bool is none)."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def short(value: Value) -> str:
    """A value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def text_of(value: object, limit: int = 120) -> str:
    """Text that Plotly shows as it is: control characters gone, HTML escaped, cut at `limit`."""
    plain = "".join(c if c.isprintable() else " " for c in str(value))
    if len(plain) > limit:
        plain = plain[: limit - 1] + "…"
    return html.escape(plain, quote=False)


def label(name: str) -> str:
    """The name of a localizer as people write it: `lpcam` is LPCAM."""
    return name.upper() if name.isascii() and name.isalnum() and len(name) <= 8 else name


def title_of(id: ResultId) -> str:
    """The name of a result as people write it: `LPCAM, IRN, DEEPLABV2`."""
    steps = {"irn": "IRN", "crf": "DenseCRF", "masks": "true masks", "": ""}
    parts = [label(id.localizer), steps[id.refinement], label(id.segmenter)]
    parts.append("labels known" if id.known else "")
    return ("baseline: " if id.baseline else "") + ", ".join(part for part in parts if part)


def many(count: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {what}{'s' * (count != 1)}"
