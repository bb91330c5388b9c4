"""Contract of all refiners: what each of them plans and computes from class maps."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_jobs import BEGAN, FEW, SMALL
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.gallery import (
    SHORT_KEY_LENGTH,
    Gallery,
    artifacts_by_short_key,
    picture,
)
from wsss.platform.config.experiment import Experiment, Refine
from wsss.platform.config.fields import resolved, values_in_key
from wsss.platform.data.formats import label_maps, shards
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.images import decode_mask, encode_png
from wsss.platform.errors import InputError
from wsss.platform.interop import imports
from wsss.platform.method import build_experiment
from wsss.platform.ops.refinement.segment_merging import MergeRule, Segments, merged_labels
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.refiners.registry import REFINERS
from wsss.platform.pipeline.refiners.seeds import unchosen_thresholds
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.result_id import REFINEMENTS, ResultId
from wsss.platform.records.schema import FROM_FIXED_VALUE, FROM_OWN_BACKGROUND
from wsss.platform.storage.artifact import Stage

pytestmark = pytest.mark.usefixtures("in_process")

named = ResultId.parse
CUT = ("irn", "par", "segments")
"""Refiners whose results have a threshold."""
SCORED = ("crf", *CUT)
PAIR = {"refine.kind": "par", "refine.par.pair": "toco"}


def execution(job: Any, changes: dict[str, Any], localizer: str = "") -> Execution:
    """Return the execution of an experiment on class maps that have learnt a little."""
    fields = {**SMALL, **FEW, "training.epochs": 6, **changes}
    made = build_experiment("cam", localizer=localizer, preset="scenes", changes=fields)
    return Execution.of(job.store, made)


def planes_of(job: Any, stage: Stage) -> dict[str, Any]:
    files = job.store.open(stage.name, stage.key).files(".parquet")
    return {id: p for file in files for id, p in label_maps.read(file.local()).items()}


def known_values(job: Any, split: str) -> dict[str, set[int]]:
    pieces = slices(job.pipeline.plan.context.shards, split)
    rows = [row for piece in pieces for row in shards.read(piece, ("id", "labels"))]
    return {row["id"]: {0, *(n + 1 for n in row["labels"])} for row in rows}


def test_the_registry_has_all_names() -> None:
    assert set(REFINERS) == {"", *REFINEMENTS}


def test_true_masks_need_no_threshold() -> None:
    experiment = Experiment(refine=Refine(kind="masks"))
    assert unchosen_thresholds(experiment, own=False, published=None) == {}


@pytest.mark.parametrize("kind", SCORED)
def test_a_refined_result_is_scored_and_final(job: Any, kind: str) -> None:
    pipeline = execution(job, {"refine.kind": kind})
    pipeline.execute()
    assert not execution(job, {"refine.kind": kind}).missing()
    plan, id = pipeline.plan, named(f"cam/{kind}")
    assert plan.final == id
    scores = pipeline.read_scores()[id]
    assert set(scores) == {"train", "val"}
    assert (id in plan.needs_no_threshold) is (kind not in CUT)
    origin = "train" if kind in CUT else FROM_OWN_BACKGROUND
    assert scores["val"].threshold_from == origin
    assert len(set(scores["train"].miou)) > 10 or kind == "crf"
    assert scores["train"].value == max(scores["train"].miou)
    assert (id in plan.maps) is (kind in ("irn", "par"))
    assert (id in plan.labels) is (kind not in ("irn", "par"))
    assert scores["train"].parts
    stage = {**plan.maps, **plan.labels}[id]["val"]
    assert pipeline.runtime.artifact(stage).about["images"] == scores["val"].n


@pytest.mark.parametrize("kind", ["", *REFINEMENTS])
def test_a_segmenter_learns_the_labels_of_its_split(job: Any, kind: str) -> None:
    changes = {"refine.kind": kind, "segment.network": "deeplabv2", "segment.splits": ("val",)}
    plan = execution(job, {**changes, "scoring.splits": ("val",)}).plan
    assert plan.segmenter is not None
    (labels,) = [s for s in plan.stages if s.key == plan.segmenter.inputs["labels"]]
    assert labels.config["split"] == ("val" if kind == "masks" else "train")
    assert str(plan.final) == "/".join(filter(None, ("cam", kind, "deeplabv2")))
    keys = [stage.key for stage in plan.stages]
    assert len(set(keys)) == len(keys)
    inputs = {key for stage in plan.stages for key in stage.inputs.values()}
    assert inputs <= {*keys, plan.context.shards.key}


@pytest.mark.parametrize("kind", ["crf", "segments"])
def test_refined_labels_have_only_values_of_image_labels(job: Any, kind: str) -> None:
    pipeline = execution(job, {"refine.kind": kind})
    pipeline.execute()
    known = known_values(job, "val")
    planes = planes_of(job, pipeline.plan.labels[named(f"cam/{kind}")]["val"])
    assert set(planes) == set(known)
    assert all({*np.unique(plane).tolist()} <= known[id] for id, plane in planes.items())


@pytest.mark.parametrize(
    ("kind", "field"),
    [("irn", "final"), ("par", "par.threshold"), ("segments", "segments.threshold")],
)
def test_a_threshold_of_the_refined_result_is_taken(job: Any, kind: str, field: str) -> None:
    base = execution(job, {"refine.kind": kind})
    fixed = execution(job, {"refine.kind": kind, f"refine.{field}": 0.37})
    assert base.plan.digest != fixed.plan.digest
    fixed.execute()
    score = fixed.read_scores()[named(f"cam/{kind}")]["val"]
    assert (score.threshold, score.threshold_from) == (0.37, FROM_FIXED_VALUE)


@pytest.mark.parametrize("kind", SCORED)
def test_options_of_other_refiners_change_no_key(job: Any, kind: str) -> None:
    other = {"crf": "par.steps", "irn": "segments.inside", "par": "segments.inside"}
    changes = {f"refine.{other.get(kind, 'par.steps')}": 0 if kind in ("crf", "segments") else 0.2}
    keys = [stage.key for stage in execution(job, {"refine.kind": kind}).plan.stages]
    changed = execution(job, {"refine.kind": kind, **changes}).plan
    assert [stage.key for stage in changed.stages] == keys


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("par", "par.affinity", "pamr"),
        ("par", "par.steps", 3),
        ("par", "par.scale", 0.25),
        ("par", "par.pair", "afa"),
        ("segments", "segments.source", "slic"),
        ("segments", "segments.inside", 0.4),
        ("segments", "segments.covered", 0.9),
        ("segments", "segments.residue", False),
        ("segments", "segments.max_area_frac", 0.5),
        ("segments", "segments.keep_255", True),
        ("segments", "segments.assign", "largest"),
    ],
)
def test_an_option_changes_the_key_of_the_result(
    job: Any, kind: str, field: str, value: object
) -> None:
    def key(changes: dict[str, Any]) -> str:
        plan = execution(job, {"refine.kind": kind, **changes}).plan
        return str(plan.scores[plan.final]["val"].key)

    assert key({}) != key({f"refine.{field}": value})


def test_options_that_were_added_enter_no_key_at_their_defaults(job: Any) -> None:
    values = values_in_key(resolved(job.experiment, gpu=False))
    assert not [name for name in values if name.startswith(("refine.par.", "refine.segments."))]


@pytest.mark.parametrize("kind", ["par", "segments"])
def test_class_maps_with_a_background_plane_need_no_threshold(job: Any, kind: str) -> None:
    pipeline = execution(job, {"refine.kind": kind}, "sipe")
    pipeline.execute()
    id = named(f"sipe/{kind}")
    assert id in pipeline.plan.needs_no_threshold
    scores = pipeline.read_scores()[id]
    assert scores["val"].threshold_from == FROM_OWN_BACKGROUND
    assert scores["val"].value > 0.1


def test_a_published_pair_gives_labels_with_unknown_pixels(job: Any) -> None:
    pipeline = execution(job, PAIR)
    pipeline.execute()
    id, known = named("cam/par"), known_values(job, "val")
    assert id in pipeline.plan.labels
    assert pipeline.read_scores()[id]["val"].threshold_from == FROM_OWN_BACKGROUND
    planes = planes_of(job, pipeline.plan.labels[id]["val"])
    assert all({*np.unique(plane).tolist()} <= {255, *known[i]} for i, plane in planes.items())
    assert any((plane == 255).any() for plane in planes.values())


def segment_folder(job: Any, folder: Path, splits: tuple[str, ...]) -> Path:
    """Return a folder with segments that are the true masks of each image."""
    for split in splits:
        for piece in slices(job.pipeline.plan.context.shards, split):
            for row in shards.read(piece, ("id", "mask")):
                (folder / f"{row['id']}.png").write_bytes(row["mask"])
    return folder


def test_segments_of_a_folder_are_merged(job: Any, tmp_path: Path) -> None:
    """Segments that follow the true masks raise the score over that of the seeds."""
    folder = segment_folder(job, tmp_path, ("train", "val"))
    fields = {
        "refine.kind": "segments",
        "refine.segments.source": "ids",
        "refine.segments.folder": str(folder),
    }
    pipeline = execution(job, fields)
    titles = [stage.title for stage in pipeline.missing()]
    assert f"segments of train from {folder.name}" in titles
    pipeline.execute()
    scores = pipeline.read_scores()
    gain = scores[named("cam/segments")]["train"].value - scores[named("cam")]["train"].value
    assert gain > 0.05
    keys = [stage.key for stage in pipeline.plan.stages]
    first = next(iter(sorted(folder.iterdir())))
    Image.new("L", (96, 96), 7).save(first)
    assert [stage.key for stage in execution(job, fields).plan.stages] != keys
    first.unlink()
    with pytest.raises(InputError, match=f"there is no .*{first.name}"):
        execution(job, fields)


def imported_labels(job: Any, folder: Path, name: str = "cornered") -> str:
    """Import the true masks of val, with a corner that is unknown, and return their name."""
    for piece in slices(job.pipeline.plan.context.shards, "val"):
        for row in shards.read(piece, ("id", "mask")):
            labels = decode_mask(row["mask"], row["id"])
            labels[:20, :20] = 255
            (folder / f"{row['id']}.png").write_bytes(encode_png(labels))
    arguments = {"kind": "png", "folder": folder, "data": "scenes", "name": name}
    imports.add(job.store, **arguments, splits=("val",), progress=ProgressDisplay())
    return name


def test_an_import_takes_further_splits_and_no_other_files(job: Any, tmp_path: Path) -> None:
    name = imported_labels(job, tmp_path, "growing")
    segments = segment_folder(job, tmp_path, ("train",))
    arguments = {"kind": "png", "folder": segments, "data": "scenes", "name": name}
    for cached in (False, True):
        imported, held = imports.add(
            job.store, **arguments, splits=("train",), progress=ProgressDisplay()
        )
        assert (imported.stages.keys(), held) == ({"train", "val"}, cached)
        assert imports.find(job.store, name).stages.keys() == {"train", "val"}
    first = next(iter(sorted(segments.iterdir())))
    first.write_bytes(first.read_bytes() + b"more")
    with pytest.raises(InputError, match=r"stands for another import; .* remove imports/growing"):
        imports.add(job.store, **arguments, splits=("train",), progress=ProgressDisplay())


def test_segments_are_merged_into_imported_labels(job: Any, tmp_path: Path) -> None:
    fields = {"imported": imported_labels(job, tmp_path), "scoring.splits": ("val",)}
    pipeline = execution(
        job, {**fields, "refine.kind": "segments", "refine.segments.keep_255": True}
    )
    pipeline.execute()
    id, plan = named("cornered/segments"), pipeline.plan
    assert plan.final == id
    assert pipeline.read_scores()[id]["val"].threshold_from == FROM_OWN_BACKGROUND
    (superpixels,) = [stage for stage in plan.stages if stage.name == "superpixels"]
    ids, labels = planes_of(job, superpixels), planes_of(job, plan.labels[named("cornered")]["val"])
    rule = MergeRule(keep_unknown=True)
    for image, plane in planes_of(job, plan.labels[id]["val"]).items():
        expected = merged_labels(labels[image], Segments.from_ids(ids[image]), rule)
        np.testing.assert_array_equal(plane, expected)
    for kind in ("crf", "irn", "par", "masks"):
        changes = {"refine.kind": kind, "segment.network": "deeplabv2", "training.split": "val"}
        with pytest.raises(InputError, match=f"are labels; refine.kind '{kind}' needs class maps"):
            execution(job, {**fields, **changes})


def test_weights_for_a_segmenter_of_imported_labels_are_read_before_any_stage(
    job: Any, tmp_path: Path
) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    pipeline = execution(
        job,
        {
            "imported": imported_labels(job, tmp_path, "cornered-again"),
            "scoring.splits": ("val",),
            "training.split": "val",
            "segment.network": "deeplabv2",
            "network.weights": str(tmp_path / "other.pth"),
        },
    )
    with pytest.raises(InputError, match=r"other\.pth does not fit small"):
        pipeline.execute()
    assert pipeline.done == {}


def test_a_page_shows_the_maps_of_par(job: Any) -> None:
    pipeline = execution(job, {"refine.kind": "par"})
    pipeline.execute()
    run = ended_run(pipeline, "a", "", BEGAN, 0.0)
    artifacts = ArtifactCache(job.store)
    images = Gallery(artifacts, run, "val")
    assert '"title":"CAM, PAR"' in images.index()
    key = pipeline.plan.maps[named("cam/par")]["val"].key[:SHORT_KEY_LENGTH]
    assert f"layers/{key}/{images.ids()[0]}.map.png" in images.layers()
    stage, whole = artifacts_by_short_key(run)[key]
    drawn = []
    for id in images.ids():
        png = picture(artifacts, stage, whole, run.shards, f"{id}.map.png")
        assert png
        with Image.open(io.BytesIO(png)) as image:
            drawn.append(np.array(image))
    assert {plane.shape for plane in drawn} == {(48, 48)}  # half of the images
    assert any(plane.any() for plane in drawn)


@pytest.mark.parametrize("source", ["superpixels", "segments"])
def test_a_page_shows_the_segments(job: Any, tmp_path: Path, source: str) -> None:
    fields = {"refine.kind": "segments"}
    if source == "segments":
        folder = segment_folder(job, tmp_path, ("train", "val"))
        fields |= {"refine.segments.source": "ids", "refine.segments.folder": str(folder)}
    pipeline = execution(job, fields)
    pipeline.execute()
    run = ended_run(pipeline, "a", "", BEGAN, 0.0)
    artifacts = ArtifactCache(job.store)
    images = Gallery(artifacts, run, "val")
    assert f'"regionsTitle":"{source}"' in images.index()
    assert '"title":"CAM, segments"' in images.index()
    (key,) = {path.split("/")[1] for path in images.layers() if path.endswith("regions.png")}
    stage, whole = artifacts_by_short_key(run)[key]
    assert stage == source
    png = picture(artifacts, stage, whole, run.shards, f"{images.ids()[0]}.regions.png")
    assert png
    with Image.open(io.BytesIO(png)) as drawn:
        assert drawn.size == (96, 96)
        assert np.array(drawn).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refine.segments.source": "sam"}, "set refine.segments.folder"),
        ({"refine.segments.folder": "segments"}, "refine.segments.folder is .* reads no files"),
        (
            {"refine.segments.source": "sam", "refine.segments.folder": "nowhere"},
            "there is no folder .*nowhere",
        ),
    ],
)
def test_a_source_and_its_folder_must_fit(job: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        execution(job, {"refine.kind": "segments", **changes})
