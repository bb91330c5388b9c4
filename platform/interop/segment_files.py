"""Class-agnostic segments that other projects computed, as artifacts of the store.

Three kinds of folders are read, see `config.refiners.segments.SegmentKind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config.refiners.segments import SegmentKind
from ..data.formats import label_maps, parquet, segments, shards
from ..data.images import load, open_image
from ..data.readers.files import read_file
from ..data.sources.coco.segmentations import form_of, segmentation_mask
from ..errors import InputError
from ..ops.refinement.segment_merging import Segments
from ..ray_runtime import cluster
from ..serialization import digest, from_json, quoted
from ..storage.artifact_files import ArtifactFolder
from .imports import files_fingerprint

COLUMNS = ("id", "height", "width")


def files_of(folder: Path, kind: SegmentKind, id: str) -> list[Path]:
    """Return the files with the segments of an image.

    Raises:
        InputError: the folder of masks of the image is missing.
    """
    if kind != "masks":
        return [folder / f"{id}{'.json' if kind == 'sam' else '.png'}"]
    inner = folder / id
    if not inner.is_dir():
        raise InputError(f"there is no folder {inner} with the segments of image {id}")
    return sorted(path for path in inner.iterdir() if path.suffix.lower() == ".png")


def fingerprint(folder: Path, kind: SegmentKind, ids: Sequence[str]) -> str:
    """Return a hash of the names, sizes and times of change of the files of images.

    Raises:
        InputError: the folder or a file is missing.
    """
    if ids and not folder.is_dir():
        raise InputError(f"there is no folder {folder} for refine.segments.folder")
    return digest([[id, files_fingerprint(files_of(folder, kind, id))] for id in ids])


def read_segments(folder: Path, kind: SegmentKind, row: parquet.Row) -> Segments:
    """Read the segments of one image.

    Args:
        folder: folder of the segments.
        kind: kind of the folder.
        row: the columns COLUMNS of the image.

    Raises:
        InputError: a file is missing, cannot be read, or does not fit the image; the message names
            the file.
    """
    height, width = row["height"], row["width"]
    files = files_of(folder, kind, row["id"])
    if kind == "ids":
        ids = _read_plane(files[0], height, width)
        return Segments.from_ids(ids, np.iinfo(ids.dtype).max)
    if kind == "masks":
        masks = (_read_plane(path, height, width) > 0 for path in files)
        return Segments.from_masks(height, width, masks)
    return Segments.from_masks(height, width, _masks_of_json(files[0], height, width))


def _masks_of_json(path: Path, height: int, width: int) -> Iterator[NDArray[np.bool_]]:
    """Yield the masks `[H,W]` in a file of segment-anything."""
    try:
        entries = from_json(read_file(path))
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(entries, list):
        raise InputError(
            f"{path} holds no list of masks; write it with segment-anything's amg.py "
            "--convert-to-rle"
        )
    for number, entry in enumerate(entries):
        try:
            yield _mask_of_entry(entry, height, width)
        except ValueError as error:
            raise InputError(f"{path}, mask {number}: {error}") from error


def _mask_of_entry(entry: object, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask `[H,W]` of one entry; raises ValueError where it has none."""
    if not isinstance(entry, dict) or "segmentation" not in entry:
        raise ValueError(f"{quoted(entry)} has no segmentation")
    if form_of(entry["segmentation"]) != "runs":
        raise ValueError("its segmentation holds no run lengths, size and counts")
    mask = segmentation_mask(entry["segmentation"], height, width)
    area = entry.get("area")
    if area is not None and area != mask.sum():
        raise ValueError(f"its area is {quoted(area)}, but its run lengths cover {mask.sum()}")
    return mask


def _read_plane(path: Path, height: int, width: int) -> NDArray[np.integer]:
    """Return the values `[H,W]` of a PNG with one channel of 8 or 16 bits.

    Raises:
        InputError: the file has another form or size.
    """
    image = open_image(read_file(path), str(path), ("PNG",))
    if image.mode not in ("L", "P", "1", "I", "I;16"):
        raise InputError(f"{path} has pixel mode {image.mode}; segments are PNGs with one channel")
    load(image, str(path))
    if (image.height, image.width) != (height, width):
        raise InputError(
            f"{path} is {image.width}x{image.height} pixels, its image {width}x{height}; both must "
            "have one size"
        )
    return np.array(image, np.uint16 if image.mode.startswith("I") else np.uint8)


def import_slice(
    piece: shards.Slice, kind: SegmentKind, source: str, folder: ArtifactFolder
) -> tuple[int, int]:
    """Write the segments of one slice in a Ray task; return the images and the segments."""
    rows = shards.read(piece, COLUMNS)
    read = [(row["id"], read_segments(Path(source), kind, row)) for row in rows]
    segments.write(label_maps.file_of_slice(folder, piece), read)
    return len(read), sum(len(image_segments.pixels) for _, image_segments in read)


def import_folder(
    folder: ArtifactFolder,
    pieces: Sequence[shards.Slice],
    kind: SegmentKind,
    source: Path,
    progress: Callable[[int, int], None],
) -> dict[str, object]:
    """Import the segments of slices into an artifact, with one Ray task for each slice.

    Args:
        folder: the empty folder of the artifact.
        pieces: slices of the images.
        kind: kind of the folder of segments.
        source: the folder of segments.
        progress: called with (slices done, slices in all).

    Returns:
        The entries of the manifest.
    """
    shared = (kind, str(source), folder)
    counts = list(cluster.map_tasks(import_slice, list(pieces), shared, progress))
    images, count = (sum(column) for column in zip(*counts, strict=True))
    return {"images": images, "segments": count}
