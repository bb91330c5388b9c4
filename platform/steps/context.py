"""What every stage of an experiment can see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import datasets, places
from ..experiment import Experiment, Network, Training, Views
from ..learner import Learner
from ..metrics import OWN_BACKGROUND
from ..progress import Silent
from ..runs import FIXED, OWN, Score, StageRecord
from ..store import Artefact, Stage, Store

Compute = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A stage and how to compute it; `home` keeps the checkpoints of one that trains."""

    stage: Stage
    compute: Compute
    home: Path | None = None

    def settle(self, cached: bool) -> None:
        """Removes the checkpoints of a training whose artefact is there, and not before."""
        if self.home and (not cached or places.exists(self.home)):
            from ..stages import checkpoints

            checkpoints.forget(self.home)


@dataclass
class Context:
    """An experiment on a store; `done` holds the artefacts of this run, by key."""

    store: Store
    experiment: Experiment
    shards: Artefact
    progress: Silent
    done: dict[str, tuple[Artefact, StageRecord]] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Foreground classes."""
        names: list[str] = self.shards.about["classes"]
        return names

    @property
    def scored(self) -> list[int]:
        """The classes that means run over, as indices, background 0."""
        wanted = self.experiment.scoring.classes
        names = ["background", *self.classes]
        return [k for k, n in enumerate(names) if not wanted or n in ("background", *wanted)]

    @property
    def actors(self) -> int:
        """Inference actors side by side; Ray has started."""
        from ..stages import cluster

        return self.experiment.views.actors or cluster.gpus() or cluster.cores()

    @property
    def views(self) -> Views:
        """How actors look at images; Ray has started."""
        return dataclasses.replace(self.experiment.views, actors=self.actors)

    @property
    def precision(self) -> dict[str, str]:
        """That of inference, as it enters the key of what comes of it."""
        wanted = self.experiment.views.precision
        return {} if wanted == "fp32" else {"precision": wanted}

    def artefact(self, stage: Stage) -> Artefact:
        """The artefact of a stage that was computed before."""
        if stage.key in self.done:
            return self.done[stage.key][0]
        return self.store.open(stage.name, stage.key)

    def pieces(self, split: str) -> Sequence[datasets.Slice]:
        """The images of a split."""
        return datasets.slices(self.shards, split)

    def home(self, stage: Stage) -> Path:
        """Where the training of a stage keeps its checkpoints; its losses are beside it."""
        return self.store.root / "training" / stage.key[:32]

    def train(
        self,
        folder: Path,
        stage: Stage,
        *,
        learner: Learner,
        network: Network,
        training: Training,
        split: str,
        planes: Stage | None,
        probabilities: Stage | None = None,
        field: str = "training",
        until: int | None = None,
        home: Path | None = None,
    ) -> dict[str, Any]:
        """Trains on a split, with the planes and probabilities of artefacts beside the images if
        there are any; `field` is where the experiment keeps the training's options. Stops
        `until` so many epochs, if that is given; its checkpoint stays in `home`, without one in
        the stage's."""
        from ..stages import checkpoints, cluster, train
        from ..stages.trainer import Job, build

        home = home or self.home(stage)
        if fault := checkpoints.fault(home):
            self.progress.note(f"{fault}; it begins again")
            self.store.quarantine(home, fault)
            checkpoints.forget(home)
        job = Job(
            learner=learner,
            network=network,
            training=training,
            classes=len(self.classes),
            slices=tuple(self.pieces(split)),
            seed=self.experiment.seed,
            metrics=str(home.with_suffix(".jsonl")),
            planes=str(self.artefact(planes).folder) if planes else "",
            probabilities=str(self.artefact(probabilities).folder) if probabilities else "",
            field=field,
            until=until,
        )
        build(job.network, job.learner, job.classes, job.seed)
        cluster.connect()
        return train.fit(folder, job, home, self.progress.update)

    def count(self, done: int, total: int) -> None:
        """Progress without a text."""
        self.progress.update("", done, total)

    def read_score(
        self, stage: Stage, split: str, threshold: float | None = None, chosen: str = ""
    ) -> Score:
        """The scores of a split; without a threshold, at the best."""
        from ..stages.score import read_score

        return read_score(
            self.artefact(stage),
            split=split,
            classes=["background", *self.classes],
            scored=self.scored,
            threshold=threshold,
            threshold_from=chosen,
        )

    def read_scores(
        self, stages: dict[str, Stage], own: bool, fixed: float | None
    ) -> dict[str, Score]:
        """By split. The threshold is chosen on the first one, unless it is fixed, or `own`: then
        class maps bring a background, or labels were cut before, and none is chosen."""
        threshold, chosen = (None, "") if fixed is None else (fixed, FIXED)
        if own:
            threshold, chosen = OWN_BACKGROUND, OWN
        out = {}
        for split, stage in stages.items():
            out[split] = self.read_score(stage, split, threshold, chosen)
            threshold, chosen = out[split].threshold, chosen or split
        return out
