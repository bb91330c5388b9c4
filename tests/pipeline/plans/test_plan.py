"""Tests that a plan is a pure function of an experiment and a catalog."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.fields import replaced, resolved, values_in_key, walk
from wsss.platform.errors import InputError, StorageError
from wsss.platform.method import Method, build_experiment, methods
from wsss.platform.models.backbones import build
from wsss.platform.pipeline import classify
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.planner import plan
from wsss.platform.records.result_id import REFINEMENTS, ResultId
from wsss.platform.serialization import MisfitError, as_json, typed
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.store import Store
from wsss.platform.tuning.sweep import Sweep

SHARDS = {
    "key": "ab" * 32,
    "about": {"classes": ["ant", "bee"], "splits": ["train", "val"], "source": "scenes"},
}
WHOLE = {"refine.kind": "irn", "segment.network": "deeplabv2", "segment.splits": ("val",)}


class OneDataSet(Catalog):
    """Catalog of one data set, for which no file is read."""

    looked_up = 0

    def dataset(self, name: str) -> Artifact:
        self.looked_up += 1
        return Artifact(LocalFolder(Path("nowhere")), SHARDS)


def make_catalog(tmp_path: Path, gpu: bool = False) -> OneDataSet:
    return OneDataSet(Store(tmp_path / "none"), gpu)


def chain(method: str = "lpcam", **changes: Any) -> Experiment:
    fields = {name.replace("__", "."): value for name, value in changes.items()}
    return build_experiment(method, preset="scenes", changes={**WHOLE, **fields})


def test_the_same_experiment_has_the_same_plan_and_nothing_is_written(tmp_path: Path) -> None:
    one, two = (plan(chain(), make_catalog(tmp_path)) for _ in range(2))
    assert [stage.key for stage in one.stages] == [stage.key for stage in two.stages]
    assert one.digest == two.digest
    assert not (tmp_path / "none").exists()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.network = None  # type: ignore[misc]


def test_each_plan_looks_its_data_set_up_once(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    plan(chain(), catalog)
    assert catalog.looked_up == 1


@pytest.mark.parametrize(("masked", "accepted"), [(7, True), (6, False), (0, True)])
def test_a_split_has_masks_for_all_images_or_for_none(
    tmp_path: Path, masked: int, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"train": {"images": 7, "masked": masked}, "val": {"images": 3, "masked": 3}}
    monkeypatch.setitem(SHARDS["about"], "check", {"splits": counts})  # type: ignore[arg-type]
    if accepted:
        assert plan(chain(), make_catalog(tmp_path)).stages
        return
    with pytest.raises(InputError, match=f"{7 - masked} images of split 'train' .* have no mask"):
        plan(chain(), make_catalog(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "cannot be scored; .* name another split in segment.splits"),
        (
            {"refine__kind": "masks", "segment__training__split": "val", "segment__splits": ()},
            "cannot be learnt; .* name another split in segment.training.split",
        ),
    ],
)
def test_a_segmenter_needs_masks_for_all_images_of_its_split_or_for_none(
    tmp_path: Path, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"train": {"images": 7, "masked": 7}, "val": {"images": 3, "masked": 2}}
    monkeypatch.setitem(SHARDS["about"], "check", {"splits": counts})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"1 images of split 'val' .* have no mask.* {message}"):
        plan(chain(scoring__splits=("train",), **changes), make_catalog(tmp_path))


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (
            "ssc",
            {"network__backbone": "swin_t", "ssc__delta": 0.5},
            r"needs rectified .* ssc\.delta",
        ),
        ("sipe+ssc", {"network__backbone": "swin_t", "ssc__delta": 0.5}, "needs rectified"),
        (
            "ssc",
            {"network__backbone": "timm:test_convnext", "ssc__delta": 0.5},
            "needs rectified",
        ),
        ("mctformer", {"network__backbone": "resnet18"}, "needs a vision transformer"),
        ("sipe", {"network__backbone": "resnet19"}, "unknown backbone 'resnet19'"),
    ],
)
def test_a_backbone_that_does_not_suit_the_method_is_refused_before_any_stage(
    tmp_path: Path, method: str, changes: dict[str, Any], message: str
) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            plan(chain(method, **changes), make_catalog(tmp_path))


@pytest.mark.parametrize("method", [m for m in methods().values() if m.trains])
def test_a_method_builds_its_network_without_values(method: type[Method]) -> None:
    name = build_experiment(method.name, preset="scenes").network.backbone
    with torch.device("meta"):
        network = method(method.Config()).network(3, build(name))
    assert all(parameter.is_meta for parameter in network.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__workers": 3}, "training.batch_size 8 cannot be divided among 3 workers"),
        (
            {"segment__network": "upernet", "segment__training__workers": 8},
            r"upernet needs 2 images a step on each worker; raise segment.training.batch_size \(8",
        ),
        (
            {"refine__training__batch_size": 10},
            "9 images do not fill one batch of 10; lower refine.training.batch_size",
        ),
    ],
)
def test_a_batch_size_that_suits_no_training_is_refused_before_any_stage(
    tmp_path: Path, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHARDS["about"], "counts", {"train": 9, "val": 1})  # type: ignore[arg-type]
    assert plan(chain(), make_catalog(tmp_path)).stages
    with pytest.raises(InputError, match=message):
        plan(chain(**changes), make_catalog(tmp_path))


def test_a_refusal_of_the_baseline_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHARDS["about"], "counts", {"train": 9, "val": 1})  # type: ignore[arg-type]
    fields = {"baseline.segment.training.batch_size": 10, "segment.training.batch_size": 4}
    experiment = build_experiment("psdpm", preset="scenes", baseline="lpcam", changes=fields)
    message = r"^the baseline is refused: 9 images do .* lower segment\.training\.batch_size"
    with pytest.raises(InputError, match=message):
        plan(experiment, make_catalog(tmp_path))

    def fail(method: Method, *_: object) -> None:
        if method.name != "psdpm":
            raise StorageError("s3://a cannot be used: timeout")

    monkeypatch.setattr("wsss.platform.pipeline.planner.check_network", fail)
    with pytest.raises(StorageError, match=r"^the baseline is refused: s3://a cannot be used"):
        plan(experiment, make_catalog(tmp_path))


def test_a_plan_leaves_its_method_unchanged(tmp_path: Path) -> None:
    """The chosen prototypes belong to an execution, not to the plan."""
    planned = plan(chain(), make_catalog(tmp_path))
    assert planned.localizer.directions is None  # type: ignore[attr-defined]
    assert not hasattr(planned.localizer, "shares")


def keys(planned: Any) -> dict[str, str]:
    return {stage.title: stage.key for stage in planned.stages}


def test_a_gpu_and_a_cpu_compute_under_different_keys(tmp_path: Path) -> None:
    """A training's `auto` is bf16 on a GPU and fp32 on a CPU, which give different networks."""
    on_cpu, on_gpu = (keys(plan(chain(), make_catalog(tmp_path, gpu))) for gpu in (False, True))
    assert on_cpu.keys() == on_gpu.keys()
    trained = [title for title in on_cpu if title.startswith("train ")]
    assert len(trained) == 3
    assert all(on_cpu[title] != on_gpu[title] for title in trained)
    fixed = chain(
        training__precision="fp32",
        refine__training__precision="fp32",
        segment__training__precision="fp32",
        refine__crf_backend="pydensecrf",
    )
    for gpu in (False, True):
        assert keys(plan(fixed, make_catalog(tmp_path, gpu))) == on_cpu


