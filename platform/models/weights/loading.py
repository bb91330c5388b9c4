"""Loading of a weight file into a network, with a check of names, shapes and values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import InputError
from . import misfits
from .fits import Fit, chosen, fits, groups, key_of
from .misfits import some
from .reading import read
from .spellings import spellings


def load(module: nn.Module, path: str | Path, architecture: str, key: str | None = None) -> str:
    """Load a weight file into `module`, without the file's classifier head.

    Args:
        module: the network that takes the weights.
        path: a weight file, see `read`.
        architecture: name of the network, for messages.
        key: which of several networks in the file is read: the key or prefix that leads to it,
            such as `teacher`; empty: the only one; None: as empty, where no option sets the key.

    Returns:
        How the file was read.

    Raises:
        InputError: the file is not read, see `read`; a tensor is missing, unknown, of another
            shape, or not finite; the file holds several networks that fit; or it holds a segmenter
            or a detector, which was trained on masks or boxes (torchvision's
            COCO_WITH_VOC_LABELS). Nothing is loaded then.
    """
    fit = _only_fit(module, path, architecture, key)
    target = module.state_dict()
    state = {name: _converted(path, fit, name, target[name]) for name in fit.used}
    module.load_state_dict(state, strict=False)
    return _note(path, fit, target)


def _only_fit(module: nn.Module, path: str | Path, architecture: str, key: str | None) -> Fit:
    """Return the place in a weight file where a network's parameters are."""
    content = groups(read(path))
    if not content:
        raise InputError(f"{path} does not hold a dict of tensors by parameter name")
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    partial: list[Fit] = []
    for spelling in spellings(module):
        candidates = fits(content, spelling, shapes)
        complete = [fit for fit in candidates if fit.complete]
        if complete:
            fit = _settled(path, architecture, complete, key)
            misfits.check_purpose(path, fit.group)
            return fit
        partial += candidates
    raise misfits.refusal(path, architecture, content, partial, shapes)


def _settled(path: str | Path, architecture: str, complete: Sequence[Fit], key: str | None) -> Fit:
    """Return the only place in a weight file that holds all parameters, under a key if given.

    Raises:
        InputError: no place or several places are left.
    """
    left = chosen(complete, key or "")
    addresses = [fit.address or "the file itself" for fit in left or complete]
    if not left:
        raise InputError(
            f"{path} has no {key!r} with the weights of {architecture}; they are under "
            f"{some(addresses)}"
        )
    if len(left) == 1:
        return left[0]
    advice = "save one of them as a file of its own"
    if key is not None:
        advice = (
            f"choose one, such as --weights-key {key_of(left[-1], left[:-1])} "
            "(network.weights_key, or segment.weights_key for a file of the segmenter's own)"
        )
    raise InputError(
        f"{path} holds weights of {architecture} {len(left)} times, under {some(addresses)}; "
        f"{advice}"
    )


def _converted(path: str | Path, fit: Fit, name: str, target: Tensor) -> Tensor:
    """Return a tensor of a file in the type of a parameter.

    Raises:
        InputError: the values are not numbers of the parameter's kind, or are not all finite.
    """
    value, title = fit.tensors[name], fit.used[name]
    if value.is_floating_point() != target.is_floating_point() or value.is_complex():
        raise InputError(
            f"{path} holds {str(value.dtype).removeprefix('torch.')} in {title}, not "
            f"{str(target.dtype).removeprefix('torch.')}; give weights that are not quantized"
        )
    value = value.to(target.dtype)
    if value.is_floating_point() and (wrong := int((~torch.isfinite(value)).sum())):
        raise InputError(
            f"{path} is broken: {wrong} of {value.numel()} values of {title} are NaN or infinite; "
            "the training that wrote it diverged, so give an earlier file"
        )
    return value


def _note(path: str | Path, fit: Fit, target: dict[str, Tensor]) -> str:
    """Return a sentence on how a weight file was read."""
    parts = []
    if fit.group.keys:
        parts.append(f"read from {'.'.join(fit.group.keys)!r}")
    if fit.prefix:
        parts.append(f"prefix {fit.prefix!r} removed")
    if fit.spelling.title:
        parts.append(f"{fit.spelling.title} translated")
    types = {
        str(tensor.dtype).removeprefix("torch.")
        for name, tensor in fit.tensors.items()
        if tensor.dtype != target[name].dtype
    }
    if types:
        parts.append(f"converted from {' and '.join(sorted(types))} to float32")
    if unused := fit.unused:
        noun = "tensor" if len(unused) == 1 else "tensors"
        parts.append(f"{len(unused)} {noun} not used: {some(unused)}")
    return f"weights {Path(path).name}: {', '.join(parts) or 'all tensors are used as they are'}"
