"""Tests that a command plans each experiment once, and that unlike plans have unlike digests."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_jobs import SMALL_WORDS
from wsss.platform.config.experiment import Experiment
from wsss.platform.method import build_experiment
from wsss.platform.pipeline import planner
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.plan import Plan
from wsss.platform.pipeline.planner import plan
from wsss.platform.records.schema import Trial
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store
from wsss.platform.tuning import tuner
from wsss.platform.tuning.costs.needed_stages import NeededStages
from wsss.platform.tuning.journal import Journal
from wsss.platform.tuning.sweep import Sweep


class OneDataSet(Catalog):
    """Catalog of one data set, for which no file is read."""

    def dataset(self, name: str) -> Artifact:
        about = {"classes": ["ant", "bee"], "splits": ["train", "val"], "source": "scenes"}
        return Artifact(LocalFolder(Path("nowhere")), {"key": "ab" * 32, "about": about})


def scenes(seed: int = 0, **changes: Any) -> Experiment:
    return build_experiment("lpcam", preset="scenes", changes={"seed": seed, **changes})


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return OneDataSet(Store(tmp_path / "none"), gpu=False)


def test_a_catalog_keeps_the_most_recently_used_plans(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plan(scenes(), catalog)
    assert plan(scenes(), catalog) is first
    second = plan(scenes(1), catalog)
    assert second is not first
    monkeypatch.setattr(planner, "MOST_KEPT", 2)
    assert plan(scenes(), catalog) is first
    plan(scenes(2), catalog)
    assert plan(scenes(), catalog) is first
    assert plan(scenes(1), catalog) is not second
    assert len(catalog.plans) == 2


def test_a_catalog_is_sent_to_trials_without_its_plans(catalog: Catalog) -> None:
    plan(scenes(), catalog)
    copy = pickle.loads(pickle.dumps(catalog))
    assert copy.plans == {}
    assert len(catalog.plans) == 1


def test_a_weight_file_that_changes_has_a_plan_of_its_own(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"one")
    experiment = scenes(**{"network.weights": str(file)})
    first = plan(experiment, catalog)
    assert plan(experiment, catalog) is first
    file.write_bytes(b"other")
    assert plan(experiment, catalog).digest != first.digest


@pytest.mark.parametrize("changes", [{"refine.threshold": 0.2}, {"scoring.classes": ("ant",)}])
def test_how_a_baseline_is_scored_changes_the_digest(
    catalog: Catalog, changes: dict[str, Any]
) -> None:
    """A record has the scores of the baseline, too, although no stage depends on them."""
    of_baseline = {f"baseline.{name}": value for name, value in changes.items()}
    names = ("foreground", "background", "final")
    levels = {"baseline.refine.kind": "irn", **{f"baseline.refine.{name}": 0.3 for name in names}}
    one, other = (
        plan(build_experiment("psdpm", preset="scenes", baseline="lpcam", changes=fields), catalog)
        for fields in (levels, {**levels, **of_baseline})
    )
    assert [stage.key for stage in one.stages] == [stage.key for stage in other.stages]
    assert one.digest != other.digest


@pytest.mark.parametrize(
    "search", [("--trials", "4"), ("--search", "eipu", "--budget", "6 stages")]
)
def test_a_sweep_plans_each_experiment_once(
    in_process: None,
    wsss: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    search: tuple[str, ...],
) -> None:
    """The trials, which Tune runs in other processes, are left out here."""
    planned: Counter[str] = Counter()
    original = planner._Planner.plan

    def counted(self: Any) -> Plan:
        planned[repr(self.experiment)] += 1
        return original(self)

    def tune(
        catalog: Catalog, sweep: Sweep, journal: Journal, display: Any, needed: NeededStages | None
    ) -> Any:
        queue = tuner._queue(sweep, [], needed)
        while queue.left and (config := queue.suggest()):
            point, seed, number = config["point"], config["seed"], config["number"]
            stages = needed.computed(point, seed) if needed else ()
            trial = Trial(
                id=f"{number:04d}",
                params=point,
                status="done",
                seconds=1.0,
                value=0.5 + number / 100,
                stages=stages,
            )
            journal.add(trial)
            queue.end(number, trial)
        return queue, None

    monkeypatch.setattr(planner._Planner, "plan", counted)
    monkeypatch.setattr(tuner, "_tune", tune)
    space = tmp_path / "mine.py"
    space.write_text("SPACES = {'all': {'lpcam.mu_f': [0.6, 0.8], 'lpcam.mu_b': [0.3, 0.5]}}")
    words = ("sweep", "lpcam", *SMALL_WORDS, "--space", str(space))
    code, _, err = wsss(*words, *search, "--name", f"once-{len(search)}")
    assert code == 0, err
    assert len(planned) >= 6  # trials and untuned experiment on train, both chosen ones on all
    assert set(planned.values()) == {1}
