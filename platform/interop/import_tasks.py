"""Ray tasks that check files of other projects and store them as class maps or labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..data.formats import class_maps, label_maps, parquet, shards
from ..data.images import check_mask, decode_mask
from ..data.readers.files import read_file
from ..errors import InputError
from ..ray_runtime import cluster
from ..storage.artifact_files import ArtifactFolder
from . import formats

COLUMNS = ("id", "labels", "height", "width")


def read_label_plane(path: Path, row: parquet.Row, classes: int) -> label_maps.Plane:
    """Read the labels of one image from a PNG, 255 where unknown.

    Args:
        path: the PNG.
        row: the columns COLUMNS of the image.
        classes: number of classes of the data set.

    Returns:
        `[H,W]`.

    Raises:
        InputError: the file is broken, has another size than the image, or holds a class that is
            not among the image's labels.
    """
    size = (row["height"], row["width"])
    plane = check_mask(decode_mask(read_file(path), str(path)), size, classes, str(path))
    unexpected = set(plane.ravel().tolist()) - {0, 255, *(n + 1 for n in row["labels"])}
    if unexpected:
        values = [n + 1 for n in row["labels"]]
        raise InputError(
            f"{path} holds the value {min(unexpected)}; the image's labels allow 0, {values}, 255"
        )
    return plane


def import_slice(
    piece: shards.Slice, kind: str, source: str, classes: int, folder: ArtifactFolder
) -> int:
    """Import the files of one slice in a Ray task and return the number of images."""
    rows = shards.read(piece, COLUMNS)
    if kind not in formats.FORMATS:
        planes = [
            (r["id"], read_label_plane(Path(source) / f"{r['id']}.png", r, classes)) for r in rows
        ]
        return label_maps.write(label_maps.file_of_slice(folder, piece), planes)
    maps = [_read_maps(Path(source), r, kind, classes) for r in rows]
    class_maps.write(label_maps.file_of_slice(folder, piece), maps)
    return len(maps)


def _read_maps(source: Path, row: parquet.Row, kind: str, classes: int) -> class_maps.ClassMaps:
    """Read the class maps of one image, which may have no file if it has no labels."""
    path = source / f"{row['id']}{formats.FORMATS[kind].suffix}"
    size = (row["height"], row["width"])
    if formats.without_file(kind, row["labels"]) and not path.exists():
        return formats.no_maps(row["id"], size)
    return formats.read(kind, path, row["id"], row["labels"], size, classes)


def import_folder(
    folder: ArtifactFolder,
    pieces: Sequence[shards.Slice],
    kind: str,
    source: Path,
    classes: int,
    progress: Callable[[int, int], None],
) -> dict[str, object]:
    """Import all files of a folder into an artifact, with one Ray task for each slice.

    Args:
        folder: the empty folder of the artifact.
        pieces: slices of the images.
        kind: one of `formats.FORMATS`, or png for labels.
        source: the folder with one file for each image.
        classes: number of classes of the data set.
        progress: called with (slices done, slices in all).

    Returns:
        The entries of the manifest: `images`, the number of images.
    """
    shared = (kind, str(source), classes, folder)
    return {"images": sum(cluster.map_tasks(import_slice, list(pieces), shared, progress))}
