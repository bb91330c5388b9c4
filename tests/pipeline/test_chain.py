"""Tests of the chain from class maps to pseudo labels to a segmenter, with Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from wsss.platform.cli import main
from wsss.platform.cli.tables import score_table
from wsss.platform.config.fields import replaced
from wsss.platform.data import registry
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.formats.shards import slices
from wsss.platform.data.images import decode_mask
from wsss.platform.data.sources.folder import Folder
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.metrics import ConfusionMatrix
from wsss.platform.ops.crf import CRFS
from wsss.platform.pipeline import segment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.progress import ProgressDisplay
from wsss.platform.records.result_id import ResultId
from wsss.platform.records.schema import FROM_FIXED_VALUE, FROM_OWN_BACKGROUND
from wsss.platform.stages.labels import pseudo_labels
from wsss.platform.stages.labels.pseudo_labels import Cut
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.json_files import write_json
from wsss.platform.storage.store import Store
from wsss.platform.tuning.sweep import Sweep

pytestmark = pytest.mark.cluster
BEGAN = "2026-01-01T00:00:00+0000"
named = ResultId.parse

FEW = {"refine.training.epochs": 1, "segment.training.epochs": 1}


@pytest.fixture(scope="module")
def chain(job: Any) -> Any:
    """Return the finished chain of LPCAM, IRN and DeepLabV2 on the job's class maps."""
    changes = {"refine.kind": "irn", "segment.network": "deeplabv2", **FEW}
    pipeline = Execution.of(job.store, replaced(job.experiment, changes))
    pipeline.execute()
    return pipeline


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
    assert "lpcam/irn/deeplabv2 on val (n=16)" in str(
        score_table([ended_run(other, "a", "", BEGAN, 0.0)])
    )


def test_nothing_of_the_chain_runs_twice(chain: Any, job: Any) -> None:
    assert not Execution.of(job.store, chain.plan.experiment).missing()
    other = replaced(chain.plan.experiment, {"refine.beta": 8.0})
    names = {s.title for s in Execution.of(job.store, other).missing()}
    assert not any(n.startswith(("train cam", "train boundaries")) for n in names)
    assert "lpcam propagated, train" in names
    other = replaced(chain.plan.experiment, {"segment.training.epochs": 2})
    missing = Execution.of(job.store, other).missing()
    assert [s.name for s in missing] == ["segmenter", "labels", "scores"]


def test_refined_labels_are_scored_like_predictions(job: Any) -> None:
    changes = {"refine.kind": "crf", "localizer": "sipe", "method": "cam"}
    changed = replace(job.experiment, method="cam", localizer="sipe")
    del changes["localizer"], changes["method"]
    pipeline = Execution.of(job.store, replaced(changed, changes))
    pipeline.execute()
    scores = pipeline.read_scores()
    assert set(map(str, scores)) == {"cam", "sipe", "sipe/crf"}
    assert scores[named("sipe/crf")]["train"].threshold_from == FROM_OWN_BACKGROUND
    labels = job.store.open("labels", pipeline.plan.labels[named("sipe/crf")]["val"].key)
    assert labels.about["unrefined"] == []
    planes = label_maps.read(labels.files(".parquet")[0].local())
    maps = job.store.open("maps", pipeline.plan.maps[named("sipe")]["val"].key).files(".parquet")[0]
    piece = slices(pipeline.plan.context.shards, "val")[0]
    slow = dict(pseudo_labels.label_rows((piece, maps), Cut(levels=(1.0,), crf=CRFS["irn"])))
    for id, plane in planes.items():
        np.testing.assert_array_equal(plane, slow[id])


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


def key_of(job: Any, changes: dict[str, Any], title: str) -> str:
    pipeline = Execution.of(job.store, replaced(job.experiment, changes))
    (stage,) = [s.stage for s in pipeline.plan.steps if s.stage.title == title]
    return str(stage.key)


