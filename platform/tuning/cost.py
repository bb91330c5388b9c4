"""What the trials of a sweep will compute, before it starts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import InputError
from ..pipeline import classify
from ..pipeline.context import Catalog
from ..pipeline.plan import Plan
from ..pipeline.planner import plan
from ..storage.artifact import Stage
from .search import grid
from .sweep import Sweep, searcher

MOST_COUNTED = 2_000
"""Most points whose cost is looked up for a search that chooses its points on its way."""


class Cost(NamedTuple):
    """The different artifacts that the trials of a sweep need.

    Attributes:
        missing: number of artifacts to compute, by stage.
        present: number of artifacts in the store, by stage.
        idle: fields that change no result.
    """

    missing: Counter[str]
    present: Counter[str]
    idle: list[str]


def cost(catalog: Catalog, sweep: Sweep) -> Cost:
    """Return the cost of a sweep before it starts.

    For a search that chooses its points on its way it is the cost of the whole space, or of the
    space's first MOST_COUNTED points.
    """
    stages: dict[str, Stage] = {}
    digests: list[tuple[Mapping[str, Any], str]] = []
    for point, seed in itertools.product(_points(sweep), sweep.seeds):
        try:
            planned = plan(sweep.trial_experiment(point, seed), catalog)
        except InputError:  # the trial will say it
            continue
        if seed == sweep.seeds[0]:
            digests.append((point, planned.digest))
        without = {stage.key for stage in passed_over(planned, sweep.split)}
        stages |= {stage.key: stage for stage in planned.stages if stage.key not in without}
    available = [bool(catalog.store.find(s.name, s.key)) for s in stages.values()]
    counts = Counter(zip(available, (s.name for s in stages.values()), strict=True))
    idle = [field for field in sweep.space if _idle(field, digests)]
    return Cost(
        Counter({name: n for (there, name), n in counts.items() if not there}),
        Counter({name: n for (there, name), n in counts.items() if there}),
        idle,
    )


def _points(sweep: Sweep) -> Iterator[Mapping[str, Any]]:
    """Iterate over the points of a sweep that are known before it starts."""
    if sweep.kind == "tpe":
        return itertools.islice(grid(sweep.space), MOST_COUNTED)
    points = searcher(sweep)
    return (points.suggest(number, {}) or {} for number in range(sweep.count))


def _idle(field: str, digests: Sequence[tuple[Mapping[str, Any], str]]) -> bool:
    """Return whether points that differ in this field alone always have one result.

    Without any such points it is False.
    """
    groups: dict[str, dict[str, str]] = {}
    for point, digest_of_point in digests:
        rest = repr(sorted((k, repr(v)) for k, v in point.items() if k != field))
        groups.setdefault(rest, {})[repr(point.get(field))] = digest_of_point
    several = [group for group in groups.values() if len(group) > 1]
    return bool(several) and all(len(set(group.values())) == 1 for group in several)


def passed_over(planned: Plan, split: str) -> list[Stage]:
    """Return the stages that a trial can do without.

    They are the class maps of a prototype method, where the trial needs only the maps' scores and
    the split is small enough to score all images at once.
    """
    if not planned.chosen or planned.final != planned.subject:
        return []
    fits = classify.counts_at_once(planned.context, split)
    return [planned.maps[planned.subject][split]] if fits else []
