"""Tests of the archive for the VOC server, which follows the rules of the server."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from wsss.platform.data.images import voc_palette
from wsss.platform.data.sources.voc import CLASSES
from wsss.platform.errors import InputError
from wsss.platform.interop import voc_submission


def test_the_archive_follows_the_rules_of_the_server(tmp_path):
    rng = np.random.default_rng(0)
    planes = {f"2008_{k:06d}": rng.integers(0, 21, (9 + k, 12), dtype=np.uint8) for k in range(3)}
    path = tmp_path / "out" / "results.tgz"
    assert voc_submission.write(path, planes.items()) == 3
    with tarfile.open(path) as archive:
        names = archive.getnames()
        assert names == [f"results/VOC2012/Segmentation/comp5_test_cls/{id}.png" for id in planes]
        for name, plane in zip(names, planes.values(), strict=True):
            image = Image.open(io.BytesIO(archive.extractfile(name).read()))
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), plane)
            used = 3 * (int(plane.max()) + 1)
            assert image.getpalette()[:used] == voc_palette()[:used]


def test_an_archive_that_the_server_would_refuse_is_refused(tmp_path):
    good = tmp_path / "a.tar.gz"
    voc_submission.check(good, CLASSES, "comp6")
    for path, classes, competition, message in (
        (good, CLASSES[:3], "comp5", "20 classes"),
        (good, CLASSES, "comp7", "comp5, comp6"),
        (tmp_path / "a.zip", CLASSES, "comp5", "tar.gz"),
    ):
        with pytest.raises(InputError, match=message):
            voc_submission.check(path, classes, competition)


def test_a_refused_archive_leaves_no_file(tmp_path):
    bad = [("a", np.zeros((2, 2), np.uint8)), ("b", np.full((2, 2), 255, np.uint8))]
    with pytest.raises(InputError, match="image b hold 255"):
        voc_submission.write(tmp_path / "a.tgz", bad)
    assert list(tmp_path.iterdir()) == []
