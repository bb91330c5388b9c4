"""The largest difference between the preset `release` and the authors' formulas in float64.

    python tests/oracles/comparisons.py [FOLDER]

prints the table of docs/measured/oracles.md for photographs; FOLDER holds `voc12_mixed` and
`weights` (default: ../shared/data).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import formulas
import jobs
import losses
import numpy as np
from jobs import Finished, array, backbone
from wsss.methods.lpcam import LPCAM
from wsss.platform.data.formats import class_maps, label_maps
from wsss.platform.data.formats.features import FEATURE_ROWS, open_features, read_feature_rows
from wsss.platform.method import build_method
from wsss.platform.ops import kmeans
from wsss.platform.stages.labels.pseudo_labels import Cut, labels_of
from wsss.platform.stages.prototypes import class_maps as prototype_maps
from wsss.platform.stages.prototypes.clustering import Holders, read_centers
from wsss.platform.stages.training.label_learners import Boundaries

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LEVELS = {"cam": (0.30, 0.05, 0.25), "lpcam": (0.45, 0.25, 0.35), "ssc": (0.30, 0.10, 0.25)}
"""Scores of certain foreground and background, and of the background after the walk."""


@dataclass
class Difference:
    """The largest difference of one quantity.

    Attributes:
        preset: method whose preset `release` is compared.
        quantity: what is compared.
        alone: largest difference where the formulas start from what the product stored before this
            stage; None where the stage starts from the images.
        whole: largest difference where the formulas start from the images; None where they do not.
    """

    preset: str
    quantity: str
    alone: float | None
    whole: float | None


def largest(pairs: Any) -> float:
    """Return the largest difference between two arrays of some pairs."""
    return max(float(np.abs(np.asarray(a, float) - b).max()) for a, b in pairs)


def share(pairs: Any) -> float:
    """Return the share of positions at which two label maps of some pairs differ."""
    differ = [np.asarray(a) != b for a, b in pairs]
    return float(sum(d.sum() for d in differ) / sum(d.size for d in differ))


class Chain:
    """The stages of one finished job, in float64 and in the product.

    Args:
        job: the finished job.
        maps: computes the class maps of an image at stride 4 and at image size from image and
            labels.

    `stored` has the product's maps at image size, `strided` those at stride 4.
    """

    def __init__(self, job: Finished, maps: Any) -> None:
        self.job, self.own = job, job.name == "sipe"
        self.ids = list(job.images)
        self.exact = {id: maps(job.images[id], job.labels[id]) for id in self.ids}
        self.localizer = job.plan.experiment.localizer_name
        self.stored = job.maps(self.localizer)
        self.strided = job.maps(self.localizer, class_maps.STRIDED)

    def class_maps(self) -> list[Difference]:
        small = largest((self.strided[id].planes, self.exact[id][0]) for id in self.ids)
        large = largest((self.stored[id].planes, self.exact[id][1]) for id in self.ids)
        rows = [("class maps at stride 4", small), ("class maps at image size", large)]
        return [Difference(self.localizer, name, None, value) for name, value in rows]

    def labels(self) -> Difference:
        """Compare the labels from which IRN learns."""
        product = self.job.planes(self.job.stage("labels", "levels"))
        levels = (1.0, 0.5) if self.own else LEVELS[self.localizer][:2]
        starts = (
            {id: self.stored[id].planes.astype(float) for id in self.ids},
            {id: self.exact[id][1] for id in self.ids},
        )
        alone, whole = (
            share((product[id], self._certain(id, start[id], levels)) for id in self.ids)
            for start in starts
        )
        return Difference(self.localizer, "labels for IRN, share of pixels", alone, whole)

    def _certain(self, id: str, maps: Any, levels: Any) -> Any:
        image, labels = self.job.images[id], self.job.labels[id]
        return formulas.certain(image, maps, labels, levels, self.own)

    def walk(self) -> list[Difference]:
        """Compare the boundaries, and what the walk inside them gives."""
        network = self.job.network(self.job.plan.boundaries, Boundaries(enlarging="irn"))
        taps = [[array(p).squeeze() for p in tap.parameters()] for tap in network.taps]
        join = array(network.join.weight).ravel(), array(network.join.bias)[0]
        body = backbone(network)
        images = self.job.images
        edges = {id: formulas.boundary(body, taps, join, images[id]) for id in self.ids}
        (stage,) = (
            s for s in self.job.plan.stages if s.name == "maps" and s.config["method"] == "irn"
        )
        pictures = self.job.planes(stage, label_maps.EDGES)
        boundary = largest((pictures[id] / 255, edges[id]) for id in self.ids)
        walked = self.job.maps(f"{self.localizer}/irn")
        starts = (
            {id: self.strided[id].planes.astype(float) for id in self.ids},
            {id: self.exact[id][0] for id in self.ids},
        )
        power = 1.5 if self.own else 1.0
        sizes = {id: image.shape[:2] for id, image in images.items()}
        spread = [
            {
                id: formulas.spread(formulas.walk(s[id], edges[id], power), *sizes[id])
                for id in self.ids
            }
            for s in starts
        ]
        maps = [largest((walked[id].planes, s[id]) for id in self.ids) for s in spread]
        level = None if self.own else LEVELS[self.localizer][2]
        cut = Cut(levels=(1.0 if level is None else level,))
        final = {id: labels_of(self.job.images[id], walked[id], cut) for id in self.ids}
        labels = [
            share((final[id], formulas.final(s[id], self.job.labels[id], level)) for id in self.ids)
            for s in spread
        ]
        return [
            Difference(self.localizer, "boundaries", None, boundary),
            Difference(self.localizer, "maps after the walk", *maps),
            Difference(self.localizer, "pseudo labels, share of pixels", *labels),
        ]

    def rows(self) -> list[Difference]:
        return [*self.class_maps(), self.labels(), *self.walk()]


class Prototypes:
    """LPCAM's clustering and selection, in float64 and in the product."""

    def __init__(self, job: Finished, body: Any, head: Any) -> None:
        self.job, self.head = job, head
        self.cams = {
            id: formulas.cam(body, head, job.images[id], job.labels[id]) for id in job.images
        }
        self.features = {id: formulas.features(body, job.images[id]) for id in job.images}
        (self.file,) = job.artifact(self._stage("features")).files(".npy")
        self.index = read_feature_rows(self.file.with_suffix(FEATURE_ROWS).local())
        experiment = job.plan.experiment
        self.clustering = build_method(experiment, "lpcam").clustering
        self.holders = Holders([self.file], self.clustering.threshold, 1, 1 << 30)
        centers = job.artifact(job.stage("centers")).file("centers.npz").local()
        self.product, self.centers = read_centers(centers), {}
        self.stored: dict[int, Any] = {}
        self.exact: dict[int, Any] = {}

    def _stage(self, name: str) -> Any:
        return next(s for s in self.job.plan.stages if s.name == "maps" and s.config.get(name))

    def rows_of(self, n: int, kind: int) -> list[tuple[str, int]]:
        """Return image and position of the features of one set: more, or less, than 0.1."""
        out = []
        for id, labels in self.job.labels.items():
            if n in labels:
                large = self.cams[id][1][labels.index(n)]
                plane = formulas.nearest(large, *self.features[id].shape[1:]).ravel()
                chosen = plane > 0.1 if kind == 0 else plane < 0.1
                out += [(id, int(k)) for k in np.flatnonzero(chosen)]
        return out

    def stored_rows(self, group: tuple[int, int]) -> list[tuple[str, int]]:
        """Return the same of the product."""
        numbers = np.concatenate([block.rows for block in self.holders.local.blocks[group]])
        out = []
        for entry in self.index:
            count = int(np.prod(entry.grids[0]))
            inside = numbers[(numbers >= entry.offset) & (numbers < entry.offset + count)]
            out += [(entry.id, int(k - entry.offset)) for k in inside]
        return out

    def feature(self, place: tuple[str, int]) -> Any:
        return self.features[place[0]].reshape(len(self.head[0]), -1)[:, place[1]]

    def start(self, group: tuple[int, int]) -> list[int]:
        """Return the places in `stored_rows` of the rows with which the product starts."""
        sizes, seed = self.holders.sizes[group], self.job.plan.experiment.seed
        ends = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
        order = kmeans._initial(sizes, self.clustering.clusters, seed, group)
        return [int(ends[block]) + row for block, row in order]

    def clusters(self) -> list[Difference]:
        """Compare the sets of features and their centres, clustered from the same rows."""
        values = open_features(self.file.local())
        offsets = {entry.id: entry.offset for entry in self.index}
        moved, sets = ([], []), [0, 0]
        for group in self.holders.sizes:
            mine, theirs = self.rows_of(*group), self.stored_rows(group)
            sets[0] += len(set(mine) ^ set(theirs))
            sets[1] += len(mine)
            numbers = self.start(group)
            first = np.stack([self.feature(theirs[k]) for k in numbers])
            rows = np.stack([self.feature(place) for place in mine])
            self.centers[group] = formulas.kmeans(rows, first)
            stored = np.stack([values[offsets[id] + k] for id, k in theirs]).astype(float)
            alone = formulas.kmeans(stored, stored[numbers])
            product = array(getattr(self.product[group[0]], ("foreground", "context")[group[1]]))
            for distances, exact in zip(moved, (alone, self.centers[group]), strict=True):
                distances.append(_distances(exact, product).min(1).max())
        return [
            Difference("lpcam", "sets of features, share", None, sets[0] / sets[1]),
            Difference("lpcam", "centres, share of their length", *map(max, moved)),
        ]

    def choice(self) -> Difference:
        """Compare which centres become prototypes, and keep the prototypes of both sides."""
        method = LPCAM(build_method(self.job.plan.experiment, "lpcam").settings)
        network = self.job.artifact(self.job.plan.network).folder
        weights, bias = prototype_maps.linear_classifier(network)
        none, differ = np.zeros((0, self.head.shape[1])), ([], [])
        for n, pair in self.product.items():
            flags = [array(f) > 0 for f in method.select(pair, weights, n, bias)]
            product = array(pair.foreground), array(pair.context)
            exact = self.centers[n, 0], self.centers.get((n, 1), none)
            self.stored[n] = tuple(c[f] for c, f in zip(product, flags, strict=True))
            alone = formulas.prototypes(*product, self.head, n)
            whole = formulas.prototypes(*exact, self.head, n)
            self.exact[n] = tuple(c[f] for c, f in zip(exact, whole, strict=True))
            for kind in range(2):
                differ[0].extend(alone[kind] != flags[kind])
                if len(exact[kind]):
                    partners = _distances(exact[kind], product[kind]).argmin(1)
                    differ[1].extend(whole[kind] != flags[kind][partners])
        shares = [float(np.mean(d)) for d in differ]
        return Difference("lpcam", "choice of prototypes, share", *shares)


