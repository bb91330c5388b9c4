"""Data sets, runs, comparisons and sweeps as functions, with the options of the command line.

An argument means what the option of the same name means for the command; `changes` stands for all
`--set`. So an error message that names `--refine` is about the argument `refine`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from ..cli import resolve, run_commands, sweep_commands
from ..cli.options.experiment_options import (
    CompareOptions,
    ExperimentOptions,
    RunOptions,
    SweepOptions,
)
from ..cli.options.kinds import default_store
from ..config.limits import ObjectiveName, SchedulerName, SearchName
from ..data import registry
from ..data.check.findings import sentences
from ..data.formats.checked_shards import kept_check
from ..data.sources.source import Source
from ..errors import InputError
from ..records.progress_file import progress_display
from ..records.result_id import RefinementName
from ..storage.store import Store, open_store
from ..tuning.spaces import Space, space_from, space_in_file_form
from .results import Comparison, Frame, RunResult, SweepResult, frame_of, store_at

Kind = TypeVar("Kind", bound=ExperimentOptions)
CALL = "wsss.platform.api"


class Choices(TypedDict, total=False):
    """Arguments of `run`, `compare` and `sweep` beside method and refinement.

    Attributes:
        data: name of the data set (default: scenes).
        store: folder, or s3://BUCKET/PREFIX (default: the environment variable WSSS_STORE, or the
            folder `store`).
        preset: `paper`, `release`, `default` or `scenes` (default: `scenes` for drawn data,
            `default` for any other data).
        backbone: name of the classifier's backbone.
        weights: local file of ImageNet weights of the backbone; for `clip-es`, of CLIP.
        weights_key: key or prefix of the network to read from a weight file that holds several.
        segment: segmenter to train on the pseudo labels, `deeplabv2` or `upernet`.
        recipe: published training recipe of the segmenter.
        baseline: `METHOD[:LOCALIZER]` or import that PSDPM learns from.
        imported: imported class maps or labels to start from.
        changes: values of fields by dotted name, e.g. `{"training.epochs": 8, "lpcam.tau": 0.2}`.
        quiet: whether no progress is shown.
        log: trackers that get losses, scores and pictures, too: `tensorboard`, `mlflow` or `wandb`
            (default: those in the environment variable WSSS_LOG).
    """

    data: str
    store: str | Path | None
    preset: str | None
    backbone: str | None
    weights: str | None
    weights_key: str | None
    segment: Literal["deeplabv2", "upernet"] | None
    recipe: str | None
    baseline: str | None
    imported: str | None
    changes: Mapping[str, object]
    quiet: bool
    log: Sequence[str]


class SweepChoices(Choices, total=False):
    """Arguments of `sweep` beside those of `Choices`.

    Attributes:
        split: split on which trials are compared by their best mIoU (default: train).
        trials: number of points to try; 0, the default: the whole grid, or 20 points where a field
            is continuous. A search other than `grid` needs a number or a budget.
        search: `grid`, `random`, `sobol`, `tpe`, `gp`, `cmaes`, `nsga2` or `eipu`.
        budget: new computation that the trials may take together, e.g. `2h` or `40 stages`;
            `trials` is then the largest number of points.
        objectives: figures of a trial to improve together: `miou`, `precision`, `recall`, `parts`
            or `seconds`.
        best: rule of the best point, e.g. `miou where recall >= 60`, with rates in percent
            (default: the first objective).
        scheduler: `asha`, `hyperband` or `median` stops trainings early that score less than other
            trainings; with `pbt` they take over better trainings and change their options.
        repeats: number of random seeds for each point.
        seed: random seed for the search, initialisation, data order and augmentation.
        concurrent: number of trials that run at the same time.
        retries: number of further attempts at a trial that fails.
        resume: whether to go on with a sweep that was interrupted or failed.
    """

    split: str
    trials: int
    search: SearchName | None
    budget: str | None
    objectives: tuple[ObjectiveName, ...]
    best: str
    scheduler: SchedulerName | None
    repeats: int
    seed: int
    concurrent: int
    retries: int
    resume: bool


def add(
    source: Source,
    name: str,
    *,
    store: str | Path | None = None,
    quarantine: float = 0.0,
    quiet: bool = False,
) -> Frame:
    """Write a source into a store as a named data set, unless the store holds it already.

    What is remarkable in its labels and masks is written to standard error, unless `quiet`.

    Example:
        >>> add(Folder("photographs"), "mine")

    Args:
        source: `VOC(...)`, `COCO(...)`, `Folder(...)` or `Scenes(...)`.
        name: name of the data set.
        store: folder or s3://BUCKET/PREFIX, as in `Choices`.
        quarantine: largest share, 0 to 1, of broken images that are left out.
        quiet: whether neither progress nor the check of the data set is shown.

    Returns:
        A frame with the number of images of each split.

    Raises:
        InputError: an image, a label or a mask is bad, labels and masks cannot both be right, or
            the name stands for other data.
    """
    with progress_display(quiet) as progress:
        artifact, _ = registry.add(store_at(store), source, name, progress, quarantine)
    if not quiet and (check := kept_check(artifact)):
        for text in sentences(check):
            print(f"check: {text}", file=sys.stderr)
    counts = artifact.about["counts"]
    return frame_of([{"split": split, "images": n} for split, n in counts.items()])


def run(
    method: str,
    *,
    localizer: str = "",
    refine: RefinementName | None = None,
    seeds: Sequence[int] = (0,),
    name: str | None = None,
    **choices: Unpack[Choices],
) -> RunResult:
    """Run an experiment: train, localize and score; what the store holds is not computed again.

    Example:
        >>> run("lpcam", data="voc", refine="irn", changes={"training.epochs": 8})

    Args:
        method: a name from `methods()`, or several joined by `+`, which train one network.
        localizer: method that turns the trained network into class maps (default: `method`).
        refine: `crf`, `irn`, `par`, `segments`, or `masks` (the true masks, as an upper bound).
        seeds: random seeds; one run for each.
        name: name of the record (default: method, data set and a short key).
        **choices: see `Choices`.

    Raises:
        InputError: the arguments describe no experiment, or the name belongs to another run.
    """
    own: dict[str, object] = {"method": method, "localizer": localizer, "refine": refine}
    own |= {"seeds": tuple(seeds), "name": name}
    options, store = _options(RunOptions, own, choices)
    call = _call("run", method, {**own, **choices})
    return RunResult(store, run_commands.run_records(options, store, call, _say(options)))


def compare(
    methods: Sequence[str],
    *,
    refine: RefinementName | Sequence[RefinementName] = (),
    seeds: Sequence[int] = (0,),
    **choices: Unpack[Choices],
) -> Comparison:
    """Run several methods or refinements and return their scores in one table.

    Example:
        >>> compare(["cam", "lpcam", "sipe:lpcam"], seeds=range(3)).frame

    Args:
        methods: `METHOD[:LOCALIZER][@BASELINE]` each, or names of finished runs.
        refine: one or more refinements as for `run`, which are compared side by side.
        seeds: random seeds; one run for each method, refinement and seed.
        **choices: see `Choices`; a field of `changes` counts for the methods that have it.

    Raises:
        InputError: a method or an option does not fit; then nothing was run.
    """
    refinements = (refine,) if isinstance(refine, str) else tuple(refine)
    own = {"methods": tuple(methods), "refine": refinements, "seeds": tuple(seeds)}
    options, store = _options(CompareOptions, own, choices)
    call = _call("compare", own["methods"], {**own, **choices})
    rows = run_commands.comparison_rows(options, store, call, _say(options))
    return Comparison(store, rows)


def sweep(
    method: str,
    space: str | Mapping[str, object] = "default",
    *,
    localizer: str = "",
    refine: RefinementName | None = None,
    name: str | None = None,
    **choices: Unpack[SweepChoices],
) -> SweepResult:
    """Try many values of fields, and score the best point and the untuned preset on all splits.

    Example:
        >>> sweep("lpcam", {"lpcam.tau": [0.1, 0.2], "lpcam.K": [6, 12]}).frame

    Args:
        method: a name from `methods()`, or several joined by `+`.
        space: the values to try by dotted field, as lists or distributions of `ray.tune`, or the
            name of a search space of the method, or `FILE.py[:NAME]`.
        localizer: method that turns the trained network into class maps (default: `method`).
        refine: refinement as for `run`.
        name: name of the record (default: method, data set and space).
        **choices: see `Choices` and `SweepChoices`.

    Raises:
        InputError: a field, a value or an option does not fit, or all trials failed.
    """
    own: dict[str, object] = {"method": method, "localizer": localizer, "refine": refine}
    own["name"] = name
    values = None if isinstance(space, str) else _checked(space)
    if isinstance(space, str):
        own["space"] = space
    options, store = _options(SweepOptions, own, choices)
    described = space_in_file_form(values) if values else space
    call = _call("sweep", method, {"space": described, **own, **choices})
    scored = sweep_commands.scored_sweep(options, store, call, _say(options), values)
    return SweepResult(store, scored.record, scored.untuned, scored.best)


def _options(
    kind: type[Kind], own: Mapping[str, Any], choices: Mapping[str, Any]
) -> tuple[Kind, Store]:
    """Return the options of a command, and the store that they name."""
    given = {name: value for name, value in choices.items() if name != "changes"}
    given["store"] = str(given.get("store") or default_store())
    for name in {"log", "objectives"} & given.keys():
        given[name] = (given[name],) if isinstance(given[name], str) else tuple(given[name])
    changes = choices.get("changes", {})
    given["set"] = tuple(f"{field}={_without_arrays(value)!r}" for field, value in changes.items())
    options = resolve.with_absolute_paths(kind(**own, **given))
    return options, open_store(options.store)


def _without_arrays(value: Any) -> object:
    """Return a value as `--set` and a record can hold it: numbers, texts, and lists of them."""
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return [_without_arrays(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _checked(space: Mapping[str, object]) -> Space:
    """Return a search space with plain values.

    Raises:
        InputError: a field has no values.
    """
    if not space:
        raise InputError("the space is empty; give values to try by dotted field")
    return space_from({field: _without_arrays(given) for field, given in space.items()})


def _call(function: str, first: object, arguments: Mapping[str, object]) -> str:
    """Return a call of this module as text, for a record, without arguments that are not set."""
    unset = ("method", "methods")
    words = [
        f"{k}={v!r}" for k, v in arguments.items() if k not in unset and v not in (None, "", ())
    ]
    return f"{CALL}.{function}({', '.join([repr(first), *words])})"


def _say(options: ExperimentOptions) -> run_commands.Say:
    """Return a function that writes a line on what was done to standard error."""

    def say(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr)

    return say
