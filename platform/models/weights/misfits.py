"""Sentences on weight files that do not fit a network, or that may not be used."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ...errors import InputError
from ...serialization import quoted
from ..backbones import BACKBONES, build
from .fits import Fit, Group, fits
from .spellings import Spelling, spellings

SEGMENTERS = frozenset(
    {
        *("aspp", "aux_classifier", "auxiliary_head", "conv2d_list", "decode_head"),
        *("low_classifier", "mask_head", "seg_head", "segmentation_head", "sem_seg_head"),
    }
)
"""Words in the names of networks that were trained on masks."""
DETECTORS = frozenset(("bbox_embed", "bbox_head", "roi_head", "roi_heads", "rpn", "rpn_head"))
"""Words in the names of networks that were trained on boxes."""
CAFFE = re.compile(
    r"(^|\.)(res\d[a-z]\d*_branch\w+|bn\d[a-z]\d*_branch\w+|scale_conv1|bn_conv1|conv[1-5]_[1-3]"
    r"|layer\d\.block\d+\.(reduce|conv3x3|increase|shortcut))(\.|$)"
)
"""Names of networks that come from Caffe's models."""


def some(names: Sequence[str]) -> str:
    """Return the first names of a list, as text."""
    short = [quoted(name)[1:-1] for name in names[:4]]
    more = f" and {len(names) - len(short)} more" if len(names) > len(short) else ""
    return ", ".join(short) + more


def check_purpose(path: str | Path, group: Group) -> None:
    """Check that weights do not come from a network that saw masks or boxes.

    Raises:
        InputError: they come from a segmenter or a detector.
    """
    for name, tensor in group.tensors.items():
        words = set(name.split("."))
        wide = "classifier" in words and tensor.ndim == 4 and max(tensor.shape[2:]) > 1
        for kind, seen, fault in (
            ("segmenter", "masks", wide or words & SEGMENTERS),
            ("detector", "boxes", words & DETECTORS),
        ):
            if fault:
                raise InputError(
                    f"{path} holds a {kind} ({some([name])}), which was trained on {seen}; "
                    "training here sees image labels only, so give a backbone with ImageNet weights"
                )


def refusal(
    path: str | Path,
    architecture: str,
    content: Sequence[Group],
    partial: Sequence[Fit],
    shapes: Mapping[str, torch.Size],
) -> InputError:
    """Return the error of a weight file that does not hold all parameters of a network.

    Args:
        path: the file.
        architecture: name of the network.
        content: the groups of tensors of the file.
        partial: the places that hold some of the parameters.
        shapes: shape of each parameter.
    """
    largest = max(content, key=lambda group: len(group.tensors))
    best = max(partial, key=lambda fit: (_agreement(fit), -len(fit.unknown)), default=None)
    group = best.group if best and _agreement(best) > 0 else largest
    check_purpose(path, group)
    fitting, advice = _fitting(content, architecture), "give a weight file of this architecture"
    if fitting:
        advice = (
            f"its weights are those of {fitting}, so choose that backbone or give weights of "
            f"{architecture}"
        )
    elif any(CAFFE.search(name) for name in group.tensors):
        return InputError(
            f"{path} has names of Caffe ({some(list(group.tensors))}); Caffe's networks take other "
            "images (blue first, 0 to 255) and strides, so give torchvision's weights"
        )
    if best is None or 2 * len(best.used) < len(shapes):
        fault = f"it has other names ({some(list(group.tensors))})"
    else:
        fault = _fault(best, shapes)
    return InputError(f"{path} does not fit {architecture}: {fault}; {advice}")


def _agreement(fit: Fit) -> int:
    """Return the number of parameters that are there in the right shape."""
    return len(fit.used) - len(fit.misshapen)


def _fault(fit: Fit, shapes: Mapping[str, torch.Size]) -> str:
    """Return what is wrong with the place that holds most parameters."""
    where = f" under {fit.address}" if fit.address else ""
    if fit.missing:
        return f"it lacks parameter {some(fit.missing)}{where}"
    if fit.misshapen:
        name = fit.misshapen[0]
        sizes = (
            "x".join(map(str, shape)) or "1" for shape in (fit.tensors[name].shape, shapes[name])
        )
        return (
            f"it has another shape of parameter {some(fit.misshapen)}{where}: "
            f"{' instead of '.join(sizes)}"
        )
    return f"it has the unknown parameter {some(fit.unknown)}"


def _fitting(content: Sequence[Group], architecture: str) -> str:
    """Return the name of a backbone that a weight file fits, or ""."""
    for name in BACKBONES:
        if name == architecture:
            continue
        shapes, spelled = _parameters(name)
        if any(fit.complete for spelling in spelled for fit in fits(content, spelling, shapes)):
            return name
    return ""


@functools.cache
def _parameters(name: str) -> tuple[Mapping[str, torch.Size], Sequence[Spelling]]:
    """Return the shapes and the spellings of the parameters of a backbone."""
    with torch.device("meta"):
        module = build(name)
    shapes = {parameter: value.shape for parameter, value in module.state_dict().items()}
    return shapes, tuple(spellings(module))
