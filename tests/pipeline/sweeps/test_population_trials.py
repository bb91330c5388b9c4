"""Tests of the trials of a population: each ends as the training of a single experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray.tune
from in_process import stages_in_process
from paused_trials import begin
from small_jobs import SMALL
from wsss.platform.config.yaml_writer import experiment_file
from wsss.platform.method import build_experiment
from wsss.platform.method.experiment_files import experiment_of
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.storage.store import Store
from wsss.platform.tuning import trial, tuner
from wsss.platform.tuning.runner.population import CHANGES, Population
from wsss.platform.tuning.runner.trial_queue import TrialQueue
from wsss.platform.tuning.sweep import Sweep, searcher

SPACE = {"training.lr": {"loguniform": [0.003, 0.3]}, "training.weight_decay": [1e-4, 1e-3]}


class PausedError(BaseException):
    """The end of a trial's process after its report."""


class KilledError(BaseException):
    """The end of the process that runs the sweep."""


def carried_out(store: Store, sweep: Sweep, reports_left: int = 1_000) -> Any:
    """Run a population; its process is killed after some reports that make trials wait.

    Returns:
        The population, and the config and the last report of each trial.
    """
    population = Population(sweep, TrialQueue(sweep, searcher(sweep), []))
    scheduler = population.scheduler()
    controller = begin(population, scheduler)
    catalog = Catalog.of(store)
    results: dict[int, Any] = {}

    def report(member: Any, result: Any) -> None:
        nonlocal reports_left
        if scheduler.on_trial_result(controller, member, dict(result)) != "CONTINUE":
            reports_left -= 1
            raise PausedError if reports_left else KilledError

    while member := scheduler.choose_trial_to_run(controller):
        config = member.config
        try:
            results[config["number"]] = trial.run(
                catalog,
                sweep,
                config["point"],
                config["seed"],
                lambda result, member=member: report(member, result),
            )
            member.ended, member.status = True, "TERMINATED"
        except PausedError:
            pass
    configs = [member.config for member in controller.members]
    return population, configs, [results[number] for number in range(len(configs))]


def store_of_scenes(job: Any, folder: Path) -> Store:
    """Return a store that holds the job's data set alone."""
    key = job.pipeline.plan.context.shards.key
    for name in ("data", f"artifacts/shards/{key}"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(Path(str(job.store)) / name)
    return Store(folder)


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    small = {"training.batch_size": 16, "training.crop": 64, "views.scales": (1.0,)}
    changes = {**SMALL, **small, "training.epochs": 3}
    base = build_experiment("cam", preset="scenes", changes=changes)
    return Sweep(base=base, space=SPACE, trials=3, scheduler="pbt", split="val")


@pytest.fixture(scope="module")
def whole(job: Any, sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the store of a population that nothing disturbed, its configs and its results."""
    store = store_of_scenes(job, tmp_path_factory.mktemp("whole"))
    with stages_in_process():
        population, configs, results = carried_out(store, sweep)
    assert not any(result["error"] for result in results)
    assert list(store.location("training").names())
    population.clean(Catalog.of(store))
    assert not list(store.location("training").names())
    assert {stage for stage, _ in store.artifacts()} == {
        *("shards", "rung", "network", "maps", "scores")
    }
    return store, configs, results


@pytest.mark.usefixtures("trials_without_ray")
def test_tune_gets_all_trials_of_a_population(
    job: Any, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tuner:
        def __init__(self, function: object, *, param_space: Any, **_: object) -> None:
            self.numbers = param_space["number"]["grid_search"]

        def fit(self) -> None:
            raise KilledError(*self.numbers)

    monkeypatch.setattr(ray.tune, "Tuner", Tuner)
    catalog = Catalog.of(store_of_scenes(job, tmp_path))
    with pytest.raises(KilledError) as caught:
        tuner.run(catalog, sweep, "population", "command", ProgressDisplay())
    assert caught.value.args == (0, 1, 2)


@pytest.mark.usefixtures("in_process")
def test_a_training_that_took_over_another_is_repeated_by_its_experiment_file(
    job: Any, sweep: Sweep, whole: Any, tmp_path: Path
) -> None:
    _, configs, results = whole
    number = next(k for k, config in enumerate(configs) if CHANGES in config["point"])
    file = tmp_path / "best.yaml"
    file.write_text(experiment_file(sweep.trial_experiment(configs[number]["point"])))
    experiment = experiment_of(file)
    execution = Execution.of(store_of_scenes(job, tmp_path / "store"), experiment)
    execution.execute()
    final, network = execution.plan.final, execution.plan.network
    assert network is not None
    assert execution.read_scores(only=final)[final]["val"].value == results[number]["value"]
    stores = (whole[0], execution.store)
    one, two = (store.open("network", network.key).manifest["files"] for store in stores)
    assert one == two


@pytest.mark.usefixtures("in_process")
def test_a_population_that_was_killed_goes_on_as_if_it_had_not_been(
    job: Any, sweep: Sweep, whole: Any, tmp_path: Path
) -> None:
    store = store_of_scenes(job, tmp_path)
    for reports in (1, 4, 6):
        with pytest.raises(KilledError):
            carried_out(store, sweep, reports)
    _, configs, results = carried_out(store, sweep)
    assert configs == whole[1]
    assert [r["value"] for r in results] == [r["value"] for r in whole[2]]
