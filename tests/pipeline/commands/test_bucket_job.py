"""Tests of the main job with its store in a bucket: each command runs as on another machine, for
the cached files of earlier commands are deleted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANG
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import read_run, read_sweep
from wsss.platform.storage.object_store.bucket import Bucket
from wsss.platform.storage.store import open_store

SCRIPT = """
import shutil, sys
from pathlib import Path
from wsss.platform.storage import filesystem
from wsss.platform.cli import main

where, out = sys.argv[1], Path(sys.argv[2])
changes = ("training.epochs=2", "training.batch_size=8", "views.scales=(1.0,)")
small = [word for change in changes for word in ("--set", change)]

def call(*words):
    print("$", *words, flush=True)
    code = main([*words, "--store", where])
    print("code", code, flush=True)
    if code:
        sys.exit(code)
    shutil.rmtree(filesystem.cache() / "s3", ignore_errors=True)  # doctor keeps nothing

call("data", "scenes", "--train", "32", "--val", "16")
call("run", "lpcam", *small, "--refine", "crf", "--name", "first", "--page", str(out / "page"))
call("run", "lpcam", *small, "--refine", "crf", "--name", "first", "--page", str(out / "page"))
(out / "rates.py").write_text('SPACES = {"rates": {"training.lr": [0.01, 0.02]}}')
call("sweep", "lpcam", *small, "--trials", "2", "--scheduler", "asha", "--seed", "1",
     "--space", f"{out}/rates.py:rates", "--name", "some", "--page", str(out / "page"))
call("report", str(out / "report"))
call("export", str(out / "png"), "--to", "png", "--what", "lpcam/crf", "--run", "first")
call("doctor", "--verify")
"""

TRAINING = """
import sys
from wsss.platform.data import registry
from wsss.platform.tuning import trial
from wsss.platform.storage.store import open_store
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records.progress import ProgressDisplay

store, part = open_store(sys.argv[1]), sys.argv[2]
changes = {"training.epochs": 2, "training.batch_size": 8, "views.scales": (1.0,)}
if part == "first":
    registry.add(store, Scenes(train=24, val=8), "scenes", ProgressDisplay())
pipeline = Execution.of(store, build_experiment("cam", preset="scenes", changes=changes))
if part == "first":
    trial.score_rung(pipeline, "val", 1, True)
    file = pipeline.runtime.home(pipeline.plan.network).with_suffix(".jsonl")
    print("metrics", file.read().decode())
else:
    pipeline.execute(before=pipeline.plan.maps[pipeline.plan.subject]["train"])
    file = store.open("network", pipeline.plan.network.key).file("metrics.jsonl")
    print("metrics", file.read().decode())
"""

named = ResultId.parse


def run_script(*words: str, **environment: str) -> str:
    """Return what a script prints; the script must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", *words],
        capture_output=True,
        text=True,
        timeout=HANG,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.faults
@pytest.mark.timeout(2 * HANG)
def test_a_training_continues_on_another_machine(bucket: str, tmp_path: Path) -> None:
    first, whole = (
        run_script(TRAINING, bucket, half, WSSS_CACHE=str(tmp_path / half)).partition("metrics ")[2]
        for half in ("first", "second")
    )
    assert whole.startswith(first.rstrip())
    steps = [json.loads(line)["step"] for line in whole.splitlines() if line]
    assert steps == list(range(6))
    assert len(first.split("\n")) < len(whole.split("\n"))
    assert not Bucket(bucket.removeprefix("s3://")).objects("training")


@pytest.mark.faults
@pytest.mark.timeout(2 * HANG)
def test_the_main_job_works_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    out, store = run_script(SCRIPT, bucket, str(tmp_path)), open_store(bucket)
    assert "run first: nothing to do" in out
    assert "damaged" not in out
    run = read_run(store.location("runs", "first", "run.json"))
    assert run.scores[named("lpcam/crf")]["val"].n == 16
    sweep = read_sweep(store.location("sweeps", "some", "sweep.json"))
    better, worse = sorted(sweep.trials, key=lambda trial: trial.rungs[0][1], reverse=True)
    assert better.status == "done"
    assert worse.status in ("done", "stopped")  # it goes on if it reports before the better one
    done = 1 + (worse.status == "done")
    assert f"sweep some: {done} of 2 trials" in out
    assert sweep.best is not None
    assert (tmp_path / "report" / "index.html").is_file()
    assert len(list((tmp_path / "png").glob("*.png"))) == 16
    objects = Bucket(bucket.removeprefix("s3://"))
    names = list(objects.objects(""))
    kinds = {name.partition("/")[0] for name in names}
    assert kinds == {"artifacts", "data", "runs", "sweeps"}  # no training, trial or lock is left
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    for name in names:
        assert secret.encode() not in objects.read(name)


@pytest.mark.faults
@pytest.mark.timeout(2 * HANG)
def test_damage_that_a_worker_finds(bucket: str, tmp_path: Path) -> None:
    """Objects of a store change before a job continues on another machine: each command names a
    damaged artifact in one sentence, and the same command computes it again."""

    def call(machine: str, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "wsss.platform.cli", *words, "--store", bucket],
            capture_output=True,
            text=True,
            timeout=HANG,
            env={**os.environ, "WSSS_CACHE": str(tmp_path / machine)},
        )
        return done.returncode, done.stdout + done.stderr

    changes = ("training.epochs=1", "training.batch_size=8", "views.scales=(1.0,)")
    small = [word for change in changes for word in ("--set", change)]
    assert call("one", "data", "scenes", "--train", "24", "--val", "8")[0] == 0
    assert call("one", "run", "lpcam", *small)[0] == 0
    store, objects = open_store(bucket), Bucket(bucket.removeprefix("s3://"))
    for stage, suffix in (("maps", ".npy"), ("network", ".pt")):
        for name in objects.objects(f"artifacts/{stage}"):
            if f"{suffix}~" in name:
                data = bytearray(objects.read(name))
                data[len(data) // 2] ^= 1
                objects.write(name, bytes(data))
    command = ("run", "lpcam", *small, "--set", "lpcam.tau=0.4", "--refine", "crf")
    for _ in range(6):  # each names one artifact: a network, and maps of two splits
        code, output = call("other", *command)
        assert "Traceback" not in output, output
        if code == 0:
            break
        assert code == 2, output
        assert "does not match its SHA-256" in output, output
    assert code == 0, output
    faults = store.faults()
    assert len(faults) >= 2, faults
    assert all("does not match its SHA-256" in fault for fault in faults)
