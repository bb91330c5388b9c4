"""What the options of a command ask for: a source of images, an experiment."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..config.fields import parse
from ..data import registry
from ..data.sources.source import Source
from ..errors import InputError
from ..storage import filesystem
from ..storage.store import Store
from ..tuning.spaces import COMBINATION, Space, file_of

if TYPE_CHECKING:
    from ..config.experiment import Experiment


IDENTITY = {
    "method": "the command's METHOD",
    "localizer": "--localizer",
    "imported": "--imported",
    "data": "--data",
    "seed": "--seed or --seeds",
}
OF_BASELINE = {f"baseline.{name}": "--baseline" for name in ("method", "localizer", "imported")}
OF_BASELINE["baseline.data"] = "--data"
"""What says what an experiment is, and its baseline, for which --set is not."""
PATHS = {
    "store": "--store",
    "out": "OUT",
    "page": "--page",
    "path": "PATH",
    "labels": "--labels",
    "weights": "--weights",
    "space": "--space",
}
"""The options that are paths; files among the fields of a configuration see to it themselves."""


def make_absolute(options: argparse.Namespace) -> None:
    """Makes the paths among a command's options absolute, before anything is done.

    Raises:
        InputError: a path is empty, or an address where none can be.
    """
    for name, title in PATHS.items():
        text = getattr(options, name, None)
        if text is None or (name == "store" and "://" in text):
            continue
        inner = ""
        if name == "space":
            file, inner = file_of(text)
            if not file:  # the name of a space
                continue
            text = file
        path = filesystem.absolute(text, title)
        setattr(options, name, f"{path}:{inner}" if inner else path)


def source(options: argparse.Namespace) -> Source:
    """Where `wsss data` takes its images from."""
    if options.kind == "scenes":
        from ..data.sources.scenes import Scenes

        return Scenes(train=options.train, val=options.val, size=options.size, seed=options.seed)
    if options.kind == "voc":
        from ..data.sources.voc import VOC

        lists = tuple(options.lists) if options.lists else None
        return VOC(options.path, lists=lists, labels=options.labels)
    if options.kind == "coco":
        from ..data.sources.coco import COCO

        return COCO(options.path, year=options.year, labelled=options.labelled)
    from ..data.sources.folder import Folder

    return Folder(options.path)


def combination(text: str) -> dict[str, Any]:
    """What METHOD[:LOCALIZER][@BASELINE] names.

    Raises:
        InputError: it names no method.
    """
    word, at, baseline = text.partition("@")
    method, _, localizer = word.partition(":")
    if not method or bool(at) != bool(baseline):
        raise InputError(f"a combination is METHOD[:LOCALIZER][@BASELINE], not {text!r}")
    return {"method": method, "localizer": localizer, "baseline": baseline}


def check_used(options: argparse.Namespace, made: Sequence[Experiment]) -> None:
    """That each option given for several methods is of use to one of them.

    Raises:
        InputError: --baseline is, or a --set is, for none of them.
    """
    from ..method import methods as known

    if options.baseline and options.baseline not in [e.combination.partition("@")[2] for e in made]:
        raise InputError(
            "--baseline is for a method that learns from a segmenter; none here takes it"
        )
    baselines = [e.baseline for e in made if e.baseline]
    for text in options.set:
        group = text.partition("=")[0].split(".")[0]
        if group == "baseline" and not baselines:
            raise InputError(f"--set {text}: no method here has a baseline")
        if group in known() and all(group not in e.settings for e in [*made, *baselines]):
            raise InputError(f"--set {text}: no method here is {group}")


def _changes(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    changes: dict[str, Any] = {"data": options.data, "seed": seed}
    if options.recipe and not options.segment:
        raise InputError("--recipe is for a segmenter; name one with --segment")
    for text in options.set:
        field, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set takes FIELD=VALUE, not {text!r}")
        if instead := IDENTITY.get(field) or OF_BASELINE.get(field):
            raise InputError(f"--set does not take {field}; {instead} says it")
        changes[field] = parse(value)
    given = {
        "network.backbone": options.backbone,
        "network.weights": options.weights,
        "refine.kind": options.refine,
        "segment.network": options.segment,
        "imported": options.imported or None,
    }
    return changes | {field: value for field, value in given.items() if value is not None}


def experiment(
    options: argparse.Namespace,
    store: Store,
    seed: int,
    *,
    method: str = "",
    localizer: str = "",
    baseline: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Experiment:
    """The experiment that the options describe, of another method where one is given.

    Of several methods side by side each takes the options that are its own, and the baseline of the
    options where it needs one and names none.
    """
    from ..method import experiment as made
    from ..method import family, find
    from ..method import methods as known

    preset = options.preset
    if not preset:
        drawn = registry.open_dataset(store, options.data).about["source"] == "scenes"
        preset = "scenes" if drawn else options.undrawn
    wanted, given = _changes(options, seed), options.baseline or ""
    if method:
        trained = [find(name) for name in method.split("+")]
        preset = family(trained[0], preset)
        given = baseline or (given if any(cls.needs_baseline for cls in trained) else "")
        named = [*method.split("+"), localizer, *given.replace("+", ":").split(":")]
        others = {*known(), "baseline"} - {*named}
        others -= {"baseline"} if given else set()
        wanted = {k: v for k, v in wanted.items() if k.split(".")[0] not in others}
    if twice := wanted.keys() & (changes or {}).keys():
        raise InputError(f"{sorted(twice)[0]} is what is varied here; leave out its --set")
    return made(
        method or options.method,
        preset=preset,
        localizer=localizer if method else options.localizer,
        baseline=given,
        recipe=options.recipe or "",
        changes={**(changes or {}), **wanted},
    )


def combinations(options: argparse.Namespace, store: Store, space: Space) -> dict[str, Experiment]:
    """The experiment of each value of a space's field `combination`, by value.

    Raises:
        InputError: a value is no METHOD[:LOCALIZER][@BASELINE], or class maps are imported.
    """
    words = [str(word) for word in space.get(COMBINATION, ())]
    if words and options.imported:
        raise InputError("imported class maps are no combination; leave out --imported")
    of = {word: combination(word) for word in words}
    return {word: experiment(options, store, options.seed, **of[word]) for word in words}
