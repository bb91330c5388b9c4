"""The planner, which lists the stages of an experiment in the order of their computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..config.experiment import Experiment
from ..config.fields import resolved
from ..errors import InputError
from ..method import Method, PrototypeMethod, build_method, join_methods
from ..records.result_id import ResultId
from ..storage.artifact import Stage
from . import classify, refine, segment
from .context import Catalog, Context, Step
from .plan import Plan
from .prototypes import steps as prototype_steps
from .prototypes.steps import BySplit


def plan(experiment: Experiment, catalog: Catalog) -> Plan:
    """Plan an experiment; the same experiment and catalog give the same plan.

    Raises:
        InputError: the experiment does not fit its data set, its baseline or its imports.
    """
    return _Planner(resolved(experiment, catalog.gpu), catalog).plan()


@dataclass
class _Planner:
    """A plan in the making."""

    experiment: Experiment
    catalog: Catalog
    steps: list[Step] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    maps: dict[ResultId, BySplit] = field(default_factory=dict)
    labels: dict[ResultId, BySplit] = field(default_factory=dict)
    scores: dict[ResultId, BySplit] = field(default_factory=dict)
    network: Stage | None = None
    boundaries: Stage | None = None
    segmenter: Stage | None = None
    beside: classify.Beside = (None, None)
    chosen: dict[str, prototype_steps.Chosen] = field(default_factory=dict)
    baseline: Plan | None = None

    def __post_init__(self) -> None:
        e = self.experiment
        self.context = Context(e, self.catalog)
        named = join_methods([build_method(e, name) for name in e.trained])
        self.trained = build_method(e, named.trains_as) if named.trains_as else named
        self.localizer = build_method(e, e.localizer) if e.localizer else named
        if self.localizer.name != self.trained.name:
            self.trained.check_sharing(self.localizer.name)
        self.final = self.subject

    def plan(self) -> Plan:
        e = self.experiment
        check_splits(self)
        if e.imported:
            self._imported_results(e.imported)
        else:
            self._class_maps()
        for id, stages in {**self.maps, **self.labels}.items():
            self._score(id, stages)
        self._after_class_maps()
        return Plan(
            context=self.context,
            trained=self.trained,
            localizer=self.localizer,
            steps=tuple(self.steps),
            maps=self.maps,
            labels=self.labels,
            scores=self.scores,
            final=self.final,
            needs_no_threshold=frozenset(self._own_background() | set(self.labels)),
            network=self.network,
            boundaries=self.boundaries,
            segmenter=self.segmenter,
            beside=self.beside,
            chosen=self.chosen,
            baseline=self.baseline,
        )

    @property
    def subject(self) -> ResultId:
        """The class maps, or the imported labels, that the experiment is about."""
        return ResultId(localizer=self.experiment.localizer_name)

    @property
    def prototypes(self) -> PrototypeMethod | None:
        """The localizer if it works on prototypes, else None."""
        return self.localizer if isinstance(self.localizer, PrototypeMethod) else None

    @property
    def fused(self) -> bool:
        """Whether the class maps of the localizer are fused with what the network adds."""
        return self.trained.fuses and self.localizer.name != self.trained.name

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits for which class maps are made."""
        e = self.experiment
        learnt = [self.labelled(e.refine.training.split)] if self.learns_boundaries else []
        if e.segment.network:
            learnt.append(self.segmented_split)
        return tuple(dict.fromkeys([*e.scoring.splits, *learnt]))

    def labelled(self, split: str) -> str:
        """Return the split that a refiner or segmenter learns from (default: training split)."""
        return split or self.experiment.training.split

    @property
    def segmented_split(self) -> str:
        """The split that the segmenter learns from.

        For true masks it is by default the first scored split.
        """
        e = self.experiment
        if e.refine.kind == "masks" and not e.segment.training.split:
            return e.scoring.splits[0]
        return self.labelled(e.segment.training.split)

    @property
    def learns_boundaries(self) -> bool:
        """Whether the experiment trains a boundary network rather than taking the baseline's."""
        e, baseline = self.experiment, self.experiment.baseline
        if e.refine.kind != "irn":
            return False
        if e.imported or e.refine.boundaries == "own" or not baseline:
            return True
        if baseline.refine.kind != "irn" or self._brings_probabilities(baseline.imported):
            return True
        return baseline.network.backbone != e.network.backbone

    def _brings_probabilities(self, name: str) -> bool:
        return bool(name) and self.catalog.imported(name).probabilities

    def _own_background(self) -> set[ResultId]:
        """Return the class maps that have a background plane of their own."""
        if self.experiment.imported:
            background = self.catalog.imported(self.experiment.imported).background
            ids = {self.subject} if background else set()
        else:
            methods = (self.trained, *([] if self.fused else [self.localizer]))
            ids = {ResultId(localizer=m.name) for m in methods if m.own_background}
        if self.subject in ids and self.experiment.refine.walk_background:
            ids.add(ResultId(localizer=self.subject.localizer, refinement="irn"))
        return ids

    def _add(self, step: Step) -> Stage:
        """Plan a step, unless it is planned already, and return its stage."""
        if step.stage.key not in self.keys:
            self.steps.append(step)
            self.keys.add(step.stage.key)
        return step.stage

    def _score(self, id: ResultId, stages: BySplit, splits: Sequence[str] = ()) -> None:
        """Plan the scores of a result on some splits (default: the scored ones of `stages`)."""
        splits = splits or [s for s in self.experiment.scoring.splits if s in stages]
        self.scores[id] = {
            s: self._add(classify.scores(self.context, id, s, stages[s])) for s in splits
        }

    def _imported_results(self, name: str) -> None:
        """Take imported class maps or labels in place of a method's class maps."""
        stages = self._imported(name, self.splits)
        target = self.labels if self.catalog.imported(name).labels else self.maps
        target[self.subject] = stages

    def _imported(self, name: str, splits: Sequence[str]) -> dict[str, Stage]:
        """Plan the stages of an import.

        Raises:
            InputError: the import belongs to other data, or lacks a split.
        """
        source = self.catalog.imported(name)
        if source.shards != self.context.shards.key:
            raise InputError(
                f"{name!r} was imported for other data than {self.experiment.data!r}; import it "
                "again"
            )
        for split in splits:
            if split not in source.stages:
                available = ", ".join(source.stages)
                raise InputError(f"{name!r} was imported for {available}; import {split!r}, too")
        return {s: self._add(classify.imported(source.stages[s], name)) for s in splits}

    def _class_maps(self) -> None:
        """Plan the classifier and its class maps."""
        context, trained = self.context, self.trained
        kind = trained.superpixels
        superpixels = self._add(classify.regions(context, kind)) if kind else None
        if self.experiment.baseline and not trained.needs_baseline:
            raise InputError(f"{trained.name} takes no baseline; it learns from image labels alone")
        probabilities = self._probabilities() if trained.needs_baseline else None
        self.beside = (superpixels, probabilities)
        self.network = self._add(classify.network(context, trained, superpixels, probabilities))
        prototypes = self.prototypes
        clustered = [prototypes.clustering.split] if prototypes and not self.fused else []
        keep = prototypes is not None and not self.fused
        raw = {s: self._infer(trained, s, keep) for s in dict.fromkeys([*clustered, *self.splits])}
        self.maps[ResultId(localizer=trained.name)] = raw
        if prototypes and self.fused:
            self.maps[self.subject] = prototype_steps.fused_maps(
                context, trained, prototypes, self.network, self.splits, self._add
            )
        elif prototypes:
            self.chosen, self.maps[self.subject] = prototype_steps.chosen_maps(
                context, prototypes, self.network, raw, self.splits, self._add
            )
        elif self.localizer.name != trained.name:
            maps = {s: self._infer(self.localizer, s, keep, self.fused) for s in self.splits}
            self.maps[self.subject] = maps

    def _probabilities(self) -> Stage:
        """Plan the probabilities of the baseline's segmenter on the training split.

        Raises:
            InputError: there is no baseline, or the baseline learns from true masks.
        """
        e, split = self.experiment, self.experiment.training.split
        if not e.baseline:
            raise InputError(
                f"{self.trained.name} learns from the segmenter of a baseline; name the baseline's "
                "method, e.g. --baseline lpcam"
            )
        if e.baseline.refine.kind == "masks":
            raise InputError(
                f"baseline.refine.kind 'masks' would show {self.trained.name} the true masks; set "
                "another kind"
            )
        if self._brings_probabilities(e.baseline.imported):
            return self._imported(e.baseline.imported, (split,))[split]
        self.baseline = plan(e.baseline, self.catalog)
        for step in self.baseline.steps:
            self._add(step)
        assert self.baseline.segmenter is not None
        inner = self.baseline.context
        return self._add(segment.predicted(inner, self.baseline.segmenter, split, "coarse"))

    def _infer(self, method: Method, split: str, keep: bool, fused: bool = False) -> Stage:
        assert self.network is not None
        return self._add(
            classify.inferred(self.context, self.trained, method, self.network, split, keep, fused)
        )

    def _after_class_maps(self) -> None:
        """Plan the refined labels and the segmenter, if the experiment has them."""
        e, context, id = self.experiment, self.context, self.subject
        if id in self.labels:
            self._from_imported_labels(id)
            return
        scored = self.scores[id][e.scoring.splits[0]]
        seeds = refine.Seeds(
            id=id, maps=self.maps[id], scored=scored, own=id in self._own_background()
        )
        crf, level = "", e.refine.threshold
        if e.refine.kind == "irn":
            seeds, level = self._propagated(seeds), e.refine.final
        if e.refine.kind == "crf":
            crf, id = e.refine.crf, ResultId(localizer=id.localizer, refinement="crf")
            splits = [*e.scoring.splits, *([self.segmented_split] if e.segment.network else [])]
            self.labels[id] = {
                s: self._add(refine.labels(context, seeds, s, crf, level))
                for s in dict.fromkeys(splits)
            }
            self._score(id, self.labels[id])
            self.final = id
        if e.segment.network:
            self._segmenter_on_seeds(seeds, crf, level)

    def _propagated(self, seeds: refine.Seeds) -> refine.Seeds:
        """Plan the propagation of class maps by IRN, and their scores at every threshold."""
        e, context = self.experiment, self.context
        id = ResultId(localizer=seeds.id.localizer, refinement="irn")
        network = self.boundaries = self._boundary_network(seeds)
        maps = {s: self._add(refine.walked(context, seeds, network, s)) for s in self.splits}
        self.maps[id] = maps
        self._score(id, maps)
        self.final = id
        scored = self.scores[id][e.scoring.splits[0]]
        return refine.Seeds(id=id, maps=maps, scored=scored, own=id in self._own_background())

    def _boundary_network(self, seeds: refine.Seeds) -> Stage:
        """Return the baseline's boundary network if it is taken over, else plan a new one."""
        if not self.learns_boundaries:
            assert self.baseline is not None
            assert self.baseline.boundaries is not None
            return self.baseline.boundaries
        split = self.labelled(self.experiment.refine.training.split)
        labels = self._add(refine.certain(self.context, seeds, split))
        return self._add(refine.boundaries(self.context, seeds.id, labels, split))

    def _segmenter_on_seeds(self, seeds: refine.Seeds, crf: str, level: float | None) -> None:
        e, split = self.experiment, self.segmented_split
        source = seeds.id
        if e.refine.kind == "masks":
            labels = self._add(refine.masks(self.context, split))
            source = ResultId(localizer=source.localizer, refinement="masks")
        else:
            labels = self._add(refine.labels(self.context, seeds, split, crf, level))
            source = ResultId(localizer=source.localizer, refinement=e.refine.kind)
        self._segment(source, labels, split)

    def _from_imported_labels(self, id: ResultId) -> None:
        """Plan the segmenter on imported labels, which cannot be refined.

        Raises:
            InputError: the experiment refines the labels.
        """
        e = self.experiment
        if e.refine.kind:
            raise InputError(f"'{id}' are labels; refine.kind {e.refine.kind!r} needs class maps")
        if e.segment.network:
            split = self.segmented_split
            self._segment(id, self.labels[id][split], split)

    def _segment(self, source: ResultId, labels: Stage, split: str) -> None:
        """Plan the segmenter that learns labels, its predictions and their scores."""
        e, context = self.experiment, self.context
        name = "TRUE masks" if source.refinement == "masks" else str(source)
        network = self.segmenter = self._add(segment.segmenter(context, name, labels, split))
        id = ResultId(
            localizer=source.localizer,
            refinement=source.refinement,
            segmenter=e.segment.network,
            known=e.segment.known,
        )
        splits = e.segment.splits or e.scoring.splits[-1:]
        self.labels[id] = {s: self._predicted(network, s) for s in splits}
        has_masks = self.catalog.has_masks
        scored = [s for s in splits if s in e.scoring.splits or has_masks(context.shards, s)]
        self._score(id, self.labels[id], scored)
        self.final = id

    def _predicted(self, network: Stage, split: str) -> Stage:
        """Plan the segmenter's labels of a split, after DenseCRF if the experiment asks for it."""
        if not self.experiment.segment.crf:
            return self._add(segment.predicted(self.context, network, split, "labels"))
        probabilities = self._add(segment.predicted(self.context, network, split, "probabilities"))
        return self._add(segment.smoothed(self.context, probabilities, split))


