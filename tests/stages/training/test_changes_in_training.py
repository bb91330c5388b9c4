"""Tests of trainings whose options change: they equal trainings that are continued by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from wsss.methods.cam import CAM
from wsss.platform.config.groups.changes import change_text
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats.shards import Slice
from wsss.platform.method import Batch
from wsss.platform.records.progress_file import read_metrics
from wsss.platform.stages.training import checkpoints, loader
from wsss.platform.stages.training.metrics_log import Log
from wsss.platform.stages.training.trainer import Job, Trainer, run_epochs
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage

CHANGED = {"lr": 0.002, "head_factor": 3.0, "momentum": 0.5, "weight_decay": 0.01, "clip_norm": 2.0}
WITHOUT_MOMENTUM = {name: value for name, value in CHANGED.items() if name != "momentum"}
TEXT = change_text(2, CHANGED)


def batches(plan, epochs, device):
    """Yield batches of noise, which are the same whenever an epoch is trained."""
    for epoch in epochs:
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(plan.steps):
            images = torch.randn(4, 3, 32, 32, generator=generator)
            labels = (torch.rand(4, 3, generator=generator) < 0.5).float()
            yield (
                epoch,
                Batch(images=images, labels=labels, valid=torch.ones(4, 32, 32, dtype=torch.bool)),
            )


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Return a function that trains up to an epoch, also from a state.

    It returns the folder of the state after each epoch, and the metrics.
    """
    monkeypatch.setattr(loader, "batches", batches)
    slices = (Slice(LocalFolder(Path("none")) / "none.parquet", 0, 8),)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def carry_out(name, state=None, until=None, **options):
        file = LocalStorage(tmp_path).location(f"{name}.jsonl")
        job = Job(
            learner=CAM(CAM.Config()),
            network=Network(backbone="small"),
            training=Training(**{"batch_size": 4, "crop": 32, "epochs": 4, "lr": 0.001, **options}),
            classes=3,
            slices=slices,
            seed=5,
            metrics=file,
            until=until,
        )
        trainer, states = Trainer(job, torch.device("cpu"), 0, 1), {}
        if state:
            trainer.load(checkpoints.load(state))
            for group in trainer.optimizers[0].param_groups:  # the state holds the earlier values
                held = {"weight_decay", "momentum"} & group.keys()
                group.update({name: getattr(job.training, name) for name in held})

        def keep(trainer, _):
            folder = tmp_path / f"{name}-{trainer.epoch}"
            folder.mkdir()
            checkpoints.save(trainer.state(), folder)
            states[trainer.epoch] = folder

        run_epochs(trainer, Log(file, trainer.step), keep)
        return states, read_metrics(file)

    yield carry_out
    torch.set_num_threads(threads)


def assert_equal(one, other):
    """Check that two states hold the same bits."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict | list | tuple):
        assert len(one) == len(other)
        pairs = one.keys() if isinstance(one, dict) else range(len(one))
        for name in pairs:
            assert_equal(one[name], other[name])
    else:
        assert one == other


@pytest.mark.parametrize(("optimizer", "changed"), [(None, CHANGED), ("adamw", WITHOUT_MOMENTUM)])
def test_a_change_equals_a_training_continued_by_hand(train, optimizer, changed):
    changing, log = train("changing", optimizer=optimizer, changes=(change_text(2, changed),))
    stopped, first = train("stopped", optimizer=optimizer, until=2)
    continued, second = train("continued", stopped[2], optimizer=optimizer, **changed)
    assert_equal(checkpoints.load(changing[2]), checkpoints.load(stopped[2]))
    assert_equal(checkpoints.load(changing[4]), checkpoints.load(continued[4]))
    assert log == first + second
    whole, _ = train("whole", optimizer=optimizer)
    last = [checkpoints.load(states[4])["network"] for states in (whole, changing)]
    assert any(not torch.equal(last[0][name], last[1][name]) for name in last[0])


def test_a_training_that_is_interrupted_after_a_change_goes_on_with_it(train):
    changing, _ = train("changing", changes=(TEXT,))
    resumed, log = train("resumed", changing[3], changes=(TEXT,))
    assert_equal(checkpoints.load(resumed[4]), checkpoints.load(changing[4]))
    assert {row["epoch"] for row in log} == {3}
