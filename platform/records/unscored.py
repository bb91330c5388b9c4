"""The sentence on the splits of a run that have no scores."""

from __future__ import annotations

from .schema import RunRecord


def unscored_sentence(run: RunRecord) -> str:
    """Return why splits of a run have no scores; empty where all its splits have masks."""
    if not run.unscored:
        return ""
    noun, verb = ("split", "is") if len(run.unscored) == 1 else ("splits", "are")
    what = f"{noun} {' and '.join(run.unscored)} {verb} not scored"
    if run.status != "running" and not any(run.scores.values()):
        what = "nothing is scored"
    splits = " or ".join(run.unscored)
    return f"{what}, because no image of {splits} of data set {run.dataset!r} has a mask"
