"""What a sweep tries: one experiment for each point of its space and each seed."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from .errors import InputError
from .experiment import Experiment
from .options import LIMITS, keyed, replaced, walk
from .pipeline import Pipeline
from .plain import shown
from .runs import Score, SweepRecord, as_json
from .search import Fixed, Search, grid, search, size
from .spaces import COMBINATION, UNVARIED, Space
from .steps import classify
from .store import Stage, Store, digest

MOST_TRIALS = LIMITS["trials"][1]
SCHEDULERS = ("", "asha")
MOST_COUNTED = 2_000
"""Points of a search that chooses on its way whose cost is looked at."""
REDUCTION = 2
"""ASHA goes on with one of so many trials at each rung, and the next rung is as many times
further."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to sweep.

    Attributes:
        base: the untuned experiment.
        space: values to try by dotted field.
        trials: how many points; 0: the whole grid.
        split: the objective's.
        concurrent: trials side by side.
        repeats: seeds of each point, from the base's on.
        kind: of the search (`search.SEARCHES`); none: the grid, or random where trials are fewer.
        scheduler: `asha` stops trainings early that do worse than others.
        retries: further tries of a trial that fails, and as many of one whose process dies.
        listed: the points, where they are no product of values; `space` then tells what they
            vary.
        figure: the paper's figure that the sweep is for, if it is for one.
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
        self.search  # noqa: B018  (raises what is wrong with it)
        if len({short(field) for field in self.space}) < len(self.space):
            raise InputError(f"a space has two fields of one name: {', '.join(self.space)}")
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

    @cached_property
    def search(self) -> Search:
        """Where the points come from."""
        if self.listed:
            return Fixed([dict(point) for point in self.listed])
        return search(self.kind, self.space, self.trials, self.base.seed, self.concurrent)

    @property
    def count(self) -> int:
        """Points that will be tried; only TPE may try one twice."""
        if self.listed:
            return len(self.listed)
        if self.kind == "tpe":
            return self.trials
        return min(self.trials, size(self.space)) if self.trials else size(self.space)

    @property
    def seeds(self) -> range:
        """Of the trials of each point."""
        return range(self.base.seed, self.base.seed + self.repeats)

    def key(self, base: Pipeline) -> str:
        """What the sweep's results depend on; `base` is the base trial's pipeline.

        Raises:
            InputError: a weight file is missing.
        """
        chosen = [self.kind, self.concurrent] if self.kind == "tpe" else []
        stopped = [self.scheduler] if self.scheduler else []
        listed = [self.listed] if self.listed else []
        bases = [{word: keyed(e) for word, e in self.bases.items()}] if self.bases else []
        repeats = [self.repeats] if self.repeats > 1 else []
        how = [*repeats, *chosen, *stopped, *listed, *bases, keyed(self.base)]
        return digest([base.digest, self.space, self.count, self.split, *how])

    def seeded(self, seed: int) -> Experiment:
        """The base with another seed, its host too."""
        return _seeded(self.base, seed)

    def at(self, params: Mapping[str, Any], seed: int | None = None) -> Experiment:
        """The whole experiment of one point; without a seed the base's."""
        base = self.bases[params[COMBINATION]] if COMBINATION in params else self.base
        fields = {field: value for field, value in params.items() if field != COMBINATION}
        return replaced(base if seed is None else _seeded(base, seed), fields)

    @property
    def subject(self) -> str:
        """Whose class maps the trials score."""
        return "combinations" if self.bases else self.base.localizer_name

    @property
    def default(self) -> dict[str, Any]:
        """What the fields of the space are in the base, by their short names."""
        known = {short(field): value for field, value, _ in walk(self.base) if field in self.space}
        if COMBINATION in self.space:
            words = (word for word, base in self.bases.items() if base == self.base)
            known[COMBINATION] = next(words, self.base.combination)
        return known

    def trial_experiment(self, params: Mapping[str, Any], seed: int | None = None) -> Experiment:
        """The experiment of one point, scored on the objective's split only, and no further
        than the fields of the space reach; without a seed the base's."""
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
        """The epochs after which ASHA compares trials: from a quarter of the training on."""
        epochs = self.base.training.epochs
        first = math.ceil(epochs / REDUCTION**2)
        return [n for k in range(8) if (n := first * REDUCTION**k) < epochs]


def _seeded(experiment: Experiment, seed: int) -> Experiment:
    host = experiment.host and dataclasses.replace(experiment.host, seed=seed)
    return dataclasses.replace(experiment, seed=seed, host=host)


def short(field: str) -> str:
    """The name of a field without its group, as papers print it."""
    return field.rpartition(".")[2]


class Cost(NamedTuple):
    """What the trials of a sweep take: how many different artefacts of each stage are to compute
    and how many there; and which fields change no result."""

    missing: Counter[str]
    there: Counter[str]
    idle: list[str]


