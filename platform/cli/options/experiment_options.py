"""Options of the commands that carry out experiments: run, sweep, figure, compare and ablate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ...config.limits import (
    BEST,
    BUDGET,
    OBJECTIVES,
    SCHEDULER,
    ObjectiveName,
    SchedulerName,
    SearchName,
)
from ...errors import InputError
from ...records.result_id import RefinementName
from . import completions
from .kinds import (
    CHAIN,
    EXECUTION,
    EXPERIMENT,
    HIDDEN,
    OUTPUT,
    REPEATS,
    SEARCH,
    InStore,
    Quiet,
    Tabular,
    Tracked,
    argument,
    flag,
    number,
    option,
)

if TYPE_CHECKING:
    from ...method.experiment_files import ExperimentFile
else:
    ExperimentFile = object  # `--help` imports no experiment files

FILE = (
    "or FILE.yaml, an experiment file (see wsss config), whose paths are relative to this folder; "
    "options of the command line count more than the file."
)
METHOD = "Method, see wsss methods; several joined by + train one network: sipe+cam; " + FILE
PRESET = (
    "Preset of all fields: paper, release (as in the authors' code), default or scenes; by "
    "default scenes for data made by wsss data scenes, {} for any other data."
)
REFINE = (
    "Refinement of class maps into pseudo labels: crf, irn, par, segments, or masks (the true "
    "masks, as an upper bound)"
)
SEEDS = "Random seeds for initialisation, data order and augmentation; one run for each seed."


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Options on what follows the class maps of an experiment."""

    segment: Annotated[
        Literal["deeplabv2", "upernet"] | None,
        option(CHAIN, "NETWORK", "Segmenter to train on the pseudo labels: deeplabv2 or upernet."),
    ] = None
    recipe: Annotated[
        str | None,
        option(CHAIN, "NAME", "Published training recipe of the segmenter, e.g. lpcam-voc."),
    ] = None
    baseline: Annotated[
        str | None,
        option(
            CHAIN,
            "METHOD[:LOCALIZER]",
            "Baseline whose pseudo labels and segmenter psdpm learns from, or the name of an "
            "import.",
            completions.methods,
        ),
    ] = None
    imported: Annotated[
        str | None,
        option(
            CHAIN,
            "NAME",
            "Imported class maps or labels to start from, by their name in wsss import.",
            completions.imports,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class OneRefinement:
    """Option of commands that refine class maps in one way."""

    refine: Annotated[RefinementName | None, option(CHAIN, "KIND", REFINE + ".")] = None

    @property
    def refinements(self) -> tuple[RefinementName, ...]:
        """The refinements that the command line names."""
        return (self.refine,) if self.refine else ()


@dataclass(frozen=True, kw_only=True)
class SeveralRefinements:
    """Option of commands that compare refinements."""

    refine: Annotated[
        tuple[RefinementName, ...],
        option(CHAIN, "KIND", REFINE + "; several are compared side by side.", several=True),
    ] = ()

    @property
    def refinements(self) -> tuple[RefinementName, ...]:
        """The refinements that the command line names."""
        return self.refine


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions(Tracked, Quiet, Tabular, Chain, InStore):
    """Options that describe an experiment apart from its method.

    Attributes:
        undrawn: preset for data that are not drawn.
        file: the experiment file that the command names.
    """

    undrawn: ClassVar[str] = "default"

    @property
    def refinements(self) -> tuple[RefinementName, ...]:
        """The refinements that the command line names."""
        raise NotImplementedError

    data: Annotated[
        str,
        option(EXPERIMENT, "NAME", "Name of the data set, see wsss data.", completions.data_sets),
    ] = "scenes"
    preset: Annotated[
        str | None, option(EXPERIMENT, "NAME", PRESET.format("default"), completions.presets)
    ] = None
    backbone: Annotated[
        str | None, option(EXPERIMENT, "NAME", "Backbone to train, see wsss doctor.")
    ] = None
    weights: Annotated[
        str | None,
        option(
            EXPERIMENT,
            "FILE",
            "Local ImageNet weights of the backbone: .pth, .safetensors or MXNet's .params; for "
            "clip-es the checkpoint of CLIP.",
        ),
    ] = None
    weights_key: Annotated[
        str | None,
        option(
            EXPERIMENT,
            "KEY",
            "Key or prefix of the network to read from a weight file that holds several, such as "
            "teacher.",
        ),
    ] = None
    set: Annotated[
        tuple[str, ...],
        option(
            EXPERIMENT,
            "FIELD=VALUE",
            "Field to set, e.g. training.epochs=8 or lpcam.tau=0.2; wsss methods METHOD lists all "
            "fields; may be repeated.",
        ),
    ] = ()
    file: Annotated[ExperimentFile | None, HIDDEN] = None


@dataclass(frozen=True, kw_only=True)
class Localized(OneRefinement, ExperimentOptions):
    """Options of an experiment with one trained method."""

    method: Annotated[str, argument("METHOD", METHOD, completions.methods_and_files)]
    localizer: Annotated[
        str,
        option(
            EXPERIMENT,
            "METHOD",
            "Method that turns the trained network into class maps; by default the trained method.",
            completions.methods,
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class RandomSeeds:
    """Option of commands that repeat an experiment over random seeds."""

    seeds: Annotated[tuple[int, ...], number(REPEATS, "SEED", SEEDS, several=True)] = (0,)

    def __post_init__(self) -> None:
        """Refuse no seed, and a seed given twice, because means would count its run twice."""
        if not self.seeds:
            raise InputError("--seeds names no random seed; give at least one")
        seed, times = Counter(self.seeds).most_common(1)[0]
        if times > 1:
            raise InputError(f"--seeds has {seed} more than once; give each seed once")


@dataclass(frozen=True, kw_only=True)
class Page:
    """Option of commands that write pages."""

    page: Annotated[
        str | None, option(OUTPUT, "DIR", "Folder of the pages; by default beside the record.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Option of commands that write a picture of the results in their table."""

    picture: Annotated[
        str | None,
        option(
            OUTPUT,
            "FILE",
            "Picture to write, .png: a row for each of five images from the lowest to the highest "
            "score, and a column for each result of the table.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Options of commands that carry out the trials of a sweep."""

    split: Annotated[
        str, option(SEARCH, "NAME", "Split on which trials are compared by their best mIoU.")
    ] = "train"
    repeats: Annotated[
        int, number(REPEATS, "N", "Number of random seeds for each point, from --seed on.")
    ] = 1
    seed: Annotated[
        int,
        number(
            REPEATS,
            "SEED",
            "Random seed for the search, initialisation, data order and augmentation.",
        ),
    ] = 0
    concurrent: Annotated[
        int,
        number(
            EXECUTION,
            "N",
            "Number of trials that run at the same time; trials wait where memory is short, or "
            "where their trainings would leave no CPU to load images.",
        ),
    ] = 2
    retries: Annotated[
        int, number(EXECUTION, "N", "Number of further attempts at a trial that fails.")
    ] = 0
    resume: Annotated[bool, flag(EXECUTION, "Resume a sweep that was interrupted or failed.")] = (
        False
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions(Page, Picture, RandomSeeds, Localized):
    """Options of `wsss run`."""

    about: ClassVar[str] = "Run an experiment: train, localize and score."
    example: ClassVar[str] = "wsss run lpcam --data scenes --refine irn --seeds 0 1 2"

    name: Annotated[
        str | None,
        option(OUTPUT, "NAME", "Name of the record; by default method, data set and a short key."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Page, Trials, Localized):
    """Options of `wsss sweep`."""

    about: ClassVar[str] = "Try many settings that share every stage they can."
    example: ClassVar[str] = "wsss sweep lpcam --data scenes --search random --trials 20"

    space: Annotated[
        str,
        option(
            SEARCH,
            "NAME",
            "Search space of the method, or FILE.py[:NAME] with another one.",
        ),
    ] = "default"
    trials: Annotated[
        int,
        number(
            SEARCH,
            "N",
            "Number of points to try; 0: the whole grid, or 20 points where a field is "
            "continuous; a --search other than grid needs a number or a --budget.",
        ),
    ] = 0
    search: Annotated[
        SearchName | None,
        option(
            SEARCH,
            "KIND",
            "Search algorithm: grid, random, sobol (quasi-random), tpe, gp (Gaussian process), "
            "cmaes, nsga2 or eipu (expected improvement per unit of cost); by default grid, or "
            "random for fewer --trials or continuous fields.",
        ),
    ] = None
    budget: Annotated[str | None, option(SEARCH, "AMOUNT", BUDGET)] = None
    objectives: Annotated[
        tuple[ObjectiveName, ...], option(SEARCH, "NAME", OBJECTIVES, several=True)
    ] = ("miou",)
    best: Annotated[str | None, option(SEARCH, "RULE", BEST)] = None
    scheduler: Annotated[SchedulerName | None, option(SEARCH, "NAME", SCHEDULER)] = None
    name: Annotated[
        str | None,
        option(OUTPUT, "NAME", "Name of the record; by default method, data set and space."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class FigureOptions(Trials, OneRefinement, ExperimentOptions):
    """Options of `wsss figure`."""

    about: ClassVar[str] = "Repeat a paper's figure or table beside its printed numbers."
    example: ClassVar[str] = "wsss figure lpcam-5 --data scenes --repeats 3"
    undrawn: ClassVar[str] = "paper"

    figure: Annotated[
        str,
        argument(
            "METHOD-NAME",
            "Figure or table to repeat, e.g. lpcam-5, cpal-4, cpal-table-2 or ssc-7; " + FILE,
            completions.methods_and_files,
        ),
    ]
    preset: Annotated[
        str | None, option(EXPERIMENT, "NAME", PRESET.format("paper"), completions.presets)
    ] = None
    name: Annotated[
        str | None,
        option(OUTPUT, "NAME", "Name of the record; by default the figure and the data set."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Picture, RandomSeeds, SeveralRefinements, ExperimentOptions):
    """Options of `wsss compare`."""

    about: ClassVar[str] = "Run several methods or refinements and compare them in one table."
    example: ClassVar[str] = "wsss compare cam lpcam sipe:lpcam --data scenes --seeds 0 1 2"

    methods: Annotated[
        tuple[str, ...],
        argument(
            "METHOD[:LOCALIZER][@BASELINE]",
            "Methods to compare, e.g. cam lpcam sipe:lpcam psdpm@lpcam, and names of finished "
            "runs, which follow the methods in the table; " + FILE,
            completions.methods_files_and_runs,
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class AblateOptions(Picture, RandomSeeds, Localized):
    """Options of `wsss ablate`."""

    about: ClassVar[str] = "Measure what each component of a method adds to CAM."
    example: ClassVar[str] = "wsss ablate sipe --data scenes"

    method: Annotated[
        str,
        argument(
            "METHOD",
            "Method whose components are compared, see wsss methods; " + FILE,
            completions.methods_and_files,
        ),
    ]
