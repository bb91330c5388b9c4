"""Records of runs and sweeps for tests, drawn from fixed seeds without a data set."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from wsss.platform.metrics import RULE, THRESHOLDS
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import RunRecord, Score, StageRecord, SweepRecord, Trial

HOSTILE = "<script>alert(1)</script>"
QUOTES = "\"'><img src=x onerror=alert(2)>"
CLASSES = ("background", "ant", "bee", "beetle", "fly", "moth", "spider")
SPACE = {
    "lpcam.tau": [0.1, 0.2, 0.3],
    "lpcam.K": [6, 12],
    "lpcam.mu_f": [0.7, 0.9],
    "lpcam.mu_b": [0.5, 0.9],
}
DEFAULT = {"lpcam.tau": 0.1, "lpcam.K": 12, "lpcam.mu_f": 0.9, "lpcam.mu_b": 0.9}


def make_score(
    split: str = "val",
    top: float = 0.5,
    at: float = 0.3,
    classes: tuple[str, ...] = CLASSES,
    parts: bool = True,
) -> Score:
    x = np.array(THRESHOLDS)
    curve = np.clip(top * np.exp(-(((x - at) / 0.45) ** 2)), 0, 1)
    iou: list[float | None] = [
        float(v) for v in np.clip(top + 0.12 * np.sin(np.arange(len(classes)) * 2), 0, 1)
    ]
    iou[-1] = None
    return Score(
        split=split,
        n=240,
        classes=classes,
        scored=tuple(range(len(classes))),
        rule=RULE,
        thresholds=THRESHOLDS,
        miou=tuple(float(v) for v in curve),
        threshold=at,
        threshold_from="train",
        iou=tuple(iou),
        false_positives=0.6 - top / 2,
        false_negatives=0.4 - top / 2,
        precision=0.3 + top / 2,
        recall=0.4 + top / 2,
        parts={"discriminative": 0.9, "other": 0.2 + top / 2, "context": 0.15} if parts else None,
    )


def make_trials(count: int, fail: Callable[[int], bool] = lambda k: k % 11 == 5) -> list[Trial]:
    rng = np.random.default_rng(0)
    trials = []
    for k in range(count):
        params = {
            n: v[(k // int(np.prod([len(w) for w in list(SPACE.values())[:i]] or [1]))) % len(v)]
            for i, (n, v) in enumerate(SPACE.items())
        }
        if fail(k):
            error = f"K must be at least 1 {HOSTILE}"
            trials.append(
                Trial(id=f"{k:04d}", params=params, status="failed", seconds=0.1, error=error)
            )
            continue
        value = 0.46 + 0.2 * params["lpcam.tau"] - 0.08 * (params["lpcam.mu_b"] - 0.5) ** 2
        value += 0.05 * (params["lpcam.mu_f"] - 0.7) + 0.004 * rng.standard_normal()
        score = make_score("train", value, 0.35)
        trials.append(
            Trial(
                id=f"{k:04d}",
                params=params,
                status="done",
                seconds=2.5 + rng.random(),
                value=value,
                score=score,
                cached=k % 4 == 0,
            )
        )
    return trials


def make_sweep(count: int = 24, **options: object) -> SweepRecord:
    trials = make_trials(count, **options)  # type: ignore[arg-type]
    done = [t for t in trials if t.value is not None]
    best = max(done, key=lambda t: t.value or 0).id if done else None
    return SweepRecord(
        name="demo-lpcam",
        method="lpcam",
        dataset="scenes",
        split="train",
        space=SPACE,
        default=DEFAULT,
        trials=tuple(trials),
        best=best,
        run=None,
        command="wsss sweep lpcam --data scenes --trials 24",
        started="2025-01-01T10:00:00+0000",
        seconds=71.4,
        digest="ab" * 32,
    )


def make_run(classes: tuple[str, ...] = CLASSES, name: str = "demo") -> RunRecord:
    scores = {
        ResultId(localizer="lpcam"): {
            s: make_score(s, v, 0.35, classes) for s, v in (("train", 0.552), ("val", 0.54))
        },
        ResultId(localizer="cam"): {
            s: make_score(s, v, 0.22, classes) for s, v in (("train", 0.441), ("val", 0.43))
        },
    }
    rows = [
        ("shards", "draw 720 images", 6.2, True),
        ("network", "train the classifier", 64.0, False),
        ("clusters", "cluster local features", 8.3, False),
        ("maps", "class maps of val", 11.8, False),
        ("score", "score val", 1.4, False),
    ]
    return RunRecord(
        name=name,
        method="lpcam",
        dataset="scenes",
        seed=0,
        experiment={"method": "lpcam", "settings": {"tau": 0.1}},
        digest="cd" * 32,
        command="wsss run lpcam --data scenes",
        machine="2 cores, 23 GiB",
        versions={"torch": "2.8", "ray": "2.60"},
        started="2025-01-01T10:00:00+0000",
        seconds=93.0,
        stages=tuple(
            StageRecord(stage=s, title=t, key=f"{k:064x}", seconds=w, cached=c)
            for k, (s, t, w, c) in enumerate(rows)
        ),
        scores=scores,
    )


def encoded(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()
