"""The description of a sweep: its space, and one experiment for each point and seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ..config.experiment import Experiment
from ..config.fields import replaced, resolved, values_in_key, walk
from ..config.limits import LIMITS, SchedulerName
from ..errors import InputError
from ..pipeline.plan import Plan
from ..records.schema import SweepRecord
from ..serialization import digest, quoted
from .budget import Budget, parse_budget
from .objectives import (
    OBJECTIVES,
    PREDICTIONS,
    SEED,
    check_objectives,
    parse_rule,
    scored_result,
)
from .search import (
    COST_AWARE,
    ONE_OBJECTIVE,
    FixedPoints,
    MarginalCosts,
    Searcher,
    check_search,
    chooses_as_results_come,
    make_searcher,
    most_points,
    trial_count,
)
from .search.known_points import draw_points
from .spaces import COMBINATION, Domain, Params, space_from, space_in_file_form
from .spaces.checks import check_changeable, check_space
from .spaces.domains import Listed, Numbers, domains_by_field, has_functions, listed_values

MOST_TRIALS = LIMITS["trials"][1]
SCHEDULERS = ("", *get_args(SchedulerName))
POPULATION = "pbt"
"""Name of the scheduler whose trials run side by side and take over each other's trainings."""
PROBES = 32
"""Number of points at which the functions of a space are tried, where a search chooses points by
results, so that a changed function changes the key of the sweep."""
WORKERS = "training.workers"
"""End of the names of those fields that hold the number of workers of a training."""
REDUCTION = 2
"""ASHA compares trials after certain numbers of epochs, the rungs. One in REDUCTION trials goes on
after each rung, and the next rung comes after REDUCTION times as many epochs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """The description of a sweep: what varies, how points are chosen, and what is compared.

    It is data alone; `searcher` makes the searcher that it describes.

    Attributes:
        base: the untuned experiment.
        space: domain by full name of the field, e.g. `segment.training.lr`; lists, Ray Tune's
            objects and file forms become domains (`spaces.space_from`).
        trials: number of points; 0 for the whole grid, or `search.DEFAULT_POINTS` of a space with
            continuous fields; with a budget the largest number, see `search.most_points`.
        split: split on which the objective is measured.
        concurrent: number of trials that run at the same time.
        repeats: number of random seeds of each point, from the base's seed on.
        kind: name of the search (`search.SEARCHES`); without a name the grid, or random points if
            `trials` is below the size of the grid or a field is continuous.
        scheduler: `asha`, `hyperband` or `median` to stop early those trainings that do worse than
            others; `pbt` to let them take over better trainings, with other values from then on;
            empty for none.
        retries: further tries of a trial that fails, and also of a trial whose process dies.
        listed_points: the points, where they are not all combinations of values; `space` then holds
            the values that each field takes in these points.
        figure: name of the paper's figure that the sweep reproduces, if it reproduces one.
        bases: the untuned experiments that the values of the field `combination` stand for.
        objectives: names of the objectives (`objectives.OBJECTIVES`).
        best: rule of the best point (`objectives.parse_rule`); empty for the first objective.
        budget: new computation that the trials may take together, after which no further point is
            tried (`budget.parse_budget`); empty for no limit.
    """

    base: Experiment
    space: Mapping[str, Any]
    trials: int = 0
    split: str = "train"
    concurrent: int = 2
    repeats: int = 1
    kind: str = ""
    scheduler: str = ""
    retries: int = 0
    listed_points: tuple[Mapping[str, object], ...] = ()
    figure: str = ""
    bases: Mapping[str, Experiment] = dataclasses.field(default_factory=dict)
    objectives: tuple[str, ...] = ("miou",)
    best: str = ""
    budget: str = ""

    def __post_init__(self) -> None:
        for name in ("trials", "concurrent", "repeats", "retries"):
            value, (low, high) = getattr(self, name), LIMITS[name]
            if not low <= value <= high:
                raise InputError(f"{name} is {quoted(value)}; it must be between {low} and {high}")
        if self.seeds[-1] > (highest := LIMITS["seed"][1]):
            raise InputError(
                f"{self.repeats} repeats from random seed {self.base.seed} on need seed "
                f"{self.seeds[-1]}, above the highest one, {highest}; choose a lower --seed"
            )
        object.__setattr__(self, "space", space_from(self.space))
        check_objectives(self.objectives)
        object.__setattr__(self, "best", self.best or self.objectives[0])
        parse_rule(self.best)
        if self.budget:
            parse_budget(self.budget)
        if self.kind in ONE_OBJECTIVE and len(self.objectives) > 1:
            raise InputError(
                f"--search {self.kind} takes one objective, but --objectives names "
                f"{len(self.objectives)}; name one, or choose another --search"
            )
        if lacking := {*map(str, listed_values(self.space, COMBINATION))} - set(self.bases):
            raise InputError(
                f"no experiment is given for the combinations {sorted(lacking)}; add one for each "
                "to bases"
            )
        check_space(self.space, self.bases.values() or [self.base])
        if not self.listed_points:
            check_search(self.kind, self.space, self.most_points)
        if self.count * self.repeats > MOST_TRIALS:
            raise InputError(
                f"the sweep has {self.count * self.repeats} trials, more than {MOST_TRIALS}; "
                f"choose fewer with --trials"
            )
        self._check_scheduler()

    def _check_scheduler(self) -> None:
        """Check that there is a scheduler of the sweep's name, and that there are trainings."""
        if self.scheduler not in SCHEDULERS:
            names = ", ".join(name for name in SCHEDULERS if name)
            raise InputError(f"unknown scheduler {self.scheduler!r}; there are {names}")
        if self.scheduler and self.base.imported:
            raise InputError(
                f"--scheduler {self.scheduler} stops trainings, but a run with --imported has none"
            )
        # Of trainings that are not shared, those that finish have seconds that a rule may compare.
        measures = parse_rule(self.best).measures if self.is_population else set()
        if self.scheduler and "seconds" in {*self.objectives, *measures}:
            options = "--objectives and --best" if self.is_population else "--objectives"
            raise InputError(
                f"--scheduler {self.scheduler} stops or shares trainings, so the seconds of trials "
                f"cannot be compared; leave seconds out of {options}"
            )
        if self.is_population:
            self._check_population()

    def _check_population(self) -> None:
        """Check that the trials can run side by side and take over each other's trainings."""
        start = f"--scheduler {POPULATION}"
        check_changeable(self.space, self.base.training, start)
        if chooses_as_results_come(self.kind) or self.budget:
            option = "--budget" if self.budget else f"--search {self.kind}"
            advice = "leave it out" if self.budget else "choose random or sobol"
            raise InputError(
                f"{start} begins all trainings at once, so it cannot be combined with {option}; "
                f"{advice}"
            )
        if self.repeats > 1:
            raise InputError(
                f"{start} lets trainings take over each other, which needs one random seed for "
                f"all; leave out --repeats {self.repeats}"
            )
        if self.count < 2 or not self.rungs:
            raise InputError(
                f"{start} compares at least 2 trainings of at least 2 epochs; it has --trials "
                f"{self.count} and training.epochs {self.base.training.epochs}"
            )
        if self.base.training.changes:
            raise InputError(f"{start} sets training.changes itself; leave the field out")

    @property
    def count(self) -> int:
        """The number of points that the sweep tries; a search may try a point twice.

        With a budget it is the largest number.
        """
        if self.listed_points:
            return len(self.listed_points)
        return trial_count(self.kind, self.space, self.most_points)

    @property
    def most_points(self) -> int:
        """The number of points that the sweep gives to its search."""
        return most_points(self.kind, self.space, self.trials, self.budget)

    @property
    def spending(self) -> Budget | None:
        """The budget as an amount; None without a budget."""
        return parse_budget(self.budget) if self.budget else None

    @property
    def counts_costs(self) -> bool:
        """Whether the sweep needs to know what each of its trials computes."""
        return bool(self.budget) or self.kind == COST_AWARE

    @property
    def is_shuffled(self) -> bool:
        """Whether points of a list of values come in a random order, which a budget may cut off."""
        return bool(self.budget) and self.kind in ("", "random")

    @property
    def is_population(self) -> bool:
        """Whether the trials run side by side and take over each other's trainings."""
        return self.scheduler == POPULATION

    @property
    def domains(self) -> Mapping[str, Sequence[Domain]]:
        """The domains of each field, those in groups of the space included."""
        return domains_by_field(self.space)

    @property
    def seeds(self) -> range:
        """The random seeds of each point's trials."""
        return range(self.base.seed, self.base.seed + self.repeats)

    def key(self, base: Plan) -> str:
        """Return the key of everything that the sweep's results depend on.

        Args:
            base: the plan of the trial in which no field of the space is changed.

        Raises:
            InputError: a weight file is missing.
        """
        gpu = base.context.catalog.gpu
        chosen: list[object] = [self.kind] if self.kind == "sobol" else []
        if chooses_as_results_come(self.kind):
            chosen = [self.kind, self.concurrent]
            chosen += self.objectives if self.objectives != ("miou",) else ()
        chosen += [self.budget, self.concurrent] if self.budget else []
        chosen += ["shuffled"] if self.is_shuffled else []
        computed = _computed_values(self) if has_functions(self.space) else ""
        return digest(
            {
                "base": values_in_key(resolved(self.base, gpu)),
                "bases": {w: values_in_key(resolved(e, gpu)) for w, e in self.bases.items()},
                "trial": base.digest,
                "space": [
                    *space_in_file_form(self.space).items()
                ],  # their order numbers the points
                **({"computed": computed} if computed else {}),
                "listed": self.listed_points,
                "points": [self.count, *chosen],
                "repeats": self.repeats,
                "scheduler": self.scheduler,
                "split": self.split,
            }
        )

    def untuned_experiment(self, seed: int) -> Experiment:
        """Return the untuned experiment with another random seed, which its baseline takes too."""
        return _with_seed(self.base, seed)

    def experiment_at(self, params: Mapping[str, object], seed: int | None = None) -> Experiment:
        """Return the whole experiment of one point, by default with the random seed of the base."""
        base = self.bases[str(params[COMBINATION])] if COMBINATION in params else self.base
        fields = {field: value for field, value in params.items() if field != COMBINATION}
        return replaced(base if seed is None else _with_seed(base, seed), fields)

    @property
    def subject(self) -> str:
        """The name of the method whose class maps the trials score."""
        return "combinations" if self.bases else self.base.localizer_name

    @property
    def default(self) -> dict[str, object]:
        """The values of the space's fields in the base, by the fields' full names."""
        params = {field: value for field, value, _ in walk(self.base) if field in self.domains}
        if COMBINATION in self.domains:
            words = (word for word, base in self.bases.items() if base == self.base)
            params[COMBINATION] = next(words, self.base.combination)
        return params

    def trial_experiment(self, params: Mapping[str, object], seed: int | None = None) -> Experiment:
        """Return the experiment of one point as a trial carries it out.

        It is scored on the objective's split only, and ends with the last stage that a field of
        the space changes. Its random seed is by default the base's.
        """
        changes: dict[str, object] = {"scoring.splits": (self.split,)}
        result = scored_result(self.domains)
        if result == PREDICTIONS:
            changes["segment.splits"] = (self.split,)
        else:
            changes["segment.network"] = ""
        if result == SEED:
            changes["refine.kind"] = ""
        return replaced(
            self.experiment_at(params, seed), {k: changes[k] for k in changes if k not in params}
        )

    @property
    def most_workers(self) -> int:
        """The largest number of workers that a training of any trial has."""
        counts: list[Any] = [
            value
            for experiment in (self.base, *self.bases.values())
            for field, value, _ in walk(experiment)
            if field.endswith(WORKERS)
        ]
        for field, domains in self.domains.items():
            if field.endswith(WORKERS):
                counts += [
                    v for d in domains if isinstance(d, Listed | Numbers) for v in d.extremes
                ]
        return int(max(counts))

    @property
    def rungs(self) -> list[int]:
        """The epochs after which trials are compared, from a quarter of the training on.

        A population is compared after each quarter, rounded up to whole epochs.
        """
        epochs = self.base.training.epochs
        first = math.ceil(epochs / REDUCTION**2)
        if self.is_population:
            return [*range(first, epochs, first)]
        return [n for k in range(8) if (n := first * REDUCTION**k) < epochs]


