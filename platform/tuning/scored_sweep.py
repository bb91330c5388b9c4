"""Sweeps with the runs of their best point and of the untuned preset on all splits.

The experiment of the best point is kept beside the record of the sweep, as `journal.BEST_FILE`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ..config.yaml_writer import experiment_file
from ..pipeline.context import Catalog
from ..pipeline.plan import Plan
from ..pipeline.planner import plan
from ..pipeline.run import Row, table_rows
from ..records.progress import ProgressDisplay
from ..records.schema import RunRecord, SweepRecord, read_sweep
from ..storage.json_files import write_json
from . import tuner
from .journal import Journal
from .sweep import Sweep, best_experiment


@dataclass(frozen=True, kw_only=True)
class ScoredSweep:
    """A finished sweep.

    Attributes:
        record: the record of the sweep.
        untuned: the runs of the untuned preset, one for each random seed.
        best: the runs of the best point, one for each random seed.
    """

    record: SweepRecord
    untuned: Sequence[RunRecord]
    best: Sequence[RunRecord]

    @property
    def rows(self) -> list[Row]:
        """The rows of the table that compares the best point with the untuned preset."""
        named = {"untuned": self.untuned, "tuned": self.best}
        return [
            row for title, runs in named.items() for row in table_rows(title, runs[0].subject, runs)
        ]


def run(
    catalog: Catalog,
    description: Sweep,
    name: str,
    command: str,
    progress: Callable[[], AbstractContextManager[ProgressDisplay]],
    carry_out: Callable[[Plan], RunRecord],
    resume: bool = False,
    file: str = "",
) -> ScoredSweep:
    """Run the trials of a sweep, then the untuned preset and the best point on all splits.

    Args:
        catalog: data sets and imports of the store that takes artifacts and records.
        description: the description of the sweep.
        name: name of the record under `sweeps/`.
        command: the command line or the Python call, for the record.
        progress: returns the display of the trials as a context manager.
        carry_out: carries out a plan and returns the record.
        resume: whether to go on with a sweep that was broken off.
        file: text of the experiment file for the record, as for `tuner.run`.

    Raises:
        InputError: as for `tuner.run`, or a run cannot be carried out.
    """
    with progress() as display:
        record = tuner.run(catalog, description, name, command, display, resume, file)
    untuned, best = (
        [carry_out(planned) for planned in plans]
        for plans in _untuned_and_best(catalog, description, record)
    )
    complete = dataclasses.replace(record, run=best[0].name, untuned=untuned[0].name)
    if complete != record:
        _keep_runs(Journal(catalog.store, name), description, complete)
    return ScoredSweep(record=complete, untuned=untuned, best=best)


def _keep_runs(journal: Journal, description: Sweep, complete: SweepRecord) -> None:
    """Write the names of the runs into the record of a sweep, and the file of its best point.

    While the runs took hours, another command may have chosen another point by another rule, or
    run failed trials again. Then the record stays as that command left it.
    """
    seed = description.base.seed
    chosen = experiment_file(best_experiment(description, complete, seed))
    with journal.lock(wait=True):
        if not journal.path.exists():
            return
        record = read_sweep(journal.path)
        if record.digest != complete.digest or record.best is None:
            return
        if experiment_file(best_experiment(description, record, seed)) == chosen:
            journal.best.write(chosen.encode())
            named = dataclasses.replace(record, run=complete.run, untuned=complete.untuned)
            write_json(journal.path, named)


def _untuned_and_best(
    catalog: Catalog, description: Sweep, record: SweepRecord
) -> tuple[list[Plan], list[Plan]]:
    """Return the plans of the untuned experiment and of the best point, one for each seed."""
    seeds = description.seeds
    return (
        [plan(description.untuned_experiment(seed), catalog) for seed in seeds],
        [plan(best_experiment(description, record, seed), catalog) for seed in seeds],
    )