@pytest.mark.parametrize(
    ("kind", "field", "value", "title", "reads"),
    [
        ("crf", "power", 1.5, "lpcam DenseCRF of train", True),
        ("crf", "crf", "psa", "lpcam DenseCRF of train", True),
        ("crf", "threshold", 0.3, "lpcam DenseCRF of train", True),
        ("crf", "beta", 3.0, "lpcam DenseCRF of train", False),
        ("irn", "power", 1.5, "lpcam certain labels of train", True),
        ("irn", "foreground", 0.8, "lpcam certain labels of train", True),
        ("irn", "final", 0.3, "lpcam certain labels of train", False),
        ("irn", "radius", 4, "train boundaries from lpcam", False),
        ("irn", "pair_radius", 4, "train boundaries from lpcam", True),
        ("irn", "radius", 4, "lpcam propagated, val", True),
        ("irn", "walk_power", 3.0, "lpcam propagated, val", True),
        ("irn", "walk_power", 3.0, "lpcam certain labels of train", False),
    ],
)
def test_a_key_holds_what_its_stage_reads(
    job: Any, kind: str, field: str, value: object, title: str, reads: bool
) -> None:
    base, changed = {"refine.kind": kind}, {"refine.kind": kind, f"refine.{field}": value}
    assert replaced(job.experiment, base) != replaced(job.experiment, changed)
    before = key_of(job, base, title)
    after = key_of(job, changed, title)
    assert (before != after) is reads


def test_fixed_levels_need_no_scores_and_no_seed_threshold(job: Any) -> None:
    base = {"refine.kind": "irn", "refine.foreground": 0.8, "refine.background": 0.2}
    title = "lpcam certain labels of train"
    assert key_of(job, base, title) == key_of(job, {**base, "refine.threshold": 0.3}, title)


def test_naming_the_default_training_split_keeps_the_key(job: Any) -> None:
    base = {"refine.kind": "irn"}
    for title, field in (("train boundaries from lpcam", "refine.training.split"),):
        assert key_of(job, base, title) == key_of(job, {**base, field: "train"}, title)


def test_a_power_of_maps_and_threshold_keeps_the_cut(job: Any, tmp_path: Path) -> None:
    artifact = job.store.open("maps", job.pipeline.plan.maps[named("cam")]["val"].key)
    maps = next(class_maps.read([artifact.files(".parquet")[0].local()]))
    image = np.zeros((maps.height, maps.width, 3), np.uint8)
    linear = pseudo_labels.labels_of(image, maps, Cut(levels=(0.4,)))
    squared = pseudo_labels.labels_of(image, maps, Cut(levels=(0.4**2,), power=2.0))
    assert (linear == squared).mean() > 0.999


def test_a_fixed_threshold_is_reported(job: Any) -> None:
    pipeline = Execution.of(job.store, replaced(job.experiment, {"refine.threshold": 0.37}))
    pipeline.execute()
    score = pipeline.read_scores()[named("lpcam")]["train"]
    assert (score.threshold, score.threshold_from) == (0.37, FROM_FIXED_VALUE)
    assert score.value == score.miou[37]
    assert pipeline.plan.digest != job.pipeline.plan.digest


@pytest.mark.parametrize("background", [False, True])
def test_a_background_that_walks_needs_no_threshold(job: Any, background: bool) -> None:
    changes = {
        "refine.kind": "irn",
        "refine.walk_background": background,
        "segment.network": "deeplabv2",
    }
    pipeline = Execution.of(job.store, build_experiment("sipe", preset="scenes", changes=changes))
    assert (named("sipe/irn") in pipeline.plan.needs_no_threshold) is background
    (cut,) = [s.stage for s in pipeline.plan.steps if s.stage.title.startswith("sipe/irn seeds")]
    assert ("scores" in cut.inputs) is not background
    walked = pipeline.plan.maps[named("sipe/irn")]["train"].config
    assert walked.get("background", False) is background


