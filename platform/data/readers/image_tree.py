"""The names of the image and mask files of a data set, found whatever the case of their suffix."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import InputError
from .files import IMAGE_SUFFIXES, MASK_SUFFIXES
from .id_lists import ImageLists

LOSSY_SUFFIXES = (".jpg", ".jpeg")
_SYSTEM_FILES = ("Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Listing:
    """The regular files of one folder, which is listed once.

    Attributes:
        folder: path of the folder.
        names: names of the files by their stem; hidden files are left out.
        lowered: a stem by its form in lower case.
        folders: names of the folders in the folder, which are not read.
    """

    folder: Path
    names: Mapping[str, tuple[str, ...]]
    lowered: Mapping[str, str]
    folders: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Listing:
        """List a folder; a missing folder has no files.

        Raises:
            InputError: the folder cannot be read.
        """
        names: dict[str, tuple[str, ...]] = {}
        try:
            with os.scandir(folder) as scanned:
                entries = [(entry.name, entry.is_file(), entry.is_dir()) for entry in scanned]
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        except OSError as error:
            raise InputError(f"folder {folder} cannot be listed: {error}") from error
        shown = sorted(entry for entry in entries if not entry[0].startswith("."))
        for name, is_file, _ in shown:
            if is_file and name not in _SYSTEM_FILES:
                stem = os.path.splitext(name)[0]
                names[stem] = (*names.get(stem, ()), name)
        folders = tuple(name for name, _, is_folder in shown if is_folder)
        return cls(folder, names, {stem.lower(): stem for stem in names}, folders)

    def find(self, id: str, suffixes: Sequence[str], taken: Container[str] = ()) -> str | None:
        """Return the name of the file of an id, None if there is none.

        Args:
            id: image id.
            suffixes: suffixes in lower case that the file may have.
            taken: stems of files that belong to other images.

        Raises:
            InputError: there are several such files, or one whose name differs in case.
        """
        files = [n for n in self.names.get(id, ()) if suffix_of(n) in suffixes]
        if len(files) > 1:
            raise InputError(
                f"{self.folder} holds {' and '.join(files)} for image {id}; keep the right one of "
                "them and remove or rename the other files"
            )
        if files:
            return files[0]
        near = self.lowered.get(id.lower(), id)
        if near != id and near not in taken and suffix_of(self.names[near][0]) in suffixes:
            raise InputError(
                f"{self.folder} holds {self.names[near][0]}, whose name differs from image id {id} "
                "in upper and lower case; rename the file or correct the id"
            )
        return None


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case."""
    return os.path.splitext(name)[1].lower()


class ImageTree:
    """The files of a data set: one folder of images and folders of masks, in order of preference.

    Args:
        root: folder of the data set.
        images: name of the folder of images.
        masks: names of the folders of masks; they need not exist.
        lists: lists of images, whose paths of images and masks go first.
    """

    def __init__(
        self, root: Path, images: str, masks: Sequence[str], lists: ImageLists | None = None
    ) -> None:
        self._images = Listing.read(root / images)
        self._masks = {name: Listing.read(root / name) for name in masks}
        self._image_folder = images
        self._listed_images = lists.images if lists else {}
        self._listed_masks = lists.masks if lists else {}

    def image(self, id: str) -> str:
        """Return the path of an image below the root.

        Raises:
            InputError: there is no such image, or there are several.
        """
        if id in self._listed_images:
            return self._listed_images[id]
        name = self._images.find(id, IMAGE_SUFFIXES)
        if name is None:
            first, *others = IMAGE_SUFFIXES
            beside = " and ".join(self._images.names.get(id, ()))
            advice = f"; convert {beside} to JPEG or PNG" if beside else self._on_folders()
            raise InputError(
                f"{self._images.folder} has no such image as {id}{first} (nor {', '.join(others)})"
                f"{advice}"
            )
        return f"{self._image_folder}/{name}"

    def _on_folders(self) -> str:
        """Return words on folders in the folder of images, as in a tree of a folder a class."""
        if not self._images.folders:
            return ""
        return (
            f"; folders in it, such as {self._images.folders[0]}, are not read: move their images "
            "up, or give their paths in lists with --lists"
        )

    def mask(self, id: str) -> str | None:
        """Return the path of the mask of an image below the root, None if there is none.

        Raises:
            InputError: a folder holds several masks of the image, or only a JPEG.
        """
        if id in self._listed_masks:
            return self._listed_masks[id]
        for folder, listing in self._masks.items():
            name = listing.find(id, MASK_SUFFIXES, taken=self._images.names)
            if name is not None:
                return f"{folder}/{name}"
        for listing in self._masks.values():
            for name in listing.names.get(id, ()):
                if suffix_of(name) in LOSSY_SUFFIXES:
                    raise InputError(
                        f"mask {listing.folder / name} is a JPEG, whose compression changes "
                        "values; save it anew as PNG"
                    )
        return None

    def unlisted(self, ids: Iterable[str]) -> list[str]:
        """Return the sorted names of images in the folder of images whose id is not among `ids`.

        Images and masks that lists name by their paths are left out.
        """
        known, listed = set(ids), [*self._listed_images.values(), *self._listed_masks.values()]
        files = {PurePosixPath(path).name for path in listed}
        return sorted(
            name
            for stem, names in self._images.names.items()
            if stem not in known
            for name in names
            if suffix_of(name) in IMAGE_SUFFIXES and name not in files
        )

    def notes(self, ids: Iterable[str], usual: Sequence[str]) -> list[str]:
        """Return sentences on files with unusual names and on files that are not read.

        Args:
            ids: ids of the images.
            usual: suffixes of images that need no sentence.
        """
        known = set(ids)
        suffixes = Counter(
            os.path.splitext(name)[1]
            for stem, names in self._images.names.items()
            if stem in known
            for name in names
            if suffix_of(name) in IMAGE_SUFFIXES
        )
        out = [
            f"images called {suffix} in {self._image_folder}: {count}"
            for suffix, count in sorted(suffixes.items())
            if suffix not in usual
        ]
        listed = {PurePosixPath(path) for path in self._listed_masks.values()}
        for folder, listing in self._masks.items():
            names = {path.name for path in listed if str(path.parent) == folder}
            out += _mask_notes(folder, listing, known, names)
        return out


def _mask_notes(folder: str, listing: Listing, ids: set[str], listed: set[str]) -> list[str]:
    """Return sentences on the files of a folder of masks that are not read as masks.

    Args:
        folder: name of the folder.
        listing: files of the folder.
        ids: ids of the images.
        listed: names of the files of the folder that lists name as masks.
    """
    files = [name for names in listing.names.values() for name in names if name not in listed]
    others = [name for name in files if suffix_of(name) not in MASK_SUFFIXES]
    out = []
    if others:
        out.append(
            f"files in {folder} that are not read: {len(others)}, such as {others[0]}; a mask is "
            f"called {' or '.join(f'ID{suffix}' for suffix in MASK_SUFFIXES)}"
        )
    masks = [name for name in files if name not in others]
    if masks and not listed and not ids & listing.names.keys():
        out.append(
            f"masks in {folder}: {len(masks)}, such as {masks[0]}, but none is called like an "
            "image of the lists"
        )
    return out
