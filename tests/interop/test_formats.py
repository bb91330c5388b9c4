"""Tests of class maps of other projects: round trips, wrong conventions, malicious files."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.data.formats.class_maps import ClassMaps
from wsss.platform.data.readers import safe_pickle
from wsss.platform.errors import InputError
from wsss.platform.interop import formats
from wsss.platform.interop.formats import FORMATS

CLASSES, SIZE = 5, (45, 62)
CLASS_MAP_FORMATS = [kind for kind, form in FORMATS.items() if not form.probabilities]
SHARED = Path(__file__).parents[3] / "shared/data/labels/voc12"


def maps_of(labels, background, seed=0, size=SIZE):
    """Return smooth maps, which lose next to nothing on a coarse grid."""
    background_class = [0] * background
    rows, columns = np.mgrid[: -(-size[0] // 4), : -(-size[1] // 4)]
    rng = np.random.default_rng(seed)
    planes = [
        0.5 + 0.45 * np.sin(rng.uniform(0.05, 0.15) * rows + rng.uniform(0.05, 0.15) * columns)
        for _ in range(len(background_class) + len(labels))
    ]
    block = np.array(planes, np.float16).reshape(len(planes), *rows.shape)
    classes = (*background_class, *(n + 1 for n in labels))
    return ClassMaps(id="a", classes=classes, planes=block, height=size[0], width=size[1])


@pytest.mark.parametrize("kind", CLASS_MAP_FORMATS)
@pytest.mark.parametrize("labels", [(2,), (0, 3, 4), ()])
def test_written_maps_are_read_back(tmp_path, kind, labels):
    maps = maps_of(labels, FORMATS[kind].background)
    path = formats.write(kind, tmp_path, maps, CLASSES)
    again = formats.read(kind, path, "a", labels, SIZE, CLASSES)
    assert (again.id, again.classes) == ("a", maps.classes)
    assert (again.height, again.width) == SIZE
    assert again.planes.shape == maps.planes.shape
    np.testing.assert_allclose(
        again.planes.astype(np.float32), maps.planes.astype(np.float32), atol=0.03
    )


def saved(path, content):
    np.save(path, content)
    return path


def plane(value=0.5, size=SIZE):
    return np.full(size, value, np.float32)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("irn", {"keys": [3], "high_res": plane()[None]}, "labels"),
        ("irn", {"keys": [1, 4], "high_res": np.stack([plane()] * 2)}, "count from 1"),
        ("mctformer", {0: plane(), 1: plane(), 4: plane()}, "count from 1"),
        ("irn", {"keys": [0, 3], "high_res": plane()[None]}, "1 planes for 2"),
        ("amn", {"keys": [0, 3], "high_res": np.stack([plane()] * 2)}, "a background plane"),
        ("irn", {"keys": [0, 3], "high_res": np.stack([plane(3.0)] * 2)}, "from 3 to 3"),
        ("irn", {"keys": [0, 3], "high_res": np.stack([plane(size=(62, 45))] * 2)}, "62 x 45"),
        ("irn", {"keys": [0, 3], "cam": plane()[None]}, "high_res"),
        ("sipe", {"keys": [0, 3], "cam": plane()[None]}, "IS_CAM"),
        ("sipe", {"keys": [1, 4], "IS_CAM": np.stack([plane()] * 3)}, "do not begin with 0"),
        ("sipe", {"keys": [0, 3], "IS_CAM": np.stack([plane()] * 3)}, "its classes are"),
        ("drs", np.ones((5, 320, 320), np.uint8), r"of the classes \[1, 2, 4\] are not zero"),
        ("drs", np.zeros((5, 320, 320), np.float32), "hold float32, not whole numbers of 8 bits"),
        ("drs", np.zeros((4, 320, 320), np.uint8), "planes of 4 classes"),
        ("mctformer", {"a": plane()}, "dict from class numbers"),
        ("clip-es", {"keys": [0, 3], "attn_highres": np.array(["a", "b"])}, "not numbers"),
    ],
)
def test_wrong_conventions_are_refused(tmp_path, kind, content, message):
    path = saved(tmp_path / "a.npy", content)
    with pytest.raises(InputError, match=message):
        formats.read(kind, path, "a", (0, 3), SIZE, CLASSES)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations([0, 2, 4]))
def test_planes_follow_their_classes_in_any_key_order(tmp_path_factory, order):
    path = tmp_path_factory.mktemp("a") / "a.npy"
    planes = np.stack([plane((k + 1) / 10) for k in order])
    saved(path, {"keys": torch.tensor(order), "attn_highres": planes.astype(np.float16)})
    maps = formats.read("clip-es", path, "a", (0, 2, 4), SIZE, CLASSES)
    assert maps.classes == (1, 3, 5)
    np.testing.assert_allclose(maps.planes[:, 0, 0].astype(float), [0.1, 0.3, 0.5], atol=1e-3)


def test_maps_of_sipe_have_the_keys_of_its_code(tmp_path):
    """Its code pads the labels with the background in front, and saves where they are not zero."""
    planes = np.stack([plane((k + 1) / 10) for k in range(3)])
    path = saved(tmp_path / "a.npy", {"keys": np.array([0, 1, 4]), "IS_CAM": planes})
    maps = formats.read("sipe", path, "a", (0, 3), SIZE, CLASSES)
    assert maps.classes == (0, 1, 4)
    np.testing.assert_allclose(maps.planes[:, 0, 0].astype(float), [0.1, 0.2, 0.3], atol=1e-3)
    content = safe_pickle.load(formats.write("sipe", tmp_path, maps, CLASSES))
    assert content["keys"].tolist() == [0, 1, 4]
    assert content["IS_CAM"].shape == (3, *SIZE)


def test_an_image_without_labels_may_have_no_file():
    """MCTformer writes none."""
    assert formats.without_file("mctformer", [])
    for kind, labels in (("mctformer", [1]), ("sipe", []), ("msc-seg", []), ("png", [])):
        assert not formats.without_file(kind, labels)
    maps = formats.no_maps("a", SIZE)
    assert (maps.classes, maps.planes.shape) == ((), (0, 12, 16))


def test_maps_that_do_not_fit_a_format_are_not_written(tmp_path):
    with pytest.raises(InputError, match="have no background plane"):
        formats.write("sipe", tmp_path, maps_of((1,), False), CLASSES)
    with pytest.raises(InputError, match="have a background plane"):
        formats.write("irn", tmp_path, maps_of((1,), True), CLASSES)
    assert list(tmp_path.iterdir()) == []


class Evil:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("place", ["whole", "value", "key", "storage"])
def test_a_malicious_file_runs_nothing(tmp_path, place):
    mark = tmp_path / "ran"
    evil = Evil(mark)
    if place == "storage":
        inner = pickle.dumps(evil)

        class Tensor:
            def __reduce__(self):
                return torch.storage._load_from_bytes, (inner,)

        evil = Tensor()
    content = {"whole": evil, "value": {"keys": evil}, "key": {1: [evil]}, "storage": [evil]}[place]
    box = np.empty((), object)
    box[()] = content
    path = saved(tmp_path / "a.npy", box)
    with pytest.raises(InputError, match=r"a\.npy is not read"):
        safe_pickle.load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "data", [b"", b"no array", b"\x93NUMPY\x01\x00", pickle.dumps({"keys": [1]})]
)
def test_files_that_are_no_npy_are_refused(tmp_path, data):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(InputError, match="is not read"):
        safe_pickle.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no"):
        safe_pickle.load(tmp_path / "b.npy")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the label files beside the project are not there")
def test_the_communitys_label_file_is_read():
    labels = safe_pickle.load(SHARED / "cls_labels_irn_PICKLED.npy")
    assert len(labels) == 12031
    with np.load(SHARED / "cls_labels_safe.npz") as safe:
        for id, row in list(zip(safe["ids"], safe["labels"], strict=True))[:50]:
            key = int(str(id).replace("_", ""))
            np.testing.assert_array_equal(np.asarray(labels[key], np.uint8), row)


def logits_of(seed=0, size=(6, 8)):
    return np.random.default_rng(seed).normal(0, 3, (CLASSES + 1, *size)).astype(np.float32)


@pytest.mark.parametrize("form", ["logits", "probabilities", "batched"])
def test_a_segmenters_scores_become_probabilities_of_all_classes(tmp_path, form):
    logits = logits_of()
    shares = torch.from_numpy(logits).softmax(0).numpy()
    content = {"logits": logits, "probabilities": shares, "batched": logits[None]}[form]
    path = saved(tmp_path / "a.npy", {"msc_seg": content})
    maps = formats.read("msc-seg", path, "a", (2,), SIZE, CLASSES)
    assert maps.classes == tuple(range(CLASSES + 1))
    assert maps.planes.shape == (CLASSES + 1, 6, 8)
    np.testing.assert_allclose(maps.planes.astype(np.float32), shares, atol=2e-3)


@pytest.mark.parametrize("size", [(7, 9), (6, 9), (45, 62), (12, 16)])
def test_scores_of_other_grids_are_resized_to_stride_8(tmp_path, size):
    path = saved(tmp_path / "a.npy", {"msc_seg": logits_of(size=size)})
    maps = formats.read("msc-seg", path, "a", (), SIZE, CLASSES)
    assert maps.planes.shape == (CLASSES + 1, 6, 8)
    np.testing.assert_allclose(maps.planes.astype(np.float32).sum(0), 1, atol=5e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"seg": logits_of()}, "msc_seg"),
        ({"msc_seg": logits_of()[:-1]}, "planes of 4 classes"),
        ({"msc_seg": logits_of()[0]}, "not \\[C,h,w\\]"),
        ({"msc_seg": np.full((CLASSES + 1, 6, 8), 0.2, np.float32)}, "do not add up"),
        ({"msc_seg": np.full((CLASSES + 1, 6, 8), 40, np.uint8)}, "integers"),
        ({"msc_seg": np.full((CLASSES + 1, 6, 8), np.nan)}, "not finite"),
        ({"msc_seg": logits_of(size=(8, 6))}, "8 x 6"),
    ],
)
def test_scores_of_another_convention_are_refused(tmp_path, content, message):
    path = saved(tmp_path / "a.npy", content)
    with pytest.raises(InputError, match=message):
        formats.read("msc-seg", path, "a", (2,), SIZE, CLASSES)


def test_written_scores_are_read_back(tmp_path):
    path = saved(tmp_path / "a.npy", {"msc_seg": logits_of()})
    first = formats.read("msc-seg", path, "a", (), SIZE, CLASSES)
    other = tmp_path / "other"
    other.mkdir()
    again = formats.write("msc-seg", other, first, CLASSES)
    reread = formats.read("msc-seg", again, "a", (), SIZE, CLASSES)
    np.testing.assert_allclose(
        reread.planes.astype(np.float32), first.planes.astype(np.float32), atol=2e-3
    )


def test_maps_at_stride_4_are_written_beside_those_at_image_size(tmp_path):
    small = maps_of((2,), False)
    large = replace(small, planes=np.ones((1, *SIZE), np.float16))
    content = safe_pickle.load(formats.write("irn", tmp_path, large, CLASSES, small))
    assert (content["high_res"] == 1).all()
    np.testing.assert_array_equal(content["cam"], small.planes.astype(np.float32))


def test_maps_of_present_classes_are_not_written_as_scores(tmp_path):
    with pytest.raises(InputError, match="not of all classes"):
        formats.write("msc-seg", tmp_path, maps_of((2,), True), CLASSES)
