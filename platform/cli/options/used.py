"""Checks that options have an effect on the experiments of their command."""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ...errors import InputError
from .experiment_options import ExperimentOptions

if TYPE_CHECKING:
    from ...config.experiment import Experiment, Segment
    from ...config.groups.network import Network
    from ...tuning.spaces import Domain

OF_WALK = (
    *("training", "foreground", "background", "walk_power", "walk_background", "boundaries"),
    *("pair_radius", "pairs", "radius", "beta", "steps", "frozen_stages"),
)
KINDS_BY_FIELD: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(OF_WALK, ("irn",)),
    "crf": ("crf",),
    "power": ("crf", "irn"),
    "par": ("par",),
    "segments": ("segments",),
}
"""The refinements that read a field or group of `refine`, where others do not read it."""
UNREFINED = ("kind", "threshold")
"""The fields of `refine` that have an effect without a refinement, too."""


def check_used(
    options: ExperimentOptions,
    experiments: Sequence[Experiment],
    varied: Mapping[str, Sequence[Domain]] | None = None,
) -> None:
    """Check that --baseline and each --set have an effect on at least one experiment.

    An experiment file may also hold fields of methods, refinements and segmenters that a command
    does not run.

    Args:
        options: the options of the command.
        experiments: the experiments of the command; of a sweep, the untuned ones.
        varied: the domains of the fields that a sweep varies; None: the command is no sweep.

    Raises:
        InputError: --baseline or a --set has no effect, or a key of weights is given without
            weights.
    """
    from ...config.experiment import SEGMENTERS
    from ...method import methods as known
    from ...records.result_id import RefinementName

    by_file = options.file.baseline if options.file else ""
    named = (e.combination.partition("@")[2] for e in experiments)
    if options.baseline not in (None, by_file, *named):
        raise InputError(
            "--baseline has no effect, as no method here learns from a segmenter; leave it out"
        )
    baselines = [e.baseline for e in experiments if e.baseline]
    together, varied = [*experiments, *baselines], varied or {}
    kinds: set[str] = {e.refine.kind for e in together}
    kinds |= _tried("refine.kind", varied, typing.get_args(RefinementName))
    segmenters: set[str] = {e.segment.network for e in together}
    segmenters |= _tried("segment.network", varied, SEGMENTERS)
    for text in options.set:
        field = text.partition("=")[0]
        group = field.split(".")[0]
        if group == "baseline" and not baselines:
            raise InputError(f"--set {text}: no method here has a baseline; leave it out")
        if group in known() and all(group not in e.settings for e in together):
            raise InputError(f"--set {text}: no method here is {group}; leave it out")
        _check_stage(text, field.removeprefix("baseline."), kinds - {""}, segmenters - {""})
    _check_weights_key("network", [e.network for e in together], varied)
    _check_weights_key("segment", [e.segment for e in together], varied)


def _tried(field: str, varied: Mapping[str, Sequence[Domain]], choices: Sequence[str]) -> set[str]:
    """Return the values that a sweep may give to a field of an experiment or its baseline.

    Args:
        field: the field.
        varied: the domains of the fields that the sweep varies.
        choices: all values of the field, for a domain that lists none.
    """
    from ...tuning.spaces import Listed

    domains = [d for name in (field, f"baseline.{field}") for d in varied.get(name, ())]
    listed = (d.values if isinstance(d, Listed) else choices for d in domains)
    return {str(value) for values in listed for value in values}


def _check_weights_key(
    group: str, given: Sequence[Network | Segment], varied: Mapping[str, Sequence[Domain]]
) -> None:
    """Check that a key of weights has weights to choose from.

    Args:
        group: network or segment.
        given: the options of this group in each experiment and baseline.
        varied: the domains of the fields that a sweep varies.

    Raises:
        InputError: no experiment has weights.
    """
    weights = f"{group}.weights"
    if {weights, f"baseline.{weights}"} & {*varied} or any(g.weights for g in given):
        return
    if any(g.weights_key for g in given):
        option = " (--weights-key)" if group == "network" else ""
        raise InputError(
            f"{group}.weights_key{option} has no effect without {weights}; name their file, or "
            "leave the key out"
        )


def _check_stage(text: str, path: str, kinds: Collection[str], segmenters: Collection[str]) -> None:
    """Check that a --set of a refinement or a segmenter is about one that runs.

    Args:
        text: FIELD=VALUE.
        path: the field, without `baseline.` before it.
        kinds: the refinements of the command.
        segmenters: its segmenters.

    Raises:
        InputError: nothing in the command reads the field.
    """
    group, _, field = path.partition(".")
    name = field.partition(".")[0]
    if group == "segment" and field != "network" and not segmenters:
        raise InputError(
            f"--set {text}: no segmenter is trained here; name one with --segment, or leave it out"
        )
    if group != "refine" or name in UNREFINED or (name == "crf_backend" and segmenters):
        return
    if not kinds:
        raise InputError(
            f"--set {text}: nothing is refined here; name a refinement with --refine, or leave it "
            "out"
        )
    readers = KINDS_BY_FIELD.get(name, kinds)
    if not {*readers} & {*kinds}:
        raise InputError(
            f"--set {text}: no refinement here is {' or '.join(readers)}; leave it out"
        )
