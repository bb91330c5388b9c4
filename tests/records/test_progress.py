"""Tests of the progress display in lines of text."""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace

import pytest
from wsss.platform.records import progress
from wsss.platform.records.progress_file import ProgressRecorder


def test_a_line_every_few_seconds_counts_and_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate leaves out what was done before the first update of the step."""
    clock, stream = SimpleNamespace(now=100.0), io.StringIO()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    lines = progress.ProgressLines(stream, every=5.0)
    lines.plan(["train", "score"])
    lines.start("train")
    for now, done in ((100.0, 1), (104.0, 2), (110.0, 3)):
        clock.now = now
        lines.update("epoch 1", done, 9)
    clock.now = 112.0
    lines.finish(False)
    assert stream.getvalue().splitlines() == [
        "[1/2] train  epoch 1, 3/9, about 30 s left  (next: score)",
        "[1/2] train  12.0 s",
    ]


def test_the_copy_of_a_display_for_another_process_is_silent() -> None:
    """A notebook's stream cannot be pickled, and Ray Tune pickles the display of a sweep."""
    display = ProgressRecorder(progress.ProgressLines(io.TextIOWrapper(io.BytesIO())))
    assert type(pickle.loads(pickle.dumps(display))) is progress.ProgressDisplay
