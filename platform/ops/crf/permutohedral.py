"""Gaussian filtering of values at scattered positions by a permutohedral lattice, in torch.

Each position lies in a simplex of the lattice. Its value goes to the corners of the simplex by
barycentric weights (splat), the values of the corners are blurred along each axis of the lattice,
and the position takes the weighted sum of its corners (slice). The result is nearly that of a
Gaussian filter with standard deviation one, at a cost that does not depend on its width.
Source: Adams, Baek and Davis, Eurographics 2010. Rounding, ties and the order of the axes are those
of pydensecrf, so that the lattice has the same corners.
Shapes: B images, N pixels of an image, P = B N positions, D features, K = D + 1 corners of a
simplex, M corners in use, C columns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

MOST_KEYS = 2**62
"""Largest number of points of the lattice in the box around the positions, over a batch."""
BLUR_BYTES = 22
"""Memory in bytes, for each position and column, that the columns filtered at a time may take."""
PARTS = 8
"""Number of parts in which the neighbours of corners are looked up."""
TINY = 1e-20
"""Smallest sum of weights that is divided by."""


class Lattice:
    """A Gaussian filter on the positions of a batch of images.

    No value passes from one image to another. All tables lie on the device of the features.

    Args:
        features: `[B,N,D]`, the positions divided by the standard deviations of the filter.

    Raises:
        ValueError: the positions span too wide a range for int64 keys of the lattice's points.
    """

    def __init__(self, features: Tensor) -> None:
        images, pixels, width = features.shape
        self.positions, self.simplex_size = images * pixels, width + 1
        cell, order, self.slice_weights = _simplices(features.reshape(-1, width))
        strides = _strides(cell, images)
        keys = _keys(cell, order, strides, pixels)
        del cell, order
        corners = torch.unique(torch.cat([torch.unique(key) for key in keys]))
        self.corners = len(corners)
        self.slice_index = torch.empty(keys.shape[::-1], dtype=torch.int32, device=keys.device)
        for number, key in enumerate(keys):
            self.slice_index[:, number] = torch.searchsorted(corners, key, out_int32=True)
        del keys
        self._set_splat_tables()
        self.neighbours = _neighbours(corners, strides[:width])

    def _set_splat_tables(self) -> None:
        """Sort the pairs of position and corner by corner."""
        pairs = self.slice_index.flatten()
        order = torch.argsort(pairs, stable=True)
        self.splat_weights = self.slice_weights.flatten()[order]
        self.splat_index = order.div_(self.simplex_size, rounding_mode="floor").int()
        del order
        counts = torch.bincount(pairs, minlength=self.corners + 1)
        self.splat_starts = pairs.new_zeros(len(counts) + 1)
        self.splat_starts[1:] = counts.cumsum_(0)

    def normalize(self, weight: float) -> None:
        """Divide what `filter` computes by the roots of the sums of weights, on both sides.

        The matrix of the filter becomes symmetric, as in pydensecrf: entry ij is divided by
        sqrt(sum i) sqrt(sum j). It is then multiplied by `weight`.
        """
        ones = self.slice_weights.new_ones(self.positions, 1)
        roots = (self.filter(ones)[:, 0] + TINY).rsqrt()
        self.slice_weights *= roots[:, None] * weight
        self.splat_weights *= roots.index_select(0, self.splat_index)

    def filter(self, values: Tensor) -> Tensor:
        """Return the filtered values of all positions.

        As many columns are filtered at a time as take `BLUR_BYTES` for each position and column
        of `values`.

        Args:
            values: `[P,C]`, in the type of the features.

        Returns:
            `[P,C]`.
        """
        columns = values.shape[1]
        limit = BLUR_BYTES * self.positions * columns
        step = max(1, limit // (3 * values.element_size() * (self.corners + 1)))
        if step >= columns:
            return self._filtered(values)
        out = torch.empty_like(values)
        for start in range(0, columns, step):
            part = slice(start, start + step)
            out[:, part] = self._filtered(values[:, part].contiguous())
        return out

    def _filtered(self, values: Tensor) -> Tensor:
        at_corners = embedding_bag(
            self.splat_index,
            values,
            self.splat_starts,
            mode="sum",
            per_sample_weights=self.splat_weights,
            include_last_offset=True,
        )
        for lower, upper in self.neighbours:
            sums = at_corners.index_select(0, lower)
            sums += at_corners.index_select(0, upper)
            at_corners.add_(sums, alpha=0.5)
            del sums
        out = embedding_bag(
            self.slice_index, at_corners, mode="sum", per_sample_weights=self.slice_weights
        )
        return out.div_(1 + 2.0 ** (1 - self.simplex_size))


def _simplices(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the simplex of each position and the weights of its corners.

    Args:
        features: `[P,D]`.

    Returns:
        `[K,P]`, the simplex's corner whose coordinates are multiples of K; `[K,P]`, the coordinates
        in descending order of what the position exceeds that corner by; `[P,K]`, the weight of each
        corner, which sum to one. `_keys` says how the other corners follow from the order.
    """
    size = features.shape[1] + 1
    raised = _raised(features)
    cell = (raised * (1 / size)).round()
    excess = cell.sum(0).long()
    cell *= size
    rank = _ranks(raised - cell) + excess
    turns = (rank < 0).long() - (rank >= size).long()
    rank += size * turns
    cell += size * turns
    coordinates = torch.arange(size, device=rank.device)[:, None].expand_as(rank)
    order = torch.empty_like(rank).scatter_(0, rank, coordinates)
    sorted_excess = ((raised - cell) * (1 / size)).gather(0, order)
    weights = features.new_empty(len(features), size)
    weights[:, 0] = sorted_excess[-1] + (1 - sorted_excess[0])
    weights[:, 1:] = (sorted_excess[:-1].flip(0) - sorted_excess[1:].flip(0)).T
    return cell, order, weights


