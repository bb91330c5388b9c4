"""The main job with its store in a bucket: data, a run, a sweep that stops trainings, a report, an
export; between commands this machine forgets every file, as if the next ran on another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wsss.platform import places
from wsss.platform.bucket import open_store
from wsss.platform.runs import read_run, read_sweep

SCRIPT = """
import shutil, sys
from pathlib import Path
from wsss.platform import places
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
    shutil.rmtree(places.cache() / "s3")

call("data", "scenes", "--train", "32", "--val", "16")
call("run", "lpcam", *small, "--refine", "crf", "--name", "first", "--page", str(out / "page"))
call("run", "lpcam", *small, "--refine", "crf", "--name", "first", "--page", str(out / "page"))
call("sweep", "lpcam", *small, "--trials", "2", "--scheduler", "asha", "--seed", "1",
     "--name", "some", "--page", str(out / "page"))
call("report", str(out / "report"))
call("export", str(out / "png"), "--to", "png", "--what", "lpcam-crf", "--run", "first")
call("doctor", "--verify")
"""


@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_the_main_job_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, bucket, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=1150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    store, out = open_store(bucket), done.stdout
    assert "run first: nothing to do" in out
    assert "2 of 2 trials" in out
    assert "damaged" not in out
    run = read_run(store.root / "runs" / "first" / "run.json")
    assert run.scores["lpcam-crf"]["val"].n == 16
    sweep = read_sweep(store.root / "sweeps" / "some" / "sweep.json")
    assert sweep.best is not None
    assert (tmp_path / "report" / "index.html").is_file()
    assert len(list((tmp_path / "png").glob("*.png"))) == 16
    start = places.object_of(store.root)
    found = [i.path.removeprefix(f"{start}/") for i in places.listing(start) if i.is_file]
    kinds = {name.partition("/")[0] for name in found}
    assert kinds == {"artefacts", "data", "runs", "sweeps"}  # no training, trial or lock is left
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert secret not in out + done.stderr
    for name in found:
        with places.stream(f"{start}/{name}") as stream:
            assert secret.encode() not in stream.read()
