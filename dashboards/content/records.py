"""What a store tells people: runs and sweeps that are done, that go on, that broke off."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...platform.errors import InputError
from ...platform.records.progress_file import (
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
from ...platform.serialization import digest, instant
from ...platform.storage import artifact_files, filesystem
from ...platform.storage.artifact_files import MANIFEST
from ...platform.storage.json_files import read_record
from ...platform.storage.store import Store
from ...platform.tuning.journal import Journal
from ..labels import is_done, objective

KINDS = ("runs", "sweeps")
TRIALS = "trials.jsonl"
TRAINED = ("network", "boundaries", "segmenter")
METRICS = "metrics.jsonl"
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")
Record = TypeVar("Record", RunRecord, SweepRecord)


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[Record]):
    """A record, and how far it is where it is not done; `fault`: a sentence on what is damaged of
    what lies beside it."""

    record: Record
    progress: Progress | None = None
    fault: str = ""

    @property
    def status(self) -> str:
        """done, running, stopped (it went no further and left no result), or damaged."""
        if self.fault:
            return "damaged"
        if self.progress is None:
            return "done"
        return "running" if self.progress.alive else "stopped"


class Records:
    """The runs and sweeps of a store, read again when their files change.

    Args:
        store: where they are.
        runs: names of the runs to show; None: all.
        sweeps: likewise.
    """

    def __init__(
        self,
        store: Store,
        runs: Collection[str] | None = None,
        sweeps: Collection[str] | None = None,
    ) -> None:
        self.store = store
        self.only = {"runs": runs, "sweeps": sweeps}
        self.faults: dict[tuple[str, str], str] = {}
        """What is damaged, a sentence each, by folder (runs, sweeps or speeds) and name."""
        self._known: dict[Path, tuple[str, Any]] = {}

    def runs(self) -> dict[str, Entry[RunRecord]]:
        """By name, newest first; what cannot be read is noted in `faults`."""
        return self._all("runs", self.run)

    def sweeps(self) -> dict[str, Entry[SweepRecord]]:
        """By name, newest first; what cannot be read is noted in `faults`."""
        return self._all("sweeps", self.sweep)

    def speeds(self) -> list[SpeedRecord]:
        """The tables of `make bench`, newest first; none where only some runs are shown. What
        cannot be read is noted in `faults`."""
        found, faults = [], {}
        for name in (
            filesystem.names(self.store.root / "speeds") if self.only["runs"] is None else ()
        ):
            path = self.store.root / "speeds" / name
            try:
                found.append(self._read(path, lambda p: read_record(p, SpeedRecord)))
            except InputError as error:
                faults[name] = str(error)
        self._note("speeds", faults)
        return sorted(found, key=lambda record: record.began, reverse=True)

    def _all(
        self, kind: str, read: Callable[[str], Entry[Record] | None]
    ) -> dict[str, Entry[Record]]:
        found, faults = {}, {}
        for name in self.names(kind):
            try:
                entry = read(name)
            except InputError as error:
                faults[name] = str(error)
                continue
            if entry:
                found[name] = entry
                faults |= {name: entry.fault} if entry.fault else {}
        self._note(kind, faults)
        return dict(sorted(found.items(), key=lambda pair: pair[1].record.began, reverse=True))

    def _note(self, kind: str, faults: Mapping[str, str]) -> None:
        """Takes the place of the faults of a kind, in one step: other threads read them."""
        rest = {key: fault for key, fault in self.faults.items() if key[0] != kind}
        self.faults = {**rest, **{(kind, name): fault for name, fault in faults.items()}}

    def names(self, kind: str) -> list[str]:
        """The folders of runs or sweeps that are shown."""
        only = self.only[kind]
        found = filesystem.names(self.store.root / kind)
        return [n for n in found if (only is None or n in only) and NAME.fullmatch(n)]

    def run(self, name: str) -> Entry[RunRecord] | None:
        """The run of a name that `names` gives; None where nothing is known of it yet.

        Raises:
            InputError: its record cannot be read.
        """
        folder = self.store.root / "runs" / name
        path = folder / "run.json"
        if filesystem.exists(path):
            return Entry(record=dataclasses.replace(self._read(path, read_run), name=name))
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
        """A stage with its time, if its artifact is there; cached where that is older."""
        path = self.store.folder(stage.stage, stage.key) / MANIFEST
        noted = self._read(path, lambda _: self.store.noted(stage.stage, stage.key))
        if noted is None:
            return stage
        cached = instant(noted.written) < run.began
        return dataclasses.replace(stage, seconds=noted.seconds, cached=cached)

    def is_there(self, stage: StageRecord) -> bool:
        """Whether the artifact of a stage is in the store."""
        return self.store.holds(stage.stage, stage.key)

    def sweep(self, name: str) -> Entry[SweepRecord] | None:
        """The sweep of a name that `names` gives, with the trials that have ended so far.

        Raises:
            InputError: its record cannot be read.
        """
        folder = self.store.root / "sweeps" / name
        path = folder / "sweep.json"
        if filesystem.exists(path) and not (
            filesystem.exists(folder / PROGRESS) and is_alive(folder)
        ):
            return Entry(record=dataclasses.replace(self._read(path, read_sweep), name=name))
        progress = read_progress(folder)
        if progress is None:
            return None
        record = sweep_from_json(progress.record, folder / PROGRESS)
        trials = tuple(Journal(self.store, name).trials())
        best = max(filter(is_done, trials), key=objective, default=None)
        record = dataclasses.replace(
            record, name=name, trials=trials, best=best.id if best else None
        )
        return Entry(record=record, progress=progress)

    def metrics(self, stage: StageRecord) -> list[dict[str, Any]]:
        """What a training wrote, one row a step; of one that goes on, what there is so far.

        Raises:
            InputError: something else lies where that would be.
        """
        artifact = self.store.find(stage.stage, stage.key)
        path = artifact_files.local(artifact.path(METRICS)) if artifact else self._training(stage)
        return read_metrics(path)

    def _training(self, stage: StageRecord) -> Path:
        return self.store.root / "training" / f"{stage.key[:32]}.jsonl"

    def stamp(self, kind: str, name: str) -> str:
        """Changes when the page of a run or sweep would; as cheap as looking at a few files."""
        folder = self.store.root / kind / name
        files = [folder / f for f in ("run.json", "sweep.json", PROGRESS, TRIALS)]
        alive = filesystem.exists(folder / PROGRESS) and is_alive(folder)
        if alive and kind == "runs":
            stages: tuple[StageRecord, ...] = ()
            with contextlib.suppress(InputError):  # the page says so
                entry = self.run(name)
                stages = entry.record.stages if entry else ()
            files += [self._training(s) for s in stages if s.stage in TRAINED]
            files += [self.store.folder(s.stage, s.key) / MANIFEST for s in stages]
        return digest([alive, *map(filesystem.stamp, files)])[:16]

    def stamp_of_all(self) -> str:
        """Changes when the overview would."""
        if key := filesystem.object_of(
            self.store.root
        ):  # one request, not some for each that is done
            found = [i for kind in KINDS for i in filesystem.listing(f"{key}/{kind}") if i.is_file]
            seen = [[i.path, i.size, str(i.mtime)] for i in found if "lock" not in i.base_name]
            going = [Path(i.path).relative_to(key) for i in found if i.base_name == PROGRESS]
            return digest([seen, [is_alive(self.store.root / p.parent) for p in going]])[:16]
        pairs = [(kind, name) for kind in KINDS for name in self.names(kind)]
        return digest([[kind, name, self.stamp(kind, name)] for kind, name in pairs])[:16]

    def _read(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """What `read` makes of a file, kept while the file stays as it is."""
        stamp = str(filesystem.stamp(path))
        if path not in self._known or self._known[path][0] != stamp:
            self._known[path] = (stamp, read(path))
        return self._known[path][1]
