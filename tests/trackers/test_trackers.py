"""The contract that every tracker fulfils, read back with the means of its library."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from limits import HANG
from PIL import Image
from wsss.platform.errors import InputError
from wsss.platform.trackers import opening, wandb_tracker
from wsss.platform.trackers.mlflow_tracker import MLflowTracker
from wsss.platform.trackers.tensorboard_tracker import TensorBoardTracker
from wsss.platform.trackers.tracker import TrackedRun, Tracker
from wsss.platform.trackers.wandb_tracker import WandbTracker

FIELDS = {"lpcam.tau": 0.5, "training.epochs": 4, "refine.kind": "irn", "views.scales": [1.0, 0.5]}
FIELD_TEXTS = {name: v if isinstance(v, str) else json.dumps(v) for name, v in FIELDS.items()}
TAGS = {"dataset": "scenes", "command": "wsss sweep lpcam", "kind": "sweep"}
RUN = TrackedRun(name="first", fields=FIELDS, tags=TAGS)
"""A sweep, which is a run that has trials."""
TRIAL = TrackedRun(name="first-0003", fields={"lpcam.tau": 0.25}, sweep="first")
LATER_TRIAL = TrackedRun(name="first-0004", fields={"lpcam.tau": 0.5}, sweep="first")
SCORES = {
    "scores/val/cam+sipe:irn/miou": 0.75,
    "scores/val/lpcam/miou": 0.5,
    "scores/val/lpcam/irn/miou": 0.625,
}
CLASSES = ("background", "disc", "target")
COUNTS = ((90, 10, 0), (5, 5, 0), (0, 0, 0))
PICTURE = Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3))


@dataclass
class Kept:
    """What a tracker kept of one run, as its library reads it.

    Attributes:
        fields: values of the fields as texts.
        numbers: steps and values by name.
        tables: cells as texts by name of the table, titles first.
        pictures: sizes of pictures by name.
        ending: how the run ended; `done` or another word.
    """

    fields: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    ending: str = ""


def kept_by_tensorboard(folder: Path, run: TrackedRun) -> Kept:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    name = f"sweeps/{run.name.replace('-', '/')}"
    events = EventAccumulator(str(folder / "tensorboard" / name)).Reload()
    out = Kept()
    for tag in events.Tags()["scalars"]:
        out.numbers[tag] = [(e.step, pytest.approx(e.value)) for e in events.Scalars(tag)]
    for tag in events.Tags()["tensors"]:
        (text,) = tensor_util.make_ndarray(events.Tensors(tag)[-1].tensor_proto).ravel()
        lines = [line[2:-2].split(" | ") for line in text.decode().splitlines()]
        out.tables[tag.removesuffix("/text_summary")] = [lines[0], *lines[2:]]
        if tag.startswith("ending"):
            out.ending = text.decode()
    for tag in events.Tags()["images"]:
        (image,) = events.Images(tag)
        out.pictures[tag] = Image.open(io.BytesIO(image.encoded_image_string)).size
    out.fields = {k: v for k, v in out.tables["fields"][1:] if k in FIELDS}
    sessions = events.PluginTagToContent("hparams")
    assert "_hparams_/session_start_info" in sessions
    return out


def kept_by_mlflow(folder: Path, tracked: TrackedRun) -> Kept:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("wsss")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    run = runs[tracked.name]
    out, number = Kept(), run.info.run_id
    out.fields = dict(run.data.params)
    for key in run.data.metrics:
        out.numbers[key] = [(m.step, m.value) for m in client.get_metric_history(number, key)]
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    for path in folder.rglob("*.csv"):
        key = path.relative_to(folder).with_suffix("").as_posix()
        out.tables[key] = [*csv.reader(path.read_text().splitlines())]
    for path in folder.rglob("*.png"):
        key = path.relative_to(folder).with_suffix("").as_posix()
        out.pictures[key] = Image.open(path).size
    out.ending = "done" if run.info.status == "FINISHED" else run.info.status
    parent = run.data.tags.get("mlflow.parentRunId")
    assert parent == (runs[tracked.sweep].info.run_id if tracked.sweep else None)
    return out


def wandb_records(file: Path) -> Iterator[Any]:
    """Yield the records of a file of W&B, which is a log of LevelDB of messages of protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, message = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the end of a block
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if at + 7 + length > len(data):  # this part is still being written
            return
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""


