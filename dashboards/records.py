"""What a store tells people: runs and sweeps that are done, that go on, that broke off."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..platform import parts, places
from ..platform.errors import InputError
from ..platform.live import PROGRESS, Progress, is_alive, read_progress
from ..platform.runs import (
    RunRecord,
    SpeedRecord,
    StageRecord,
    SweepRecord,
    Trial,
    read_record,
    read_run,
    read_sweep,
    run_from_json,
    sweep_from_json,
    trial_from_json,
)
from ..platform.store import MANIFEST, Store, digest
from .plotting import is_done, objective

KINDS = ("runs", "sweeps")
TRIALS = "trials.jsonl"
TRAINED = ("network", "boundaries", "segmenter")
METRICS = "metrics.jsonl"
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")
Record = TypeVar("Record", RunRecord, SweepRecord)


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[Record]):
    """A record, and how far it is where it is not done."""

    record: Record
    progress: Progress | None = None

    @property
    def status(self) -> str:
        """done, running, or stopped (it went no further and left no result)."""
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
        self.faults: dict[str, str] = {}
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
        found = []
        self.faults = {k: v for k, v in self.faults.items() if not k.endswith(".json")}
        for name in places.names(self.store.root / "speeds") if self.only["runs"] is None else ():
            path = self.store.root / "speeds" / name
            try:
                found.append(self._read(path, lambda p: read_record(p, SpeedRecord)))
            except InputError as error:
                self.faults[name] = str(error)
        return sorted(found, key=lambda r: r.started, reverse=True)

    def _all(
        self, kind: str, read: Callable[[str], Entry[Record] | None]
    ) -> dict[str, Entry[Record]]:
        found = {}
        for name in self.names(kind):
            self.faults.pop(name, None)
            try:
                entry = read(name)
            except InputError as error:
                self.faults[name] = str(error)
                continue
            if entry:
                found[name] = entry
        return dict(sorted(found.items(), key=lambda pair: pair[1].record.started, reverse=True))

    def names(self, kind: str) -> list[str]:
        """The folders of runs or sweeps that are shown."""
        only = self.only[kind]
        found = places.names(self.store.root / kind)
        return [n for n in found if (only is None or n in only) and NAME.fullmatch(n)]

    def run(self, name: str) -> Entry[RunRecord] | None:
        """The run of a name that `names` gives; None where nothing is known of it yet.

        Raises:
            InputError: its record cannot be read.
        """
        folder = self.store.root / "runs" / name
        path = folder / "run.json"
        if places.exists(path):
            return Entry(record=dataclasses.replace(self._read(path, read_run), name=name))
        progress = read_progress(folder)
        if progress is None:
            return None
        record = run_from_json(progress.record, folder / PROGRESS)
        stages = tuple(map(self._stage_of(record), record.stages))
        return Entry(
            record=dataclasses.replace(record, name=name, stages=stages), progress=progress
        )

    def _stage_of(self, run: RunRecord) -> Callable[[StageRecord], StageRecord]:
        """Fills in the time of a stage whose artefact is there; cached where it is older."""

        def filled(stage: StageRecord) -> StageRecord:
            path = self.store.folder(stage.stage, stage.key) / MANIFEST
            try:
                manifest = self._read(path, lambda p: json.loads(places.read(p)))
            except (OSError, ValueError):
                return stage
            return dataclasses.replace(
                stage, seconds=manifest["seconds"], cached=manifest["written"] < run.started
            )

        return filled

    def is_there(self, stage: StageRecord) -> bool:
        """Whether the artefact of a stage is in the store."""
        return self.store.holds(stage.stage, stage.key)

    def sweep(self, name: str) -> Entry[SweepRecord] | None:
        """The sweep of a name that `names` gives, with the trials that have ended so far.

        Raises:
            InputError: its record cannot be read.
        """
        folder = self.store.root / "sweeps" / name
        path, progress = folder / "sweep.json", read_progress(folder)
        if places.exists(path) and not (progress and progress.alive):
            return Entry(record=dataclasses.replace(self._read(path, read_sweep), name=name))
        if progress is None:
            return None
        record = sweep_from_json(progress.record, folder / PROGRESS)
        trials = tuple(self._trials(folder / TRIALS))
        best = max(filter(is_done, trials), key=objective, default=None)
        record = dataclasses.replace(
            record, name=name, trials=trials, best=best.id if best else None
        )
        return Entry(record=record, progress=progress)

    def _trials(self, path: Path) -> Iterator[Trial]:
        """The whole lines of a file of trials; a line that is being written is left out."""
        if not places.exists(path):
            return
        for number, line in enumerate(_lines(path), 1):
            try:
                yield trial_from_json(json.loads(line))
            except ValueError:
                continue
            except (KeyError, TypeError) as error:
                raise InputError(
                    f"line {number} of {places.address(path)} is no trial: {error}"
                ) from error

    def metrics(self, stage: StageRecord) -> list[dict[str, Any]]:
        """What a training wrote, one row a step; of one that goes on, what there is so far."""
        artefact = self.store.find(stage.stage, stage.key)
        path = parts.local(artefact.path(METRICS)) if artefact else self._training(stage)
        try:
            lines = _lines(path)
        except OSError:
            return []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _training(self, stage: StageRecord) -> Path:
        return self.store.root / "training" / f"{stage.key[:32]}.jsonl"

    def stamp(self, kind: str, name: str) -> str:
        """Changes when the page of a run or sweep would; as cheap as looking at a few files."""
        folder = self.store.root / kind / name
        files = [folder / f for f in ("run.json", "sweep.json", PROGRESS, TRIALS)]
        alive = places.exists(folder / PROGRESS) and is_alive(folder)
        if alive and kind == "runs":
            entry = self.run(name)
            stages = entry.record.stages if entry else ()
            files += [self._training(s) for s in stages if s.stage in TRAINED]
            files += [self.store.folder(s.stage, s.key) / MANIFEST for s in stages]
        return digest([alive, *map(places.stamp, files)])[:16]

    def stamp_of_all(self) -> str:
        """Changes when the overview would."""
        if key := places.object_of(self.store.root):  # one request, not some for each that is done
            found = [i for kind in KINDS for i in places.listing(f"{key}/{kind}") if i.is_file]
            seen = [[i.path, i.size, str(i.mtime)] for i in found if "lock" not in i.base_name]
            going = [Path(i.path).relative_to(key) for i in found if i.base_name == PROGRESS]
            return digest([seen, [is_alive(self.store.root / p.parent) for p in going]])[:16]
        pairs = [(kind, name) for kind in KINDS for name in self.names(kind)]
        return digest([[kind, name, self.stamp(kind, name)] for kind, name in pairs])[:16]

    def _read(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """What `read` makes of a file, kept while the file stays as it is."""
        stamp = str(places.stamp(path))
        if path not in self._known or self._known[path][0] != stamp:
            self._known[path] = (stamp, read(path))
        return self._known[path][1]


def _lines(path: Path) -> list[str]:
    return places.read(path).decode(errors="replace").splitlines()