def cost(store: Store, sweep: Sweep) -> Cost:
    """The cost of a sweep before it starts; of a search that chooses on its way, that of the
    whole space, or of its first MOST_COUNTED points."""
    missing: dict[str, str] = {}
    there: dict[str, str] = {}
    digests: list[tuple[Mapping[str, Any], str]] = []
    chosen = sweep.kind == "tpe"
    every = itertools.islice(grid(sweep.space), MOST_COUNTED)
    points = every if chosen else (sweep.search.ask(k, {}) for k in range(sweep.count))
    for point, seed in itertools.product(points, sweep.seeds):
        try:
            pipeline = Pipeline(store, sweep.trial_experiment(point or {}, seed))
        except InputError:  # the trial will say it
            continue
        if point and seed == sweep.seeds[0]:
            digests.append((point, pipeline.digest))
        without = {stage.key for stage in passed_over(pipeline, sweep.split)}
        lacking = {stage.key for stage in pipeline.missing()}
        for step in pipeline.steps:
            if step.stage.key not in without:
                where = missing if step.stage.key in lacking else there
                where[step.stage.key] = step.stage.name
    idle = [field for field in sweep.space if _idle(field, digests)]
    return Cost(Counter(missing.values()), Counter(there.values()), idle)


def _idle(field: str, digests: Sequence[tuple[Mapping[str, Any], str]]) -> bool:
    """Whether points that differ in this field alone have one result, wherever there are any."""
    groups: dict[str, dict[str, str]] = {}
    for point, found in digests:
        rest = repr(sorted((k, repr(v)) for k, v in point.items() if k != field))
        groups.setdefault(rest, {})[repr(point.get(field))] = found
    several = [of for of in groups.values() if len(of) > 1]
    return bool(several) and all(len(set(of.values())) == 1 for of in several)


def run(
    store: Store,
    sweep: Sweep,
    point: Mapping[str, Any],
    seed: int,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """One trial: gets the artefacts that are missing and reads the score.

    A failure is a result like any other, so that one trial does not take the sweep along.

    Args:
        store: where artefacts go.
        sweep: that the trial is of.
        point: values by field.
        seed: of the trial.
        report: called with the score at each rung; may not come back, where a scheduler stops
            the trial.
    """
    started = time.monotonic()
    out: dict[str, Any] = {"value": None, "score": None, "error": None, "cached": False}
    for _ in range(sweep.retries + 1):
        try:
            out |= {"error": None, **_tried(store, sweep, point, seed, report)}
            break
        except Exception as error:
            cause = getattr(error, "cause", None) or error
            out["error"] = f"{type(cause).__name__}: {cause}".strip().splitlines()[-1]
    return {**out, "seconds": round(time.monotonic() - started, 3)}


def _tried(
    store: Store,
    sweep: Sweep,
    point: Mapping[str, Any],
    seed: int,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    started = time.monotonic()
    pipeline = Pipeline(store, sweep.trial_experiment(point, seed))
    without = passed_over(pipeline, sweep.split)
    missing = {stage.key for stage in pipeline.missing()} - {stage.key for stage in without}
    network = pipeline.network
    if sweep.scheduler and network:
        for epochs in sweep.rungs:
            score = rung(store, pipeline, sweep.split, epochs, network.key in missing)
            if score:
                seconds = round(time.monotonic() - started, 3)
                report({**_result(score), "epoch": epochs, "seconds": seconds})
    if without:
        _at_once(store, pipeline, sweep.split)
    else:
        pipeline.execute()
    name = list(pipeline.scores)[-1]
    score = pipeline.read_scores(only=name)[name][sweep.split]
    return {**_result(score), "cached": not missing}


def passed_over(pipeline: Pipeline, split: str) -> list[Stage]:
    """The maps that a trial can do without: those by prototypes, where only their scores are
    wanted and the split is small enough to count them at once."""
    name = pipeline.localizer.name
    if not pipeline.prototypes or list(pipeline.scores)[-1] != name:
        return []
    fits = classify.counts_at_once(pipeline.context, split)
    return [pipeline.maps[name][split]] if fits else []


def _at_once(store: Store, pipeline: Pipeline, split: str) -> None:
    """Scores chosen prototypes without their maps."""
    name = pipeline.localizer.name
    maps, scores = pipeline.maps[name][split], pipeline.scores[name][split]
    pipeline.execute(without=(maps, scores))
    step = classify.scored_at_once(pipeline.context, scores, pipeline.chosen[split], split)
    store.get(step.stage, step.compute)


def _result(score: Score) -> dict[str, Any]:
    plain = as_json(dataclasses.replace(score, confusion=None))
    return {"value": score.value, "score": plain}


def rung(store: Store, pipeline: Pipeline, split: str, epochs: int, train: bool) -> Score | None:
    """How well the host's maps do after some epochs of its training; the training goes on from
    there when it is asked for.

    None where the training has no more epochs than that, or where it should not `train` and
    nobody has looked before.
    """
    network, host = pipeline.network, pipeline.host
    assert network is not None
    if epochs >= pipeline.experiment.training.epochs:
        return None
    step = classify.rung(pipeline.context, host, network, pipeline.beside, split, epochs)
    if train:
        pipeline.execute(before=network)
        store.get(step.stage, step.compute)
    elif not store.find(step.stage.name, step.stage.key):
        return None
    return pipeline.context.read_scores({split: step.stage}, host.own_background, None)[split]


def best_experiment(sweep: Sweep, record: SweepRecord, seed: int) -> Experiment:
    """The base experiment with the parameters of the best point."""
    best = next(t for t in record.trials if t.id == record.best)
    return sweep.at({field: best.params[short(field)] for field in sweep.space}, seed)
