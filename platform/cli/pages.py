"""The commands that show what is in the store, and the pages that others leave."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ..data.sources.source import check_name
from ..errors import InputError, StreamError
from ..records.schema import read_run, read_sweep
from ..storage import filesystem
from ..storage.s3_store import open_store
from ..storage.store import Store


def say(text: str = "") -> None:
    """Writes a line for the user.

    Raises:
        StreamError: it cannot be written.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise StreamError from error


def report(options: argparse.Namespace, command: str) -> None:
    """`wsss report`: the pages of the store, of a run, or of a sweep and its two runs."""
    store, out = open_store(options.store), Path(options.out)
    check_target(out, options.single_file)
    runs, sweeps = options.run and [check_name(options.run)], None
    if options.run:
        read_run(store.root / "runs" / options.run / "run.json")
        sweeps = []
    if options.sweep:
        sweeps = [check_name(options.sweep)]
        of_sweep = read_sweep(store.root / "sweeps" / options.sweep / "sweep.json")
        runs = runs or [name for name in (of_sweep.run, of_sweep.untuned) if name]
    say(f"page: {pages(store, out, runs, sweeps, options.images, options.single_file).as_uri()}")


def dashboard(options: argparse.Namespace, command: str) -> None:
    """`wsss dashboard`: the same pages, made when asked for and following the store."""
    from ...dashboards.server import Server

    store = open_store(options.store)
    if not filesystem.exists(store.root):
        raise InputError(f"there is no store {store}; see wsss data and wsss run")
    with Server(store, options.port) as server:
        say(f"dashboard of {store}: {server.address} (Ctrl-C ends it)")
        server.serve_forever()


def newest(store: Store) -> str:
    """The name of the run that was written last.

    Raises:
        InputError: there is none.
    """
    folder = store.root / "runs"
    written = {n: filesystem.modified(folder / n / "run.json") for n in filesystem.names(folder)}
    found = [name for name, when in written.items() if when]
    if not found:
        raise InputError(f"the store {store} holds no run yet; see wsss run")
    return max(found, key=lambda name: written[name])


def check_target(out: Path, single_file: bool = False) -> None:
    """Refuses a place where pages could not be written, before there is anything to write.

    Raises:
        InputError: it holds something else than what pages replace.
    """
    from ...dashboards import single_file as dashboards_single_file
    from ...dashboards import site, site_folder

    if single_file:
        dashboards_single_file.check(out)
    else:
        site_folder.check(out, site.ALWAYS)


def pages(
    store: Store,
    out: Path,
    runs: list[str] | None,
    sweeps: list[str] | None,
    images: int = 48,
    single_file: bool = False,
) -> Path:
    """Writes pages and returns the one to open first: of the sweep, of the run, the overview."""
    from ...dashboards import single_file as dashboards_single_file
    from ...dashboards.site import Site

    site = Site(store, runs=runs, sweeps=sweeps, images=images)
    named = [
        *(f"sweep.{name}.html" for name in sweeps or []),
        *(f"run.{n}.html" for n in runs or []),
    ]
    start = named[0] if named else "index.html"
    if single_file:
        dashboards_single_file.write(site, out, start)
        return out
    site.write(out)
    return out / start


def check_page(wanted: str | None) -> None:
    """Checks, before anything is computed, that pages can be written where they are wanted.

    Raises:
        InputError: they cannot.
    """
    if wanted:
        check_target(Path(wanted))


def show(store: Store, wanted: str | None, runs: list[str], sweep: str | None = None) -> None:
    """Writes the pages of what was just computed and says where they are.

    Pages that nobody named a folder for lie beside the record. In a store that cannot be written
    nothing was computed, so a line says that they are not there, and the command goes well.
    """
    folder = ("sweeps", sweep) if sweep else ("runs", runs[0])
    out = Path(wanted) if wanted else store.root.joinpath(*folder, "page")
    try:
        filesystem.check_writable(out.parent)
    except InputError as error:
        if wanted:
            raise
        say(f"page: not written, as {error}; wsss report DIR writes pages elsewhere")
    else:
        page = pages(store, out, runs, [sweep] if sweep else [])
        say(f"page: {page.as_uri()}")
    say(f"to follow and compare: wsss dashboard --store {shlex.quote(str(store))}")