def _raised(features: Tensor) -> Tensor:
    """Return positions on the plane of the lattice, `[K,P]`, whose coordinates sum to zero."""
    positions, width = features.shape
    out = features.new_empty(width + 1, positions)
    total = features.new_zeros(positions)
    # pydensecrf rounds this number too. A position on a face of a simplex gets other corners if it
    # moves by a rounding, and values spread only over corners that exist.
    deviation = torch.tensor(math.sqrt(2 / 3) * (width + 1), dtype=features.dtype).item()
    for axis in range(width, 0, -1):
        scaled = features[:, axis - 1] * (1 / math.sqrt(axis**2 + axis) * deviation)
        out[axis] = total - axis * scaled
        total += scaled
    out[0] = total
    return out


def _ranks(excess: Tensor) -> Tensor:
    """Return the rank of each coordinate, int64 `[K,P]`.

    The largest has rank 0; of equal ones the first has the lower rank.
    """
    rank = torch.zeros_like(excess, dtype=torch.long)
    for i in range(len(excess)):
        for j in range(i + 1, len(excess)):
            less = excess[i] < excess[j]
            rank[i] += less
            rank[j] += ~less
    return rank


def _strides(cell: Tensor, images: int) -> list[int]:
    """Return the number that one step of each coordinate adds to a key, and last that of an image.

    The box of the keys has a margin around the corners, which their neighbours lie in.

    Raises:
        ValueError: the box holds more than `MOST_KEYS` points.
    """
    size = len(cell)
    spans = (cell[:-1].amax(1) - cell[:-1].amin(1)).tolist()
    strides = [1]
    for span in spans:
        strides.append(strides[-1] * (int(span) + 4 * size + 1))
    if strides[-1] * images > MOST_KEYS:
        raise ValueError(
            f"the lattice of {images} images has {strides[-1] * images:.1e} points, more than "
            f"{MOST_KEYS:.1e}; filter with larger standard deviations, or fewer images at a time"
        )
    return strides


def _keys(cell: Tensor, order: Tensor, strides: list[int], pixels: int) -> Tensor:
    """Return the keys of the corners of each position's simplex, int64 `[K,P]`.

    Corner r is corner r - 1 plus one in all coordinates, minus K in the coordinate of rank K - r.
    The last coordinate follows from the others and enters no key.

    Args:
        cell, order: see `_simplices`.
        strides: see `_strides`.
        pixels: number of positions of each image, which follow one another.
    """
    size, positions = cell.shape
    keys = torch.empty(size, positions, dtype=torch.long, device=cell.device)
    numbers = torch.arange(positions, device=cell.device)
    keys[0] = numbers.div_(pixels, rounding_mode="floor").mul_(strides[-1])
    low = cell[:-1].amin(1, keepdim=True) - 2 * size
    for coordinate, stride in zip((cell[:-1] - low), strides[:-1], strict=True):
        keys[0] += coordinate.long().mul_(stride)
    drops = size * torch.tensor([*strides[:-1], 0], device=cell.device)
    for corner in range(1, size):
        keys[corner] = keys[corner - 1] + sum(strides[:-1])
        keys[corner] -= drops[order[size - corner]]
    return keys


def _neighbours(corners: Tensor, strides: list[int]) -> Tensor:
    """Return the two neighbours of each corner along each axis, int32 `[K,2,M+1]`.

    Number M, the last, stands for a corner that is not in use, whose value stays zero. Where b is
    the neighbour of a on one side, a is the neighbour of b on the other side.

    Args:
        corners: the sorted keys of the corners in use, int64 `[M]`.
        strides: the number that one step of each coordinate adds to a key.
    """
    count, size = len(corners), len(strides) + 1
    out = torch.full((size, 2, count + 1), count, dtype=torch.int32, device=corners.device)
    every = torch.arange(count, dtype=torch.int32, device=corners.device)
    parts = torch.split(every, -(-count // PARTS))  # not all at once, which would take more memory
    for axis, stride in enumerate([*strides, 0]):
        step = size * stride - sum(strides)
        for part in parts:
            keys = corners.index_select(0, part) + step
            numbers = torch.searchsorted(corners, keys, out_int32=True).clamp_(max=count - 1)
            used = corners.index_select(0, numbers) == keys
            out[axis, 0].index_copy_(0, part.long(), numbers.masked_fill(~used, count))
            out[axis, 1].index_copy_(0, numbers[used].long(), part[used])
    return out
