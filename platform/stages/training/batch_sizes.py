"""The number of images that each worker of a training gets in a step."""

from __future__ import annotations

from ...config.groups.training import Training
from ...errors import InputError
from ...method import Learner


def images_on_worker(
    training: Training, learner: Learner, workers: int, rows: int | None, field: str
) -> int:
    """Return the number of images of one worker in one step.

    Args:
        training: options of the training.
        learner: the learner to train.
        workers: number of workers.
        rows: number of images of the split; None: unknown, and not checked.
        field: name of the configuration field that holds `training`, for error messages.

    Raises:
        InputError: the batch size does not suit the workers, the learner or the images.
    """
    if training.batch_size % workers:
        raise InputError(
            f"{field}.batch_size {training.batch_size} cannot be divided among {workers} "
            "workers; make it a multiple of their number"
        )
    images = training.batch_size // workers
    if images < learner.least_images:
        raise InputError(
            f"{learner.name} needs {learner.least_images} images a step on each worker; raise "
            f"{field}.batch_size ({training.batch_size})"
        )
    if rows is not None and rows // workers < images:
        raise InputError(
            f"{rows} images do not fill one batch of {training.batch_size}; lower "
            f"{field}.batch_size"
        )
    return images