def finished_records(file: Path) -> list[Any]:
    """Return all records of a file, which W&B's process may still write after the run's end."""
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        records = [*wandb_records(file)]
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.05)
    raise TimeoutError(f"{file} has no record of the run's end")


def kept_by_wandb(folder: Path, tracked: TrackedRun) -> Kept:
    for file in (folder / "wandb").glob("offline-run-*/*.wandb"):
        records = finished_records(file)
        run = next(r.run for r in records if r.HasField("run"))
        if run.display_name == tracked.name:
            break
    assert (run.project, run.run_group) == ("wsss", tracked.sweep)
    values = {item.key: json.loads(item.value_json) for item in run.config.update}
    out = Kept()
    out.fields = {
        name: v if isinstance(v, str) else json.dumps(v)
        for name, v in values.items()
        if name in FIELDS
    }
    for record in records:
        if record.HasField("history"):
            row = {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                for item in record.history.item
            }
            _add_history(out, row, file.parent / "files")
        if record.HasField("exit"):
            out.ending = "done" if record.exit.exit_code == 0 else "failed"
    return out


def _add_history(out: Kept, row: dict[str, Any], files: Path) -> None:
    """Add one row of a history, in which tables and pictures are several entries each."""
    for name in [key.removesuffix("/_type") for key in row if key.endswith("/_type")]:
        about = {key: row.pop(key) for key in [*row] if key.startswith(f"{name}/")}
        if about[f"{name}/_type"] == "table-file":
            table = json.loads((files / about[f"{name}/path"]).read_text())
            cells = [["" if c is None else str(c) for c in line] for line in table["data"]]
            out.tables[name] = [table["columns"], *cells]
        else:
            out.pictures[name] = (about[f"{name}/width"], about[f"{name}/height"])
    for key, value in row.items():
        if not key.startswith("_") and not key.endswith("/step"):
            step = row.get(f"{key.split('/')[0]}/step", 0)
            out.numbers.setdefault(key, []).append((step, value))


READERS: dict[type[Tracker], Callable[[Path, TrackedRun], Kept]] = {
    TensorBoardTracker: kept_by_tensorboard,
    MLflowTracker: kept_by_mlflow,
    WandbTracker: kept_by_wandb,
}


