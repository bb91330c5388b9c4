"""Local weight files: read without running code, checked against the architecture."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..storage import artifact_files

_PREFIXES = ("module.", "backbone.")
_CLASSIFIER_KEYS = ("fc.", "classifier.", "aux_classifier.", "head.", "fc8.")


def saved(path: str | Path) -> Any:
    """What `torch.save` wrote: tensors in plain containers.

    Raises:
        InputError: the file is missing, damaged, or holds pickled code.
    """
    if not artifact_files.local(path).is_file():
        raise InputError(f"there is no weight file {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a plain weight file: it is damaged, or holds pickled code, which is "
            "not run"
        ) from error
    except Exception as error:  # damaged bytes end in almost any type
        raise InputError(f"{path} is not a readable weight file: {error}") from error


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.pt` file, by parameter name.

    Raises:
        InputError: the file is missing, damaged, holds pickled code, or is no state dict.
    """
    state = saved(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} does not hold a dict of tensors by parameter name")
    return {_plain(str(name)): value for name, value in state.items()}


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _segments(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is a segmenter's: an auxiliary head, or a head of convolutions."""
    return any(
        k.startswith("aux_classifier.")
        or (k.startswith("classifier.") and v.ndim == 4 and max(v.shape[2:]) > 1)
        for k, v in state.items()
    )


def load(module: nn.Module, path: str | Path, architecture: str) -> None:
    """Loads a file into `module`; its classifier head, if it has one, is left out.

    Raises:
        InputError: a tensor is missing, unknown or of another shape, or the file is that of a
            segmenter, which saw masks (torchvision's COCO_WITH_VOC_LABELS); nothing is loaded.
    """
    found = read(path)
    if _segments(found):
        raise InputError(
            f"{path} holds a segmenter, which has seen masks; image labels alone are learnt here, "
            "so a backbone must come from ImageNet weights"
        )
    state = {k: v for k, v in found.items() if not k.startswith(_CLASSIFIER_KEYS)}
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in own]
    shaped = [k for k in state if k in own and state[k].shape != own[k].shape]
    for names, fault in ((missing, "lacks"), (unknown, "has the foreign"), (shaped, "misshapes")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"{path} does not fit {architecture}: it {fault} parameter {names[0]}{more}"
            )
    module.load_state_dict(state, strict=False)