def _with_seed(experiment: Experiment, seed: int) -> Experiment:
    baseline = experiment.baseline and dataclasses.replace(experiment.baseline, seed=seed)
    return dataclasses.replace(experiment, seed=seed, baseline=baseline)


def searcher(sweep: Sweep, costs: MarginalCosts | None = None) -> Searcher:
    """Return a new searcher over the points of a sweep.

    Args:
        sweep: the sweep.
        costs: marginal costs of points, which the search `eipu` needs.
    """
    if sweep.listed_points:
        return FixedPoints([dict(point) for point in sweep.listed_points])
    return make_searcher(
        sweep.kind,
        sweep.space,
        sweep.most_points,
        sweep.base.seed,
        sweep.concurrent,
        tuple(OBJECTIVES[name].more for name in sweep.objectives),
        costs,
        shuffled=sweep.is_shuffled,
    )


def _computed_values(sweep: Sweep) -> str:
    """Return the digest of points of a sweep, with the values that functions compute for them.

    It changes with what a function refers to, such as a number of its file, which its source code
    does not show. It is empty where two draws of the points differ, because a function draws random
    numbers of its own.
    """

    def points() -> list[Params | None]:
        if chooses_as_results_come(sweep.kind):
            return [*draw_points(sweep.space, PROBES, sweep.base.seed)]
        known = searcher(sweep)
        return [known.suggest(number, {}) for number in range(sweep.count)]

    first, second = digest(points()), digest(points())
    return first if first == second else ""


def best_experiment(sweep: Sweep, record: SweepRecord, seed: int) -> Experiment:
    """Return the base experiment with the parameters of the best point."""
    best = next(trial for trial in record.trials if trial.id == record.best)
    return sweep.experiment_at(best.params, seed)
