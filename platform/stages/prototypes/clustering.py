"""Distributed k-means of local features: each holder keeps some of them, only sums are sent.

Class maps split the features of the images of a class into foreground and context (LPCAM Eq. 2),
and both sets of all classes are clustered at once. `holder` says what a holder does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data import npz
from ...errors import InputError
from ...method import Centers, Clustering
from ...ops import kmeans
from ...ops.kmeans import FeatureSet, Floats, Totals
from ...ray_runtime import cluster
from ...ray_runtime.worker_errors import unwrapped
from ...storage.artifact_files import ArtifactFile, ArtifactFolder
from .feature_sets import Drawn, draw_images
from .holder import GPUHolder, Holder

CENTERS = "centers.npz"
LLOYD_OPTIONS = ("clusters", "tolerance", "shift", "max_iterations")
"""The options of a clustering that `kmeans.lloyd` takes by the same names."""
BYTES_PER_HOLDER = 64 << 20
"""Bytes of features for which one more process is worth its start."""


class Holders:
    """The holders of one clustering: Ray actors, or a single one in this process.

    Args:
        count: number of holders.
        limit: most bytes of features that all holders together keep in memory.
        files, threshold, drawn: see `Holder`.
        on_gpus: whether each holder has a GPU.
    """

    def __init__(
        self,
        files: Sequence[ArtifactFile],
        threshold: float,
        count: int,
        limit: int,
        drawn: Drawn | None = None,
        on_gpus: bool = False,
    ) -> None:
        numbered = list(enumerate(files))
        self.actors: list[Any] = []
        if count == 1 and not on_gpus:
            self.local = Holder(numbered, threshold, limit, drawn)
        else:
            shares = [numbered[k::count] for k in range(count)]
            self._start([(share, threshold, limit // count, drawn) for share in shares], on_gpus)
        all_sizes: dict[FeatureSet, dict[int, int]] = {}
        try:
            for sizes in self._call("sizes"):
                for group, set_sizes in sizes.items():
                    all_sizes.setdefault(group, {}).update(set_sizes)
        except BaseException:
            self.close()  # the error may be kept, and would keep the processes
            raise
        self.sizes = {group: all_sizes[group] for group in sorted(all_sizes)}

    def _start(self, shares: Sequence[tuple[Any, ...]], on_gpus: bool) -> None:
        """Start an actor for each share, all at once or none yet.

        Two clusterings that each held some of their actors would wait for each other forever."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        custom = {} if on_gpus else cluster.cpu_stage_resources(0.5) or {}
        bundle = {"CPU": 0.5, **({"GPU": 1} if on_gpus else custom)}
        self.reservation = ray.util.placement_group([bundle] * len(shares))
        actor = ray.remote(
            num_cpus=0.5,
            num_gpus=int(on_gpus),
            resources=custom,
            max_restarts=3,
            max_task_retries=-1,  # as long as there is an actor; some are lost while it starts anew
        )(GPUHolder if on_gpus else Holder)
        for number, share in enumerate(shares):
            place = PlacementGroupSchedulingStrategy(self.reservation, number)
            self.actors.append(actor.options(scheduling_strategy=place).remote(*share))

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of each holder and return their answers."""
        with unwrapped():
            if not self.actors:
                return [getattr(self.local, method)(*arguments)]
            import ray

            references = [ray.put(value) for value in arguments]
            calls = [getattr(actor, method).remote(*references) for actor in self.actors]
            answers: list[Any] = ray.get(calls)
        return answers

    def totals(
        self, centers: Mapping[FeatureSet, Floats], spherical: bool
    ) -> dict[FeatureSet, Totals]:
        """Return the sums of all holders by set, see `Holder.totals`."""
        totals: dict[FeatureSet, Totals] = {}
        for holder_totals in self._call("totals", dict(centers), spherical):
            for group, total in holder_totals.items():
                if group in totals:
                    totals[group].add(total)
                else:
                    totals[group] = Totals(total.sums.copy(), total.counts.copy(), total.worst)
        return totals

    def gather(
        self, positions: Mapping[FeatureSet, Sequence[tuple[int, int]]]
    ) -> dict[FeatureSet, Floats]:
        """Return the requested rows `[R,D]` by set, see `Holder.gather`."""
        features: dict[Any, Floats] = {}
        for holder_features in self._call("gather", dict(positions)):
            features.update(holder_features)
        return {
            group: np.stack([features[(group, *position)] for position in set_positions])
            for group, set_positions in positions.items()
        }

    def close(self) -> None:
        """End the holders' processes and free their resources."""
        if not self.actors:
            return
        import ray

        for actor in self.actors:
            ray.kill(actor)
        ray.util.remove_placement_group(self.reservation)


