"""The context that stages share while they are planned, and the runtime while they run."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from ..config.experiment import Experiment, Views
from ..config.slices.network import Network
from ..config.slices.training import Training
from ..data import registry
from ..data.formats import shards as formats_shards
from ..data.formats.shards import Slice, read
from ..errors import InputError
from ..interop import imports
from ..interop.imports import Import
from ..method import Learner
from ..metrics import OWN_BACKGROUND
from ..ray_runtime import cluster, gpus
from ..records.progress import ProgressDisplay
from ..records.schema import FROM_FIXED_VALUE, FROM_OWN_BACKGROUND, Score, StageRecord
from ..storage.artifact import Artifact, Stage
from ..storage.artifact_files import ArtifactFolder
from ..storage.storage import Location
from ..storage.store import Store


class Catalog:
    """The data sets, the imports and the kind of machine that plans depend on.

    Each data set and import is looked up once. A command makes one catalog, so that all its plans
    see the same store.

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


def mask_counts(artifact: Artifact, split: str) -> tuple[int, int] | None:
    """Return the numbers of images and of masks of a split, where the check of the shards has them.

    Shards of version 0.2.0 or before have no check.
    """
    counts = artifact.about.get("check", {}).get("splits", {}).get(split)
    return (counts["images"], counts["masked"]) if counts else None


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
            InputError: some images of a split have masks, and others have none.
        """
        data, scored = self.experiment.data, []
        for split in self.experiment.scoring.splits:
            images, masked = mask_counts(self.shards, split) or (1, 1)
            if 0 < masked < images:
                raise InputError(
                    f"{images - masked} images of split {split!r} of data set {data!r} have no "
                    "mask, so the split cannot be scored; add their masks, or name other splits in "
                    "scoring.splits"
                )
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
        return {"precision": self.experiment.views.precision, **self.image_limit}

    def check_names(self, field_of: Mapping[str, str]) -> None:
        """Check that the data set has the splits and classes that the experiment names.

        Args:
            field_of: for each split the field that names it.

        Raises:
            InputError: the data set lacks a split or class.
        """
        name, known = self.experiment.data, self.shards.about["splits"]
        for split, field_name in field_of.items():
            if split not in known:
                several = field_name != "scoring.splits" or len(self.experiment.scoring.splits) > 1
                first = next(iter(known))
                value = f'("{first}",)' if field_name.endswith("splits") else first
                example = f", for example --set {shlex.quote(f'{field_name}={value}')}"
                raise InputError(
                    f"{field_name} names {split!r}; data set {name!r} has {', '.join(known)}; name "
                    f"one of them{example if several else ''}"
                )
        for word in self.experiment.scoring.classes:
            if word not in ("background", *self.classes):
                raise InputError(
                    f"scoring.classes names {word!r}; data set {name!r} has "
                    f"{', '.join(self.classes)}; name some of them"
                )

    def check_masks_to_learn(self, split: str) -> None:
        """Check that a segmenter can learn the true masks of a split.

        Raises:
            InputError: the experiment has no segmenter, or the split no mask.
        """
        e, counts = self.experiment, mask_counts(self.shards, split)
        if not e.segment.network:
            raise InputError("refine.kind 'masks' is for a segmenter; name one in segment.network")
        if counts and not counts[1]:
            raise InputError(
                f"refine.kind 'masks' learns true masks, but no image of split {split!r} of data "
                f"set {e.data!r} has one; set refine.kind to crf, irn, par or segments"
            )

    def pieces(self, split: str) -> Sequence[Slice]:
        """Return the images of a split."""
        return self.catalog.slices(self.shards, split)

    def views(self) -> Views:
        """Return the options of inference, with the number of actors set; Ray must have started."""
        views = self.experiment.views
        actors = views.actors or gpus.gpu_actors(views.image_bytes) or cluster.cores()
        return dataclasses.replace(views, actors=actors)


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
    """The surroundings of a computation: store, progress display and the run's artifacts by key."""

    store: Store
    progress: ProgressDisplay = field(default_factory=ProgressDisplay)
    done: dict[str, tuple[Artifact, StageRecord]] = field(default_factory=dict)

    def artifact(self, stage: Stage) -> Artifact:
        """Return the artifact of a stage that was computed before."""
        if stage.key in self.done:
            return self.done[stage.key][0]
        return self.store.open(stage.name, stage.key)

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
        from ..stages.training.trainer import Job, build

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
        notes: list[str] = []
        # Wrong weights raise here, before workers start.
        build(job.network, job.learner, job.classes, job.seed, notes.append)
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
    """A stage and the function that computes it; `trains` says whether this leaves checkpoints."""

    stage: Stage
    compute: Compute
    trains: bool = False