def _distances(a: Any, b: Any) -> Any:
    """Return the distance of each centre `[K,D]` of a to each of b, as a share of its length."""
    return np.stack([np.linalg.norm(row - b, axis=1) / np.linalg.norm(row) for row in a])


def classifier(job: Finished) -> tuple[Any, Any, Any]:
    """Return a trained classifier, its backbone in float64 and its class weights."""
    network = job.network(job.plan.network, job.plan.trained)
    return network, backbone(network), array(network.class_weights)


def compare(data: jobs.Data, method: str) -> list[Difference]:
    """Run a method and return its differences."""
    job = Finished(jobs.executed(data, method))
    network, body, head = classifier(job)
    images = job.images.items()
    if method == "cam":
        chain = Chain(job, lambda image, labels: formulas.cam(body, head, image, labels))
        return [*chain.rows(), *losses.boundary_rows(job, Difference)]
    if method == "lpcam":
        p = Prototypes(job, body, head)
        rows = [*p.clusters(), p.choice()]
        chain = Chain(job, lambda image, labels: formulas.lpcam(body, p.exact, image, labels))
        maps = {id: formulas.lpcam(body, p.stored, x, job.labels[id]) for id, x in images}
        small = largest((chain.strided[id].planes, m[0]) for id, m in maps.items())
        large = largest((chain.stored[id].planes, m[1]) for id, m in maps.items())
        rows.append(Difference(method, "class maps at stride 4, same prototypes", small, None))
        rows.append(Difference(method, "class maps at image size, same prototypes", large, None))
        return [*rows, *chain.rows()]
    if method == "sipe":
        sides = [array(c.weight)[:, :, 0, 0] for c in network.extras["hierarchical"].convs]
        chain = Chain(job, lambda image, labels: formulas.sipe(body, head, sides, image, labels))
        return [*chain.rows(), *losses.sipe_rows(job, network, body, head, sides, Difference)]
    chain = Chain(job, lambda image, labels: formulas.cam(body, head, image, labels, 0.55))
    return [*chain.rows(), *losses.ssc_rows(job, network, body, head, data.vgg, Difference)]


def table(rows: list[Difference]) -> str:
    """Return differences as a table in Markdown."""
    lines = ["| method | quantity | stage alone | from the images |", "|---|---|---:|---:|"]
    for r in rows:
        values = ("-" if value is None else f"{value:.1e}" for value in (r.alone, r.whole))
        lines.append(f"| {r.preset} | {r.quantity} | {' | '.join(values)} |")
    return "\n".join(lines)


def main() -> None:
    sys.path.append(str(Path(__file__).parents[1] / "pipeline"))
    from in_process import stages_in_process

    folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else SHARED
    with tempfile.TemporaryDirectory() as temporary, stages_in_process():
        data = jobs.five_photographs(folder, Path(temporary))
        print(table([r for name in ("cam", "lpcam", "sipe", "ssc") for r in compare(data, name)]))


if __name__ == "__main__":
    main()
