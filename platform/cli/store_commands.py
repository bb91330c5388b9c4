"""The commands on the store: `data`, `import`, `export`, `methods` and `doctor`."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from ..config.fields import walk
from ..data import registry
from ..data.sources.source import check_name
from ..errors import InputError
from ..records.schema import read_run
from ..storage.artifact import versions
from ..storage.store import Store, open_store
from . import resolve
from .pages import newest_run, print_line
from .run_commands import progress_for


def data(options: argparse.Namespace, command: str) -> None:
    """Carry out `wsss data`: write the shards of a source and give the data set a name."""
    store = open_store(options.store)
    source = resolve.source(options)
    progress = progress_for(options)
    artifact, cached = registry.add(store, source, options.name, progress, options.quarantine)
    about = artifact.about
    counts = ", ".join(f"{split} {n}" for split, n in about["counts"].items())
    print_line(f"{options.name}: {counts} images, {len(about['classes'])} classes")
    for split, digest in about.get("digests", {}).items():
        print_line(f"{split}: list {digest['ids'][:12]}, masks {digest['masks'][:12]}")
    for fault in about["quarantined"]:
        print_line(f"left out: {fault}")
    if cached:
        print_line("nothing to do: the shards are already in the store")


def export(options: argparse.Namespace, command: str) -> None:
    """Carry out `wsss export`: write a run's class maps or labels in another file format."""
    from ..interop import exports

    store, out = open_store(options.store), Path(options.out)
    name = check_name(options.run or newest_run(store))
    run = read_run(store.location("runs", name, "run.json"))
    count = exports.write(store, run, out, options.to, options.what, options.split)
    print_line(f"{out}: {count} images as {options.to}")


def import_(options: argparse.Namespace, command: str) -> None:
    """Carry out `wsss import`: store another project's class maps or labels under a name."""
    from ..interop import imports

    store = open_store(options.store)
    imported, cached = imports.add(
        store,
        kind=options.kind,
        folder=Path(options.path),
        data=options.data,
        name=options.name,
        splits=options.splits,
        progress=progress_for(options),
    )
    kind = "labels" if imported.labels else "class maps"
    print_line(f"{options.name}: {kind} of {', '.join(imported.stages)}")
    if cached:
        print_line("nothing to do: the import is already in the store")


def methods(options: argparse.Namespace, command: str) -> None:
    """Carry out `wsss methods`: list the methods, or the fields of one method."""
    from ..method import build_experiment, find_method
    from ..method import methods as all_methods

    if not options.method:
        for name, cls in all_methods().items():
            print_line(f"{name:8}{cls.source}  (presets: {', '.join(cls.presets)})")
        return
    method = find_method(options.method)
    print_line(f"{method.name}: {method.source}\n")
    for name, value, field in walk(build_experiment(options.method, preset=options.preset)):
        print_line(f"{name} = {value!r}\n    {field.description}")


def doctor(options: argparse.Namespace, command: str) -> None:
    """Carry out `wsss doctor`: check the machine, the packages and the store.

    Raises:
        InputError: a package that wsss needs is missing.
    """
    from ..models.backbones import BACKBONES
    from ..records.schema import machine

    store = open_store(options.store)
    storage = store.storage
    print_line(f"machine   {machine()}")
    print_line("packages  " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    print_line(f"backbones {', '.join(BACKBONES)}")
    folder = "" if str(store) == str(storage.local_folder) else f" in {storage.local_folder}"
    print_line(f"store     {store}, {storage.free_bytes() / 1e9:.0f} GB free{folder}")
    print_line(f"data sets {', '.join(registry.names(store)) or 'none yet'}")
    needed = (
        "torch",
        "torchvision",
        "ray",
        "faiss",
        "pyarrow",
        "pycocotools",
        "pydensecrf",
        "plotly",
    )
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"missing packages: {', '.join(missing)}; install them with make env")
    if options.verify:
        _verify(store)
    for fault in store.faults():
        print_line(f"quarantine {fault}")


def _verify(store: Store) -> None:
    for stage, key in store.artifacts():
        seal = store.verify(stage, key)
        fault = store.unmoved.get(key)
        fate = f"not moved to quarantine: {fault}" if fault else "moved to quarantine"
        print_line(f"{stage}/{key[:12]} {seal or f'damaged, {fate}'}")