@pytest.mark.parametrize("changes", [{"refine__kind": "irn"}, {"refine__kind": "crf"}])
def test_the_backend_of_dense_crf_enters_a_key_only_where_it_is_torch(
    changes: dict[str, str], tmp_path: Path
) -> None:
    fixed = {
        "training__precision": "fp32",
        "refine__training__precision": "fp32",
        "segment__training__precision": "fp32",
        "segment__crf": "deeplab",
        **changes,
    }

    def keys_of(backend: str, gpu: bool) -> dict[str, str]:
        made = chain(**fixed, refine__crf_backend=backend)
        return keys(plan(made, make_catalog(tmp_path, gpu)))

    on_cpu = keys_of("auto", False)
    assert keys_of("pydensecrf", False) == keys_of("pydensecrf", True) == on_cpu
    on_gpu = keys_of("auto", True)
    assert keys_of("torch", False) == keys_of("torch", True) == on_gpu
    refined = [t for t in on_cpu if "DenseCRF of" in t or "certain labels" in t]
    assert {"DenseCRF of predictions on val"} < set(refined)
    assert all(on_cpu[title] != on_gpu[title] for title in refined)
    assert any(on_cpu[title] == on_gpu[title] for title in on_cpu)


@pytest.mark.parametrize("workers", [1, 2])
def test_means_and_random_numbers_of_workers_enter_the_keys_of_trainings_on_several(
    tmp_path: Path, workers: int
) -> None:
    fields = ("training__workers", "refine__training__workers", "segment__training__workers")
    planned = plan(chain(**dict.fromkeys(fields, workers)), make_catalog(tmp_path))
    trained = [stage for stage in planned.stages if stage.title.startswith("train ")]
    for name in ("means", "random"):
        assert [name in stage.config for stage in trained] == [workers > 1] * 3


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_float32_means_enter_the_keys_of_classifiers_that_are_trained_in_bf16(
    tmp_path: Path, precision: str
) -> None:
    fields = ("training__precision", "refine__training__precision", "segment__training__precision")
    planned = plan(chain(**dict.fromkeys(fields, precision)), make_catalog(tmp_path))
    trained = [stage for stage in planned.stages if stage.title.startswith("train ")]
    marked = ["means in bf16" in stage.config for stage in trained]
    assert marked == [precision == "bf16", False, False]


