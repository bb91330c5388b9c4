"""Reading of local weight files without running code, with a check against the architecture."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..storage import filesystem

_PREFIXES = ("module.", "backbone.")
_CLASSIFIER_KEYS = ("fc.", "classifier.", "aux_classifier.", "head.", "fc8.")


def read_torch_file(path: str | Path) -> Any:
    """Read a file that `torch.save` wrote, with tensors in built-in containers.

    Raises:
        InputError: the file is missing, damaged, or holds pickled code.
    """
    if not filesystem.regular(Path(path)).is_file():
        raise InputError(f"there is no weight file {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not read as a weight file: it is damaged, or holds pickled code, which is "
            "not run; save a state dict of tensors"
        ) from error
    except Exception as error:  # damaged bytes end in almost any type
        raise InputError(f"{path} is not read as a weight file: it is damaged: {error}") from error


def read(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a `.pth` or `.pt` file, by parameter name.

    Raises:
        InputError: the file is missing, damaged, holds pickled code, or is no state dict.
    """
    state = read_torch_file(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} does not hold a dict of tensors by parameter name")
    return {_without_prefixes(str(name)): value for name, value in state.items()}


def _without_prefixes(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _is_segmenter(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict has an auxiliary head or a head of convolutions."""
    return any(
        k.startswith("aux_classifier.")
        or (k.startswith("classifier.") and v.ndim == 4 and max(v.shape[2:]) > 1)
        for k, v in state.items()
    )


def load(module: nn.Module, path: str | Path, architecture: str) -> None:
    """Load a weight file into `module`, without the file's classifier head.

    Args:
        module: the network that takes the weights.
        path: a weight file, see `read`.
        architecture: name of the network, for messages.

    Raises:
        InputError: a tensor is missing, unknown or of another shape, or the file holds a
            segmenter, which was trained on masks (torchvision's COCO_WITH_VOC_LABELS). Nothing is
            loaded then.
    """
    weights = read(path)
    if _is_segmenter(weights):
        raise InputError(
            f"{path} holds a segmenter, which was trained on masks; training here sees image "
            "labels only, so give a backbone with ImageNet weights"
        )
    state = {k: v for k, v in weights.items() if not k.startswith(_CLASSIFIER_KEYS)}
    target = module.state_dict()
    missing = [k for k in target if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in target]
    shaped = [k for k in state if k in target and state[k].shape != target[k].shape]
    for names, fault in (
        (missing, "lacks"),
        (unknown, "has the unknown"),
        (shaped, "has another shape of"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"{path} does not fit {architecture}: it {fault} parameter {names[0]}{more}; "
                "give a weight file of this architecture"
            )
    module.load_state_dict(state, strict=False)
