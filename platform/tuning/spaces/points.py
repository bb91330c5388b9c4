"""Points of search spaces: the values of all fields that one trial takes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ...serialization import as_json
from .domains import Axis, Computed, Groups, Listed, Numbers, Space

Params = dict[str, object]
Pick = Callable[[str, str, Axis], object]
"""A function of the name of an axis, its field and its domain that returns a value of the domain;
of `Groups`, the position of a group."""


def choose(space: Space, pick: Pick, seed: str) -> Params:
    """Return the point whose values a function picks.

    Args:
        space: the search space.
        pick: the function, which is called for each axis in the order of the space.
        seed: random seed of the functions of the space.
    """
    picked = _picked(space, pick, "")
    point = {field: v for field, v in picked.items() if not isinstance(v, Computed)}
    for field, domain in picked.items():
        if isinstance(domain, Computed):
            with _seeded(f"{seed}-{field}"):
                value = domain.function(dict(point)) if domain.takes_point else domain.function()
            point[field] = value.tolist() if hasattr(value, "tolist") else value  # NumPy's numbers
    return {field: point[field] for field in picked}


def _picked(space: Space, pick: Pick, prefix: str) -> Params:
    point: Params = {}
    for name, domain in space.items():
        if isinstance(domain, Computed):
            point[name] = domain
            continue
        value = pick(f"{prefix}{name}", name, domain)
        if isinstance(domain, Groups):
            assert isinstance(value, int)
            point |= _picked(domain.groups[value], pick, f"{prefix}{name}[{value}].")
        else:
            point[name] = value
    return point


@contextmanager
def _seeded(seed: str) -> Iterator[None]:
    """Seed the random numbers of `random` and `numpy.random` in a block."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(random.getrandbits(32))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def point_count(space: Space) -> int:
    """Return the number of points of the grid over a space without continuous fields."""
    return math.prod(_size(domain) for domain in space.values())


def _size(domain: object) -> int:
    if isinstance(domain, Groups):
        return sum(point_count(group) for group in domain.groups)
    if isinstance(domain, Computed):
        return 1
    assert isinstance(domain, Listed | Numbers)
    assert domain.size is not None, "a continuous field has no grid"
    return domain.size


def grid(space: Space, seed: int = 0) -> Iterator[Params]:
    """Iterate over all points of the grid; the last field changes fastest.

    Args:
        space: the search space.
        seed: random seed of the functions of the space.
    """
    return (point(space, number, seed) for number in range(point_count(space)))


def point(space: Space, number: int, seed: int = 0) -> Params:
    """Return point number `number` of the grid.

    Numbers from `point_count` on stand for the same points again, for which the functions of the
    space draw other random numbers.

    Args:
        space: the search space.
        number: number of the point, from 0 on.
        seed: random seed of the functions of the space.
    """
    positions = _positions(space, number, "")
    return choose(
        space, lambda name, _, domain: _value(domain, positions[name]), f"{seed}-grid-{number}"
    )


def _value(domain: Axis, position: int) -> object:
    return position if isinstance(domain, Groups) else domain.at(position)


def _positions(space: Space, number: int, prefix: str) -> dict[str, int]:
    """Return the position of each axis of a point of the grid."""
    positions: dict[str, int] = {}
    for name, domain in reversed(list(space.items())):
        number, rest = divmod(number, _size(domain))
        if isinstance(domain, Groups):
            for k, group in enumerate(domain.groups):
                if rest < (count := point_count(group)):
                    positions |= _positions(group, rest, f"{prefix}{name}[{k}].")
                    positions[f"{prefix}{name}"] = k
                    break
                rest -= count
        else:
            positions[f"{prefix}{name}"] = rest
    return positions


def values_by_axis(space: Space, params: Mapping[str, object]) -> dict[str, object]:
    """Return the value of each axis that makes a point.

    A value of `Groups` is the position of the group, a value of `Listed` its position.

    Raises:
        ValueError: the space has no such point.
    """
    values: dict[str, object] = {}

    def pick(name: str, field: str, domain: Axis) -> object:
        if isinstance(domain, Groups):
            values[name] = k = _group(domain, params)
            return k
        value = params[field]
        values[name] = value
        if isinstance(domain, Listed):
            values[name] = as_json(list(domain.values)).index(as_json(value))
        return value

    _picked(space, pick, "")
    return values


def _group(domain: Groups, params: Mapping[str, object]) -> int:
    """Return the position of the group that a point belongs to."""
    for k, group in enumerate(domain.groups):
        if all(_has(inner, field, params) for field, inner in group.items()):
            return k
    raise ValueError(f"no group has the values {dict(params)!r}")


def _has(domain: object, field: str, params: Mapping[str, object]) -> bool:
    """Return whether a point's value of a field is in a domain."""
    if isinstance(domain, Groups):
        return any(all(_has(d, f, params) for f, d in group.items()) for group in domain.groups)
    if field not in params:
        return False
    if isinstance(domain, Listed):
        return as_json(params[field]) in as_json(list(domain.values))
    value = params[field]
    if isinstance(domain, Numbers):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and domain.low <= value <= domain.high  # type: ignore[operator]
    return True
