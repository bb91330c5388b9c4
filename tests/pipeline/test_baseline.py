"""A method that learns from its baseline's segmenter: PSDPM after the chain of LPCAM, with Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wsss.platform.cli import main, resolve
from wsss.platform.cli.parser import parser
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.data.formats.shards import slices
from wsss.platform.errors import InputError
from wsss.platform.method import experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.pipeline.run_record import ended_run
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.json_files import write_json
from wsss.platform.tuning.cost import cost
from wsss.platform.tuning.sweep import Sweep

pytestmark = pytest.mark.cluster
BEGAN = "2026-01-01T00:00:00+0000"
named = ResultId.parse

SAME = {
    "training.epochs": 2,
    "training.batch_size": 8,
    "views.scales": (1.0, 0.5),
    "segment.training.epochs": 1,
}


def wanted(**changes: Any) -> Any:
    baseline = changes.pop("baseline", "lpcam")
    return experiment("psdpm", preset="scenes", baseline=baseline, changes={**SAME, **changes})


@pytest.fixture(scope="module")
def learnt(job: Any) -> Any:
    pipeline = Execution.of(job.store, wanted())
    pipeline.execute()
    return pipeline


def test_one_report_holds_the_baseline_and_what_it_became(learnt: Any) -> None:
    scores = learnt.read_scores()
    assert list(map(str, scores)) == [
        "baseline:cam",
        "baseline:lpcam",
        "baseline:lpcam/deeplabv2",
        "psdpm",
    ]
    assert scores[named("psdpm")]["val"].threshold_from == "train"
    record = ended_run(learnt, "a", "", BEGAN, 0.0)
    assert record.method == "psdpm"
    assert set(map(str, record.maps)) == {"baseline:cam", "baseline:lpcam", "psdpm"}
    assert set(map(str, record.labels)) == {"baseline:lpcam/deeplabv2"}


def test_the_refinement_is_for_the_baseline_and_for_what_it_became(job: Any) -> None:
    pipeline = Execution.of(job.store, wanted(**{"refine.kind": "irn"}))
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
    """Which boundary network each walk keeps to, by title."""
    stages = [step.stage for step in pipeline.plan.steps if "boundaries" in step.stage.inputs]
    return {stage.title: stage.inputs["boundaries"] for stage in stages}


def test_the_walk_keeps_to_the_boundaries_that_are_wanted(job: Any) -> None:
    own = Execution.of(job.store, wanted(**{"refine.kind": "irn"}))
    of_baseline = Execution.of(
        job.store, wanted(**{"refine.kind": "irn", "refine.boundaries": "baseline"})
    )
    title, baselines = "psdpm propagated, val", "lpcam propagated, val"
    assert walks(own)[title] != walks(own)[baselines]
    assert walks(of_baseline)[title] == walks(of_baseline)[baselines] == walks(own)[baselines]
    trained = [
        s.stage.title for s in of_baseline.plan.steps if s.stage.title.startswith("train bound")
    ]
    assert trained == ["train boundaries from lpcam"]
    order = [step.stage.title for step in of_baseline.plan.steps]
    assert order.index(trained[0]) < order.index(title)


@pytest.mark.parametrize(
    "changes",
    [{"baseline.refine.kind": "crf"}, {"baseline.network.backbone": "resnet18"}],
    ids=["none learnt", "another backbone"],
)
def test_boundaries_are_learnt_where_the_baseline_has_none_that_fit(
    job: Any, changes: dict[str, Any]
) -> None:
    wants = {"refine.kind": "irn", "refine.boundaries": "baseline", **changes}
    found = Execution.of(job.store, wanted(**wants))
    (own,) = [
        s.stage.key for s in found.plan.steps if s.stage.title == "train boundaries from psdpm"
    ]
    assert walks(found)["psdpm propagated, val"] == own


@pytest.mark.parametrize(
    ("boundaries", "walked"), [("own", {"train", "val"}), ("baseline", {"val"})]
)
def test_what_nothing_learns_from_is_not_walked(
    job: Any, boundaries: str, walked: set[str]
) -> None:
    """Borrowed boundaries need no maps of the split that own ones are learnt from."""
    wants = {"refine.kind": "irn", "refine.boundaries": boundaries, "scoring.splits": ("val",)}
    found = Execution.of(job.store, wanted(**wants))
    titles = {step.stage.title for step in found.plan.steps}
    assert {s for s in ("train", "val") if f"psdpm propagated, {s}" in titles} == walked


def test_psdpm_borrows_boundaries_by_default() -> None:
    chosen = experiment("psdpm", baseline="lpcam")
    assert (chosen.refine.boundaries, chosen.baseline.refine.boundaries) == ("baseline", "own")


def test_the_baseline_is_the_one_that_was_there(learnt: Any, job: Any) -> None:
    assert learnt.plan.baseline.network.key == job.pipeline.plan.network.key
    before, after = job.pipeline.read_scores(), learnt.read_scores()
    for id, of in before.items():
        assert {s: v.value for s, v in of.items()} == {
            s: after[replace(id, baseline=True)][s].value for s in of
        }
    assert not Execution.of(job.store, wanted()).missing()


def test_the_segmenter_says_probabilities_of_what_is_learnt(learnt: Any, job: Any) -> None:
    (key,) = [
        step.stage.key
        for step in learnt.plan.steps
        if step.stage.title == "deeplabv2 probabilities on train"
    ]
    seen = 0
    for piece in slices(learnt.plan.context.shards, "train"):
        rows = shards.read(piece, ("id", "height", "width"))
        found = class_maps.read([job.store.folder("maps", key) / f"{piece.name}.parquet"])
        for row, maps in zip(rows, found, strict=True):
            assert maps.id == row["id"]
            assert maps.classes == tuple(range(7))
            assert maps.planes.shape == (7, -(-row["height"] // 8), -(-row["width"] // 8))
            np.testing.assert_allclose(maps.planes.astype(np.float32).sum(0), 1, atol=5e-3)
            seen += 1
    assert seen == 48


def test_another_weight_of_the_loss_asks_for_no_other_baseline(learnt: Any, job: Any) -> None:
    other = Execution.of(job.store, wanted(**{"psdpm.weight": 2.0}))
    assert {stage.name for stage in other.missing()} == {"network", "maps", "scores"}
    trained = [s.title for s in other.missing() if s.name == "network"]
    assert trained == ["train psdpm, small"]


def test_probabilities_of_others_are_a_baseline(
    learnt: Any, job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for piece in slices(learnt.plan.context.shards, "train"):
        for row in shards.read(piece, ("id", "height", "width")):
            grid = (-(-row["height"] // 8), -(-row["width"] // 8))
            scores = rng.normal(size=(1, 7, *grid)).astype(np.float32)
            np.save(tmp_path / f"{row['id']}.npy", {"msc_seg": scores})
    store = ["--store", str(job.store.root)]
    words = ["import", "msc-seg", str(tmp_path), "--data", "scenes", "--name", "others"]
    assert main([*words, "--splits", "train", *store]) == 0
    pipeline = Execution.of(job.store, wanted(baseline="others"))
    assert pipeline.plan.baseline is None
    assert next(s.title for s in pipeline.missing()) == "train psdpm, small"
    (found,) = (s.stage for s in pipeline.plan.steps if s.stage.title == "import others, train")
    assert pipeline.plan.network.inputs["probabilities"] == found.key
    assert list(map(str, pipeline.plan.scores)) == ["psdpm"]


def test_class_maps_of_others_are_a_baseline_too(learnt: Any, job: Any, tmp_path: Path) -> None:
    store = ["--store", str(job.store.root)]
    write_json(job.store.root / "runs" / "h" / "run.json", ended_run(learnt, "h", "", BEGAN, 0.0))
    for split in ("train", "val"):
        out = str(tmp_path / split)
        words = ["export", out, "--run", "h", "--to", "irn", "--what", "baseline:lpcam"]
        assert main([*words, "--split", split, *store]) == 0
    for path in (tmp_path / "val").iterdir():
        path.rename(tmp_path / "train" / path.name)
    words = ["import", "irn", str(tmp_path / "train"), "--data", "scenes", "--name", "imported"]
    assert main([*words, *store]) == 0
    pipeline = Execution.of(job.store, wanted(baseline="imported"))
    assert list(map(str, pipeline.plan.scores)) == ["psdpm"]
    assert list(map(str, pipeline.plan.baseline.scores)) == ["imported", "imported/deeplabv2"]
    assert "network" in {s.name for s in pipeline.missing()}
    wants = {"imported": "imported", "refine.kind": "irn", "refine.boundaries": "baseline"}
    alone = Execution.of(
        job.store, wanted(**wants)
    )  # in place of psdpm's maps: no baseline is asked
    assert "train boundaries from imported" in {step.stage.title for step in alone.plan.steps}


def test_a_trial_has_the_baseline_of_the_run(job: Any) -> None:
    """Nothing of the baseline changes with the space, nor with the split of the objective."""
    base = wanted(**{"refine.kind": "irn", "segment.network": "upernet"})
    sweep = Sweep(base=base, space={"psdpm.weight": [1.0, 2.0]}, split="val")
    trial = Execution.of(job.store, sweep.trial_experiment({"psdpm.weight": 1.0}))
    run = Execution.of(job.store, base)
    assert trial.plan.network.key == run.plan.network.key
    assert list(map(str, trial.plan.scores)) == ["psdpm"]
    assert list(map(str, run.plan.scores)) == ["psdpm", "psdpm/irn", "psdpm/irn/upernet"]


def test_repeats_have_other_seeds_the_baseline_too(job: Any) -> None:
    sweep = Sweep(base=wanted(seed=5), space={"psdpm.weight": [1.0, 2.0]}, repeats=2)
    assert list(sweep.seeds) == [5, 6]
    trial = sweep.trial_experiment({"psdpm.weight": 2.0}, 6)
    assert (trial.seed, trial.baseline.seed) == (6, 6)
    one, two = (
        sweep.key(Execution.of(job.store, sweep.trial_experiment({}, s)).plan) for s in (5, 6)
    )
    assert one != two
    missing = cost(Catalog.of(job.store), sweep).missing
    assert (missing["network"], missing["segmenter"]) == (2 + 4, 2)  # baselines first


def test_a_baseline_has_its_own_preset_and_options() -> None:
    made = experiment(
        "psdpm",
        preset="release-voc",
        baseline="lpcam",
        changes={"baseline.training.epochs": 3, "lpcam.tau": 0.2, "training.lr": 0.5},
    )
    alone = experiment("lpcam", preset="release")
    assert made.baseline.refine == alone.refine
    assert made.baseline.network == alone.network
    assert made.baseline.settings["lpcam"].tau == 0.2
    assert (made.baseline.training.epochs, made.training.epochs) == (3, 32)
    assert made.baseline.training.lr == made.training.lr == 0.5
    for change in ({"baseline.nothing": 1}, {"nothing": 1}, {"baseline.cpal.tau": 0.2}):
        with pytest.raises(InputError, match="unknown field"):
            experiment("psdpm", baseline="lpcam", changes=change)
    with pytest.raises(InputError, match="unknown preset 'release-voc' of cpal"):
        experiment("psdpm", preset="release-voc", baseline="cpal")


def test_side_by_side_each_takes_what_is_its_own(job: Any) -> None:
    options = parser().parse_args(
        [
            *["compare", "psdpm", "cam", "--baseline", "lpcam", "--set", "lpcam.tau=0.2"],
            *["--set", "baseline.training.epochs=3", "--store", str(job.store.root)],
        ]
    )
    one = resolve.experiment(options, job.store, 0, method="psdpm")
    two = resolve.experiment(options, job.store, 0, method="cam")
    assert one.baseline.settings["lpcam"].tau == 0.2
    assert (one.baseline.training.epochs, two.baseline) == (3, None)
    of = resolve.combination("psdpm@sipe:lpcam")
    three = resolve.experiment(options, job.store, 0, **of)
    assert (three.baseline.method, three.baseline.localizer) == ("sipe", "lpcam")
    assert (three.baseline.training.epochs, three.baseline.settings["lpcam"].tau) == (3, 0.2)
    four = resolve.experiment(options, job.store, 0, method="psdpm", baseline="sipe+lpcam")
    assert four.baseline.trained == ("sipe", "lpcam")
    assert four.baseline.settings["lpcam"].tau == 0.2


def test_the_baseline_is_a_dimension_of_a_sweep(job: Any) -> None:
    base = wanted()
    bases = {f"psdpm@{baseline}": wanted(baseline=baseline) for baseline in ("lpcam", "cam:sipe")}
    sweep = Sweep(base=base, space={"combination": list(bases)}, bases=bases)
    assert sweep.default == {"combination": "psdpm@lpcam"}
    for word, of in bases.items():
        made = sweep.trial_experiment({"combination": word}, 3)
        assert made.baseline.combination == of.baseline.combination
        assert (made.seed, made.baseline.seed) == (3, 3)
        assert made.baseline.segment.network
    short = Sweep(base=base, space={"combination": ["psdpm"]}, bases={"psdpm": base})
    assert short.default == {"combination": "psdpm"}
    with pytest.raises(InputError, match=r"METHOD\[:LOCALIZER\]\[@BASELINE\], not 'psdpm@'"):
        resolve.combination("psdpm@")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": ""}, "--baseline lpcam"),
        ({"baseline": "nobody"}, "nothing is imported as 'nobody'"),
        ({"baseline": "psdpm"}, "--baseline lpcam"),
        ({"refine.kind": "masks", "segment.network": "deeplabv2"}, "true masks"),
    ],
)
def test_a_baseline_that_cannot_be_is_said_before_anything_runs(
    job: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Execution.of(job.store, wanted(**changes))


def test_a_baseline_is_for_methods_that_learn_from_one(
    job: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "lpcam", "--baseline", "cam", "--store", str(job.store.root)]) == 2
    assert "takes no baseline" in capsys.readouterr().err
