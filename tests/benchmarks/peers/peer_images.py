"""Images as the IRN line reads them: loose JPEG files, numpy augmentation, one array an image.

The modules of this folder implement common practice in PyTorch, for comparison: a Python data
loader, float32 in the default memory order, one image at a time at the test, a file of numpy
dictionaries for each image, and all work repeated for each setting. Nothing here is part of the
product, and nothing is slower than common practice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset
from wsss.platform.data.transforms import DEVIATION, MEAN


def read(file: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(file).convert("RGB"))


def resize(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def normalize(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    out = np.empty(image.shape, np.float32)
    for channel in range(3):
        out[..., channel] = (image[..., channel] / 255.0 - MEAN[channel]) / DEVIATION[channel]
    return out


class Crops(Dataset[dict[str, Any]]):
    """Augmented crops for training."""

    def __init__(
        self, files: Sequence[Path], classes: int, long: tuple[int, int], side: int
    ) -> None:
        self.files, self.classes, self.long, self.side = files, classes, long, side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> dict[str, Any]:
        image = read(self.files[number])
        image = resize(image, random.randint(*self.long) / max(image.shape[:2]))
        values = normalize(image)
        if random.random() < 0.5:
            values = np.fliplr(values)
        height, width = values.shape[:2]
        rows, columns = min(height, self.side), min(width, self.side)
        y, x = random.randint(0, height - rows), random.randint(0, width - columns)
        top, left = random.randint(0, self.side - rows), random.randint(0, self.side - columns)
        out = np.zeros((self.side, self.side, 3), np.float32)
        out[top : top + rows, left : left + columns] = values[y : y + rows, x : x + columns]
        label = np.zeros(self.classes, np.float32)
        label[number % self.classes] = 1
        return {"image": np.ascontiguousarray(out.transpose(2, 0, 1)), "label": label}


class Pyramids(Dataset[dict[str, Any]]):
    """Images at several scales, each with its mirror image."""

    def __init__(self, files: Sequence[Path], scales: Sequence[float]) -> None:
        self.files, self.scales = files, scales

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> dict[str, Any]:
        image = read(self.files[number])
        views = []
        for scale in self.scales:
            values = normalize(image if scale == 1 else resize(image, scale)).transpose(2, 0, 1)
            views.append(torch.from_numpy(np.stack([values, np.flip(values, -1)]).copy()))
        return {"name": self.files[number].stem, "size": image.shape[:2], "views": views}
