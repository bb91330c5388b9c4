"""Sweeps as descriptions, what their trials cost, and how one trial runs.

A trial is one experiment: that of one point of the sweep's space with one random seed.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import InputError
from .execution import Execution
from .experiment import Experiment, resolved
from .options import LIMITS, fingerprint, replaced, walk
from .pipeline import Plan
from .plain import shown
from .planner import plan
from .runs import Score, SweepRecord, as_json
from .search import Fixed, Searcher, check, grid, make, size
from .spaces import COMBINATION, UNVARIED, Space
from .steps import classify
from .steps.context import Catalog
from .store import Stage, digest

MOST_TRIALS = LIMITS["trials"][1]
SCHEDULERS = ("", "asha")
MOST_COUNTED = 2_000
"""Most points whose cost is looked up for a search that chooses its points on its way."""
REDUCTION = 2
"""ASHA goes on with one in REDUCTION trials at each rung, and the next rung takes REDUCTION times
as many epochs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """The description of a sweep: what varies, how points are chosen, what is compared.

    A sweep is data alone; `searcher` makes the searcher that it asks for.

    Attributes:
        base: the untuned experiment.
        space: values to try by full name of the field, e.g. `segment.training.lr`.
        trials: number of points; 0 for the whole grid.
        split: split of the objective.
        concurrent: trials that run side by side.
        repeats: random seeds of each point, from the base's seed on.
        kind: name of the search (`search.SEARCHES`); without one the grid, or random points where
            `trials` is below the size of the grid.
        scheduler: `asha` stops trainings early that do worse than others.
        retries: further tries of a trial that fails, and as many of a trial whose process dies.
        listed: the points, where they are no product of values; `space` then holds the values
            that each field takes in them.
        figure: name of the paper's figure that the sweep reproduces, if it reproduces one.
        bases: the untuned experiments that the values of the field `combination` stand for.
    """

    base: Experiment
    space: Space
    trials: int = 0
    split: str = "train"
    concurrent: int = 2
    repeats: int = 1
    kind: str = ""
    scheduler: str = ""
    retries: int = 0
    listed: tuple[Mapping[str, Any], ...] = ()
    figure: str = ""
    bases: Mapping[str, Experiment] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("trials", "concurrent", "repeats", "retries"):
            value, (low, high) = getattr(self, name), LIMITS[name]
            if not low <= value <= high:
                raise InputError(f"{name} is {shown(value)}; it must be between {low} and {high}")
        if self.count * self.repeats > MOST_TRIALS:
            raise InputError(
                f"the sweep has {self.count * self.repeats} trials, over {MOST_TRIALS}; draw fewer "
                f"with --trials"
            )
        check(self.kind, self.space, self.trials)
        if fixed := [field for field in self.space if field in UNVARIED]:
            raise InputError(f"a space does not vary {fixed[0]!r}; {UNVARIED[fixed[0]]}")
        if lacking := set(self.space.get(COMBINATION, ())) - set(self.bases):
            raise InputError(f"nothing says what the combinations {sorted(lacking)} are")
        for base in self.bases.values() or [self.base]:
            for field, values in self.space.items():
                for value in values if field != COMBINATION else ():
                    replaced(base, {field: value})
        if self.scheduler not in SCHEDULERS:
            raise InputError(f"unknown scheduler {self.scheduler!r}; there is asha")
        if self.scheduler and self.base.imported:
            raise InputError("--scheduler asha stops trainings; imported maps have none")

    @property
    def count(self) -> int:
        """The number of points that the sweep tries; only TPE may try a point twice."""
        if self.listed:
            return len(self.listed)
        if self.kind == "tpe":
            return self.trials
        return min(self.trials, size(self.space)) if self.trials else size(self.space)

    @property
    def seeds(self) -> range:
        """The random seeds of each point's trials."""
        return range(self.base.seed, self.base.seed + self.repeats)

    def key(self, base: Plan) -> str:
        """Return the key of everything that the sweep's results depend on.

        Args:
            base: the plan of the trial without any change.

        Raises:
            InputError: a weight file is missing.
        """
        gpu = base.context.catalog.gpu
        chosen = [self.kind, self.concurrent] if self.kind == "tpe" else []
        return digest(
            {
                "base": fingerprint(resolved(self.base, gpu)),
                "bases": {w: fingerprint(resolved(e, gpu)) for w, e in self.bases.items()},
                "trial": base.digest,
                "space": list(self.space.items()),  # points are numbered by its order
                "listed": self.listed,
                "points": [self.count, *chosen],
                "repeats": self.repeats,
                "scheduler": self.scheduler,
                "split": self.split,
            }
        )

    def seeded(self, seed: int) -> Experiment:
        """Return the untuned experiment with another random seed, which its host takes too."""
        return _seeded(self.base, seed)

    def at(self, params: Mapping[str, Any], seed: int | None = None) -> Experiment:
        """Return the whole experiment of one point; without a seed it has the base's."""
        base = self.bases[params[COMBINATION]] if COMBINATION in params else self.base
        fields = {field: value for field, value in params.items() if field != COMBINATION}
        return replaced(base if seed is None else _seeded(base, seed), fields)

    @property
    def subject(self) -> str:
        """The name of the method whose class maps the trials score."""
        return "combinations" if self.bases else self.base.localizer_name

    @property
    def default(self) -> dict[str, Any]:
        """The values of the space's fields in the base, by the fields' full names."""
        params = {field: value for field, value, _ in walk(self.base) if field in self.space}
        if COMBINATION in self.space:
            words = (word for word, base in self.bases.items() if base == self.base)
            params[COMBINATION] = next(words, self.base.combination)
        return params

    def trial_experiment(self, params: Mapping[str, Any], seed: int | None = None) -> Experiment:
        """Return the experiment of one point as a trial carries it out.

        It is scored on the objective's split only, and ends with the last stage that a field of
        the space reaches. Without a seed it has the base's.
        """
        changes: dict[str, Any] = {"scoring.splits": (self.split,)}
        segments = any(field.startswith("segment.") for field in self.space)
        if segments:
            changes["segment.splits"] = (self.split,)
        else:
            changes["segment.network"] = ""
        if not segments and not any(field.startswith("refine.") for field in self.space):
            changes["refine.kind"] = ""
        return replaced(self.at(params, seed), {k: changes[k] for k in changes if k not in params})

    @property
    def rungs(self) -> list[int]:
        """The epochs after which ASHA compares trials, from a quarter of the training on."""
        epochs = self.base.training.epochs
        first = math.ceil(epochs / REDUCTION**2)
        return [n for k in range(8) if (n := first * REDUCTION**k) < epochs]


