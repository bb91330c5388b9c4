"""Benchmark of the memory that one image takes in each stage, ordinary and huge; see bench.py.

Each stage computes one image of generated noise and shapes in a process of its own, with a network
of random weights; memory does not depend on them.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measure import say
from PIL import Image
from process_memory import private
from wsss.platform.config.experiment import Views
from wsss.platform.config.groups.network import Network
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.images import encode_png
from wsss.platform.method import Learner, build_experiment, build_method
from wsss.platform.ops.crf import CRFS, CRFBackend, crf_bytes
from wsss.platform.ops.random_walk import walk_bytes
from wsss.platform.stages.inference import class_maps as class_map_inference
from wsss.platform.stages.inference import propagation, segmentation
from wsss.platform.stages.labels import batched_labels, pseudo_labels, scoring
from wsss.platform.stages.prototypes import similarities
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter
from wsss.platform.stages.training.trainer import build
from wsss.platform.storage.artifact_files import LocalFolder

CLASSES, PRESENT = 80, (4, 17)
SIZES = ((375, 500), (1200, 1600), (3000, 4000))
SLACK = 64 << 20
"""Bytes that a small stage takes above its estimate, for modules that it alone imports."""
MOST = 9 << 30
"""Private memory in bytes above which a stage is ended."""
ALONE = """
import sys
from pathlib import Path
from growth import huge
huge.STAGES[sys.argv[1]](Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
print(huge.highest_private())
"""


def picture(height: int, width: int) -> np.ndarray:
    """Return an image of noise, uint8 `[H,W,3]`, of which DenseCRF takes most memory."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.integers(-20, 21, smooth.shape, np.int8)
    return np.clip(smooth + noise.astype(np.int16), 0, 255).astype(np.uint8)


def random_maps(classes: tuple[int, ...], height: int, width: int, stride: int) -> ClassMaps:
    """Return smooth class maps of random values that add up to one at each position."""
    rng = np.random.default_rng(1)
    grid = (-(-height // stride), -(-width // stride))
    coarse = torch.from_numpy(rng.normal(0, 3, (1, len(classes), 9, 12)).astype(np.float32))
    planes = torch.nn.functional.interpolate(coarse, grid, mode="bilinear").softmax(1)[0]
    return ClassMaps(
        id="a", classes=classes, planes=planes.half().numpy(), height=height, width=width
    )


def prepare(folder: Path, height: int, width: int) -> None:
    """Write the shard, the class maps, the features and the labels of one image."""
    stream = io.BytesIO()
    Image.fromarray(picture(height, width)).save(stream, "JPEG", quality=90)
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = PRESENT[0] + 1
    row = {
        "id": "a",
        "image": stream.getvalue(),
        "height": height,
        "width": width,
        "labels": list(PRESENT),
        "mask": encode_png(mask),
        "split": "train",
    }
    pq.write_table(pa.Table.from_pylist([row], schema=shards.SCHEMA), folder / "s.parquet")
    files = LocalFolder(folder)
    present = tuple(n + 1 for n in PRESENT)
    for name, classes, stride in (
        ("maps", present, 4),
        ("likely", tuple(range(CLASSES + 1)), 8),
    ):
        maps = random_maps(classes, height, width, stride)
        class_maps.write(files.subfolder(name) / f"{piece(folder).name}.parquet", [maps])
    masks = label_maps.file_of_slice(files.subfolder("labels"), piece(folder))
    label_maps.write(masks, [("a", mask)])


def piece(folder: Path) -> shards.Slice:
    return shards.Slice(LocalFolder(folder) / "s.parquet", 0, 1)


def views(gib: float) -> Views:
    """Return inference with the default scales on one core, and a limit on the memory."""
    return Views(actors=1, image_gib=gib)


def trained(folder: Path, learner: Learner, backbone: str, classes: int = CLASSES) -> Path:
    """Write a network of random weights and return its file."""
    network = build(Network(backbone=backbone), learner, classes, seed=0)
    torch.save(network.state_dict(), folder / "network.pt")
    return folder / "network.pt"


def maps_and_features(folder: Path, gib: float, backbone: str) -> None:
    """Infer class maps at four scales, and keep the features."""
    method = build_method(build_experiment("cam"), "cam")
    trained(folder, method, backbone)
    job = class_map_inference.Job(
        trained=method,
        method=method,
        network=Network(backbone=backbone),
        classes=CLASSES,
        weights=LocalFolder(folder) / "network.pt",
        views=views(gib),
        folder=LocalFolder(folder).subfolder("features"),
        keep_features=True,
    )
    class_map_inference.Infer(job).work(piece(folder))


def compared(folder: Path, gib: float, backbone: str) -> None:
    """Compare the features with 24 centres of each class."""
    files = LocalFolder(folder)
    features = files.subfolder("features") / f"{piece(folder).name}.npy"
    width = np.load(features.local(), mmap_mode="r").shape[1]
    centers = {n: torch.rand(24, width) for n in PRESENT}
    similarities.file_similarities(features, centers, files.subfolder("similar"))


def walk(folder: Path, gib: float, backbone: str) -> None:
    """Predict boundaries and walk two steps; the further steps take no more memory."""
    trained(folder, Boundaries(), backbone, 0)
    files = LocalFolder(folder)
    job = propagation.Job(
        network=Network(backbone=backbone),
        weights=files / "network.pt",
        maps=files.subfolder("maps"),
        folder=files.subfolder("walked"),
        radius=5,
        beta=10.0,
        steps=2,
        power=1.0,
        background=False,
        views=views(gib),
    )
    propagation.Walk(job).work(piece(folder))


def predict(folder: Path, gib: float, backbone: str, probabilities: bool) -> None:
    """Predict labels of one view, or probabilities of three scales and their mirror images."""
    learner = Segmenter((0.75, 0.5), stride=8)
    trained(folder, learner, backbone)
    files = LocalFolder(folder)
    job = segmentation.Job(
        learner=learner,
        network=Network(backbone=backbone),
        classes=CLASSES,
        weights=files / "network.pt",
        folder=files.subfolder("predicted"),
        probabilities=probabilities,
        coarse=False,
        known=False,
        views=views(gib),
        scales=(1.0, 0.75, 1.25) if probabilities else (),
    )
    segmentation.Predict(job).work(piece(folder))


def label(
    folder: Path, gib: float, name: str, cut: pseudo_labels.Cut, backend: CRFBackend = "pydensecrf"
) -> None:
    """Cut the class maps of a folder into labels.

    DenseCRF makes one step; further steps take no more memory.
    """
    files = LocalFolder(folder)
    crf = cut.crf and replace(cut.crf, iterations=1)
    cut = replace(cut, crf=crf, most_bytes=int(gib * 2**30))
    maps, out = files.subfolder(name) / f"{piece(folder).name}.parquet", files.subfolder("cut")
    if backend == "torch":
        job = batched_labels.Job(
            cut=cut, maps={piece(folder).name: maps}, folder=out, views=views(gib)
        )
        batched_labels.Label(job).work(piece(folder))
    else:
        pseudo_labels.label_slice((piece(folder), maps), cut, out)


def score(folder: Path, gib: float, kind: str) -> None:
    """Score class maps or labels."""
    file = (
        LocalFolder(folder).subfolder("maps") / f"{piece(folder).name}.parquet"
        if kind == "maps"
        else label_maps.file_of_slice(LocalFolder(folder).subfolder("labels"), piece(folder))
    )
    scoring.score_slice((piece(folder), file), CLASSES + 1, kind)


CERTAIN = pseudo_labels.Cut(levels=(0.5, 0.2), crf=CRFS["irn"])
SMOOTHED = pseudo_labels.Cut(levels=(1.0,), crf=CRFS["deeplab"], least=0.05)
STAGES: dict[str, Callable[[Path, float, str], None]] = {
    "nothing": lambda folder, gib, backbone: None,
    "class maps and features": maps_and_features,
    "LPCAM's similarities": compared,
    "certain labels (DenseCRF twice)": lambda f, gib, b: label(f, gib, "maps", CERTAIN),
    "certain labels in torch": lambda f, gib, b: label(f, gib, "maps", CERTAIN, "torch"),
    "certain labels, cut only": lambda f, gib, b: label(f, 0, "maps", CERTAIN),
    "boundaries and random walk": walk,
    "scores of class maps": lambda f, gib, b: score(f, gib, "maps"),
    "scores of labels": lambda f, gib, b: score(f, gib, "labels"),
    "segmenter's labels": lambda f, gib, b: predict(f, gib, b, False),
    "segmenter's probabilities, three scales": lambda f, gib, b: predict(f, gib, b, True),
    "DenseCRF of predictions": lambda f, gib, b: label(f, gib, "likely", SMOOTHED),
    "labels of predictions, cut only": lambda f, gib, b: label(f, 0, "likely", SMOOTHED),
}
"""Stages by name: functions of the folder, the memory limit in GiB and the backbone."""


def highest_private() -> int:
    """Return the bytes of private memory that this process had at most.

    The kernel keeps the peak of all memory, from which the mapped files are taken; a sample in
    between would miss short peaks.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = {
        key: int(value.split()[0])
        for key, value in (k.split(":", 1) for k in lines)
        if " kB" in value
    }
    return (fields["VmHWM"] - fields["RssFile"] - fields["RssShmem"]) * 1024


def peak(name: str, folder: Path, gib: float, backbone: str = "mobilenet_v2") -> int:
    """Return the peak of private memory in bytes of a stage in a process of its own.

    A process that takes more than `MOST` is ended; its peak is then more than `MOST`.
    """
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-c", ALONE, name, str(folder), str(gib), backbone]
    environment = {**os.environ, "PYTHONPATH": path}
    job = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    while job.poll() is None:
        if private(job.pid) > MOST:
            job.kill()
            return MOST + 1
        time.sleep(0.05)
    if job.returncode:
        raise RuntimeError(f"{name} failed")
    return int(job.communicate()[0])


def walk_alone(folder: Path, gib: float, backbone: str) -> None:
    """Walk two steps on the grid of the stored class maps."""
    file = LocalFolder(folder).subfolder("maps") / f"{piece(folder).name}.parquet"
    (maps,) = class_maps.read([file.local()])
    torch.set_num_threads(1)
    boundary = torch.rand(1, *maps.planes.shape[1:]) ** 3
    list(propagation.walked_maps([maps], boundary, 5, 10.0, 2, Views().image_bytes))


STAGES["random walk alone"] = walk_alone


def bounds(height: int, width: int, gib: float) -> dict[str, int]:
    """Return by stage the bound of the memory in bytes that an image takes above `nothing`."""
    limit = int(gib * 2**30)
    networks = ("class maps and features", "boundaries and random walk", "segmenter's labels")
    crf, walk = crf_bytes(height * width, 3), walk_bytes(-(-height // 4) * -(-width // 4), 2, 5)
    return {
        **dict.fromkeys([*networks, "segmenter's probabilities, three scales"], limit),
        "certain labels (DenseCRF twice)": min(limit, crf),
        "certain labels in torch": min(limit, crf),
        "random walk alone": min(limit, walk),
    }


def bench_huge(folder: Path, gib: float = Views().image_gib) -> None:
    """Measure the memory that an image takes in each stage, by the size of the image.

    Raises:
        RuntimeError: a stage takes more than its bound.
    """
    say(f"huge: peaks of private memory in MiB, {CLASSES + 1} classes, views.image_gib={gib:g}")
    say("| stage | " + " | ".join(f"{w} x {h}" for h, w in SIZES) + " | bound of the last |")
    for height, width in SIZES:
        (folder / str(height)).mkdir()
        prepare(folder / str(height), height, width)
    base = 0
    for name in STAGES:
        peaks = [peak(name, folder / str(height), gib) for height, _ in SIZES]
        base = base or peaks[0]
        by_size = [bounds(height, width, gib).get(name) for height, width in SIZES]
        bound = f"{base + by_size[-1] >> 20}" if by_size[-1] else ""
        cells = [name, *(f"{value >> 20}" for value in peaks), bound]
        say(f"| {' | '.join(cells)} |")
        for value, most in zip(peaks, by_size, strict=True):
            if most and value > base + most + SLACK:
                raise RuntimeError(f"{name} takes {value >> 20} MiB, more than {most >> 20} MiB")
