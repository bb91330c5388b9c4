"""Other names of a network's parameters, under which published weight files hold them.

A spelling replaces all names by a fixed rule; values, shapes and the order of channels stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Spelling:
    """The names of a network's parameters in a weight file.

    Attributes:
        title: what the names are, for messages; empty for the network's own names.
        names: the network's own name of each parameter, by the name in the file.
    """

    title: str
    names: Mapping[str, str]


def spellings(module: nn.Module) -> Iterator[Spelling]:
    """Yield the spellings of a network's parameters and buffers, its own names first."""
    own = list(module.state_dict())
    yield Spelling("", {name: name for name in own})
    if all(name.startswith("network.") for name in own):  # a backbone of timm
        yield Spelling("", {name.removeprefix("network."): name for name in own})
    if all(name.startswith("features.") for name in own):
        yield Spelling(
            "names without 'features.'", {name.removeprefix("features."): name for name in own}
        )
    numbers = {child: str(k) for k, (child, _) in enumerate(module.named_children())}
    yield Spelling("names by position in a Sequential", {_numbered(n, numbers): n for n in own})
    if "conv1a.weight" in own:
        yield Spelling("names of MXNet", {_of_mxnet(name): name for name in own})
    if any(".attn.qkv." in name for name in own):
        yield Spelling("names of Microsoft's code", {_of_swin(name): name for name in own})


def _numbered(name: str, numbers: Mapping[str, str]) -> str:
    child, dot, rest = name.partition(".")
    return numbers.get(child, child) + dot + rest


MXNET_ENDS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_var",
    "num_batches_tracked": "num_batches_tracked",
}


def _of_mxnet(name: str) -> str:
    """Return the name of a WideResNet-38's parameter in its MXNet file.

    The published file is `ilsvrc-cls_rna-a1_cls1000_ep-0001.params` (Wu et al.).
    """
    if name == "conv1a.weight":
        return "conv1a_weight"
    parts = re.fullmatch(r"b(\d)(?:_(\d))?\.(conv|bn)_(branch\w+)\.(\w+)", name)
    if not parts:
        return f"bn7_{MXNET_ENDS[name.removeprefix('bn7.')]}"
    stage, block, kind, branch, end = parts.groups()
    letter = f"b{block}" if block else "a"
    kind, end = ("res", end) if kind == "conv" else ("bn", MXNET_ENDS[end])
    return f"{kind}{stage}{letter}_{branch}_{end}"


def _of_swin(name: str) -> str:
    """Return the name of a Swin transformer's parameter in the code of its authors."""
    parts = re.fullmatch(r"features\.(\d+)\.(.+)", name)
    if not parts:
        return name
    number, rest = int(parts[1]), parts[2]
    if number == 0:
        return rest.replace("0.", "patch_embed.proj.", 1).replace("2.", "patch_embed.norm.", 1)
    if number % 2 == 0:
        return f"layers.{number // 2 - 1}.downsample.{rest}"
    block, _, rest = rest.partition(".")
    rest = rest.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
    return f"layers.{number // 2}.blocks.{block}.{rest}"