@pytest.mark.parametrize("method", ["ssc", "cam+ssc"])
@pytest.mark.parametrize(("picture", "added"), [(2, set()), (1, {"decoder"})])
def test_a_decoder_of_five_steps_has_a_key_of_its_own(
    tmp_path: Path, method: str, picture: int, added: set[str]
) -> None:
    """Before, such a decoder had one step."""
    fields = {"ssc.delta": 1.0, "ssc.perceptual": 1.0, "ssc.picture": picture}
    changes = {**fields, "network.backbone": "swin_t"}
    made = plan(build_experiment(method, preset="scenes", changes=changes), make_catalog(tmp_path))
    assert made.network
    before = made.trained.training_settings().keys()
    names = {name.rpartition(".")[2] for name in made.network.config["settings"].keys() - before}
    assert names == added


def unsuppressed(tmp_path: Path, method: str, localizer: str, delta: float) -> tuple[Any, Any]:
    """Return the plans with and without suppression at inference."""
    fields = {"ssc.delta": delta, "ssc.suppressed_inference": True}
    whole, plain = (
        build_experiment(method, localizer=localizer, preset="scenes", changes=changes)
        for changes in (fields, {**fields, "ssc.suppressed_inference": False})
    )
    return plan(whole, make_catalog(tmp_path)), plan(plain, make_catalog(tmp_path))


@pytest.mark.parametrize(
    ("method", "localizer", "delta"),
    [
        ("ssc", "sipe", 0.55),
        ("ssc", "sipe", 1.0),
        ("ssc", "lpcam", 0.55),
        ("sipe+ssc", "", 0.55),
        ("sipe+ssc", "", 1.0),
    ],
)
def test_class_maps_of_a_network_that_is_changed_at_inference_have_other_keys(
    tmp_path: Path, method: str, localizer: str, delta: float
) -> None:
    whole, plain = unsuppressed(tmp_path, method, localizer, delta)
    assert whole.network == plain.network, "the same network is trained"
    for split, stage in whole.maps[whole.final].items():
        same = stage.key == plain.maps[plain.final][split].key
        assert same is (delta == 1), "without a limit nothing is suppressed"


def test_rungs_of_a_network_that_is_changed_at_inference_have_other_keys(tmp_path: Path) -> None:
    whole, plain = (
        classify.rung(p.context, p.trained, p.network, p.beside, "val", 1).stage
        for p in unsuppressed(tmp_path, "sipe+ssc", "", 0.55)
    )
    assert whole.key != plain.key


