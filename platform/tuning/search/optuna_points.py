"""Searchers of Optuna, which choose points by the values of earlier points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..spaces.domains import Axis, Groups, Listed, Numbers, Space, axes
from ..spaces.points import Params, choose, values_by_axis
from .searcher import Values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

STARTUP = 10
"""Number of points that TPE and the Gaussian process draw at random before they choose any."""


def _tpe(seed: int, space: Space, count: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    conditions = any(isinstance(domain, Groups) for domain in space.values())
    return TPESampler(
        seed=seed, multivariate=True, group=conditions, constant_liar=True, n_startup_trials=STARTUP
    )


def _gp(seed: int, space: Space, count: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=STARTUP)


def _cmaes(seed: int, space: Space, count: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _nsga2(seed: int, space: Space, count: int) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=max(8, min(50, count // 5)))


SAMPLERS: Mapping[str, Callable[[int, Space, int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "nsga2": _nsga2,
}
"""A function of random seed, space and number of points that makes a sampler, by search."""
REPLAYED = ("cmaes", "nsga2")
"""Searches whose samplers keep a state beside the points and values of a study."""


class OptunaPoints:
    """A searcher over points that a sampler of Optuna chooses.

    Points are suggested in generations. A point depends on the values of all earlier generations,
    but not on values of its own, so that the choice does not depend on which trial ends first.

    Sources: TPE, Bergstra et al., NeurIPS 2011, over all fields together; Gaussian process with
    logarithmic expected improvement; CMA-ES, Hansen and Ostermeier, Evolutionary Computation 9(2),
    2001; NSGA-II, Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002.

    Args:
        kind: name of the search, one of SAMPLERS.
        space: the search space; listed numbers enter by their rank, other values as categories.
        seed: random seed of every draw.
        width: number of points in a generation, which run at the same time.
        count: number of points of the sweep.
        maximized: for each objective, whether more is better.
    """

    def __init__(
        self,
        kind: str,
        space: Space,
        seed: int,
        width: int,
        count: int,
        maximized: tuple[bool, ...] = (True,),
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.kind, self.space, self.seed, self.width = kind, space, seed, width
        self.count = count
        self.points: dict[int, Params] = {}
        self.reported = 0
        way = optuna.study.StudyDirection
        directions = [way.MAXIMIZE if more else way.MINIMIZE for more in maximized]
        self.study = optuna.create_study(directions=directions)

    def suggest(self, number: int, values_by_point: Mapping[int, Values | None]) -> Params | None:
        if number in self.points:
            return self.points[number]
        start = number // self.width * self.width
        if any(k not in values_by_point for k in range(start)):
            return None
        for k in range(len(self.study.get_trials(deepcopy=False)), number + 1):
            self._tell(k // self.width * self.width, values_by_point)
            if k in self.points:
                self._add(k)
            else:
                self.points[k] = self._ask(k)
        return self.points[number]

    def recall(self, number: int, point: Params) -> None:
        self.points[number] = point

    def _tell(self, end: int, values_by_point: Mapping[int, Values | None]) -> None:
        """Tell the study the values of all points below a number."""
        from optuna.trial import TrialState

        for k in range(self.reported, end):
            values = values_by_point[k]
            if values is None:
                self.study.tell(k, state=TrialState.FAIL)
            else:
                self.study.tell(k, list(values))
        self.reported = max(self.reported, end)

    def _ask(self, number: int) -> Params:
        trial = self._next_trial(number)
        return choose(
            self.space,
            lambda name, _, domain: _suggested(trial, name, domain),
            f"{self.seed}-{number}",
        )

    def _next_trial(self, number: int, recalled: Mapping[str, Any] | None = None) -> Trial:
        """Return the study's next trial, from a sampler with a random seed of its own."""
        seed = (self.seed * 10007 + number) % 2**32
        with warnings.catch_warnings():  # Optuna calls some options of its samplers experimental
            warnings.simplefilter("ignore")
            sampler = SAMPLERS[self.kind](seed, self.space, self.count)
        self.study.sampler = sampler if recalled is None else recalling(sampler, recalled)
        return self.study.ask()

    def _add(self, number: int) -> None:
        """Add a point that was chosen before the sweep was interrupted."""
        from optuna.trial import TrialState, create_trial

        values = values_by_axis(self.space, self.points[number])
        domains = {name: domain for name, domain in axes(self.space) if name in values}
        raw = {name: _raw(values[name], domain) for name, domain in domains.items()}
        if self.kind in REPLAYED:
            trial = self._next_trial(number, raw)
            for name, domain in domains.items():
                _suggested(trial, name, domain)
            return
        distributions = {name: _distribution(domain) for name, domain in domains.items()}
        self.study.add_trial(
            create_trial(state=TrialState.RUNNING, params=raw, distributions=distributions)
        )


def recalling(sampler: BaseSampler, values: Mapping[str, Any]) -> BaseSampler:
    """Return a sampler that keeps the state that another sampler keeps, but draws given values."""
    from optuna.samplers import BaseSampler

    class Recalling(BaseSampler):
        def infer_relative_search_space(
            self, study: Study, trial: FrozenTrial
        ) -> dict[str, BaseDistribution]:
            return sampler.infer_relative_search_space(study, trial)

        def sample_relative(
            self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
        ) -> dict[str, Any]:
            drawn = sampler.sample_relative(study, trial, search_space)
            return {name: values[name] for name in drawn if name in values}

        def sample_independent(
            self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
        ) -> Any:
            return values[param_name]

    return Recalling()


def _suggested(trial: Trial, name: str, domain: Axis) -> object:
    """Return the value of an axis that a trial of Optuna suggests."""
    distribution: Any = _distribution(domain)
    if hasattr(distribution, "choices"):
        raw: Any = trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution.low, int):
        raw = trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    else:
        raw = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    if isinstance(domain, Groups):
        return int(raw)
    if isinstance(domain, Listed):
        return domain.at(int(raw))
    return domain.multiple(raw) if domain.step else raw


def _raw(value: Any, domain: Axis) -> Any:
    """Return what Optuna knows a value of `values_by_axis` by."""
    if isinstance(domain, Numbers) and domain.step:
        return domain.factor(value)
    return value


def _distribution(domain: Axis) -> BaseDistribution:
    """Return the distribution of an axis: its value, its position, or a multiple of its step."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Groups):
        return CategoricalDistribution(range(len(domain.groups)))
    if isinstance(domain, Listed):
        if domain.ranked:
            return IntDistribution(0, domain.size - 1)
        return CategoricalDistribution(range(domain.size))
    if domain.step:
        return IntDistribution(domain.first, domain.last, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
