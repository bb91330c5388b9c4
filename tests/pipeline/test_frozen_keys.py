"""The keys of whole plans as earlier versions computed them, so that stores stay valid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
        "73e726e68142331ac2df69849bd993472a4e721ef9b48fc8259449893870a288",
    ),
    (
        "lpcam paper",
        "irn",
        "psdpm-coco",
        False,
        "7df13d38744f2687e72ae4831a1f425194535a6651a5cc705dcd07e76dc22ed0",
    ),
    (
        "sipe release",
        "crf",
        "",
        True,
        "e600782c691b4464f19396ba2b4be206820e440222a71de559e18e985d9e6a73",
    ),
    (
        "ssc scenes",
        "irn",
        "",
        True,
        "e5693b5aed6b6ec59d638c62e1b1d0ebbb6f28876a5b5c78106c617795eef00b",
    ),
    (
        "psdpm release-coco",
        "irn",
        "psdpm-coco",
        False,
        "3238456fe3784fa56ea2cd8d0b03c9c75442536ab739e84acd3f849fae1b6056",
    ),
]
"""Method and preset, refinement, recipe, whether on a GPU, and the digest of the plan.

Only a new version of a stage, or another default of an option, may change a digest; write the new
digest down then.
"""
PYDENSECRF_DIGESTS = {
    "sipe release": "a4386778236abd99c264f894f03066f31bdbaecf0103f1fedd352068018248eb",
    "ssc scenes": "99e967329e8e94392937cf1ece23bbbfcfd10b2b92716b21c74458cd12d5a68f",
}
"""The digests of the plans on a GPU whose DenseCRF runs on CPUs, as before torch computed it."""


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
