"""Options of `wsss data`, one class for each kind of source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ...errors import InputError
from .kinds import DATA, InStore, Quiet, Tabular, argument, flag, number, option

SOURCE = "Folder that holds the images and labels."


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Quiet, Tabular, InStore):
    """Options of all kinds of `wsss data`."""

    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")]
    check: Annotated[
        bool,
        flag(DATA, "Print the check of labels, masks and sizes as a table, and write nothing."),
    ] = False
    quarantine: Annotated[
        float,
        number(
            DATA,
            "SHARE",
            "Largest share of broken images, 0 to 1, that is left out and listed; with a larger "
            "share the data set is refused.",
            kind=float,
        ),
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class LabelFileOptions(SourceOptions):
    """Options of the kinds of `wsss data` that take a file of labels."""

    labels: Annotated[
        str | None,
        option(
            DATA,
            "FILE",
            "Image labels: .csv, .tsv, .txt, .json, .npz or .npy (as IRN and SIPE keep them), or a "
            "folder of lists of classes (ImageSets/Main); by default those of PATH.",
        ),
    ] = None
    label_base: Annotated[
        int | None,
        number(
            DATA, "INDEX", "Index of the first class, 0 or 1, where labels are indices; default 0."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class MaskOptions(SourceOptions):
    """Options of the kinds of `wsss data` that read image files with masks."""

    orientation: Annotated[
        Literal["stored", "applied"] | None,
        option(
            DATA,
            "HOW",
            "EXIF orientation of photographs: applied turns the pictures by it, because masks "
            "follow the turned pictures; stored leaves the pictures. By default each mask must "
            "fit the stored picture alone.",
        ),
    ] = None
    mask_values: Annotated[
        tuple[str, ...],
        option(
            DATA,
            "VALUE=CLASS",
            "Meaning of each value or colour of the masks, as in 0=background 1=cat 255=void or "
            "128,0,0=cat; the word label stands for the only label of an image. A .csv file "
            "(value,class) or .json file may hold them. By default 0 is background, 1 the first "
            "class and 255 void.",
            several=True,
        ),
    ] = ()
    resize_masks: Annotated[
        bool,
        flag(DATA, "Scale masks of another size to the size of their images (nearest pixel)."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class VOCOptions(LabelFileOptions, MaskOptions):
    """Options of `wsss data voc`."""

    about: ClassVar[str] = "VOCdevkit tree with image lists, image labels and masks."
    example: ClassVar[str] = "wsss data voc VOCdevkit --lists train train_aug val"

    path: Annotated[str, argument("PATH", SOURCE)]
    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "voc"
    lists: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "LIST",
            "Lists of ImageSets/Segmentation to use; by default train, train_aug and val.",
            several=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class COCOOptions(SourceOptions):
    """Options of `wsss data coco`."""

    about: ClassVar[str] = (
        "Annotation files and images of COCO, or of tools that export COCO's format."
    )
    example: ClassVar[str] = "wsss data coco coco2014 --year 2014 --labelled"

    path: Annotated[str, argument("PATH", SOURCE)]
    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "coco"
    year: Annotated[
        str | None,
        option(DATA, "YEAR", "Year in the names of the annotation files; by default the only one."),
    ] = None
    labelled: Annotated[
        bool,
        flag(
            DATA,
            "Leave out images without labels, as SIPE and CLIP-ES do (LPCAM and MCTformer "
            "keep them).",
        ),
    ] = False
    annotations: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "[SPLIT=]FILE",
            "Annotation files, such as train=a.json val=b.json; a FILE alone is of the split "
            "train; by default files with usual names.",
            several=True,
        ),
    ] = None
    images: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "[SPLIT=]DIR",
            "Folders of the images, such as train=a val=b; a DIR alone is of all splits; by "
            "default the folder with a usual name that holds the images.",
            several=True,
        ),
    ] = None
    stuff: Annotated[
        bool,
        flag(DATA, "Make classes of stuff, such as sky, of panoptic files; else it is background."),
    ] = False
    crowds: Annotated[
        Literal["background", "draw"] | None,
        option(
            DATA,
            "CHOICE",
            "Treatment of crowds (iscrowd 1) in masks: background or draw; by default background, "
            "unless all annotations are crowds, which needs a choice.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class FolderOptions(LabelFileOptions, MaskOptions):
    """Options of `wsss data folder`."""

    about: ClassVar[str] = (
        "Folder with images/, labels.csv (id,labels[,split]) and, optionally, masks/."
    )
    example: ClassVar[str] = "wsss data folder photographs --name mine --quarantine 0.01"

    path: Annotated[str, argument("PATH", SOURCE)]
    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "folder"
    lists: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "LIST",
            "Lists of images, each LIST.txt in the folder, to use as splits; by default the splits "
            "of the label file.",
            several=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ScenesOptions(SourceOptions):
    """Options of `wsss data scenes`."""

    about: ClassVar[str] = "Drawn scenes of objects with parts and contexts; nothing is downloaded."
    example: ClassVar[str] = "wsss data scenes --train 240 --val 80"

    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "scenes"
    train: Annotated[int, number(DATA, "N", "Number of training images.")] = 240
    val: Annotated[int, number(DATA, "N", "Number of validation images.")] = 80
    size: Annotated[
        int, number(DATA, "PIXELS", "Height and width of an image in pixels, 32 to 1024.")
    ] = 96
    seed: Annotated[int, number(DATA, "SEED", "Random seed for drawing the scenes.")] = 0


def split_and_path(text: str) -> tuple[str, str]:
    """Divide `[SPLIT=]PATH` into `SPLIT=`, or an empty text, and the path."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*=", text)
    return (match[0], text[match.end() :]) if match else ("", text)


def path_by_split(option: str, values: Sequence[str], default: str = "") -> dict[str, str]:
    """Return the paths of an option whose values are `[SPLIT=]PATH`, by split.

    Args:
        option: name of the option, for messages.
        values: values of the option.
        default: split of a path without split.

    Raises:
        InputError: two paths are of one split, or a path without split stands for all splits
            beside paths of one split.
    """
    paths: dict[str, str] = {}
    for text in values:
        start, path = split_and_path(text)
        split = start.removesuffix("=") or default
        if split in paths:
            which = f"the split {split}" if split else "all splits"
            raise InputError(f"{option} has two paths of {which}; write SPLIT=PATH for each")
        paths[split] = path
    if "" in paths and len(paths) > 1:
        raise InputError(
            f"{option} has one path for all splits and a path for one split; write SPLIT=PATH for "
            "each"
        )
    return paths
