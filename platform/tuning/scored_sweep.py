"""Sweeps with the runs of their best point and of the untuned preset on all splits.

The experiment of the best point is kept beside the record of the sweep, as BEST_FILE.
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
from ..records.schema import RunRecord, SweepRecord
from ..storage.json_files import write_json
from . import tuner
from .journal import Journal
from .sweep import Sweep, best_experiment

BEST_FILE = "best.yaml"
"""Name of the experiment file of a sweep's best point, with the sweep's first random seed."""


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
        named = {"untuned": self.untuned, "chosen": self.best}
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
        InputError: as for `tuner.run`, or another command writes the record of the sweep.
    """
    with progress() as display:
        record = tuner.run(catalog, description, name, command, display, resume, file)
    untuned, best = (
        [carry_out(planned) for planned in plans]
        for plans in _untuned_and_best(catalog, description, record)
    )
    complete = dataclasses.replace(record, run=best[0].name, untuned=untuned[0].name)
    if complete != record:
        journal = Journal(catalog.store, name)
        chosen = best_experiment(description, record, description.base.seed)
        with journal.lock():  # another command may choose another point of the sweep meanwhile
            (journal.folder / BEST_FILE).write(experiment_file(chosen).encode())
            write_json(journal.path, complete)
    return ScoredSweep(record=complete, untuned=untuned, best=best)


def _untuned_and_best(
    catalog: Catalog, description: Sweep, record: SweepRecord
) -> tuple[list[Plan], list[Plan]]:
    """Return the plans of the untuned experiment and of the best point, one for each seed."""
    seeds = description.seeds
    return (
        [plan(description.untuned_experiment(seed), catalog) for seed in seeds],
        [plan(best_experiment(description, record, seed), catalog) for seed in seeds],
    )
