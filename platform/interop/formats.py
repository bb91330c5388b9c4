"""Reading and writing of class maps in the file formats of other WSSS projects.

Each image has one `.npy` file. Every format has its own order of planes and keys, normalisation
and grid; all are checked against the image's labels, so that a wrong convention is an error and
never a shift by one class.
Shapes: n present classes, h w a grid, H W the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ..data.formats.class_maps import PROBABILITY_STRIDE, ClassMaps
from ..data.readers import safe_pickle
from ..errors import InputError
from ..ops.maps import grid_size

LABEL_IMAGES = "png"
"""Kind of an import or export that consists of label images instead of class maps."""
Planes = NDArray[np.float32]
ClassesAndPlanes = tuple[list[int], Planes]
LARGEST_SQUARE = 2048
"""Largest side, in pixels, of planes of an image that was warped to a square."""
TOLERANCE = 5e-3
"""Largest distance of a value from 0..1, which half precision and resizing account for."""


@dataclass(frozen=True)
class Limits:
    """The largest content of a file, checked before arrays are converted.

    Attributes:
        planes: number of classes of the data set, plus one for the background.
        pixels: number of pixels of a plane.
    """

    planes: int
    pixels: int


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format for the class maps of one image.

    Attributes:
        projects: names of the projects that write the format.
        background: whether a background plane comes first.
        read: turns the content of a file into 0-based classes (without background) and planes;
            raises ValueError where the content exceeds the limits.
        write: turns ascending 0-based classes and planes into the content of a file.
        square: whether the planes belong to the image warped to a square.
        probabilities: whether the planes are a segmenter's probabilities of all classes, which
            are all kept.
        suffix: end of the file name, after the image id.
    """

    projects: str
    background: bool
    read: Callable[[object, Limits], ClassesAndPlanes]
    write: Callable[[Sequence[int], Planes], object]
    square: bool = False
    probabilities: bool = False
    suffix: str = ".npy"


def _floats(value: object, limits: Limits) -> Planes:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"its planes are a {type(value).__name__}, not an array")
    if value.dtype.kind not in "fiub":
        raise ValueError(f"its planes hold {value.dtype}, not numbers")
    if value.size > limits.planes * limits.pixels:
        raise ValueError(
            f"its planes have the shape {value.shape}, more than {limits.planes} of "
            f"{limits.pixels} pixels"
        )
    return np.asarray(value).astype(np.float32)


def _ints(value: object, limits: Limits) -> list[int]:
    if not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(f"its classes are a {type(value).__name__}, not a list")
    if len(value) > limits.planes:
        raise ValueError(f"it has {len(value)} classes, the data set {limits.planes - 1}")
    return [int(v) for v in value]


def _by_name(planes: str) -> Callable[[object, Limits], ClassesAndPlanes]:
    """Return a reader of dicts with the classes under `keys` and the planes under another name."""

    def read(content: object, limits: Limits) -> ClassesAndPlanes:
        if not isinstance(content, dict) or not {"keys", planes} <= set(content):
            raise ValueError(f"it is no dict with 'keys' and {planes!r}")
        return _ints(content["keys"], limits), _floats(content[planes], limits)

    return read


def _is_cam(content: object, limits: Limits) -> ClassesAndPlanes:
    """Read a dict whose `keys` begin with 0 for the background and count classes from 1."""
    keys, planes = _by_name("IS_CAM")(content, limits)
    if keys[:1] != [0]:
        raise ValueError(f"its keys {keys} do not begin with 0 for the background")
    return [key - 1 for key in keys[1:]], planes


def _by_class(content: object, limits: Limits) -> ClassesAndPlanes:
    """Read a dict from class to plane."""
    if not isinstance(content, dict) or not all(isinstance(k, int | np.integer) for k in content):
        raise ValueError("it is no dict from class numbers to planes")
    keys = _ints(list(content), limits)
    if not keys:
        return keys, np.zeros((0, 1, 1), np.float32)
    one = Limits(1, limits.pixels)
    return keys, np.stack([_floats(v, one) for v in content.values()])


