"""Tests of the pages of a store with damaged records or records from other time zones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from drawn_records import make_run, make_score, make_sweep
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.records import Records
from wsss.dashboards.site import Site
from wsss.platform.errors import InputError
from wsss.platform.records.schema import SpeedRecord, SpeedRow
from wsss.platform.serialization import as_json
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.local_storage import LocalStorage
from wsss.platform.storage.storage import Location
from wsss.platform.storage.store import Store

EARLY, LATE = "2026-10-25T02:30:00+0200", "2026-10-25T02:10:00+0100"
"""Times forty minutes apart when daylight saving ends; as texts they sort the other way round."""


def page(store: Store, path: str) -> str:
    return (Site(store).file(path) or b"").decode()


def test_times_are_compared_as_instants(tmp_path: Path) -> None:
    for name, started in (("early", EARLY), ("late", LATE)):
        run = dataclasses.replace(make_run(name=name), started=started)
        write_json(LocalStorage(tmp_path).location("runs", name, "run.json"), run)
        sweep = dataclasses.replace(make_sweep(4), started=started)
        write_json(LocalStorage(tmp_path).location("sweeps", name, "sweep.json"), sweep)
        rows = (SpeedRow(stage="maps", unit="images/s", ours=2.0, peer=1.0),)
        speed = SpeedRecord(name=name, started=started, machine="2 cores", rows=rows)
        write_json(LocalStorage(tmp_path).location("speeds", f"{name}.json"), speed)
    records = Records(Store(tmp_path))
    assert list(records.runs()) == list(records.sweeps()) == ["late", "early"]
    assert [r.name for r in records.speeds()] == ["late", "early"]
    overview = page(Store(tmp_path), "index.html")
    assert 'data-v="2026-10-25T00:30:00+00:00">2026-10-25 02:30<' in overview
    assert 'data-v="2026-10-25T01:10:00+00:00">2026-10-25 02:10<' in overview
    assert '["2026-10-25 00:30:00","2026-10-25 01:10:00"]' in page(Store(tmp_path), "speed.html")


def stopped_run(store: Store, started: str, key: str) -> Location:
    """Write a run "a" that stopped in the stage `key` and return its progress file."""
    run = make_run(name="a")
    stages = tuple(dataclasses.replace(s, stage="maps", key=key) for s in run.stages[:1])
    run = dataclasses.replace(run, started=started, stages=stages, scores={})
    row = {"titles": ["maps"], "step": 1, "text": "", "done": 1, "total": 2, "record": run}
    file = store.location("runs", "a", "progress.json")
    write_json(file, row)
    return file


@pytest.mark.parametrize(("started", "cached"), [(EARLY, False), (LATE, True)])
def test_a_stage_is_cached_if_it_is_older_than_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str, cached: bool
) -> None:
    written = "2026-10-25T02:50:00+0200"  # between EARLY and LATE
    monkeypatch.setattr("wsss.platform.storage.store.time.strftime", lambda form: written)
    store = Store(tmp_path)
    stage = Stage(name="maps", version=1, config={})
    store.get(stage, lambda folder: {})
    stopped_run(store, started, stage.key)
    entry = Records(store).run("a")
    assert entry is not None
    assert [s.cached for s in entry.record.stages] == [cached]


def test_a_malformed_time_is_named_as_a_fault(tmp_path: Path) -> None:
    for name, started in (("text", "yesterday"), ("local", "2026-10-25T02:30:00")):
        row = as_json(make_run(name=name)) | {"started": started}
        write_json(LocalStorage(tmp_path).location("runs", name, "run.json"), row)
    records = Records(Store(tmp_path))
    assert records.runs() == {}
    assert "'yesterday' is not a time" in records.faults["runs", "text"]
    assert "it has no offset" in records.faults["runs", "local"]


def test_faults_of_a_run_and_a_sweep_of_one_name_are_both_named(tmp_path: Path) -> None:
    for path in ("runs/a/run.json", "sweeps/a/sweep.json"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("{}")
    overview = page(Store(tmp_path), "index.html")
    assert overview.count("lacks the field") == 2


def test_a_damaged_manifest_leaves_its_run_on_the_overview(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stopped_run(store, EARLY, "ab" * 32)
    store.manifest("maps", "ab" * 32).write(b"[]")
    overview = page(store, "index.html")
    assert 'href="run.a.html"' in overview
    assert '<span class="pill bad">damaged</span>' in overview
    assert "manifest.json is not a manifest" in overview
    assert "manifest.json is not a manifest" in page(store, "run.a.html")


def test_a_training_log_damaged_by_a_power_cut_is_still_read(tmp_path: Path) -> None:
    store, key = Store(tmp_path), "ab" * 32
    file = stopped_run(store, EARLY, key)
    row = json.loads(file.read())
    row["record"]["stages"][0]["stage"] = "network"
    write_json(file, row)
    lines = store.storage.local_folder / "training" / f"{key[:32]}.jsonl"
    lines.parent.mkdir()
    whole = b'{"epoch": 0, "step": 0, "steps": 9, "loss": 1.5, "lr": 0.1}\n'
    lines.write_bytes(whole + b"\0" * 30 + b"}\n" + b'{"a": ' * 100_000 + b"}\n")
    assert "step 1 of 9" in page(store, "run.a.html")
    lines.unlink()
    lines.mkdir()
    assert "is not a regular file" in page(store, "run.a.html")


def test_a_score_of_another_split_is_a_damaged_record(tmp_path: Path) -> None:
    run = as_json(make_run())
    run["scores"]["lpcam"]["val"] = dataclasses.asdict(make_score("train"))
    write_json(LocalStorage(tmp_path).location("runs", "demo", "run.json"), run)
    Site(Store(tmp_path)).write(tmp_path / "report")
    text = (tmp_path / "report" / "index.html").read_text()
    assert "the score of lpcam on val names split &#39;train&#39;" in text


def test_maps_of_another_data_set_are_refused(store: Store) -> None:
    entry = Records(store).run("run-0")
    assert entry is not None
    run, artifacts = entry.record, ArtifactCache(store)
    key = run.maps["cam"]["val"] if "cam" in run.maps else next(iter(run.maps.values()))["val"]
    (piece, *_) = artifacts.pieces(run.shards, "val")
    with pytest.raises(InputError, match="lacks image nobody: it is of another data set"):
        artifacts.maps(key, piece)["nobody"]


def test_a_stray_file_among_the_runs_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("")
    records = Records(Store(tmp_path))
    assert (records.runs(), records.faults) == ({}, {})


def test_a_damaged_progress_file_leaves_a_finished_record_done(tmp_path: Path) -> None:
    for path, record in (("runs/a/run.json", make_run()), ("sweeps/a/sweep.json", make_sweep(4))):
        write_json(LocalStorage(tmp_path).location(path), record)
        (tmp_path / path).with_name("progress.json").write_text("[]")
    records = Records(Store(tmp_path))
    assert [e.status for e in (records.runs()["a"], records.sweeps()["a"])] == ["done", "done"]
