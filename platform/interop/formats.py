"""Class maps in the files of other WSSS projects: read into the house's form, and written again.

One `.npy` file an image. Every format has its own plane order, key order, normalisation and grid;
each is checked against the image's labels, so that a wrong convention is an error and never a
shift by one class.
Shapes: n present classes, h w a grid, H W the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ..data.formats.class_maps import COARSE, ClassMaps
from ..errors import InputError
from ..ops.maps import grid_size
from . import safe_pickle

Planes = NDArray[np.float32]
Keyed = tuple[list[int], Planes]
SQUARE = 2048
"""The longest side of planes that are of an image warped to a square."""
TOLERANCE = 5e-3
"""How far beyond 0..1 a value may lie; half precision and resizing leave that much."""


@dataclass(frozen=True)
class Room:
    """How much a file may hold, which is looked at before anything is made of it.

    Attributes:
        planes: the classes of the data set, and the background.
        pixels: of a plane.
    """

    planes: int
    pixels: int


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a project stores the class maps of one image.

    Attributes:
        projects: who writes it.
        background: whether a background plane comes first.
        read: the content of a file to 0-based classes (without background) and planes; refuses
            what there is no room for.
        write: the same back; classes ascend.
        square: whether the planes are of the image warped to a square.
        probabilities: whether they are a segmenter's, of all classes, and all are kept.
        suffix: what follows the image's id in the file name.
    """

    projects: str
    background: bool
    read: Callable[[Any, Room], Keyed]
    write: Callable[[Sequence[int], Planes], Any]
    square: bool = False
    probabilities: bool = False
    suffix: str = ".npy"


def _plain(value: Any, room: Room) -> Planes:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"its planes are a {type(value).__name__}, not an array")
    if value.dtype.kind not in "fiub":
        raise ValueError(f"planes hold {value.dtype}, not numbers")
    if value.size > room.planes * room.pixels:
        raise ValueError(
            f"its planes are {value.shape}, more than {room.planes} of {room.pixels} pixels"
        )
    return np.asarray(value).astype(np.float32)


def _ints(value: Any, room: Room) -> list[int]:
    if not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(f"its classes are a {type(value).__name__}, not a list")
    if len(value) > room.planes:
        raise ValueError(f"it has {len(value)} classes, the data set {room.planes - 1}")
    return [int(v) for v in value]


def _by_name(planes: str) -> Callable[[Any, Room], Keyed]:
    """From a dict with `keys` and the planes under a name."""

    def read(content: Any, room: Room) -> Keyed:
        for name in ("keys", planes):
            if not isinstance(content, dict) or name not in content:
                raise ValueError(f"it is no dict with {name!r}")
        return _ints(content["keys"], room), _plain(content[planes], room)

    return read


def _by_class(content: Any, room: Room) -> Keyed:
    """From a dict of class to plane."""
    if not isinstance(content, dict) or not all(isinstance(k, int | np.integer) for k in content):
        raise ValueError("it is no dict of classes")
    keys = _ints(list(content), room)
    if not keys:
        return keys, np.zeros((0, 1, 1), np.float32)
    one = Room(1, room.pixels)
    return keys, np.stack([_plain(v, one) for v in content.values()])


def _whole(content: Any, room: Room) -> Keyed:
    """From an array of all classes' planes, 0..255."""
    planes = _plain(content, room)
    if planes.ndim != 3:
        raise ValueError(f"it is an array {planes.shape}, not one plane for each class")
    return list(range(len(planes))), planes / np.float32(255)


def _scores(content: Any, room: Room) -> Keyed:
    """From a dict with a segmenter's logits or probabilities, `[C,h,w]` or `[1,C,h,w]`."""
    if not isinstance(content, dict) or "msc_seg" not in content:
        raise ValueError("it is no dict with 'msc_seg'")
    planes = _plain(content["msc_seg"], room)
    planes = planes[0] if planes.ndim == 4 and len(planes) == 1 else planes
    if planes.ndim != 3 or not planes.size or not np.isfinite(planes).all():
        raise ValueError(f"its scores {planes.shape} are not [C,h,w] or not finite")
    if not np.issubdtype(np.asarray(content["msc_seg"]).dtype, np.floating):
        raise ValueError("its scores are integers, neither logits nor probabilities")
    if planes.min() < -TOLERANCE or planes.max() > 1 + TOLERANCE:
        planes = torch.from_numpy(planes).softmax(0).numpy()
    elif np.abs(planes.sum(0) - 1).max() > TOLERANCE:
        raise ValueError("its scores lie in 0 to 1 but do not add up to 1")
    return list(range(len(planes) - 1)), planes


def _irn(keys: Sequence[int], planes: Planes) -> Any:
    small = torch.from_numpy(planes)
    if planes.size:
        small = F.interpolate(small[None], grid_size(*planes.shape[1:]), mode="bilinear")[0]
    return {"keys": np.array(keys), "cam": small, "high_res": planes}


FORMATS: Mapping[str, Format] = {
    "irn": Format(
        projects="IRN, LPCAM, SSC, CLIMS",
        background=False,
        read=_by_name("high_res"),
        write=_irn,
    ),
    "amn": Format(
        projects="AMN",
        background=True,
        read=_by_name("high_res"),
        write=_irn,
    ),
    "sipe": Format(
        projects="SIPE",
        background=True,
        read=_by_name("IS_CAM"),
        write=lambda keys, planes: {"keys": np.array(keys), "IS_CAM": planes},
    ),
    "mctformer": Format(
        projects="MCTformer, EDAM",
        background=False,
        read=_by_class,
        write=lambda keys, planes: dict(zip(keys, planes, strict=True)),
    ),
    "clip-es": Format(
        projects="CLIP-ES",
        background=False,
        read=_by_name("attn_highres"),
        write=lambda keys, planes: {
            "keys": np.array(keys),
            "attn_highres": planes.astype(np.float16),
        },
    ),
    "drs": Format(
        projects="DRS",
        background=False,
        read=_whole,
        write=lambda keys, planes: (planes * 255).round().astype(np.uint8),
        square=True,
    ),
    "msc-seg": Format(
        projects="ToCo, PSDPM",
        background=True,
        read=_scores,
        write=lambda keys, planes: {"msc_seg": planes[None]},
        probabilities=True,
    ),
}


