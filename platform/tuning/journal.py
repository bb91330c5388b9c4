"""The journal of a sweep: the files from which an interrupted sweep goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import monotonic

from ..config.yaml_writer import EXPERIMENT_FILE
from ..errors import InputError
from ..records.schema import Trial, trial_from_json
from ..serialization import as_json, from_json
from ..storage.json_files import read_record, write_json
from ..storage.store import Store

BEST_FILE = "best.yaml"
"""Name of the experiment file of a sweep's best point, with the sweep's first random seed."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The description of a sweep that has begun.

    Attributes:
        digest: key of the sweep.
        trials: number of its trials; with a budget the largest number.
        command: command line.
        started: time when the sweep was first started.
        seconds: seconds that the sweep took, over all its passes, until its last trial ended.
    """

    digest: str
    trials: int
    command: str
    started: str = ""
    seconds: float = 0.0


class Journal:
    """The journal of one sweep.

    Args:
        store: store that holds the files.
        name: name of the sweep.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.folder = store.location("sweeps", name)
        self.path = self.folder / "sweep.json"
        self.plan = self.folder / "plan.json"
        self.lines = self.folder / "trials.jsonl"
        self.best = self.folder / BEST_FILE
        self._begun: tuple[SweepPlan, float] | None = None

    def check(self, key: str, resume: bool) -> None:
        """Check that a sweep may begin, or go on, under this name.

        Args:
            key: key of the sweep.
            resume: whether to go on with a sweep that was broken off.

        Raises:
            InputError: another sweep has the name, or the sweep was broken off and `resume` is
                False.
        """
        if not self.plan.exists():
            return
        earlier = read_record(self.plan, SweepPlan)
        if earlier.digest != key:
            raise InputError(
                f"the name {self.name!r} is taken by another sweep; choose another --name"
            )
        if not resume:
            raise InputError(
                f"sweep {self.name!r} was broken off after {len(self.trials())} of "
                f"{earlier.trials} trials; --resume goes on with it"
            )

    @contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Keep other processes from running this sweep in a block; a dead process keeps none.

        Args:
            wait: whether to wait while another process runs the sweep.

        Raises:
            InputError: another process runs the sweep, and `wait` is False.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context((self.folder / "lock").lock(wait=wait))
            except BlockingIOError:
                raise InputError(f"sweep {self.name!r} is running already") from None
            yield

    def trials(self) -> list[Trial]:
        """Return the trials that have ended, by number; of a repeated trial, its last end.

        An incomplete last line is skipped.

        Raises:
            InputError: a complete line is damaged.
        """
        data = self.lines.read() if self.lines.exists() else b""
        try:
            lines = [line for line in data.decode().splitlines(keepends=True) if line[-1] == "\n"]
            trials = [trial_from_json(from_json(line)) for line in lines]
            return sorted({t.id: t for t in trials}.values(), key=lambda t: int(t.id))
        except ValueError as error:
            raise InputError(f"{self.lines} is damaged: {error}") from error

    def write_experiment_file(self, text: str) -> None:
        """Write the experiment file of the sweep, unless the text is empty."""
        if text:
            (self.folder / EXPERIMENT_FILE).write(text.encode())

    def begin(self, plan: SweepPlan) -> SweepPlan:
        """Write the plan, and remove an incomplete last line of the trials.

        Returns:
            The plan, with the time at which the sweep was first started, and the seconds that
            earlier passes took.
        """
        done = self.trials()
        if self.plan.exists():
            earlier: SweepPlan = read_record(self.plan, SweepPlan)
            started = earlier.started or plan.started
            plan = replace(plan, started=started, seconds=earlier.seconds)
        write_json(self.plan, plan)
        text = "".join(_line(trial) for trial in done)
        self.lines.write(text.encode())
        self._begun = plan, monotonic()
        return plan

    def add(self, trial: Trial) -> None:
        """Add a trial that has ended, and note the time that the sweep took so far."""
        self.lines.append(_line(trial).encode())
        self.note_seconds()

    def note_seconds(self) -> float:
        """Note in the plan how many seconds the sweep took so far, over all passes; return them.

        They are 0 before `begin`.
        """
        if self._begun is None:
            return 0.0
        plan, began = self._begun
        seconds = round(plan.seconds + monotonic() - began, 2)
        write_json(self.plan, replace(plan, seconds=seconds))
        return seconds


def _line(trial: Trial) -> str:
    return json.dumps(as_json(trial)) + "\n"