def test_a_run_covers_class_maps_but_no_refined_maps_of_cam(job: Any) -> None:
    """A run of LPCAM holds the class maps of CAM, but not the refined maps of CAM."""

    def plan(method: str, kind: str, threshold: float | None = None) -> Any:
        changes = {"training.epochs": 2, "training.batch_size": 8, "views.scales": (1.0, 0.5)}
        changes |= {"refine.kind": kind, "refine.threshold": threshold}
        return Execution.of(
            job.store, build_experiment(method, preset="scenes", changes=changes)
        ).plan

    assert plan("lpcam", "").covers(plan("cam", ""))
    for kind in ("irn", "crf"):
        assert not plan("lpcam", kind).covers(plan("cam", kind))
        assert plan("lpcam", kind).covers(plan("cam", ""))
    assert not plan("cam", "").covers(plan("lpcam", ""))
    assert not plan("lpcam", "", 0.4).covers(plan("cam", "", 0.4)), "it has cam's best threshold"


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("lpcam.tau", {"cam", "lpcam"}),
        ("refine.beta", {"cam", "lpcam", "lpcam/irn"}),
        ("segment.training.lr", {"cam", "lpcam", "lpcam/irn", "lpcam/irn/deeplabv2"}),
    ],
)
def test_a_trial_ends_with_the_last_stage_of_its_space(
    chain: Any, job: Any, field: str, names: set[str]
) -> None:
    sweep = Sweep(base=chain.plan.experiment, space={field: [0.2, 0.3]})
    trial = Execution.of(job.store, sweep.trial_experiment({field: 0.3}))
    assert set(map(str, trial.plan.scores)) == names
    assert trial.plan.final == list(trial.plan.scores)[-1]
    assert all("train" in splits for splits in trial.plan.scores.values())


