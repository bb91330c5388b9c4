"""The stages of an experiment: what each needs, what it costs, what its result is called.

    shards -> network -> class maps (and features) -> centres -> class maps -> scores

Keys follow from the configuration alone, so what is missing is known before anything runs.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import datasets
from .errors import InputError
from .experiment import Experiment
from .joint import together
from .method import Method, PrototypeMethod
from .metrics import OWN_BACKGROUND
from .progress import Silent
from .runs import OWN, RunRecord, Score, StageRecord
from .store import Artefact, Stage, Store, digest, keyed, versions

Compute = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A stage and how to compute it."""

    stage: Stage
    compute: Compute


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
        self.classes: list[str] = self.shards.about["classes"]
        self.steps: list[Step] = []
        self.done: dict[str, tuple[Artefact, StageRecord]] = {}
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
        if self.prototypes:
            needed[self.prototypes.clustering.split] = f"{self.prototypes.name}.split"
        for split, field in needed.items():
            if split not in self.shards.about["splits"]:
                names = ", ".join(self.shards.about["splits"])
                raise InputError(f"{field} names {split!r}; data set {e.data!r} has {names}")
        unknown = [c for c in e.scoring.classes if c not in ("background", *self.classes)]
        if unknown:
            raise InputError(
                f"scoring.classes names {unknown[0]!r}; data set {e.data!r} has "
                f"{', '.join(self.classes)}"
            )

    def _plan(self) -> None:
        e = self.experiment
        self.superpixels = self._add(self._regions()) if self.host.superpixels else None
        self.network = self._add(self._network())
        clustered = [self.prototypes.clustering.split] if self.prototypes else []
        splits = list(dict.fromkeys([*clustered, *e.scoring.splits]))
        self.host_maps = {s: self._add(self._inferred(self.host, s)) for s in splits}
        self.maps = {self.host.name: self.host_maps}
        if self.prototypes:
            self.centers = self._add(self._centers(self.prototypes))
            self.maps[self.localizer.name] = {
                s: self._add(self._localized(self.prototypes, s)) for s in e.scoring.splits
            }
        elif self.localizer.name != self.host.name:
            self.maps[self.localizer.name] = {
                s: self._add(self._inferred(self.localizer, s)) for s in e.scoring.splits
            }
        self.scores = {
            name: {s: self._add(self._score(name, s, of[s])) for s in e.scoring.splits}
            for name, of in self.maps.items()
        }

    def _add(self, step: Step) -> Stage:
        self.steps.append(step)
        return step.stage

    def _regions(self) -> Step:
        split, kind = self.experiment.training.split, self.host.superpixels
        stage = Stage(
            name="superpixels",
            version=1,
            config={"kind": kind, "split": split},
            inputs={"shards": self.shards.key},
            title=f"{kind} superpixels of {split}",
        )

        def compute(folder: Path) -> dict[str, Any]:
            from .stages import cluster, superpixels

            cluster.connect()
            pieces = datasets.slices(self.shards, split)
            return superpixels.compute(
                folder, pieces, kind, lambda d, n: self.progress.update("", d, n)
            )

        return Step(stage, compute)

    def _network(self) -> Step:
        e = self.experiment
        config = {
            "method": self.host.name,
            "settings": self.host.training_settings(),
            "network": keyed(e.network),
            "training": dataclasses.asdict(e.training),
            "seed": e.seed,
        }
        stage = Stage(
            name="network",
            version=1,
            config=config,
            inputs={
                "shards": self.shards.key,
                **({"superpixels": self.superpixels.key} if self.superpixels else {}),
            },
            title=f"train {self.host.name}, {e.network.backbone}",
        )
        return Step(stage, lambda folder: self._train(folder, stage))

    def _train(self, folder: Path, stage: Stage) -> dict[str, Any]:
        from .stages import cluster, train

        e = self.experiment
        job = train.Job(
            method=self.host,
            network=e.network,
            training=e.training,
            classes=len(self.classes),
            slices=tuple(datasets.slices(self.shards, e.training.split)),
            seed=e.seed,
            metrics=str(self.store.root / "training" / f"{stage.key[:32]}.jsonl"),
            superpixels=str(self._artefact(self.superpixels).folder) if self.superpixels else "",
        )
        train.build(job.network, job.method, job.classes, job.seed)
        cluster.connect()
        home = self.store.root / "training" / stage.key[:32]
        return train.fit(folder, job, home, self.progress.update)

    def _inferred(self, method: Method, split: str) -> Step:
        """Maps by a method that looks at the images with the trained network."""
        e = self.experiment
        keep = self.prototypes is not None
        stage = Stage(
            name="maps",
            version=1,
            config={
                "method": method.name,
                "settings": method.reading_settings(),
                "split": split,
                "scales": e.views.scales,
                "features": keep,
            },
            inputs={"shards": self.shards.key, "network": self.network.key},
            title=f"{method.name} maps{' and features' if keep else ''} of {split}",
        )
        return Step(stage, lambda folder: self._infer(folder, method, split, keep))

    def _infer(self, folder: Path, method: Method, split: str, keep: bool) -> dict[str, Any]:
        from .models import backbones
        from .stages import cluster, maps

        e = self.experiment
        pieces = datasets.slices(self.shards, split)
        if keep:
            width = backbones.build(e.network.backbone).channels[3]
            maps.check_space(pieces, e.views.scales, 2 * width, self.store.free_bytes())
        cluster.connect()
        actors = e.views.actors or cluster.gpus() or cluster.cores()
        job = maps.Job(
            host=self.host,
            method=method,
            network=e.network,
            classes=len(self.classes),
            weights=str(self.store.folder("network", self.network.key) / "network.pt"),
            views=dataclasses.replace(e.views, actors=actors),
            folder=str(folder),
            keep_features=keep,
        )
        return maps.infer(folder, job, pieces, lambda d, n: self.progress.update("", d, n))

    def _centers(self, method: PrototypeMethod) -> Step:
        clustering = method.clustering
        stage = Stage(
            name="centers",
            version=1,
            config={**dataclasses.asdict(clustering), "seed": self.experiment.seed},
            inputs={"maps": self.host_maps[clustering.split].key},
            title=f"{method.name} clusters",
        )

        def compute(folder: Path) -> dict[str, Any]:
            from .stages import cluster
            from .stages import clustering as stage_code

            cluster.connect()
            features = self._artefact(self.host_maps[clustering.split]).files(".npy")
            return stage_code.cluster_features(
                folder,
                features,
                clustering,
                self.experiment.seed,
                lambda d, n: self.progress.update(f"round {d} of at most {n}", 0, 0),
            )

        return Step(stage, compute)

    def _localized(self, method: PrototypeMethod, split: str) -> Step:
        settings = dataclasses.asdict(method.settings)
        stage = Stage(
            name="maps",
            version=1,
            config={
                "method": method.name,
                "settings": {name: settings[name] for name in method.selection},
                "split": split,
            },
            inputs={
                "features": self.host_maps[split].key,
                "centers": self.centers.key,
                "network": self.network.key,
            },
            title=f"{method.name} maps of {split}",
        )

        def compute(folder: Path) -> dict[str, Any]:
            from .stages import cluster, localize

            cluster.connect()
            return localize.localize(
                folder,
                self._artefact(self.host_maps[split]).files(".npy"),
                self._artefact(self.centers).path("centers.npz"),
                self._artefact(self.network).folder,
                method,
                dict(enumerate(self.classes)),
                lambda d, n: self.progress.update("", d, n),
            )

        return Step(stage, compute)

    def _score(self, name: str, split: str, maps: Stage) -> Step:
        stage = Stage(
            name="scores",
            version=1,
            config={"split": split},
            inputs={"shards": self.shards.key, "maps": maps.key},
            title=f"score {name} on {split}",
        )

        def compute(folder: Path) -> dict[str, Any]:
            from .stages import cluster, score

            cluster.connect()
            return score.score(
                folder,
                self._artefact(maps),
                datasets.slices(self.shards, split),
                len(self.classes) + 1,
                lambda d, n: self.progress.update("", d, n),
            )

        return Step(stage, compute)

    def _artefact(self, stage: Stage) -> Artefact:
        if stage.key in self.done:
            return self.done[stage.key][0]
        return self.store.open(stage.name, stage.key)

    def missing(self) -> list[Stage]:
        """The stages whose artefacts are not there yet."""
        return [s.stage for s in self.steps if not self.store.find(s.stage.name, s.stage.key)]

    def execute(self) -> None:
        """Gets every artefact, computing what is missing."""
        self.progress.plan([s.stage.title for s in self.steps])
        for step in self.steps:
            stage, started = step.stage, time.monotonic()
            self.progress.start(stage.title)
            artefact, cached = self.store.get(stage, step.compute)
            self.progress.finish(cached)
            record = StageRecord(
                stage=stage.name,
                title=stage.title,
                key=stage.key,
                seconds=round(time.monotonic() - started, 3),
                cached=cached,
            )
            self.done[stage.key] = (artefact, record)

    def read_scores(self) -> dict[str, dict[str, Score]]:
        """By localizer and split; the threshold is chosen on the first split for all, except
        where maps bring their own background."""
        from .stages.score import read_score

        names = ["background", *self.classes]
        wanted = self.experiment.scoring.classes
        scored = [k for k, n in enumerate(names) if not wanted or n in ("background", *wanted)]
        out: dict[str, dict[str, Score]] = {}
        own = {m.name for m in (self.host, self.localizer) if m.own_background}
        for localizer, of in self.scores.items():
            threshold, chosen = (OWN_BACKGROUND, OWN) if localizer in own else (None, "")
            for split, stage in of.items():
                score = read_score(
                    self._artefact(stage),
                    split=split,
                    classes=names,
                    scored=scored,
                    threshold=threshold,
                    threshold_from=chosen,
                )
                threshold, chosen = score.threshold, chosen or split
                out.setdefault(localizer, {})[split] = score
        return out

    @property
    def digest(self) -> str:
        """What the experiment's results depend on."""
        return digest([[s.stage.key for s in self.steps], self.experiment.scoring])

    def record(self, name: str, command: str, started: str, seconds: float) -> RunRecord:
        """The run as it is kept."""
        e = self.experiment
        return RunRecord(
            name=name,
            method=e.localizer_name,
            dataset=e.data,
            seed=e.seed,
            experiment=e.as_dict(),
            digest=self.digest,
            command=command,
            machine=machine(),
            versions=versions(),
            started=started,
            seconds=round(seconds, 2),
            shards=self.shards.key,
            network=self.network.key,
            stages=tuple(record for _, record in self.done.values()),
            scores=self.read_scores(),
            maps={name: {s: of[s].key for s in e.scoring.splits} for name, of in self.maps.items()},
        )


def machine() -> str:
    """Cores, memory and system of this machine, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"
