"""Tests of the whole job on drawn scenes: stages against slow reference computations."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_jobs import SMALL, TRAIN, VAL
from wsss.platform.config.fields import replaced
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.images import decode_image, decode_mask
from wsss.platform.data.transforms import Crop, normalized, resized
from wsss.platform.errors import InputError
from wsss.platform.method import PrototypeMethod, build_experiment
from wsss.platform.metrics import ConfusionMatrix
from wsss.platform.ops.maps import best_class, grid_size, merge_scales, normalize
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records import progress_file
from wsss.platform.records.result_id import ResultId
from wsss.platform.stages.inference import class_maps as inference_class_maps
from wsss.platform.stages.labels import scoring
from wsss.platform.stages.prototypes import clustering
from wsss.platform.stages.training import loader
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store

pytestmark = pytest.mark.usefixtures("in_process")


named = ResultId.parse


def rows_of(job: Any, split: str) -> dict[str, dict[str, Any]]:
    pieces = shards.slices(job.pipeline.plan.context.shards, split)
    return {r["id"]: r for p in pieces for r in shards.read(p, shards.SCHEMA.names)}


def artifact(job: Any, stage: Any) -> Any:
    return job.store.open(stage.name, stage.key)


def test_scores_cover_both_localizers_and_splits(job: Any) -> None:
    scores = job.pipeline.read_scores()
    assert {str(k): {s: v.n for s, v in by.items()} for k, by in scores.items()} == {
        "cam": {"train": TRAIN, "val": VAL},
        "lpcam": {"train": TRAIN, "val": VAL},
    }
    for by_split in scores.values():
        assert by_split["val"].threshold == by_split["train"].threshold
        assert by_split["val"].threshold_from == "train"
        for one in by_split.values():
            assert 0 <= one.value <= 1
            assert one.parts is not None
            assert set(one.parts) == {"discriminative", "other", "context"}


def test_no_stage_runs_twice(job: Any) -> None:
    repeated = Execution.of(job.store, job.experiment)
    assert not repeated.missing()
    repeated.execute()
    assert all(record.cached for _, record in repeated.done.values())


def test_new_thresholds_of_a_localizer_start_no_training(job: Any) -> None:
    other = Execution.of(job.store, replaced(job.experiment, {"lpcam.mu_f": 0.6}))
    assert {s.name for s in other.missing()} == {"maps", "scores"}


def test_cam_shares_the_network_of_lpcam(job: Any) -> None:
    cam = Execution.of(job.store, build_experiment("cam", preset="scenes", changes=SMALL))
    assert cam.plan.network.key == job.pipeline.plan.network.key


def test_maps_from_kept_features_equal_maps_of_the_network(job: Any) -> None:
    method = job.pipeline.plan.localizer
    assert isinstance(method, PrototypeMethod)
    network = inference_class_maps.load_network(
        job.experiment.network,
        method,
        6,
        artifact(job, job.pipeline.plan.network).file("network.pt"),
    )
    chosen = job.pipeline.plan.chosen["val"]
    centers = clustering.read_centers(artifact(job, chosen.centers).file("centers.npz").local())
    method.fit(centers, network.class_weights.detach())
    rows = rows_of(job, "val")
    stored = artifact(job, job.pipeline.plan.maps[named("lpcam")]["val"]).files(".parquet")
    for maps in list(class_maps.read(file.local() for file in stored))[:4]:
        row = rows[maps.id]
        image = decode_image(row["image"], row["id"])
        planes = []
        for scale in job.experiment.views.scales:
            size = (round(row["height"] * scale), round(row["width"] * scale))
            view = normalized(torch.from_numpy(resized(image, *size).copy())[None])
            with torch.no_grad():
                planes.append(method.localize(network, view, torch.ones(1, 6)))
        whole = normalize(merge_scales(planes, grid_size(row["height"], row["width"])))[0]
        expected = whole[[c - 1 for c in maps.classes]].numpy()
        np.testing.assert_allclose(maps.planes.astype(np.float32), expected, atol=5e-3)


def test_class_maps_are_of_the_image_labels(job: Any) -> None:
    rows = rows_of(job, "train")
    for name in ("cam", "lpcam"):
        stored = artifact(job, job.pipeline.plan.maps[named(name)]["train"]).files(".parquet")
        maps = {m.id: m for m in class_maps.read(file.local() for file in stored)}
        assert set(maps) == set(rows)
        for id, m in maps.items():
            assert m.classes == tuple(n + 1 for n in rows[id]["labels"])


def test_a_clustering_keeps_features_up_to_its_limit(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []

    class RecordedHolders(clustering.Holders):
        def __init__(self, files: Any, threshold: float, count: int, limit: int, *rest: Any):
            limits.append(limit)
            super().__init__(files, threshold, count, limit, *rest)

    monkeypatch.setattr(clustering, "Holders", RecordedHolders)
    views = replace(job.experiment.views, kept_gib=0.25)
    execution = Execution.of(job.store, replace(job.experiment, views=views))
    (step,) = (s for s in execution.plan.steps if s.stage.name == "centers")
    assert step.stage.key == artifact(job, step.stage).key
    step.compute(execution.runtime, LocalFolder(tmp_path))
    assert limits == [1 << 28]


def test_scores_equal_a_slow_reference(job: Any) -> None:
    rows = rows_of(job, "val")
    stored = artifact(job, job.pipeline.plan.maps[named("cam")]["val"]).files(".parquet")
    score = job.pipeline.read_scores()[named("cam")]["val"]
    for index in (0, 30, 77):
        matrix = ConfusionMatrix(7)
        for m in class_maps.read(file.local() for file in stored):
            value, best = best_class(torch.from_numpy(m.planes), m.classes, (m.height, m.width))
            seed = torch.where(value > torch.tensor(score.thresholds[index]), best, 0)
            matrix.update(decode_mask(rows[m.id]["mask"], m.id), seed)
        assert score.miou[index] == pytest.approx(matrix.mean_iou(), abs=1e-12)


def test_a_missing_map_is_an_error(job: Any, tmp_path: Path) -> None:
    piece = shards.slices(job.pipeline.plan.context.shards, "val")[0]
    source = artifact(job, job.pipeline.plan.maps[named("cam")]["val"]).file(
        f"{piece.name}.parquet"
    )
    rows = list(class_maps.read([source.local()]))
    short = LocalFolder(tmp_path) / "short.parquet"
    class_maps.write(short, rows[1:])
    with pytest.raises(InputError, match=f"{rows[0].id} has no class maps"):
        scoring.score_slice((piece, short), 7)


def test_a_flipped_byte_in_a_shard_is_refused(job: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "copy")
    for part in ("artifacts/shards", "data"):
        shutil.copytree(job.store.storage.local_folder / part, tmp_path / "copy" / part)
    shard = registry.open_dataset(store, "scenes").files(".parquet")[0].local()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(InputError, match=f"quarantine.*{shard.name}.*SHA-256"):
        registry.open_dataset(store, "scenes")


def test_a_localizer_of_another_method_reads_the_trained_network(job: Any) -> None:
    pipeline = Execution.of(job.store, replace(job.experiment, method="cam", localizer="sipe"))
    pipeline.execute()
    assert pipeline.plan.network.key == job.pipeline.plan.network.key
    assert set(map(str, pipeline.plan.maps)) == {"cam", "sipe"}
    scores = pipeline.read_scores()[named("sipe")]
    assert {s.threshold for s in scores.values()} == {0.5}
    files = job.store.open("maps", pipeline.plan.maps[named("sipe")]["val"].key).files()
    rows = list(class_maps.read(file.local() for file in files))
    assert all(m.classes[0] == 0 and len(m.planes) == len(m.classes) for m in rows)


def test_maps_with_a_background_plane_are_scored_by_their_best_plane(job: Any) -> None:
    """The reference counts the largest of all planes at full size in one confusion matrix."""
    pipeline = Execution.of(job.store, replace(job.experiment, method="cam", localizer="sipe"))
    pipeline.execute()
    masks = {
        r["id"]: decode_mask(r["mask"], r["id"])
        for piece in slices(pipeline.plan.context.shards, "val")
        for r in shards.read(piece, ("id", "mask"))
    }
    matrix = ConfusionMatrix(7)
    files = job.store.open("maps", pipeline.plan.maps[named("sipe")]["val"].key).files()
    for m in class_maps.read(file.local() for file in files):
        planes = torch.from_numpy(m.planes).float()[None]
        full = torch.nn.functional.interpolate(
            planes, (m.height, m.width), mode="bilinear", align_corners=False
        )[0]
        matrix.update(masks[m.id], np.asarray(m.classes)[full.argmax(0).numpy()])
    expected = matrix.mean_iou()
    assert pipeline.read_scores()[named("sipe")]["val"].value == pytest.approx(expected, abs=1e-9)


def test_methods_trained_together_share_one_network(job: Any) -> None:
    changes = {"training.epochs": 1, "training.batch_size": 8, "views.scales": (1.0,)}
    changes["scoring.splits"] = ("val",)
    both = build_experiment("sipe+cpal", localizer="lpcam", preset="scenes", changes=changes)
    pipeline = Execution.of(job.store, both)
    pipeline.execute()
    lines = progress_file.read_metrics(
        job.store.open("network", pipeline.plan.network.key).file("metrics.jsonl")
    )
    assert {"classification", "consistency", "self"} <= set(lines[0])
    total = sum(lines[-1][k] for k in ("classification", "consistency", "self"))
    assert lines[-1]["loss"] == pytest.approx(total)
    assert set(map(str, pipeline.read_scores())) == {"sipe-cpal", "lpcam"}
    second = Execution.of(job.store, replace(both, localizer="cpal"))
    assert second.plan.network.key == pipeline.plan.network.key
    second.execute()
    assert set(map(str, second.read_scores())) == {"sipe-cpal", "cpal"}


def test_two_workers_load_disjoint_halves(job: Any) -> None:
    pieces = tuple(slices(job.pipeline.plan.context.shards, "train"))
    images = []
    for rank in (0, 1):
        plan = loader.Plan(
            slices=pieces,
            classes=6,
            batch_size=4,
            crop=Crop(resize=(96, 96), side=96),
            seed=0,
            rank=rank,
            world=2,
        )
        rows = [r for block in loader.blocks(plan, [0]) for r in block["image"]]
        assert len(rows) == TRAIN // 2
        images += [r.tobytes() for r in rows]
    assert len(set(images)) == TRAIN
