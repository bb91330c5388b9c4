"""Files of other projects, checked and taken over as class maps or labels, as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..data.formats import class_maps, label_maps, shards
from ..data.images import check_mask, decode_mask
from ..errors import InputError
from ..ray_runtime import cluster
from . import formats

COLUMNS = ("id", "labels", "height", "width")


def label_plane(path: Path, row: dict[str, Any], classes: int) -> label_maps.Plane:
    """The labels of one image from a PNG; 255 where unknown.

    Raises:
        InputError: it is broken, of another size, or holds a class that the image has not.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error}") from error
    size = (row["height"], row["width"])
    plane = check_mask(decode_mask(data, str(path)), size, classes, str(path))
    strange = set(plane.ravel().tolist()) - {0, 255, *(n + 1 for n in row["labels"])}
    if strange:
        named = [n + 1 for n in row["labels"]]
        raise InputError(f"{path} holds {min(strange)}; the image's labels allow 0, {named}, 255")
    return plane


def take_slice(piece: shards.Slice, kind: str, source: str, classes: int, folder: str) -> int:
    """A task: takes over the files of one slice; returns how many."""
    rows = shards.read(piece, COLUMNS)
    if kind not in formats.FORMATS:
        found = [(r["id"], label_plane(Path(source) / f"{r['id']}.png", r, classes)) for r in rows]
        return label_maps.write(label_maps.file_of(folder, piece), found)
    suffix = formats.FORMATS[kind].suffix
    maps = [
        formats.read(
            kind,
            Path(source) / f"{r['id']}{suffix}",
            r["id"],
            r["labels"],
            (r["height"], r["width"]),
            classes,
        )
        for r in rows
    ]
    class_maps.write(Path(label_maps.file_of(folder, piece)), maps)
    return len(maps)


def take_over(
    folder: Path,
    pieces: Sequence[shards.Slice],
    kind: str,
    source: Path,
    classes: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The stage: what lies in `source`, in `folder`.

    Args:
        folder: empty.
        pieces: the images.
        kind: of `formats.FORMATS`, or png for labels.
        source: one file an image.
        classes: of the data set.
        progress: called with (slices done, slices in all).
    """
    shared = (kind, str(source), classes, str(folder))
    return {"images": sum(cluster.each(take_slice, list(pieces), shared, progress))}
