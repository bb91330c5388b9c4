"""Tests of inference as a pool of actors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray.data
from wsss.platform.data.formats.shards import Slice
from wsss.platform.errors import InputError
from wsss.platform.stages.inference import actors
from wsss.platform.storage.artifact_files import LocalFolder

pytestmark = pytest.mark.cluster
SLICES = [Slice(LocalFolder(Path("none")) / f"{k}.parquet", 0, 1 + k % 3) for k in range(20)]


def run(folder: Path, count: int, wrong: str = "") -> list[int]:
    """Run an inference with `count` actors that leaves a file a slice and fails at `wrong`; return
    its progress."""

    class Marking(actors.Actor):
        def __init__(self, job: str) -> None:
            self.folder = Path(job)

        def work(self, piece: Slice) -> int:
            if piece.file.name == wrong:
                raise InputError(f"{piece.file.name} is wrong")
            (self.folder / piece.file.name).touch()
            return piece.rows

    done: list[int] = []
    actors.run(Marking, str(folder), SLICES, count, lambda images, total: done.append(images))
    return done


@pytest.mark.parametrize(("blocks", "count"), [(3, 1), (1024, 2)])
def test_every_slice_is_processed_in_few_and_in_many_calls(
    ray_started: None, blocks: int, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(actors, "MOST_BLOCKS", blocks)
    monkeypatch.setattr(actors, "BLOCKS_PER_ACTOR", 0)
    block_counts = []
    real = ray.data.from_items

    def recorded(items: list[Any], *, override_num_blocks: int) -> Any:
        block_counts.append(override_num_blocks)
        return real(items, override_num_blocks=override_num_blocks)

    monkeypatch.setattr(ray.data, "from_items", recorded)
    done = run(tmp_path, count)
    assert block_counts == [min(blocks, len(SLICES))]
    assert done == sorted(done)
    assert done[-1] == sum(piece.rows for piece in SLICES)
    assert {p.name for p in tmp_path.iterdir()} == {piece.file.name for piece in SLICES}


def test_a_wrong_slice_within_a_call_is_named(
    ray_started: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(actors, "MOST_BLOCKS", 1)
    monkeypatch.setattr(actors, "BLOCKS_PER_ACTOR", 0)
    with pytest.raises(InputError, match=r"7\.parquet is wrong"):
        run(tmp_path, 1, wrong="7.parquet")
    before = {piece.file.name for piece in SLICES[:7]}
    assert {p.name for p in tmp_path.iterdir()} == before  # no later slice
