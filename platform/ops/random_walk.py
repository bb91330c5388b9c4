"""IRN's propagation of class maps by a random walk that boundaries hold back.

The affinity of two positions falls with the strongest boundary on the line between them. A random
walk over these affinities spreads the maps inside boundaries. Source: Ahn et al., CVPR 2019, and
`misc/indexing.py` of the authors' code, which forms the dense matrix and squares it eight times;
multiplying the maps 256 times by the sparse matrix gives the same numbers.
Shapes: N classes, H W grid, O offsets, P points of a path, B images.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from .precision import wide_type

Point = tuple[int, int]
ENTRY_BYTES = 80


@cache
def neighbour_offsets(radius: int) -> tuple[Point, ...]:
    """Return the offsets `(dy, dx)` of neighbours nearer than `radius` in one half plane.

    There are 34 at radius 5 and 152 at radius 10.
    """
    reach = range(1 - radius, radius)
    return tuple(
        (y, x)
        for y in range(radius)
        for x in reach
        if (y > 0 or x > 0) and y * y + x * x < radius * radius
    )


@cache
def path_points(offset: Point) -> tuple[Point, ...]:
    """Return the points between a position and its neighbour, both included.

    They are the points of the bounding box at a distance below one from the line.
    """
    dy, dx = offset
    box = (
        (y, x) for y in range(min(0, dy), max(0, dy) + 1) for x in range(min(0, dx), max(0, dx) + 1)
    )
    return tuple(p for p in box if (dy * p[1] - dx * p[0]) ** 2 < dy * dy + dx * dx)


def affinities(boundary: Tensor, radius: int) -> Tensor:
    """Return one minus the strongest boundary on the path to each neighbour.

    Args:
        boundary: `[B,H,W]`, 0..1.
        radius: see `neighbour_offsets`.

    Returns:
        `[B,O,H,W]`: affinity of each position to its neighbour at each offset; 0 where the path
        leaves the grid.
    """
    strongest: Tensor = StrongestBoundary.apply(boundary, radius)
    return 1 - strongest


class _Context(Protocol):
    """What autograd keeps between `StrongestBoundary.forward` and its `backward`."""

    radius: int
    shape: torch.Size
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class StrongestBoundary(torch.autograd.Function):
    """The strongest boundary on the path to each neighbour, `[B,H,W]` to `[B,O,H,W]`.

    Autograd over a running maximum would keep two grids for each point of each path; here one
    byte says where on its path the maximum lies, and all of the gradient goes to that point.
    """

    @staticmethod
    def forward(ctx: _Context, boundary: Tensor, radius: int) -> Tensor:
        reach, (height, width) = radius - 1, boundary.shape[1:]
        padded = torch.nn.functional.pad(boundary, (reach, reach, 0, reach), value=1.0)
        values, points = [], []
        for offset in neighbour_offsets(radius):
            best, point = None, None
            for number, (y, x) in enumerate(path_points(offset)):
                view = padded[:, y : y + height, reach + x : reach + x + width]
                if best is None or point is None:
                    best, point = view.clone(), torch.zeros_like(view, dtype=torch.uint8)
                    continue
                point.masked_fill_(view > best, number)
                torch.maximum(best, view, out=best)
            assert best is not None
            assert point is not None
            values.append(best)
            points.append(point)
        ctx.radius, ctx.shape = radius, padded.shape
        ctx.save_for_backward(torch.stack(points, 1))
        return torch.stack(values, 1)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, None]:
        (points,) = ctx.saved_tensors
        batch, rows, columns = ctx.shape
        reach, (height, width) = ctx.radius - 1, grad.shape[2:]
        line = torch.arange(rows * columns, device=grad.device).view(rows, columns)
        start = line[:height, reach : reach + width]
        start = start + rows * columns * torch.arange(batch, device=grad.device)[:, None, None]
        out = grad.new_zeros(batch * rows * columns)
        for number, offset in enumerate(neighbour_offsets(ctx.radius)):
            step = torch.tensor(
                [y * columns + x for y, x in path_points(offset)], device=grad.device
            )
            index = start + step[points[:, number].long()]
            out.index_add_(0, index.flatten(), grad[:, number].flatten())
        return out.view(ctx.shape)[:, :height, reach : reach + width].contiguous(), None


def transition_matrix(boundary: Tensor, radius: int = 5, beta: float = 10.0) -> Tensor:
    """Return the sparse matrix `[BHW,BHW]` of one step of the walk; images do not touch each other.

    Row j averages over position j, at affinity 1, and its neighbours, at their affinity to the
    power `beta`. Rows sum to 1.

    Args:
        boundary: `[B,H,W]`, 0..1.
        radius: radius of the neighbourhood, positions.
        beta: power of the affinities.
    """
    batch, height, width = boundary.shape
    near = affinities(boundary, radius).pow(beta)
    index = torch.arange(batch * height * width, dtype=torch.int32, device=boundary.device)
    grid = index.view(batch, height, width)
    rows, columns, values = [index], [index], [torch.ones_like(index, dtype=near.dtype)]
    for number, (dy, dx) in enumerate(neighbour_offsets(radius)):
        if dy >= height or abs(dx) >= width:
            continue
        left, right = max(0, -dx), width - max(0, dx)
        position = grid[:, : height - dy, left:right].flatten()
        neighbour = grid[:, dy:, left + dx : right + dx].flatten()
        weight = near[:, number, : height - dy, left:right].flatten()
        rows += [position, neighbour]
        columns += [neighbour, position]
        values += [weight, weight]
    row, column, value = torch.cat(rows), torch.cat(columns), torch.cat(values)
    del near, rows, columns, values
    positive = value > 0
    row, column, value = row[positive], column[positive], value[positive]
    # Float32 sums would let rows sum to 1 only within 2e-6, an error that 256 steps multiply.
    sums = torch.zeros(len(index), dtype=torch.float64, device=value.device)
    sums.index_add_(0, row, value.double())
    order = torch.argsort(row, stable=True)
    starts = torch.zeros(len(index) + 1, dtype=torch.long, device=value.device)
    starts[1:] = torch.bincount(row, minlength=len(index)).cumsum(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts.int(),
            column[order].int(),
            (value / sums[row])[order].to(value.dtype),
            (len(index), len(index)),
            check_invariants=False,
        )


def walk_bytes(positions: int, maps: int, radius: int) -> int:
    """Return an upper bound of the memory in bytes that the walk of one image takes.

    The matrix has an entry for each position and neighbour, which takes `ENTRY_BYTES` while it is
    made (measured by `bench.py huge`); the maps of three steps are held beside it.
    """
    entries = 1 + 2 * len(neighbour_offsets(radius))
    return positions * (entries * ENTRY_BYTES + 16 * maps)


def random_walk(
    maps: Tensor, boundary: Tensor, radius: int = 5, beta: float = 10.0, steps: int = 256
) -> Tensor:
    """Spread class maps inside boundaries.

    Args:
        maps: `[N,H,W]`, or `[B,N,H,W]`; multiplied by one minus the boundary first; N may be 0.
        boundary: `[H,W]`, or `[B,H,W]`, 0..1.
        radius: radius of the neighbourhood, positions.
        beta: power of the affinities.
        steps: number of steps of the walk; 256 is the authors' `exp_times=8`.

    Returns:
        In the shape and type of `maps`; computed in float32 at least.

    Raises:
        ValueError: maps and boundary differ in size.
    """
    if maps.shape[:-3] != boundary.shape[:-2] or maps.shape[-2:] != boundary.shape[-2:]:
        raise ValueError(
            f"the maps have the shape {tuple(maps.shape)} and the boundary "
            f"{tuple(boundary.shape)}; batch, height and width must be equal"
        )
    if maps.ndim == 3:
        return random_walk(maps[None], boundary[None], radius, beta, steps)[0]
    if not maps.numel():
        return maps.clone()
    batch, classes, height, width = maps.shape
    exact = wide_type(maps, boundary)
    edge = boundary.to(exact)
    step = transition_matrix(edge, radius, beta)
    x = (maps.to(exact) * (1 - edge)[:, None]).permute(0, 2, 3, 1).reshape(-1, classes)
    for _ in range(steps):
        x = step @ x
    return x.view(batch, height, width, classes).permute(0, 3, 1, 2).to(maps.dtype)
