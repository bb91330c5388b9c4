"""The commands on the store: `data`, `import`, `export`, `methods` and `doctor`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..config.fields import walk
from ..data import registry
from ..data.sources.source import check_name
from ..errors import InputError
from ..records.schema import read_run
from ..storage.artifact import versions
from ..storage.s3_store import open_store
from ..storage.store import Store
from . import resolve
from .ending import say
from .options.store_options import (
    DoctorOptions,
    ExportOptions,
    ImportOptions,
    MethodsOptions,
    SourceOptions,
)
from .pages import newest
from .run_commands import progress_for


def data(options: SourceOptions, command: str) -> None:
    """Carry out `wsss data`: write the shards of a source and give the data set a name."""
    store = open_store(options.store)
    source = resolve.source(options)
    progress = progress_for(options)
    artifact, cached = registry.add(store, source, options.name, progress, options.quarantine)
    about = artifact.about
    counts = ", ".join(f"{split} {n}" for split, n in about["counts"].items())
    say(f"{options.name}: {counts} images, {len(about['classes'])} classes")
    for split, digest in about.get("digests", {}).items():
        say(f"{split}: list {digest['ids'][:12]}, masks {digest['masks'][:12]}")
    for fault in about["quarantined"]:
        say(f"left out: {fault}")
    if cached:
        say("nothing to do: the shards are already in the store")


def export(options: ExportOptions, command: str) -> None:
    """Carry out `wsss export`: write a run's class maps or labels in another file format."""
    from ..interop import exports

    store, out = open_store(options.store), Path(options.out)
    run = read_run(store.root / "runs" / check_name(options.run or newest(store)) / "run.json")
    count = exports.write(store, run, out, options.to, options.what, options.split)
    say(f"{out}: {count} images as {options.to}")


def import_(options: ImportOptions, command: str) -> None:
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
    say(f"{options.name}: {kind} of {', '.join(imported.stages)}")
    if cached:
        say("nothing to do: the import is already in the store")


def methods(options: MethodsOptions, command: str) -> None:
    """Carry out `wsss methods`: list the methods, or the fields of one method."""
    from ..method import experiment, find
    from ..method import methods as all_methods

    if not options.method:
        for name, cls in all_methods().items():
            say(f"{name:8}{cls.source}  (presets: {', '.join(cls.presets)})")
        return
    method = find(options.method)
    say(f"{method.name}: {method.source}\n")
    for name, value, field in walk(experiment(options.method, preset=options.preset)):
        say(f"{name} = {value!r}\n    {field.metadata['help']}")


def doctor(options: DoctorOptions, command: str) -> None:
    """Carry out `wsss doctor`: check the machine, the packages and the store.

    Raises:
        InputError: a package that wsss needs is missing.
    """
    from ..models.backbones import BACKBONES
    from ..records.schema import machine

    store = open_store(options.store)
    say(f"machine   {machine()}")
    say("packages  " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    say(f"backbones {', '.join(BACKBONES)}")
    folder = "" if str(store) == str(store.root) else f" in {store.root}"
    say(f"store     {store}, {store.free_bytes() / 1e9:.0f} GB free{folder}")
    say(f"data sets {', '.join(registry.names(store)) or 'none yet'}")
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
        say(f"quarantine {fault}")


def _verify(store: Store) -> None:
    for stage, key in store.artifacts():
        seal = store.verify(stage, key)
        fault = store.unmoved.get(key)
        fate = f"not moved to quarantine: {fault}" if fault else "moved to quarantine"
        say(f"{stage}/{key[:12]} {seal or f'damaged, {fate}'}")
