"""The experiment file of a sweep, by which `wsss sweep` or `wsss figure` carries it out again."""

from __future__ import annotations

from typing import Any

from ..config.limits import COMPUTED
from ..config.yaml_writer import experiment_file, value_text
from .spaces import Computed, space_in_file_form
from .sweep import Sweep


def sweep_file(sweep: Sweep) -> str:
    """Return an experiment file with all fields of the base of a sweep and the sweep's options.

    It is empty for a sweep over combinations, each of which takes the fields of its own preset; the
    command line writes the file of such a sweep.
    """
    return "" if sweep.bases else experiment_file(sweep.base) + sweep_section(sweep)


def sweep_section(sweep: Sweep) -> str:
    """Return the section `sweep` or `figure` of an experiment file."""
    options: dict[str, Any] = {"split": sweep.split, "repeats": sweep.repeats}
    options |= {"concurrent": sweep.concurrent, "retries": sweep.retries}
    if sweep.figure:
        lines = ["figure:", f"  name: {value_text(sweep.figure)}"]
    else:
        options |= {"trials": sweep.trials, "search": sweep.kind or None}
        options |= {"scheduler": sweep.scheduler or None, "best": sweep.best}
        options |= {"budget": sweep.budget} if sweep.budget else {}
        options["objectives"] = list(sweep.objectives)
        lines = ["sweep:", *_space_lines(sweep)]
    lines += [f"  {name}: {value_text(value)}" for name, value in options.items()]
    title = f"# Options of wsss {lines[0].removesuffix(':')}."
    return "\n".join(["", title, *lines]) + "\n"


def _space_lines(sweep: Sweep) -> list[str]:
    """Return the lines of a search space.

    Where a function computes a value they hold that field alone, so that the file does not stand
    for another space: whoever repeats the sweep is asked for the space itself.
    """
    for field, domains in sweep.domains.items():
        if any(isinstance(domain, Computed) for domain in domains):
            comment = f"  # A function computes {field}: give the space with --space FILE.py."
            return [comment, "  space:", f"    {field}: {{{COMPUTED}: [FILE.py]}}"]
    forms = space_in_file_form(sweep.space)
    return ["  space:", *(f"    {name}: {value_text(form)}" for name, form in forms.items())]
