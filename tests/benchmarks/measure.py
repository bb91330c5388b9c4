"""What the benchmarks share: a clock, a voice, images."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def seconds(action: Callable[[], object], repeats: int = 1) -> float:
    """The median time of an action."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def photographs(root: Path, count: int) -> None:
    """JPEG files of 500 x 375 pixels with as much detail as photographs have."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["id,labels"]
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(noisy).save(data, "JPEG", quality=85)
        (root / "images" / f"i{number:05d}.jpg").write_bytes(data.getvalue())
        lines.append(f"i{number:05d},{'cat' if number % 2 else 'dog'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