def read(
    kind: str, path: Path, id: str, labels: Sequence[int], size: tuple[int, int], classes: int
) -> ClassMaps:
    """The class maps of one image from a project's file.

    Args:
        kind: one of FORMATS.
        path: the file.
        id: of the image.
        labels: its 0-based classes.
        size: of the image, (H, W).
        classes: of the data set, N.

    Raises:
        InputError: the file is missing or broken, or its classes, planes, values or grid are
            not what the format says for this image.
    """
    form = FORMATS[kind]
    content = safe_pickle.load(path)
    labels = range(classes) if form.probabilities else sorted(labels)
    most = SQUARE * SQUARE if form.square else (size[0] + 1) * (size[1] + 1)
    try:
        keys, planes = form.read(content, Room(classes + 1, most))
        keys = _checked_keys(form, keys, list(labels), len(planes), classes)
        if planes.size and not -TOLERANCE <= planes.min() <= planes.max() <= 1 + TOLERANCE:
            span = f"{planes.min():.3g} to {planes.max():.3g}"
            raise ValueError(f"its values go from {span}, not from 0 to 1")
        if not form.square:
            _check_grid(planes, size, int(form.probabilities))
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path} is no {kind} file of {id}: {error}") from error
    own = int(form.background)
    order = [*range(own), *(own + keys.index(label) for label in labels)]
    return ClassMaps(
        id=id,
        classes=(*[0] * own, *(label + 1 for label in labels)),
        planes=_on_grid(planes[order], size, COARSE if form.probabilities else 4),
        height=size[0],
        width=size[1],
    )


def _checked_keys(
    form: Format, keys: list[int], labels: list[int], planes: int, classes: int
) -> list[int]:
    """The 0-based class of each plane, the background's left out."""
    if form.read is _whole or form.probabilities:
        if len(keys) != classes:
            raise ValueError(f"it has planes of {len(keys)} classes, the data set {classes}")
        return keys
    if sorted(keys) != labels:
        shifted = sorted(k + 1 for k in labels)
        if sorted(keys) in (shifted, [0, *shifted]):
            raise ValueError(
                f"its classes {sorted(keys)} count from 1 with 0 for the background, as files "
                f"after a CRF do; the format counts from 0"
            )
        raise ValueError(f"its classes are {sorted(keys)}, the image's labels {labels}")
    if planes != len(keys) + form.background:
        what = "a background plane and " if form.background else ""
        raise ValueError(f"it has {planes} planes for {what}{len(keys)} classes")
    return keys


def _check_grid(planes: Planes, size: tuple[int, int], loose: int) -> None:
    """Planes are of the image's size, or of a grid of its shape, or `loose` larger (Caffe's
    networks round up once more)."""
    if planes.ndim != 3:
        raise ValueError(f"its planes are {planes.shape}, not [n,h,w]")
    height, width = planes.shape[1:]
    if not len(planes):
        return
    grids = [grid_size(*size, stride=s) for s in (1, 2, 4, 8, 16)]
    if not any(h <= height <= h + loose and w <= width <= w + loose for h, w in grids):
        raise ValueError(f"its planes are {height} x {width}, the image {size[0]} x {size[1]}")


def _on_grid(planes: Planes, size: tuple[int, int], stride: int) -> NDArray[np.float16]:
    grid = grid_size(*size, stride)
    if not len(planes):
        return np.zeros((0, *grid), np.float16)
    found = torch.from_numpy(planes.clip(0, 1))[None]
    if planes.shape[1:] != grid:
        found = F.interpolate(found, grid, mode="bilinear", align_corners=False, antialias=True)
    out: NDArray[np.float16] = found[0].half().numpy()
    return out


def write(kind: str, folder: Path, maps: ClassMaps, classes: int) -> Path:
    """Writes the class maps of one image as a project would; returns the file.

    Raises:
        InputError: the format needs a background plane that the maps have not, or has none.
    """
    form = FORMATS[kind]
    own = maps.classes[:1] == (0,)
    if own != form.background:
        has = "bring a" if own else "have no"
        raise InputError(f"the maps of {maps.id} {has} background plane; {kind} is the other way")
    size = (320, 320) if form.square else (maps.height, maps.width)
    if form.probabilities:
        size = maps.planes.shape[1:]
    found = torch.from_numpy(maps.planes).float()[None]
    planes = np.zeros((len(maps.classes), *size), np.float32)
    if maps.classes:
        full = F.interpolate(found, size, mode="bilinear", align_corners=False)
        planes = full[0].clamp(0, 1).numpy()
    if form.probabilities and maps.classes != tuple(range(classes + 1)):
        raise InputError(f"the maps of {maps.id} are not of all classes, as {kind} files are")
    keys = [c - 1 for c in maps.classes if c]
    if form.read is _whole:
        every = np.zeros((classes, *size), np.float32)
        every[keys] = planes
        keys, planes = list(range(classes)), every
    path = folder / f"{maps.id}{form.suffix}"
    np.save(path, form.write(keys, planes))
    return path
