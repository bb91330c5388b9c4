"""The commands on the store: `data`, `import`, `export`, `methods` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path

from ..config.fields import walk
from ..data import registry
from ..data.check import findings
from ..data.check.dataset_check import DatasetCheck
from ..data.check.rows import HEAD, rows_of
from ..data.names import check_name
from ..data.sources.source import Source
from ..errors import InputError
from ..records.progress_file import progress_display
from ..records.schema import read_run
from ..storage import filesystem
from ..storage.artifact import versions
from ..storage.store import Store, open_store
from . import resolve
from .ending import check_packages, say
from .options.source_options import SourceOptions
from .options.store_options import (
    ConfigOptions,
    DoctorOptions,
    ExportOptions,
    ImportOptions,
    MethodsOptions,
)
from .pages import newest_run
from .tables import Printer, Table, Value, text_table


def data(options: SourceOptions, command: str) -> None:
    """Carry out `wsss data`: write the shards of a source and give the data set a name.

    Raises:
        InputError: the source is broken, or its labels and masks cannot be right.
    """
    printer, source = Printer(options.format), resolve.source(options)
    if options.check:
        _check_source(options, source, printer)
        return
    store = open_store(options.store)
    with progress_display(options.quiet) as progress:
        artifact, cached = registry.add(store, source, options.name, progress, options.quarantine)
    about = artifact.about
    counts = ", ".join(f"{split} {n}" for split, n in about["counts"].items())
    printer.line(f"{options.name}: {counts} images, {len(about['classes'])} classes")
    for split, digest in about.get("digests", {}).items():
        printer.line(f"{split}: list {digest['ids'][:12]}, masks {digest['masks'][:12]}")
    for note in about.get("notes", []):
        printer.line(note)
    for fault in about["quarantined"]:
        printer.line(f"left out: {fault}")
    if options.format != "table":
        printer.table(_check_table(registry.check(store, options.name)))
    elif "check" in about:
        for text in findings.sentences(registry.check(store, options.name)):
            printer.line(f"check: {text}")
    else:
        printer.line(f"check: wsss doctor {options.name} checks the labels and masks")
    if cached:
        printer.line("nothing to do: the shards are already in the store")


def _check_source(options: SourceOptions, source: Source, printer: Printer) -> None:
    """Carry out `wsss data --check`: print the check of a source and write nothing."""
    with progress_display(options.quiet) as progress:
        conversion = registry.read_all(source, progress)
    for note in conversion.notes(source):
        printer.line(note)
    for fault in conversion.faults:
        printer.line(f"broken: {fault}")
    printer.table(_check_table(conversion.check))
    conversion.refuse(options.quarantine)


def _check_table(check: DatasetCheck) -> Table:
    """Return the table of a check: all images, splits and classes, with findings under it."""
    rows = list(rows_of(check))
    sizes = findings.sizes(check)
    notes = [f"sizes: {sizes}"] if sizes else []
    return Table(
        head=["", *HEAD],
        rows=[
            [
                f"split {row.name}" if row.kind == "split" else row.name,
                *map(str, (row.images, row.masks, row.without_pixel, row.without_label)),
                *("-" if x is None else f"{100 * x:.2f}" for x in (row.pixels, row.void)),
            ]
            for row in rows
        ],
        values=[
            {
                "kind": row.kind,
                "name": row.name,
                "images": row.images,
                "masks": row.masks,
                "label without pixel": row.without_pixel,
                "pixel without label": row.without_label,
                "pixels": None if row.pixels is None else round(100 * row.pixels, 4),
                "void": None if row.void is None else round(100 * row.void, 4),
            }
            for row in rows
        ],
        notes=[*notes, *findings.sentences(check)],
    )


def export(options: ExportOptions, command: str) -> None:
    """Carry out `wsss export`: write a run's class maps or labels in another file format."""
    from ..interop import exports
    from ..interop.voc_submission import COMPETITIONS, TEST_IMAGES

    store, out = open_store(options.store), Path(options.out)
    name = check_name(options.run or newest_run(store))
    run = read_run(store.location("runs", name, "run.json"))
    count = exports.write(store, run, out, options.to, options.what, options.split)
    say(f"{out}: {count} images as {options.to}")
    if options.to in COMPETITIONS and (options.split != "test" or count != TEST_IMAGES):
        say(
            f"the VOC server scores the {TEST_IMAGES:,} images of VOC's list test; this archive "
            f"holds {count} of {options.split}"
        )


def import_(options: ImportOptions, command: str) -> None:
    """Carry out `wsss import`: store another project's class maps or labels under a name."""
    from ..interop import imports

    store = open_store(options.store)
    with progress_display(options.quiet) as progress:
        imported, cached = imports.add(
            store,
            kind=options.kind,
            folder=Path(options.path),
            data=options.data,
            name=options.name,
            splits=options.splits,
            progress=progress,
        )
    kind = "labels" if imported.labels else "class maps"
    say(f"{options.name}: {kind} of {', '.join(imported.stages)}")
    if cached:
        say("nothing to do: the import is already in the store")


def methods(options: MethodsOptions, command: str) -> None:
    """Carry out `wsss methods`: list the methods, the fields of one, or what runs on what."""
    from ..method import find_method
    from ..method import methods as all_methods

    printer = Printer(options.format)
    if options.matrix:
        printer.table(matrix_table())
        return
    if options.method:
        method, fields = find_method(options.method), _fields(options.method, options.preset)
        printer.line(f"{method.name}: {method.source}\n")
        printer.table(fields)
        return
    names = ("method", "source", "presets")
    rows = [(name, cls.source, ", ".join(cls.presets)) for name, cls in all_methods().items()]
    width = max(len(name) for name, _, _ in rows) + 2
    printer.table(
        text_table(
            names,
            rows,
            "\n".join(f"{name:{width}}{source}  (presets: {own})" for name, source, own in rows),
        )
    )