def test_a_diverging_segmenter_stops_with_its_own_fields(job: Any) -> None:
    changes = {"segment.network": "deeplabv2", **FEW, "segment.training.lr": 1e3}
    pipeline = Execution.of(job.store, replaced(job.experiment, changes))
    with pytest.raises(InputError, match=r"deeplabv2 diverged.*segment\.training\.lr.*balanced"):
        pipeline.execute()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refine.kind": "masks"}, "segment.network"),
        ({"segment.network": "deeplabv2", "segment.backbone": "resnet18"}, "segment.weights"),
        ({"refine.kind": "irn", "refine.training.split": "nowhere"}, "refine.training.split"),
    ],
)
def test_an_impossible_experiment_is_refused_before_anything_runs(
    job: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Execution.of(job.store, replaced(job.experiment, changes))


def test_an_image_that_kills_its_process_is_named_and_kept_unrefined(
    ray_started: None, tmp_path: Path
) -> None:
    """pydensecrf dies of a colour deviation this small, except on a black image."""
    (tmp_path / "in" / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    pixels = {"a": np.zeros_like(noise), "b": noise, "c": np.zeros_like(noise)}
    for id, array in pixels.items():
        Image.fromarray(array).save(tmp_path / "in" / "images" / f"{id}.png")
    (tmp_path / "in" / "labels.csv").write_text("id,labels\na,ant\nb,ant\nc,ant\n")
    store = Store(tmp_path / "store")
    dataset, _ = registry.add(store, Folder(tmp_path / "in"), "three", ProgressDisplay())
    (piece,) = slices(dataset, "train")
    rng = np.random.default_rng(1)
    rows = [
        ClassMaps(
            id=row["id"],
            classes=(1,),
            planes=rng.random((1, 10, 12)).astype(np.float16),
            height=40,
            width=48,
        )
        for row in shards.read(piece, ("id",))
    ]
    maps = LocalFolder(tmp_path) / f"{piece.name}.parquet"
    class_maps.write(maps, rows)
    cut = Cut(levels=(0.5,), crf=replace(CRFS["irn"], colour_rgb=1e-6))
    out = LocalFolder(tmp_path).subfolder("out")
    about = pseudo_labels.make(out, [piece], [maps], cut, lambda done, total: None)
    assert about["unrefined"] == ["b"]
    assert about["images"] == 3
    labels = label_maps.read(label_maps.file_of_slice(out, piece).local())
    (noisy,) = [m for m in rows if m.id == "b"]
    unrefined = pseudo_labels.labels_of(noise, noisy, Cut(levels=(0.5,)))
    np.testing.assert_array_equal(labels["b"], unrefined)


def test_a_run_of_the_whole_chain_prints_all_its_scores(
    chain: Any, job: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fields = {**FEW, "training.epochs": 2, "training.batch_size": 8, "views.scales": "(1.0,0.5)"}
    sets = [x for k, v in fields.items() for x in ("--set", f"{k}={v}")]
    words = ["--refine", "irn", "--segment", "deeplabv2", "--store", str(job.store), "--quiet"]
    assert main(["run", "lpcam", *words, *sets]) == 0
    out = capsys.readouterr().out
    for row in ("lpcam on train", "lpcam/irn on val", "lpcam/irn/deeplabv2 on val"):
        assert row in out
    assert "deeplabv2 on train" not in out
    store = ["--store", str(job.store)]
    assert main(["export", str(tmp_path / "a.tgz"), *store]) == 2
    assert "20 classes" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "what"), [("irn", "lpcam"), ("drs", "cam"), ("png", "deeplabv2")])
def test_an_export_is_imported_with_the_same_scores(
    chain: Any, job: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str, what: str
) -> None:
    store = ["--store", str(job.store)]
    name = f"again-{kind}"
    write_json(job.store.location("runs", name, "run.json"), ended_run(chain, name, "", BEGAN, 0.0))
    out = str(tmp_path / kind)
    assert main(["export", out, "--run", name, "--to", kind, "--what", what, *store]) == 0
    assert main(["export", out, "--run", name, "--to", kind, "--what", what, *store]) == 2
    assert "exists" in capsys.readouterr().err
    words = ["import", kind, out, "--data", "scenes", "--name", name, "--splits", "val", *store]
    assert main([*words, "--quiet"]) == 0
    assert not capsys.readouterr().err
    assert main(words) == 0
    assert "already in the store" in capsys.readouterr().out
    imported = replaced(job.experiment, {"imported": name, "scoring.splits": ("val",)})
    pipeline = Execution.of(job.store, imported)
    pipeline.execute()
    assert pipeline.plan.network is None
    scores = {str(id).rpartition("/")[2]: s["val"] for id, s in chain.read_scores().items()}
    score, before = pipeline.read_scores()[named(name)]["val"], scores[what]
    best = before.value if kind == "png" else max(before.miou)
    assert score.value == pytest.approx(best, abs=0.03 if kind == "drs" else 0.01)
    assert ended_run(pipeline, "none", "", BEGAN, 0.0).method == name


def test_imports_must_fit_the_data_set(
    chain: Any, job: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = ["--store", str(job.store)]
    (tmp_path / "empty").mkdir()
    words = ["import", "irn", str(tmp_path / "empty"), "--data", "scenes", "--name", "x", *store]
    for change, message in (
        (["import", "unknown", *words[2:]], "there are irn"),
        ([*words[:2], str(tmp_path / "gone"), *words[3:]], "no folder"),
        (words, "there is no"),
        (["run", "cam", "--imported", "nothing", *store], "nothing is imported"),
    ):
        assert main(change) == 2
        assert message in capsys.readouterr().err
    assert not (job.store.storage.local_folder / "imports" / "x.json").exists()


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
    assert smooth.read_scores()[named("lpcam/irn/deeplabv2")]["val"].n == 16
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


def test_a_segmenter_that_knows_the_labels_has_another_result(job: Any, monkeypatch: Any) -> None:
    base = replaced(job.experiment, {"segment.network": "deeplabv2"})
    known = replaced(base, {"segment.known": True})
    before, after = Execution.of(job.store, base), Execution.of(job.store, known)
    assert after.plan.segmenter.key == before.plan.segmenter.key
    (one,), (other,) = (
        before.plan.labels[named("lpcam/deeplabv2")].values(),
        after.plan.labels[named("lpcam/deeplabv2/known")].values(),
    )
    assert one.key != other.key
    assert named("lpcam/deeplabv2/known") in after.plan.scores
    monkeypatch.setattr(Catalog, "has_labels", lambda self, shards, split: False)
    with pytest.raises(
        InputError, match=r"segment\.known needs image labels; no image of val has one"
    ):
        Execution.of(job.store, known)
    Execution.of(job.store, base)
