"""Tests of plans of a chain on a store with a finished job: keys, results and what is missing."""

from __future__ import annotations

from typing import Any

import pytest
from small_jobs import SMALL
from wsss.platform.config.fields import replaced
from wsss.platform.errors import InputError
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.execution import Execution
from wsss.platform.records.result_id import ResultId
from wsss.platform.tuning.sweep import Sweep

named = ResultId.parse


def test_nothing_of_the_chain_runs_twice(chain: Any, job: Any) -> None:
    assert not Execution.of(job.store, chain.plan.experiment).missing()
    other = replaced(chain.plan.experiment, {"refine.beta": 8.0})
    names = {s.title for s in Execution.of(job.store, other).missing()}
    assert not any(n.startswith(("train cam", "train boundaries")) for n in names)
    assert "lpcam propagated, train" in names
    other = replaced(chain.plan.experiment, {"segment.training.epochs": 2})
    missing = Execution.of(job.store, other).missing()
    assert [s.name for s in missing] == ["segmenter", "labels", "scores"]


def test_another_memory_limit_of_an_image_has_other_keys(chain: Any) -> None:
    """The keys are the same at the default and without the option, see `test_frozen_keys.py`."""
    experiment = chain.plan.experiment
    missing = Execution.of(chain.store, replaced(experiment, {"views.image_gib": 4.0})).missing()
    titles = [s.title for s in missing]
    assert not any(title.startswith("train cam") for title in titles)
    for begin in ("cam maps", "lpcam certain labels", "lpcam propagated", "deeplabv2 on"):
        assert any(title.startswith(begin) for title in titles), begin


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
        ("irn", "crf", "psa", "lpcam certain labels of train", False),
        ("irn", "foreground", 0.8, "lpcam certain labels of train", True),
        ("irn", "final", 0.3, "lpcam certain labels of train", False),
        ("irn", "radius", 4, "train boundaries from lpcam", False),
        ("irn", "pair_radius", 4, "train boundaries from lpcam", True),
        ("irn", "pairs", "interior", "train boundaries from lpcam", True),
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


def test_a_key_names_the_falling_background_where_a_soft_crf_starts_from_it(job: Any) -> None:
    def background(name: str, method: str) -> Any:
        changes = {"refine.kind": "crf", "refine.crf": name}
        made = build_experiment(method, preset="scenes", changes=changes)
        plan = Execution.of(job.store, made).plan
        return plan.labels[plan.final]["train"].config.get("background")

    assert [background(name, "cam") for name in ("irn", "psa")] == [None, "power"]
    assert background("psa", "sipe") is None, "its maps have a background plane"


def test_interior_pairs_need_a_large_crop(job: Any) -> None:
    changes = {"refine.kind": "irn", "refine.pairs": "interior", "refine.training.crop": 64}
    with pytest.raises(InputError, match="64 holds no position with all neighbours nearer than"):
        Execution.of(job.store, replaced(job.experiment, changes))


def test_fixed_levels_need_no_scores_and_no_seed_threshold(job: Any) -> None:
    base = {"refine.kind": "irn", "refine.foreground": 0.8, "refine.background": 0.2}
    title = "lpcam certain labels of train"
    assert key_of(job, base, title) == key_of(job, {**base, "refine.threshold": 0.3}, title)


def test_naming_the_default_training_split_keeps_the_key(job: Any) -> None:
    base = {"refine.kind": "irn"}
    for title, field in (("train boundaries from lpcam", "refine.training.split"),):
        assert key_of(job, base, title) == key_of(job, {**base, field: "train"}, title)


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
        changes = {**SMALL, "refine.kind": kind, "refine.threshold": threshold}
        return Execution.of(
            job.store, build_experiment(method, preset="scenes", changes=changes)
        ).plan

    assert plan("lpcam", "").covers(plan("cam", ""))
    for kind in ("irn", "crf"):
        assert not plan("lpcam", kind).covers(plan("cam", kind))
        assert plan("lpcam", kind).covers(plan("cam", ""))
    assert not plan("cam", "").covers(plan("lpcam", ""))
    assert not plan("lpcam", "", 0.4).covers(plan("cam", "", 0.4)), "it has cam's best threshold"
    assert not plan("lpcam", "irn").covers(plan("lpcam", "irn")), "its refined maps have own rows"


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
