"""The site of a store: its pages, scripts and pictures, each made on request by its path.

A report writes all files of the site into a folder; a server hands out one at a time.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from plotly.offline import get_plotlyjs

from ..platform.errors import InputError
from ..platform.records.schema import RunRecord
from ..platform.storage.store import Store
from . import site_folder
from .content import dataset_images, example_image, gallery
from .content.artifact_cache import ArtifactCache
from .content.gallery import Gallery
from .content.records import Records
from .pages import prototypes
from .pages.dataset import dataset_page
from .pages.images import compare_page, images_page
from .pages.layout import ASSETS, SITE, Page, render
from .pages.overview import overview
from .pages.papers import papers_page
from .pages.run import run_page, size_figure
from .pages.speed import speed_page
from .pages.sweep import sweep_page

SCRIPTS = ("style.css", "tables.js", "app.js", "planes.js", "images.js", "compare.js")
FILES_OF_EVERY_SITE = ("index.html", "papers.html", "plotly.min.js", *SCRIPTS)
"""Files that every site has, whatever its store holds."""
FOLDER_OF_PAGE = {"run": "runs", "images": "runs", "prototypes": "runs", "sweep": "sweeps"}
POLL = 250
"""Milliseconds after which a page asks again whether its store on disk changed."""
RETRY_SECONDS = 30.0
"""Least seconds between two times that a failed read discards everything held in memory."""


class Site:
    """Pages, scripts and pictures for the runs and sweeps of a store.

    Args:
        store: the store that the pages present.
        runs: names of the runs to include; None: all runs.
        sweeps: names of the sweeps to include; None: all sweeps.
        images: number of images for each run and split; 0: all images.
        live: whether pages follow the store, which needs a server.
    """

    def __init__(
        self,
        store: Store,
        *,
        runs: Collection[str] | None = None,
        sweeps: Collection[str] | None = None,
        images: int = 0,
        live: bool = False,
    ) -> None:
        torch.set_num_threads(1)  # experiments on this machine need the other cores
        self.store, self.images = store, images
        self.every = POLL * store.storage.pace if live else 0
        self.records = Records(store, runs, sweeps, live)
        self.artifacts = ArtifactCache(store)
        self._forgotten_at = -RETRY_SECONDS
        self._artifacts: dict[str, tuple[str, str, str]] = {}

    def paths(self) -> Iterator[str]:
        """Yield the paths of all files of the site."""
        yield from FILES_OF_EVERY_SITE
        runs = [entry.record for entry in self.records.runs().values()]
        if self._compares():
            yield "compare.html"
        if self.records.speeds():
            yield "speed.html"
        for name in self.records.sweeps():
            yield f"sweep.{name}.html"
        pictures: dict[str, None] = {}
        yield from self._dataset_paths()
        for run in runs:
            yield f"run.{run.name}.html"
            yield f"data/{run.name}/run.js"
            if prototypes.class_maps_with_patches(run, self.artifacts):
                yield f"prototypes.{run.name}.html"
                pictures |= dict.fromkeys(prototypes.patches_paths(run, self.artifacts))
            if not gallery.splits_with_pictures(run):
                continue
            yield f"images.{run.name}.html"
            for number, split in enumerate(gallery.splits_with_pictures(run)):
                try:
                    images = self._gallery(run, split)
                except InputError:  # the data set was deleted, but the run keeps its scores
                    continue
                if not number:
                    yield f"data/{run.name}/example.js"
                    pictures[example_image.picture_path(run)] = None
                yield f"data/{run.name}/{split}/index.js"
                if images.scored:
                    yield f"data/{run.name}/{split}/sizes.js"
                yield from (f"data/{run.name}/{split}/{k}.js" for k in images.chunks())
                pictures |= dict.fromkeys(images.layers())
        yield from pictures

    def _dataset_paths(self) -> Iterator[str]:
        """Yield the paths of the pages and pictures of data sets."""
        pictures: dict[str, None] = {}
        for name, key in self.records.datasets().items():
            if not self._opens(key):
                continue
            yield f"dataset.{name}.html"
            if check := self.artifacts.check(key):
                for index in range(len(check.classes)):
                    shown = dataset_images.samples(key, check, index)
                    pictures |= dict.fromkeys(sample.path for sample in shown)
        yield from pictures

    def file(self, path: str) -> bytes | None:
        """Return the content of a file of the site, made now; None for an unknown path.

        The path is only looked up among the known files and never becomes part of a file name.

        Raises:
            InputError: a record, artifact or image that the file needs cannot be read.
        """
        try:
            return self._file(path)
        except InputError:
            if not self.every or time.monotonic() < self._forgotten_at + RETRY_SECONDS:
                raise
        self._forgotten_at = time.monotonic()
        self.artifacts.clear()
        return self._file(path)

    def _file(self, path: str) -> bytes | None:
        if path == "plotly.min.js":
            return _plotly()
        if path in SCRIPTS or (path == "live.js" and self.every):
            return (ASSETS / path).read_bytes()
        head, _, rest = path.partition("/")
        if head == "data":
            text = self._data(rest.split("/"))
        elif head == "examples":
            return self._example(path)
        elif head == "datasets":
            return self._sample(*rest.partition("/")[::2])
        elif head in ("layers", "prototypes"):
            short, _, file = rest.partition("/")
            return self._picture(head, short, file)
        else:
            # The stamp is taken first: a change in between makes the browser load the page again.
            stamp = self.state(path) if self.every else None
            page = self._page(path)
            text = render(page, stamp, self.every, self._links()) if page else None
        return None if text is None else text.encode()

    def state(self, path: str) -> str | None:
        """Return a text that changes whenever the page `path` changes.

        None for a page that does not follow the store, and for an unknown path.
        """
        if path == "index.html":
            return self.records.stamp_of_all()
        kind, name = _kind_and_name(path)
        if kind in ("run", "sweep") and name in self.records.names(FOLDER_OF_PAGE[kind]):
            return self.records.stamp(FOLDER_OF_PAGE[kind], name)
        return None

    def _compares(self) -> bool:
        """Return whether the site has a page that compares runs: with more than one run.

        Of a site that is served, which has that page in any case, also runs count that cannot be
        read, because reading the records of all runs for each page takes long in a bucket.
        """
        return len(self.records.names("runs") if self.every else self.records.runs()) > 1

    def _links(self) -> list[str]:
        missing = set() if self._compares() else {"compare.html"}
        missing |= set() if self.records.speeds() else {"speed.html"}
        return [file for file, _ in SITE if file not in missing]

    def _page(self, path: str) -> Page | None:
        if path == "index.html":
            return overview(self.records, self.artifacts)
        if path == "papers.html":
            return papers_page()
        if path == "compare.html":
            runs = [e.record for e in self.records.runs().values()]
            return compare_page([r for r in runs if any(r.scores.values())])
        if path == "speed.html":
            speeds = self.records.speeds()
            return speed_page(speeds) if speeds else None
        kind, name = _kind_and_name(path)
        if kind == "dataset":
            return self._dataset_page(name)
        if kind not in FOLDER_OF_PAGE or name not in self.records.names(FOLDER_OF_PAGE[kind]):
            return None
        if kind == "sweep":
            sweep = self.records.sweep(name)
            return sweep_page(sweep, self.records) if sweep else None
        run = self.records.run(name)
        if run is None:
            return None
        if kind == "images":
            if not gallery.splits_with_pictures(run.record):
                return None
            return images_page(run.record, self._compares())
        if kind == "prototypes":
            known = prototypes.class_maps_with_patches(run.record, self.artifacts)
            return prototypes.prototypes_page(run.record, self.artifacts) if known else None
        return run_page(run, self.records, self.artifacts, self._compares())

    def _opens(self, key: str) -> bool:
        """Return whether the store holds the shards of a data set intact."""
        try:
            self.artifacts.open("shards", key)
        except InputError:
            return False
        return True

    def _dataset_page(self, name: str) -> Page | None:
        key = self.records.datasets().get(name)
        if key is None or not self._opens(key):
            return None
        about = self.artifacts.open("shards", key).about
        return dataset_page(name, key, about, self.artifacts.check(key))

    def _sample(self, short: str, file: str) -> bytes | None:
        """Return an example image of a data set; None for an unknown path."""
        for key in self.records.datasets().values():
            if key[: gallery.SHORT_KEY_LENGTH] == short and self._opens(key):
                check = self.artifacts.check(key)
                return dataset_images.picture(self.artifacts, key, check, file) if check else None
        return None

    def _run(self, name: str) -> RunRecord | None:
        if name not in self.records.names("runs"):
            return None
        entry = self.records.run(name)
        return entry.record if entry else None

    def _gallery(self, run: RunRecord, split: str) -> Gallery:
        return Gallery(self.artifacts, run, split, self.images)

    def _first_gallery(self, run: RunRecord) -> Gallery | None:
        """Return the images of the first split of a run that has any."""
        splits = gallery.splits_with_images(run, self.artifacts)
        return self._gallery(run, splits[0]) if splits else None

    def _example(self, path: str) -> bytes | None:
        for run in [entry.record for entry in self.records.runs().values()]:
            if gallery.splits_with_pictures(run) and example_image.picture_path(run) == path:
                images = self._first_gallery(run)
                return example_image.picture(images) if images else None
        return None

    def _data(self, names: list[str]) -> str | None:
        run = self._run(names[0])
        if run is None or len(names) not in (2, 3):
            return None
        if len(names) == 2:
            if names[1] == "example.js":
                images = self._first_gallery(run)
                return example_image.example_data(images) if images else None
            return gallery.run_data(run) if names[1] == "run.js" else None
        split, file = names[1:]
        if split not in gallery.splits_with_pictures(run):
            return None
        images = self._gallery(run, split)
        if file == "index.js":
            return images.index()
        if file == "sizes.js" and images.scored:
            return gallery.script("figure", f"{run.name}/{split}", size_figure(images))
        chunk_of = {f"{k}.js": k for k in images.chunks()}
        return images.chunk(chunk_of[file]) if file in chunk_of else None

    def _picture(self, head: str, short: str, file: str) -> bytes | None:
        if short not in self._artifacts:
            for entry in self.records.runs().values():
                run_artifacts = {
                    k: (*v, entry.record.shards)
                    for k, v in gallery.artifacts_by_short_key(entry.record).items()
                }
                self._artifacts |= run_artifacts
        if short not in self._artifacts:
            return None
        stage, key, shards = self._artifacts[short]
        if head == "layers":
            return gallery.picture(self.artifacts, stage, key, shards, file)
        return prototypes.picture(self.artifacts, key, shards, file) if stage == "maps" else None

    def write(self, out: Path) -> Path:
        """Write all files of the site into a folder, in place of those of an earlier site.

        Args:
            out: the folder; created if it is missing.

        Returns:
            The path of the overview page.

        Raises:
            InputError: `out` is a file, or holds something other than a site, or a file that is in
                the way; or something that a page needs cannot be read. The folder then stays as it
                was.
        """
        site_folder.write(out, list(self.paths()), self.file)
        return out / "index.html"


def _kind_and_name(path: str) -> tuple[str, str]:
    """Return kind and name of a page: ("run", "NAME") for `run.NAME.html`."""
    kind, _, rest = path.partition(".")
    return (kind, rest.removesuffix(".html")) if rest.endswith(".html") else ("", "")


@functools.cache
def _plotly() -> bytes:
    text: str = get_plotlyjs()
    return text.encode()
