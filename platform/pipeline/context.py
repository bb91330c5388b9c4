"""The context that stages share while they are planned, and the runtime while they run."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeAlias

from ..config.experiment import Experiment, Views
from ..config.groups.network import Network
from ..config.groups.training import Training
from ..data import registry
from ..data.formats import shards as formats_shards
from ..data.formats.shards import Slice, read
from ..interop import imports
from ..interop.imports import Import
from ..method import Learner
from ..metrics import OWN_BACKGROUND
from ..ray_runtime import cluster, gpus
from ..records.progress import ProgressDisplay
from ..records.schema import FROM_FIXED_VALUE, FROM_OWN_BACKGROUND, Score, StageRecord
from ..storage.artifact import Artifact, Stage
from ..storage.artifact_files import ArtifactFile, ArtifactFolder
from ..storage.storage import Location
from ..storage.store import Store
from .checks.splits import check_masks, largest_pixels, mask_counts
from .checks.trainings import check_files

VIEW_BYTES = 1024
"""Memory in bytes that a pixel of the largest view of an image takes, as for a ResNet."""
PlanKey: TypeAlias = tuple[str, tuple[tuple[int, int] | None, ...]]
"""An experiment as text, and the states of its files (`fields.file_states`)."""


class Catalog:
    """The data sets, the imports and the kind of machine that plans depend on.

    Each data set and import is looked up once, and each experiment is planned once. A command makes
    one catalog, so that all its plans see the same store.

    Args:
        store: store of the data sets and imports.
        gpu: whether networks are trained on a GPU.
    """

    def __init__(self, store: Store, gpu: bool) -> None:
        self.store, self.gpu = store, gpu
        self._datasets: dict[str, Artifact] = {}
        self._imports: dict[str, Import] = {}
        self._slices: dict[tuple[str, str], Sequence[Slice]] = {}
        self._answers: dict[tuple[str, str, str], bool] = {}
        self._ids: dict[tuple[str, str], Sequence[str]] = {}
        self.plans: dict[PlanKey, Any] = {}
        """The plans of `planner.plan`, the most recently used one last."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process has: everything but the plans."""
        return {**vars(self), "plans": {}}

    @classmethod
    def of(cls, store: Store) -> Catalog:
        """Return the catalog of a store for the machine or cluster in use."""
        return cls(store, cluster.trains_on_gpu())

    def dataset(self, name: str) -> Artifact:
        """Return the verified shards of a data set; errors are as for `registry.open_dataset`."""
        if name not in self._datasets:
            self._datasets[name] = registry.open_dataset(self.store, name)
        return self._datasets[name]

    def imported(self, name: str) -> Import:
        """Return the import of a name; errors are as for `imports.find`."""
        if name not in self._imports:
            self._imports[name] = imports.find(self.store, name)
        return self._imports[name]

    def slices(self, artifact: Artifact, split: str) -> Sequence[Slice]:
        """Return the images of a split of a data set."""
        key = (artifact.key, split)
        if key not in self._slices:
            self._slices[key] = formats_shards.slices(artifact, split)
        return self._slices[key]

    def brings_probabilities(self, name: str) -> bool:
        """Return whether a name is that of an import of a segmenter's probabilities."""
        return bool(name) and self.imported(name).probabilities

    def ids(self, artifact: Artifact, split: str) -> Sequence[str]:
        """Return the ids of the images of a split."""
        key = (artifact.key, split)
        if key not in self._ids:
            pieces = self.slices(artifact, split)
            self._ids[key] = [row["id"] for piece in pieces for row in read(piece, ("id",))]
        return self._ids[key]

    def has_masks(self, artifact: Artifact, split: str) -> bool:
        """Return whether a split has true masks, by the check of the shards or its first image."""
        if counts := mask_counts(artifact, split):
            return counts[1] > 0
        return self._has_value(artifact, split, "mask", 1)

    def has_parts(self, artifact: Artifact, split: str) -> bool:
        """Return whether any image of a split marks the parts of objects."""
        return self._has_value(artifact, split, "parts", None)

    def has_labels(self, artifact: Artifact, split: str) -> bool:
        """Return whether any image of a split has an image label."""
        return self._has_value(artifact, split, "labels", None)

    def _has_value(self, artifact: Artifact, split: str, column: str, count: int | None) -> bool:
        """Return whether one of the first `count` images has a value in a column, read once."""
        key = (artifact.key, split, column)
        if key not in self._answers:
            pieces = self.slices(artifact, split)
            rows = (row for piece in pieces for row in read(piece, (column,)))
            self._answers[key] = any(row[column] for row in itertools.islice(rows, count))
        return self._answers[key]


