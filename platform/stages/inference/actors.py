"""Inference of any trained network over shards, by a pool of Ray Data actors.

Each call of an actor takes one slice of the shards. Where there are very many slices, Ray Data
hands them out in blocks of several.
"""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...config.experiment import Views
from ...config.groups.network import Network
from ...data.formats import shards
from ...data.images import MAX_PIXELS, decode_image
from ...data.transforms import normalized, resized
from ...errors import InputError
from ...method import Learner
from ...models import weights
from ...models.network import Trainable
from ...ray_runtime import cluster, gpus, session
from ...ray_runtime.quirks.failed_data import actors_released
from ...ray_runtime.worker_errors import memory_advised, sendable, unwrapped
from ...records.reduced_images import SMALLER_VIEWS
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from ..training.trainer import build
from .folding import fused

MOST_BLOCKS, BLOCKS_PER_ACTOR = 1024, 8
"""Most blocks that Ray Data plans: the first number, or the second times the actors if larger. The
more blocks there are, the longer its scheduling takes for each."""
RESTARTS = 20
"""Number of times that an actor starts anew. Ray Data would try a slice that ends its process for
ever."""
THREADS = 4
"""Threads of an actor that decode and resize images."""
Columns = dict[str, NDArray[Any]]
"""A batch of Ray Data: columns by name."""
M = TypeVar("M", bound=Trainable)


def device(actors: int) -> torch.device:
    """Return the device that an actor computes on; on a CPU, give it its share of the cores.

    Args:
        actors: number of actors, by which the cores of a machine are divided. On several machines
            it is the number of all actors, so that the results are those of one machine.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(max(1, cluster.cores() // max(1, actors)))
    return torch.device("cpu")


def images_at_once(views: Views, device: torch.device) -> int:
    """Return how many images of one shape go through the network at once.

    On a CPU it is one, because the features of one image stay in the CPU's cache."""
    return views.batch_size if device.type == "cuda" else 1


def load(network: Network, learner: Learner, classes: int, file: ArtifactFile) -> Trainable:
    """Return a trained network in evaluation mode.

    Args:
        network: configuration of the network.
        learner: the learner that trained it.
        classes: N, the number of foreground classes.
        file: weight file of the network artifact.
    """
    unweighted = dataclasses.replace(network, weights=None, weights_key="", frozen_stages=0)
    trainable = build(unweighted, learner, classes, seed=0)
    trainable.load_state_dict(weights.read_torch_file(file.local()))
    return trainable.eval()


def view_size(height: int, width: int, scale: float, pixels: int) -> tuple[int, int]:
    """Return the height and width of a view of an image.

    Args:
        height, width: size of the image.
        scale: factor on height and width.
        pixels: most pixels of a view; a larger view is made smaller.
    """
    fitting = min(scale, math.sqrt(pixels / (height * width)))
    whole = round if fitting == scale else math.floor
    return max(1, whole(height * fitting)), max(1, whole(width * fitting))


