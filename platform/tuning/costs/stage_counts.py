"""The number of artifacts that the trials of a sweep will compute or find in the store."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...errors import InputError, StorageError
from ...pipeline.context import Catalog
from ...pipeline.plan import Plan
from ...pipeline.planner import plan
from ...pipeline.prototypes import steps as prototype_steps
from ...storage.artifact import Stage
from ..search import chooses_as_results_come
from ..spaces import COMBINATION, Computed, Domain, Groups, Params
from ..spaces.domains import continuous_field
from ..spaces.points import grid
from ..sweep import Sweep, searcher

MOST_COUNTED = 2_000
"""Most trials that are counted, because planning them takes time."""


class Cost(NamedTuple):
    """The artifacts that the trials of a sweep need, each counted once.

    Attributes:
        missing: number of artifacts to compute, by stage.
        present: number of artifacts in the store, by stage.
        fields_without_effect: fields of the space that change no result.
    """

    missing: Counter[str]
    present: Counter[str]
    fields_without_effect: list[str]


def cost(catalog: Catalog, sweep: Sweep) -> Cost:
    """Return the cost of a sweep before it starts.

    At most the first MOST_COUNTED trials are counted. For a search that chooses its points as
    results come in, they are those of the whole space; a continuous space cannot be counted
    (`stages_by_field`).
    """
    stages: dict[str, Stage] = {}
    digests: list[tuple[Mapping[str, object], str]] = []
    trials = itertools.product(_points(sweep), sweep.seeds)
    for point, seed in itertools.islice(trials, MOST_COUNTED):
        try:
            planned = plan(sweep.trial_experiment(point, seed), catalog)
        except InputError:  # the trial will report the error
            continue
        if seed == sweep.seeds[0]:
            digests.append((point, planned.digest))
        without = {stage.key for stage in unneeded_stages(planned, sweep.split)}
        stages |= {stage.key: stage for stage in planned.stages if stage.key not in without}
    available = [bool(catalog.store.find(s.name, s.key)) for s in stages.values()]
    counts = Counter(zip(available, (s.name for s in stages.values()), strict=True))
    without_effect = [field for field in sweep.domains if _has_no_effect(field, digests)]
    return Cost(
        Counter({name: n for (present, name), n in counts.items() if not present}),
        Counter({name: n for (present, name), n in counts.items() if present}),
        without_effect,
    )


def is_countable(sweep: Sweep) -> bool:
    """Return whether `cost` can count the artifacts of a sweep before it starts."""
    return not sweep.budget and not (
        chooses_as_results_come(sweep.kind) and continuous_field(sweep.space)
    )


def stages_by_field(catalog: Catalog, sweep: Sweep) -> dict[str, list[str]]:
    """Return the stages that a trial computes for a new value, by field or name of groups.

    A value that a function computes and a value that makes no experiment by itself are left out.
    """
    base = plan(sweep.trial_experiment({}), catalog)
    present = {stage.key for stage in base.stages}
    stages: dict[str, list[str]] = {}
    for name, domain in sweep.space.items():
        for changes in _changes(name, domain):
            try:
                planned = plan(sweep.trial_experiment(changes), catalog)
            except InputError:
                continue
            without = {s.key for s in unneeded_stages(planned, sweep.split)} | present
            new = [s.name for s in planned.stages if s.key not in without]
            stages[name] = list(dict.fromkeys([*stages.get(name, []), *new]))
    return stages


def _changes(name: str, domain: Domain) -> Iterator[Params]:
    """Iterate over the changes of the base that a field, or a choice of groups, may make."""
    if isinstance(domain, Groups):
        for group in domain.groups:
            changes = [list(_changes(field, inner)) for field, inner in group.items()]
            yield {k: v for listed in changes for change in listed[:1] for k, v in change.items()}
            yield {k: v for listed in changes for change in listed[-1:] for k, v in change.items()}
    elif not isinstance(domain, Computed):
        yield from ({name: value} for value in domain.extremes)


def _points(sweep: Sweep) -> Iterator[Mapping[str, object]]:
    """Iterate over the first points of a sweep that are known before it starts."""
    most = math.ceil(MOST_COUNTED / sweep.repeats)
    if chooses_as_results_come(sweep.kind):
        return itertools.islice(grid(sweep.space, sweep.base.seed), most)
    points = searcher(sweep)
    count = min(sweep.count, most)
    return (points.suggest(number, {}) or {} for number in range(count))


def _has_no_effect(field: str, digests: Sequence[tuple[Mapping[str, object], str]]) -> bool:
    """Return whether all points that differ in this field alone have the same result.

    Without two points that differ in this field alone the answer is False.
    """
    groups: dict[str, dict[str, str]] = {}
    for point, digest_of_point in digests:
        rest = repr(sorted((k, repr(v)) for k, v in point.items() if k != field))
        groups.setdefault(rest, {})[repr(point.get(field))] = digest_of_point
    several = [group for group in groups.values() if len(group) > 1]
    return bool(several) and all(len(set(group.values())) == 1 for group in several)


def unneeded_stages(planned: Plan, split: str) -> list[Stage]:
    """Return the stages that a trial can do without.

    They are the class maps of a prototype method, where the trial needs only the maps' scores and
    the split is small enough to score all images at once.
    """
    if not planned.chosen or planned.final != planned.subject:
        return []
    fits = prototype_steps.counts_at_once(planned.context, split)
    return [planned.maps[planned.subject][split]] if fits else []


def kept_bytes(catalog: Catalog, sweep: Sweep) -> int:
    """Return the memory in bytes of the masks that the process of a trial keeps to score maps.

    Of a sweep over combinations, any of which a process may try, it is the largest one.
    """
    points: list[Params] = [{COMBINATION: word} for word in sweep.bases]
    return max(_kept_bytes(catalog, sweep, point) for point in points or [{}])


def _kept_bytes(catalog: Catalog, sweep: Sweep, point: Params) -> int:
    """Return the memory in bytes of the masks that a trial of a point keeps."""
    try:
        planned = plan(sweep.trial_experiment(point), catalog)
    except StorageError:
        raise
    except InputError:  # the trial will report the error
        return 0
    if not unneeded_stages(planned, sweep.split):
        return 0
    return prototype_steps.kept_bytes(planned.context, sweep.split)
