"""Tests of a method that learns from its baseline's segmenter: PSDPM after LPCAM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import stages_in_process
from small_jobs import BEGAN, SMALL, TRAIN
from wsss.platform.cli import main, resolve
from wsss.platform.cli.parser import parse
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.shards import slices
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.json_files import write_json
from wsss.platform.tuning.costs.stage_counts import cost
from wsss.platform.tuning.sweep import Sweep

pytestmark = pytest.mark.usefixtures("in_process")
named = ResultId.parse

SAME = {**SMALL, "segment.training.epochs": 1}


def psdpm(**changes: Any) -> Any:
    baseline = changes.pop("baseline", "lpcam")
    return build_experiment(
        "psdpm", preset="scenes", baseline=baseline, changes={**SAME, **changes}
    )


@pytest.fixture(scope="module")
def finished(job: Any) -> Any:
    pipeline = Execution.of(job.store, psdpm())
    with stages_in_process():
        pipeline.execute()
    return pipeline


def test_one_report_holds_the_baseline_and_the_method(finished: Any) -> None:
    scores = finished.read_scores()
    assert list(map(str, scores)) == [
        "baseline:cam",
        "baseline:lpcam",
        "baseline:lpcam/deeplabv2",
        "psdpm",
    ]
    assert scores[named("psdpm")]["val"].threshold_from == "train"
    record = ended_run(finished, "a", "", BEGAN, 0.0)
    assert record.method == "psdpm"
    assert set(map(str, record.maps)) == {"baseline:cam", "baseline:lpcam", "psdpm"}
    assert set(map(str, record.labels)) == {"baseline:lpcam/deeplabv2"}


def test_the_refinement_applies_to_the_baseline_and_the_method(job: Any) -> None:
    pipeline = Execution.of(job.store, psdpm(**{"refine.kind": "irn"}))
    assert list(map(str, pipeline.plan.baseline.scores)) == [
        "cam",
        "lpcam",
        "lpcam/irn",
        "lpcam/irn/deeplabv2",
    ]
    assert list(map(str, pipeline.plan.scores)) == ["psdpm", "psdpm/irn"]
    titles = [step.stage.title for step in pipeline.plan.steps]
    assert len(set(titles)) == len(titles)
    assert titles.index("train deeplabv2 on lpcam/irn of train") < titles.index(
        "train psdpm, small"
    )


def walks(pipeline: Execution) -> dict[str, str]:
    """Return the key of the boundary network that each walk uses, by title."""
    stages = [step.stage for step in pipeline.plan.steps if "boundaries" in step.stage.inputs]
    return {stage.title: stage.inputs["boundaries"] for stage in stages}


def test_the_walk_uses_the_chosen_boundaries(job: Any) -> None:
    own = Execution.of(job.store, psdpm(**{"refine.kind": "irn"}))
    borrowed = Execution.of(
        job.store, psdpm(**{"refine.kind": "irn", "refine.boundaries": "baseline"})
    )
    title, baseline_title = "psdpm propagated, val", "lpcam propagated, val"
    assert walks(own)[title] != walks(own)[baseline_title]
    assert walks(borrowed)[title] == walks(borrowed)[baseline_title] == walks(own)[baseline_title]
    trained = [
        s.stage.title for s in borrowed.plan.steps if s.stage.title.startswith("train bound")
    ]
    assert trained == ["train boundaries from lpcam"]
    order = [step.stage.title for step in borrowed.plan.steps]
    assert order.index(trained[0]) < order.index(title)


@pytest.mark.parametrize(
    "changes",
    [
        {"baseline.refine.kind": "crf"},
        {"baseline.network.backbone": "resnet18"},
        {"baseline.network.positions": "mct"},
    ],
    ids=["none learnt", "another backbone", "other positions"],
)
def test_boundaries_are_learnt_where_the_baseline_has_none_that_fit(
    job: Any, changes: dict[str, Any]
) -> None:
    fields = {"refine.kind": "irn", "refine.boundaries": "baseline", **changes}
    pipeline = Execution.of(job.store, psdpm(**fields))
    (key,) = [
        s.stage.key for s in pipeline.plan.steps if s.stage.title == "train boundaries from psdpm"
    ]
    assert walks(pipeline)["psdpm propagated, val"] == key


@pytest.mark.parametrize(
    ("boundaries", "walked"), [("own", {"train", "val"}), ("baseline", {"val"})]
)
def test_a_split_that_no_training_needs_is_not_walked(
    job: Any, boundaries: str, walked: set[str]
) -> None:
    """Borrowed boundaries need no maps of the split from which own boundaries are learnt."""
    fields = {"refine.kind": "irn", "refine.boundaries": boundaries, "scoring.splits": ("val",)}
    pipeline = Execution.of(job.store, psdpm(**fields))
    titles = {step.stage.title for step in pipeline.plan.steps}
    assert {s for s in ("train", "val") if f"psdpm propagated, {s}" in titles} == walked


def test_psdpm_borrows_boundaries_by_default() -> None:
    chosen = build_experiment("psdpm", baseline="lpcam")
    assert (chosen.refine.boundaries, chosen.baseline.refine.boundaries) == ("baseline", "own")


def test_the_baseline_reuses_an_earlier_run(finished: Any, job: Any) -> None:
    assert finished.plan.baseline.network.key == job.pipeline.plan.network.key
    before, after = job.pipeline.read_scores(), finished.read_scores()
    for id, by_split in before.items():
        assert {s: v.value for s, v in by_split.items()} == {
            s: after[replace(id, baseline=True)][s].value for s in by_split
        }
    assert not Execution.of(job.store, psdpm()).missing()


def test_the_segmenter_writes_probabilities_of_the_training_images(finished: Any, job: Any) -> None:
    (key,) = [
        step.stage.key
        for step in finished.plan.steps
        if step.stage.title == "deeplabv2 probabilities on train"
    ]
    count, stored = 0, job.store.open("maps", key)
    for piece in slices(finished.plan.context.shards, "train"):
        rows = shards.read(piece, ("id", "height", "width"))
        stored_maps = class_maps.read([stored.file(f"{piece.name}.parquet").local()])
        for row, maps in zip(rows, stored_maps, strict=True):
            assert maps.id == row["id"]
            assert maps.classes == tuple(range(7))
            assert maps.planes.shape == (7, -(-row["height"] // 8), -(-row["width"] // 8))
            np.testing.assert_allclose(maps.planes.astype(np.float32).sum(0), 1, atol=5e-3)
            count += 1
    assert count == TRAIN


def test_another_weight_of_the_loss_needs_no_other_baseline(finished: Any, job: Any) -> None:
    other = Execution.of(job.store, psdpm(**{"psdpm.weight": 2.0}))
    assert {stage.name for stage in other.missing()} == {"network", "maps", "scores"}
    trained = [s.title for s in other.missing() if s.name == "network"]
    assert trained == ["train psdpm, small"]


def test_imported_probabilities_serve_as_baseline(
    finished: Any, job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for piece in slices(finished.plan.context.shards, "train"):
        for row in shards.read(piece, ("id", "height", "width")):
            grid = (-(-row["height"] // 8), -(-row["width"] // 8))
            scores = rng.normal(size=(1, 7, *grid)).astype(np.float32)
            np.save(tmp_path / f"{row['id']}.npy", {"msc_seg": scores})
    store = ["--store", str(job.store)]
    words = ["import", "msc-seg", str(tmp_path), "--data", "scenes", "--name", "others"]
    assert main([*words, "--splits", "train", *store]) == 0
    pipeline = Execution.of(job.store, psdpm(baseline="others"))
    assert pipeline.plan.baseline is None
    assert next(s.title for s in pipeline.missing()) == "train psdpm, small"
    (stage,) = (s.stage for s in pipeline.plan.steps if s.stage.title == "import others, train")
    assert pipeline.plan.network.inputs["probabilities"] == stage.key
    assert list(map(str, pipeline.plan.scores)) == ["psdpm"]


def test_imported_class_maps_serve_as_baseline(finished: Any, job: Any, tmp_path: Path) -> None:
    store = ["--store", str(job.store)]
    record = ended_run(finished, "h", "", BEGAN, 0.0)
    write_json(job.store.location("runs", "h", "run.json"), record)
    for split in ("train", "val"):
        out = str(tmp_path / split)
        words = ["export", out, "--run", "h", "--to", "irn", "--what", "baseline:lpcam"]
        assert main([*words, "--split", split, *store]) == 0
    for path in (tmp_path / "val").iterdir():
        path.rename(tmp_path / "train" / path.name)
    words = ["import", "irn", str(tmp_path / "train"), "--data", "scenes", "--name", "imported"]
    assert main([*words, *store]) == 0
    pipeline = Execution.of(job.store, psdpm(baseline="imported"))
    assert list(map(str, pipeline.plan.scores)) == ["psdpm"]
    assert list(map(str, pipeline.plan.baseline.scores)) == ["imported", "imported/deeplabv2"]
    assert "network" in {s.name for s in pipeline.missing()}
    fields = {"imported": "imported", "refine.kind": "irn", "refine.boundaries": "baseline"}
    alone = Execution.of(
        job.store, psdpm(**fields)
    )  # the imported maps replace psdpm's, which need no baseline
    assert "train boundaries from imported" in {step.stage.title for step in alone.plan.steps}


def test_a_trial_has_the_baseline_of_the_run(job: Any) -> None:
    """The baseline changes neither with the search space nor with the split of the objective."""
    base = psdpm(**{"refine.kind": "irn", "segment.network": "upernet"})
    sweep = Sweep(base=base, space={"psdpm.weight": [1.0, 2.0]}, split="val")
    trial = Execution.of(job.store, sweep.trial_experiment({"psdpm.weight": 1.0}))
    run = Execution.of(job.store, base)
    assert trial.plan.network.key == run.plan.network.key
    assert list(map(str, trial.plan.scores)) == ["psdpm"]
    assert list(map(str, run.plan.scores)) == ["psdpm", "psdpm/irn", "psdpm/irn/upernet"]


def test_repeats_change_the_seed_of_the_baseline_too(job: Any) -> None:
    sweep = Sweep(base=psdpm(seed=5), space={"psdpm.weight": [1.0, 2.0]}, repeats=2)
    assert list(sweep.seeds) == [5, 6]
    trial = sweep.trial_experiment({"psdpm.weight": 2.0}, 6)
    assert (trial.seed, trial.baseline.seed) == (6, 6)
    one, two = (
        sweep.key(Execution.of(job.store, sweep.trial_experiment({}, s)).plan) for s in (5, 6)
    )
    assert one != two
    missing = cost(Catalog.of(job.store), sweep).missing
    assert (missing["network"], missing["segmenter"]) == (2 + 4, 2)  # two baselines, four trials


def test_a_baseline_has_its_own_preset_and_options() -> None:
    chosen = build_experiment(
        "psdpm",
        preset="release-voc",
        baseline="lpcam",
        changes={"baseline.training.epochs": 3, "lpcam.tau": 0.2, "training.lr": 0.5},
    )
    alone = build_experiment("lpcam", preset="release")
    assert chosen.baseline.refine == alone.refine
    assert chosen.baseline.network == alone.network
    assert chosen.baseline.settings["lpcam"].tau == 0.2
    assert (chosen.baseline.training.epochs, chosen.training.epochs) == (3, 32)
    assert chosen.baseline.training.lr == chosen.training.lr == 0.5
    for change in ({"baseline.nothing": 1}, {"nothing": 1}, {"baseline.cpal.tau": 0.2}):
        with pytest.raises(InputError, match="unknown field"):
            build_experiment("psdpm", baseline="lpcam", changes=change)
    with pytest.raises(InputError, match="unknown preset 'release-voc' of cpal"):
        build_experiment("psdpm", preset="release-voc", baseline="cpal")


def test_compared_methods_each_take_their_own_options(job: Any) -> None:
    options = parse(
        [
            *["compare", "psdpm", "cam", "--baseline", "lpcam", "--set", "lpcam.tau=0.2"],
            *["--set", "baseline.training.epochs=3", "--store", str(job.store)],
        ]
    )
    one = resolve.experiment(options, job.store, 0, method="psdpm")
    two = resolve.experiment(options, job.store, 0, method="cam")
    assert one.baseline.settings["lpcam"].tau == 0.2
    assert (one.baseline.training.epochs, two.baseline) == (3, None)
    fields = resolve.parse_combination("psdpm@sipe:lpcam")
    three = resolve.experiment(options, job.store, 0, **fields)
    assert (three.baseline.method, three.baseline.localizer) == ("sipe", "lpcam")
    assert (three.baseline.training.epochs, three.baseline.settings["lpcam"].tau) == (3, 0.2)
    four = resolve.experiment(options, job.store, 0, method="psdpm", baseline="sipe+lpcam")
    assert four.baseline.trained == ("sipe", "lpcam")
    assert four.baseline.settings["lpcam"].tau == 0.2


def test_the_baseline_is_a_dimension_of_a_sweep(job: Any) -> None:
    base = psdpm()
    bases = {f"psdpm@{baseline}": psdpm(baseline=baseline) for baseline in ("lpcam", "cam:sipe")}
    sweep = Sweep(base=base, space={"combination": list(bases)}, bases=bases)
    assert sweep.default == {"combination": "psdpm@lpcam"}
    for word, expected in bases.items():
        trial = sweep.trial_experiment({"combination": word}, 3)
        assert trial.baseline.combination == expected.baseline.combination
        assert (trial.seed, trial.baseline.seed) == (3, 3)
        assert trial.baseline.segment.network
    short = Sweep(base=base, space={"combination": ["psdpm"]}, bases={"psdpm": base})
    assert short.default == {"combination": "psdpm"}
    with pytest.raises(InputError, match=r"'psdpm@' is no combination; write METHOD\["):
        resolve.parse_combination("psdpm@")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": ""}, "--baseline lpcam"),
        ({"baseline": "nobody"}, "nothing is imported as 'nobody'"),
        ({"baseline": "psdpm"}, "--baseline lpcam"),
        ({"refine.kind": "masks", "segment.network": "deeplabv2"}, "true masks"),
    ],
)
def test_an_impossible_baseline_is_refused_before_anything_runs(
    job: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Execution.of(job.store, psdpm(**changes))


def test_a_baseline_is_for_methods_that_learn_from_one(
    job: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "lpcam", "--baseline", "cam", "--store", str(job.store)]) == 2
    assert "takes no baseline" in capsys.readouterr().err
