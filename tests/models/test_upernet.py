"""Tests of UperNet: published size, grids, weight decay, and steps of its recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats.shards import Slice
from wsss.platform.errors import InputError
from wsss.platform.method import PADDING, Batch
from wsss.platform.models import upernet
from wsss.platform.models.backbones import build
from wsss.platform.models.upernet import UperNet
from wsss.platform.stages.training.label_learners import Segmenter
from wsss.platform.stages.training.trainer import Job, Trainer
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage


@pytest.fixture
def narrow(monkeypatch):
    """Make the layers of UperNet an eighth as wide."""
    monkeypatch.setattr(upernet, "WIDTH", 64)
    monkeypatch.setattr(upernet, "AUXILIARY", 32)


def test_upernet_has_the_published_number_of_parameters():
    """mmsegmentation states 60 million parameters for UperNet with Swin-T and 150 classes."""
    with torch.device("meta"):
        network = UperNet(build("swin_t"), 150)
    total = sum(p.numel() for p in network.parameters())
    assert round(total / 1e6) == 60
    backbone = sum(p.numel() for p in network.backbone.parameters())
    pools, top = 4 * (768 * 512 + 1024), 9 * (768 + 2048) * 512 + 1024
    pyramid = sum(c * 512 + 1024 + 9 * 512 * 512 + 1024 for c in (96, 192, 384))
    heads = 9 * 2048 * 512 + 1024 + 513 * 150 + 9 * 384 * 256 + 512 + 257 * 150
    assert total == backbone + 2 * (96 + 192 + 384) + pools + top + pyramid + heads


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", ["small", "resnet18"])
@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_logits_are_on_the_finest_grid(name, size):
    torch.manual_seed(0)
    network = UperNet(build(name), 4).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, 3, *size))
        fine = network.backbone(torch.randn(2, 3, *size))["c1"].shape[2:]
    assert logits.shape == (2, 4, *fine)
    assert network.norms is not None
    assert len(network.norms) == 0


@pytest.mark.usefixtures("narrow")
def test_images_are_predicted_at_the_one_size_of_training():
    torch.manual_seed(0)
    network, images = UperNet(build("small"), 4).eval(), torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        (logits,) = network.logits_by_view(images, (0.75, 0.5))
        assert torch.equal(logits, network(images))


def test_norms_and_position_biases_do_not_decay():
    with torch.device("meta"):
        network = UperNet(build("swin_t"), 4)
    groups = network.parameter_groups(1.0, 0.1, 0.01)
    free = {id(p) for g in groups if g["weight_decay"] == 0 for p in g["params"]}
    norms = {
        id(p) for m in network.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()
    }
    for name, parameter in network.named_parameters():
        exempt = id(parameter) in norms or name.endswith("relative_position_bias_table")
        assert (id(parameter) in free) == exempt, name
    every = [id(p) for g in groups for p in g["params"]]
    assert sorted(every) == sorted(id(p) for p in network.parameters())


@pytest.mark.usefixtures("narrow")
def test_the_head_learns_statistics_and_the_backbone_keeps_its_own():
    network = UperNet(build("resnet18"), 4).train()
    inside = set(network.backbone.modules())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == (module not in inside)


def trainer(**options):
    made = trainer_of(2, **options)
    made.network.train()
    return made


def trainer_of(images, **options):
    job = Job(
        learner=Segmenter((), name="upernet"),
        network=Network(backbone="small"),
        training=Training(
            batch_size=images, crop=32, epochs=1, precision="fp32", lr=1e-3, **options
        ),
        classes=3,
        slices=(Slice(LocalFolder(Path("none")) / "none.parquet", 0, 8),),
        seed=0,
        metrics=LocalStorage(Path("none")).location("none.jsonl"),
    )
    return Trainer(job, torch.device("cpu"), 0, 1)


def batch():
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randn(2, 3, 32, 32, generator=generator),
        labels=torch.zeros(2, 3),
        valid=torch.ones(2, 32, 32, dtype=torch.bool),
        plane=torch.randint(0, 4, (2, 32, 32), generator=generator),
    )


@pytest.mark.usefixtures("narrow")
def test_adamw_warms_up_and_learns():
    made = trainer(optimizer="adamw", warm_up=2, weight_decay=0.01, power=1.0, head_factor=1.0)
    assert isinstance(made.optimizers[0], torch.optim.AdamW)
    rows = [made.update(batch()) for _ in range(4)]
    rates = [row["lr"] for row in rows]
    assert rates == pytest.approx(
        [1e-3 * (1 - k / 4) * min(1, (k + 1) / 2) for k in range(4)], rel=1e-6
    )
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.usefixtures("narrow")
def test_one_image_a_step_is_refused():
    with pytest.raises(InputError, match="2 images a step"):
        trainer_of(1)


@pytest.mark.usefixtures("narrow")
def test_the_auxiliary_head_counts_four_tenths():
    torch.manual_seed(0)
    made = trainer()
    (one, _), (two, _) = made.network.supervised_logits(batch().images, ())
    assert (one, two) == (1.0, 0.4)


@pytest.mark.parametrize("balanced", [False, True])
def test_logits_are_enlarged_to_the_labels_one_image_at_a_time(balanced):
    """The enlarged logits of a batch are not kept for the backward pass."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (3, 20, 24), generator=generator)
    labels[0, :7], labels[2] = PADDING, PADDING
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    kept = []
    hooks = (lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor)
    with torch.autograd.graph.saved_tensors_hooks(*hooks):
        loss = Segmenter((), balanced, name="upernet")._cross_entropy(one, labels)
    loss.backward()
    assert max(kept) <= labels.numel()
    large = F.interpolate(other, (20, 24), mode="bilinear", align_corners=False)
    shares = large.log_softmax(1).permute(0, 2, 3, 1)
    known = labels != PADDING
    values = -shares[known].gather(1, labels[known][:, None])[:, 0]
    background = labels[known] == 0
    means = [values[background].mean(), values[~background].mean()]
    expected = sum(means) / 2 if balanced else values.mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(one.grad, other.grad)


def test_deeplab_brings_the_labels_to_the_logits():
    logits, labels = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 20, 24))
    small = F.interpolate(labels[:, None].float(), (5, 6), mode="nearest-exact")[:, 0].long()
    loss = Segmenter(())._cross_entropy(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, small))
