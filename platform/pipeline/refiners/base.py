"""The interface of a refiner, which plans the stages from class maps to pseudo labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from ...config.experiment import Refine
from ...errors import InputError
from ...records.result_id import ResultId
from ...storage.artifact import Stage
from ..context import Context, Step
from ..plan import Plan
from ..prototypes.steps import BySplit
from .seeds import SeedMaps, labels


class Planning(Protocol):
    """The plan in the making, as a refiner sees it.

    Attributes:
        context: context of the experiment.
        baseline: plan of the experiment whose segmenter the method learns from; None without one.
        splits: splits for which class maps are made.
        label_splits: splits for which refined labels are made.
    """

    context: Context
    baseline: Plan | None

    @property
    def splits(self) -> tuple[str, ...]: ...

    @property
    def label_splits(self) -> tuple[str, ...]: ...

    def add(self, step: Step) -> Stage:
        """Plan a step, unless it is planned already, and return its stage."""

    def scored(self, id: ResultId, stages: BySplit) -> BySplit:
        """Plan the scores of a result on the scored splits and return their stages."""


@dataclass(frozen=True, kw_only=True)
class Refined:
    """The stages of a refined result, by split.

    Attributes:
        id: name of the result.
        scores: stages of its scores.
        maps: stages of refined class maps; empty where the result is labels.
        labels: stages of refined labels; empty where the result is class maps.
        unchosen: whether the result has no threshold.
        boundaries: stage of the boundary network that was planned or taken over.
    """

    id: ResultId
    scores: BySplit
    maps: BySplit = field(default_factory=dict)
    labels: BySplit = field(default_factory=dict)
    unchosen: bool = False
    boundaries: Stage | None = None


class Refiner(ABC):
    """A way to turn class maps into pseudo labels.

    A refiner belongs to one plan. The planner asks it for the splits that it learns from, for its
    result, and then for the labels of the split that a segmenter learns from.

    Attributes:
        name: the refiner's name in `refine.kind`.

    Args:
        planning: the plan in the making.
    """

    name: ClassVar[str]

    def __init__(self, planning: Planning) -> None:
        self.planning = planning

    @property
    def context(self) -> Context:
        """The context of the experiment."""
        return self.planning.context

    @property
    def options(self) -> Refine:
        """The experiment's options of refinement."""
        return self.context.experiment.refine

    def learnt_splits(self) -> Mapping[str, str]:
        """Return the splits that the refiner learns from, with the field that names each."""
        return {}

    def id_of(self, id: ResultId) -> ResultId:
        """Return the name of the refined result of class maps or labels."""
        return ResultId(localizer=id.localizer, refinement=self.name)

    @abstractmethod
    def refine(self, seeds: SeedMaps) -> Refined | None:
        """Plan the refined result of class maps; None: the refiner has no result that is scored."""

    def refine_labels(self, id: ResultId, labels: BySplit) -> Refined:
        """Plan the refined result of imported labels.

        Raises:
            InputError: the refiner needs class maps.
        """
        raise InputError(
            f"the imported '{id}' are labels; refine.kind {self.name!r} needs class maps; set "
            "refine.kind=segments or import class maps"
        )

    def labels(self, seeds: SeedMaps, split: str) -> Stage:
        """Plan the labels of a split that a segmenter learns from class maps.

        The planner asks for them where the refined result is no labels. By default the class maps
        are cut at the threshold of the refined result.

        Args:
            seeds: the refined class maps, or the seeds where there is no refined result.
            split: the split.
        """
        threshold = self.options.last_threshold
        return self.planning.add(labels(self.context, seeds, split, "", threshold))
