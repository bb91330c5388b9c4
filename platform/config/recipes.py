"""Published recipes for training segmenters, by name.

A recipe is a function that returns a segmenter's configuration with all options that its source
states; all further options (network, backbone, weights, workers) stay as they were.
A batch counts the images of one update: 5 images with gradients summed over two steps count as 10.
All recipes start from ImageNet weights, except where the name says otherwise, and test on the image
once, without DenseCRF, which `segment.crf` adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from .experiment import Segment


Recipe = Callable[["Segment"], "Segment"]
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Factors by which images are resized in PSDPM's code for COCO; deeplab-pytorch has the first 5."""


def deeplab(s: Segment) -> Segment:
    """Train as kazuto1011/deeplab-pytorch trains on VOC, which LPCAM uses.

    There, the learning rate changes at every tenth step; here, it changes at every step. There,
    sides of resized images are rounded down; here, they are rounded.
    """
    training = replace(
        s.training,
        batch_size=10,
        lr=2.5e-4,
        head_factor=10.0,
        momentum=0.9,
        weight_decay=5e-4,
        power=0.9,
        clip_norm=0.0,
        crop=321,
        rescale=(0.5, 1.5),
        factors=FACTORS[:5],
        fit=None,
        cropping="deeplab",
        optimizer=None,
        warm_up=None,
    )
    return replace(
        s,
        frozen_stages=0,
        stride=8,
        scales=(0.75, 0.5),
        test_scales=(),
        crf="",
        balanced=False,
        iterations=20_000,
        training=training,
    )


def lpcam_coco(s: Segment) -> Segment:
    """Train as LPCAM's segmenter is trained on COCO."""
    s = deeplab(s)
    training = replace(s.training, batch_size=20, lr=2e-4)
    return replace(s, iterations=100_000, training=training)


def advcam_voc(s: Segment) -> Segment:
    """Train as the segmenters of AdvCAM and CLIMS are trained on VOC."""
    s = deeplab(s)
    training = replace(s.training, batch_size=20, rescale=(0.5, 2.0), factors=())
    return replace(s, iterations=30_000, balanced=True, training=training)


def psdpm_voc(s: Segment) -> Segment:
    """Train as PSDPM's segmenter is trained on VOC."""
    s = deeplab(s)
    return replace(s, training=replace(s.training, crop=448))


def psdpm_coco(s: Segment) -> Segment:
    """Train as PSDPM's segmenter is trained on COCO."""
    s = deeplab(s)
    training = replace(s.training, batch_size=5, crop=481, rescale=(0.5, 2.0), factors=FACTORS)
    return replace(s, iterations=100_000, training=training)


def swin(s: Segment) -> Segment:
    """Train as mmsegmentation trains UperNet on Swin.

    Its colour jitter is left out. A smaller image is padded right and bottom before it is mirrored;
    there, it is padded after. LPCAM's authors have lost their recipe for Swin.
    """
    s = deeplab(s)
    training = replace(
        s.training,
        batch_size=16,
        optimizer="adamw",
        lr=6e-5,
        head_factor=1.0,
        weight_decay=0.01,
        power=1.0,
        warm_up=1500,
        crop=512,
        rescale=(0.5, 2.0),
        factors=(),
        fit=(2048, 512),
    )
    return replace(s, scales=(), iterations=40_000, training=training)


def swin_coco(s: Segment) -> Segment:
    """Train as `swin`, for the number of steps that LPCAM's paper gives for COCO."""
    return replace(swin(s), iterations=80_000)


RECIPES: Mapping[str, Recipe] = {
    "lpcam-voc": deeplab,
    "lpcam-coco": lpcam_coco,
    "advcam-voc": advcam_voc,
    "psdpm-voc": psdpm_voc,
    "psdpm-coco": psdpm_coco,
    "swin": swin,
    "swin-coco": swin_coco,
}
"""All recipes by name; the published recipes of CLIP-ES and RIB are incomplete."""


def recipe(name: str) -> Recipe:
    """Return the recipe called `name`.

    Raises:
        InputError: there is no recipe of that name.
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
