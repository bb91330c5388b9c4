"""Runs in Weights & Biases, of the project `WANDB_PROJECT` or `wsss`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ..errors import InputError
from .tracker import Ending, Row, TrackedRun, Tracker

OFFLINE = ("offline", "dryrun", "disabled")
"""Values of `WANDB_MODE` with which no server is asked."""
SETTINGS = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "WANDB__SERVICE_WAIT": "120",
}
"""Environment variables of W&B that are set unless the user has set them: no reports of errors, no
lines on the terminal, and up to two minutes for W&B's process to start on a busy machine."""


class WandbTracker(Tracker):
    """A run of its own; the trials of a sweep are runs of one group."""

    kind = "wandb"
    package = "wandb"
    run: Any = None

    @property
    def project(self) -> str:
        """The name of the project that takes the runs."""
        return os.environ.get("WANDB_PROJECT") or "wsss"

    @property
    def address(self) -> str:
        mode = os.environ.get("WANDB_MODE", "")
        return f"{mode if mode in OFFLINE else 'online'}, project {self.project}"

    def check(self) -> None:
        wandb = _library()
        if os.environ.get("WANDB_MODE", "") in OFFLINE:
            return
        try:
            allowed = wandb.login(prompt=False)
            reason = "there is no key of it"
        except wandb.Error as error:
            allowed, reason = False, str(error).strip().partition("\n")[0]
        if not allowed:
            raise InputError(
                f"Weights & Biases cannot be used: {reason}; run wandb login or set WANDB_API_KEY, "
                "or set WANDB_MODE=offline and send the runs later with wandb sync"
            )

    def start(self, run: TrackedRun, sweep: Tracker | None = None) -> None:
        wandb = _library()
        offline = os.environ.get("WANDB_MODE", "") in OFFLINE
        known = "" if offline else self.run_id  # W&B goes on with no run that is offline
        self.run = wandb.init(
            project=self.project,
            name=run.name,
            group=run.sweep or None,
            config={**run.fields, **{f"about.{name}": text for name, text in run.tags.items()}},
            notes=run.tags.get("command"),
            id=known or None,
            resume="allow" if known else None,
            reinit="create_new",
            settings=wandb.Settings(console="off"),
        )
        self.run_id = self.run.id
        self.groups: set[str] = set()

    def scalars(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for step, values in rows:
            steps: dict[str, int] = {}
            for name in values:
                group, slash, _ = name.partition("/")
                if slash and group not in self.groups:
                    self.run.define_metric(f"{group}/*", step_metric=f"{group}/step")
                    self.groups.add(group)
                if slash:
                    steps[f"{group}/step"] = step
            self.run.log({**values, **steps})

    def table(self, name: str, rows: Sequence[Row]) -> None:
        wandb = _library()
        titles = [*rows[0]]
        data = [[row[title] for title in titles] for row in rows]
        self.run.log({name: wandb.Table(columns=titles, data=data, allow_mixed_types=True)})

    def image(self, name: str, picture: Image.Image) -> None:
        wandb = _library()
        self.run.log({name: wandb.Image(picture)})

    def end(self, ending: Ending) -> None:
        self.run.finish(exit_code=0 if ending == "done" else 1)


def _library() -> Any:
    """Return the module `wandb`, imported after its settings."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import wandb

    return wandb
