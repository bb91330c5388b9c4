"""The commands `report` and `dashboard`, and the pages and pictures that other commands write."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.names import check_name
from ..errors import InputError
from ..records.schema import read_run, read_sweep
from ..serialization import quoted
from ..storage import filesystem
from ..storage.store import Store, open_store
from .ending import say
from .options.store_options import DashboardOptions, ReportOptions
from .tables import Printer

if TYPE_CHECKING:
    from PIL import Image

    from ..pipeline.run import Row


def report(options: ReportOptions, command: str) -> None:
    """Carry out `wsss report`: write the pages of the store, a run, or a sweep and its two runs."""
    store, out = _existing_store(options.store), Path(options.out)
    check_target(out, options.single_file)
    runs, sweeps = [check_name(options.run)] if options.run else None, None
    if options.run:
        read_run(store.location("runs", options.run, "run.json"))
        sweeps = []
    if options.sweep:
        sweeps = [check_name(options.sweep)]
        record = read_sweep(store.location("sweeps", options.sweep, "sweep.json"))
        runs = runs or [name for name in (record.run, record.untuned) if name]
    page = write_pages(store, out, runs, sweeps, options.images, options.single_file)
    say(f"page: {page.as_uri()}")


def dashboard(options: DashboardOptions, command: str) -> None:
    """Carry out `wsss dashboard`: serve the pages, which follow the changes of the store."""
    from ...dashboards.server import Server

    store = _existing_store(options.store)
    with Server(store, options.port) as server:
        say(f"dashboard of {store}: {server.address} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _existing_store(address: str) -> Store:
    """Return the store at an address.

    Raises:
        InputError: there is no store.
    """
    store = open_store(address)
    if not store.storage.exists(""):
        raise InputError(f"there is no store {store}; make one with wsss data and wsss run")
    return store


def newest_run(store: Store) -> str:
    """Return the name of the run that was written last.

    Raises:
        InputError: the store holds no run.
    """
    folder = store.location("runs")
    written = {name: (folder / name / "run.json").modified() for name in folder.names()}
    runs = [name for name, when in written.items() if when]
    if not runs:
        raise InputError(f"the store {store} holds no run; make one with wsss run")
    return max(runs, key=lambda name: written[name])


def check_target(out: Path, single_file: bool = False) -> None:
    """Check, before anything is computed, that pages can be written to a path.

    Raises:
        InputError: the path holds files that are no pages.
    """
    from ...dashboards import single_file as dashboards_single_file
    from ...dashboards import site, site_folder

    if single_file:
        dashboards_single_file.check(out)
    else:
        site_folder.check(out, site.FILES_OF_EVERY_SITE)


def write_pages(
    store: Store,
    out: Path,
    runs: list[str] | None,
    sweeps: list[str] | None,
    images: int = 48,
    single_file: bool = False,
) -> Path:
    """Write pages and return the page to open first: of the sweep, the run, or the store.

    Args:
        store: the store whose records are drawn.
        out: folder of the pages, or with `single_file` the only page.
        runs: names of the runs to draw; None: all.
        sweeps: names of the sweeps to draw; None: all.
        images: number of images of each split; 0: all.
        single_file: whether all pages are written into one file.
    """
    from ...dashboards import single_file as dashboards_single_file
    from ...dashboards.site import Site

    site = Site(store, runs=runs, sweeps=sweeps, images=images)
    names = [
        *(f"sweep.{name}.html" for name in sweeps or []),
        *(f"run.{n}.html" for n in runs or []),
    ]
    start = names[0] if names else "index.html"
    if single_file:
        dashboards_single_file.write(site, out, start)
        return out
    site.write(out)
    return out / start


def check_page(target: str | None) -> None:
    """Check, before anything is computed, that pages can be written to the folder of --page.

    Raises:
        InputError: the folder holds files that are no pages.
    """
    if target:
        check_target(Path(target))


def write_run_pages(
    printer: Printer,
    store: Store,
    target: str | None,
    runs: list[str],
    sweep: str | None = None,
) -> None:
    """Write the pages of new runs and of their sweep, and print their address.

    Args:
        printer: output of the command.
        store: the store that holds the records.
        target: folder of the pages; None: beside the record. If the store cannot be written, the
            folder beside the record is left out with a message, because nothing was computed.
        runs: names of the runs.
        sweep: name of the sweep.

    Raises:
        InputError: pages cannot be written to `target`.
    """
    folder = ("sweeps", sweep) if sweep else ("runs", runs[0])
    out = Path(target) if target else store.storage.local_folder.joinpath(*folder, "page")
    try:
        filesystem.check_writable(out.parent)
    except InputError as error:
        if target:
            raise
        printer.line(f"page: not written, as {error}; wsss report DIR writes pages elsewhere")
    else:
        page = write_pages(store, out, runs, [sweep] if sweep else [])
        printer.line(f"page: {page.as_uri()}")
    printer.line(f"to follow and compare: wsss dashboard --store {shlex.quote(str(store))}")


def check_picture(target: str | None) -> None:
    """Check, before anything is computed, that the picture of --picture can be written.

    Raises:
        InputError: the file is no PNG, or its folder cannot be written.
    """
    if target:
        if Path(target).suffix.lower() != ".png":
            raise InputError(f"--picture is {quoted(target)}; it must end in .png")
        filesystem.check_writable(filesystem.regular(Path(target)).parent)


def write_picture(printer: Printer, store: Store, target: str | None, rows: Sequence[Row]) -> None:
    """Write the picture of a table of scores and print its address; None: no picture is written.

    Args:
        printer: output of the command.
        store: the store that holds class maps and labels.
        target: the file, which is replaced if it exists.
        rows: rows of the table.

    Raises:
        InputError: no result of the table has class maps or labels.
    """
    if not target:
        return
    picture, path = picture_of(store, rows), Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    filesystem.write_atomic(path, lambda stream: picture.save(stream, "PNG"))
    printer.line(f"picture: {path.as_uri()}")


def picture_of(store: Store, rows: Sequence[Row]) -> Image.Image:
    """Return the picture of a table of scores.

    Raises:
        InputError: no result of the table has class maps or labels.
    """
    from ...dashboards.content.artifact_cache import ArtifactCache
    from ...dashboards.content.strip import columns_of, strip

    return strip(columns_of(ArtifactCache(store), rows))