def _check_masks(experiment: Experiment, about: Mapping[str, Any]) -> None:
    """Check that all images of the scored splits have masks, where the shards say so.

    Raises:
        InputError: an image of a scored split has no mask.
    """
    splits = about.get("check", {}).get("splits", {})
    for split in experiment.scoring.splits:
        counts = splits.get(split, {"images": 0, "masked": 0})
        if unmasked := counts["images"] - counts["masked"]:
            raise InputError(
                f"{unmasked} images of split {split!r} of data set {experiment.data!r} have no "
                "mask, so the split cannot be scored; add their masks, or name other splits in "
                "scoring.splits"
            )


def check_splits(planner: _Planner) -> None:
    """Check that the data set has the splits and classes that an experiment names.

    Raises:
        InputError: the data set lacks a split or class, or `refine.kind` is `masks` and there is
            no segmenter.
    """
    e, context, prototypes = planner.experiment, planner.context, planner.prototypes
    field_of = {
        e.training.split: "training.split",
        **dict.fromkeys(e.scoring.splits, "scoring.splits"),
    }
    if planner.learns_boundaries:
        field_of[planner.labelled(e.refine.training.split)] = "refine.training.split"
    if e.segment.network:
        field_of[planner.segmented_split] = "segment.training.split"
        field_of |= dict.fromkeys(e.segment.splits, "segment.splits")
    if prototypes:
        field_of[prototypes.clustering.split] = f"{prototypes.name}.split"
    for split, name in field_of.items():
        if split not in context.shards.about["splits"]:
            names = ", ".join(context.shards.about["splits"])
            raise InputError(f"{name} names {split!r}; data set {e.data!r} has {names}")
    _check_masks(e, context.shards.about)
    if e.refine.kind == "masks" and not e.segment.network:
        raise InputError("refine.kind 'masks' is for a segmenter; name one in segment.network")
    unknown = [c for c in e.scoring.classes if c not in ("background", *context.classes)]
    if unknown:
        raise InputError(
            f"scoring.classes names {unknown[0]!r}; data set {e.data!r} has "
            f"{', '.join(context.classes)}"
        )