@pytest.fixture(params=opening.KINDS, ids=lambda kind: kind.kind)
def tracker(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tracker]:
    """Yield a tracker that keeps everything below a temporary folder, without a network."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    kind: type[Tracker] = request.param
    yield kind(tmp_path)
    if kind is WandbTracker:
        import wandb

        wandb.teardown()  # or its service keeps to the folder of this test


def test_a_tracker_keeps_a_run_and_a_trial_of_it(tracker: Tracker, tmp_path: Path) -> None:
    tracker.check()
    tracker.start(RUN)
    tracker.scalars(
        [(step, {"network/loss": 2.0 - step / 8, "network/lr": 0.5}) for step in (0, 1)]
    )
    trial = type(tracker)(tracker.folder)
    trial.start(TRIAL, tracker)
    trial.scalars([(0, {"miou": 0.25})])
    trial.end("failed")
    tracker.scalars([(2, {"network/loss": 0.5, "network/lr": 0.25})])
    tracker.scalars([(0, {"miou": 0.5, **SCORES})])
    tracker.table("scores", [{"result": "lpcam|irn", "mIoU": 0.5, "boundary": None}])
    tracker.confusion("confusion/val/lpcam", CLASSES, COUNTS)
    tracker.image("images", PICTURE)
    tracker.end("done")

    read = READERS[type(tracker)]
    kept = read(tmp_path, RUN)
    assert kept.fields == FIELD_TEXTS
    assert kept.numbers["network/loss"] == [(0, 2.0), (1, 1.875), (2, 0.5)]
    assert kept.numbers["network/lr"][-1] == (2, 0.25)
    assert kept.numbers["miou"] == [(0, 0.5)]
    first, *others = sorted(name for name in kept.numbers if name.startswith("scores/"))
    assert re.fullmatch(r"scores/val/cam[+_]sipe[:_]irn/miou", first)
    assert others == ["scores/val/lpcam/irn/miou", "scores/val/lpcam/miou"]
    titles, cells = kept.tables["scores"]
    assert titles == ["result", "mIoU", "boundary"]
    assert cells[0].replace("\\", "") == "lpcam|irn"
    assert cells[1:] == ["0.5", ""]
    assert kept.tables["confusion/val/lpcam"][:2] == [
        ["target \\ prediction", *CLASSES],
        ["background", "90", "10", "0"],
    ]
    assert kept.pictures["images"] == PICTURE.size
    assert kept.pictures["confusion/val/lpcam/picture"][0] > 3 * 26
    assert kept.ending == "done"
    of_trial = read(tmp_path, TRIAL)
    assert of_trial.fields == {"lpcam.tau": "0.25"}
    assert of_trial.numbers == {"miou": [(0, 0.25)]}
    assert of_trial.ending != "done"


def keep(tracker: Tracker, run: TrackedRun, sweep: Tracker | None = None) -> Tracker:
    """Send a whole run with one number, and return its tracker."""
    tracker.start(run, sweep)
    tracker.scalars([(0, {"miou": 0.25})])
    tracker.end("done")
    return tracker


def test_a_resumed_sweep_keeps_the_trials_that_were_sent_before(
    tracker: Tracker, tmp_path: Path
) -> None:
    def new() -> Tracker:
        return type(tracker)(tracker.folder)

    sweep = keep(tracker, RUN)
    keep(new(), TRIAL, sweep)
    resumed = new()
    resumed.run_id = sweep.run_id
    keep(new(), LATER_TRIAL, keep(resumed, RUN))
    assert sweep.run_id
    for trial in (TRIAL, LATER_TRIAL):
        kept = READERS[type(tracker)](tmp_path, trial)
        assert kept.fields == {"lpcam.tau": str(trial.fields["lpcam.tau"])}
        assert kept.numbers == {"miou": [(0, 0.25)]}


def test_a_resumed_sweep_goes_on_with_its_run_of_wandb_where_there_is_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def init(**options: Any) -> SimpleNamespace:
        given.update(options)
        return SimpleNamespace(id="of-w-and-b")

    library = SimpleNamespace(init=init, Settings=dict)
    monkeypatch.setattr(wandb_tracker, "_library", lambda: library)
    for mode, expected in (("online", ("known", "allow")), ("offline", (None, None))):
        monkeypatch.setenv("WANDB_MODE", mode)
        sweep = WandbTracker(tmp_path)
        sweep.run_id = "known"
        sweep.start(RUN)
        assert (given["id"], given["resume"]) == expected
        assert sweep.run_id == "of-w-and-b"


@pytest.mark.parametrize("name", ["first", "sweeps"])
def test_tensorboard_keeps_a_sweep_beside_any_run(tmp_path: Path, name: str) -> None:
    def folders() -> list[str]:
        """Return the folder of each file of events."""
        root = tmp_path / "tensorboard"
        return sorted(p.parent.relative_to(root).as_posix() for p in root.rglob("*.tfevents.*"))

    run = TrackedRun(name=name, fields=FIELDS, tags={**TAGS, "kind": "run"})
    keep(TensorBoardTracker(tmp_path), TRIAL, keep(TensorBoardTracker(tmp_path), RUN))
    for _ in range(2):  # the second run takes the place of the first
        keep(TensorBoardTracker(tmp_path), run)
    assert folders() == [name, "sweeps/first", "sweeps/first/0003"]
    keep(TensorBoardTracker(tmp_path), RUN)
    assert folders() == [name, "sweeps/first"]


@pytest.mark.parametrize("tracker", [MLflowTracker], indirect=True)
def test_a_deleted_experiment_of_mlflow_is_refused(tracker: Tracker) -> None:
    from mlflow import MlflowClient

    tracker.check()
    client = MlflowClient()
    number = client.create_experiment("wsss")
    client.delete_experiment(number)
    with pytest.raises(InputError) as caught:
        tracker.check()
    assert str(caught.value) == (
        f"MLflow at {tracker.address} cannot be used: the experiment was deleted; run mlflow "
        f"experiments restore -x {number}, or name another experiment with MLFLOW_EXPERIMENT_NAME"
    )


@pytest.mark.parametrize("tracker", [MLflowTracker], indirect=True)
def test_an_experiment_of_mlflow_that_another_command_creates_meanwhile_is_used(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    create = MlflowClient.create_experiment

    def create_second(client: Any, name: str) -> Any:
        create(client, name)
        return create(client, name)

    monkeypatch.setattr(MlflowClient, "create_experiment", create_second)
    keep(tracker, RUN)
    assert kept_by_mlflow(tmp_path, RUN).ending == "done"