@dataclass(frozen=True)
class Context:
    """The experiment and the catalog that its stages share when they are planned."""

    experiment: Experiment
    catalog: Catalog

    @cached_property
    def shards(self) -> Artifact:
        """The shards of the data set."""
        return self.catalog.dataset(self.experiment.data)

    @property
    def classes(self) -> list[str]:
        """The names of the foreground classes."""
        names: list[str] = self.shards.about["classes"]
        return names

    @property
    def scored(self) -> list[int]:
        """The indices of the classes that mean scores run over; the background has index 0."""
        chosen = self.experiment.scoring.classes
        names = ["background", *self.classes]
        return [k for k, n in enumerate(names) if not chosen or n in ("background", *chosen)]

    @cached_property
    def scored_splits(self) -> tuple[str, ...]:
        """The splits of `scoring.splits` that are scored, which are those with masks.

        Raises:
            InputError: some images of a split have masks, and others have none; or all pixels of
                the masks are void.
        """
        scored = []
        for split in self.experiment.scoring.splits:
            check_masks(self.experiment.data, self.shards, split, "scoring.splits")
            _, masked = mask_counts(self.shards, split) or (1, 1)
            scored += [split] if masked else []
        return tuple(scored)

    @property
    def unscored_splits(self) -> tuple[str, ...]:
        """The splits of `scoring.splits` that are not scored, because they have no masks."""
        scored = self.scored_splits
        return tuple(s for s in self.experiment.scoring.splits if s not in scored)

    @property
    def image_limit(self) -> dict[str, float]:
        """The memory limit of an image, which enters keys where it is not the default."""
        limit = self.experiment.views.image_gib
        return {} if limit == Views().image_gib else {"image_gib": limit}

    @property
    def crf_key(self) -> dict[str, Any]:
        """The memory limit of a DenseCRF, and backend and version of its lattice if torch's."""
        on_torch = self.experiment.refine.crf_backend == "torch"
        return {**self.image_limit, **({"backend": "torch", "lattice": 2} if on_torch else {})}

    @property
    def inference(self) -> dict[str, Any]:
        """The precision and the limit of inference, as they enter the keys of stages."""
        e = self.experiment
        branched = "repvit" in f"{e.network.backbone} {e.segment.backbone}"
        revision = {"folding": 2} if branched else {}  # 2: no convolution of several absorbs a norm
        return {"precision": e.views.precision, **self.image_limit, **revision}

    def pieces(self, split: str) -> Sequence[Slice]:
        """Return the images of a split."""
        return self.catalog.slices(self.shards, split)

    def views(self) -> Views:
        """Return the options of inference, with the number of actors set; Ray must have started."""
        views = self.experiment.views
        actors = views.actors or gpus.gpu_actors(views.image_bytes)
        cores = max(cluster.cores(), cluster.workers())
        actors = actors or cluster.fitting(cores, self.image_need)
        return dataclasses.replace(views, actors=actors)

    @property
    def image_need(self) -> int:
        """The memory in bytes that inference of the largest image takes; 0 if it is not known."""
        views = self.experiment.views
        pixels = int(largest_pixels(self.shards) * max(views.scales) ** 2)
        return min(views.image_bytes, VIEW_BYTES * pixels)


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """The description of one training.

    Attributes:
        learner: losses of the training.
        network: backbone and weights.
        training: schedule of the training.
        split: split of the images.
        planes: stage of the labels or superpixels that accompany the images; None without any.
        probabilities: stage of the segmenter's probabilities that accompany the images; None
            without any.
        field: name of the experiment's field that holds the schedule, for messages.
        until: epochs after which the training stops early; None to train to the end.
        home: folder of the checkpoints; None for `Runtime.home` of the stage.
        start: stage of the checkpoint to begin from; None to begin with a new network.
    """

    learner: Learner
    network: Network
    training: Training
    split: str
    planes: Stage | None = None
    probabilities: Stage | None = None
    field: str = "training"
    until: int | None = None
    home: Location | None = None
    start: Stage | None = None


