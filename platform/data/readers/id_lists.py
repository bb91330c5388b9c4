"""Reading of lists of images: ids alone, or the paths of images and masks.

A line is `2007_000032`, `2007_000032.jpg`, or, as code of DeepLab keeps lists,
`/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png`. Columns are divided by blanks,
tabs or commas. Paths start at the folder of the data set, also with a slash in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import InputError
from ...serialization import quoted
from ..names import check_id
from .files import IMAGE_SUFFIXES, MASK_SUFFIXES, read_text

FLAGS = ("-1", "0", "1", "+1")
"""Second column of VOC's lists of one class: absent, difficult and present."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of a data set.

    Attributes:
        root: folder at which paths in lists start.
        images: folder of images below the root.
        masks: folders of masks below the root, the first with a mask counts.
    """

    root: Path
    images: str
    masks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ImageLists:
    """Lists of images of a data set.

    Attributes:
        ids: ids of each list by its name, in the order of the lines.
        images: path of an image below the root by id, where it is not in the folder of images.
        masks: path of a mask below the root by id, where a list names it.
        notes: sentences on how lists were read.
    """

    ids: Mapping[str, Sequence[str]]
    images: Mapping[str, str]
    masks: Mapping[str, str]
    notes: tuple[str, ...]

    def naming(self, id: str) -> str:
        """Return the names of the lists that name an image, for messages."""
        return ", ".join(name for name, ids in self.ids.items() if id in ids)


@dataclass(frozen=True)
class Line:
    """A line of a list: file and number for messages, and columns."""

    where: str
    columns: tuple[str, ...]


def image_id(text: str) -> str:
    """Return the image id that a text names: the stem of a file name, or else the text.

    Raises:
        InputError: the id is not allowed, or the text is a path with `..`.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    if ".." in path.parts and len(path.parts) > 1:
        raise InputError(f"the path {quoted(text)} holds '..'; a path starts at the data set")
    return check_id(path.stem if path.suffix.lower() in IMAGE_SUFFIXES else text)


