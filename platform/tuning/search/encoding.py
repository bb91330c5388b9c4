"""Points of a search space as vectors: a share of each axis, and features of a regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..spaces.domains import Axis, Groups, Listed, Numbers, Space, axes
from ..spaces.points import Params, values_by_axis
from .gaussian_process import Array
from .known_points import point_at

MIDDLE = 0.5
"""Share of an axis that a point lacks, because it belongs to another group."""


class Encoding:
    """The encoding of the points of a space.

    Args:
        space: the search space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.axes = list(axes(space))

    def point(self, shares: Array, seed: str) -> Params:
        """Return the point at a share of each axis `[A]`, 0 to 1.

        Args:
            shares: the shares, in the order of the axes.
            seed: random seed of the functions of the space.
        """
        by_axis = {
            name: min(float(share), 1 - 1e-9)
            for (name, _), share in zip(self.axes, shares, strict=True)
        }
        return point_at(self.space, by_axis, seed)

    def shares(self, point: Params) -> Array:
        """Return the share of each axis `[A]` at which `point` gives this point."""
        values = values_by_axis(self.space, point)
        return np.array(
            [_share(d, values[name]) if name in values else MIDDLE for name, d in self.axes]
        )

    def features(self, points: Sequence[Params]) -> Array:
        """Return features `[n, F]` from 0 to 1: numbers by their share, categories one by one."""
        return np.array([self._features(point) for point in points])

    def _features(self, point: Params) -> list[float]:
        values, features = values_by_axis(self.space, point), list[float]()
        for name, domain in self.axes:
            if isinstance(domain, Numbers) or (isinstance(domain, Listed) and domain.ranked):
                features.append(_share(domain, values[name]) if name in values else MIDDLE)
            else:
                features += [float(values.get(name) == k) for k in range(_size(domain))]
        return features


def _size(domain: Axis) -> int:
    return len(domain.groups) if isinstance(domain, Groups) else domain.size or 0


def _share(domain: Axis, value: object) -> float:
    """Return a share of a domain at which `at_share` gives a value of `values_by_axis`."""
    assert isinstance(value, int | float)
    if not isinstance(domain, Numbers):
        return (value + 0.5) / _size(domain)
    low, high = domain.low, domain.high
    if domain.step:
        low, high = domain.first, domain.last + 1
        value = domain.factor(value) + 0.5
    if high == low:
        return MIDDLE
    if domain.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)