def _all_classes(content: object, limits: Limits) -> ClassesAndPlanes:
    """Read an array with one plane for each class, 0..255."""
    planes = _floats(content, limits)
    if np.asarray(content).dtype != np.uint8:
        kind = np.asarray(content).dtype
        raise ValueError(f"its planes hold {kind}, not whole numbers of 8 bits from 0 to 255")
    if planes.ndim != 3:
        raise ValueError(f"its array has the shape {planes.shape}, not one plane for each class")
    return list(range(len(planes))), planes / np.float32(255)


def _scores(content: object, limits: Limits) -> ClassesAndPlanes:
    """Read a dict with the logits or probabilities of a segmenter, `[C,h,w]` or `[1,C,h,w]`."""
    if not isinstance(content, dict) or "msc_seg" not in content:
        raise ValueError("it is no dict with 'msc_seg'")
    planes = _floats(content["msc_seg"], limits)
    planes = planes[0] if planes.ndim == 4 and len(planes) == 1 else planes
    if planes.ndim != 3 or not planes.size or not np.isfinite(planes).all():
        raise ValueError(f"its scores of shape {planes.shape} are not [C,h,w], or not finite")
    if not np.issubdtype(np.asarray(content["msc_seg"]).dtype, np.floating):
        raise ValueError("its scores are integers, neither logits nor probabilities")
    if planes.min() < -TOLERANCE or planes.max() > 1 + TOLERANCE:
        planes = torch.from_numpy(planes).softmax(0).numpy()
    elif np.abs(planes.sum(0) - 1).max() > TOLERANCE:
        raise ValueError("its scores lie in 0 to 1 but do not add up to 1 at each pixel")
    return list(range(len(planes) - 1)), planes


def _irn(keys: Sequence[int], planes: Planes) -> object:
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
        read=_is_cam,
        write=lambda keys, planes: {
            "keys": np.array([0, *(k + 1 for k in keys)]),
            "IS_CAM": planes,
        },
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
        read=_all_classes,
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
    """Read the class maps of one image from a file of another project.

    Args:
        kind: one of FORMATS.
        path: the file.
        id: id of the image.
        labels: 0-based classes of the image.
        size: size of the image, (H, W).
        classes: number of classes of the data set, N.

    Raises:
        InputError: the file is missing or broken, or its classes, planes, values or grid do not
            fit the format and the image.
    """
    form = FORMATS[kind]
    content = safe_pickle.load(path)
    labels = range(classes) if form.probabilities else sorted(labels)
    pixels = LARGEST_SQUARE * LARGEST_SQUARE if form.square else (size[0] + 1) * (size[1] + 1)
    try:
        keys, planes = form.read(content, Limits(classes + 1, pixels))
        keys = _checked_keys(form, keys, list(labels), len(planes), classes)
        if planes.size and not -TOLERANCE <= planes.min() <= planes.max() <= 1 + TOLERANCE:
            span = f"{planes.min():.3g} to {planes.max():.3g}"
            raise ValueError(f"its values go from {span}, not from 0 to 1")
        if form.square:
            _check_absent(planes, labels)
        else:
            _check_grid(planes, size, int(form.probabilities))
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path} is no {kind} file of {id}: {error}") from error
    first = int(form.background)
    order = [*range(first), *(first + keys.index(label) for label in labels)]
    return ClassMaps(
        id=id,
        classes=(*[0] * first, *(label + 1 for label in labels)),
        planes=_on_grid(planes[order], size, PROBABILITY_STRIDE if form.probabilities else 4),
        height=size[0],
        width=size[1],
    )


def _checked_keys(
    form: Format, keys: list[int], labels: list[int], planes: int, classes: int
) -> list[int]:
    """Return the 0-based class of each plane but the background plane, after a check."""
    if form.read is _all_classes or form.probabilities:
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
        raise ValueError(f"its classes are {sorted(keys)}, but the image's labels are {labels}")
    if planes != len(keys) + form.background:
        what = "a background plane and " if form.background else ""
        raise ValueError(f"it has {planes} planes for {what}{len(keys)} classes")
    return keys


