"""The source of a data set with annotations in COCO's formats.

Masks are drawn for evaluation by the rule of COCO's own API as the WSSS community uses it: the
polygons of each annotation (pycocotools), in the file's order, later ones over earlier ones;
crowds are background, nothing is void. Image labels are the categories of all annotations, crowds
included. Masks of panoptic files are their PNG files, in which pixels without segment are void.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....serialization import quoted
from ...names import check_id
from ...readers.files import check_folder, read_bytes
from ...readers.image_files import UPRIGHT, read_image_file
from .. import record_files
from ..source import Item, Record
from .classes import class_categories
from .contents import NO_SIZE, Contents, read_contents
from .index import Index, make_index
from .layouts import AnnotationFile, annotation_files, given_files, image_folder
from .panoptic import panoptic_mask
from .segmentations import FORM_NOTES, form_of, segmentation_mask
from .values import image_id, zero_or_one

NO_OUTLINE = "no annotation of the image has an outline, so the image has labels and no mask"
NO_ANNOTATION = "the annotation file has no annotation, so the image has no labels and no mask"
NO_SEGMENTS = "the image has no panoptic annotation, so it has no labels and no mask"
NOT_TURNED = "the EXIF orientation was not applied; annotations count pixels as stored"
SIZE_OF_IMAGE = "the annotation file gives no size of the image; the size is read from the image"


class COCO:
    """The source of a data set with annotations in COCO's formats.

    The annotation files and the folders of their images are found by their usual names, such as
    `annotations/instances_train2014.json` and `train2014/`, `train/_annotations.coco.json` beside
    the images, or one JSON file and `images/`.

    Args:
        root: folder of annotation files and images.
        year: year in the names of the annotation files, such as 2014; None: the only year.
        labelled: leave out images without any label (SIPE, CLIP-ES: 82,081 and 40,137 of 2014);
            else they are included (LPCAM, RIB, MCTformer: 82,783 and 40,504).
        annotations: annotation file of each split; None: the files that have usual names.
        images: folder of the images of each split, or of all splits; by default found by name.
        stuff: whether stuff (sky, grass) of panoptic files is a class; else it is background.
        crowds: whether crowds (`iscrowd` 1) are drawn or background; None: background, unless all
            annotations of a file are crowds, which needs a choice.

    Raises:
        InputError: a file is missing or broken, its content is contradictory, or a choice is
            needed.
    """

    name = "coco"

    def __init__(
        self,
        root: str | Path,
        year: str | None = None,
        labelled: bool = False,
        annotations: Mapping[str, str | Path] | None = None,
        images: Mapping[str, str | Path] | str | Path | None = None,
        stuff: bool = False,
        crowds: Literal["background", "draw"] | None = None,
    ) -> None:
        self.root = check_folder(root, "COCO folder")
        self.labelled, self.stuff, self.crowds = labelled, stuff, crowds
        if annotations and year is not None:
            raise InputError("--year has no effect beside --annotations; leave it out")
        self._notes: list[str] = []
        if annotations:
            files = given_files(self.root, annotations)
        else:
            files, self._notes = annotation_files(self.root, year and check_id(year))
        self.year = files[0].year
        contents = [read_contents(self.root / file.path) for file in files]
        numbers, self.classes, notes = class_categories(contents, stuff)
        self._notes += notes
        self.indexes: dict[str, Index] = {}
        self.folders = _image_folders(self.root, files, contents, images)
        for file, content, chosen in zip(files, contents, numbers, strict=True):
            self.indexes[file.split] = make_index(content, file.path, chosen)
            self._notes += self._file_notes(file, content)
        self.splits: dict[str, tuple[str, ...]] = {split: (split,) for split in self.indexes}
        if "train" in self.splits:
            self.splits = {"train": ("train",), "train_aug": ("train",), **self.splits}

    def _file_notes(self, file: AnnotationFile, contents: Contents) -> list[str]:
        """Return sentences on how one annotation file is read."""
        folder, flat = self.folders[file.split]
        index, place, notes = self.indexes[file.split], folder or ".", []
        if (file.path, folder) != self._usual_place(file.split):
            notes.append(f"{file.split}: annotations {file.path}, images in {place}")
        if flat:
            notes.append(f"{file.path}: folders in file names are left out; images lie in {place}")
        if contents.panoptic is None:
            notes.append(f"{file.path} has no annotation")
        total = len(index.starts)
        for form, note in FORM_NOTES.items():
            if count := contents.forms[form]:
                notes.append(f"{file.path}: {count} of {total} annotations {note}")
        if contents.crowds:
            notes.append(self._crowd_note(contents, file.path))
        if contents.partial:
            notes.append(
                f"{file.path}: in {contents.partial} of {len(index.paths)} images not all objects "
                "are annotated (not_exhaustive_category_ids); labels and masks lack them"
            )
        return notes

    def _crowd_note(self, contents: Contents, path: str) -> str:
        """Return the sentence on the crowds of an annotation file.

        Raises:
            InputError: all annotations are crowds, and it is not said what to do with crowds.
        """
        count, total = contents.crowds, len(contents.start)
        noun = "segments" if contents.panoptic else "annotations"
        if count == total and self.crowds is None:
            raise InputError(
                f"{path} marks all of its {total} {noun} as crowds (iscrowd 1), as CVAT does "
                "with masks; draw them with --crowds draw, or keep them background with --crowds "
                "background"
            )
        fate = "are drawn" if self.crowds == "draw" else "are background; --crowds draw draws them"
        return f"{path}: {count} of {total} {noun} are crowds; they give labels and {fate}"

    def _usual_place(self, split: str) -> tuple[str, str]:
        """Return the paths of the annotation file and the images of a split in a tree of COCO."""
        return f"annotations/instances_{split}{self.year}.json", f"{split}{self.year}"

    def items(self) -> list[Item]:
        """Return the items of all images by image number.

        Raises:
            InputError: an image is missing, or all of them are left out as they have no label.
        """
        out = []
        path_by_id: dict[str, str] = {}
        for split, index in self.indexes.items():
            for k, name in enumerate(index.paths):
                labels = index.labels(k)
                if self.labelled and not labels:
                    continue
                image = self._image_path(split, name)
                if not (self.root / image).is_file():
                    raise InputError(
                        f"{index.path} lists {quoted(name)}, but there is no {quoted(image)}; "
                        f"restore it, or name the folder of the images with --images {split}=FOLDER"
                    )
                mask = index.segment_files[k] if index.segment_files else None
                if mask and not (self.root / mask).is_file():
                    raise InputError(
                        f"{index.path} has segments of {quoted(name)}, but there is no "
                        f"{quoted(mask)}; restore it"
                    )
                id = image_id(name)
                if other := path_by_id.get(id):
                    raise InputError(
                        f"{index.path} lists {quoted(image)}, whose id {id} is that of {other} "
                        "too; an id is a file name without folder and suffix, so give one of them "
                        "another name"
                    )
                path_by_id[id] = f"{quoted(image)} of {split}"
                item = Item(
                    id=id, split=split, labels=labels, image=image, mask=mask or None, row=k
                )
                out.append(item)
        if not out and any(index.paths for index in self.indexes.values()):
            files = ", ".join(index.path for index in self.indexes.values())
            raise InputError(f"no image of {files} has a label; leave out --labelled")
        return out

    def _image_path(self, split: str, name: str) -> str:
        folder, flat = self.folders[split]
        return str(PurePosixPath(folder, PurePosixPath(name).name if flat else name))

    def load(self, item: Item) -> Record:
        """Read one image and draw its mask."""
        index = self.indexes[item.split]
        path = self.root / item.image
        file = read_image_file(read_bytes(self.root, item.image, item.id), str(path))
        height, width = file.size
        listed = tuple(index.sizes[item.row].tolist())
        if listed not in (NO_SIZE, file.size):
            advice = "use the image that was annotated, or correct its size in the file"
            if listed == file.turned_size:
                advice = (
                    f"it has EXIF orientation {file.orientation}, and the annotations follow the "
                    "turned picture; save the picture turned, without EXIF data"
                )
            raise InputError(
                f"{path} is {width}x{height} pixels, {index.path} says {listed[1]}x{listed[0]}; "
                f"{advice}"
            )
        draw = self._panoptic_mask if index.segment_files else self._outline_mask
        mask, note = draw(item, height, width)
        notes = (
            *file.notes,
            NOT_TURNED if file.orientation != UPRIGHT else "",
            SIZE_OF_IMAGE if listed == NO_SIZE else "",
            note,
        )
        return Record(
            id=item.id,
            image=file.data,
            pixels=file.pixels,
            orientation=file.orientation,
            labels=item.labels,
            mask=mask,
            split=item.split,
            notes=tuple(note for note in notes if note),
        )

    def _outline_mask(
        self, item: Item, height: int, width: int
    ) -> tuple[NDArray[np.uint8] | None, str]:
        """Draw the mask of an image from polygons and run lengths.

        Returns:
            The mask; or None, and a note why there is none.

        Raises:
            InputError: an annotation is wrong.
        """
        out = np.zeros((height, width), np.uint8)
        forms = []
        index = self.indexes[item.split]
        for annotation, (label,), where in index.annotations(self.root, item.row):
            try:
                crowd = zero_or_one(annotation.get("iscrowd") or 0, "iscrowd")
                if crowd and self.crowds != "draw":
                    continue
                segmentation = annotation.get("segmentation")
                forms.append(form_of(segmentation))
                out[segmentation_mask(segmentation, height, width)] = label + 1
            except (ValueError, OverflowError) as error:
                raise InputError(f"{where}: {error}") from None
        if not len(index.starts):
            return None, NO_ANNOTATION
        return (None, NO_OUTLINE) if forms and set(forms) == {"none"} else (out, "")

    def _panoptic_mask(
        self, item: Item, height: int, width: int
    ) -> tuple[NDArray[np.uint8] | None, str]:
        """Read the mask of an image from the PNG file of its panoptic annotation.

        Returns:
            The mask; or None, and a note why there is none.

        Raises:
            InputError: the annotation or its PNG file is wrong.
        """
        if item.mask is None:
            return None, NO_SEGMENTS
        png = read_bytes(self.root, item.mask, item.id)
        ((annotation, classes, where),) = self.indexes[item.split].annotations(self.root, item.row)
        crowds = self.crowds == "draw"
        try:
            mask = panoptic_mask(png, item.mask, annotation.get("segments_info"), classes, crowds)
        except (InputError, ValueError) as error:
            raise InputError(f"{where}: {error}") from None
        if mask.shape != (height, width):
            raise InputError(
                f"{item.mask} is {mask.shape[1]}x{mask.shape[0]} pixels, its image "
                f"{width}x{height}; both must have one size"
            )
        return mask, ""

    def notes(self) -> list[str]:
        """Return sentences on the files, folders and classes that were chosen, and on outlines."""
        return list(self._notes)

    def settings(self) -> dict[str, object]:
        """Return the options, and the files and folders that are not those of a tree of COCO."""
        settings: dict[str, object] = {"year": self.year, "labelled": self.labelled}
        places = {split: (i.path, self.folders[split][0]) for split, i in self.indexes.items()}
        if any(place != self._usual_place(split) for split, place in places.items()):
            settings["annotations"] = {split: _public(path) for split, (path, _) in places.items()}
            settings["images"] = {split: _public(folder) for split, (_, folder) in places.items()}
        options = {"stuff": self.stuff, "crowds": self.crowds == "draw"}
        return settings | {name: True for name, value in options.items() if value}

    def fingerprint(self) -> str:
        """Return a hash of the settings, the annotation files, the images and their labels."""
        file_stats = [(self.root / index.path).stat() for index in self.indexes.values()]
        stats = [[s.st_size, s.st_mtime_ns] for s in file_stats]
        return record_files.fingerprint(
            self.root, {**self.settings(), "files": stats}, self.items()
        )


def _image_folders(
    root: Path,
    files: list[AnnotationFile],
    contents: list[Contents],
    images: Mapping[str, str | Path] | str | Path | None,
) -> dict[str, tuple[str, bool]]:
    """Return the folder of the images of each split, see `image_folder`.

    Raises:
        InputError: a folder is not found, or is given for a split that there is not.
    """
    splits = [file.split for file in files]
    given = images if isinstance(images, Mapping) else dict.fromkeys(splits, images)
    for split, folder in given.items():
        if split not in splits:
            raise InputError(
                f"--images names a folder of the split {split}; there are {', '.join(splits)}"
            )
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder} of the images of the split {split}")
    return {
        file.split: image_folder(
            root, file, [path for path, _, _ in content.images.values()], given.get(file.split)
        )
        for file, content in zip(files, contents, strict=True)
    }


def _public(path: str) -> str:
    """Return a path without the folders of this machine."""
    return PurePosixPath(path).name if PurePosixPath(path).is_absolute() else path
