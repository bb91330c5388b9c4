"""Example images of a data set with their masks, as pictures by class.

datasets/KEY/VALUE.NUMBER.jpg     image, and the image with its mask over it
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ...platform.data.check.dataset_check import DatasetCheck
from ...platform.data.check.shard_check import Example
from ...platform.data.formats.parquet import Row
from ...platform.data.formats.shards import ROWS_PER_GROUP, Slice
from ...platform.data.images import decode_mask
from ...platform.errors import InputError
from . import layers
from .artifact_cache import ArtifactCache
from .example_image import LINE, opened, overlaid
from .gallery import SHORT_KEY_LENGTH

HEIGHT = 96
"""Height of a picture in pixels."""
WIDEST = 160
"""Largest width in pixels of the image in a picture; a wider image is made lower."""
FILE = re.compile(r"(?P<value>[0-9]{1,3})\.(?P<number>[0-9])\.jpg")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Picture of an example image: its path, the image id, and whether it shows the class."""

    path: str
    id: str
    masked: bool


def samples(key: str, check: DatasetCheck, index: int) -> list[Sample]:
    """Return the pictures of the examples of a class.

    Args:
        key: key of the shards.
        check: check of the data set.
        index: class, from 0.
    """
    folder = f"datasets/{key[:SHORT_KEY_LENGTH]}"
    return [
        Sample(path=f"{folder}/{index + 1}.{k}.jpg", id=example.id, masked=not example.unmasked)
        for k, example in enumerate(check.examples[index])
    ]


def picture(artifacts: ArtifactCache, key: str, check: DatasetCheck, file: str) -> bytes | None:
    """Return the picture `datasets/KEY/FILE`; None for an unknown file.

    Raises:
        InputError: the shards are missing or damaged, or an image cannot be read.
    """
    match = FILE.fullmatch(file)
    if match is None:
        return None
    examples = _examples(check, int(match["value"]) - 1)
    number = int(match["number"])
    if number >= len(examples):
        return None
    row = _row(artifacts, key, examples[number])
    image = opened(layers.photograph(row["image"], row["id"], row["height"], row["width"]))
    scale = min(HEIGHT / image.height, WIDEST / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    base = image.resize(size, Image.Resampling.LANCZOS)
    parts = [base.convert("RGB")]
    if row["mask"]:
        mask = opened(layers.mask(decode_mask(row["mask"], row["id"])))
        parts.append(overlaid(base, mask.resize(size, Image.Resampling.NEAREST)))
    out = Image.new("RGB", (sum(p.width for p in parts) + LINE * (len(parts) - 1), size[1]))
    left = 0
    for part in parts:
        out.paste(part, (left, 0))
        left += part.width + LINE
    stream = io.BytesIO()
    out.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _examples(check: DatasetCheck, index: int) -> Sequence[Example]:
    return check.examples[index] if 0 <= index < len(check.examples) else ()


def _row(artifacts: ArtifactCache, key: str, example: Example) -> Row:
    """Return the record of an example image."""
    shards = artifacts.open("shards", key)
    if not shards.has(example.file):
        raise InputError(f"artifact shards/{key[:12]} lacks {example.file}")
    piece = Slice(shards.file(example.file), example.row // ROWS_PER_GROUP, ROWS_PER_GROUP)
    return artifacts.images(key, piece)[example.id]
