"""What the stages of an experiment see: while they are planned, and while they are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.experiment import Experiment, Network, Training, Views
from ..data import registry
from ..data.formats import shards as formats_shards
from ..data.formats.shards import Slice, read
from ..interop import imports
from ..interop.imports import Import
from ..method import Learner
from ..metrics import OWN_BACKGROUND
from ..ray_runtime import cluster
from ..records.progress import Silent
from ..records.schema import FIXED, OWN, Score, StageRecord
from ..storage.artifact import Artifact, Stage
from ..storage.store import Store


class Catalog:
    """What a plan needs to know beside the experiment: data sets, imports, the kind of machine.

    Each is looked up once; a command makes one catalog, so all that it plans sees the same store.

    Args:
        store: holds data sets and imports.
        gpu: whether networks are trained on a GPU.
    """

    def __init__(self, store: Store, gpu: bool) -> None:
        self.store, self.gpu = store, gpu
        self._datasets: dict[str, Artifact] = {}
        self._imports: dict[str, Import] = {}
        self._slices: dict[tuple[str, str], Sequence[Slice]] = {}
        self._answers: dict[tuple[str, str, str], bool] = {}

    @classmethod
    def of(cls, store: Store) -> Catalog:
        """The catalog of a store, on the machine or the cluster that computes here."""

        return cls(store, cluster.trains_on_gpu())

    def dataset(self, name: str) -> Artifact:
        """The verified shards of a data set; raises InputError as `registry.open_dataset` does."""
        if name not in self._datasets:
            self._datasets[name] = registry.open_dataset(self.store, name)
        return self._datasets[name]

    def imported(self, name: str) -> Import:
        """What was imported under a name; raises InputError as `imports.find` does."""
        if name not in self._imports:
            self._imports[name] = imports.find(self.store, name)
        return self._imports[name]

    def slices(self, artifact: Artifact, split: str) -> Sequence[Slice]:
        """The images of a split of a data set."""
        key = (artifact.key, split)
        if key not in self._slices:
            self._slices[key] = formats_shards.slices(artifact, split)
        return self._slices[key]

    def has_masks(self, artifact: Artifact, split: str) -> bool:
        """Whether a split has true masks; its first image says so."""
        return self._once(artifact, split, "mask", self._first_has_mask)

    def has_labels(self, artifact: Artifact, split: str) -> bool:
        """Whether any image of a split has an image label."""
        return self._once(artifact, split, "labels", self._any_has_label)

    def _once(
        self, artifact: Artifact, split: str, column: str, ask: Callable[[Sequence[Slice]], bool]
    ) -> bool:
        """The answer about a column of a split, which is read once."""
        key = (artifact.key, split, column)
        if key not in self._answers:
            self._answers[key] = ask(self.slices(artifact, split))
        return self._answers[key]

    def _first_has_mask(self, pieces: Sequence[Slice]) -> bool:
        return read(pieces[0], ("mask",))[0]["mask"] is not None

    def _any_has_label(self, pieces: Sequence[Slice]) -> bool:
        return any(row["labels"] for piece in pieces for row in read(piece, ("labels",)))


@dataclass(frozen=True)
class Context:
    """What the stages of one experiment share when they are planned; its data set is known."""

    experiment: Experiment
    catalog: Catalog

    @cached_property
    def shards(self) -> Artifact:
        """The data set."""
        return self.catalog.dataset(self.experiment.data)

    @property
    def classes(self) -> list[str]:
        """Foreground classes."""
        names: list[str] = self.shards.about["classes"]
        return names

    @property
    def scored(self) -> list[int]:
        """The classes that means run over, as indices, background 0."""
        chosen = self.experiment.scoring.classes
        names = ["background", *self.classes]
        return [k for k, n in enumerate(names) if not chosen or n in ("background", *chosen)]

    @property
    def precision(self) -> dict[str, str]:
        """The precision of inference, as it enters the key of what comes of it."""
        return {"precision": self.experiment.views.precision}

    def pieces(self, split: str) -> Sequence[Slice]:
        """The images of a split."""
        return self.catalog.slices(self.shards, split)

    def views(self) -> Views:
        """How inference actors look at images, and how many there are; Ray has started."""

        views = self.experiment.views
        return dataclasses.replace(views, actors=views.actors or cluster.gpus() or cluster.cores())


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What a stage trains.

    Attributes:
        learner: the losses.
        network: backbone and weights.
        training: the schedule.
        split: the images that are learnt.
        planes: labels or superpixels beside the images, if there are any.
        probabilities: of a segmenter beside the images, if there are any.
        field: where the experiment keeps the training's options, for messages.
        until: epochs after which the training stops early; None: all.
        home: folder that keeps the checkpoints; None: the stage's own.
    """

    learner: Learner
    network: Network
    training: Training
    split: str
    planes: Stage | None = None
    probabilities: Stage | None = None
    field: str = "training"
    until: int | None = None
    home: Path | None = None


