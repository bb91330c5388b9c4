"""Tests of the trainer: options that make a step faster change no step."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import nn
from wsss.methods.cam import CAM
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats.shards import Slice
from wsss.platform.errors import InputError
from wsss.platform.method import Batch
from wsss.platform.models.backbones import BACKBONES, Backbone, Small
from wsss.platform.records.progress_file import read_metrics
from wsss.platform.stages.training import loader
from wsss.platform.stages.training.loader import Plan
from wsss.platform.stages.training.metrics_log import Log
from wsss.platform.stages.training.trainer import Job, StepResult, Trainer, run_epochs
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage


def trainer(rank: int = 0, world: int = 1, **options) -> Trainer:
    job = Job(
        learner=CAM(CAM.Config()),
        network=Network(backbone="small"),
        training=Training(batch_size=2, crop=32, epochs=2, **options),
        classes=3,
        slices=(Slice(LocalFolder(Path("none")) / "none.parquet", 0, 8),),
        seed=0,
        metrics=LocalStorage(Path("none")).location("metrics.jsonl"),
    )
    made = Trainer(job, torch.device("cpu"), rank, world)
    made.network.train()
    return made


def batches():
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        yield Batch(
            images=torch.randn(2, 3, 32, 32, generator=generator),
            labels=(torch.rand(2, 3, generator=generator) < 0.5).float(),
            valid=torch.ones(2, 32, 32, dtype=torch.bool),
        )


class OneConvolution(Small):
    """A backbone that compiles fast: one convolution, with batch normalisation."""

    channels = (8, 8, 8, 8)
    strides = (2, 2, 2, 2)

    def __init__(self) -> None:
        Backbone.__init__(self)
        self.c1 = nn.Sequential(*self._conv(3, 8, stride=2))
        self.c2, self.c3, self.c4 = nn.Identity(), nn.Identity(), nn.Identity()


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.faults)])
def test_a_compiled_backbone_takes_the_same_steps(monkeypatch, backend):
    """PyTorch's default, inductor, compiles C++ for 15 seconds; the other backend only traces."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    monkeypatch.setitem(BACKBONES, "small", OneConvolution)
    eager, compiled = trainer(), trainer(compiled=True)
    for batch in batches():
        expected = eager.update(batch)
        assert compiled.update(batch) == pytest.approx(expected, rel=1e-4)
    for (name, one), (other, two) in zip(
        eager.network.state_dict().items(), compiled.network.state_dict().items(), strict=True
    ):
        assert name == other
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_metrics_that_are_read_late_are_the_same(monkeypatch, tmp_path):
    steps = [batch for _ in range(2) for batch in batches()][:4]
    results = {}
    for late in (False, True):
        made = trainer()
        made.reads_late = late
        given = [(0, b) for b in steps] + [(1, b) for b in steps]
        monkeypatch.setattr(loader, "batches", lambda *_, given=given: iter(given))
        file = LocalStorage(tmp_path).location(f"{late}.jsonl")
        log, reports = Log(file, 0), []
        run_epochs(made, log, lambda _, metrics, reports=reports: reports.append(metrics))
        results[late] = (read_metrics(file), reports)
    assert [row["step"] for row in results[False][0]] == list(range(8))
    assert [row["epoch"] for row in results[False][0]] == [0] * 4 + [1] * 4
    assert results[False] == results[True]


def test_a_checkpoint_holds_the_random_state_of_the_gpu(monkeypatch):
    made, device = trainer(), torch.device("cuda", 1)
    assert "random_gpu" not in made.state()
    states = {device: torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda on: states[on].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda new, on: states.update({on: new}))
    made.device = device
    state = made.state()
    states[device] += 1
    made.load({key: value for key, value in state.items() if key != "random_gpu"})
    assert states[device] == 8
    made.load(state)
    assert states[device] == 7
    made.device = torch.device("cpu")
    states[device] += 1
    made.load(state)
    assert states[device] == 8


def draws(monkeypatch, made: Trainer) -> list[float]:
    """Return the first random number of each remaining epoch, of one step each."""
    numbers = []

    def advance(epoch):
        numbers.append(torch.rand(()).item())
        made.step += 1
        return StepResult(step=epoch, names=("loss",), values=torch.ones(1), lr=0.1)

    monkeypatch.setattr(Plan, "steps", 1)
    monkeypatch.setattr(made, "advance", advance)
    monkeypatch.setattr(loader, "batches", lambda _, epochs, __: ((e, e) for e in epochs))
    run_epochs(made, None, lambda *_: None)
    return numbers


def test_each_of_several_workers_draws_numbers_of_its_own_also_after_a_checkpoint(monkeypatch):
    """Here a checkpoint of the first worker follows the first epoch."""
    undisturbed = [draws(monkeypatch, trainer(rank, 2)) for rank in range(2)]
    assert len({number for numbers in undisturbed for number in numbers}) == 4
    first = trainer(0, 2)
    first.epoch = first.step = 1
    state = first.state()
    for rank in range(2):
        resumed = trainer(rank, 2)
        resumed.load(state)
        assert draws(monkeypatch, resumed) == undisturbed[rank][1:]


def test_one_worker_goes_on_with_the_numbers_that_it_began_with(monkeypatch):
    made = trainer()
    state = torch.get_rng_state()
    expected = torch.rand(2).tolist()
    torch.set_rng_state(state)
    assert draws(monkeypatch, made) == expected


@pytest.mark.parametrize("late", [False, True])
def test_a_training_that_diverges_says_at_which_step(monkeypatch, late):
    made = trainer()
    made.reads_late = late
    made.first_loss = 1.0
    good, bad = list(batches())[:2]
    bad.images[0] = torch.nan
    given = [(0, good), (0, bad), (0, good), (0, good)]
    monkeypatch.setattr(loader, "batches", lambda *_: iter(given))
    with pytest.raises(InputError, match="diverged at step 1: the loss is nan"):
        run_epochs(made, None, lambda *_: None)


@pytest.mark.parametrize(("first", "limit"), [(0.3, 10), (4.0, 40)])
def test_a_loss_of_ten_times_the_first_has_diverged(first, limit):
    made = trainer()

    def step(number, loss):
        return StepResult(step=number, names=("loss",), values=torch.tensor([loss]), lr=0.1)

    made.read(step(0, first))
    made.read(step(1, limit - 0.1))
    with pytest.raises(InputError, match=r"lower training\.lr \(0\.1\) or momentum \(0\.9\)"):
        made.read(step(2, limit + 0.1))
