"""Fuzz tests of records and manifests that are damaged, or were written by another program."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hostile import FOLDER, NESTED, PIPE, altered, attempt, damaged, fuzz, odd, put
from hypothesis import example, given
from hypothesis import strategies as st
from wsss.dashboards.site import Site
from wsss.platform.cli.sweep_commands import leaders
from wsss.platform.cli.tables import as_csv, as_markdown, score_table
from wsss.platform.data import registry
from wsss.platform.interop import imports
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import (
    RunRecord,
    Score,
    StageRecord,
    SweepRecord,
    Trial,
    read_run,
    read_sweep,
)
from wsss.platform.serialization import as_json, digest
from wsss.platform.storage.artifact import Artifact, Stage
from wsss.platform.storage.artifact_files import MANIFEST, ArtifactFolder
from wsss.platform.storage.storage import Location
from wsss.platform.storage.store import Store
from wsss.platform.tuning.ranking import ranking

SCORE = Score(
    split="val",
    n=4,
    classes=("background", "cat", "dog"),
    scored=(0, 1, 2),
    rule="a rule",
    thresholds=(0.1, 0.2, 0.3),
    miou=(0.3, 0.5, 0.4),
    threshold=0.2,
    threshold_from="train",
    iou=(0.9, 0.3, None),
    false_positives=0.1,
    false_negatives=0.2,
    precision=0.6,
    recall=0.7,
    parts={"discriminative": 0.9, "other": 0.5, "context": 0.2},
    boundary=0.4,
    confusion=((5, 1, 0), (1, 4, 0), (0, 0, 0)),
)
RUN = RunRecord(
    name="a-run",
    method="lpcam",
    dataset="scenes",
    seed=0,
    experiment={"method": "lpcam", "training": {"epochs": 2}},
    digest="d" * 64,
    command="wsss run lpcam",
    machine="2 cores",
    versions={"python": "3.11"},
    started="2026-01-01T00:00:00+0000",
    seconds=3.5,
    shards="s" * 64,
    network="n" * 64,
    stages=(StageRecord(stage="maps", title="maps", key="k" * 64, seconds=1.0, cached=False),),
    scores={ResultId(localizer="lpcam"): {"val": SCORE}},
    maps={ResultId(localizer="lpcam"): {"val": "m" * 64}},
)
TRIALS = tuple(
    Trial(
        id=f"{k:04d}",
        params={"lpcam.tau": 0.1 * k, "lpcam.flag": "a"},
        status="done" if k else "failed",
        seconds=1.0,
        value=0.2 * k if k else None,
        score=SCORE if k else None,
        error=None if k else "it failed",
    )
    for k in range(3)
)
SWEEP = SweepRecord(
    name="a-sweep",
    method="lpcam",
    dataset="scenes",
    split="val",
    space={"lpcam.tau": [0.1, 0.2], "lpcam.flag": ["a", "b"]},
    default={"lpcam.tau": 0.1, "lpcam.flag": "a"},
    trials=TRIALS,
    best="0002",
    run="a-run",
    command="wsss sweep lpcam",
    started="2026-01-01T00:00:00+0000",
    seconds=9.0,
    digest="e" * 64,
)
RUN_ROW = as_json(RUN)
SWEEP_ROW = as_json(SWEEP)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def pages(store: Store) -> list[str]:
    """Make or refuse each page of a store in one sentence; return the paths of the pages made."""
    site = Site(store)
    paths = attempt(lambda: list(site.paths())) or []
    return [p for p in paths if p.endswith((".html", "run.js")) and attempt(site.file, p)]


def write_record(store: Store, kind: str, data: bytes) -> Location:
    """Write the record of the run or sweep "a" and return its location."""
    file = store.location(f"{kind}s", "a", f"{kind}.json")
    put(store.storage.local_folder / file.name, data)
    return file


def test_a_record_is_read_back_unchanged(given_folder: Path) -> None:
    store = Store(given_folder / "whole")
    assert read_run(write_record(store, "run", encoded(RUN_ROW))) == RUN
    assert read_sweep(write_record(store, "sweep", encoded(SWEEP_ROW))) == SWEEP
    assert {"index.html", "run.a.html", "sweep.a.html"} <= set(pages(store))


STOPPED = {"titles": ["maps"], "step": 1, "text": "", "done": 1, "total": 2}
SPEED = {"name": "a", "started": RUN.started, "machine": "2 cores", "rows": []}
STAGE_MANIFEST = {"seconds": 2.0, "written": "2026-01-01T00:00:00+0100"}
KEY = "k" * 64
SEALED = b'{"seal": 1}'
REPORTED = {
    "runs/a/run.json": RUN_ROW,
    "runs/b/progress.json": {**STOPPED, "record": RUN_ROW},
    f"artifacts/maps/{KEY}/manifest.json": STAGE_MANIFEST,
    "sweeps/a/sweep.json": SWEEP_ROW,
    "sweeps/b/progress.json": {**STOPPED, "record": {**SWEEP_ROW, "trials": []}},
    "speeds/a.json": SPEED,
}
"""Content of each file whose damage the overview reports."""
UNREPORTED = {
    "runs/b/progress.lock": b"",
    "sweeps/b/trials.jsonl": b"".join(encoded(trial) + b"\n" for trial in SWEEP_ROW["trials"]),
    f"training/{KEY[:32]}.jsonl": b'{"epoch": 0, "step": 0, "loss": 1.5, "steps": 4}\n',
}
"""Content of further files of a store, whose damage the overview need not report."""


def fill_store(root: Path) -> Store:
    """Write a store with runs and sweeps "a", done, and "b", stopped."""
    for name, value in REPORTED.items():
        put(root / name, encoded(value))
    for name, data in UNREPORTED.items():
        put(root / name, data)
    return Store(root)


def split_overview(store: Store) -> tuple[str, str]:
    """Return the overview before and after the heading of damaged files; it must always be made."""
    text = (Site(store).file("index.html") or b"").decode()
    sound, _, broken = text.partition('<section id="faults"')
    return sound, broken


def test_an_undamaged_store_reports_no_damage(given_folder: Path) -> None:
    sound, broken = split_overview(fill_store(given_folder / "sound"))
    assert broken == ""
    for page in ("run.a", "run.b", "sweep.a", "sweep.b", "speed"):
        assert f'href="{page}.html"' in sound


@pytest.mark.parametrize("name", REPORTED)
@fuzz(10)
@given(odd | st.just(SEALED))
@example(FOLDER)
@example(PIPE)
def test_a_damaged_file_is_named(given_folder: Path, name: str, content: bytes | str) -> None:
    store = fill_store(given_folder / "damaged")
    put(store.storage.local_folder / name, content)
    _, broken = split_overview(store)
    assert f">{'b' if KEY in name or '/b/' in name else name.split('/')[1]}</strong>: " in broken
    assert broken.count("<li>") == 1
    if content in (FOLDER, PIPE, SEALED):  # the next test makes the pages of other contents
        pages(store)


@pytest.mark.parametrize("name", [*REPORTED, *UNREPORTED])
@fuzz(8)
@given(data=st.data())
def test_the_overview_is_always_made(given_folder: Path, name: str, data: st.DataObject) -> None:
    store = fill_store(given_folder / "any")
    path = store.storage.local_folder / name
    whole = path.read_bytes()
    put(path, data.draw(odd | damaged(whole) | st.just(b"\0" * 9 + b"}\n" + whole)))
    sound, broken = split_overview(store)
    for kind, run in (("run", "a"), ("run", "b"), ("sweep", "a"), ("sweep", "b")):
        assert f'href="{kind}.{run}.html"' in sound or f">{run}</strong>: " in broken
    pages(store)


@fuzz(8)
@given(altered(RUN_ROW).map(encoded) | damaged(encoded(RUN_ROW)) | odd)
@example(encoded({**RUN_ROW, "versions": None}))
@example(encoded({**RUN_ROW, "scores": {"lpcam": {}}}))
@example(encoded({**RUN_ROW, "scores": {"lpcam": {"test": RUN_ROW["scores"]["lpcam"]["val"]}}}))
@example(
    encoded(
        {
            **RUN_ROW,
            "scores": {"a": {"val": {**RUN_ROW["scores"]["lpcam"]["val"], "threshold": 0.7}}},
        }
    )
)
@example(encoded(NESTED))
def test_a_damaged_run_is_read_or_refused(given_folder: Path, data: bytes) -> None:
    store = Store(given_folder / "runs")
    run = attempt(read_run, write_record(store, "run", data))
    if run is not None:
        table = score_table([run])
        assert str(table)
        assert bool(as_csv(table)) == bool(as_markdown(table)) == bool(table.rows)
    pages(store)


@fuzz(8)
@given(altered(SWEEP_ROW).map(encoded) | damaged(encoded(SWEEP_ROW)) | odd)
@example(encoded({**SWEEP_ROW, "method": []}))
def test_a_damaged_sweep_is_read_or_refused(given_folder: Path, data: bytes) -> None:
    store = Store(given_folder / "sweeps")
    sweep = attempt(read_sweep, write_record(store, "sweep", data))
    if sweep is not None and ranking(sweep.trials):
        attempt(leaders, sweep)
    pages(store)


@pytest.fixture(scope="module")
def store(given_folder: Path) -> Store:
    return Store(given_folder / "store")


DATA = {"key": "f" * 64, "source": "voc"}


@fuzz(30)
@given(altered(DATA).map(encoded) | damaged(encoded(DATA)) | odd)
@example(encoded({**DATA, "key": "../../../../here"}))
def test_a_damaged_name_of_a_data_set_is_refused(store: Store, data: bytes) -> None:
    put(store.storage.local_folder / "data" / "a.json", data)
    assert attempt(registry.open_dataset, store, "a") is None


STAGE = Stage(name="maps", version=1, config={"import": "irn"}, inputs={"shards": "a"}, title="t")
IMPORT = {"kind": "irn", "shards": "a" * 64, "stages": {"val": dataclasses.asdict(STAGE)}}


@fuzz(30)
@given(altered(IMPORT).map(encoded) | damaged(encoded(IMPORT)) | odd)
@example(encoded({**IMPORT, "kind": []}))
def test_a_damaged_import_is_read_or_refused(store: Store, data: bytes) -> None:
    put(store.storage.local_folder / "imports" / "a.json", data)
    imported = attempt(imports.find, store, "a")
    if imported is not None:
        assert imported.kind in imports.KINDS
        assert isinstance(imported.shards, str)
        for stage in imported.stages.values():
            assert store.find(stage.name, stage.key) is None


def fill(folder: ArtifactFolder) -> dict[str, Any]:
    (folder / "a.parquet").write_bytes(b"content")
    (folder / "deep/b.bin").write_bytes(b"more")
    return {"classes": ["cat"], "splits": {"val": ["val"]}}


@st.composite
def manifests(draw: st.DrawFn, valid: dict[str, Any]) -> bytes:
    """Draw a manifest that is altered, perhaps sealed again, or damaged as bytes."""
    if draw(st.booleans()):
        return draw(damaged(encoded(valid)))
    out = draw(altered(valid))
    if isinstance(out, dict) and draw(st.booleans()):
        out = sealed(out)
    return encoded(out)


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    fields = {k: v for k, v in manifest.items() if k != "seal"}
    try:
        return {**fields, "seal": digest(fields)}
    except (UnicodeError, ValueError, TypeError):
        return fields


@pytest.fixture(scope="module")
def manifest(store: Store) -> dict[str, Any]:
    """Return the manifest of the artifact, the same in every test run."""
    artifact, _ = store.get(STAGE, fill)
    same = {"seconds": 1.0, "written": "2026-01-01T00:00:00+0000", "machine": "a", "versions": {}}
    return sealed({**artifact.manifest, **same})


@fuzz(40)
@given(data=st.data())
def test_a_damaged_manifest_is_quarantined(
    store: Store, manifest: dict[str, Any], data: st.DataObject
) -> None:
    """A manifest that is still valid names only files of its artifact."""
    content = data.draw(manifests(manifest) | odd)
    folder = store.storage.local_folder / store.folder(STAGE.name, STAGE.key).name
    if not folder.exists():
        store.get(STAGE, fill)
    put(folder / MANIFEST, content)
    artifact = attempt(store.find, STAGE.name, STAGE.key)
    if artifact is not None:
        check_artifact(artifact)
    else:
        assert not folder.exists()


def check_artifact(artifact: Artifact) -> None:
    assert artifact.key == STAGE.key
    assert isinstance(artifact.about, dict)
    for file in artifact.files():
        assert file.local().resolve().is_relative_to(artifact.folder.path.resolve())
        assert file.local().is_file()


def test_a_manifest_that_names_a_file_elsewhere_is_refused(store: Store) -> None:
    artifact, _ = store.get(STAGE, fill)
    (store.storage.local_folder / "secret").write_bytes(b"content")
    files = artifact.manifest["files"]
    moved = {"../../../secret": files["a.parquet"], **files}
    manifest = sealed({**artifact.manifest, "files": moved})
    (artifact.folder / MANIFEST).write_bytes(encoded(manifest))
    assert store.find(STAGE.name, STAGE.key) is None
