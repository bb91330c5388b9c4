"""Tests of inference whose images end the processes that compute them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import ray
from wsss.platform.data.formats.shards import Slice
from wsss.platform.errors import InputError
from wsss.platform.stages.inference import actors
from wsss.platform.storage.artifact_files import LocalFolder

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


class Dying(actors.Actor):
    """An actor whose process ends at the second slice, as native code may end it."""

    def __init__(self, job: Path) -> None:
        self.folder = job

    def work(self, piece: Slice) -> int:
        if piece.group == 1:
            with (self.folder / "tries").open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return piece.rows


@pytest.mark.cluster
def test_images_that_end_each_process_are_not_tried_for_ever(
    ray_session: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(actors, "RESTARTS", 1)
    pieces = [Slice(LocalFolder(tmp_path) / "a.parquet", group, 1) for group in range(3)]
    with pytest.raises(InputError, match="processes of inference died 2 times"):
        actors.run(Dying, tmp_path, pieces, 1, lambda done, total: None)
    assert (tmp_path / "tries").read_text() == "xx"
