"""Runs in files of TensorBoard, in the folder `tensorboard` of the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..storage import filesystem
from .tracker import OBJECTIVE, Ending, Row, TrackedRun, Tracker


class TensorBoardTracker(Tracker):
    """A run in the folder of its name, or a sweep in `sweeps/NAME`, with a folder for each trial.

    A run that is carried out anew takes the place of an earlier one of its name. So does a sweep,
    with all its trials, unless it goes on with the earlier one.
    """

    kind = "tensorboard"
    package = "tensorboard"
    writer: Any = None

    @property
    def address(self) -> str:
        return str(self.folder / self.kind)

    def check(self) -> None:
        filesystem.check_writable(Path(self.address))

    def start(self, run: TrackedRun, sweep: Tracker | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        goes_on, self.run_id = bool(self.run_id), _folder(run)
        path = Path(self.address, self.run_id)
        if not goes_on:
            _remove(path, with_folders=run.is_sweep)
        self.writer = SummaryWriter(str(path))
        if goes_on:  # the fields are there
            return
        values = {name: _hyperparameter(value) for name, value in run.fields.items()}
        summaries = hparams(values, {OBJECTIVE: None})  # type: ignore[no-untyped-call]
        for summary in summaries:
            self.writer.file_writer.add_summary(summary)
        facts = {**values, **run.tags}
        self.table("fields", [{"field": name, "value": text} for name, text in facts.items()])

    def scalars(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for step, values in rows:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def table(self, name: str, rows: Sequence[Row]) -> None:
        titles = [*rows[0]]
        lines = [titles, ["---"] * len(titles), *([_cell(row[t]) for t in titles] for row in rows)]
        self.writer.add_text(name, "\n".join(f"| {' | '.join(line)} |" for line in lines))

    def image(self, name: str, picture: Image.Image) -> None:
        self.writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def end(self, ending: Ending) -> None:
        self.writer.add_text("ending", ending)
        self.writer.close()


def _folder(run: TrackedRun) -> str:
    """Return the name of the folder of a run, below that of all runs."""
    if run.sweep:
        number = run.name.removeprefix(f"{run.sweep}-")
        return f"sweeps/{run.sweep}/{number}"
    return f"sweeps/{run.name}" if run.is_sweep else run.name


def _remove(folder: Path, with_folders: bool) -> None:
    """Remove an earlier run from its folder.

    Args:
        folder: the folder, which need not exist.
        with_folders: whether to remove the folders in it, too, which are the trials of a sweep;
            in the folder of a run named `sweeps` they are the sweeps.
    """
    if with_folders:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for file in folder.glob("*.tfevents.*"):
        file.unlink(missing_ok=True)


def _hyperparameter(value: object) -> bool | int | float | str:
    """Return a value as TensorBoard's hyperparameters hold it."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _cell(value: object) -> str:
    """Return the text of a cell of a table in Markdown."""
    return "" if value is None else str(value).replace("|", "\\|")
