"""Stores as runs leave them, written without Ray: drawn scenes, class maps, labels, records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from drawn_records import HOSTILE, QUOTES, make_run, make_score, make_sweep
from wsss.platform.data.formats import class_maps, label_maps, prototype_patches, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.prototype_patches import Patch
from wsss.platform.data.images import decode_mask
from wsss.platform.data.sources.scenes import Scenes
from wsss.platform.metrics import THRESHOLDS
from wsss.platform.ops.maps import grid_size
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import RunRecord, StageRecord, SweepRecord, read_run
from wsss.platform.storage.artifact import Stage
from wsss.platform.storage.artifact_files import ArtifactFolder
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store

SIZE = 64


def put(store: Store, name: str, config: dict[str, Any], write: Any, **inputs: str) -> str:
    """Store an artifact whose files `write(folder)` makes and return its key."""
    stage = Stage(name=name, version=1, config=config, inputs=inputs, title=f"{name} {config}")
    return store.get(stage, write)[0].key


def write_shards(folder: Path, train: int, val: int, size: int) -> dict[str, Any]:
    source = Scenes(train=train, val=val, size=size, seed=1)
    items = source.items()
    results = [
        shards.write_shard(folder / name, source, members, False)
        for name, members in shards.split_into_shards(items)
    ]
    entries = shards.manifest_entries(source, shards.conversion_of(source, items, results))
    return {**entries, "quarantined": ["image <b>bad</b> is truncated"]}


def maps_of(row: dict[str, Any], spread: float, number: int) -> ClassMaps:
    """Return class maps that are blurred targets with noise; those of odd numbers are weak."""
    target = decode_mask(row["mask"], row["id"])
    h, w = grid_size(*target.shape)
    rng = np.random.default_rng(number)
    planes = []
    for value in [c + 1 for c in row["labels"]]:
        plane = (target == value)[::4, ::4].astype(np.float32)[:h, :w]
        for _ in range(3):
            plane = (plane + np.roll(plane, 1, 0) + np.roll(plane, -1, 1) * spread) / (2 + spread)
        noise = rng.random((h, w), np.float32) * 0.3
        planes.append(np.clip(plane + noise, 0, 1) * (0.3 if number % 2 else 1.0))
    return ClassMaps(
        id=row["id"],
        classes=tuple(c + 1 for c in row["labels"]),
        planes=np.array(planes, np.float16).reshape(len(planes), h, w),
        height=target.shape[0],
        width=target.shape[1],
    )


def edges_of(maps: ClassMaps) -> Any:
    """Return boundaries that rise from left to right."""
    h, w = maps.planes.shape[1:]
    return np.linspace(0, 255, h * w).reshape(h, w).astype(np.uint8)


def patches_of(row: dict[str, Any], number: int) -> list[Patch]:
    """Return a foreground and a context prototype of each class that is present."""
    return [
        Patch(
            id=row["id"],
            value=c + 1,
            number=k,
            kind=kind,
            cosine=0.9 - 0.01 * number,
            y=0.25 + 0.5 * k,
            x=0.99,
        )
        for c in row["labels"]
        for k, kind in enumerate(("foreground", "context"))
    ]


def drawn_store(
    store: Store | Path, train: int = 4, val: int = 20, runs: int = 1, size: int = SIZE
) -> tuple[Store, list[RunRecord]]:
    """Write a store with a data set and runs that have class maps, refined labels and counts."""
    store = Store(store) if isinstance(store, Path) else store
    data = put(store, "shards", {"n": [train, val]}, lambda f: write_shards(f, train, val, size))
    about = store.open("shards", data).about
    classes = ("background", *about["classes"])
    return store, [_run(store, data, classes, number) for number in range(runs)]


class Writer:
    """Writer of the artifacts of one run; `number` makes them differ from those of other runs."""

    def __init__(self, store: Store, data: str, number: int) -> None:
        self.store, self.data, self.number = store, data, number
        self.shards = store.open("shards", data)

    def put(self, name: str, write: Any, source: str, split: str, **inputs: str) -> str:
        config = {"of": source, "split": split, "run": self.number}
        return put(self.store, name, config, write, shards=self.data, **inputs)

    def maps(self, name: str, split: str, spread: float) -> str:
        def write(folder: ArtifactFolder) -> dict[str, Any]:
            for piece in shards.slices(self.shards, split):
                rows = shards.read(piece, ("id", "mask", "labels"))
                maps = [maps_of(r, spread, self.number + k) for k, r in enumerate(rows)]
                class_maps.write(folder / f"{piece.name}.parquet", maps)
                if name == "lpcam":
                    patches = [p for k, r in enumerate(rows) for p in patches_of(r, k)]
                    prototype_patches.write(
                        folder / f"{piece.name}{prototype_patches.SUFFIX}", patches
                    )
                    edges = [(m.id, edges_of(m)) for m in maps]
                    label_maps.write(
                        label_maps.file_of_slice(folder, piece, label_maps.EDGES), edges
                    )
            return {}

        return self.put("maps", write, name, split)

    def planes(self, stage: str, split: str, plane: Any) -> str:
        def write(folder: ArtifactFolder) -> dict[str, Any]:
            for piece in shards.slices(self.shards, split):
                masks = {r["id"]: r["mask"] for r in shards.read(piece, ("id", "mask"))}
                rows = [(id, plane(decode_mask(mask, id))) for id, mask in masks.items()]
                label_maps.write(label_maps.file_of_slice(folder, piece), rows)
            return {}

        return self.put(stage, write, stage, split)

    def scores(self, name: str, split: str, maps: str, classes: int) -> str:
        def write(folder: ArtifactFolder) -> dict[str, Any]:
            counts = np.zeros((classes, classes, len(THRESHOLDS) + 1), np.int64)
            counts[1, 1, 1:], counts[0, 1, 1:] = 3, 1
            (folder / "counts.npz").write(lambda s: np.savez_compressed(s, curve=counts))
            return {"images": 1}

        return self.put("scores", write, name, split, maps=maps)

    def network(self) -> str:
        def write(folder: ArtifactFolder) -> dict[str, Any]:
            lines = [json.dumps(row) + "\n" for row in metrics(40)]
            (folder / "metrics.jsonl").write_bytes("".join(lines).encode())
            return {}

        return self.put("network", write, "cam", "train")


def metrics(count: int) -> list[dict[str, Any]]:
    """Return the first `count` rows that a training of 40 steps writes."""
    return [
        {"epoch": k // 10, "step": k, "steps": 40, "bce": 1 / (k + 1), "self": 0.1}
        | {"loss": 0.1 + 1 / (k + 1), "lr": 0.1 * (1 - k / 40)}
        for k in range(count)
    ]


def blocks(mask: Any) -> Any:
    """Return superpixels that are diagonal stripes of squares."""
    return (np.indices(mask.shape) // 9).sum(0).astype(np.uint8)


def _run(store: Store, data: str, classes: tuple[str, ...], number: int) -> RunRecord:
    writer = Writer(store, data, number)
    stages = [("superpixels", "regions", writer.planes("superpixels", "val", blocks))]
    stages.append(("network", "train cam", writer.network()))
    keys: dict[ResultId, dict[str, str]] = {}
    for name, spread in (("cam", 0.2), ("lpcam", 0.8)):
        id = ResultId(localizer=name)
        keys[id] = {s: writer.maps(name, s, spread) for s in ("train", "val")}
        for split, key in keys[id].items():
            counts = writer.scores(name, split, key, len(classes))
            stages.append(("maps", f"{name} maps of {split}", key))
            stages.append(("scores", f"score {name} on {split}", counts))
    refined = {"val": writer.planes("labels", "val", lambda m: np.roll(m, 5 + number, 1))}
    stages.append(("labels", "lpcam DenseCRF of val", refined["val"]))
    record = make_run(classes, f"run-{number}")
    confusion = tuple(tuple(5 * (i == j) + 1 for j in classes) for i in classes)
    scores = {
        name: {s: dataclasses.replace(v, confusion=confusion) for s, v in by.items()}
        for name, by in record.scores.items()
    }
    crf = dataclasses.replace(make_score("val", 0.6, 0.5, classes), boundary=0.4)
    run = dataclasses.replace(
        record,
        shards=data,
        stages=tuple(
            StageRecord(stage=s, title=t, key=k, seconds=1.0 + n, cached=n % 3 == 0)
            for n, (s, t, k) in enumerate(stages)
        ),
        maps=keys,
        labels={ResultId.parse("lpcam/crf"): refined},
        scores={**scores, ResultId.parse("lpcam/crf"): {"val": crf}},
    )
    return add_run(store, run)


def add_run(store: Store, run: RunRecord) -> RunRecord:
    """Write the record of a run into a store and return it."""
    write_json(store.location("runs", run.name, "run.json"), run)
    return run


def add_sweep(store: Store, count: int = 24, name: str = "sweep-0", **options: Any) -> SweepRecord:
    """Write the record of a drawn sweep into a store and return it."""
    sweep = dataclasses.replace(make_sweep(count, **options), name=name)
    write_json(store.location("sweeps", name, "sweep.json"), sweep)
    return sweep


def run_of(store: Store, name: str = "run-0") -> RunRecord:
    return read_run(store.location("runs", name, "run.json"))


def add_hostile(store: Store) -> None:
    """Add a run and a sweep whose every text is an attack."""
    classes = ("background", HOSTILE, QUOTES, "</style>", "&amp;", "moth", "x" * 200)
    add_run(store, dataclasses.replace(
        make_run(classes, name="hostile"), command=QUOTES, machine=HOSTILE, dataset=QUOTES,
        method=HOSTILE, experiment={HOSTILE: QUOTES}, versions={QUOTES: HOSTILE},
    ))  # fmt: skip
    sweep = make_sweep(24)
    params = {QUOTES: HOSTILE, "lpcam.K": 6, "lpcam.tau": 0.1}
    odd = dataclasses.replace(sweep.trials[0], params=params, error=f"{HOSTILE}\n{QUOTES}")
    space = {**sweep.space, QUOTES: [HOSTILE, "b"]}
    write_json(
        store.location("sweeps", "hostile", "sweep.json"),
        dataclasses.replace(
            sweep, split=HOSTILE, space=space, method=QUOTES, trials=(odd, *sweep.trials[1:])
        ),
    )
