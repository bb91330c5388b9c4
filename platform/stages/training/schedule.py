"""The course of the learning rate over a training."""

from __future__ import annotations

import math

from ...config.groups.training import Training

WARM_UP, FIRST, LAST = 5, 1e-6, 1e-5
"""Epochs of warm-up, its first learning rate, and the last learning rate (DeiT's defaults)."""


def learning_rate(base: float, training: Training, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    Args:
        base: learning rate of the parameters, which is `training.lr` for the backbone.
        training: options of the training.
        step: number of the step, from 0.
        steps: number of steps of one epoch.
    """
    if training.schedule == "deit":
        if not training.lr:
            return 0.0
        return base / training.lr * deit_rate(training.lr, step // steps, training.epochs)
    warm_up = min(1.0, (step + 1) / training.warm_up) if training.warm_up else 1.0
    progress = step / (steps * training.epochs)
    return float(base * (1 - progress) ** training.power * warm_up)


def deit_rate(peak: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch: a linear warm-up, then a cosine.

    The code of DeiT and MCTformer sets the rate after each epoch, for the epoch that has ended. So
    the first two epochs have the same rate.

    Args:
        peak: rate to which the warm-up leads, and from which the cosine begins.
        epoch: number of the epoch, from 0.
        epochs: number of epochs of the training.
    """
    ended = max(0, epoch - 1)
    if ended < WARM_UP:
        return FIRST + ended * (peak - FIRST) / WARM_UP
    return LAST + (peak - LAST) * (1 + math.cos(math.pi * ended / epochs)) / 2
