"""An experiment made from a method and one of its presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ..config.experiment import SEGMENTERS, Experiment
from ..config.fields import replaced, walk
from ..config.recipes import recipe as find_recipe
from ..errors import InputError
from .base import Method
from .registry import find, methods


def made(experiment: Experiment, name: str) -> Method:
    """The method `name` with an experiment's settings of it."""
    cls = find(name)
    return cls(experiment.settings.get(name) or cls.Config())


def family(cls: type[Method], preset: str, exact: bool = False) -> str:
    """The preset of a method that goes with another's: the same, or unless `exact` `release` for
    `release-voc`.

    Raises:
        InputError: it has neither.
    """
    for name in [preset] if exact else [preset, preset.split("-")[0]]:
        if name in cls.presets:
            return name
    names = ", ".join(cls.presets)
    raise InputError(f"unknown preset {preset!r} of {cls.name}; there are {names}")


def experiment(
    method: str,
    *,
    preset: str = "default",
    localizer: str = "",
    baseline: str = "",
    recipe: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Experiment:
    """An experiment with a method, from one of its presets.

    Args:
        method: a name from `wsss methods`, or several joined by `+`, trained together.
        preset: `paper`, `release`, `default` or `scenes`; where those of several methods
            differ, the first method's counts.
        localizer: another method whose localizer reads the trained network; of its preset only
            its own options count.
        baseline: whose segmenter the method learns from: METHOD[:LOCALIZER] with its own preset of
            that name, or an import.
        recipe: a name from `recipes.RECIPES`, which says how the segmenter is trained, and the
            baseline's segmenter; none: as the preset says.
        changes: options by dotted name, e.g. `{"training.epochs": 8, "lpcam.tau": 0.2}`; they
            hold for the baseline too, where it has them; `baseline.training.epochs` holds for the
            baseline alone.

    Raises:
        InputError: unknown method, preset, recipe or field, or a value out of range.
    """
    changes = changes or {}
    base = Experiment(method=method, localizer=localizer)
    if len(set(base.trained)) < len(base.trained):
        raise InputError(f"method {method!r} names one twice")
    trained = [find(name) for name in base.trained]
    read = [find(localizer)] if localizer else []
    presets = {cls: cls.presets[family(cls, preset)] for cls in read}
    presets |= {cls: cls.presets[family(cls, preset, exact=True)] for cls in reversed(trained)}
    settings = {cls.name: presets[cls].settings or cls.Config() for cls in (*trained, *read)}
    base = dataclasses.replace(base, settings=settings)
    for cls in reversed(trained):
        base = presets[cls].configure(base)
    if recipe:
        base = dataclasses.replace(base, segment=find_recipe(recipe)(base.segment))
    if not baseline:
        return replaced(base, changes)
    inner, own = _baseline(baseline, preset, recipe, changes, {name for name, _, _ in walk(base)})
    return dataclasses.replace(replaced(base, own), baseline=inner)


def _baseline(
    baseline: str, preset: str, recipe: str, changes: Mapping[str, Any], known: Collection[str]
) -> tuple[Experiment, dict[str, Any]]:
    """The baseline's experiment, and the changes that are not its alone; `known` are the fields of
    the method that has the baseline."""
    method, _, localizer = baseline.partition(":")
    named = {k: v for k, v in changes.items() if not k.startswith("baseline.")}
    if method.split("+")[0] in methods():
        wanted = {"method": method, "localizer": localizer, "imported": ""}
    else:
        wanted = {"method": "cam", "localizer": "", "imported": baseline}
    first = find(wanted["method"].split("+")[0])
    plain = experiment(
        wanted["method"],
        preset=family(first, preset),
        localizer=wanted["localizer"],
        recipe=recipe,
    )
    fields = {name for name, _, _ in walk(plain)}
    mine = {k: v for k, v in named.items() if k in fields and k not in wanted}
    mine |= {k[len("baseline.") :]: v for k, v in changes.items() if k.startswith("baseline.")}
    out = replaced(plain, {"imported": wanted["imported"], **mine})
    if not out.segment.network:
        out = replaced(out, {"segment.network": SEGMENTERS[0]})
    return out, {k: v for k, v in named.items() if k in known or k not in fields}
