"""The stages of an experiment: what each needs, what it costs, what its result is called.

    shards -> network -> class maps (and features) -> centres -> class maps -> scores
        -> refined labels -> segmenter -> predicted labels -> scores

Keys follow from the configuration alone, so what is missing is known before anything runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from . import datasets, imports
from .errors import InputError
from .experiment import Experiment
from .joint import together
from .method import Method, PrototypeMethod
from .progress import Silent
from .runs import Score, StageRecord
from .steps import classify, refine, segment
from .steps.context import Context, Step
from .store import Stage, Store, digest

HOST = "host-"
"""What the names of a host's class maps and labels begin with."""


class Pipeline:
    """The stages of one experiment on one store."""

    def __init__(
        self, store: Store, experiment: Experiment, progress: Silent | None = None
    ) -> None:
        self.store, self.experiment = store, experiment
        self.progress = progress or Silent()
        self.shards = datasets.open_dataset(store, experiment.data)
        named = together([experiment.made(name) for name in experiment.trained])
        self.host = experiment.made(named.trains_as) if named.trains_as else named
        self.localizer = experiment.made(experiment.localizer) if experiment.localizer else named
        self.context = Context(store, experiment, self.shards, self.progress)
        self.classes, self.done = self.context.classes, self.context.done
        self.steps: list[Step] = []
        self._check_splits()
        self._plan()

    @property
    def prototypes(self) -> PrototypeMethod | None:
        """The localizer, where it works on prototypes."""
        return self.localizer if isinstance(self.localizer, PrototypeMethod) else None

    def _check_splits(self) -> None:
        e = self.experiment
        needed = {
            e.training.split: "training.split",
            **dict.fromkeys(e.scoring.splits, "scoring.splits"),
        }
        if self._learns_boundaries:
            needed[self._labelled(e.refine.training.split)] = "refine.training.split"
        if e.segment.network:
            needed[self._segmented_split] = "segment.training.split"
            needed |= dict.fromkeys(e.segment.splits, "segment.splits")
        if self.prototypes:
            needed[self.prototypes.clustering.split] = f"{self.prototypes.name}.split"
        for split, field in needed.items():
            if split not in self.shards.about["splits"]:
                names = ", ".join(self.shards.about["splits"])
                raise InputError(f"{field} names {split!r}; data set {e.data!r} has {names}")
        if e.refine.kind == "masks" and not e.segment.network:
            raise InputError("refine.kind 'masks' is for a segmenter; name one in segment.network")
        unknown = [c for c in e.scoring.classes if c not in ("background", *self.classes)]
        if unknown:
            raise InputError(
                f"scoring.classes names {unknown[0]!r}; data set {e.data!r} has "
                f"{', '.join(self.classes)}"
            )

    def _plan(self) -> None:
        e = self.experiment
        learnt = [self._labelled(e.refine.training.split)] if self._learns_boundaries else []
        if e.segment.network:
            learnt.append(self._segmented_split)
        self.splits = tuple(dict.fromkeys([*e.scoring.splits, *learnt]))
        self.network: Stage | None = None
        self.boundaries: Stage | None = None
        self.segmenter: Stage | None = None
        self.of_host: Pipeline | None = None
        self.maps: dict[str, dict[str, Stage]] = {}
        self.labels: dict[str, dict[str, Stage]] = {}
        if e.imported:
            self._plan_imported(e.imported)
        else:
            self._plan_maps()
        found = {**self.maps, **self.labels}
        self.scores = {name: self._scored(name, of) for name, of in found.items()}
        self._plan_masks()

    def _plan_imported(self, name: str) -> None:
        """Class maps, or labels, of others in place of a method's."""
        of = {s: self._add(step) for s, step in self._imported(name, self.splits).items()}
        self.foreign = imports.find(self.store, name)
        (self.labels if self.foreign.labels else self.maps)[name] = of

    def _imported(self, name: str, splits: Sequence[str]) -> dict[str, Step]:
        """The steps that read an import.

        Raises:
            InputError: it is of other data, or of other splits.
        """
        found = imports.find(self.store, name)
        if found.shards != self.shards.key:
            raise InputError(f"{name!r} was imported for other data than {self.experiment.data!r}")
        for split in splits:
            if split not in found.stages:
                there = ", ".join(found.stages)
                raise InputError(f"{name!r} was imported for {there}; {split!r} is needed too")
        return {split: imports.step(found.stages[split], name) for split in splits}

    def _plan_maps(self) -> None:
        """The classifier and its class maps."""
        context, kind = self.context, self.host.superpixels
        superpixels = self._add(classify.regions(context, kind)) if kind else None
        if self.experiment.host and not self.host.needs_host:
            raise InputError(f"{self.host.name} takes no host; it learns from image labels alone")
        probabilities = self._probabilities() if self.host.needs_host else None
        self.beside = (superpixels, probabilities)
        self.network = self._add(classify.network(context, self.host, superpixels, probabilities))
        clustered = [self.prototypes.clustering.split] if self.prototypes else []
        of_host = list(dict.fromkeys([*clustered, *self.splits]))
        keep = self.prototypes is not None
        self.host_maps = {s: self._inferred(self.host, s, keep) for s in of_host}
        self.maps = {self.host.name: self.host_maps}
        if self.prototypes:
            self.maps[self.localizer.name] = self._by_prototypes(self.prototypes)
        elif self.localizer.name != self.host.name:
            self.maps[self.localizer.name] = {
                s: self._inferred(self.localizer, s, keep) for s in self.splits
            }

    def _probabilities(self) -> Stage:
        """What the host's segmenter says of the images that are trained on.

        Raises:
            InputError: there is no host, or it would learn from true masks.
        """
        e, split = self.experiment, self.experiment.training.split
        if not e.host:
            raise InputError(
                f"{self.host.name} learns from another method's segmenter; name it with --host, "
                "e.g. --host lpcam"
            )
        if e.host.refine.kind == "masks":
            raise InputError(f"refine.kind 'masks' would show {self.host.name} the true masks")
        name = e.host.imported
        if name and imports.find(self.store, name).probabilities:
            return self._add(self._imported(name, (split,))[split])
        inner = self.of_host = Pipeline(self.store, e.host, self.progress)
        inner.done = inner.context.done = self.done
        self.steps += inner.steps
        assert inner.segmenter is not None
        return self._add(segment.predicted(inner.context, inner.segmenter, split, "coarse"))

    def _labelled(self, split: str) -> str:
        """The split that a refiner or segmenter learns from."""
        return split or self.experiment.training.split

    @property
    def _segmented_split(self) -> str:
        """The split that the segmenter learns from; true masks are those of the first scored."""
        e = self.experiment
        if e.refine.kind == "masks" and not e.segment.training.split:
            return e.scoring.splits[0]
        return self._labelled(e.segment.training.split)

    def _inferred(self, method: Method, split: str, keep: bool) -> Stage:
        return self._add(
            classify.inferred(self.context, self.host, method, self._trained, split, keep)
        )

    @property
    def _trained(self) -> Stage:
        assert self.network is not None
        return self.network

    def _by_prototypes(self, method: PrototypeMethod) -> dict[str, Stage]:
        context, maps = self.context, self.host_maps
        centers = self._add(classify.centers(context, method, maps[method.clustering.split]))
        self.chosen = {}
        for s in self.splits:
            similar = self._add(classify.similar(context, method, centers, maps[s]))
            self.chosen[s] = classify.Chosen(method, self._trained, centers, similar)
        return {s: self._add(classify.localized(context, c, s)) for s, c in self.chosen.items()}

    def _scored(
        self, name: str, found: Mapping[str, Stage], splits: Sequence[str] = ()
    ) -> dict[str, Stage]:
        """Scores on some splits, without any on the scored ones that there is something of."""
        splits = splits or [s for s in self.experiment.scoring.splits if s in found]
        return {s: self._add(classify.scores(self.context, name, s, found[s])) for s in splits}

    def _plan_masks(self) -> None:
        """Refined labels and the segmenter, where the experiment wants them."""
        e, context, name = self.experiment, self.context, self.subject
        if name in self.labels:
            self._plan_from_labels(name)
            return
        source = refine.Seeds(
            name=name,
            maps=self.maps[name],
            scored=self.scores[name][e.scoring.splits[0]],
            own=name in self.own,
        )
        learnt = self._segmented_split
        wanted = [*e.scoring.splits, *([learnt] if e.segment.network else [])]
        crf, level = "", e.refine.threshold
        if e.refine.kind == "irn":
            source, level = self._propagated(source), e.refine.final
        if e.refine.kind == "crf":
            crf, name = e.refine.crf, f"{name}-crf"
            self.labels[name] = {
                s: self._add(refine.labels(context, source, s, crf, level))
                for s in dict.fromkeys(wanted)
            }
            self.scores[name] = self._scored(name, self.labels[name])
        if e.segment.network:
            self._plan_segmenter(source, learnt, crf, level)

    def _propagated(self, source: refine.Seeds) -> refine.Seeds:
        """The source's maps after IRN; they are scored at every threshold like others."""
        context, split = self.context, self._labelled(self.experiment.refine.training.split)
        name = f"{source.name}-irn"
        network = self.boundaries = self._boundaries(source, split)
        found = {s: self._add(refine.walked(context, source, network, s)) for s in self.splits}
        self.maps[name] = found
        self.scores[name] = self._scored(name, found)
        scored = self.scores[name][self.experiment.scoring.splits[0]]
        return refine.Seeds(name=name, maps=found, scored=scored, own=name in self.own)

    @property
    def _learns_boundaries(self) -> bool:
        """Whether there is a boundary network, and it is not the host's."""
        e, host = self.experiment, self.experiment.host
        if e.refine.kind != "irn":
            return False
        if e.imported or e.refine.boundaries == "own" or not host or host.refine.kind != "irn":
            return True
        if host.imported and imports.find(self.store, host.imported).probabilities:
            return True
        return host.network.backbone != e.network.backbone

    def _boundaries(self, source: refine.Seeds, split: str) -> Stage:
        """The boundary network, the host's where that is wanted and there is one that fits."""
        if not self._learns_boundaries:
            assert self.of_host
            assert self.of_host.boundaries
            return self.of_host.boundaries
        labels = self._add(refine.certain(self.context, source, split))
        return self._add(refine.boundaries(self.context, source.name, labels, split))

    def _plan_segmenter(
        self, source: refine.Seeds, split: str, crf: str, level: float | None
    ) -> None:
        e, context = self.experiment, self.context
        if e.refine.kind == "masks":
            labels, name = self._add(refine.masks(context, split)), "TRUE masks"
        else:
            labels = self._add(refine.labels(context, source, split, crf, level))
            name = f"{source.name}-crf" if crf else source.name
        self._segmented(name, labels, split)

    def _plan_from_labels(self, name: str) -> None:
        """The segmenter on imported labels, which cannot be refined.

        Raises:
            InputError: they should be.
        """
        e = self.experiment
        if e.refine.kind:
            raise InputError(f"{name!r} are labels; refine.kind {e.refine.kind!r} needs class maps")
        if e.segment.network:
            split = self._segmented_split
            self._segmented(name, self.labels[name][split], split)

    def _segmented(self, source: str, labels: Stage, split: str) -> None:
        """The segmenter, its predictions and their scores."""
        e, context = self.experiment, self.context
        network = self.segmenter = self._add(segment.segmenter(context, source, labels, split))
        name = self.final
        splits = e.segment.splits or e.scoring.splits[-1:]
        found = self.labels[name] = {s: self._predicted(network, s) for s in splits}
        scored = [s for s in splits if s in e.scoring.splits or segment.has_masks(context, s)]
        self.scores[name] = self._scored(name, found, scored)

    def _predicted(self, network: Stage, split: str) -> Stage:
        """The segmenter's labels of a split, after DenseCRF if that is wanted."""
        if not self.experiment.segment.crf:
            return self._add(segment.predicted(self.context, network, split, "labels"))
        found = self._add(segment.predicted(self.context, network, split, "probabilities"))
        return self._add(segment.smoothed(self.context, found, split))

    def _add(self, step: Step) -> Stage:
        """The step's stage; one that is planned already is not planned twice."""
        if all(step.stage.key != known.stage.key for known in self.steps):
            self.steps.append(step)
        return step.stage

    def holds(self, other: Pipeline) -> bool:
        """Whether this experiment scores just the class maps that `other` is about."""
        mine, name = self.maps.get(other.subject), other.subject
        if mine is None or other.labels or set(other.maps) - set(self.maps):
            return False
        if name != self.subject and other.experiment.refine.threshold is not None:
            return False  # here they are scored at their best one

        def what(stage: Stage) -> list[object]:
            return [{**stage.config, "features": None}, stage.inputs]

        return all(s in mine and what(mine[s]) == what(of) for s, of in other.maps[name].items())

    def missing(self) -> list[Stage]:
        """The stages whose artefacts are not there yet."""
        return [s.stage for s in self.steps if not self.store.find(s.stage.name, s.stage.key)]

    def execute(self, before: Stage | None = None, without: Sequence[Stage] = ()) -> None:
        """Gets every artefact, computing what is missing: those planned before a stage, if one
        is given, and without some."""
        left_out = {stage.key for stage in without}
        steps = [s for s in self.steps if s.stage.key not in left_out]
        if before:
            steps = steps[: [s.stage.key for s in steps].index(before.key)]
        self.progress.plan([s.stage.title for s in steps])
        for step in steps:
            stage, started = step.stage, time.monotonic()
            self.progress.start(stage.title)
            artefact, cached = self.store.get(stage, step.compute)
            self.progress.finish(cached)
            step.settle(cached)
            record = StageRecord(
                stage=stage.name,
                title=stage.title,
                key=stage.key,
                seconds=round(time.monotonic() - started, 3),
                cached=cached,
            )
            self.done[stage.key] = (artefact, record)

    @property
    def own(self) -> set[str]:
        """What needs no threshold: maps with a background of their own, and labels."""
        if self.experiment.imported:
            own = {self.subject} if self.foreign.background else set()
        else:
            own = {m.name for m in (self.host, self.localizer) if m.own_background}
        if self.subject in own and self.experiment.refine.walk_background:
            own.add(f"{self.subject}-irn")
        return own | set(self.labels)

    @property
    def subject(self) -> str:
        """The localizer, or the imported class maps, that the experiment is about."""
        return self.experiment.imported or self.localizer.name

    @property
    def final(self) -> str:
        """The name of the last result: that of the segmenter, the refinement or the subject."""
        e = self.experiment
        if e.segment.network:
            known = "-known" if e.segment.known else ""
            return e.segment.network + ("-masks" if e.refine.kind == "masks" else "") + known
        return f"{self.subject}-{e.refine.kind}" if e.refine.kind else self.subject

    def read_scores(self, only: str = "") -> dict[str, dict[str, Score]]:
        """By localizer, refinement or segmenter, and split, or those of one; the threshold is
        chosen on the first split for all, except where maps bring their own background or labels
        were cut."""
        r = self.experiment.refine
        fixed = {self.subject: r.threshold, f"{self.subject}-irn": r.final}
        own = {
            name: self.context.read_scores(of, name in self.own, fixed.get(name))
            for name, of in self.scores.items()
            if only in ("", name)
        }
        of_host = self.of_host.read_scores() if self.of_host and not only else {}
        return {**{HOST + name: score for name, score in of_host.items()}, **own}

    def found(self, what: str) -> dict[str, dict[str, Stage]]:
        """The `maps` or `labels` by name and split, those of the host among them."""
        of_host = self.of_host.found(what) if self.of_host else {}
        return {**{HOST + name: of for name, of in of_host.items()}, **getattr(self, what)}

    @property
    def digest(self) -> str:
        """What the experiment's results depend on."""
        r = self.experiment.refine
        fixed = [[r.threshold, r.final]] if (r.threshold, r.final) != (None, None) else []
        return digest([[s.stage.key for s in self.steps], self.experiment.scoring, *fixed])
