"""Each method's presets train: the loss falls within 60 steps on drawn scenes.

Batches are smaller than those of most presets, and the learning rate of SGD with them. With the
whole rate, whether CPAL's `paper` diverges depends on the processor.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from wsss.platform.data.formats.shards import Slice
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.data.transforms import normalized
from wsss.platform.errors import InputError
from wsss.platform.method import Batch, build_experiment, build_method, find_method, methods
from wsss.platform.models.backbones import BACKBONES, Small
from wsss.platform.stages.training.trainer import Job, Trainer
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage

SIDE, IMAGES, BATCH = 32, 120, 8
STEPS = IMAGES // BATCH
"""Steps of an epoch."""
EPOCHS = {"ssc": 2}
"""Epochs of the method whose steps take longest; other methods have four."""
BASELINES = {"psdpm": "cam"}
WIDTH = 768
"""Channels of c4."""
SAME = {
    ("cam", "release"): ("cam", "paper"),
    ("lpcam", "release"): ("lpcam", "paper"),
    ("lpcam", "release-coco"): ("lpcam", "paper"),
    ("lpcam", "default"): ("cam", "default"),
}
"""Presets, and the preset of the same or another method that trains alike."""
COVERED = {*SAME, ("ssc", "release")}
"""Presets that are not trained here: those of `SAME`, and SSC's `release`, which has a warm-up
(see `test_ssc.py`) before the losses of its `paper`."""
CASES = [
    (name, preset)
    for name, cls in methods().items()
    for preset in cls.presets
    if cls.trains and preset != "scenes" and (name, preset) not in COVERED
]


@functools.cache
def scenes() -> Batch:
    """Return drawn scenes as one batch, with square superpixels and the masks as probabilities."""
    source = Scenes(train=IMAGES, val=1, size=SIDE, max_objects=1)
    records = [source.load(item) for item in source.items()[:IMAGES]]
    pixels = np.stack([r.pixels for r in records])
    masks = [r.mask for r in records if r.mask is not None]
    classes = len(source.classes)
    labels = torch.zeros(IMAGES, classes)
    for row, record in zip(labels, records, strict=True):
        row[list(record.labels)] = 1
    flat = torch.from_numpy(np.stack(masks)).long()
    planes = F.one_hot(flat.where(flat <= classes, 0), classes + 1).permute(0, 3, 1, 2)
    cells = torch.arange(SIDE) // 8
    return Batch(
        images=normalized(torch.from_numpy(pixels)),
        labels=labels,
        valid=torch.ones(IMAGES, SIDE, SIDE, dtype=torch.bool),
        plane=(8 * cells[:, None] + cells).expand(IMAGES, SIDE, SIDE),
        probabilities=F.avg_pool2d(planes.float(), 8),
    )


class Calibrated(Small):
    """A random backbone with what matters of a pretrained one: c4 is wide, statistics are fixed."""

    channels = (24, 48, 96, WIDTH)
    pretrained = True

    def __init__(self) -> None:
        super().__init__()
        wide = nn.Conv2d(96, WIDTH, 1, bias=False)
        self.c4 = nn.Sequential(wide, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics are the means over all batches
        with torch.no_grad():
            self.train()(scenes().images)


def rows(batch: Batch, numbers: torch.Tensor) -> Batch:
    return Batch(**{name: tensor[numbers] for name, tensor in vars(batch).items()})


def batches(epochs: int) -> Iterator[tuple[int, Batch]]:
    """Yield the epoch and the batch of each step, in a random order that is always the same."""
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        for numbers in torch.randperm(IMAGES, generator=generator).split(BATCH):
            yield epoch, rows(scenes(), numbers)


def losses(name: str, preset: str, folder: Path, **changes: float) -> list[float]:
    """Return the loss of each step of a training with the options of a preset."""
    made = build_experiment(name, preset=preset, baseline=BASELINES.get(name, ""))
    method = build_method(made, name)
    backbone = build_experiment(name, preset="scenes").network.backbone
    epochs = EPOCHS.get(name, 4)
    options = {"epochs": epochs, "batch_size": BATCH, "precision": "fp32", **changes}
    job = Job(
        learner=method,
        network=replace(made.network, backbone=backbone),
        training=replace(made.training, **options),
        classes=scenes().labels.shape[1],
        slices=(Slice(LocalFolder(Path("none")) / "none.parquet", 0, IMAGES),),
        seed=0,
        metrics=LocalStorage(folder).location("metrics.jsonl"),
    )
    trainer = Trainer(job, torch.device("cpu"), 0, 1)
    trainer.network.train()
    assert trainer.steps == epochs * STEPS
    out = []
    for epoch, batch in batches(epochs):
        if trainer.step == epoch * STEPS:
            method.on_epoch_start(trainer.network, epoch)
        out.append(trainer.update(batch)["loss"])
    return out


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(BACKBONES, "small", Calibrated)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_the_loss_falls(name: str, preset: str, tmp_path: Path) -> None:
    training = build_experiment(name, preset=preset, baseline=BASELINES.get(name, "")).training
    factor = 1 if training.optimizer else min(1, BATCH / training.batch_size)
    values = losses(name, preset, tmp_path, lr=factor * training.lr)
    assert np.mean(values[-10:]) < np.mean(values[:10])


@pytest.mark.parametrize(("case", "other"), SAME.items())
def test_presets_train_alike(case: tuple[str, str], other: tuple[str, str]) -> None:
    """LPCAM's own options come after the training, which is CAM's."""
    name = case[0]
    made, same = (build_experiment(method, preset=preset) for method, preset in (case, other))
    assert (made.training, made.network) == (same.training, same.network)
    assert name == "cam" or find_method(name).trains_as == "cam"


def test_the_printed_momentum_diverges(tmp_path: Path) -> None:
    """With the momentum that the papers print, their learning rate fails where 1e-4 trains."""
    with pytest.raises(InputError, match=r"training cam diverged .* or momentum \(0\.9\)"):
        losses("cam", "paper", tmp_path, momentum=0.9)
