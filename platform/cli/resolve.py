"""Sources and experiments that the options of a command describe."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict, TypeVar

from ..config.fields import parse
from ..data import registry
from ..data.sources.source import Source
from ..errors import InputError
from ..serialization import digest
from ..storage import filesystem
from ..storage.store import Store
from ..tuning import spaces
from .options.experiment_options import ExperimentOptions, Localized, SweepOptions
from .options.kinds import Command
from .options.source_options import (
    COCOOptions,
    FolderOptions,
    ScenesOptions,
    SourceOptions,
    VOCOptions,
    path_by_split,
    split_and_path,
)
from .options.store_options import ConfigOptions

if TYPE_CHECKING:
    from ..config.experiment import Experiment
    from ..method.experiment_files import ExperimentFile
    from ..tuning.sweep import Sweep

Options = TypeVar("Options", bound=Command)
OPTION_BY_FIELD = {
    "method": "the command's METHOD",
    "localizer": "--localizer",
    "imported": "--imported",
    "data": "--data",
    "seed": "--seed or --seeds",
}
"""The options that set the fields that --set must not set."""
OPTION_BY_BASELINE_FIELD = dict.fromkeys(
    ("baseline.method", "baseline.localizer", "baseline.imported"), "--baseline"
) | {"baseline.data": "--data"}
"""The options that set the fields of the baseline that --set must not set."""
PATHS = {
    "store": "--store",
    "out": "OUT",
    "page": "--page",
    "picture": "--picture",
    "path": "PATH",
    "labels": "--labels",
    "annotations": "--annotations",
    "images": "--images",
    "weights": "--weights",
    "space": "--space",
}
"""The options that are paths; fields of a configuration that are files are not among them."""


def with_absolute_paths(options: Options) -> Options:
    """Return a command's options with absolute paths.

    Raises:
        InputError: a path is empty, or is an address where only a folder or file is allowed.
    """
    paths: dict[str, str | tuple[str, ...]] = {}
    for name, title in PATHS.items():
        text = getattr(options, name, None)
        if isinstance(text, tuple):
            pairs = [split_and_path(value) for value in text]
            paths[name] = tuple(f"{s}{filesystem.absolute(path, title)}" for s, path in pairs)
        if not isinstance(text, str):  # --images of the report is a number
            continue
        inner = ""
        if name == "space":
            file, inner = spaces.split_file_and_name(text)
            if not file:  # the space is given by its name
                continue
            text = file
        title = "--out" if name == "out" and isinstance(options, ConfigOptions) else title
        path = filesystem.absolute(text, title, addresses=name == "store")
        paths[name] = f"{path}:{inner}" if inner else path
    return dataclasses.replace(options, **paths)


def source(options: SourceOptions) -> Source:
    """Return the source from which `wsss data` takes images."""
    if isinstance(options, ScenesOptions):
        from ..data.sources.scenes import Scenes

        return Scenes(train=options.train, val=options.val, size=options.size, seed=options.seed)
    if isinstance(options, COCOOptions):
        from ..data.sources.coco import COCO

        images = path_by_split("--images", options.images or ())
        return COCO(
            options.path,
            year=options.year,
            labelled=options.labelled,
            annotations=path_by_split("--annotations", options.annotations or (), "train"),
            images=images.get("") or images,
            stuff=options.stuff,
            crowds=options.crowds,
        )
    from ..data.sources.folder import Folder
    from ..data.sources.voc import VOC

    assert isinstance(options, VOCOptions | FolderOptions)
    kind = VOC if isinstance(options, VOCOptions) else Folder
    return kind(
        options.path,
        lists=options.lists,
        labels=options.labels,
        label_base=options.label_base,
        orientation=options.orientation,
        mask_values=options.mask_values,
        resize_masks=options.resize_masks,
    )


class Variant(TypedDict, total=False):
    """Arguments of `experiment` that differ between the experiments of one command."""

    method: str
    localizer: str
    baseline: str
    refine: str
    changes: Mapping[str, object]


def parse_combination(text: str) -> Variant:
    """Return the method, localizer and baseline of METHOD[:LOCALIZER][@BASELINE].

    Raises:
        InputError: the text has another form.
    """
    word, separator, baseline = text.partition("@")
    method, _, localizer = word.partition(":")
    if not method or bool(separator) != bool(baseline):
        raise InputError(f"{text!r} is no combination; write METHOD[:LOCALIZER][@BASELINE]")
    return {"method": method, "localizer": localizer, "baseline": baseline}


def _changes(
    options: ExperimentOptions, seed: int, varied: Collection[str], method: str, refine: str = ""
) -> dict[str, object]:
    """Return the values of fields that the options give.

    Args:
        options: the options of the command.
        seed: random seed of the experiment.
        varied: fields that the options must not give.
        method: the method of the experiment, whose weights `--weights` gives.
        refine: one of several refinements; empty: the first refinement of the options.
    """
    from ..method import weights_field

    changes: dict[str, object] = {"data": options.data, "seed": seed}
    recipe, network = (
        options.file.text(name) if options.file else "" for name in ("recipe", "segment.network")
    )
    if options.recipe not in (None, "", recipe) and not (options.segment or network):
        raise InputError("--recipe needs a segmenter; name one with --segment")
    for text in options.set:
        field, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set takes FIELD=VALUE, not {text!r}")
        if instead := OPTION_BY_FIELD.get(field) or OPTION_BY_BASELINE_FIELD.get(field):
            raise InputError(f"--set does not take {field}; set it by {instead}")
        if field in varied:
            raise InputError(f"{field} is varied by this command; leave out its --set")
        changes[field] = parse(value)
    weights = weights_field(method)
    given = {
        "network.backbone": ("--backbone", options.backbone),
        ("network.weights" if weights in changes else weights): ("--weights", options.weights),
        "network.weights_key": ("--weights-key", options.weights_key),
        "refine.kind": ("--refine", refine or next(iter(options.refinements), None)),
        "segment.network": ("--segment", options.segment),
        "imported": ("--imported", options.imported or None),
    }
    for name, (option, chosen) in given.items():
        if chosen is not None and name in changes:
            raise InputError(f"{option} and --set {name} set the same field; leave out the --set")
        if chosen is not None:
            changes[name] = chosen
    return changes


def _other_groups(names: Sequence[str], baseline: str) -> set[str]:
    """Return the groups of fields of methods that have no part in an experiment.

    Args:
        names: methods and localizer.
        baseline: baseline of the methods; empty: none.
    """
    from ..method import method_names

    others = {*method_names(), "baseline"} - {*names, *baseline.replace("+", ":").split(":")}
    return others - ({"baseline"} if baseline else set())


def _preset(options: ExperimentOptions, store: Store) -> str:
    """Return the preset of the options, or the one that suits their data set."""
    if options.preset:
        return options.preset
    drawn = registry.open_dataset(store, options.data).about["source"] == "scenes"
    return "scenes" if drawn else options.undrawn


def experiment(
    options: ExperimentOptions,
    store: Store,
    seed: int,
    *,
    method: str = "",
    localizer: str = "",
    baseline: str = "",
    refine: str = "",
    changes: Mapping[str, object] | None = None,
) -> Experiment:
    """Return the experiment that the options describe.

    Args:
        options: the options of the command.
        store: the store that holds the data set.
        seed: random seed of the experiment.
        method: one of several methods, which takes only its own options; empty: options.method.
        localizer: localizer that reads the network of `method`.
        baseline: baseline of `method`; empty: the baseline of the options, where it needs one.
        refine: one of several refinements; empty: the first refinement of the options.
        changes: further changes by dotted name.

    Raises:
        InputError: the options describe no experiment.
    """
    from ..method import find_method, find_preset

    preset, file = _preset(options, store), options.file
    baseline_name, one = options.baseline or "", isinstance(options, Localized) and not method
    if isinstance(options, Localized) and one:
        method, localizer = options.method, options.localizer
    values = _changes(options, seed, changes or {}, method, refine)
    if not one:
        trained = [find_method(name) for name in method.split("+")]
        preset = find_preset(trained[0], preset)
        needed = any(cls.needs_baseline for cls in trained)
        baseline_name = baseline or (baseline_name if needed else "")
        others = _other_groups([*method.split("+"), localizer], baseline_name)
        values = {name: v for name, v in values.items() if name.split(".")[0] not in others}
        file = file and file.without(others)
    head = {"method": method, "localizer": localizer, "preset": preset, "baseline": baseline_name}
    head["recipe"] = options.recipe or ""
    return _built(file, head, {**(changes or {}), **values})


def _built(
    file: ExperimentFile | None, head: Mapping[str, str], values: Mapping[str, object]
) -> Experiment:
    """Return the experiment of an experiment file, or of presets, with some values replaced.

    Args:
        file: experiment file.
        head: method, localizer, preset, baseline and recipe.
        values: values by dotted name.
    """
    from ..method import build_experiment

    if file is None:
        return build_experiment(changes=values, **head)
    names = {name for name in head if name != "baseline" or head[name] != file.baseline}
    return file.experiment({**{name: head[name] for name in names}, **values}, head["preset"])


def chosen_space(options: SweepOptions, method: str) -> tuple[str, spaces.Space]:
    """Return the name and the values of the search space of the options.

    The space that an experiment file holds has the name of the file.

    Args:
        options: the options of the command.
        method: name of the method or import whose class maps are scored.

    Raises:
        InputError: there is no such space.
    """
    if options.file and not options.space:
        title = re.sub(r"[^A-Za-z0-9._-]+", "-", options.file.path.stem)
        return title, spaces.space_from(options.file.space)
    return spaces.find_space(method, options.space)


def combinations(options: SweepOptions, store: Store, space: spaces.Space) -> dict[str, Experiment]:
    """Return the experiment of each value of a space's field `combination`, by value.

    Raises:
        InputError: a value is no METHOD[:LOCALIZER][@BASELINE], or class maps are imported.
    """
    words = [str(word) for word in spaces.listed_values(space, spaces.COMBINATION)]
    if words and options.imported:
        raise InputError(
            "a sweep over combinations takes no imported class maps; leave out --imported"
        )
    named = {word: parse_combination(word) for word in words}
    return {word: experiment(options, store, options.seed, **named[word]) for word in words}


def combinations_file(options: SweepOptions, store: Store, sweep: Sweep) -> str:
    """Return the experiment file of a sweep over combinations.

    It holds only what the options give, because each combination has a preset of its own.
    """
    from ..config.yaml_reader import merged
    from ..config.yaml_writer import value_text
    from ..tuning.sweep_file import sweep_section

    entries = options.file.fields if options.file else {}
    names = ("method", "localizer", "recipe", "baseline")
    head = {name: text for name in names if (text := getattr(options, name))}
    fields = merged(
        {name: entry.value for name, entry in entries.items()},
        {
            **head,
            "preset": _preset(options, store),
            **_changes(options, options.seed, (), options.method),
        },
    )
    for name, value in fields.items():
        if name.endswith(".weights") and value:
            fields[name] = filesystem.absolute(value, name)
    lines = [f"{name}: {value_text(value)}" for name, value in fields.items()]
    return "\n".join(lines) + "\n" + sweep_section(sweep)


def sweep(
    options: SweepOptions, store: Store, space: spaces.Space | None = None
) -> tuple[str, Sweep]:
    """Return the name of the search space of the options, and the sweep over the space.

    Args:
        options: the options of the command.
        store: the store that holds the data set.
        space: the space itself; None: the space that the options name.

    Raises:
        InputError: the options describe no sweep.
    """
    from ..tuning.sweep import Sweep

    base = experiment(options, store, options.seed)
    if space is None:
        title, space = chosen_space(options, base.localizer_name)
    else:
        title = f"own-{digest([*spaces.space_in_file_form(space).items()])[:8]}"
    return title, Sweep(
        base=base,
        bases=combinations(options, store, space),
        space=space,
        trials=options.trials,
        split=options.split,
        concurrent=options.concurrent,
        repeats=options.repeats,
        kind=options.search or "",
        objectives=tuple(options.objectives),
        best=options.best or "",
        budget=options.budget or "",
        scheduler=options.scheduler or "",
        retries=options.retries,
    )
