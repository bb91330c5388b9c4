"""Checks of the splits, classes and masks that an experiment names."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping

from ...config.experiment import Experiment
from ...errors import InputError
from ...labels import VOID
from ...method import PrototypeMethod
from ...storage.artifact import Artifact


def mask_counts(shards: Artifact, split: str) -> tuple[int, int] | None:
    """Return the numbers of images and of masks of a split, where the check of the shards has them.

    Shards of version 0.2.0 or before have no check.
    """
    counts = shards.about.get("check", {}).get("splits", {}).get(split)
    return (counts["images"], counts["masked"]) if counts else None


def largest_pixels(shards: Artifact) -> int:
    """Return the number of pixels of the largest image of a data set.

    It is 0 where the shards have no check, see `mask_counts`, or no image.
    """
    sizes = shards.about.get("check", {}).get("sizes")
    return math.prod(sizes["largest"]) if sizes else 0


def check_names(experiment: Experiment, shards: Artifact, field_of: Mapping[str, str]) -> None:
    """Check that the data set has the splits and classes that the experiment names.

    Args:
        experiment: the experiment.
        shards: shards of its data set.
        field_of: for each split the field that names it.

    Raises:
        InputError: the data set lacks a split or class.
    """
    name, known = experiment.data, shards.about["splits"]
    classes, scoring = shards.about["classes"], experiment.scoring
    for split, field_name in field_of.items():
        if split not in known:
            several = field_name != "scoring.splits" or len(scoring.splits) > 1
            first = next(iter(known))
            value = f'("{first}",)' if field_name.endswith("splits") else first
            example = f", for example --set {shlex.quote(f'{field_name}={value}')}"
            raise InputError(
                f"{field_name} names {split!r}; data set {name!r} has {', '.join(known)}; name "
                f"one of them{example if several else ''}"
            )
    for word in scoring.classes:
        if word not in ("background", *classes):
            raise InputError(
                f"scoring.classes names {word!r}; data set {name!r} has {', '.join(classes)}; name "
                "some of them"
            )


def check_masks(data: str, shards: Artifact, split: str, field: str, use: str = "scored") -> None:
    """Check that all images of a split have masks with known pixels, or none of them has a mask.

    Args:
        data: name of the data set, for the message.
        shards: its shards.
        split: the split.
        field: field that names the split, for the message.
        use: what the masks are for, for the message.

    Raises:
        InputError: some images of the split have masks, and others have none; or all pixels of the
            masks are void.
    """
    images, masked = mask_counts(shards, split) or (1, 1)
    if 0 < masked < images:
        raise InputError(
            f"{images - masked} images of split {split!r} of data set {data!r} have no mask, so "
            f"the split cannot be {use}; add their masks, or name another split in {field}"
        )
    pixels = shards.about.get("check", {}).get("splits", {}).get(split, {}).get("pixels", ())
    if masked and any(pixels) and not any(pixels[:VOID]):
        raise InputError(
            f"all pixels of the masks of split {split!r} of data set {data!r} are void ({VOID}), "
            f"so the split cannot be {use}; correct the masks, or name another split in {field}"
        )


def check_masks_to_learn(experiment: Experiment, shards: Artifact, split: str) -> None:
    """Check that a segmenter can learn the true masks of a split.

    Raises:
        InputError: the experiment has no segmenter, or images of the split have no mask.
    """
    data, counts = experiment.data, mask_counts(shards, split)
    if not experiment.segment.network:
        raise InputError("refine.kind 'masks' is for a segmenter; name one in segment.network")
    if counts and not counts[1]:
        raise InputError(
            f"refine.kind 'masks' learns true masks, but no image of split {split!r} of data "
            f"set {data!r} has one; set refine.kind to crf, irn, par or segments"
        )
    check_masks(data, shards, split, "segment.training.split", "learnt")


def check_prototypes(method: PrototypeMethod, data: str, shards: Artifact) -> None:
    """Check that a data set has the classes and labels from which a method makes prototypes.

    Args:
        method: the method.
        data: name of the data set, for the message.
        shards: its shards.

    Raises:
        InputError: there are too few classes, or no image of the clustered split has a label.
    """
    classes, split = shards.about["classes"], method.clustering.split
    if len(classes) < method.least_classes:
        raise InputError(
            f"{method.name} chooses prototypes by comparing the scores of classes, but data set "
            f"{data!r} has the class {classes[0]!r} alone; choose another localizer, such as cam"
        )
    counts = shards.about.get("check", {}).get("splits", {}).get(split, {})
    if counts and counts["images"] == counts.get("unlabelled", 0):
        raise InputError(
            f"no image of split {split!r} of data set {data!r} has a label, so {method.name} has "
            f"no features of a class to cluster; add image labels, or name another split in "
            f"{method.name}.split"
        )