def _seeded(experiment: Experiment, seed: int) -> Experiment:
    host = experiment.host and dataclasses.replace(experiment.host, seed=seed)
    return dataclasses.replace(experiment, seed=seed, host=host)


def searcher(sweep: Sweep) -> Searcher:
    """Return a new searcher over the points of a sweep."""
    if sweep.listed:
        return Fixed([dict(point) for point in sweep.listed])
    return make(sweep.kind, sweep.space, sweep.trials, sweep.base.seed, sweep.concurrent)


class Cost(NamedTuple):
    """The different artefacts that the trials of a sweep need.

    Attributes:
        missing: number of artefacts to compute, by stage.
        present: number of artefacts in the store, by stage.
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


def run(
    catalog: Catalog,
    sweep: Sweep,
    point: Mapping[str, Any],
    seed: int,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run one trial: compute the artefacts that are missing and read the score.

    A failure is a result like any other, so that one trial does not end the whole sweep.

    Args:
        catalog: the sweep's, which knows the store of the artefacts.
        sweep: the sweep that the trial belongs to.
        point: values by full name of the field.
        seed: random seed of the trial.
        report: called with the score at each rung; does not return where a scheduler stops the
            trial.
    """
    started = time.monotonic()
    out: dict[str, Any] = {"value": None, "score": None, "error": None, "cached": False}
    for _ in range(sweep.retries + 1):
        try:
            out |= {"error": None, **_attempt(catalog, sweep, point, seed, report)}
            break
        except Exception as error:
            cause = getattr(error, "cause", None) or error
            out["error"] = f"{type(cause).__name__}: {cause}".strip().splitlines()[-1]
    return {**out, "seconds": round(time.monotonic() - started, 3)}


def _attempt(
    catalog: Catalog,
    sweep: Sweep,
    point: Mapping[str, Any],
    seed: int,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    started = time.monotonic()
    planned = plan(sweep.trial_experiment(point, seed), catalog)
    execution = Execution(catalog.store, planned)
    without = passed_over(planned, sweep.split)
    missing = {stage.key for stage in execution.missing()} - {stage.key for stage in without}
    network = planned.network
    if sweep.scheduler and network:
        for epochs in sweep.rungs:
            score = rung(execution, sweep.split, epochs, network.key in missing)
            if score:
                seconds = round(time.monotonic() - started, 3)
                report({**_result(score), "epoch": epochs, "seconds": seconds})
    if without:
        _at_once(execution, sweep.split)
    else:
        execution.execute()
    score = execution.read_scores(only=planned.final)[planned.final][sweep.split]
    return {**_result(score), "cached": not missing}


def passed_over(planned: Plan, split: str) -> list[Stage]:
    """Return the stages that a trial can do without.

    They are the class maps of a prototype method, where the trial needs only the maps' scores and
    the split is small enough to score all images at once.
    """
    if not planned.chosen or planned.final != planned.subject:
        return []
    fits = classify.counts_at_once(planned.context, split)
    return [planned.maps[planned.subject][split]] if fits else []


def _at_once(execution: Execution, split: str) -> None:
    """Score the chosen prototypes without writing their class maps."""
    planned = execution.plan
    maps, scores = planned.maps[planned.subject][split], planned.scores[planned.subject][split]
    execution.execute(without=(maps, scores))
    step = classify.scored_at_once(planned.context, scores, planned.chosen[split], split)
    execution.compute(step)


def _result(score: Score) -> dict[str, Any]:
    plain = as_json(dataclasses.replace(score, confusion=None))
    return {"value": score.value, "score": plain}


def rung(execution: Execution, split: str, epochs: int, train: bool) -> Score | None:
    """Score the class maps of the network that is trained, after some epochs of its training.

    A later call trains on from there.

    Args:
        execution: the trial's.
        split: split of the objective.
        epochs: epochs of training at the rung.
        train: whether to train up to the rung where the store has no score of it.

    Returns:
        None where the whole training has no more than `epochs` epochs, or where the store has no
        score of the rung and `train` is False.
    """
    planned = execution.plan
    network, context, trained = planned.network, planned.context, planned.trained
    assert network is not None
    if epochs >= planned.experiment.training.epochs:
        return None
    step = classify.rung(context, trained, network, planned.beside, split, epochs)
    if train:
        execution.execute(before=network)
        execution.compute(step)
    elif not execution.store.find(step.stage.name, step.stage.key):
        return None
    own = trained.own_background
    return execution.runtime.read_scores(context, {split: step.stage}, own, None)[split]


def best_experiment(sweep: Sweep, record: SweepRecord, seed: int) -> Experiment:
    """Return the base experiment with the parameters of the best point."""
    best = next(trial for trial in record.trials if trial.id == record.best)
    return sweep.at(best.params, seed)
