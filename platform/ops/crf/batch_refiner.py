"""DenseCRF of a batch of images in torch, on a CPU or a GPU.

The kernels, their normalisation, the compatibility and the order of the updates are those of
pydensecrf. Shapes: B images, S starts of an image, L labels, H W pixels, P = B H W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .parameters import CRF
from .permutohedral import Lattice


class BatchRefiner:
    """DenseCRF on images of one size, on the device of the images.

    Args:
        images: RGB `[B,H,W,3]`, uint8.
        crf: parameters of the DenseCRF.

    Raises:
        ValueError: a standard deviation is too small for the range of positions or colours.
    """

    def __init__(self, images: Tensor, crf: CRF) -> None:
        self.images, self.crf = images, crf
        self.smooth = Lattice(_coordinates(images) / _deviations(images, [crf.smooth_xy] * 2))
        features = torch.cat([_coordinates(images), images.flatten(1, 2).float()], -1)
        features /= _deviations(images, [crf.colour_xy] * 2 + [crf.colour_rgb] * 3)
        self.colour = Lattice(features)
        del features
        self.smooth.normalize(crf.smooth)
        self.colour.normalize(crf.colour)

    def refine(self, probabilities: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the label probabilities after mean field.

        Each start of each image is refined alone; they only share the kernels.

        Args:
            probabilities: float32 `[B,S,L,H,W]`; those of a pixel may be scaled by any factor.
            present: bool `[B,L]`, the labels that each image has; None for all. Other labels get
                the probability zero, as if they did not exist.

        Returns:
            `[B,S,L,H,W]`; the input itself where L is 1.

        Raises:
            ValueError: images and probabilities differ in number or size.
        """
        batch, starts, labels, height, width = probabilities.shape
        if self.images.shape != (batch, height, width, 3):
            raise ValueError(
                f"the images have the shape {tuple(self.images.shape)} and the probabilities "
                f"{tuple(probabilities.shape)}; numbers, heights and widths must be equal"
            )
        if labels < 2:
            return probabilities
        logits = probabilities.permute(0, 3, 4, 1, 2).clamp(1e-5, 1).log_()
        if present is not None:
            logits.masked_fill_(~present[:, None, None, None], -torch.inf)
        logits = logits.reshape(-1, starts * labels)
        belief = _softmax(logits, labels)
        for _ in range(self.crf.iterations):
            message = self.smooth.filter(belief)
            message += self.colour.filter(belief)
            del belief
            belief = _softmax(message.add_(logits), labels)
            del message
        return belief.view(batch, height, width, starts, labels).permute(0, 3, 4, 1, 2)


def _coordinates(images: Tensor) -> Tensor:
    """Return the column and row of each pixel, float32 `[B,HW,2]`."""
    batch, height, width = images.shape[:3]
    numbers = torch.arange(height * width, device=images.device)
    coordinates = torch.stack([numbers % width, numbers.div(width, rounding_mode="floor")], -1)
    return coordinates.float().expand(batch, -1, -1)


def _deviations(images: Tensor, values: Sequence[float]) -> Tensor:
    """Return standard deviations as a tensor, by which a GPU divides as a CPU does.

    Division by a number is on a GPU a product with the number's rounded inverse.
    """
    return torch.tensor(values, dtype=torch.float32, device=images.device)


def _softmax(logits: Tensor, labels: int) -> Tensor:
    """Return the softmax over the labels of each start, `[P,SL]`."""
    return logits.view(len(logits), -1, labels).softmax(-1).flatten(1)


def hard_probabilities(seeds: Tensor, present: Tensor, certainty: float) -> Tensor:
    """Turn hard labels into probabilities.

    Args:
        seeds: int64 `[B,S,H,W]`, 0..L-1.
        present: bool `[B,L]`, the labels that each image has.
        certainty: probability of the label of a pixel; the other labels of the image share the
            rest equally.

    Returns:
        float32 `[B,S,L,H,W]`.
    """
    others = (1 - certainty) / (present.sum(1) - 1).clamp(min=1)
    shares = (others[:, None] * present).float()[:, None, :, None, None]
    out = shares.expand(*seeds.shape[:2], -1, *seeds.shape[2:]).contiguous()
    return out.scatter_(2, seeds[:, :, None], certainty)
