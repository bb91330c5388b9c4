"""The planner, which lists the stages of an experiment in the order of their computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..config.experiment import Experiment
from ..config.fields import file_states, replaced, resolved
from ..errors import InputError
from ..method import (
    CLIPMethod,
    Method,
    PrototypeMethod,
    build_method,
    join_methods,
    published_refinement,
)
from ..records.result_id import ResultId
from ..storage.artifact import Stage
from . import classify, segment
from .checks.networks import check_network
from .checks.splits import check_masks, check_masks_to_learn, check_names
from .clip import steps as clip_steps
from .context import Catalog, Context, Step
from .plan import Plan
from .prototypes import steps as prototype_steps
from .prototypes.steps import BySplit
from .refiners.base import Refined
from .refiners.registry import REFINERS
from .refiners.seeds import SeedMaps, unchosen_thresholds

MOST_KEPT = 2_048
"""Most plans that a catalog keeps, at about 50 kB each; the least recently used one is dropped."""


def plan(experiment: Experiment, catalog: Catalog) -> Plan:
    """Return the plan of an experiment, which the catalog keeps for the next call.

    The same experiment and catalog give the same plan, as long as no weight file changes.

    Raises:
        InputError: the experiment does not fit its data set, its baseline or its imports.
    """
    key = (repr(experiment), file_states(experiment))
    planned: Plan | None = catalog.plans.pop(key, None)
    if planned is None:
        planned = _Planner(resolved(experiment, catalog.gpu), catalog).plan()
    catalog.plans[key] = planned
    if len(catalog.plans) > MOST_KEPT:
        del catalog.plans[next(iter(catalog.plans))]
    return planned


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
    unchosen: set[ResultId] = field(default_factory=set)
    published: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        e = self.experiment
        self.context = Context(e, self.catalog)
        named = join_methods([build_method(e, name) for name in e.trained])
        self.trained = build_method(e, named.trains_as) if named.trains_as else named
        self.localizer = build_method(e, e.localizer) if e.localizer else named
        if self.localizer.name != self.trained.name:
            self.trained.check_sharing(self.localizer.name)
            if self.localizer.has_own_network and self.localizer.name != e.trained[0]:
                raise InputError(
                    f"{self.localizer.name} reads only a network that {self.localizer.name} has "
                    f"trained, not one of {self.trained.name}; choose another localizer"
                )
        self.refiner = REFINERS[e.refine.kind](self)
        self.final = self.subject

    def plan(self) -> Plan:
        e = self.experiment
        self._check()
        if not self.context.scored_splits:
            self._fix_thresholds()
        if e.imported:
            self._imported_results(e.imported)
        else:
            self._class_maps()
        for id, stages in {**self.maps, **self.labels}.items():
            self.scores[id] = self.scored(id, stages)
        self._after_class_maps()
        return Plan(
            context=self.context,
            published=self.published,
            trained=self.trained,
            localizer=self.localizer,
            steps=tuple(self.steps),
            maps=self.maps,
            labels=self.labels,
            scores=self.scores,
            final=self.final,
            needs_no_threshold=frozenset(self._own_background() | self.unchosen),
            network=self.network,
            boundaries=self.boundaries,
            segmenter=self.segmenter,
            beside=self.beside,
            chosen=self.chosen,
            baseline=self.baseline,
        )

    def _check(self) -> None:
        """Check that the data set has the splits, classes and masks that the experiment names.

        Raises:
            InputError: the data set lacks a split, class or mask, or `refine.kind` is `masks` and
                there is no segmenter.
        """
        e, context, prototypes = self.experiment, self.context, self.prototypes
        field_of = {e.training.split: "training.split"} if self.trained.trains else {}
        field_of |= dict.fromkeys(e.scoring.splits, "scoring.splits")
        field_of |= self.refiner.learnt_splits()
        if e.segment.network:
            field_of[self.segmented_split] = "segment.training.split"
            field_of |= dict.fromkeys(e.segment.splits, "segment.splits")
        if prototypes:
            field_of[prototypes.clustering.split] = f"{prototypes.name}.split"
        check_names(e, context.shards, field_of)
        if e.refine.kind == "masks":
            check_masks_to_learn(e, context.shards, self.segmented_split)

    def _fix_thresholds(self) -> None:
        """Take the published thresholds in place of those that scores would choose."""
        e = self.experiment
        if e.imported and self.catalog.imported(e.imported).labels:
            return
        published = None if e.imported else published_refinement(e.localizer or e.trained[0])
        own = self.subject in self._own_background()
        self.published = unchosen_thresholds(e, own, published)
        self.experiment = replaced(e, {f"refine.{k}": v for k, v in self.published.items()})
        self.context = Context(self.experiment, self.catalog)

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
        own = (self.trained.name, self.experiment.trained[0])
        return self.trained.fuses and self.localizer.name not in own

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits for which class maps are made."""
        e = self.experiment
        learnt = [*self.refiner.learnt_splits()]
        if e.segment.network:
            learnt.append(self.segmented_split)
        return tuple(dict.fromkeys([*e.scoring.splits, *learnt]))

    @property
    def label_splits(self) -> tuple[str, ...]:
        """The splits for which refined labels are made."""
        e = self.experiment
        segmented = [self.segmented_split] if e.segment.network else []
        return tuple(dict.fromkeys([*e.scoring.splits, *segmented]))

    @property
    def segmented_split(self) -> str:
        """The split that the segmenter learns from.

        For true masks it is by default the first scored split.
        """
        e, scored = self.experiment, self.context.scored_splits
        if e.refine.kind == "masks" and not e.segment.training.split and scored:
            return scored[0]
        return e.segment.training.split or e.training.split

    def _own_background(self) -> set[ResultId]:
        """Return the class maps that have a background plane of their own."""
        if self.experiment.imported:
            background = self.catalog.imported(self.experiment.imported).background
            return {self.subject} if background else set()
        methods = (self.trained, *([] if self.fused else [self.localizer]))
        return {ResultId(localizer=m.name) for m in methods if m.own_background}

    def add(self, step: Step) -> Stage:
        """Plan a step, unless it is planned already, and return its stage."""
        if step.stage.key not in self.keys:
            self.steps.append(step)
            self.keys.add(step.stage.key)
        return step.stage

    def scored(self, id: ResultId, stages: BySplit, splits: Sequence[str] = ()) -> BySplit:
        """Plan the scores of a result on some splits (default: the scored ones of `stages`)."""
        splits = splits or [s for s in self.context.scored_splits if s in stages]
        return {s: self.add(classify.scores(self.context, id, s, stages[s])) for s in splits}

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
                f"{name!r} was imported for other data than {self.experiment.data!r}; import the "
                "files for these data under another name"
            )
        for split in splits:
            if split not in source.stages:
                available = ", ".join(source.stages)
                raise InputError(f"{name!r} was imported for {available}; import {split!r}, too")
        return {s: self.add(classify.imported(source.stages[s], name)) for s in splits}

    def _class_maps(self) -> None:
        """Plan the classifier and its class maps."""
        context, trained = self.context, self.trained
        kind, split = trained.superpixels, self.experiment.training.split
        superpixels = self.add(classify.regions(context, kind, split)) if kind else None
        if self.experiment.baseline and not trained.needs_baseline:
            raise InputError(f"{trained.name} takes no baseline; it learns from image labels alone")
        if isinstance(trained, CLIPMethod) or isinstance(self.localizer, CLIPMethod):
            self._clip_maps()
            return
        check_network(trained, self.experiment.network, len(context.classes))
        probabilities = self._probabilities() if trained.needs_baseline else None
        self.beside = (superpixels, probabilities)
        self.network = self.add(classify.network(context, trained, self.beside))
        prototypes = self.prototypes
        clustered = [prototypes.clustering.split] if prototypes and not self.fused else []
        keep = prototypes is not None and not self.fused
        raw = {s: self._infer(trained, s, keep) for s in dict.fromkeys([*clustered, *self.splits])}
        self.maps[ResultId(localizer=trained.name)] = raw
        if prototypes and self.fused:
            self.maps[self.subject] = prototype_steps.fused_maps(
                context, trained, prototypes, self.network, self.splits, self.add
            )
        elif prototypes:
            self.chosen, self.maps[self.subject] = prototype_steps.chosen_maps(
                context, prototypes, self.network, raw, self.splits, self.add
            )
        elif self.localizer.name != trained.name:
            maps = {s: self._infer(self.localizer, s, keep, self.fused) for s in self.splits}
            self.maps[self.subject] = maps

    def _clip_maps(self) -> None:
        """Plan the class maps of a method on CLIP, and its initial class maps.

        Raises:
            InputError: the localizer is another method than the one on CLIP.
        """
        method, localizer = self.trained, self.localizer
        if not isinstance(method, CLIPMethod) or method.name != localizer.name:
            name = (method if isinstance(method, CLIPMethod) else localizer).name
            raise InputError(
                f"{name} reads the network of its own checkpoint, not one that was trained; run "
                f"{name} without another method or localizer"
            )
        stages = clip_steps.plan(self.context, method, self.splits, self.add)
        self.maps[ResultId(localizer=method.initial)] = stages.initial
        self.maps[self.subject] = stages.refined

    def _probabilities(self) -> Stage:
        """Plan the probabilities of the baseline's segmenter on the training split.

        Raises:
            InputError: there is no baseline, the baseline learns from true masks, or it cannot be
                planned.
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
        if self.catalog.brings_probabilities(e.baseline.imported):
            return self._imported(e.baseline.imported, (split,))[split]
        try:
            self.baseline = plan(e.baseline, self.catalog)
        except InputError as error:  # it keeps its kind
            error.args = (f"the baseline is refused: {error}", *error.args[1:])
            raise
        for step in self.baseline.steps:
            self.add(step)
        assert self.baseline.segmenter is not None
        inner = self.baseline.context
        return self.add(segment.predicted(inner, self.baseline.segmenter, split, "coarse"))

    def _infer(self, method: Method, split: str, keep: bool, fused: bool = False) -> Stage:
        assert self.network is not None
        return self.add(
            classify.inferred(self.context, self.trained, method, self.network, split, keep, fused)
        )

    def _after_class_maps(self) -> None:
        """Plan the refined result and the segmenter, if the experiment has them."""
        e, id, split = self.experiment, self.subject, self.segmented_split
        if id in self.labels:
            self.unchosen.add(id)
            labels: BySplit = self.labels[id]
            if e.refine.kind:
                labels = self._keep(self.refiner.refine_labels(id, labels)).labels
            if e.segment.network:
                self._segment(self.final, labels[split], split)
            return
        own = id in self._own_background()
        seeds = SeedMaps(id=id, maps=self.maps[id], scored=self._first(self.scores[id]), own=own)
        refined = self.refiner.refine(seeds)
        if refined:
            self._keep(refined)
        if refined and refined.maps:
            scored = self._first(refined.scores)
            seeds = SeedMaps(id=refined.id, maps=refined.maps, scored=scored, own=refined.unchosen)
        if e.refine.kind != "masks" and not (refined and refined.labels):
            self._label_unscored(seeds)
        if e.segment.network:
            known = refined.labels if refined else {}
            stage = known[split] if known else self.refiner.labels(seeds, split)
            self._segment(self.refiner.id_of(id), stage, split)

    def _first(self, stages: BySplit) -> Stage | None:
        """Return the stage of the first scored split, if a split is scored."""
        return next(iter(stages.values()), None)

    def _label_unscored(self, seeds: SeedMaps) -> None:
        """Plan the labels of the splits that are not scored; scores come from the class maps."""
        unscored = self.context.unscored_splits
        if unscored:
            self.labels[seeds.id] = {s: self.refiner.labels(seeds, s) for s in unscored}

    def _keep(self, refined: Refined) -> Refined:
        """Take a refined result over into the plan."""
        id = refined.id
        self.scores[id] = refined.scores
        self.maps |= {id: refined.maps} if refined.maps else {}
        self.labels |= {id: refined.labels} if refined.labels else {}
        self.unchosen |= {id} if refined.unchosen else set()
        self.boundaries = refined.boundaries
        self.final = id
        return refined

    def _segment(self, source: ResultId, labels: Stage, split: str) -> None:
        """Plan the segmenter that learns labels, its predictions and their scores."""
        e, context = self.experiment, self.context
        name = "TRUE masks" if source.refinement == "masks" else str(source)
        network = self.segmenter = self.add(segment.segmenter(context, name, labels, split))
        id = ResultId(
            localizer=source.localizer,
            refinement=source.refinement,
            segmenter=e.segment.network,
            known=e.segment.known,
        )
        splits = e.segment.splits or e.scoring.splits[-1:]
        for s in splits:
            check_masks(e.data, context.shards, s, "segment.splits")
        self.labels[id] = {s: self._predicted(network, s) for s in splits}
        has_masks = self.catalog.has_masks
        scored = [s for s in splits if s in context.scored_splits or has_masks(context.shards, s)]
        self.scores[id] = self.scored(id, self.labels[id], scored)
        self.unchosen.add(id)
        self.final = id

    def _predicted(self, network: Stage, split: str) -> Stage:
        """Plan the segmenter's labels of a split, after DenseCRF if the experiment asks for it."""
        if not self.experiment.segment.crf:
            return self.add(segment.predicted(self.context, network, split, "labels"))
        probabilities = self.add(segment.predicted(self.context, network, split, "probabilities"))
        return self.add(segment.smoothed(self.context, probabilities, split))
