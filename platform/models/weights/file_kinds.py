"""The format of a weight file, told by its first bytes, whatever its name says."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from ...serialization import quoted
from ...storage import filesystem

TORCH, SAFETENSORS, MXNET = "torch", "safetensors", "mxnet"
READ = "a file of torch.save (.pth, .pt), a .safetensors file or MXNet's .params"
"""The formats that are read, for messages."""
HEAD = 512
"""Number of first bytes by which formats are told apart."""
LEGACY = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""The pickled number at the start of a file that `torch.save` wrote before it wrote zip files."""
MXNET_LIST = (0x112).to_bytes(8, "little")
"""First bytes of a list of MXNet's arrays."""
AGAIN = "download the file again"
UNPACK = "unpack it and give the weight file in it"
OTHERS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself; run git lfs pull"),
    (b"\x1f\x8b", f"is packed by gzip; {UNPACK}"),
    (b"BZh", f"is packed by bzip2; {UNPACK}"),
    (b"\xfd7zXZ\0", f"is packed by xz; {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7z archive; {UNPACK}"),
    (b"Rar!", f"is a RAR archive; {UNPACK}"),
    (b"\x89HDF\r\n", f"is an HDF5 file, as Keras writes them; give {READ}"),
    (b"\x93NUMPY", f"is one array of NumPy; give {READ}"),
)
"""First bytes of files of other formats, with what the files are and what to do."""


def kind_of(path: Path) -> str:
    """Return the format of a weight file: TORCH, SAFETENSORS or MXNET.

    Raises:
        InputError: the file is missing, empty, or in a format that is not read.
    """
    if not filesystem.regular(path).is_file():
        raise InputError(f"there is no weight file {path}")
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if not head:
        raise InputError(f"{path} is empty, and holds no weights; {AGAIN}")
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if head.startswith(b"\x80") and LEGACY in head[:16]:
        return TORCH
    if head.startswith(MXNET_LIST):
        return MXNET
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return SAFETENSORS
    raise InputError(f"{path} {_description(path, head)}")


def _description(path: Path, head: bytes) -> str:
    """Return what a file of another format is, and what to do."""
    text = head.lstrip().lower()
    for start, sentence in OTHERS:
        if head.startswith(start):
            return sentence
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        return f"is a web page, not a weight file; {AGAIN}, by the link to the file itself"
    if head[257:262] == b"ustar":
        return f"is a tar archive; {UNPACK}"
    if path.suffix.lower() == ".caffemodel":
        return (
            "is a Caffe model, whose networks take other images (blue first, 0 to 255); give "
            "torchvision's weights"
        )
    if head.startswith(b"\x80"):
        return (
            "is a pickle that torch.save did not write, and is not read, because a pickle can hold "
            "code; save its state dict by torch.save"
        )
    return f"is no weight file: it begins with {quoted(head[:16])}; give {READ}"


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a zip archive that holds a network with its code.

    Raises:
        InputError: the file is missing, or is a zip archive that is cut off or damaged.
    """
    if not filesystem.regular(path).is_file():
        raise InputError(f"there is no weight file {path}")
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    return zipped and _holds_code(_names_in_zip(path))


def _names_in_zip(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # damaged bytes end in almost any type
        raise InputError(
            f"{path} is not read as a weight file: it is damaged or cut off; {AGAIN}"
        ) from error


def _holds_code(names: Sequence[str]) -> bool:
    inner = {name.partition("/")[2] for name in names}
    return "constants.pkl" in inner or any(name.startswith("code/") for name in inner)


def _kind_of_zip(path: Path) -> str:
    """Return TORCH for a zip file that `torch.save` wrote.

    Raises:
        InputError: the zip file is cut off or damaged, or another program wrote it.
    """
    names = _names_in_zip(path)
    inner = {name.partition("/")[2] for name in names}
    if _holds_code(names):
        raise InputError(
            f"{path} holds a network with its code (TorchScript), which is not run; save its "
            "weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)"
        )
    if "data.pkl" in inner:
        return TORCH
    weights = [n for n in names if n.lower().endswith((".pth", ".pt", ".safetensors", ".params"))]
    if weights:
        raise InputError(f"{path} is a zip archive that holds {quoted(weights[0])}; {UNPACK}")
    content = quoted(names[0]) if names else "nothing"
    raise InputError(f"{path} is a zip archive of something else ({content}); give {READ}")