def run(
    files: Sequence[ArtifactFile],
    clustering: Clustering,
    *,
    seed: int,
    workers: int | None = None,
    limit: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[FeatureSet, kmeans.Clusters]:
    """Cluster every class: the result of (class, 0) is its foreground, of (class, 1) its context.

    Args:
        files: feature files NAME.npy, each with NAME.json and NAME.parquet beside it.
        clustering: options of the clustering.
        seed: seed of the initial centres, and of the drawn images if not all count.
        workers: number of holders on CPUs, which never changes the result; None: as many as suit
            the size of the files, on GPUs if there are any and one holder is too few.
        limit: most bytes of features that all holders together keep in memory.
        progress: called with (rounds done, rounds at most).
    """
    size = sum(file.size() for file in files)
    gpus = 0 if workers or size <= BYTES_PER_HOLDER else cluster.gpus()
    holder_count = workers or min(gpus or cluster.workers(), -(-size // BYTES_PER_HOLDER))
    count = max(1, min(holder_count, len(files)))
    drawn = draw_images(files, clustering.images, seed) if clustering.images else None
    holders = Holders(files, clustering.threshold, count, limit, drawn, gpus > 0)
    rounds = 0

    def totals(centers: Mapping[FeatureSet, Floats]) -> dict[FeatureSet, Totals]:
        nonlocal rounds
        rounds += 1
        if progress:
            progress(rounds, clustering.max_iterations)
        return holders.totals(centers, clustering.spherical)

    try:
        return kmeans.lloyd(
            holders.sizes,
            totals,
            holders.gather,
            seed=seed,
            **{name: getattr(clustering, name) for name in LLOYD_OPTIONS},
        )
    finally:
        holders.close()


def cluster_features(
    folder: ArtifactFolder,
    features: Sequence[ArtifactFile],
    clustering: Clustering,
    seed: int,
    limit: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Cluster the features of every class and write the centres; return facts for the manifest.

    Args:
        folder: empty folder that takes the file of centres.
        features: feature files.
        clustering: options of the clustering.
        seed, limit, progress: see `run`.

    Raises:
        InputError: no image has a label, so that there is nothing to cluster.
    """
    results = run(features, clustering, seed=seed, limit=limit, progress=progress)
    if not results:
        raise InputError(
            f"no image of split {clustering.split!r} has a label, so there are no features of a "
            "class to cluster; add image labels, or name another split for the clustering"
        )
    centers: dict[str, Any] = {
        f"{label}-{kind}": result.centers for (label, kind), result in results.items()
    }
    (folder / CENTERS).write(lambda stream: np.savez(stream, **centers))
    kinds = ("foreground", "context")
    return {
        f"{label}-{kinds[kind]}": {
            "features": int(result.counts.sum()),
            "centers": len(result.centers),
            "rounds": result.rounds,
            "converged": result.converged,
        }
        for (label, kind), result in sorted(results.items())
    }


def read_centers(path: Path) -> dict[int, Centers]:
    """Return the centres of a clustering artifact by class, classes counted from 0.

    Raises:
        InputError: the file is missing or damaged.
    """
    centers: dict[FeatureSet, torch.Tensor] = {}
    for name, array in npz.read(path).items():
        if not re.fullmatch(r"\d{1,3}-[01]", name) or array.ndim != 2 or array.dtype.kind != "f":
            raise InputError(f"{path} is damaged: {name!r} {array.shape} holds no centres")
        label, kind = map(int, name.split("-"))
        centers[label, kind] = torch.from_numpy(array)
    widths = {array.shape[1] for array in centers.values()}
    if len(widths) != 1:
        raise InputError(f"{path} is damaged: its centres do not have one width")
    no_centers = torch.zeros(0, *widths)
    return {
        label: Centers(
            foreground=centers.get((label, 0), no_centers),
            context=centers.get((label, 1), no_centers),
        )
        for label in sorted({label for label, _ in centers})
    }
