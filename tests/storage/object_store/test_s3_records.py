"""Tests of addresses, records and secrets of a store in a bucket."""

from __future__ import annotations

import json
import pickle

import pytest
from stored_artifacts import Compute, objects
from wsss.platform.cli import main
from wsss.platform.errors import InputError
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.progress_file import ProgressRecorder, read_progress
from wsss.platform.records.schema import RunRecord, Trial
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import open_store
from wsss.platform.tuning.journal import Journal, SweepPlan

RUN = RunRecord(
    name="a", method="cam", dataset="scenes", seed=0, experiment={}, digest="d",
    command="wsss run cam", machine="", versions={}, started="2026-01-01T00:00:00+0000",
    seconds=0.0, status="running",
)  # fmt: skip


@pytest.fixture
def store(bucket):
    return open_store(bucket)


WRONG = {
    "s3://": "is not the address of a store",
    "s3://b/../x": "is not the address of a store",
    "s3://key:hush@bucket/x": "is not the address of a store",
    "s3://key:a/hush+b/c@bucket/x": "is not the address of a store",
    "s3://bucket/x?secret_key=hush": "is not the address of a store",
    "gs://bucket/x": "is not the address of a store",
    "s3://no-such-bucket/x": "there is no bucket s3://no-such-bucket at http://127.0.0.1",
}


@pytest.mark.parametrize("where", WRONG)
def test_a_wrong_address_is_reported_in_one_sentence(bucket, capsys, where):
    assert main(["doctor", "--store", where]) == 2
    message = capsys.readouterr().err
    assert WRONG[where] in message
    assert message.count("\n") == 1
    assert "hush" not in message


def test_a_server_that_is_away_is_reported_in_one_sentence(bucket, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert main(["run", "cam", "--store", bucket]) == 2
    message = capsys.readouterr().err
    assert "cannot be used" in message
    assert message.count("\n") == 1


def test_a_missing_data_set_is_named(bucket, capsys):
    assert main(["run", "cam", "--store", bucket]) == 2
    assert "there is no data set 'scenes' in the store s3://" in capsys.readouterr().err


def test_trials_of_a_sweep_are_read_on_another_machine(store, bucket, elsewhere):
    journal = Journal(store, "s")
    trial = Trial(id="0000", params={"a": 1}, status="done", seconds=1.0, value=0.5)
    with journal.lock():
        journal.begin(SweepPlan(digest="d", trials=2, command="c"))
        journal.add(trial)
        journal.add(Trial(id="0001", params={"a": 2}, status="failed", seconds=1.0, error="e"))
    elsewhere()
    other = Journal(open_store(bucket), "s")
    assert [t.id for t in other.trials()] == ["0000", "0001"]
    with pytest.raises(InputError, match="broken off after 2 of 2"):
        other.check("d", resume=False)


def test_progress_is_read_from_the_bucket_until_the_end(store, bucket, elsewhere):
    folder = store.location("runs", "a")
    recorded = ProgressRecorder(ProgressDisplay())
    with recorded.track(folder, RUN):
        recorded.plan(["one"])
        recorded.start("one")
        state = read_progress(folder)
        assert state
        assert (state.alive, state.step) == (True, 1)
    assert read_progress(folder) is None
    assert objects(store, "") == {}


def test_no_secret_is_written_or_pickled(store, stage, tmp_path):
    store.get(stage, Compute())
    write_json(store.location("runs", "a", "run.json"), {"b": 1})
    for name in objects(store, ""):
        assert b"the-secret-key" not in store.storage.read(name)
    for path in (tmp_path / "cache").rglob("*"):
        assert path.is_dir() or b"the-secret-key" not in path.read_bytes()
    assert "the-secret-key" not in json.dumps(store.open("thing", stage.key).manifest)
    connection = store.storage.bucket.filesystem
    pickled = pickle.dumps([connection, store, store.open("thing", stage.key)])
    assert b"the-secret-key" not in pickled
    assert pickle.loads(pickled)[0].__reduce__() == connection.__reduce__()