@dataclass
class Runtime:
    """Where stages are computed: a store, who watches, and the artifacts of this run by key."""

    store: Store
    progress: Silent = field(default_factory=Silent)
    done: dict[str, tuple[Artifact, StageRecord]] = field(default_factory=dict)

    def artifact(self, stage: Stage) -> Artifact:
        """The artifact of a stage that was computed before."""
        if stage.key in self.done:
            return self.done[stage.key][0]
        return self.store.open(stage.name, stage.key)

    def home(self, stage: Stage) -> Path:
        """Where the training of a stage keeps its checkpoints; its losses are beside it."""
        return self.store.root / "training" / stage.key[:32]

    def count(self, done: int, total: int) -> None:
        """Shows progress without a text."""
        self.progress.update("", done, total)

    def train(
        self, context: Context, folder: Path, stage: Stage, task: TrainingTask
    ) -> dict[str, Any]:
        """Train a network and leave it in a folder.

        Args:
            context: of the experiment.
            folder: empty; takes the network and its metrics.
            stage: the stage that the training belongs to.
            task: what is trained on what.

        Returns:
            What the manifest says about the training.
        """
        from ..stages.training import checkpoints, ray_train
        from ..stages.training.trainer import Job, build

        home = task.home or self.home(stage)
        if fault := checkpoints.fault(home):
            self.progress.note(f"{fault}; it begins again")
            self.store.quarantine(home, fault)
            checkpoints.forget(home)
        beside = {"planes": task.planes, "probabilities": task.probabilities}
        job = Job(
            learner=task.learner,
            network=task.network,
            training=task.training,
            classes=len(context.classes),
            slices=tuple(context.pieces(task.split)),
            seed=context.experiment.seed,
            metrics=str(home.with_suffix(".jsonl")),
            field=task.field,
            until=task.until,
            **{name: str(self.artifact(s).folder) for name, s in beside.items() if s},
        )
        build(job.network, job.learner, job.classes, job.seed)
        cluster.connect()
        return ray_train.fit(folder, job, home, self.progress.update)

    def read_score(
        self,
        context: Context,
        stage: Stage,
        split: str,
        threshold: float | None = None,
        chosen: str = "",
    ) -> Score:
        """The scores of a split; without a threshold, at the best."""
        from ..stages.labels.scoring import read_score

        return read_score(
            self.artifact(stage),
            split=split,
            classes=["background", *context.classes],
            scored=context.scored,
            threshold=threshold,
            threshold_from=chosen,
        )

    def read_scores(
        self, context: Context, stages: Mapping[str, Stage], own: bool, fixed: float | None
    ) -> dict[str, Score]:
        """The scores by split. The threshold is chosen on the first one, unless it is fixed, or
        `own`: then class maps bring a background, or labels were cut before, and none is chosen."""
        threshold, chosen = (None, "") if fixed is None else (fixed, FIXED)
        if own:
            threshold, chosen = OWN_BACKGROUND, OWN
        out = {}
        for split, stage in stages.items():
            out[split] = self.read_score(context, stage, split, threshold, chosen)
            threshold, chosen = out[split].threshold, chosen or split
        return out


Compute = Callable[[Runtime, Path], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A stage and how to compute it; `trains` where that leaves checkpoints."""

    stage: Stage
    compute: Compute
    trains: bool = False
