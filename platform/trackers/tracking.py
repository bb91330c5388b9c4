"""The tracking of one run or sweep, whose faults never stop the work."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from PIL import Image

from ..errors import InputError
from ..records.progress import ForwardingDisplay, Metrics, ProgressDisplay
from ..records.progress_file import METRICS, read_metrics
from ..records.schema import RunRecord, StageRecord, SweepRecord, Trial
from ..storage.json_files import read_record, write_json
from ..storage.storage import Location
from ..storage.store import Store
from . import contents
from .tracker import Ending, TrackedRun, Tracker

TRACKED = "trackers.json"
"""Name of the file beside a record that says what each tracker has of it, by its address."""
NO_NUMBERS = {"step", "steps"}
"""What a training logs that is no number of its own."""


@dataclass(kw_only=True)
class Sent:
    """What a tracker has of a run or sweep.

    Attributes:
        digest: digest of the run or sweep.
        run_id: id of a sweep in the tracker; empty for a run.
        trials: how those trials of a sweep ended that the tracker has, by their ids.
        finished: whether the tracker has all of the run or sweep.
    """

    digest: str
    run_id: str = ""
    trials: dict[str, str] = field(default_factory=dict)
    finished: bool = False


class Tracking:
    """The trackers of one run or sweep; a context manager that ends them.

    A tracker that fails is left out from then on, after one warning that names it. A finished run
    that a tracker has already is not sent again, and neither is a trial of a sweep that goes on.

    Args:
        trackers: trackers that have not started; without any, nothing is tracked.
        store: store of the records and of the artifacts.
        warn: takes a sentence on a tracker.
        fields: fields of the experiment that a sweep varies.
    """

    def __init__(
        self,
        trackers: Sequence[Tracker],
        store: Store,
        warn: Callable[[str], None],
        fields: Mapping[str, object] | None = None,
    ) -> None:
        self.trackers, self.store, self.warn = list(trackers), store, warn
        self.fields = fields or {}
        self.lock = threading.RLock()
        self.run: TrackedRun | None = None
        self.sent: dict[str, Sent] = {}  # by kind of tracker
        self.trials: set[str] = set()
        self.last_steps: dict[str, int] = {}

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end("failed" if kind and issubclass(kind, Exception) else "stopped")

    def begin(self, record: RunRecord | SweepRecord, again: bool = False) -> None:
        """Start the trackers, unless they have started.

        A tracker that has a part of the sweep goes on with it.

        Args:
            record: record of the run or sweep, as far as it is known.
            again: whether to start those, too, that have the finished run or sweep already.
        """
        if self.run or not self.trackers:
            return
        self.run = run = contents.tracked_run(record, self.fields)
        kept = self._kept()
        for tracker in [*self.trackers]:
            sent = kept.get(tracker.address)
            if sent is None or sent.digest != record.digest:
                sent = Sent(digest=record.digest)
            if sent.finished and not again:
                self.trackers.remove(tracker)
                self.warn(
                    f"{tracker.kind} has {run.name} already, at {tracker.address}; remove "
                    f"{self._file} to send it again"
                )
                continue
            tracker.run_id = sent.run_id
            self.sent[tracker.kind] = dataclasses.replace(sent, finished=False)
        self._each(self._start)
        if run.is_sweep:
            for tracker in self.trackers:
                self.sent[tracker.kind].run_id = tracker.run_id
            self._keep(self.trackers)

    def _start(self, tracker: Tracker) -> None:
        """Begin the run, or begin it anew where the tracker lacks the run with which it goes on."""
        assert self.run
        known = tracker.run_id
        try:
            tracker.start(self.run)
        except Exception as error:
            if not known:
                raise
            reason = str(error).partition("\n")[0]
            self.warn(f"{tracker.kind} cannot go on with run {known} and begins another: {reason}")
            tracker.run_id = ""
            self.sent[tracker.kind] = Sent(digest=self.sent[tracker.kind].digest)
            tracker.start(self.run)

    def training(self, stage: str, rows: Sequence[Metrics]) -> None:
        """Send what a training logged, without the steps that were sent before."""
        with self.lock:
            last = self.last_steps.get(stage, -1)
            new = {int(row["step"]): row for row in rows if row["step"] > last}
            if not new:
                return
            self.last_steps[stage] = max(new)
            numbers = [
                (step, {f"{stage}/{k}": float(v) for k, v in row.items() if k not in NO_NUMBERS})
                for step, row in sorted(new.items())
            ]
            self._each(lambda tracker: tracker.scalars(numbers))

    def kept_training(self, name: str, stage: StageRecord) -> None:
        """Send the metrics of a stage whose artifact the store has, if it trained a network."""
        if not self.trackers:
            return
        with contextlib.suppress(InputError):  # a bucket that does not answer
            artifact = self.store.find(stage.stage, stage.key)
            if artifact and artifact.has(METRICS):
                self.training(name, read_metrics(artifact.file(METRICS)))

    def trial(self, trial: Trial) -> None:
        """Send a trial that has ended, with its fields and its objective.

        A tracker that has the trial gets it again only if it ended in another way: a trial that
        failed runs again when its sweep is resumed.
        """
        with self.lock:
            if self.run is None or trial.id in self.trials:
                return
            self.trials.add(trial.id)
            run = contents.tracked_trial(self.run, trial)
            ending: Ending = "done"
            if trial.status in ("failed", "stopped"):
                ending = "failed" if trial.status == "failed" else "stopped"

            def send(sweep: Tracker) -> None:
                ended = self.sent[sweep.kind].trials
                if ended.get(trial.id) == ending:
                    return
                tracker = type(sweep)(sweep.folder)
                tracker.start(run, sweep)
                tracker.scalars(contents.trial_rows(trial))
                tracker.end(ending)
                if trial.value is not None:
                    sweep.scalars([(int(trial.id), {"trials/miou": trial.value})])
                ended[trial.id] = ending
                self._keep([sweep])

            self._each(send)

    def finish(
        self, record: RunRecord | SweepRecord, picture: Callable[[], Image.Image] | None = None
    ) -> None:
        """Send the results of a run or sweep that has ended, and end the trackers.

        Args:
            record: its record.
            picture: returns a picture of the results; without trackers it is not called.
        """
        if not self.trackers:
            return
        self.begin(record)
        if isinstance(record, SweepRecord):
            for trial in record.trials:
                self.trial(trial)
        else:
            self._send_results(record)
            self._send_picture(picture)
        ended = self._end("done")
        for tracker in ended:
            self.sent[tracker.kind].finished = True
        self._keep(ended)

    def _send_results(self, record: RunRecord) -> None:
        for name, stage in contents.stage_names(record).items():
            self.kept_training(name, stage)

        def send(tracker: Tracker) -> None:
            tracker.scalars([(0, contents.score_numbers(record))])
            if record.scores:
                tracker.table("scores", contents.score_table(record))
                tracker.table("classes", contents.class_table(record))
            for name, score in contents.confusions(record):
                tracker.confusion(name, score.classes, score.confusion or ())

        self._each(send)

    def _send_picture(self, picture: Callable[[], Image.Image] | None) -> None:
        if not picture or not self.trackers:
            return
        try:
            image = picture()
        except InputError:  # a run without class maps or labels, or whose artifacts were deleted
            return
        self._each(lambda tracker: tracker.image("images", image))

    def _end(self, ending: Ending) -> list[Tracker]:
        """End the trackers and return those that kept the whole run."""
        if self.run:
            self._each(lambda tracker: tracker.end(ending))
        ended, self.trackers = self.trackers, []
        return ended

    def _each(self, send: Callable[[Tracker], None]) -> None:
        """Call a function with each tracker, and leave out those that fail."""
        with self.lock:
            for tracker in [*self.trackers]:
                try:
                    send(tracker)
                except Exception as error:  # whatever a library raises
                    self.trackers.remove(tracker)
                    reason = str(error).strip().partition("\n")[0] or type(error).__name__
                    self.warn(
                        f"{tracker.kind} failed and gets nothing more of "
                        f"{self.run.name if self.run else 'the run'}: {reason}"
                    )

    @property
    def _file(self) -> Location:
        """The file that says what each tracker has of the run or sweep, which has begun."""
        assert self.run is not None
        folder = "sweeps" if self.run.is_sweep else "runs"
        return self.store.location(folder, self.run.name, TRACKED)

    def _kept(self) -> dict[str, Sent]:
        """Return what earlier commands sent of the run or sweep, by address of the tracker."""
        try:
            kept: dict[str, Sent] = read_record(self._file, dict[str, Sent])
        except InputError:
            return {}
        return kept

    def _keep(self, trackers: Sequence[Tracker]) -> None:
        """Write down for later commands what trackers have of the run or sweep."""
        new = {tracker.address: self.sent[tracker.kind] for tracker in trackers}
        if new:
            with contextlib.suppress(InputError):  # the store may be read-only
                write_json(self._file, {**self._kept(), **new})


class TrackedDisplay(ForwardingDisplay):
    """A progress display that passes progress on to `inner`, and metrics and trials to trackers.

    Args:
        inner: display that shows the progress.
        tracking: trackers of the run or sweep.
    """

    def __init__(self, inner: ProgressDisplay, tracking: Tracking) -> None:
        super().__init__(inner)
        self.tracking = tracking
        self.stages: list[tuple[str, StageRecord]] = []
        self.step = 0

    @contextlib.contextmanager
    def track(self, folder: Location, record: RunRecord | SweepRecord) -> Iterator[None]:
        self.tracking.begin(record, again=isinstance(record, SweepRecord))  # it has trials to run
        if isinstance(record, RunRecord):
            self.stages = [*contents.stage_names(record).items()]
        with super().track(folder, record):
            yield

    def start(self, title: str) -> None:
        super().start(title)
        self.step += 1

    def metrics(self, rows: Sequence[Metrics]) -> None:
        super().metrics(rows)
        if self.step <= len(self.stages):
            self.tracking.training(self.stages[self.step - 1][0], rows)

    def finish(self, cached: bool) -> None:
        super().finish(cached)
        if self.step <= len(self.stages):
            self.tracking.kept_training(*self.stages[self.step - 1])

    def trial(self, trial: Trial) -> None:
        super().trial(trial)
        self.tracking.trial(trial)
