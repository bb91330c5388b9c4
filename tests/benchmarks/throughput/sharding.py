"""Benchmark of COCO: records a second into shards, and peak memory; see bench.py."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from measure import say
from PIL import Image
from process_memory import private, workers

SIZES = (10_000, 80_000)
ANNOTATIONS, POINTS, WIDTH, HEIGHT = 7, 24, 160, 120
PICTURES = 64
"""Number of different images; all files are copies of these, which readers do not notice."""


def coco(root: Path, count: int) -> int:
    """Write generated images with as many polygons as COCO has; return the JSON file's bytes."""
    rng = np.random.default_rng(0)
    (root / "train2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    pictures = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        data = io.BytesIO()
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(data, "JPEG", quality=85)
        pictures.append(data.getvalue())
    path = root / "annotations" / "instances_train2014.json"
    with path.open("w") as stream:
        stream.write('{"categories": [')
        stream.write(", ".join(json.dumps({"id": k + 1, "name": f"c{k}"}) for k in range(80)))
        stream.write('], "images": [')
        for k in range(count):
            name = f"COCO_train2014_{k:012d}.jpg"
            (root / "train2014" / name).write_bytes(pictures[k % PICTURES])
            row = {"id": k, "file_name": name, "height": HEIGHT, "width": WIDTH}
            stream.write((", " if k else "") + json.dumps(row))
        stream.write('], "annotations": [')
        for k in range(count * ANNOTATIONS):
            points = rng.random(2 * POINTS) * np.tile([WIDTH, HEIGHT], POINTS)
            row = {
                "id": k,
                "image_id": int(k * 7919 % count),
                "category_id": int(rng.integers(1, 81)),
                "iscrowd": 0,
                "segmentation": [np.round(points, 2).tolist()],
            }
            stream.write((", " if k else "") + json.dumps(row))
        stream.write("]}")
    return path.stat().st_size


def make_shards(root: Path, store: Path) -> tuple[float, int, int]:
    """Return the seconds of `wsss data coco` and peak bytes of its driver and largest worker."""
    words = ["data", "coco", str(root), "--name", "coco", "--store", str(store)]
    began = time.perf_counter()
    job = subprocess.Popen(
        [sys.executable, "-m", "wsss.platform.cli", *words], stdout=subprocess.DEVNULL
    )
    driver = worker = 0
    while job.poll() is None:
        driver = max(driver, private(job.pid))
        worker = max([worker, *map(private, workers())])
        time.sleep(0.1)
    assert job.returncode == 0
    return time.perf_counter() - began, driver, worker


def bench_coco(folder: Path, sizes: tuple[int, ...] = SIZES) -> None:
    """Measure records a second, and whether memory stays flat."""
    for count in sizes:
        root, store = folder / "coco", folder / "store"
        size = coco(root, count)
        took, driver, worker = make_shards(root, store)
        say(
            f"coco: {count} records, JSON of {size / 2**20:.0f} MiB: {count / took:.0f} records/s, "
            f"start included; driver {driver / 2**20:.0f} MiB, largest worker "
            f"{worker / 2**20:.0f} MiB at most"
        )
        shutil.rmtree(root)
        shutil.rmtree(store)
