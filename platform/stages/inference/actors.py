"""Inference of any network as a Ray Data pool of actors: a slice of the shards a call, or a block
of slices where there are very many."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ...config.experiment import Network, Views
from ...data.formats import shards
from ...data.images import decode_image
from ...data.transforms import normalized, resized
from ...errors import InputError
from ...method import Learner
from ...models import weights
from ...models.network import Trainable
from ...ray_runtime import cluster
from ..training.trainer import build

NO_NUMBER = -1
"""In place of the error number of the disk where the input is wrong."""
MOST_BLOCKS, BLOCKS_PER_ACTOR = 1024, 8
"""So many calls at most, or so many an actor: Ray Data's scheduling takes the longer for each call
the more there are."""
Answer = dict[str, NDArray[Any]]
M = TypeVar("M", bound=Trainable)


def device(actors: int) -> torch.device:
    """Where an actor computes; on a CPU the actors share the cores."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(max(1, cluster.cores() // max(1, actors)))
    return torch.device("cpu")


def together(views: Views, device: torch.device) -> int:
    """How many images of one shape are looked at together: on a CPU one, whose features stay in
    its cache as those of several would not."""
    return views.batch_size if device.type == "cuda" else 1


def load(network: Network, learner: Learner, classes: int, path: Path | str) -> Trainable:
    """A trained network from a network artifact, in evaluation mode."""
    plain = build(Network(backbone=network.backbone), learner, classes, seed=0)
    plain.load_state_dict(weights.saved(path))
    return plain.eval()


def groups(
    rows: Sequence[dict[str, Any]], pool: Executor, size: int
) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
    """Rows and images of one shape, at most `size` at a time; the next are decoded meanwhile."""
    images = pool.map(lambda r: decode_image(r["image"], r["id"]), rows)
    held: dict[tuple[int, ...], tuple[list[int], list[NDArray[np.uint8]]]] = {}
    for number, image in enumerate(images):
        chosen, group = held.setdefault(image.shape, ([], []))
        chosen.append(number)
        group.append(image)
        if len(group) == size:
            yield held.pop(image.shape)
    yield from held.values()


class Actor(ABC):
    """Turns slices of the shards into files.

    Args:
        views: how images are looked at.
    """

    def __init__(self, views: Views) -> None:
        self.device = device(views.actors)
        self.halved = views.precision == "bf16"
        self.together = together(views, self.device)
        self.pool = ThreadPoolExecutor(4)

    def ready(self, network: M) -> M:
        """A trained network as it computes fastest here; see also `autocast`."""
        return fused(network).to(self.device).to(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """The precision of a whole network."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.halved)

    def groups(
        self, rows: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
        """Rows and images to look at together; see the function `groups`."""
        return groups(rows, self.pool, self.together)

    def scaled(self, images: Sequence[NDArray[np.uint8]], scale: float) -> Iterator[Tensor]:
        """Images of one shape at a scale, normalised, `[b,3,h,w]`: as many at a time as have the
        pixels of `together` at scale 1."""
        size = [max(1, round(n * scale)) for n in images[0].shape[:2]]
        views = np.stack(list(self.pool.map(lambda image: resized(image, *size), images)))
        step = max(1, round(self.together / scale**2))
        for part in torch.split(torch.from_numpy(views).to(self.device), step):
            yield normalized(part)

    @abstractmethod
    def work(self, piece: shards.Slice) -> int:
        """Writes the files of one slice; returns its images."""


class Guard:
    """An actor whose errors come back as rows: what the disk says, or what is wrong with the input,
    also at its start. Ray would keep the text of an error, but neither number nor kind. After one
    it does no more, so that the rest of a block does not keep the answer back."""

    def __init__(self, actor: Callable[[Any], Actor], job: object) -> None:
        self.make = partial(actor, job)
        self.actor: Actor | None = None
        self.failed: dict[str, Any] = {}

    def __call__(self, batch: Answer) -> Answer:
        done = self.failed or self._done(batch)
        if done["error"]:
            self.failed = done
        return {k: np.array([v]) for k, v in done.items()}

    def _done(self, batch: Answer) -> dict[str, Any]:
        row = {k: v[0] for k, v in batch.items()}
        piece = shards.Slice(str(row["path"]), int(row["group"]), int(row["rows"]))
        done: dict[str, Any] = {"rows": 0, "error": "", "errno": 0}
        try:
            self.actor = self.actor or self.make()
            done["rows"] = self.actor.work(piece)
        except OSError as error:
            done |= {"error": f"{piece.name}: {error}", "errno": error.errno or 0}
        except InputError as error:
            done |= {"error": str(error), "errno": NO_NUMBER}
        return done


def _images(row: dict[str, Any]) -> int:
    """The images of an answer, or its error."""
    if row["errno"] == NO_NUMBER:
        raise InputError(str(row["error"]))
    if row["error"]:
        raise OSError(int(row["errno"]), str(row["error"]))
    return int(row["rows"])


def run(
    actor: Callable[[Any], Actor],
    job: object,
    pieces: Sequence[shards.Slice],
    actors: int,
    progress: Callable[[int, int], None],
) -> int:
    """Hands slices to a pool of actors, which write files, and counts the images.

    Args:
        actor: made with `job`.
        job: what to compute.
        pieces: the images.
        actors: at most.
        progress: called with (images done, images in all).

    Raises:
        OSError: an actor could not read or write.
        InputError: an actor found the input wrong.
    """
    import ray.data

    total = sum(p.rows for p in pieces)
    gpu = cluster.gpus() > 0
    blocks = min(len(pieces), max(MOST_BLOCKS, BLOCKS_PER_ACTOR * actors))
    results = ray.data.from_items(
        [asdict(p) for p in pieces], override_num_blocks=blocks
    ).map_batches(
        Guard,
        fn_constructor_args=(actor, job),
        batch_size=1,
        num_cpus=1,
        num_gpus=1 if gpu else None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(len(pieces), actors))),
    )
    done = 0
    for row in results.iter_rows():
        done += _images(row)
        progress(done, total)
    if done != total:
        raise RuntimeError(f"inference returned {done} of {total} images")
    return done


Folded = TypeVar("Folded", bound=nn.Module)


def fused(network: Folded) -> Folded:
    """A copy in evaluation mode in which each convolution has absorbed the normalisation that
    follows it. Outputs are equal but for rounding.

    Pairs are neighbours among a module's children, as in torchvision's networks.
    """
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, conv), (after, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, after, nn.Identity())
    return network