def matrix_table() -> Table:
    """Return the table of methods and segmenters on kinds of backbones, by trying them all."""
    from ..stages.compatibility import KINDS, RUNS, trials

    results = trials()
    refusals = list(dict.fromkeys(trial.refusal for trial in results if trial.refusal))
    texts: dict[str, list[str]] = {}
    values: dict[str, dict[str, Value]] = {}
    head = ("method or network", *KINDS)
    for trial in results:
        number = refusals.index(trial.refusal) + 1 if trial.refusal else 0
        row = texts.setdefault(trial.learner, [trial.learner])
        row.append(f"no ({number})" if number else RUNS)
        value = values.setdefault(trial.learner, {head[0]: trial.learner})
        value[trial.kind] = trial.refusal or RUNS
    return Table(
        head=head,
        rows=list(texts.values()),
        values=list(values.values()),
        notes=[f"({number}) {text}" for number, text in enumerate(refusals, 1)],
        numbers=False,
    )


def _fields(method: str, preset: str) -> Table:
    """Return a table of the fields of an experiment with one method."""
    from ..method import build_experiment

    names = ("field", "value", "meaning")
    fields = [
        (name, value, str(field.description))
        for name, value, field in walk(build_experiment(method, preset=preset))
    ]
    rows = [(name, repr(value), meaning) for name, value, meaning in fields]
    plain = "\n".join(f"{name} = {value}\n    {meaning}" for name, value, meaning in rows)
    return text_table(names, rows, plain)


def config(options: ConfigOptions, command: str) -> None:
    """Carry out `wsss config`: write an experiment file of a method, or the JSON schema of files.

    Raises:
        InputError: a method or preset is unknown, an option has no effect beside --schema, or
            there is something in the place of the file.
    """
    from ..config.yaml_writer import experiment_file
    from ..method import build_experiment
    from ..method.experiment_files import json_schema

    if options.schema:
        unused = [name for name in ("localizer", "baseline") if getattr(options, name)]
        unused += ["preset"] if options.preset != ConfigOptions.preset else []
        if unused:
            names = ", ".join(f"--{name}" for name in unused)
            raise InputError(f"--schema depends on the method alone; leave out {names}")
        text = json.dumps(json_schema(options.method), indent=2)
    else:
        experiment = build_experiment(
            options.method,
            preset=options.preset,
            localizer=options.localizer,
            baseline=options.baseline,
        )
        text = experiment_file(experiment).rstrip("\n")
    if options.out is None:
        say(text)
        return
    if not filesystem.create(Path(options.out), f"{text}\n".encode()):
        raise InputError(f"{options.out} exists; choose another --out")


def doctor(options: DoctorOptions, command: str) -> None:
    """Carry out `wsss doctor`: check the machine, the packages and the store, or a data set.

    Raises:
        InputError: a package that wsss needs is missing, there is no such data set, or an artifact
            is damaged.
    """
    store, printer = open_store(options.store), Printer(options.format)
    if options.data:
        printer.table(_check_table(registry.check(store, options.data)))
    else:
        _check_machine(store, printer)
    if options.verify:
        _verify(store, printer)


def _check_machine(store: Store, printer: Printer) -> None:
    """Print the table of the machine, the packages and the store.

    Raises:
        InputError: a package that wsss needs is missing.
    """
    from ..models.backbones import BACKBONES
    from ..records.schema import machine

    rows = [
        ("machine", machine()),
        ("GPUs", _gpus()),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions().items())),
        ("backbones", f"{', '.join(BACKBONES)}, or timm:NAME for a network of timm"),
        ("store", f"{store}, {store.storage.free_space()}"),
        ("data sets", ", ".join(registry.names(store)) or "none yet"),
        *(("quarantine", fault) for fault in store.faults()),
    ]
    printer.table(
        text_table(
            ("subject", "state"),
            rows,
            "\n".join(f"{subject:9} {state}" for subject, state in rows),
        )
    )
    check_packages()


def _gpus() -> str:
    """Return the GPUs that PyTorch can use on this machine, in words."""
    import torch

    if not torch.cuda.is_available():
        built = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
        kinds = [f"{kind} {version}" for kind, version in built.items() if version]
        advice = f" (built for {kinds[0]}; is the GPU's driver installed?)" if kinds else ""
        return f"none that PyTorch can use{advice}"
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _verify(store: Store, printer: Printer) -> None:
    """Check the hashes of all artifacts, and print a line on each artifact and on new faults.

    Raises:
        InputError: an artifact is damaged.
    """
    before, damaged = {*store.faults()}, 0
    for stage, key in store.artifacts():
        seal = store.verify(stage, key)
        damaged += not seal
        fault = store.unmoved.get(key)
        fate = f"not moved to quarantine: {fault}" if fault else "moved to quarantine"
        printer.line(f"{stage}/{key[:12]} {seal or f'damaged, {fate}'}")
    for fault in store.faults():
        if fault not in before:
            printer.line(f"quarantine {fault}")
    if damaged:
        number = f"{damaged} artifacts are" if damaged > 1 else "1 artifact is"
        raise InputError(f"{number} damaged; repeat the commands that computed them")
