"""Tests that runs say and keep how their weight files were read, and which network was read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_jobs import SMALL_WORDS
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment, find_method
from wsss.platform.models import weights
from wsss.platform.models.backbones import build
from wsss.platform.pipeline import run_record
from wsss.platform.pipeline.checks.trainings import check_files
from wsss.platform.pipeline.context import Catalog, Context, Runtime, Step, TrainingTask
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.planner import plan
from wsss.platform.pipeline.segment import backbone_of
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.schema import StageRecord
from wsss.platform.storage.artifact import Artifact, Stage
from wsss.platform.storage.artifact_files import ArtifactFolder, LocalFolder
from wsss.platform.storage.store import Store

NOTE = "weights two.pth: read from 'teacher', prefix 'backbone.' removed"


class Notes(ProgressDisplay):
    """Display that keeps remarks."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def two_networks(tmp_path: Path) -> str:
    """A weight file of a student and a teacher with other values."""
    state = build("small").state_dict()
    teacher = {f"backbone.{name}": value + 1 for name, value in state.items()}
    torch.save({"student": state, "teacher": teacher}, tmp_path / "two.pth")
    return str(tmp_path / "two.pth")


NOWHERE = LocalFolder(Path("nowhere"))
STAGE = Stage(name="network", version=1, config={}, inputs={}, title="train cam")


def trained(runtime: Runtime, network: Network, folder: ArtifactFolder = NOWHERE) -> dict[str, Any]:
    """Return the notes for the manifest of a training, which is not carried out."""
    context: Any = SimpleNamespace(
        classes=["ant"], pieces=lambda split: (), experiment=SimpleNamespace(seed=0)
    )
    kind: Any = find_method("cam")
    task = TrainingTask(
        learner=kind(kind.Config()),
        network=network,
        training=Training(),
        split="train",
    )
    return runtime.train(context, folder, STAGE, task)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the training itself, after all that comes before it."""
    from wsss.platform.ray_runtime import cluster
    from wsss.platform.stages.training import ray_train

    monkeypatch.setattr(cluster, "connect", lambda: None)
    monkeypatch.setattr(ray_train, "fit", lambda *arguments: {"steps": 3})


@pytest.mark.usefixtures("no_training")
def test_a_training_says_and_keeps_how_its_weights_were_read(
    two_networks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(Store(tmp_path / "store"), Notes())
    state = torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: 1 / 0)
    network = Network(backbone="small", weights=two_networks, weights_key="teacher")
    assert trained(runtime, network) == {"steps": 3, "weights": [NOTE]}
    assert runtime.progress.texts == [NOTE]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="choose one, such as --weights-key teacher"):
        trained(runtime, Network(backbone="small", weights=two_networks))
    assert trained(runtime, Network(backbone="small")) == {"steps": 3, "weights": []}
    assert torch.equal(torch.get_rng_state(), state), "a script goes on with its random numbers"


@pytest.mark.usefixtures("no_training")
def test_weights_that_are_checked_before_any_stage_are_read_once(
    two_networks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, display = weights.load, Notes()
    read: list[str] = []

    def note(*arguments: Any) -> str:
        read.append(arguments[1])
        return load(*arguments)

    monkeypatch.setattr(weights, "load", note)
    network = Network(backbone="small", weights=two_networks, weights_key="teacher")
    kind: Any = find_method("cam")
    step = Step(
        STAGE,
        lambda runtime, folder: trained(runtime, network, folder),
        check=partial(check_files, network, kind(kind.Config()), 1),
    )
    shards = SimpleNamespace(about={})
    planned: Any = SimpleNamespace(steps=[step], context=SimpleNamespace(shards=shards))
    execution = Execution(Store(tmp_path / "store"), planned, display)
    execution.execute()
    assert read == [two_networks]
    assert execution.done[STAGE.key][0].about == {"steps": 3, "weights": [NOTE]}
    assert display.texts == [NOTE]


class OneDataSet(Catalog):
    """Catalog of one data set, for which no file is read."""

    def dataset(self, name: str) -> Artifact:
        about = {"classes": ["ant"], "splits": ["train", "val"], "source": "scenes"}
        return Artifact(LocalFolder(Path("nowhere")), {"key": "ab" * 32, "about": about})


def test_the_record_of_a_run_keeps_each_sentence_once(tmp_path: Path) -> None:
    planned = plan(
        build_experiment("cam", preset="scenes"), OneDataSet(Store(tmp_path / "none"), False)
    )
    stage = StageRecord(stage="network", title="train", key="ab", seconds=1.0, cached=False)
    done = {
        str(number): (Artifact(LocalFolder(tmp_path), {"about": about}), stage)
        for number, about in enumerate(({"weights": [NOTE]}, {}, {"weights": [NOTE]}))
    }
    execution: Any = SimpleNamespace(plan=planned, done=done, read_scores=dict)
    record = run_record.ended_run(
        execution, "mine", "wsss run cam", "2026-01-01T00:00:00+0000", 1.0
    )
    assert record.notes == (NOTE,)


@pytest.mark.parametrize(
    ("changes", "weights_key"),
    [
        ({}, "teacher"),
        ({"segment.backbone": "small"}, "teacher"),
        ({"segment.weights_key": "student"}, "teacher"),
        ({"segment.weights": "WEIGHTS"}, ""),
        ({"segment.weights": "WEIGHTS", "segment.weights_key": "student"}, "student"),
        (
            {
                "segment.backbone": "resnet18",
                "segment.weights": "WEIGHTS",
                "segment.weights_key": "student",
            },
            "student",
        ),
    ],
)
def test_a_segmenter_takes_the_key_that_belongs_to_its_file(
    two_networks: str, tmp_path: Path, changes: dict[str, str], weights_key: str
) -> None:
    files = {k: two_networks if v == "WEIGHTS" else v for k, v in changes.items()}
    experiment = build_experiment(
        "cam",
        preset="scenes",
        changes={
            "network.backbone": "small",
            "network.weights": two_networks,
            "network.weights_key": "teacher",
            "segment.network": "deeplabv2",
            **files,
        },
    )
    context = Context(experiment, OneDataSet(Store(tmp_path / "none"), False))
    assert backbone_of(context).weights_key == weights_key


def test_another_key_gives_another_network(two_networks: str, tmp_path: Path) -> None:
    catalog = OneDataSet(Store(tmp_path / "none"), False)
    keys = set()
    for key in ("", "teacher", "student"):
        changes = {"network.weights": two_networks, "network.weights_key": key}
        planned = plan(build_experiment("cam", preset="scenes", changes=changes), catalog)
        assert planned.network
        keys.add(planned.network.key)
    assert len(keys) == 3


def test_a_sweep_reads_the_weights_of_its_segmenter_before_its_trials(
    wsss: Any, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No trial trains the segmenter."""
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    monkeypatch.setattr("wsss.platform.tuning.scored_sweep.run", lambda *_, **__: 1 / 0)
    fields = ("--segment=deeplabv2", f"--set=segment.weights={tmp_path / 'other.pth'}")
    code, out, err = wsss("sweep", "lpcam", *SMALL_WORDS, "--trials", "2", *fields)
    assert (code, out) == (2, "")
    assert "other.pth does not fit small" in err
