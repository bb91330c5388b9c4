"""Passes of images through a CLIP image tower without gradients, as Ray Data actors.

An artifact holds for each slice of the shards a file NAME.arrays with an array for each image that
has a label, float16: the tokens that enter the last block, `[T,D]`; or the mean attention between
patches, `[hw,hw]`, times hw, so that its mean is 1 and small values are not lost.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.formats import shards
from ...data.transforms import resized
from ...errors import InputError
from ...models.clip import image_tower
from ...models.clip.image_tower import PositionEmbedding
from ...storage.artifact_files import ArtifactFile
from ..inference import actors
from . import image_arrays, networks
from .image_arrays import ImageArray


@dataclass(frozen=True, kw_only=True)
class Job(actors.Job):
    """Description of one pass.

    Attributes:
        network: file of the CLIP network.
        position: how the position embedding is resized.
        blocks: number of last blocks whose attentions are averaged; 0 for tokens.
    """

    network: ArtifactFile
    position: PositionEmbedding
    blocks: int


class Tower(actors.Actor):
    """An actor that passes images through the image tower.

    Args:
        job: what to compute.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.views, (1.0,))
        self.visual = networks.load(job.network).visual.to(self.device)
        self.patch = image_tower.patch_size(self.visual)
        self.most = image_tower.most_patches(self.visual, self.image_bytes)
        # Several images together take no more memory than one image may take.
        self.most_pixels = self.most * self.patch**2

    def work(self, piece: shards.Slice) -> int:
        rows = shards.read(piece, shards.INFERENCE_COLUMNS)
        labelled = [row for row in rows if row["labels"]]
        file = self.job.folder / f"{piece.name}{image_arrays.SUFFIX}"
        image_arrays.write(file, self._arrays(labelled))
        return len(rows)

    def _arrays(self, rows: Sequence[dict[str, Any]]) -> Iterator[ImageArray]:
        """Yield the arrays of images; images of one shape pass through the tower together."""
        for numbers, images in self.groups(rows):
            height, width = images[0].shape[:2]
            grid = image_tower.grid_of(height, width, self.patch, self.most)
            values = self._values(self._pixels(images, grid))
            for number, array in zip(numbers, values.half().cpu().numpy(), strict=True):
                row = rows[number]
                yield ImageArray(
                    id=row["id"],
                    labels=tuple(row["labels"]),
                    height=row["height"],
                    width=row["width"],
                    grid=grid,
                    values=array,
                )

    def _pixels(self, images: Sequence[NDArray[np.uint8]], grid: tuple[int, int]) -> Tensor:
        """Return images of one shape, resized to whole patches and normalised, `[B,3,H,W]`."""
        size = grid[0] * self.patch, grid[1] * self.patch
        views = np.stack(list(self.pool.map(lambda image: resized(image, *size), images)))
        return image_tower.normalized(torch.from_numpy(views).to(self.device))

    @torch.inference_mode()
    def _values(self, pixels: Tensor) -> Tensor:
        """Return the arrays of images, `[B,...]`."""
        with self.autocast():
            return self.computed(pixels).float()

    @abstractmethod
    def computed(self, pixels: Tensor) -> Tensor:
        """Return the arrays of images `[B,3,H,W]` from the image tower."""


class Tokens(Tower):
    """An actor that writes the tokens that enter the last block."""

    def computed(self, pixels: Tensor) -> Tensor:
        return image_tower.last_block_tokens(self.visual, pixels, self.job.position)


class Attention(Tower):
    """An actor that writes the mean attention of the last blocks."""

    def computed(self, pixels: Tensor) -> Tensor:
        options = self.job.position, self.job.blocks
        attention = image_tower.mean_attention(self.visual, pixels, *options)
        return attention * attention.shape[2]


def token_bytes(patches: int, channels: int) -> int:
    """Return the bytes of the tokens of an image."""
    return 2 * (1 + patches) * channels


def attention_bytes(patches: int) -> int:
    """Return the bytes of the attention of an image."""
    return 2 * patches**2


def run(
    job: Job,
    pieces: Sequence[shards.Slice],
    free: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Pass the images of slices through the image tower with a pool of Ray Data actors.

    Args:
        job: what to compute.
        pieces: slices of the shards.
        free: free bytes of the store's disk.
        progress: called with (images done, images in all).

    Returns:
        Facts about the artifact for its manifest.

    Raises:
        InputError: the arrays need more than the free bytes.
    """
    visual = networks.load(job.network).visual
    patch, channels = image_tower.patch_size(visual), visual.conv1.out_channels
    most = image_tower.most_patches(visual, job.views.image_bytes)
    need = 0
    for piece in pieces:
        for row in shards.read(piece, ("height", "width")):
            rows, columns = image_tower.grid_of(row["height"], row["width"], patch, most)
            count = rows * columns
            need += attention_bytes(count) if job.blocks else token_bytes(count, channels)
    what = "attentions" if job.blocks else "tokens"
    if need > free:
        raise InputError(
            f"the {what} of CLIP take about {need / 1e9:.1f} GB but the store's disk has only "
            f"{free / 1e9:.1f} GB free; move the store or score fewer splits"
        )
    actor = Attention if job.blocks else Tokens
    return {**actors.compute(actor, job, pieces, progress), "bytes": need}
