"""Fixtures of the tests of stages that do not start Ray."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from wsss.platform.data.formats import shards
from wsss.platform.stages.inference import actors
from wsss.platform.storage.artifact_files import LocalFolder


@pytest.fixture
def write_shards(tmp_path):
    """Return a function that writes shards of noise and returns their slices."""

    def write(counts, size=(24, 20), classes=3, mask=None, name="part"):
        rng = np.random.default_rng(0)
        folder = tmp_path / name
        folder.mkdir()
        out, number = [], 0
        for file, count in enumerate(counts):
            rows = []
            for _ in range(count):
                stream = io.BytesIO()
                Image.fromarray(rng.integers(1, 256, (*size, 3), np.uint8)).save(stream, "PNG")
                labels = sorted(rng.choice(classes, rng.integers(1, classes + 1), replace=False))
                rows.append(
                    {
                        "id": f"i{number:03d}",
                        "image": stream.getvalue(),
                        "height": size[0],
                        "width": size[1],
                        "labels": [int(n) for n in labels],
                        "mask": mask,
                        "split": name,
                    }
                )
                number += 1
            path = folder / f"part-{file:05d}.parquet"
            pq.write_table(pa.Table.from_pylist(rows, schema=shards.SCHEMA), path, row_group_size=8)
            for group in range(-(-count // 8)):
                out.append(
                    shards.Slice(LocalFolder(folder) / path.name, group, min(8, count - 8 * group))
                )
        return tuple(out)

    return write


@pytest.fixture(params=["alone", "together"])
def image_batching(request, monkeypatch):
    """Send images through a network one at a time, as on a CPU, or several at once, as on a GPU."""
    if request.param == "together":
        monkeypatch.setattr(actors, "images_at_once", lambda views, device: views.batch_size)