def test_a_new_revision_of_a_localizer_with_prototypes_changes_only_its_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = plan(chain(), make_catalog(tmp_path))
    monkeypatch.setattr(methods()["lpcam"], "revision", 2)
    new = plan(chain(), make_catalog(tmp_path))
    assert new.network == old.network
    for id in (ResultId(localizer="cam"), ResultId(localizer="lpcam")):
        same = {s: stage.key == new.maps[id][s].key for s, stage in old.maps[id].items()}
        assert set(same.values()) == {id.localizer == "cam"}


def test_auto_enters_no_key() -> None:
    e = build_experiment("psdpm", preset="scenes", baseline="lpcam")
    auto = [name for name, value, _ in walk(e) if value == "auto"]
    names = [name for name in auto if name.endswith(".precision")]
    assert "baseline.segment.training.precision" in names
    backends = ["refine.crf_backend", "baseline.refine.crf_backend"]
    assert sorted(auto) == sorted([*names, *backends])
    with pytest.raises(RuntimeError, match="may not enter a key"):
        values_in_key(e)
    for gpu, value in ((False, "fp32"), (True, "bf16")):
        row = values_in_key(resolved(e, gpu))
        assert {row[name] for name in names} == {value}
        expected = ["torch", "torch"] if gpu else [None, None]
        assert [row.get(name) for name in backends] == expected


def test_a_data_set_called_auto_keeps_its_name() -> None:
    assert resolved(chain(data="auto"), True).data == "auto"


def test_the_order_of_a_spaces_fields_is_part_of_a_sweep(tmp_path: Path) -> None:
    """Points are numbered in this order, so a sweep may not resume with another order."""
    space = {"lpcam.tau": [0.1, 0.2], "lpcam.K": [2, 3]}
    base = plan(chain(), make_catalog(tmp_path))
    one, two = (
        Sweep(base=chain(), space=dict(items)).key(base)
        for items in (space.items(), reversed(space.items()))
    )
    assert one != two


def test_results_are_named_by_the_stages_that_made_them(tmp_path: Path) -> None:
    def results(**changes: Any) -> list[str]:
        return list(map(str, plan(chain(**changes), make_catalog(tmp_path)).scores))

    assert results() == ["cam", "lpcam", "lpcam/irn", "lpcam/irn/deeplabv2"]
    assert results(refine__kind="", segment__known=True)[2:] == ["lpcam/deeplabv2/known"]
    assert results(refine__kind="masks")[2:] == ["lpcam/masks/deeplabv2"]
    assert results(refine__kind="crf", segment__network="")[2:] == ["lpcam/crf"]
    final = plan(chain(segment__network=""), make_catalog(tmp_path)).final
    assert final == ResultId(localizer="lpcam", refinement="irn")


@pytest.fixture(autouse=True)
def _no_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalog, "has_labels", lambda *_: True)
    monkeypatch.setattr(Catalog, "has_masks", lambda *_: True)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
IDS = st.builds(
    ResultId,
    localizer=NAMES,
    refinement=st.sampled_from(("", *REFINEMENTS)),
    segmenter=st.sampled_from(("", "deeplabv2", "upernet")),
    baseline=st.booleans(),
) | st.builds(ResultId, localizer=NAMES, segmenter=st.just("upernet"), known=st.just(True))


@given(IDS)
def test_an_id_is_read_as_it_was_written(id: ResultId) -> None:
    """Hyphens and dots are part of the name of an import."""
    assert ResultId.parse(str(id)) == id
    row = as_json({id: {"train": 1.5}})
    assert typed(dict[ResultId, dict[str, float]], row) == {id: {"train": 1.5}}


@pytest.mark.parametrize("text", ["", "/irn", "a//b", "a/irn/b/c", "a/b/known/x", "baseline:"])
def test_a_text_that_names_no_result_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a result"):
        ResultId.parse(text)
    with pytest.raises(MisfitError):
        typed(dict[ResultId, int], {text: 1})


def test_a_change_keeps_the_fields_that_it_does_not_name() -> None:
    e = chain()
    changed = replaced(e, {"lpcam.K": 3})
    assert changed.training is e.training
    assert changed.settings["lpcam"] != e.settings["lpcam"]
