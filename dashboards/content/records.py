"""Records of a store's runs, sweeps and speed tables, with the progress of unfinished ones."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...platform.data import registry
from ...platform.errors import InputError
from ...platform.records.progress import Metrics
from ...platform.records.progress_file import (
    METRICS,
    PROGRESS,
    Progress,
    is_alive,
    read_metrics,
    read_progress,
)
from ...platform.records.schema import (
    RunRecord,
    SpeedRecord,
    StageRecord,
    SweepRecord,
    read_run,
    read_sweep,
    run_from_json,
    sweep_from_json,
)
from ...platform.serialization import digest, parse_time
from ...platform.storage.json_files import Readable, read_record
from ...platform.storage.storage import Location
from ...platform.storage.store import Store
from ...platform.tuning.journal import Journal

KINDS = ("runs", "sweeps")
TRIALS = "trials.jsonl"
FILES = ("run.json", "sweep.json", PROGRESS, TRIALS)
"""Names of the files of a run or sweep."""
TRAINING_STAGES = ("network", "boundaries", "segmenter")
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")
Record = TypeVar("Record", RunRecord, SweepRecord)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[Record]):
    """Record of a run or sweep with its progress.

    Attributes:
        record: the record, so far as it is known.
        progress: how far a run or sweep is that has not ended; None once it is done.
        fault: sentence that names damaged files of an unfinished run; empty where there are none.
    """

    record: Record
    progress: Progress | None = None
    fault: str = ""

    @property
    def status(self) -> str:
        """One of done, running, stopped (it ended without a result) and damaged."""
        if self.fault:
            return "damaged"
        if self.progress is None:
            return "done"
        return "running" if self.progress.alive else "stopped"


class Records:
    """Runs and sweeps of a store, read again when their files change.

    Args:
        store: the store.
        runs: names of the runs to include; None: all runs.
        sweeps: names of the sweeps to include; None: all sweeps.
        live: whether lists of records follow the store; otherwise each list is made once.
    """

    def __init__(
        self,
        store: Store,
        runs: Collection[str] | None = None,
        sweeps: Collection[str] | None = None,
        live: bool = True,
    ) -> None:
        self.store, self.live = store, live
        self.included = {"runs": runs, "sweeps": sweeps}
        self.faults: dict[tuple[str, str], str] = {}
        """A sentence for each damaged record, by folder (runs, sweeps or speeds) and name."""
        self._cache: dict[Location, tuple[str, Any]] = {}
        self._lists: dict[str, Any] = {}

    def runs(self) -> dict[str, Entry[RunRecord]]:
        """Return all runs by name, newest first; note unreadable ones in `faults`."""
        return self._list("runs", lambda: self._all("runs", self.run))

    def sweeps(self) -> dict[str, Entry[SweepRecord]]:
        """Return all sweeps by name, newest first; note unreadable ones in `faults`."""
        return self._list("sweeps", lambda: self._all("sweeps", self.sweep))

    def speeds(self) -> list[SpeedRecord]:
        """Return the tables of `make bench`, newest first; note unreadable ones in `faults`.

        There are none where only some of the runs are included.
        """
        return self._list("speeds", self._speeds)

    def _speeds(self) -> list[SpeedRecord]:
        records, faults = [], {}
        folder = self.store.location("speeds")
        for name in folder.names() if self.included["runs"] is None else ():
            try:
                records.append(self._read(folder / name, lambda f: read_record(f, SpeedRecord)))
            except InputError as error:
                faults[name] = str(error)
        self._set_faults("speeds", faults)
        return sorted(records, key=lambda record: record.start_time, reverse=True)

    def datasets(self) -> dict[str, str]:
        """Return the keys of the shards of data sets by name, of the included runs if not all."""
        return self._list("datasets", self._datasets)

    def _datasets(self) -> dict[str, str]:
        keys = registry.keys(self.store)
        if self.included["runs"] is None:
            return keys
        used = {entry.record.shards for entry in self.runs().values()}
        return {name: key for name, key in keys.items() if key in used}

    def _list(self, name: str, read: Callable[[], T]) -> T:
        """Return the result of `read`, by name from memory where lists do not follow the store.

        Pages of a report read all runs; for each page anew, many runs would take long in a bucket.
        """
        if self.live:
            return read()
        if name not in self._lists:
            self._lists[name] = read()
        value: T = self._lists[name]
        return value

    def _all(
        self, kind: str, read: Callable[[str], Entry[Record] | None]
    ) -> dict[str, Entry[Record]]:
        entries, faults = {}, {}
        for name in self.names(kind):
            try:
                entry = read(name)
            except InputError as error:
                faults[name] = str(error)
                continue
            if entry:
                entries[name] = entry
                faults |= {name: entry.fault} if entry.fault else {}
        self._set_faults(kind, faults)
        return dict(
            sorted(entries.items(), key=lambda pair: pair[1].record.start_time, reverse=True)
        )

    def _set_faults(self, kind: str, faults: Mapping[str, str]) -> None:
        """Replace the faults of a kind in one assignment, because other threads read them."""
        rest = {key: fault for key, fault in self.faults.items() if key[0] != kind}
        self.faults = {**rest, **{(kind, name): fault for name, fault in faults.items()}}

    def names(self, kind: str) -> list[str]:
        """Return the names of the included runs or sweeps without reading their records."""
        return self._list(f"names of {kind}", lambda: self._names(kind))

    def _names(self, kind: str) -> list[str]:
        included = self.included[kind]
        names = self.store.location(kind).names()
        return [n for n in names if (included is None or n in included) and NAME.fullmatch(n)]

    def run(self, name: str) -> Entry[RunRecord] | None:
        """Return the run of a name from `names`; None where its folder has no record yet.

        Raises:
            InputError: the record of the run cannot be read.
        """
        folder = self.store.location("runs", name)
        file = folder / "run.json"
        if file.exists():
            return Entry(record=dataclasses.replace(self._read(file, read_run), name=name))
        progress = read_progress(folder)
        if progress is None:
            return None
        record = run_from_json(progress.record, folder / PROGRESS)
        stages, faults = [], []
        for stage in record.stages:
            try:
                stages.append(self._timed(stage, record))
            except InputError as error:
                stages.append(stage)
                faults.append(str(error))
        record = dataclasses.replace(record, name=name, stages=tuple(stages))
        return Entry(record=record, progress=progress, fault="; ".join(faults))

    def _timed(self, stage: StageRecord, run: RunRecord) -> StageRecord:
        """Return a stage with the time its artifact took; cached if that is older than the run.

        A stage that has no artifact yet is returned as it is.
        """
        file = self.store.manifest(stage.stage, stage.key)
        computation = self._read(file, lambda _: self.store.computation(stage.stage, stage.key))
        if computation is None:
            return stage
        cached = parse_time(computation.written) < run.start_time
        return dataclasses.replace(stage, seconds=computation.seconds, cached=cached)

    def has_artifact(self, stage: StageRecord) -> bool:
        """Return whether the artifact of a stage is in the store."""
        return self.store.holds(stage.stage, stage.key)

    def sweep(self, name: str) -> Entry[SweepRecord] | None:
        """Return the sweep of a name from `names`, with the trials that have ended so far.

        None where its folder has no record yet.

        Raises:
            InputError: the record of the sweep cannot be read.
        """
        folder = self.store.location("sweeps", name)
        file = folder / "sweep.json"
        if file.exists() and not ((folder / PROGRESS).exists() and is_alive(folder)):
            return Entry(record=dataclasses.replace(self._read(file, read_sweep), name=name))
        progress = read_progress(folder)
        if progress is None:
            return None
        record = sweep_from_json(progress.record, folder / PROGRESS)
        trials = tuple(Journal(self.store, name).trials())
        record = dataclasses.replace(record, name=name, trials=trials, best=None)
        return Entry(record=record, progress=progress)

    def metrics(self, stage: StageRecord) -> list[Metrics]:
        """Return the metrics of a training, a row for each step that is written so far.

        Raises:
            InputError: the path of the metrics is taken by something other than a file.
        """
        artifact = self.store.find(stage.stage, stage.key)
        return read_metrics(artifact.file(METRICS) if artifact else self._log_of(stage))

    def _log_of(self, stage: StageRecord) -> Location:
        return self.store.location("training", f"{stage.key[:32]}.jsonl")

    def stamp(self, kind: str, name: str) -> str:
        """Return a text that changes with the page of a run or sweep.

        It takes no more than reading the state of a few files.
        """
        folder = self.store.location(kind, name)
        files = [folder / file for file in FILES]
        alive = (folder / PROGRESS).exists() and is_alive(folder)
        if alive and kind == "runs":
            stages: tuple[StageRecord, ...] = ()
            with contextlib.suppress(InputError):  # the page shows the fault
                entry = self.run(name)
                stages = entry.record.stages if entry else ()
            files += [self._log_of(s) for s in stages if s.stage in TRAINING_STAGES]
            files += [self.store.manifest(s.stage, s.key) for s in stages]
        return digest([alive, [file.version() for file in files]])[:16]

    def stamp_of_all(self) -> str:
        """Return a text that changes with the overview page."""
        versions: dict[str, str] = {}
        for kind in KINDS:
            versions |= self.store.storage.versions(kind, FILES)
        unfinished = [self.store.location(f).parent for f in versions if f.endswith(PROGRESS)]
        datasets = [
            (name, self.store.holds("shards", key)) for name, key in self.datasets().items()
        ]
        return digest([versions, datasets, [is_alive(folder) for folder in unfinished]])[:16]

    def _read(self, file: Location, read: Callable[[Readable], T]) -> T:
        """Return the result of `read` on a file, from memory while the file does not change."""
        version = file.version()
        if file not in self._cache or self._cache[file][0] != version:
            self._cache[file] = (version, read(file))
        value: T = self._cache[file][1]
        return value
