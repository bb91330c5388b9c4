"""Sections of experiment files: what one command does with the experiment of a file."""

from __future__ import annotations

from collections.abc import Mapping

from ..config.fields import Options, dataclass, option
from ..config.limits import BEST, BUDGET, OBJECTIVES, SCHEDULER, SchedulerName, SearchName, bounds

SEEDS = "Random seeds for initialisation, data order and augmentation; one run for each seed."


@dataclass(frozen=True, kw_only=True)
class RunSection(Options):
    """Options of `wsss run`."""

    seeds: tuple[int, ...] = option((0,), SEEDS, some=True, **bounds("seeds"))


@dataclass(frozen=True, kw_only=True)
class CompareSection(RunSection):
    """Options of `wsss compare`."""

    methods: tuple[str, ...] = option(
        ("cam",), "Methods to compare, each METHOD[:LOCALIZER][@BASELINE].", some=True
    )
    refine: tuple[str, ...] = option(
        (), "Refinements of class maps to compare; empty: that of refine.kind, if any."
    )


@dataclass(frozen=True, kw_only=True)
class AblateSection(RunSection):
    """Options of `wsss ablate`."""


@dataclass(frozen=True, kw_only=True)
class TrialsSection(Options):
    """Options of the commands that carry out trials."""

    split: str = option("train", "Split on which trials are compared by their best mIoU.")
    repeats: int = option(
        1, "Number of random seeds for each point, from seed on.", **bounds("repeats")
    )
    concurrent: int = option(
        2, "Number of trials that run at the same time.", **bounds("concurrent")
    )
    retries: int = option(
        0, "Number of further attempts at a trial that fails.", **bounds("retries")
    )


@dataclass(frozen=True, kw_only=True)
class SweepSection(TrialsSection):
    """Options of `wsss sweep`."""

    space: str = option(
        "default",
        "Search space of the method, or FILE.py[:NAME] with another one; or a group of fields, "
        "each with a list of the values to try, or a distribution such as {uniform: [0.1, 0.5]}.",
    )
    trials: int = option(
        0,
        "Number of points to try; 0: the whole grid, or 20 points where a field is continuous; a "
        "search other than grid needs a number or a budget.",
        **bounds("trials"),
    )
    search: SearchName | None = option(
        None,
        "Search algorithm; none: grid, or random for fewer trials or continuous fields.",
    )
    objectives: tuple[str, ...] = option(("miou",), OBJECTIVES, some=True)
    best: str | None = option(None, BEST)
    budget: str | None = option(None, BUDGET)
    scheduler: SchedulerName | None = option(None, SCHEDULER)


@dataclass(frozen=True, kw_only=True)
class FigureSection(TrialsSection):
    """Options of `wsss figure`."""

    name: str = option("lpcam-5", "Figure or table to repeat, e.g. lpcam-5 or cpal-table-2.")


SECTIONS: Mapping[str, type[Options]] = {
    "run": RunSection,
    "compare": CompareSection,
    "ablate": AblateSection,
    "sweep": SweepSection,
    "figure": FigureSection,
}
"""The sections of experiment files by name, which is that of the command."""
SPACE = "space."
"""What the names of the fields of a search space begin with, in the section `sweep`."""
