"""Build an experiment from a method and one of its presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from ..config.experiment import SEGMENTERS, Experiment, Refine
from ..config.fields import replaced, walk
from ..config.recipes import recipe as find_recipe
from ..config.rules import unknown_field
from ..errors import FieldError, InputError
from .base import Method
from .registry import find_method, method_names

PREFIX = "baseline."
"""What the names of the fields of a baseline begin with."""


def build_method(experiment: Experiment, name: str) -> Method:
    """Return the method `name` with the settings that an experiment holds for the method."""
    cls = find_method(name)
    return cls(experiment.settings.get(name) or cls.Config())


def find_preset(cls: type[Method], preset: str, exact: bool = False) -> str:
    """Return the name of a method's preset that goes with a preset of another method.

    Args:
        cls: the method.
        preset: name of the other method's preset.
        exact: whether the name must be the same; otherwise `release` goes with `release-voc`.

    Raises:
        InputError: the method has no such preset.
    """
    for name in [preset] if exact else [preset, preset.split("-")[0]]:
        if name in cls.presets:
            return name
    names = ", ".join(cls.presets)
    raise InputError(f"unknown preset {preset!r} of {cls.name}; there are {names}")


def build_experiment(
    method: str,
    *,
    preset: str = "default",
    localizer: str = "",
    baseline: str = "",
    recipe: str = "",
    changes: Mapping[str, object] | None = None,
) -> Experiment:
    """Return an experiment with a method, from one of the method's presets.

    Args:
        method: a name from `wsss methods`, or several joined by `+`, which train one network.
        preset: `paper`, `release`, `default` or `scenes`; where the presets of several methods
            differ, the preset of the first method counts.
        localizer: another method whose localizer turns the trained network into class maps; of
            its preset only the options of the localizer itself count.
        baseline: METHOD[:LOCALIZER] or the name of an import, from whose segmenter the method
            learns; the baseline takes its own preset of the same name.
        recipe: a name from `recipes.RECIPES`, by which the segmenters of the method and of the
            baseline are trained; empty: the options of the preset.
        changes: options by dotted name, e.g. `{"training.epochs": 8, "lpcam.tau": 0.2}`, also for
            a baseline that has them; `baseline.training.epochs` holds only for the baseline.

    Raises:
        InputError: a method, preset, recipe or field is unknown, or a value is out of range.
    """
    changes = changes or {}
    base = _configured(Experiment(method=method, localizer=localizer), preset)
    if recipe:
        base = dataclasses.replace(base, segment=find_recipe(recipe)(base.segment))
    if not baseline:
        return replaced(base, changes)
    inner, outer = _baseline(baseline, preset, recipe, changes, {name for name, _, _ in walk(base)})
    return dataclasses.replace(replaced(base, outer), baseline=inner)


def published_refinement(name: str) -> Refine | None:
    """Return the options of refinement that were published with a method.

    They are those of its preset `release`, or else `paper`; None where it has neither.
    """
    presets = find_method(name).presets
    preset = presets.get("release") or presets.get("paper")
    return preset.configure(Experiment()).refine if preset else None


def _configured(base: Experiment, preset: str) -> Experiment:
    """Return the experiment with the presets of its methods, the first of which counts most."""
    if len(set(base.trained)) < len(base.trained):
        raise InputError(f"method {base.method!r} names a method twice; name each method once")
    trained = [find_method(name) for name in base.trained]
    readers = [find_method(base.localizer)] if base.localizer else []
    presets = {cls: cls.presets[find_preset(cls, preset)] for cls in readers}
    presets |= {cls: cls.presets[find_preset(cls, preset, exact=True)] for cls in reversed(trained)}
    settings = {cls.name: presets[cls].settings or cls.Config() for cls in (*trained, *readers)}
    out = dataclasses.replace(base, settings=settings)
    for cls in reversed(trained):
        out = presets[cls].configure(out)
    return out


def _baseline(
    baseline: str, preset: str, recipe: str, changes: Mapping[str, object], known: Collection[str]
) -> tuple[Experiment, dict[str, object]]:
    """Return the baseline's experiment, and the changes for the method that has the baseline.

    Args:
        baseline: METHOD[:LOCALIZER] or the name of an import.
        preset: preset of the method that has the baseline.
        recipe: recipe of the segmenters; empty: the options of the preset.
        changes: options by dotted name.
        known: the fields of the method that has the baseline.
    """
    method, _, localizer = baseline.partition(":")
    common = {k: v for k, v in changes.items() if not k.startswith(PREFIX)}
    if method.split("+")[0] in method_names():
        identity = {"method": method, "localizer": localizer, "imported": ""}
    else:
        identity = {"method": "cam", "localizer": "", "imported": baseline}
    first = find_method(identity["method"].split("+")[0])
    unchanged = build_experiment(
        identity["method"],
        preset=find_preset(first, preset),
        localizer=identity["localizer"],
        recipe=recipe,
    )
    fields = [name for name, _, _ in walk(unchanged)]
    inner = {k: v for k, v in common.items() if k in fields and k not in identity}
    own = {k.removeprefix(PREFIX): v for k, v in changes.items() if k.startswith(PREFIX)}
    for name in own:
        if name not in fields:
            raise unknown_field(PREFIX + name, [PREFIX + field for field in fields])
    try:
        out = replaced(unchanged, {"imported": identity["imported"], **inner, **own})
    except FieldError as error:
        raise (error.inside(PREFIX) if error.field in own else error) from None
    if not out.segment.network:
        out = replaced(out, {"segment.network": SEGMENTERS[0]})
    return out, {k: v for k, v in common.items() if k in known or k not in fields}
