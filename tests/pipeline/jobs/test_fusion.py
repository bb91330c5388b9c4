"""Tests of localizers on a network whose method fuses their class maps with its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from in_process import stages_in_process
from wsss.methods.mctformer import MCTformer
from wsss.platform.config.fields import replaced
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.images import decode_image
from wsss.platform.data.transforms import normalized
from wsss.platform.errors import InputError
from wsss.platform.method import PrototypeMethod, build_experiment
from wsss.platform.models.classifier import Classifier
from wsss.platform.ops.maps import grid_size, merge_flip, merge_scales, normalize_range
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records.result_id import ResultId
from wsss.platform.stages.inference import class_maps as inference_class_maps
from wsss.platform.stages.prototypes import clustering

SMALL = {
    "training.epochs": 1,
    "training.batch_size": 8,
    "views.scales": (1.0,),
    "scoring.splits": ("val",),
}


named = ResultId.parse


def rows_of(job: Any, split: str) -> dict[str, dict[str, Any]]:
    pieces = shards.slices(job.pipeline.plan.context.shards, split)
    return {r["id"]: r for p in pieces for r in shards.read(p, shards.SCHEMA.names)}


def artifact(job: Any, stage: Any) -> Any:
    return job.store.open(stage.name, stage.key)


def experiment_of(method: str, localizer: str = "", **changes: Any) -> Any:
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    made = build_experiment(method, preset="scenes", localizer=localizer)
    return replaced(made, {**SMALL, **fields})


@pytest.fixture(scope="module")
def fused(job: Any) -> Iterator[Any]:
    """Return the finished job of LPCAM on MCTformer's network."""
    pipeline = Execution.of(job.store, experiment_of("mctformer", "lpcam"))
    with stages_in_process():
        pipeline.execute()
    return pipeline


def network_of(job: Any, pipeline: Any) -> Classifier:
    return inference_class_maps.load_network(
        pipeline.plan.context.experiment.network,
        pipeline.plan.trained,
        6,
        artifact(job, pipeline.plan.network).file("network.pt"),
    )


def stored(job: Any, pipeline: Any, name: str, split: str = "val") -> list[class_maps.ClassMaps]:
    files = artifact(job, pipeline.plan.maps[named(name)][split]).files(".parquet")
    return list(class_maps.read(file.local() for file in files))


def view_of(row: Any) -> torch.Tensor:
    return normalized(torch.from_numpy(decode_image(row["image"], row["id"]).copy())[None])


def test_lpcams_maps_stand_in_the_place_of_patchcam(job: Any, fused: Any) -> None:
    localizer, trained = fused.plan.localizer, fused.plan.trained
    assert isinstance(localizer, PrototypeMethod)
    assert isinstance(trained, MCTformer)
    network, rows = network_of(job, fused), rows_of(job, "val")
    (centers,) = (stage for stage in fused.plan.stages if stage.name == "centers")
    read = clustering.read_centers(artifact(job, centers).file("centers.npz").local())
    weights = network.head.weight.detach().sum((2, 3))
    localizer.fit(read, weights, network.head.bias.detach())  # type: ignore[union-attr]
    count = 0
    for maps in stored(job, fused, "lpcam")[:4]:
        row = rows[maps.id]
        image = view_of(row)
        with torch.no_grad():
            plain = localizer.localize(network, image, torch.ones(1, 6))
            views, planes = torch.cat([image, image.flip(-1)]), torch.cat([plain, plain.flip(-1)])
            both = trained.fuse(network, views, planes)
        whole = merge_scales([merge_flip(*both.chunk(2))], grid_size(row["height"], row["width"]))
        expected = normalize_range(whole)[0][[c - 1 for c in maps.classes]].numpy()
        np.testing.assert_allclose(maps.planes.astype(np.float32), expected, atol=5e-3)
        count += len(maps.classes)
    assert count
    assert not fused.plan.chosen, "no similarities are stored, from which maps would not be fused"


def test_only_classes_of_the_image_are_stored(job: Any, fused: Any) -> None:
    rows = rows_of(job, "val")
    for name in ("mctformer", "lpcam"):
        maps = stored(job, fused, name)
        assert {m.id for m in maps} == set(rows)
        for m in maps:
            assert m.classes == tuple(n + 1 for n in rows[m.id]["labels"])
            assert m.planes.min(initial=0.0) == 0


def test_features_are_divided_by_patchcam(job: Any, fused: Any) -> None:
    (centers,) = (stage for stage in fused.plan.stages if stage.name == "centers")
    (divided,) = (stage for stage in fused.plan.stages if stage.key == centers.inputs["maps"])
    assert divided.config["settings"]["fusion"] == "patchcam"
    assert divided.config["settings"]["affinity_blocks"] == 0
    assert divided.config["features"]
    by_seed = experiment_of("mctformer", "lpcam", mctformer__divides="seed")
    other = Execution.of(job.store, by_seed)
    assert other.plan.network.key == fused.plan.network.key
    assert {stage.name for stage in other.missing()} == {"maps", "centers", "scores"}


def test_options_of_the_fusion_change_the_maps_but_no_network(job: Any, fused: Any) -> None:
    changed = experiment_of("mctformer", "lpcam", mctformer__affinity_blocks=3)
    other = Execution.of(job.store, changed)
    assert {stage.name for stage in other.missing()} == {"maps", "scores"}
    assert other.plan.network.key == fused.plan.network.key


def test_cpal_on_the_network_has_no_background_of_its_own(job: Any) -> None:
    joint = Execution.of(job.store, experiment_of("mctformer+cpal")).plan
    assert named("mctformer-cpal") in joint.maps
    assert not joint.needs_no_threshold
    inside = experiment_of("mctformer+cpal", "cpal")
    pipeline = Execution.of(job.store, inside)
    assert not pipeline.plan.needs_no_threshold
    with stages_in_process():
        pipeline.execute()
    assert all(0 not in m.classes for m in stored(job, pipeline, "cpal"))


def test_the_localizer_of_the_first_method_is_not_fused_with_itself(job: Any) -> None:
    plan = Execution.of(job.store, experiment_of("mctformer+cpal", "mctformer")).plan
    assert "fusion" not in plan.maps[named("mctformer")]["val"].config


def test_it_reads_no_network_of_another_method(job: Any) -> None:
    with pytest.raises(InputError, match="mctformer reads only a network that mctformer has"):
        Execution.of(job.store, experiment_of("cam", "mctformer"))


def test_v1_serves_no_other_localizer(job: Any) -> None:
    with pytest.raises(InputError, match="lpcam needs class scores of positions"):
        Execution.of(job.store, experiment_of("mctformer", "lpcam", mctformer__version="v1"))
