"""Digests of the images and masks of a data set, which do not depend on the order of images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .images import decode_mask


@dataclass(frozen=True)
class Digest:
    """A digest of images and of masks that does not depend on their order.

    Scores are comparable where both agree.

    Attributes:
        ids: sum of the SHA-256 of each image id.
        masks: sum of the SHA-256 of each image id with the pixels of its mask.
    """

    ids: int = 0
    masks: int = 0

    @classmethod
    def of_image(cls, id: str, mask: NDArray[np.uint8] | None) -> Digest:
        """Return the digest of one image with its mask `[H,W]`, if it has one."""
        pixels = b"" if mask is None else f"{mask.shape}".encode() + mask.tobytes()
        return cls(_number(id.encode()), _number(id.encode() + b"\0" + pixels))

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Digest:
        """Return the digest of rows of shards, which hold encoded masks."""
        total = cls()
        for row in rows:
            mask = decode_mask(row["mask"], row["id"]) if row["mask"] else None
            total += cls.of_image(row["id"], mask)
        return total

    @classmethod
    def from_dict(cls, texts: Mapping[str, str]) -> Digest:
        """Return the digest that `as_dict` wrote."""
        return cls(int(texts["ids"], 16), int(texts["masks"], 16))

    def __add__(self, other: Digest) -> Digest:
        whole = 1 << 256
        return Digest((self.ids + other.ids) % whole, (self.masks + other.masks) % whole)

    def as_dict(self) -> dict[str, str]:
        """Return both sums as hexadecimal numbers."""
        return {"ids": f"{self.ids:064x}", "masks": f"{self.masks:064x}"}


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest())
