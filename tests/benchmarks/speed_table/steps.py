"""Rows of the speed table for the data path and for the steps on class maps and features."""

from __future__ import annotations

import multiprocessing
from functools import partial
from typing import Any

import numpy as np
import torch
from measure import KEPT, feature_files, some_centers
from peers import peer_steps
from speed_table.rows import Bench, elapsed, steady_rate
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.images import encode_png
from wsss.platform.data.sources.folder import Folder
from wsss.platform.data.transforms import Crop
from wsss.platform.metrics import THRESHOLDS
from wsss.platform.ops.crf import CRFS
from wsss.platform.ops.random_walk import random_walk, transition_matrix
from wsss.platform.ops.refinement.pixel_adaptive import refined_planes
from wsss.platform.ray_runtime import cluster
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.stages.labels import pseudo_labels, scoring
from wsss.platform.stages.prototypes import clustering
from wsss.platform.stages.training import loader
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import ArtifactFile, LocalFolder
from wsss.platform.storage.store import Store

CROP = Crop(resize=(256, 480), side=320)


def warm(barrier: Any) -> None:
    """Wait until every process of a pool has started."""
    barrier.wait()


def decode_slice(piece: dict[str, object], loading: loader.Loading) -> int:
    """Decode and crop the images of a slice without Ray; return their number."""
    columns = {name: np.array([value]) for name, value in piece.items()}
    return len(loader.load_rows(columns, loading)["image"])