def _check_absent(planes: Planes, labels: Sequence[int]) -> None:
    """Refuse planes of all classes of which one that is no label of the image is not zero."""
    absent = [k for k, plane in enumerate(planes) if k not in labels and plane.any()]
    if absent:
        raise ValueError(
            f"its planes of the classes {absent} are not zero, but the image's labels are "
            f"{[*labels]}; perhaps its classes stand in another order"
        )


def without_file(kind: str, labels: Sequence[int]) -> bool:
    """Return whether a project may have written no file for an image, which has no labels."""
    return kind in FORMATS and not FORMATS[kind].background and not labels


def no_maps(id: str, size: tuple[int, int]) -> ClassMaps:
    """Return the class maps of an image of a size (H, W) without labels."""
    planes = _on_grid(np.zeros((0, 1, 1), np.float32), size, 4)
    return ClassMaps(id=id, classes=(), planes=planes, height=size[0], width=size[1])


def _check_grid(planes: Planes, size: tuple[int, int], loose: int) -> None:
    """Refuse planes that have neither the image's size nor the size of a grid over the image.

    A side may be larger by `loose`, because Caffe's networks round up once more.
    """
    if planes.ndim != 3:
        raise ValueError(f"its planes have the shape {planes.shape}, not [n,h,w]")
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
    maps = torch.from_numpy(planes.clip(0, 1))[None]
    if planes.shape[1:] != grid:
        maps = F.interpolate(maps, grid, mode="bilinear", align_corners=False, antialias=True)
    out: NDArray[np.float16] = maps[0].half().numpy()
    return out


def _planes(maps: ClassMaps, size: tuple[int, int]) -> Planes:
    """Return the planes of an image at a size, in 0..1."""
    if not maps.classes:
        return np.zeros((0, *size), np.float32)
    stored = torch.from_numpy(maps.planes).float()[None]
    full = F.interpolate(stored, size, mode="bilinear", align_corners=False)
    planes: Planes = full[0].clamp(0, 1).numpy()
    return planes


def write(
    kind: str, folder: Path, maps: ClassMaps, classes: int, strided: ClassMaps | None = None
) -> Path:
    """Write the class maps of one image in the format of another project and return the file.

    Args:
        kind: one of FORMATS.
        folder: folder of the file.
        maps: the class maps.
        classes: number of classes of the data set, N.
        strided: the same maps at stride 4, which some formats hold too; None: they are made from
            `maps`.

    Raises:
        InputError: the format has a background plane and the maps have none, or the reverse; or
            the format needs maps of all classes.
    """
    form = FORMATS[kind]
    background = maps.classes[:1] == (0,)
    if background != form.background:
        has = "have a" if background else "have no"
        raise InputError(
            f"the class maps of {maps.id} {has} background plane, unlike files of the format "
            f"{kind}; choose another format"
        )
    size = (320, 320) if form.square else (maps.height, maps.width)
    if form.probabilities:
        size = maps.planes.shape[1:]
    planes = _planes(maps, size)
    if form.probabilities and maps.classes != tuple(range(classes + 1)):
        raise InputError(
            f"the class maps of {maps.id} are not of all classes, as the format {kind} needs; "
            "choose another format"
        )
    keys = [c - 1 for c in maps.classes if c]
    if form.read is _all_classes:
        all_planes = np.zeros((classes, *size), np.float32)
        all_planes[keys] = planes
        keys, planes = list(range(classes)), all_planes
    path = folder / f"{maps.id}{form.suffix}"
    content = form.write(keys, planes)
    if strided and isinstance(content, dict) and "cam" in content:
        content["cam"] = torch.from_numpy(strided.planes).float()
    np.save(path, np.asanyarray(content))
    return path
