"""Tests of scores that follow from the counts of a split."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from wsss.platform.errors import InputError
from wsss.platform.stages.labels import scoring
from wsss.platform.storage.artifact_files import LocalFolder


@pytest.mark.parametrize("threshold", [None, 0.5], ids=["chosen", "given"])
def test_a_split_whose_masks_are_void_has_no_scores(tmp_path, threshold):
    """A data set of an earlier version has no check, which finds such masks before any stage."""
    classes = ["background", "ant", "bee"]

    def score(values):
        tally = scoring.Tally.empty(len(classes))
        mask = torch.tensor(values, dtype=torch.uint8)
        tally.add(mask, torch.rand(mask.shape), torch.ones(mask.shape, dtype=torch.uint8), None)
        scoring.write_tally(LocalFolder(tmp_path), tally)
        artifact = SimpleNamespace(
            file=lambda name: LocalFolder(tmp_path) / name, about={"images": 1}
        )
        return scoring.read_score(
            artifact, split="val", classes=classes, scored=range(3), threshold=threshold
        )

    assert np.nanmax(score([[255, 1], [0, 255]]).miou) > 0
    with pytest.raises(InputError, match=r"split 'val' cannot be scored, .* correct the masks, or"):
        score([[255, 255], [255, 255]])
