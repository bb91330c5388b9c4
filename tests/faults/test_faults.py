"""Tests that killed processes, full disks and damaged files cost time and nothing else.

Each job is a command in its own process, with Ray. Its artifacts are compared with those of an
undisturbed job: the same keys, and the same bytes in each file.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from disturbed import CHAIN, DATA, Fault, Job
from limits import HANG
from wsss.platform.records.schema import read_run
from wsss.platform.storage.local_storage import LocalStorage

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2 * HANG)]

SLICED = Fault("platform.stages.prototypes.clustering:BYTES_PER_HOLDER", call=1, act="set")
"""Without this setting, one holder in the driver has all features of so few images."""
WORKERS = (
    Fault("platform.data.formats.shards:write_shard"),
    Fault("methods.cam:CAM.losses", call=5),
    Fault("platform.stages.inference.class_maps:Infer.work"),
    Fault("platform.stages.prototypes.holder:Holder.totals", call=2),
    Fault("platform.stages.prototypes.similarities:file_similarities"),
    Fault("platform.stages.prototypes.class_maps:file_maps"),
    Fault("platform.stages.labels.pseudo_labels:label_slice"),
    Fault("platform.stages.training.label_learners:Boundaries.losses", call=2),
    Fault("platform.stages.inference.propagation:Walk.work"),
    Fault("platform.stages.training.label_learners:Segmenter.losses", call=2),
    Fault("platform.stages.inference.segmentation:Predict.work"),
    Fault("platform.stages.labels.scoring:score_slice"),
)
"""Workers of each stage: a task, an actor, or a training at a step."""

DRIVER = (
    Fault("platform.stages.training.trainer:Trainer.advance", call=5, act="driver"),
    Fault("platform.stages.prototypes.holder:Holder.totals", call=3, act="driver"),
    Fault("platform.stages.labels.pseudo_labels:label_slice", act="driver"),
    Fault("platform.stages.training.label_learners:Segmenter.losses", call=2, act="driver"),
)

FULL = (
    Fault("platform.data.formats.class_maps:write", act="full"),
    Fault("platform.stages.training.trainer:Trainer.state", act="full"),
    Fault("platform.stages.labels.pseudo_labels:label_slice", act="full"),
    Fault("platform.storage.manifests:new_manifest", call=2, act="full"),
)


def test_killed_workers_of_every_stage_change_no_result(
    job: Job, undisturbed: dict[str, Any]
) -> None:
    job.run(DATA, WORKERS[:1])
    job.run(CHAIN, [*WORKERS[1:], SLICED])
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_killed_worker_of_superpixels_changes_no_result(job: Job, tmp_path: Path) -> None:
    """SSC needs superpixels; the method of the chain does not."""
    changes = ("training.epochs=1", "training.batch_size=8", "views.scales=(1.0,)")
    words = ("run", "ssc", "--quiet", *(w for change in changes for w in ("--set", change)))
    whole = Job(tmp_path / "whole", tmp_path / "none")
    for one, faults in (
        (whole, ()),
        (job, (Fault("platform.stages.labels.superpixels:slice_regions"),)),
    ):
        one.run(DATA)
        one.run(words, faults)
    assert len(job.result()["superpixels"]) == 1
    assert job.result() == whole.result()
    assert job.tidy()


def test_a_killed_driver_changes_no_result(job: Job, undisturbed: dict[str, Any]) -> None:
    job.run(DATA)
    for fault in DRIVER:
        code, output = job.call(CHAIN, [fault, SLICED])
        assert (code, job.mark(fault).exists()) == (-signal.SIGKILL, True), output
        for stage, digests in job.result().items():
            assert digests.items() <= undisturbed[stage].items()
    job.run(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()


def test_a_full_disk_ends_a_command_and_changes_no_result(
    job: Job, undisturbed: dict[str, Any]
) -> None:
    job.run(DATA)
    for fault in FULL:
        code, output = job.call(CHAIN, [fault])
        assert code == 2, output
        assert "is full" in output
        assert "Traceback" not in output
        assert not list(Path(job.store).glob("attempts/*"))
    job.run(CHAIN)
    assert job.result() == undisturbed
    assert job.tidy()


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_damaged_files_are_computed_again_or_refused(job: Job, undisturbed: dict[str, Any]) -> None:
    """One file of each stage is damaged, once a manifest; only a user can make shards again."""
    job.run(DATA)
    job.run(CHAIN)
    root = Path(job.store) / "artifacts"
    for stage in sorted(undisturbed):
        folder = next((root / stage).iterdir())
        if stage != "shards":
            flip(folder / "manifest.json" if stage == "scores" else max(folder.rglob("*.*")))
    job.run(CHAIN)
    assert job.result() == undisturbed
    assert "quarantine" in job.call(("doctor",))[1]
    flip(next((root / "shards").glob("*/*.parquet")))
    code, output = job.call(CHAIN)
    assert code == 2
    assert "quarantine" in output
    job.run(DATA)
    job.run(CHAIN)
    assert job.result() == undisturbed


def test_a_training_with_a_damaged_checkpoint_begins_again(
    job: Job, undisturbed: dict[str, Any]
) -> None:
    job.run(DATA)
    fault = Fault("platform.stages.training.trainer:Trainer.advance", call=5, act="driver")
    job.call(CHAIN, [fault])
    (state,) = Path(job.store).glob("training/*/*/state.pt")
    flip(state)
    job.run(CHAIN)
    assert "its checkpoint does not match" in job.call(("doctor",))[1]
    assert job.result() == undisturbed
    assert job.tidy()


def test_two_drivers_on_one_store_compute_each_stage_once(
    job: Job, undisturbed: dict[str, Any]
) -> None:
    job.run(DATA)
    both = [job.start((*CHAIN, "--name", name)) for name in ("one", "two")]
    for process in both:
        out, err = process.communicate(timeout=HANG)
        assert process.returncode == 0, out + err
    runs = LocalStorage(Path(job.store)).location("runs")
    records = [read_run(runs / name / "run.json") for name in ("one", "two")]
    stages = [stage for record in records for stage in record.stages]
    assert sorted(s.key for s in stages if not s.cached) == sorted({s.key for s in stages})
    assert job.result() == undisturbed
    assert job.tidy()
