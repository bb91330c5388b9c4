"""Domains of search spaces: the values that a field of an experiment may take in a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Listed:
    """Values that are listed one by one.

    Attributes:
        values: the values, at least one.
        ordered: whether searchers compare numbers by their rank; other values are categories.
    """

    values: tuple[object, ...]
    ordered: bool = True

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.values)

    @property
    def ranked(self) -> bool:
        """Whether searchers compare the values by their rank."""
        numbers = (isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)
        return self.ordered and all(numbers)

    @property
    def extremes(self) -> tuple[object, ...]:
        """The values of which each must be allowed."""
        return self.values

    def at(self, position: int) -> object:
        """Return the value at a position from 0 to `size` - 1."""
        return self.values[position]

    def at_share(self, share: float) -> object:
        """Return the value at a share of the domain, 0 to below 1."""
        return self.values[int(share * self.size)]


@dataclass(frozen=True)
class Numbers:
    """Numbers of an interval.

    Attributes:
        low: lowest number.
        high: highest number.
        integer: whether the numbers are whole.
        log: whether numbers are drawn by their logarithm.
        step: all numbers are multiples of the step; 0: all numbers of the interval.
    """

    low: float
    high: float
    integer: bool = False
    log: bool = False
    step: float = 0

    @property
    def first(self) -> int:
        """The lowest number, as a multiple of the step."""
        return math.ceil(self.low / self.step - 1e-9)

    @property
    def last(self) -> int:
        """The highest number, as a multiple of the step."""
        return math.floor(self.high / self.step + 1e-9)

    @property
    def size(self) -> int | None:
        """The number of numbers; None: a continuous interval."""
        return self.last - self.first + 1 if self.step else None

    @property
    def extremes(self) -> tuple[object, ...]:
        """The values of which each must be allowed: the lowest and the highest number."""
        if not self.step:
            return float(self.low), float(self.high)
        return self.multiple(self.first), self.multiple(self.last)

    def multiple(self, factor: int) -> float | int:
        """Return a multiple of the step, without the rounding error of the multiplication."""
        return factor * int(self.step) if self.integer else float(f"{factor * self.step:.12g}")

    def factor(self, value: object) -> int:
        """Return a number as a multiple of the step."""
        assert isinstance(value, int | float)
        return round(value / self.step)

    def at(self, position: int) -> object:
        """Return the number at a position from 0 to `size` - 1."""
        return self.multiple(self.first + position)

    def nearest(self, value: float) -> float | int:
        """Return the number of the domain that is nearest to a value."""
        if not self.step:
            return float(min(max(value, self.low), self.high))
        return self.multiple(min(max(self.factor(value), self.first), self.last))

    def at_share(self, share: float) -> object:
        """Return the number at a share of the domain, 0 to below 1."""
        low, high = (self.first, self.last + 1) if self.step else (self.low, self.high)
        if self.log:
            number = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            number = low + share * (high - low)
        if not self.step:
            return float(min(max(number, self.low), self.high))
        return self.multiple(min(max(math.floor(number), self.first), self.last))


@dataclass(frozen=True)
class Computed:
    """A value that a function computes from the other values of a point.

    Attributes:
        function: the function; it may draw random numbers of `random` and `numpy.random`.
        takes_point: whether the function takes the point, a dict of values by field.
        source: source code of the function, which enters the key of a sweep.
    """

    function: Callable[..., object]
    takes_point: bool
    source: str


@dataclass(frozen=True)
class Groups:
    """A choice between groups of fields, each with its own domains."""

    groups: tuple[Space, ...]


Axis: TypeAlias = Listed | Numbers | Groups
"""A domain of which searchers choose a value; of `Groups`, the position of a group."""
Domain: TypeAlias = Axis | Computed
Space: TypeAlias = Mapping[str, Domain]
"""A search space: the domain of each dotted field; the name of `Groups` is free."""


def domains_by_field(space: Space) -> dict[str, list[Listed | Numbers | Computed]]:
    """Return the domains of each field, those in groups included, in the order of the space."""
    domains: dict[str, list[Listed | Numbers | Computed]] = {}
    for name, domain in space.items():
        if isinstance(domain, Groups):
            for group in domain.groups:
                for field, inner in domains_by_field(group).items():
                    domains.setdefault(field, []).extend(inner)
        else:
            domains.setdefault(name, []).append(domain)
    return domains


def listed_values(space: Space, field: str) -> list[object]:
    """Return all values that are listed for a field, each once."""
    listed = (d for d in domains_by_field(space).get(field, ()) if isinstance(d, Listed))
    return list({repr(value): value for domain in listed for value in domain.values}.values())


def axes(space: Space, prefix: str = "") -> Iterator[tuple[str, Axis]]:
    """Yield the name and the domain of each choice that a searcher makes.

    The name of a choice in group K of `groups` is `groups[K].FIELD`.
    """
    for name, domain in space.items():
        if isinstance(domain, Computed):
            continue
        yield f"{prefix}{name}", domain
        if isinstance(domain, Groups):
            for k, group in enumerate(domain.groups):
                yield from axes(group, f"{prefix}{name}[{k}].")


def has_functions(space: Space) -> bool:
    """Return whether a function computes the value of a field."""
    domains = domains_by_field(space).values()
    return any(isinstance(domain, Computed) for each in domains for domain in each)


def continuous_field(space: Space) -> str:
    """Return the first field with a continuous interval; empty where all domains are finite."""
    for field, domains in domains_by_field(space).items():
        if any(isinstance(d, Numbers) and d.size is None for d in domains):
            return field
    return ""
