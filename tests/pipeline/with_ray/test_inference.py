"""Tests of inference as a pool of actors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray.data
from wsss.platform.data.formats.shards import Slice
from wsss.platform.stages.inference import actors
from wsss.platform.storage.artifact_files import LocalFolder

SLICES = [Slice(LocalFolder(Path("none")) / f"{k}.parquet", 0, 1 + k % 3) for k in range(20)]


class SentError(Exception):
    """The end of an inference whose slices were sent."""


@pytest.mark.parametrize(
    ("most", "by_actor", "count", "blocks"),
    [(3, 0, 1, 3), (1024, 0, 2, 20), (3, 4, 2, 8), (3, 99, 2, 20)],
)
def test_slices_are_sent_in_few_calls(
    most: int, by_actor: int, count: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "MOST_BLOCKS", most)
    monkeypatch.setattr(actors, "BLOCKS_PER_ACTOR", by_actor)

    def from_items(items: list[Any], *, override_num_blocks: int) -> None:
        assert [item["number"] for item in items] == [*range(len(SLICES))]
        assert override_num_blocks == blocks
        raise SentError

    monkeypatch.setattr(ray.data, "from_items", from_items)
    with pytest.raises(SentError):
        actors.run(actors.Actor, "", SLICES, count, lambda images, total: None)


@pytest.mark.cluster
def test_every_slice_of_a_call_is_processed(
    ray_started: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`test_worker_errors.py` lets a slice in the middle of a call fail."""

    class Marking(actors.Actor):
        def __init__(self, job: str) -> None:
            self.folder = Path(job)

        def work(self, piece: Slice) -> int:
            (self.folder / piece.file.name).touch()
            return piece.rows

    monkeypatch.setattr(actors, "MOST_BLOCKS", 3)
    monkeypatch.setattr(actors, "BLOCKS_PER_ACTOR", 0)
    done: list[int] = []
    actors.run(Marking, str(tmp_path), SLICES, 2, lambda images, total: done.append(images))
    assert done == sorted(done)
    assert done[-1] == sum(piece.rows for piece in SLICES)
    assert {p.name for p in tmp_path.iterdir()} == {piece.file.name for piece in SLICES}
