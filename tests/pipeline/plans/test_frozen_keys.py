"""The keys of whole plans as earlier versions computed them, so that stores stay valid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from wsss.platform.config.experiment import Experiment
from wsss.platform.data.formats.shards import Slice
from wsss.platform.method import build_experiment
from wsss.platform.pipeline.context import Catalog
from wsss.platform.pipeline.planner import plan
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.store import Store

ABOUT = {"classes": ["ant", "bee"], "splits": ["train", "val", "train_aug"], "source": "scenes"}
DIGESTS = [
    (
        "cam default",
        "",
        "",
        False,
        "2f391a6bb465e7b4d1f53246a598a2ad0ccfbe0dccd034b817522c76265ecd3e",
    ),
    (
        "lpcam paper",
        "irn",
        "psdpm-coco",
        False,
        "73131fc169eacf0c944a5b50b027b54b972f92e90f3bcd49f998d2ec1592d10f",
    ),
    (
        "sipe release",
        "crf",
        "",
        True,
        "ce854ec774a97657a33fa9bb2d12c8359b36ed6d62cb45d0b7855c61f96fd44a",
    ),
    (
        "ssc scenes",
        "irn",
        "",
        True,
        "0e9bb765ec52f66be153494f7642157928d2eee31491709748caae3da8ad06a7",
    ),
    (
        "psdpm release-coco",
        "irn",
        "psdpm-coco",
        False,
        "8e6c43ec3b2b68c75c152071ab52ed4d8cc198cec3914783336d5d602101fe1c",
    ),
]
"""Method and preset, refinement, recipe, whether on a GPU, and the digest of the plan.

Only a new version of a stage or of the lattice of DenseCRF in torch, or another default of an
option, may change a digest; write the new digest down then.
"""
PYDENSECRF_DIGESTS = {
    "sipe release": "046d34e24817a8b2b0f1a8e3c1b1044c5219b190c194d1a207023cc7588d1fd4",
    "ssc scenes": "929c877da6bd214792b614b01b5898de47fdcc265a7d72c3e4a33681fa0a15b0",
}
"""The digests of the plans on a GPU whose DenseCRF runs on CPUs, as before torch computed it."""
STRETCHED_DIGESTS = {
    "lpcam paper": "7df13d38744f2687e72ae4831a1f425194535a6651a5cc705dcd07e76dc22ed0",
    "sipe release": "929b70dbc928506a4ae50a7da6ac7a01763aa20f40f8dda400a998567cb8a7df",
}
"""The digests of the plans with stretched class maps, as before presets set `views.enlarging`."""


class OneDataSet(Catalog):
    """Catalog of one data set, for which no file is read."""

    def dataset(self, name: str) -> Artifact:
        return Artifact(Path("nowhere"), {"key": "ab" * 32, "about": ABOUT, "files": {}})

    def slices(self, artifact: Artifact, split: str) -> Sequence[Slice]:
        return (Slice("a.parquet", 0, 800),)

    def has_labels(self, artifact: Artifact, split: str) -> bool:
        return True

    def has_masks(self, artifact: Artifact, split: str) -> bool:
        return True


def made_of(name: str, refinement: str, recipe: str, **changes: str) -> Experiment:
    method, preset = name.split()
    return build_experiment(
        method,
        preset=preset,
        baseline="lpcam" if method == "psdpm" else "",
        recipe=recipe,
        changes={
            "refine.kind": refinement,
            "segment.network": "deeplabv2",
            "segment.splits": ["val"],
            "segment.training.lr": 1,
            **changes,
        },
    )


@pytest.mark.parametrize(("name", "refinement", "recipe", "gpu", "digest"), DIGESTS)
def test_a_plan_has_the_keys_that_it_always_had(
    name: str, refinement: str, recipe: str, gpu: bool, digest: str, tmp_path: Path
) -> None:
    catalog = OneDataSet(Store(tmp_path / "none"), gpu)
    assert plan(made_of(name, refinement, recipe), catalog).digest == digest
    on_cpus = made_of(name, refinement, recipe, **{"refine.crf_backend": "pydensecrf"})
    assert plan(on_cpus, catalog).digest == PYDENSECRF_DIGESTS.get(name, digest)
    if name in STRETCHED_DIGESTS:
        stretched = made_of(name, refinement, recipe, **{"views.enlarging": "stretch"})
        assert plan(stretched, catalog).digest == STRETCHED_DIGESTS[name]


def test_only_the_segmenter_upernet_has_a_loss_in_its_key(tmp_path: Path) -> None:
    def loss(network: str) -> object:
        made = made_of("cam default", "", "", **{"segment.network": network})
        segmenter = plan(made, OneDataSet(Store(tmp_path / "none"), False)).segmenter
        assert segmenter is not None
        return segmenter.config.get("loss")

    assert [loss("deeplabv2"), loss("upernet")] == [None, "enlarged logits"]


@pytest.mark.parametrize("change", [{"segment.scales": (0.5,)}, {"segment.stride": 8}])
def test_sizes_that_only_deeplabv2_reads_are_in_no_key_of_upernet(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    def keys(network: str, **changes: Any) -> set[str]:
        made = made_of("cam default", "", "", **{"segment.network": network, **changes})
        return {s.key for s in plan(made, OneDataSet(Store(tmp_path / "none"), False)).stages}

    assert keys("upernet") == keys("upernet", **change)
    assert keys("deeplabv2") != keys("deeplabv2", **change)
