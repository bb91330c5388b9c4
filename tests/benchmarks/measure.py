"""Helpers of the benchmarks: timing, output, images and features."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pictures import HEIGHT, WIDTH, jpeg, photograph
from wsss.platform.config.experiment import Views
from wsss.platform.data.formats import class_maps
from wsss.platform.data.formats.features import FeatureRows
from wsss.platform.ops import kmeans
from wsss.platform.stages.prototypes import clustering
from wsss.platform.storage.artifact_files import ArtifactFile, LocalFolder

KEPT = int(Views().kept_gib * 2**30)
"""Bytes of features that a clustering keeps."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def seconds(action: Callable[[], object], repeats: int = 1) -> float:
    """Return the median time of an action in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def photographs(root: Path, count: int, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Write JPEG files of generated pictures with a photograph's statistics, and their labels."""
    (root / "images").mkdir(parents=True)
    lines = ["id,labels"]
    for number in range(count):
        picture = jpeg(photograph(number, height, width))
        (root / "images" / f"i{number:05d}.jpg").write_bytes(picture)
        lines.append(f"i{number:05d},{'cat' if number % 2 else 'dog'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def feature_files(
    folder: Path, rows: int, width: int, files: int, seed: int = 0
) -> list[ArtifactFile]:
    """Write feature files as inference leaves them: one image each, class 1, half above 0.5."""
    rng = np.random.default_rng(seed)
    per = rows // files
    written = []
    for number in range(files):
        file = LocalFolder(folder) / f"f{number:04d}.npy"
        array = np.lib.format.open_memmap(file.local(), "w+", np.float16, (per, width))
        for start in range(0, per, 8192):
            size = (min(8192, per - start), width)
            array[start : start + size[0]] = np.maximum(rng.standard_normal(size, np.float32), 0)
        array.flush()
        place = FeatureRows(
            id=f"f{number:04d}", labels=(0,), height=16, width=16, offset=0, grids=((1, per),)
        )
        file.with_suffix(".json").write_bytes(json.dumps([asdict(place)]).encode())
        plane = np.zeros((1, 1, per), np.float16)
        plane[..., : per // 2] = 1
        maps = class_maps.ClassMaps(id=place.id, classes=(1,), planes=plane, height=4, width=per)
        class_maps.write(file.with_suffix(".parquet"), [maps])
        written.append(file)
    return written


def some_centers(holders: clustering.Holders, width: int) -> dict[kmeans.FeatureSet, kmeans.Floats]:
    first = holders.gather({s: [(min(n), 0)] for s, n in holders.sizes.items()})
    spread = np.eye(12, width, dtype=np.float32)
    return {s: np.repeat(c, 12, 0) + spread for s, c in first.items()}
