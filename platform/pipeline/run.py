"""Runs: plans that are carried out under a name, with a record, and the rows of their tables."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..config.experiment import Experiment
from ..config.yaml_writer import EXPERIMENT_FILE, experiment_file
from ..data.names import check_name
from ..errors import InputError
from ..records.progress import ProgressDisplay
from ..records.progress_file import is_alive, read_progress
from ..records.reduced_images import TOO_LARGE, reduced_sentences
from ..records.result_id import ResultId
from ..records.schema import RunRecord, read_run
from ..storage.json_files import write_json
from ..storage.storage import Location
from ..storage.store import Store
from . import run_record
from .context import Catalog
from .execution import Execution
from .plan import Plan
from .planner import plan

EXPORTS = {"maps": ("class maps", "irn"), "labels": ("labels", "png")}
"""Noun and usual format of `wsss export` for what a stage leaves."""
Row: TypeAlias = tuple[str, ResultId, Sequence[RunRecord]]
"""A row of a table of scores: its title, the result, and the runs, one for each random seed."""
Key: TypeAlias = tuple[str, int]
"""The title of an experiment in a table, and the number of its refinement."""


@dataclass(frozen=True)
class Outcome:
    """The record of a run that was carried out, and lines that say what was done."""

    record: RunRecord
    lines: tuple[str, ...]


def carry_out(
    store: Store, planned: Plan, name: str | None, command: str, progress: ProgressDisplay
) -> Outcome:
    """Carry out a plan and write the record of the run, or read the record where there is one.

    Args:
        store: store of the artifacts and of the record.
        planned: plan of the experiment.
        name: name of the record; None or empty: localizer, data set and a short key.
        command: the command line or the Python call, for the record.
        progress: progress display.

    Raises:
        InputError: the name belongs to another run, or the store cannot be written.
    """
    execution = Execution(store, planned, progress)
    e = planned.experiment
    started, began = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic()
    name = check_name(name or f"{e.localizer_name}-{e.data}-{planned.digest[:8]}")
    folder = store.location("runs", name)
    file = folder / "run.json"
    earlier = _record_of(folder, planned)
    missing, total = execution.missing(), len(planned.steps)
    if missing or not earlier:
        needed = f"{len(missing)} of {total} stages are missing"
        store.check_writable(f"run {name!r} ({needed})", f"runs/{name}")
    with progress.track(folder, run_record.begun_run(execution, name, command, started)):
        execution.execute()
        if earlier and not missing:
            line = f"run {name}: nothing to do, all {total} stages are already in the store"
            return Outcome(earlier, (line, *_unscored(execution, earlier)))
        _record_of(folder, planned)  # another run may have ended meanwhile
        seconds = time.monotonic() - began
        record = run_record.ended_run(execution, name, command, started, seconds)
        (folder / EXPERIMENT_FILE).write(experiment_file(e).encode())
        write_json(file, record)
    line = f"run {name}: {len(missing)} of {total} stages computed, {record.seconds} s"
    return Outcome(record, (*_image_lines(execution), line, *_unscored(execution, record)))


def _record_of(folder: Location, planned: Plan) -> RunRecord | None:
    """Return the record of a plan in the folder of a run, or None where there is none yet.

    Raises:
        InputError: the folder is that of another run, which has ended or is running.
    """
    file = folder / "run.json"
    earlier = read_run(file) if file.exists() else None
    taken = f"the name {folder.last_name!r} is taken by another run"
    if earlier and earlier.digest != planned.digest:
        raise InputError(
            f"{taken}; choose another --name (what is computed already is not computed again)"
        )
    running = read_progress(folder) if is_alive(folder) else None
    if running and running.record.get("digest") != planned.digest:
        raise InputError(
            f"{taken}, which is running or was killed less than a minute ago; choose another --name"
        )
    return earlier


def _unscored(execution: Execution, record: RunRecord) -> Iterator[str]:
    """Yield lines on splits without scores: their thresholds, and where their results lie."""
    store, planned = execution.store, execution.plan
    values = {f"refine.{name}": value for name, value in planned.published.items()}
    if planned.baseline:
        inner = planned.baseline.published.items()
        values |= {f"baseline.refine.{name}": value for name, value in inner}
    where = shlex.quote(str(store))
    if not record.unscored:
        return
    if values:
        texts = ", ".join(f"{name}={value:g}" for name, value in values.items())
        yield f"thresholds, which no score chooses, are published ones: {texts}"
    last_maps = [(id, keys, "maps") for id, keys in record.maps.items() if not id.baseline][-1:]
    labels = [(id, keys, "labels") for id, keys in record.labels.items() if not id.baseline]
    for id, keys, stage in (*last_maps, *labels):
        noun, kind = EXPORTS[stage]
        for split in (s for s in record.unscored if s in keys):
            folder = store.folder(stage, keys[split])
            yield (
                f"{noun} {id} of {split}: {folder} (wsss export FOLDER --to {kind} --run "
                f"{record.name} --what {id} --split {split} --store {where})"
            )


def _image_lines(execution: Execution) -> Iterator[str]:
    """Yield lines on images that inference reduced, and on each that DenseCRF did not refine."""
    limit = execution.plan.experiment.views.image_gib
    for artifact, stage in execution.done.values():
        for text in reduced_sentences(artifact.about):
            yield f"{stage.title}: {text}"
        for id in artifact.about.get("unrefined", []):
            yield f"{stage.title}: DenseCRF crashed on {id}, which keeps its unrefined labels"
        for id in artifact.about.get(TOO_LARGE, []):
            yield (
                f"{stage.title}: {id} is too large for DenseCRF within views.image_gib="
                f"{limit:g}; it keeps its unrefined labels"
            )


def compared(
    catalog: Catalog,
    experiments: Mapping[str, Sequence[Sequence[Experiment]]],
    carry_out: Callable[[Plan], RunRecord],
) -> list[Row]:
    """Carry out several experiments and return the rows of one table with their scores.

    All experiments are planned before the first one runs. An experiment whose class maps another
    experiment scores, too, is not carried out.

    Args:
        catalog: data sets and imports of the store.
        experiments: by title, for each refinement of its class maps, an experiment for each random
            seed; the class maps have one row.
        carry_out: carries out a plan and returns the record.

    Raises:
        InputError: an experiment does not fit its data set, its baseline or its imports.
    """
    plans = {
        (title, number): [plan(e, catalog) for e in per_seed]
        for title, by_refinement in experiments.items()
        for number, per_seed in enumerate(by_refinement)
    }
    holders = _holders({key: per_seed[0] for key, per_seed in plans.items()})
    records = {
        key: [carry_out(planned) for planned in per_seed]
        for key, per_seed in plans.items()
        if key in holders.values()
    }
    rows = []
    for key, per_seed in plans.items():
        title, number = key
        class_maps, *later = table_rows(title, per_seed[0].subject, records[holders[key]])
        rows += [class_maps] if number == 0 else []
        rows += later if holders[key] == key else []
    return rows


def table_rows(title: str, subject: ResultId, runs: Sequence[RunRecord]) -> list[Row]:
    """Return the rows of an experiment in a table: its class maps, then later results.

    Args:
        title: title of the experiment.
        subject: the class maps.
        runs: the runs of the experiment, one for each seed.
    """
    start = f"{subject}/"
    later = [
        (f"{title} > {str(id).removeprefix(start)}", id, runs) for id in runs[0].later_results()
    ]
    return [(title, subject, runs), *later]


def _holders(plans: Mapping[Key, Plan]) -> dict[Key, Key]:
    """Return by key of each experiment the key of the experiment whose run has its scores.

    This is the experiment itself, or an experiment whose plan covers the plan of this experiment.
    """
    return {
        key: next((k for k, p in plans.items() if p is not own and p.covers(own)), key)
        for key, own in plans.items()
    }