def groups(
    rows: Sequence[dict[str, Any]], pool: Executor, size: int, pixels: int
) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
    """Yield groups of images of one shape, decoded ahead in threads.

    Args:
        rows: rows of a shard.
        pool: threads that decode.
        size: most images of a group.
        pixels: most pixels of a group of several images.

    Yields:
        The numbers of the images among `rows`, and the images as uint8 `[H,W,3]`.
    """
    images = _decoded_ahead(rows, pool, max(size, THREADS))
    by_shape: dict[tuple[int, ...], tuple[list[int], list[NDArray[np.uint8]]]] = {}
    for number, image in enumerate(images):
        numbers, group = by_shape.setdefault(image.shape, ([], []))
        numbers.append(number)
        group.append(image)
        if len(group) == max(1, min(size, pixels // math.prod(image.shape[:2]))):
            yield by_shape.pop(image.shape)
    yield from by_shape.values()


def _decoded_ahead(
    rows: Sequence[dict[str, Any]], pool: Executor, count: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of rows, of which some are decoded ahead; more would fill the memory."""
    waiting: deque[Future[NDArray[np.uint8]]] = deque()
    for row in rows:
        waiting.append(pool.submit(decode_image, row["image"], row["id"]))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@dataclass(frozen=True, kw_only=True)
class Job:
    """Base of the descriptions of what actors compute, which are sent to each actor.

    Attributes:
        folder: folder that takes the files.
        views: precision, numbers of images and actors, and the memory that one image may take.
    """

    folder: ArtifactFolder
    views: Views

    @property
    def about(self) -> dict[str, Any]:
        """Facts about the artifact for its manifest, beside those of `run`."""
        return {}


class Actor(ABC):
    """An actor that reads slices of the shards and writes one or more files for each.

    Args:
        views: precision and numbers of images and actors of inference.
        scales: scales of the views of an image.
    """

    def __init__(self, views: Views, scales: Sequence[float]) -> None:
        self.largest_scale = max(scales)
        self.reduced: dict[str, list[str]] = {}
        """Ids of images that kept to the memory of one image, by SMALLER_VIEWS or COARSER_WALK."""
        self.device = device(views.actors)
        self.halved = views.precision == "bf16"
        self.group_size = images_at_once(views, self.device)
        self.image_bytes, self.most_pixels = views.image_bytes, MAX_PIXELS
        self.pool = ThreadPoolExecutor(THREADS)

    def ready(self, network: M) -> M:
        """Return a trained network in the form that computes fastest on the actor's device.

        Views are from then on as large as the memory of one image allows with its backbone."""
        self.most_pixels = network.backbone.most_pixels(self.image_bytes)
        return fused(network).to(self.device).to(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """Return the context in which a whole network computes in the configured precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.halved)

    def groups(
        self, rows: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
        """Yield groups of images of one shape, see `groups`, and note those with smaller views."""
        for numbers, images in groups(rows, self.pool, self.group_size, self.most_pixels):
            height, width = images[0].shape[:2]
            if height * width * self.largest_scale_of(height, width) ** 2 > self.most_pixels:
                self.note(SMALLER_VIEWS, [rows[k]["id"] for k in numbers])
            yield numbers, images

    def largest_scale_of(self, height: int, width: int) -> float:
        """Return the largest scale of the views of an image of a size."""
        return self.largest_scale

    def note(self, kind: str, ids: Sequence[str]) -> None:
        """Note that images were reduced to keep to the memory of one image."""
        self.reduced.setdefault(kind, []).extend(ids)

    def scaled(self, images: Sequence[NDArray[np.uint8]], scale: float) -> Iterator[Tensor]:
        """Yield images of one shape, resized and normalised, as `[b,3,h,w]`.

        A batch holds as many images as have about the pixels of `group_size` images at scale 1, and
        several images only if they take no more memory than one image may take. A view that would
        take more is made smaller.

        Args:
            images: uint8 `[H,W,3]` each.
            scale: factor on height and width.
        """
        height, width = images[0].shape[:2]
        size = view_size(height, width, scale, self.most_pixels)
        views = np.stack(list(self.pool.map(lambda image: resized(image, *size), images)))
        fitting = self.most_pixels // math.prod(size)
        step = max(1, min(round(self.group_size / scale**2), fitting))
        for pixels in torch.split(torch.from_numpy(views).to(self.device), step):
            yield normalized(pixels)

    @abstractmethod
    def work(self, piece: shards.Slice) -> int:
        """Write the files of one slice; return the number of its images."""


class LateActor:
    """A callable for Ray Data that makes an actor at its first call and then runs it.

    Of an error at the start of an actor process Ray keeps the text, but not the kind.

    Args:
        actor: makes the actor from `job`.
        job: what the actor computes.
        pieces: slices of the shards; a batch names one of them by its number.
    """

    def __init__(
        self, actor: Callable[[Any], Actor], job: object, pieces: Sequence[shards.Slice]
    ) -> None:
        self.make, self.pieces = partial(actor, job), pieces
        self.actor: Actor | None = None

    @sendable
    def __call__(self, batch: Columns) -> Columns:
        piece = self.pieces[int(batch["number"][0])]
        self.actor = self.actor or self.make()
        self.actor.reduced = {}
        rows = self.actor.work(piece)
        return {"rows": np.array([rows]), "reduced": np.array([json.dumps(self.actor.reduced)])}


def compute(
    actor: Callable[[Any], Actor],
    job: Job,
    pieces: Sequence[shards.Slice],
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Compute what a job describes for slices with a pool of Ray Data actors.

    Args:
        actor: makes an actor from `job`.
        job: what to compute.
        pieces: slices of the shards.
        progress: called with (images done, images in all).

    Returns:
        Facts about the artifact for its manifest: `Job.about`, and those of `run`.

    Raises:
        InputError: the memory does not suffice.
        Exception: what else an actor raised, as it raised it.
    """
    views = job.views
    share = gpus.gpu_share(views.image_bytes)
    advice = (
        f"lower views.image_gib ({views.image_gib:g}), views.batch_size ({views.batch_size}) or "
        f"views.actors ({views.actors})"
    )
    with memory_advised("inference", advice):
        return {**job.about, **run(actor, job, pieces, views.actors, progress, share)}


def run(
    actor: Callable[[Any], Actor],
    job: object,
    pieces: Sequence[shards.Slice],
    actors: int,
    progress: Callable[[int, int], None],
    gpu_share: float = 0.0,
) -> dict[str, Any]:
    """Run a pool of actors over slices of the shards and return facts for the manifest.

    The facts are the number of `images`, and the sorted ids of images that were reduced, under
    SMALLER_VIEWS and COARSER_WALK, where there are any.

    Args:
        actor, pieces, progress: see `compute`.
        job: what the actors compute.
        actors: most actors of the pool.
        gpu_share: share of a GPU that an actor takes.

    Raises:
        Exception: what an actor raised, as it raised it.
    """
    image_count = sum(piece.rows for piece in pieces)
    results = _results(actor, job, pieces, actors, gpu_share)
    done, reduced = 0, []
    with deaths_explained(), unwrapped(), actors_released():
        for row in results.iter_rows():
            done += int(row["rows"])
            reduced.append(json.loads(row["reduced"]))
            progress(done, image_count)
    if done != image_count:
        raise RuntimeError(f"inference returned {done} of {image_count} images")
    return {"images": done, **merged_ids(reduced)}


def _results(
    actor: Callable[[Any], Actor],
    job: object,
    pieces: Sequence[shards.Slice],
    actors: int,
    gpu_share: float,
) -> Any:
    """Return the rows that a pool of actors will give, as a data set of Ray Data, see `run`."""
    import ray.data

    blocks = min(len(pieces), max(MOST_BLOCKS, BLOCKS_PER_ACTOR * actors))
    numbers = ray.data.from_items(
        [{"number": number} for number in range(len(pieces))], override_num_blocks=blocks
    )
    most = max(1, min(len(pieces), actors))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # has no other way
        return numbers.map_batches(
            LateActor,
            fn_constructor_args=(actor, job, pieces),
            batch_size=1,
            num_cpus=1,
            num_gpus=gpu_share or None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            max_restarts=RESTARTS,
            max_task_retries=-1,  # as long as there is an actor; some are lost while it starts anew
        )


@contextmanager
def deaths_explained() -> Iterator[None]:
    """Explain why inference ends where an actor's process died more often than it starts anew."""
    import ray

    try:
        yield
    except ray.exceptions.ActorDiedError as error:
        if session.lost():
            raise
        raise InputError(
            f"processes of inference died {RESTARTS + 1} times, most likely at the same images; "
            "they lack memory (lower views.actors), or native code of a method ends them"
        ) from error


def merged_ids(by_slice: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Return the `Actor.reduced` of all slices as one, with sorted ids."""
    out: dict[str, list[str]] = {}
    for reduced in by_slice:
        for kind, ids in reduced.items():
            out.setdefault(kind, []).extend(ids)
    return {kind: sorted(ids) for kind, ids in out.items()}
