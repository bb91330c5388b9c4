"""The pages of a store as files: each by its path, made when it is asked for.

A report writes all of them into a folder; a server hands out one at a time.
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
from ..platform.storage import filesystem
from ..platform.storage.store import Store
from . import site_folder
from .content import gallery
from .content.artifact_cache import ArtifactCache
from .content.gallery import Gallery
from .content.records import Records
from .pages import prototypes
from .pages.images import compare_page, images_page
from .pages.layout import ASSETS, SITE, Page, render
from .pages.overview import overview
from .pages.papers import papers_page
from .pages.run import run_page
from .pages.speed import speed_page
from .pages.sweep import sweep_page

SCRIPTS = ("style.css", "app.js", "planes.js", "images.js", "compare.js")
ALWAYS = ("index.html", "papers.html", "plotly.min.js", *SCRIPTS)
"""Files that every site has."""
KINDS = {"run": "runs", "images": "runs", "prototypes": "runs", "sweep": "sweeps"}
NEAR, FAR = 250, 5000
"""Milliseconds between two looks of a page at a store on disk, and at one in a bucket."""


FORGET = 30.0
"""Seconds between two tries to open everything anew, because something could not be read."""


class Site:
    """The pages of a store.

    Args:
        store: what is shown.
        runs: names of the runs to show; None: all.
        sweeps: likewise.
        images: of each run and split, how many are shown; 0: all.
        live: whether pages follow the store, which takes a server.
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
        torch.set_num_threads(1)  # the other cores belong to what is being computed
        self.store, self.images = store, images
        self.every = (FAR if filesystem.object_of(store.root) else NEAR) if live else 0
        self.records = Records(store, runs, sweeps)
        self.artifacts = ArtifactCache(store)
        self._forgot = -FORGET
        self._artifacts: dict[str, tuple[str, str, str]] = {}

    def paths(self) -> Iterator[str]:
        """All files of the site."""
        yield from ALWAYS
        runs = [entry.record for entry in self.records.runs().values()]
        if len(runs) > 1:
            yield "compare.html"
        if self.records.speeds():
            yield "speed.html"
        for name in self.records.sweeps():
            yield f"sweep.{name}.html"
        pictures: dict[str, None] = {}
        for run in runs:
            yield f"run.{run.name}.html"
            yield f"data/{run.name}/run.js"
            if prototypes.kept(run, self.artifacts):
                yield f"prototypes.{run.name}.html"
                pictures |= dict.fromkeys(prototypes.paths(run, self.artifacts))
            if not gallery.pictured(run):
                continue
            yield f"images.{run.name}.html"
            for split in gallery.pictured(run):
                try:
                    of = self._gallery(run, split)
                except InputError:  # its data set was deleted; its scores are still there
                    continue
                yield f"data/{run.name}/{split}/index.js"
                yield from (f"data/{run.name}/{split}/{k}.js" for k in of.chunks())
                pictures |= dict.fromkeys(of.layers())
        yield from pictures

    def file(self, path: str) -> bytes | None:
        """The file of a path, made now; None where the site has none.

        Nothing of the path becomes part of a file's name: it is looked up among what there is.

        Raises:
            InputError: what it is made of cannot be read.
        """
        try:
            return self._file(path)
        except InputError:
            if not self.every or time.monotonic() < self._forgot + FORGET:
                raise
        self._forgot = time.monotonic()
        self.artifacts.forget()
        return self._file(path)

    def _file(self, path: str) -> bytes | None:
        if path == "plotly.min.js":
            return _plotly()
        if path in SCRIPTS or (path == "live.js" and self.every):
            return (ASSETS / path).read_bytes()
        head, _, rest = path.partition("/")
        if head == "data":
            text = self._data(rest.split("/"))
        elif head in ("layers", "prototypes"):
            short, _, file = rest.partition("/")
            return self._picture(head, short, file)
        else:
            stamp = self.state(path) if self.every else None  # before the page: it may be newer
            page = self._page(path)
            text = render(page, stamp, self.every, self._links()) if page else None
        return None if text is None else text.encode()

    def state(self, path: str) -> str | None:
        """What changes when the page `path` does; None where it is no page that follows."""
        if path == "index.html":
            return self.records.stamp_of_all()
        kind, name = _named(path)
        if kind in ("run", "sweep") and name in self.records.names(KINDS[kind]):
            return self.records.stamp(KINDS[kind], name)
        return None

    def _links(self) -> list[str]:
        lacking = set() if len(self.records.names("runs")) > 1 else {"compare.html"}
        lacking |= set() if self.records.speeds() else {"speed.html"}
        return [file for file, _ in SITE if file not in lacking]

    def _page(self, path: str) -> Page | None:
        if path == "index.html":
            return overview(self.records, papers=True)
        if path == "papers.html":
            return papers_page()
        if path == "compare.html":
            runs = [e.record for e in self.records.runs().values()]
            return compare_page([r for r in runs if r.scores])
        if path == "speed.html":
            speeds = self.records.speeds()
            return speed_page(speeds) if speeds else None
        kind, name = _named(path)
        if kind not in KINDS or name not in self.records.names(KINDS[kind]):
            return None
        if kind == "sweep":
            sweep = self.records.sweep(name)
            return sweep_page(sweep, self.records) if sweep else None
        run = self.records.run(name)
        if run is None:
            return None
        if kind == "images":
            others = len(self.records.names("runs")) > 1
            return images_page(run.record, others) if gallery.pictured(run.record) else None
        if kind == "prototypes":
            there = prototypes.kept(run.record, self.artifacts)
            return prototypes.prototypes_page(run.record, self.artifacts) if there else None
        return run_page(run, self.records, self.artifacts)

    def _run(self, name: str) -> RunRecord | None:
        if name not in self.records.names("runs"):
            return None
        entry = self.records.run(name)
        return entry.record if entry else None

    def _gallery(self, run: RunRecord, split: str) -> Gallery:
        return Gallery(self.artifacts, run, split, self.images)

    def _data(self, parts: list[str]) -> str | None:
        run = self._run(parts[0])
        if run is None or len(parts) not in (2, 3):
            return None
        if len(parts) == 2:
            return gallery.run_data(run) if parts[1] == "run.js" else None
        split, file = parts[1:]
        if split not in gallery.pictured(run):
            return None
        of = self._gallery(run, split)
        if file == "index.js":
            return of.index()
        known = {f"{k}.js": k for k in of.chunks()}
        return of.chunk(known[file]) if file in known else None

    def _picture(self, head: str, short: str, file: str) -> bytes | None:
        if short not in self._artifacts:
            for entry in self.records.runs().values():
                of_run = {
                    k: (*v, entry.record.shards) for k, v in gallery.keys(entry.record).items()
                }
                self._artifacts |= of_run
        if short not in self._artifacts:
            return None
        stage, key, shards = self._artifacts[short]
        if head == "layers":
            return gallery.picture(self.artifacts, stage, key, shards, file)
        return prototypes.picture(self.artifacts, key, shards, file) if stage == "maps" else None

    def write(self, out: Path) -> Path:
        """Writes all files into a folder, in place of those of an earlier site.

        Args:
            out: the folder; made if there is none.

        Returns:
            The overview.

        Raises:
            InputError: `out` is a file, holds something else than a site or a file that is in the
                way, or what pages are made of cannot be read. What was there stays as it was.
        """
        site_folder.write(out, list(self.paths()), self.file)
        return out / "index.html"


def _named(path: str) -> tuple[str, str]:
    """("run", "NAME") of `run.NAME.html`."""
    kind, _, rest = path.partition(".")
    return (kind, rest.removesuffix(".html")) if rest.endswith(".html") else ("", "")


@functools.cache
def _plotly() -> bytes:
    text: str = get_plotlyjs()
    return text.encode()
