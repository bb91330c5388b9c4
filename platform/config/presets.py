"""Presets: named sets of options, as functions that return an experiment with these options.

Such a function sets options to fixed values, whatever the experiment had before. So the functions
of several methods can be applied in turn; where two differ, the last one applied counts. This
module holds the functions that methods based on IRN share; a method's module holds its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .experiment import Experiment
from .fields import Options

USUAL_THRESHOLDS = {
    "threshold": 0.3,
    "foreground": 0.3,
    "background": 0.05,
    "final": 0.25,
    "par.threshold": 0.3,
    "segments.threshold": 0.3,
}
"""Values of thresholds, by name in `refine`, that a message gives as examples."""


@dataclass(frozen=True)
class Preset:
    """A named set of options of a method.

    Attributes:
        configure: returns an experiment with the options that the preset sets, for all stages
            from training to segmenter.
        settings: options of the method itself; None: the defaults of its `Config`.
    """

    configure: Callable[[Experiment], Experiment] = lambda e: e
    settings: Options | None = None


def freeze(e: Experiment, stages: int) -> Experiment:
    """Train the classifier without gradients in its first `stages` stages."""
    return replace(e, network=replace(e.network, frozen_stages=stages))


def irn_levels(e: Experiment) -> Experiment:
    """Refine with the thresholds that IRN's code uses for CAM (run_sample.py)."""
    return replace(e, refine=replace(e.refine, foreground=0.30, background=0.05, final=0.25))


def irn_release(e: Experiment) -> Experiment:
    """Train, enlarge class maps and refine as IRN's code does, whose momentum is in effect 1e-4."""
    training, views = replace(e.training, momentum=1e-4), replace(e.views, enlarging="irn")
    e = replace(e, training=training, views=views, refine=replace(e.refine, pairs="interior"))
    return irn_levels(freeze(e, 2))


def irn_paper(e: Experiment) -> Experiment:
    """Train and refine as IRN's paper and the papers based on it say, except for the momentum.

    The papers print a momentum of 0.9, with which their learning rate of 0.1 diverges. Their code
    passes the weight decay, 1e-4, in the place of the momentum, and so their results come from
    1e-4, as in `irn_release`.
    """
    return irn_release(e)


def irn_default(e: Experiment) -> Experiment:
    """Train, refine and segment with the options that measured best in this project.

    The random walk was measured with CAM and LPCAM (docs/measured/segmenters.md).
    """
    training = replace(
        e.training,
        momentum=1e-4,
        lr=0.05,
        clip_norm=5.0,
        epochs=6,
        resize=(256, 480),
        crop=320,
    )
    refine = replace(
        e.refine,
        walk_power=2.0,
        beta=8.0,
        training=replace(e.refine.training, batch_size=16, crop=320, epochs=6),
    )
    segment = replace(
        e.segment,
        stride=16,
        scales=(),
        frozen_stages=2,
        balanced=True,
        test_scales=(1.0, 0.5, 1.5),
        crf="deeplab",
        training=replace(e.segment.training, epochs=20, lr=2e-3, clip_norm=5.0),
    )
    return freeze(replace(e, training=training, refine=refine, segment=segment), 2)


def irn_scenes(e: Experiment) -> Experiment:
    """Train, refine and segment the drawn data set `scenes`.

    The grids of `scenes` have 24 x 24 positions, which a random walk of 256 steps with radius 5
    would cross many times.
    """
    training = replace(
        e.training,
        split="train",
        lr=0.05,
        head_factor=5.0,
        batch_size=8,
        epochs=14,
        resize=(96, 96),
        crop=96,
    )
    refine = replace(
        e.refine,
        frozen_stages=0,
        walk_power=2.0,
        radius=2,
        steps=16,
        training=replace(e.refine.training, batch_size=8, epochs=6, crop=96),
    )
    segment = replace(
        e.segment,
        scales=(),
        training=replace(e.segment.training, batch_size=8, epochs=8, lr=0.02, crop=96),
    )
    network = replace(e.network, backbone="small")
    return replace(e, network=network, training=training, refine=refine, segment=segment)
