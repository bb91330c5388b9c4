"""Digests of the images and masks of a data set, which do not depend on the order of images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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

    def __add__(self, other: Digest) -> Digest:
        whole = 1 << 256
        return Digest((self.ids + other.ids) % whole, (self.masks + other.masks) % whole)

    def as_dict(self) -> dict[str, str]:
        """Return both sums as hexadecimal numbers."""
        return {"ids": f"{self.ids:064x}", "masks": f"{self.masks:064x}"}


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest())