def bench_stream(b: Bench, epochs: int = 40) -> None:
    """Measure images a second to a training worker; the limit is one process on each core that
    decodes the same images and passes nothing on."""
    plan = loader.Plan(slices=tuple(b.pieces), classes=2, batch_size=16, crop=CROP, seed=0)

    def streamed(passes: int) -> float:
        blocks = loader.blocks(plan, range(passes))
        out: list[int] = []
        seconds = elapsed(lambda: out.extend(len(block["image"]) for block in blocks))
        assert sum(out) == passes * len(b.files)
        return seconds

    streamed(epochs // 4)  # until all of Ray's processes have started
    extra = streamed(1 + epochs) - streamed(1)
    pieces = [p for epoch in range(epochs) for p in plan.pieces(epoch)]
    method, cores = multiprocessing.get_context("spawn"), cluster.cores()
    barrier = method.Barrier(cores + 1)
    with method.Pool(cores, warm, (barrier,)) as pool:
        barrier.wait()
        decode = partial(decode_slice, loading=plan.loading)
        limit = elapsed(lambda: pool.map(decode, pieces, chunksize=1))
    rate = epochs * len(b.files) / extra
    share = limit / extra
    b.add("data path", "images/s", rate, None, limit=share, bound=f"{cores} bare processes")


def bench_clustering(b: Bench, rows: int = 60_000, width: int = 1280, count: int = 12) -> None:
    """Measure rounds of k-means over the features of a class, on both sides of the threshold."""
    (b.folder / "features").mkdir()
    files = feature_files(b.folder / "features", rows, width, 16)
    whole = torch.from_numpy(np.concatenate([np.load(f.local()) for f in files])).float()
    halves = [part.to(b.device) for part in whole.chunk(2)]
    generator = torch.Generator().manual_seed(0)

    def run_peer() -> None:
        for half in halves:
            peer_steps.cluster(half, count, 1, generator)

    cluster.connect()
    holders = clustering.Holders(files, 0.5, cluster.cores(), KEPT)
    centers = some_centers(holders, width)
    round_ = b.clock(lambda: holders.totals(centers, False), 5)
    holders.close()
    name = f"k-means on {b.device}, {rows:,} x {width}, K {count}"
    share = 4 * rows * width * count / round_ / b.flops["fp32"]  # distances and sums
    peer = 1 / b.clock(run_peer)
    b.add(name, "rounds/s", 1 / round_, peer, limit=share, bound="fp32 convolutions")


def write_maps(b: Bench) -> list[ArtifactFile]:
    """Write class maps of two classes of every image, as our stages and as the peers keep them."""
    rng, files = np.random.default_rng(0), []
    for name in ("found", "kept"):
        (b.folder / name).mkdir()
    for piece in b.pieces:
        rows = []
        for row in shards.read(piece, ("id", "height", "width")):
            small = torch.from_numpy(rng.random((1, 2, 12, 16), np.float32))
            planes, full = (
                torch.nn.functional.interpolate(small, size, mode="bicubic")[0].clamp(0, 1).numpy()
                for size in ((94, 125), (row["height"], row["width"]))
            )
            values = {"keys": np.array([0, 1]), "cam": planes, "high_res": full}
            np.save(b.folder / "kept" / f"{row['id']}.npy", values)  # type: ignore[arg-type]
            maps = ClassMaps(
                id=row["id"],
                classes=(1, 2),
                planes=planes.astype(np.float16),
                height=row["height"],
                width=row["width"],
            )
            rows.append(maps)
        files.append(LocalFolder(b.folder / "found") / f"{piece.name}.parquet")
        class_maps.write(files[-1], rows)
    return files


def bench_crf(b: Bench) -> None:
    """Measure DenseCRF of three labels an image, with the images divided among processes."""
    files, cores = write_maps(b), cluster.cores()
    labels = LocalFolder(b.folder).subfolder("labels")
    cut = pseudo_labels.Cut(levels=(0.5,), crf=CRFS["irn"])

    def ours(count: int) -> float:
        chosen = b.pieces[: count // 16], files[: count // 16]
        return elapsed(lambda: pseudo_labels.make(labels, *chosen, cut, lambda d, n: None))

    def theirs(count: int) -> float:
        return elapsed(lambda: peer_steps.crf(b.files[:count], b.folder / "kept", cores))

    rate, peer = steady_rate(ours, b), steady_rate(theirs, b)
    b.add("DenseCRF, 3 labels, 10 steps", "images/s", rate, peer)


def bench_scoring(b: Bench) -> None:
    """Measure mIoU at 100 thresholds of class maps of every image."""
    rng = np.random.default_rng(0)
    masks = {f.stem: rng.choice([0, 1, 2, 255], (375, 500)).astype(np.uint8) for f in b.files}
    for name, mask in masks.items():
        path = b.folder / "photos" / "masks" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(mask))
    dataset, _ = registry.add(
        Store(b.folder / "masked"), Folder(b.folder / "photos"), "photos", ProgressDisplay()
    )
    pieces = list(slices(dataset, "train"))
    manifest = {"stage": "maps", "files": {f"{p.name}.parquet": {} for p in pieces}}
    maps = Artifact(LocalFolder(b.folder / "found"), manifest)
    out = LocalFolder(b.folder).subfolder("scores")

    def ours(count: int) -> float:
        chosen = pieces[: count // 16]
        return elapsed(lambda: scoring.score(out, maps, chosen, 3, lambda d, n: None))

    def theirs(count: int) -> float:
        stems = [f.stem for f in b.files[:count]]
        chosen = [masks[s] for s in stems]
        share = THRESHOLDS[::10]
        time = elapsed(lambda: peer_steps.curve(stems, b.folder / "kept", chosen, 3, share))
        return time * len(THRESHOLDS) / len(share)

    rate, peer = steady_rate(ours, b), 16 / theirs(16)
    b.add("mIoU at 100 thresholds", "images/s", rate, peer)


def bench_walk(b: Bench, height: int = 47, width: int = 62) -> None:
    """Measure the random walk of one image, on the largest grid that a dense matrix can serve."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, height, width, generator=generator).to(b.device)
    edge = (torch.rand(height, width, generator=generator) ** 3).to(b.device)
    ours = b.clock(lambda: random_walk(maps, edge), 5)
    peer = b.clock(lambda: peer_steps.walk(maps, edge))
    moved = 256 * (transition_matrix(edge[None]).values().numel() * 12 + 4 * maps.numel() * 4)
    share = moved / ours / b.bandwidth
    name = f"random walk, {height} x {width}, 2 maps"
    b.add(name, "images/s", 1 / ours, 1 / peer, limit=share, bound="a copy's bytes")


def bench_par(b: Bench, height: int = 187, width: int = 250) -> None:
    """Measure pixel-adaptive refinement of one image of VOC at half its size, 3 planes."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=generator).to(b.device)
    planes = torch.rand(1, 3, height, width, generator=generator).to(b.device)
    ours = b.clock(lambda: refined_planes(image, planes), 5)
    peer = b.clock(lambda: peer_steps.stacked_refinement(image, planes), 5)
    difference = refined_planes(image, planes) - peer_steps.stacked_refinement(image, planes)
    assert difference.abs().max() < 1e-5
    name = f"pixel-adaptive refinement, {height} x {width}, 3 planes"
    b.add(name, "images/s", 1 / ours, 1 / peer)