def folder_of(text: str) -> tuple[str, ...]:
    """Return the parts of the folder in which a text names an image, () for an id or a name."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    return tuple(parts[:-1])


def read_lists(path_by_name: Mapping[str, Path], layout: Layout) -> ImageLists:
    """Read lists of images.

    Args:
        path_by_name: list files by the name of the list.
        layout: folders of the data set.

    Raises:
        InputError: a list is missing or empty, names an image twice, has a second column that
            names no mask, or two lists name different paths of one image.
    """
    ids: dict[str, list[str]] = {}
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    notes = []
    lines_by_name = {}
    for name, path in path_by_name.items():
        lines = _lines(path)
        ids[name] = _ids(lines, path)
        columns = max(len(line.columns) for line in lines)
        if _is_flagged(lines, path):
            notes.append(f"{path.name}: the second column, 1 in each line, is left out")
            lines = [Line(line.where, line.columns[:1]) for line in lines]
        elif columns > 2:
            notes.append(f"{path.name}: columns after the second are left out")
        for id, line in zip(ids[name], lines, strict=True):
            _add_path(images, id, _image_path(line, layout), line)
            _add_path(masks, id, _mask_path(line, layout), line)
        lines_by_name[name] = lines
    for name, path in path_by_name.items():
        notes += _notes(path, lines_by_name[name], ids[name], images, masks)
    return ImageLists(ids=ids, images=images, masks=masks, notes=tuple(notes))


def _add_path(path_by_id: dict[str, str], id: str, path: str | None, line: Line) -> None:
    """Add the path that a line names, which must be the path in other lists too."""
    if path and path_by_id.setdefault(id, path) != path:
        raise InputError(
            f"{line.where} names {path} for image {id}, but another list names {path_by_id[id]}; "
            "an image has one path in all lists"
        )


def _lines(path: Path) -> list[Line]:
    if not path.is_file():
        raise InputError(f"there is no list {path}")
    out = []
    for number, text in enumerate(read_text(path).split("\n"), 1):
        divided = re.split(r"[\t,]", text) if "\t" in text.strip() or "," in text else text.split()
        columns = tuple(column.strip() for column in divided if column.strip())
        if columns:
            out.append(Line(f"{path}, line {number}", columns))
    if not out:
        raise InputError(f"list {path} is empty")
    return out


def _ids(lines: Sequence[Line], path: Path) -> list[str]:
    """Return the ids of the lines, each once."""
    seen: dict[str, str] = {}
    for line in lines:
        try:
            id = image_id(line.columns[0])
        except InputError as error:
            raise InputError(f"{line.where}: {error}") from None
        if id in seen:
            raise InputError(f"list {path} names {id} twice: {seen[id]} and {_number(line)}")
        seen[id] = _number(line)
    return list(seen)


def _number(line: Line) -> str:
    return line.where.rsplit(", ", 1)[1]


def _is_flagged(lines: Sequence[Line], path: Path) -> bool:
    """Return whether the second column is 1 throughout, as in a list of images of one class.

    Raises:
        InputError: the second column has other values of such a list.
    """
    seconds = [line.columns[1] for line in lines if len(line.columns) > 1]
    if not seconds or not all(text in FLAGS for text in seconds):
        return False
    if not all(text in ("1", "+1") for text in seconds):
        raise InputError(
            f"list {path} is a list of one class, in which 1 marks images with the class, -1 "
            "without it and 0 with difficult objects alone; keep the images to use, ids alone"
        )
    return True


def _image_path(line: Line, layout: Layout) -> str | None:
    """Return the path of an image outside of the usual folder, or None."""
    candidates = _below_root(line, 0, layout)
    if any(str(path.parent) in (".", layout.images) for path in candidates):
        return None
    return _first_file(candidates, line, 0, layout)


def _mask_path(line: Line, layout: Layout) -> str | None:
    """Return the path of the mask that the second column names, or None for the usual mask.

    Raises:
        InputError: the column holds something other than a mask.
    """
    if len(line.columns) < 2 or line.columns[1] == line.columns[0]:
        return None
    candidates = _below_root(line, 1, layout)
    is_file = candidates[0].suffix.lower() in (*IMAGE_SUFFIXES, *MASK_SUFFIXES)
    alone = len(candidates[0].parts) == 1
    if alone and not is_file:
        raise InputError(
            f"{line.where}: the second column is {quoted(line.columns[1])}, no path of a mask; a "
            "list has ids alone, or images and masks (labels come from a file, see --labels)"
        )
    if alone:
        candidates = [PurePosixPath(folder, candidates[0]) for folder in layout.masks]
    return _first_file(candidates, line, 1, layout)


def _below_root(line: Line, column: int, layout: Layout) -> list[PurePosixPath]:
    """Return the paths below the root that a column may name.

    A path may start at the root, also with a slash in front, or lead through a folder of the
    root's name, such as `VOC2012/JPEGImages/2007_000032.jpg`.

    Raises:
        InputError: the path holds `..`.
    """
    text = line.columns[column].replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise InputError(
            f"{line.where} names {quoted(text)}; a path starts at {layout.root} and has no '..'"
        )
    out = [PurePosixPath(*parts)]
    for name in (layout.root.name, "VOC2012"):
        if name in parts[:-1]:
            last = len(parts) - 1 - parts[::-1].index(name)
            out.append(PurePosixPath(*parts[last + 1 :]))
    return out


def _first_file(
    candidates: Sequence[PurePosixPath], line: Line, column: int, layout: Layout
) -> str:
    for path in candidates:
        if (layout.root / path).is_file():
            return str(path)
    kind = ("image", "mask")[column]
    raise InputError(
        f"{line.where} names the {kind} {quoted(line.columns[column])}, but there is no "
        f"{layout.root / candidates[0]}; paths start at {layout.root}"
    )


def _notes(
    path: Path,
    lines: Sequence[Line],
    ids: Sequence[str],
    images: Mapping[str, str],
    masks: Mapping[str, str],
) -> list[str]:
    """Return sentences on the columns of a list."""
    out = []
    firsts = [line.columns[0] for line in lines]
    named = [text for text, id in zip(firsts, ids, strict=True) if text != id]
    if named:
        out.append(f"{path.name}: ids are the stems of file names, such as {quoted(named[0])}")
    outside = [images[id] for id in ids if id in images]
    if outside:
        out.append(f"{path.name}: {len(outside)} images are elsewhere, such as {outside[0]}")
    given = [masks[id] for id in ids if id in masks]
    own = any(len(line.columns) > 1 for line in lines)
    if given and own:
        out.append(f"{path.name}: {len(given)} masks are named by the list, such as {given[0]}")
    elif given:
        out.append(
            f"{path.name}: {len(given)} images have the masks that another list names, such as "
            f"{given[0]}"
        )
    return out
