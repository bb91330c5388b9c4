"""Checkpoints of CLIP in local files, and the networks that fit them.

The library open_clip, an optional dependency, gives the network.
Source: Radford et al., ICML 2021.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..weights.file_kinds import is_torchscript
from ..weights.reading import read

Tensors = dict[str, Tensor]
"""The tensors of a checkpoint by the names of OpenAI's code, which are those of open_clip, too."""
HEAD_WIDTH = 64
"""Channels of an attention head in all of OpenAI's networks; no tensor of a file tells it."""
NUMBERS = ("input_resolution", "context_length", "vocab_size")
"""Entries of OpenAI's files that are no parameters."""
EXAMPLES = "OpenAI's ViT-B-16.pt"


def open_clip() -> ModuleType:
    """Return the library open_clip.

    Raises:
        InputError: it is not installed.
    """
    try:
        import open_clip.model
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "open_clip":
            raise
        raise InputError(
            "networks of CLIP need the library open_clip, which is not installed; run "
            "pip install open_clip_torch"
        ) from error
    library: ModuleType = open_clip
    return library


def read_checkpoint(path: str | Path) -> Tensors:
    """Return the tensors of a checkpoint file by name.

    Args:
        path: a TorchScript archive, as OpenAI publishes, of which no function is called; or a file
            of these tensors by name (.pt, .pth or .safetensors).

    Raises:
        InputError: the file is missing or damaged, or holds no tensors by name.
    """
    content: Any = _read_archive(path) if is_torchscript(Path(path)) else read(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no tensors by name; give {EXAMPLES}")
    return {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor) and name not in NUMBERS
    }


def _read_archive(path: str | Path) -> Tensors:
    load: Any = torch.jit.load
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch advises against writing new archives
            archive = load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} is not read as a TorchScript archive: it is damaged; download the file again"
        ) from error
    return {name: value.detach() for name, value in archive.state_dict().items()}


def build(tensors: Tensors, path: str | Path) -> nn.Module:
    """Return the CLIP network of a checkpoint in evaluation mode, in float32, without gradients.

    Its activation is QuickGELU, with which OpenAI trained all of its networks. A checkpoint does
    not tell its activation; other ones, such as LAION's, were trained with another.

    Args:
        tensors: result of `read_checkpoint`.
        path: the file, for messages.

    Raises:
        InputError: open_clip is not installed; the tensors are those of another kind of network;
            or a tensor is missing, unknown, of another shape, or not finite.
    """
    network = _network(tensors, path)
    activations = {type(block.mlp.gelu) for block in resblocks(network)}
    assert activations == {open_clip().model.QuickGELU}
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    _check(tensors, shapes, path)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def resblocks(network: Any) -> list[Any]:
    """Return the transformer blocks of both towers of a CLIP network, those of images first."""
    return [*network.visual.transformer.resblocks, *network.transformer.resblocks]


def _network(tensors: Tensors, path: str | Path) -> nn.Module:
    """Return a network with random weights of the sizes that the tensors have."""
    model = open_clip().model
    try:
        patches = tensors["visual.conv1.weight"]
        side = round((len(tensors["visual.positional_embedding"]) - 1) ** 0.5)
        image = model.CLIPVisionCfg(
            layers=_layers(tensors, "visual.transformer."),
            width=len(patches),
            head_width=HEAD_WIDTH,
            patch_size=patches.shape[-1],
            image_size=side * patches.shape[-1],
        )
        width = len(tensors["ln_final.weight"])
        text = model.CLIPTextCfg(
            context_length=len(tensors["positional_embedding"]),
            vocab_size=len(tensors["token_embedding.weight"]),
            width=width,
            heads=width // HEAD_WIDTH,
            layers=_layers(tensors, "transformer."),
        )
        embedding = tensors["text_projection"].shape[1]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path} holds no CLIP network with a vision transformer: it lacks {error}; give "
            f"{EXAMPLES}"
        ) from error
    network: nn.Module = model.CLIP(embedding, image, text, quick_gelu=True)
    return network


def _layers(tensors: Tensors, prefix: str) -> int:
    start = f"{prefix}resblocks."
    return len({n.removeprefix(start).split(".")[0] for n in tensors if n.startswith(start)})


def _check(tensors: Tensors, shapes: Mapping[str, torch.Size], path: str | Path) -> None:
    """Raise InputError where the tensors of a checkpoint do not fit a network."""
    missing, unknown = shapes.keys() - tensors.keys(), tensors.keys() - shapes.keys()
    for names, verb in ((missing, "lacks"), (unknown, "holds tensors that CLIP does not have:")):
        if names:
            raise InputError(f"{path} {verb} {_some(sorted(names))}; give {EXAMPLES}")
    for name, shape in shapes.items():
        value = tensors[name]
        if value.shape != shape:
            raise InputError(
                f"{path} holds {name} as {[*value.shape]}, not {[*shape]}; give {EXAMPLES}"
            )
        if not torch.isfinite(value).all():
            raise InputError(f"{path} is broken: {name} is not finite; download the file again")


def _some(names: Sequence[str]) -> str:
    """Return a few of several names as text."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
