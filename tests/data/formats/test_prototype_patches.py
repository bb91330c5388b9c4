"""Tests of the positions closest to each prototype against a loop over all positions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from wsss.platform.data.formats import prototype_patches
from wsss.platform.storage.artifact_files import LocalFolder


def test_closest_patches_equal_a_loop_over_all_positions(tmp_path: Path) -> None:
    """The prototypes are those of the background and of present classes; the grid is not square."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 3, 7, generator=generator)
    prototypes = {n: 4 * torch.randn(2 + n, 5, generator=generator) for n in (0, 1, 3)}
    labels = torch.tensor([[1, 0, 1], [0, 1, 0]])
    patches_by_image = prototype_patches.closest_patches_by_image(
        ["a", "b"], labels, features, prototypes
    )
    assert [{p.value for p in patches} for patches in patches_by_image] == [{0, 1, 3}, {0}]
    for patches, image in zip(patches_by_image, features.double().numpy(), strict=True):
        for patch in patches:
            center = prototypes[patch.value][patch.number].double().numpy()
            cosines = {
                (y, x): image[:, y, x] @ center / np.linalg.norm(image[:, y, x])
                for y, x in np.ndindex(3, 7)
            }
            y, x = max(cosines, key=cosines.__getitem__)
            assert (patch.y, patch.x) == ((y + 0.5) / 3, (x + 0.5) / 7)
            expected = cosines[y, x] / np.linalg.norm(center)
            assert patch.cosine == pytest.approx(expected, abs=1e-6)
        assert [p.number for p in patches if p.value == 0] == [0, 1]
    rows = [p for patches in patches_by_image for p in patches]
    prototype_patches.write(LocalFolder(tmp_path) / "a", rows)
    for ours, read in zip(rows, prototype_patches.read(tmp_path / "a"), strict=True):
        assert (ours.id, ours.value, ours.number, ours.kind) == (
            read.id, read.value, read.number, read.kind,
        )  # fmt: skip
        assert math.isclose(ours.cosine, read.cosine, rel_tol=1e-6)
