"""Tests of the chain from class maps to pseudo labels to a segmenter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_jobs import BEGAN, FEW, VAL
from wsss.platform.cli.tables import score_table
from wsss.platform.config.fields import replaced
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.images import decode_mask
from wsss.platform.errors import InputError
from wsss.platform.metrics import ConfusionMatrix
from wsss.platform.ops.crf import CRFS
from wsss.platform.pipeline import segment
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.refiners import seeds
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import FROM_FIXED_VALUE, FROM_OWN_BACKGROUND
from wsss.platform.stages.labels import pseudo_labels
from wsss.platform.stages.labels.pseudo_labels import Cut
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import LocalFolder

pytestmark = pytest.mark.usefixtures("in_process")


named = ResultId.parse


def targets_of(pipeline: Any, split: str) -> dict[str, Any]:
    return {
        r["id"]: decode_mask(r["mask"], r["id"])
        for piece in slices(pipeline.plan.context.shards, split)
        for r in shards.read(piece, ("id", "mask"))
    }


def test_each_stage_is_scored_on_its_own_split(chain: Any) -> None:
    scores = chain.read_scores()
    assert {str(id): set(by_split) for id, by_split in scores.items()} == {
        "cam": {"train", "val"},
        "lpcam": {"train", "val"},
        "lpcam/irn": {"train", "val"},
        "lpcam/irn/deeplabv2": {"val"},
    }
    assert scores[named("lpcam/irn")]["val"].threshold_from == "train"
    assert scores[named("lpcam/irn/deeplabv2")]["val"].threshold_from == FROM_OWN_BACKGROUND
    assert 0 <= scores[named("lpcam/irn/deeplabv2")]["val"].boundary <= 1


def planes_of(labels: Artifact) -> dict[str, label_maps.Plane]:
    """Return the labels of an artifact by image id."""
    by_file = [label_maps.read(file.local()) for file in labels.files(".parquet")]
    return {id: plane for planes in by_file for id, plane in planes.items()}


def test_seeds_are_those_of_the_run_without_refinement(chain: Any, job: Any) -> None:
    before, after = job.pipeline.read_scores(), chain.read_scores()
    for name, scores in before.items():
        assert {s: v.value for s, v in scores.items()} == {s: after[name][s].value for s in scores}


def test_the_score_of_predictions_equals_that_of_one_matrix(chain: Any, job: Any) -> None:
    labels = job.store.open("labels", chain.plan.labels[named("lpcam/irn/deeplabv2")]["val"].key)
    rows = planes_of(labels)
    matrix = ConfusionMatrix(7)
    for id, target in targets_of(chain, "val").items():
        assert rows[id].shape == target.shape
        matrix.update(target, rows[id])
    score = chain.read_scores()[named("lpcam/irn/deeplabv2")]["val"]
    assert score.value == pytest.approx(matrix.mean_iou(), abs=1e-12)


def test_boundaries_have_the_grid_of_the_class_maps(chain: Any, job: Any) -> None:
    saved = job.store.open("maps", chain.plan.maps[named("lpcam/irn")]["val"].key)
    for file, edges in zip(saved.files(".parquet"), saved.files(label_maps.EDGES), strict=True):
        planes = label_maps.read(edges.local())
        for maps in class_maps.read([file.local()]):
            assert planes.pop(maps.id).shape == maps.planes.shape[1:]
        assert not planes


def test_pseudo_labels_contain_only_image_labels(chain: Any, job: Any) -> None:
    known = {
        r["id"]: {n + 1 for n in r["labels"]}
        for piece in slices(chain.plan.context.shards, "train")
        for r in shards.read(piece, ("id", "labels"))
    }
    stages = [
        s.stage for s in chain.plan.steps if s.stage.name == "labels" and "levels" in s.stage.config
    ]
    (certain,) = stages
    for file in job.store.open("labels", certain.key).files(".parquet"):
        for id, plane in label_maps.read(file.local()).items():
            assert set(np.unique(plane)) <= {0, 255, *known[id]}


def test_a_segmenter_is_scored_where_it_predicts(chain: Any) -> None:
    changes = {"scoring.splits": ("train",), "segment.splits": ("val",)}
    other = Execution.of(chain.store, replaced(chain.plan.experiment, changes))
    assert not other.missing()
    other.execute()
    assert {str(k): set(by_split) for k, by_split in other.read_scores().items()} == {
        "cam": {"train"},
        "lpcam": {"train"},
        "lpcam/irn": {"train"},
        "lpcam/irn/deeplabv2": {"val"},
    }
    record = ended_run(other, "a", "", BEGAN, 0.0)
    assert f"lpcam/irn/deeplabv2 on val (n={VAL})" in str(score_table([record]))
    assert record.digests.keys() == {"train", "val"}


@pytest.mark.parametrize("backend", ["pydensecrf", "torch"])
def test_refined_labels_are_scored_like_predictions(job: Any, backend: str) -> None:
    changed = replace(job.experiment, method="cam", localizer="sipe")
    changes = {"refine.kind": "crf", "refine.crf_backend": backend, "scoring.splits": ("val",)}
    pipeline = Execution.of(job.store, replaced(changed, changes))
    pipeline.execute()
    scores = pipeline.read_scores()
    assert set(map(str, scores)) == {"cam", "sipe", "sipe/crf"}
    assert scores[named("sipe/crf")]["val"].threshold_from == FROM_OWN_BACKGROUND
    stage = pipeline.plan.labels[named("sipe/crf")]["val"]
    assert stage.config.get("backend") == ("torch" if backend == "torch" else None)
    labels = job.store.open("labels", stage.key)
    assert (labels.about["unrefined"], labels.about["too_large"]) == ([], [])
    planes = label_maps.read(labels.files(".parquet")[0].local())
    maps = job.store.open("maps", pipeline.plan.maps[named("sipe")]["val"].key).files(".parquet")[0]
    piece = slices(pipeline.plan.context.shards, "val")[0]
    slow = dict(pseudo_labels.label_rows((piece, maps), Cut(levels=(1.0,), crf=CRFS["irn"])))
    assert planes.keys() == slow.keys()
    same = np.array([(plane == slow[id]).mean() for id, plane in planes.items()])
    assert same.min() == 1 if backend == "pydensecrf" else same.mean() > 0.999


def test_dense_crf_of_predictions_enlarges_their_logits(chain: Any, monkeypatch: Any) -> None:
    cuts: list[Cut] = []
    monkeypatch.setattr(segment, "cut_maps", lambda *arguments: cuts.append(arguments[-1]) or {})
    made = replaced(chain.plan.experiment, {"segment.crf": "deeplab"})
    pipeline = Execution.of(chain.store, made)
    (step,) = [s for s in pipeline.plan.steps if s.stage.title == "DenseCRF of predictions on val"]
    step.compute(pipeline.runtime, LocalFolder(Path("none")))
    assert cuts == [
        Cut(levels=(1.0,), crf=CRFS["deeplab"], least=segment.LEAST, probabilities=True)
    ]


def test_a_diverging_segmenter_stops_with_its_own_fields(job: Any) -> None:
    changes = {"segment.network": "deeplabv2", **FEW, "segment.training.lr": 1e3}
    pipeline = Execution.of(job.store, replaced(job.experiment, changes))
    with pytest.raises(InputError, match=r"deeplabv2 diverged.*segment\.training\.lr.*balanced"):
        pipeline.execute()


def test_true_masks_are_called_an_upper_bound(job: Any) -> None:
    changes = {"refine.kind": "masks", "segment.network": "deeplabv2", **FEW}
    pipeline = Execution.of(job.store, replaced(job.experiment, changes))
    (step,) = [s for s in pipeline.plan.steps if s.stage.config.get("masks")]
    labels, _ = pipeline.compute(step)
    assert "upper bound" in step.stage.title
    assert set(map(str, pipeline.plan.scores)) == {"cam", "lpcam", "lpcam/masks/deeplabv2"}
    assert any(
        "TRUE masks" in s.stage.title for s in pipeline.plan.steps if "train" in s.stage.title
    )
    rows = planes_of(labels)
    targets = targets_of(pipeline, "train")
    assert rows.keys() == targets.keys()
    for id, target in targets.items():
        np.testing.assert_array_equal(rows[id], target)


def test_a_power_of_maps_and_threshold_keeps_the_cut(job: Any, tmp_path: Path) -> None:
    artifact = job.store.open("maps", job.pipeline.plan.maps[named("cam")]["val"].key)
    maps = next(class_maps.read([artifact.files(".parquet")[0].local()]))
    image = np.zeros((maps.height, maps.width, 3), np.uint8)
    linear = pseudo_labels.labels_of(image, maps, Cut(levels=(0.4,)))
    squared = pseudo_labels.labels_of(image, maps, Cut(levels=(0.4**2,), power=2.0))
    assert (linear == squared).mean() > 0.999


@pytest.mark.parametrize("kind", ["crf", "irn"])
def test_a_given_threshold_is_raised_to_the_power_as_a_chosen_one_is(
    job: Any, kind: str, monkeypatch: Any
) -> None:
    cuts: list[Cut] = []
    monkeypatch.setattr(seeds, "cut_maps", lambda *arguments: cuts.append(arguments[-1]) or {})
    fields = {"refine.kind": kind, "refine.power": 1.5}
    chosen = Execution.of(job.store, replaced(job.experiment, fields))
    best = job.pipeline.read_scores()[job.pipeline.plan.final]["train"].threshold
    given = Execution.of(job.store, replaced(job.experiment, {**fields, "refine.threshold": best}))
    for pipeline in (chosen, given):
        step = next(s for s in pipeline.plan.steps if s.stage.config.get("crf"))
        step.compute(pipeline.runtime, LocalFolder(Path("none")))
    assert cuts[0] == cuts[1]
    assert cuts[0].power == 1.5
    assert cuts[0].levels[0] == pytest.approx(best**1.5 + (0.15 if kind == "irn" else 0))


def test_the_key_of_labels_has_the_level_at_which_class_maps_are_cut(job: Any) -> None:
    def level(power: float) -> float:
        fields = {"refine.kind": "crf", "refine.threshold": 0.3, "refine.power": power}
        plan = Execution.of(job.store, replaced(job.experiment, fields)).plan
        return float(plan.labels[plan.final]["train"].config["level"])

    assert level(1.0) == 0.3, "keys of before the threshold was raised"
    assert level(2.0) == pytest.approx(0.09)


def test_weights_of_a_segmenter_that_do_not_fit_are_refused_before_any_stage(
    job: Any, tmp_path: Path
) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    changes = {"segment.network": "deeplabv2", "segment.weights": str(tmp_path / "other.pth")}
    pipeline = Execution.of(job.store, replaced(job.experiment, changes))
    with pytest.raises(InputError, match=r"other\.pth does not fit small"):
        pipeline.execute()
    assert pipeline.done == {}


def test_a_fixed_threshold_is_reported(job: Any) -> None:
    pipeline = Execution.of(job.store, replaced(job.experiment, {"refine.threshold": 0.37}))
    pipeline.execute()
    score = pipeline.read_scores()[named("lpcam")]["train"]
    assert (score.threshold, score.threshold_from) == (0.37, FROM_FIXED_VALUE)
    assert score.value == score.miou[37]
    assert pipeline.plan.digest != job.pipeline.plan.digest


def test_a_segmenter_is_tested_at_several_scales(chain: Any, tmp_path: Path) -> None:
    def tested(*scales: float, **more: Any) -> Any:
        changes = {"segment.test_scales": scales, **more}
        return Execution.of(chain.store, replaced(chain.plan.experiment, changes))

    def key(pipeline: Any) -> str:
        return str(pipeline.plan.labels[named("lpcam/irn/deeplabv2")]["val"].key)

    assert key(tested()) == key(chain)
    assert key(tested(1.0, 0.5)) == key(tested(0.5, 1.0))
    several = tested(0.5, 1.0)
    assert [s.name for s in several.missing()] == ["labels", "scores"]
    smooth = tested(0.5, 1.0, **{"segment.crf": "deeplab"})
    smooth.execute()
    assert smooth.read_scores()[named("lpcam/irn/deeplabv2")]["val"].n == VAL
    planes = []
    for pipeline in (chain, several):
        step = segment.predicted(
            pipeline.plan.context, pipeline.plan.segmenter, "val", "probabilities"
        )
        folder = LocalFolder(tmp_path).subfolder(str(len(planes)))
        step.compute(pipeline.runtime, folder)
        files = [folder.local(name) for name in folder.names()]
        planes.append([m.planes for m in class_maps.read(files)])
    assert all(np.abs(a - b).max() > 0 for a, b in zip(*planes, strict=True))
    coarse = [
        segment.predicted(p.plan.context, p.plan.segmenter, "val", "coarse")
        for p in (chain, several)
    ]
    assert coarse[0].stage.key == coarse[1].stage.key
