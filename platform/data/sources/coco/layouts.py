"""Search for the annotation files of a folder, and for the folder of each file's images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ....errors import InputError
from ....serialization import quoted
from ...names import check_name

SPLIT_BY_WORD = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""The splits that words in the names of files and folders stand for."""
ROBOFLOW = "_annotations.coco.json"
INSTANCES = "instances"
_STEM = re.compile(r"(?:(instances|panoptic|lvis_v[0-9.]+)_)?([a-z]+)_?([0-9]{4})?", re.IGNORECASE)
IMAGE_FOLDERS = ("images", "data", "JPEGImages", "")
"""Folders below the root that may hold the images of all splits; "" is the root."""
CHOOSE = "name the files with --annotations train=FILE val=FILE"


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file of a folder.

    Attributes:
        split: split of its images.
        path: its path below the root where it lies there, else its absolute path.
        kind: kind of the file by its name: instances, panoptic, lvis_v1, _annotations.coco or "".
        word: its name or folder without kind, such as train2014.
        year: year in its name, or "".
    """

    split: str
    path: str
    kind: str = ""
    word: str = ""
    year: str = ""


def annotation_files(root: Path, year: str | None) -> tuple[list[AnnotationFile], list[str]]:
    """Find the annotation files of a folder by their names.

    Args:
        root: the folder.
        year: year in the names of the files; None: the only year, or none.

    Returns:
        The files, those of train, val and test in this order, and sentences on the choices.

    Raises:
        InputError: there is no file, or it is not clear which files are meant.
    """
    files = list(_named_files(root, year))
    kinds = {file.kind for file in files}
    if INSTANCES in kinds:  # a tree of COCO holds other annotations of the same images
        kinds = {k for k in kinds if not k.startswith(("panoptic", "lvis"))}
    if len(kinds) > 1:
        names = ", ".join(file.path for file in files[:6])
        raise InputError(f"{root} holds annotation files of several kinds, {names}; {CHOOSE}")
    files = [file for file in files if file.kind in kinds]
    if years := sorted({file.year for file in files}):
        if len(years) > 1:
            texts = ", ".join(text or "none" for text in years)
            raise InputError(
                f"{root} holds annotation files of several years ({texts}); choose one with --year,"
                f" or {CHOOSE}"
            )
    elif year is None:
        return _only_file(root)
    else:
        known = sorted({file.year or "none" for file in _named_files(root, None)})
        raise InputError(
            f"{root} holds no annotations/instances_train{year}.json"
            + (f"; the years of its annotation files are {', '.join(known)}" if known else "")
        )
    by_split: dict[str, AnnotationFile] = {}
    for file in files:
        if by_split.setdefault(file.split, file) is not file:
            other = by_split[file.split].path
            raise InputError(
                f"{root} holds {other} and {file.path}, both of the split {file.split}; {CHOOSE}"
            )
    ordered = [split for split in dict.fromkeys(SPLIT_BY_WORD.values()) if split in by_split]
    return [by_split[split] for split in ordered], []


def _named_files(root: Path, year: str | None) -> Iterator[AnnotationFile]:
    """Yield the annotation files whose name or folder tells their split."""
    for folder in _folders(root):
        path = f"{folder}/{ROBOFLOW}"
        if year is None and folder.lower() in SPLIT_BY_WORD and (root / path).is_file():
            split = SPLIT_BY_WORD[folder.lower()]
            yield AnnotationFile(split, path, kind=ROBOFLOW, word=folder)
    for path in _json_files(root):
        stem = PurePosixPath(path).stem
        if year and stem.endswith(year):
            match = _STEM.fullmatch(stem.removesuffix(year))
            year_of_file = year
        else:
            match = _STEM.fullmatch(stem)
            year_of_file = (match and match[3]) or ""
        if match and match[2].lower() in SPLIT_BY_WORD and (year is None or year_of_file == year):
            kind, split = match[1] or "", SPLIT_BY_WORD[match[2].lower()]
            word = stem.removeprefix(f"{kind}_") if kind else stem
            yield AnnotationFile(split, path, kind.lower(), word, year_of_file)


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir())


def _json_files(root: Path) -> list[str]:
    """Return the JSON files in `annotations` and in a folder itself, below the folder."""
    folders = [folder for folder in ("annotations", "") if (root / folder).is_dir()]
    paths = [(folder, entry) for folder in folders for entry in sorted(os.listdir(root / folder))]
    return [
        str(PurePosixPath(folder, entry))
        for folder, entry in paths
        if entry.endswith(".json") and (root / folder / entry).is_file()
    ]


def _only_file(root: Path) -> tuple[list[AnnotationFile], list[str]]:
    """Return the only annotation file of a folder, whose name tells no split.

    Raises:
        InputError: there is no such file, or there are several.
    """
    paths = _json_files(root)
    instances = [p for p in paths if PurePosixPath(p).name.startswith(f"{INSTANCES}_")]
    paths = instances or paths
    if not paths:
        raise InputError(
            f"{root} holds no annotation file, such as annotations/instances_train2014.json, "
            f"train/{ROBOFLOW} or result.json; {CHOOSE}"
        )
    if len(paths) > 1:
        raise InputError(
            f"{root} holds several files whose names tell no split, {', '.join(paths[:6])}; "
            f"{CHOOSE}"
        )
    word = PurePosixPath(paths[0]).stem.removeprefix(f"{INSTANCES}_")
    note = (
        f"the name of {paths[0]} tells no split, so its images are the split train; "
        "--annotations SPLIT=FILE names another split"
    )
    return [AnnotationFile("train", paths[0], word=word)], [note]


def given_files(root: Path, annotations: Mapping[str, str | Path]) -> list[AnnotationFile]:
    """Return the annotation files that a user gave by split.

    Raises:
        InputError: a file is missing, or a split cannot have its name.
    """
    files = []
    for split, path in annotations.items():
        check_name(split)
        if not Path(path).is_file():
            raise InputError(f"there is no annotation file {path} of the split {split}")
        match = _STEM.fullmatch(Path(path).stem)
        kind = match[1] if match and match[1] else ""
        word = Path(path).stem.removeprefix(f"{kind}_") if kind else split
        files.append(AnnotationFile(split, below(root, path), kind.lower(), word))
    return files


def below(root: Path, path: str | Path) -> str:
    """Return a path below the root where it lies there, else the absolute path."""
    absolute, whole = Path(path).absolute(), root.absolute()
    inside = absolute.is_relative_to(whole)
    return str(absolute.relative_to(whole)) if inside else str(absolute)


def image_folder(
    root: Path, file: AnnotationFile, paths: Sequence[str], given: str | Path | None
) -> tuple[str, bool]:
    """Find the folder of the images of an annotation file.

    It is the only folder that holds the first image that is found in any folder.

    Args:
        root: folder of the source.
        file: the annotation file.
        paths: paths of the images as the file gives them.
        given: folder that a user gave; None: folders with usual names are tried.

    Returns:
        The folder, below the root where it lies there, and whether images lie flat in it, without
        the folders of their paths.

    Raises:
        InputError: no folder holds the images, or several folders do.
    """
    parents = [str(p) for p in PurePosixPath(file.path).parents[:1] if str(p) != "."]
    usual = [file.word, f"images/{file.word}", *parents, *IMAGE_FOLDERS]
    folders = list(dict.fromkeys(usual)) if given is None else [below(root, given)]
    folders = [folder for folder in folders if (root / folder).is_dir()]
    for flat in (False, True):
        for path in paths:
            name = PurePosixPath(path).name if flat else path
            holders = [folder for folder in folders if (root / folder / name).is_file()]
            if not holders:
                continue
            first = root / holders[0] / name
            others = [f for f in holders[1:] if not os.path.samefile(first, root / f / name)]
            if others:
                raise InputError(
                    f"{file.path} lists {quoted(path)}, and {holders[0] or root} and "
                    f"{others[0] or root} both hold it; name one with --images {file.split}=FOLDER"
                )
            return holders[0], flat
    if paths:
        raise InputError(
            f"{file.path} lists {quoted(paths[0])}, but {_listed(root, folders, given)}; name the "
            f"folder of the images with --images {file.split}=FOLDER"
        )
    return (folders[0] if folders else ""), False


def _listed(root: Path, folders: Sequence[str], given: str | Path | None) -> str:
    """Return where an image was looked for in vain, for a message."""
    if given is not None:
        return f"{given} does not hold it"
    return f"none of {', '.join(folder or str(root) for folder in folders)} holds it"