@dataclass
class Runtime:
    """The surroundings of a computation.

    Attributes:
        store: store of the artifacts.
        progress: progress display.
        done: the run's artifacts and their records, by key.
        notes: how the weight files of trainings were read when they were checked, by key.
    """

    store: Store
    progress: ProgressDisplay = field(default_factory=ProgressDisplay)
    done: dict[str, tuple[Artifact, StageRecord]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def artifact(self, stage: Stage) -> Artifact:
        """Return the artifact of a stage that was computed before."""
        if stage.key in self.done:
            return self.done[stage.key][0]
        return self.store.open(stage.name, stage.key)

    def network_file(self, stage: Stage) -> ArtifactFile:
        """Return the weight file of a network that was trained before."""
        from ..stages.training.ray_train import NETWORK

        return self.artifact(stage).file(NETWORK)

    def home(self, stage: Stage) -> Location:
        """Return the folder of the checkpoints of a stage's training.

        The training's metrics are in a file with the same name and the suffix `.jsonl`.
        """
        return self.store.location("training", stage.key[:32])

    def count(self, done: int, total: int) -> None:
        """Show that `done` of `total` units are finished."""
        self.progress.update("", done, total)

    def train(
        self, context: Context, folder: ArtifactFolder, stage: Stage, task: TrainingTask
    ) -> dict[str, Any]:
        """Train a network and leave it in a folder.

        Args:
            context: context of the experiment.
            folder: empty folder for the network and its metrics.
            stage: stage that the training belongs to.
            task: description of the training.

        Returns:
            Notes on the training for the manifest.
        """
        from ..stages.training import ray_train
        from ..stages.training.trainer import Job

        home = task.home or self.home(stage)
        beside = {"planes": task.planes, "probabilities": task.probabilities, "start": task.start}
        job = Job(
            learner=task.learner,
            network=task.network,
            training=task.training,
            classes=len(context.classes),
            slices=tuple(context.pieces(task.split)),
            seed=context.experiment.seed,
            metrics=home.with_suffix(".jsonl"),
            field=task.field,
            until=task.until,
            **{name: self.artifact(s).folder for name, s in beside.items() if s},
        )
        notes = self.notes.get(stage.key)
        if notes is None:
            notes = check_files(job.network, job.learner, job.classes)
        for note in notes:
            self.progress.note(note)
        cluster.connect()
        discard = partial(self._discard_damaged, home)
        about = ray_train.fit(folder, job, home, self.progress, discard)
        return {**about, "weights": notes}

    def _discard_damaged(self, home: Location) -> None:
        """Move the checkpoints of a training to quarantine if they are damaged."""
        from ..stages.training import checkpoints

        if fault := checkpoints.fault(home):
            self.progress.note(f"{fault}; the training begins again")
            self.store.quarantine(home, fault)
            checkpoints.forget(home)

    def read_score(
        self,
        context: Context,
        stage: Stage,
        split: str,
        threshold: float | None = None,
        chosen: str = "",
    ) -> Score:
        """Return the scores of a split at a threshold; without one, at the best threshold.

        `chosen` becomes `Score.threshold_from`.
        """
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
        """Return the scores by split, with one threshold that is chosen on the first split.

        Args:
            context: context of the experiment.
            stages: stages of the scores, by split.
            own: whether the results are labels, or class maps with a background plane of their
                own, for which no threshold is chosen.
            fixed: threshold that the experiment gives; None to choose it.
        """
        threshold, chosen = (None, "") if fixed is None else (fixed, FROM_FIXED_VALUE)
        if own:
            threshold, chosen = OWN_BACKGROUND, FROM_OWN_BACKGROUND
        out = {}
        for split, stage in stages.items():
            out[split] = self.read_score(context, stage, split, threshold, chosen)
            threshold, chosen = out[split].threshold, chosen or split
        return out


Compute = Callable[[Runtime, ArtifactFolder], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A stage and the function that computes it.

    Attributes:
        stage: the stage.
        compute: the function.
        trains: whether the function leaves checkpoints.
        check: reads the files of a missing stage before any stage is computed, and returns how its
            weight file was read; None: it has none.
    """

    stage: Stage
    compute: Compute
    trains: bool = False
    check: Callable[[], list[str]] | None = None
