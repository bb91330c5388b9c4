"""Checks of trainings, before any stage is computed."""

from __future__ import annotations

import torch

from ...config.groups.network import Network
from ...config.groups.training import Training
from ...method import Learner
from ...stages.training.batch_sizes import images_on_worker
from ...storage.artifact import Artifact


def check_batches(
    training: Training, learner: Learner, shards: Artifact, split: str, field: str
) -> None:
    """Check that the batch size of a training suits its workers, learner and images.

    Args:
        training: options of the training.
        learner: the learner to train.
        shards: shards of the data set.
        split: split to train on.
        field: name of the configuration field that holds `training`, for error messages.

    Raises:
        InputError: the batch size does not suit them.
    """
    rows = shards.about.get("counts", {}).get(split)
    images_on_worker(training, learner, training.workers, rows, field)


def check_files(network: Network, learner: Learner, classes: int) -> list[str]:
    """Read the files that a training needs and return how its weight file was read.

    Random numbers that are drawn later stay as they would be, on GPUs too, as nothing sets a seed.

    Args:
        network: backbone and weights.
        learner: the learner to train.
        classes: N, the number of foreground classes.

    Raises:
        InputError: a file does not suit the network or the learner.
    """
    from ...stages.training.trainer import build

    notes: list[str] = []
    with torch.random.fork_rng(devices=()):
        build(network, learner, classes, None, notes.append)
    learner.check_files()
    return notes
