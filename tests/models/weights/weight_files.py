"""Writers of weight files in every format that is read, and a small network of each naming."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wsss.platform.models.backbones.wide_resnet import _Block

MXNET_TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int64": 6}


class SmallWide(nn.Module):
    """A network with the names of a WideResNet-38 and few channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1a = nn.Conv2d(3, 4, 3, bias=False)
        self.b2 = _Block(4, (6, 6), stride=2)
        self.b2_1 = _Block(6, (6, 6))
        self.b6 = _Block(6, (2, 4, 8), kernels=(1, 3, 1))
        self.bn7 = nn.BatchNorm2d(8)


def small_wide(seed: int) -> SmallWide:
    """Return a network whose values, also those of normalisation, differ from seed to seed."""
    torch.manual_seed(seed)
    network = SmallWide()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    return network


def mxnet_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names of the published MXNet file, written out here by hand."""
    ends = {"weight": "gamma", "bias": "beta"}
    ends |= {"running_mean": "moving_mean", "running_var": "moving_var"}
    blocks = {"b2": "2a", "b2_1": "2b1", "b6": "6a"}
    out = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        block, _, rest = name.partition(".")
        kind = "aux" if "running" in name else "arg"
        if block == "conv1a":
            out["arg:conv1a_weight"] = value
        elif block == "bn7":
            out[f"{kind}:bn7_{ends[rest]}"] = value
        elif rest.startswith("conv_"):
            out[f"arg:res{blocks[block]}_{rest.removeprefix('conv_').replace('.', '_')}"] = value
        else:
            branch, _, end = rest.removeprefix("bn_").partition(".")
            out[f"{kind}:bn{blocks[block]}_{branch}_{ends[end]}"] = value
    return out


def mxnet_bytes(arrays: Mapping[str, Tensor], version: int = 2) -> bytes:
    """Return a file of MXNet's named arrays, as its releases 0.x (0, 1) and 1.x (2, 3) wrote it."""
    out = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for value in arrays.values():
        sizes = value.shape
        if version == 0:
            out += struct.pack(f"<I{len(sizes)}I", len(sizes), *sizes)
        else:
            magic = {1: 0xF993FAC8, 2: 0xF993FAC9, 3: 0xF993FACA}[version]
            out += struct.pack("<I", magic) + (b"" if version == 1 else struct.pack("<i", 0))
            out += struct.pack(f"<I{len(sizes)}q", len(sizes), *sizes)
        array = value.numpy()
        out += struct.pack("<iii", 1, 0, MXNET_TYPES[array.dtype.name]) + array.tobytes()
    out += struct.pack("<Q", len(arrays))
    for name in arrays:
        out += struct.pack("<Q", len(name)) + name.encode()
    return out


def _mxnet(version: int) -> Callable[[Mapping[str, Tensor], Path], None]:
    def write(state: Mapping[str, Tensor], path: Path) -> None:
        path.write_bytes(mxnet_bytes(mxnet_names(state), version))

    return write


def _arrays(state: Mapping[str, Tensor], path: Path) -> None:
    torch.save({"model": {k: v.numpy() for k, v in state.items()}, "lr": np.float64(0.1)}, path)


WRITERS: Mapping[str, Callable[[Mapping[str, Tensor], Path], None]] = {
    "zip": lambda state, path: torch.save(dict(state), path),
    "legacy": lambda s, path: torch.save(dict(s), path, _use_new_zipfile_serialization=False),
    "parameters": lambda state, path: torch.save(
        {k: nn.Parameter(v, requires_grad=False) for k, v in state.items()}, path
    ),
    "arrays": _arrays,
    "safetensors": lambda state, path: save_file(dict(state), path, {"format": "pt"}),
    "mxnet 0": _mxnet(0),
    "mxnet 1": _mxnet(1),
    "mxnet 2": _mxnet(2),
    "mxnet 3": _mxnet(3),
}
"""Functions that write a state dict to a file, by format."""
