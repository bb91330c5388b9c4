"""Tests of the labels of VOC's images: annotations, and files of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from wsss.platform.data.sources.source import Item
from wsss.platform.data.sources.voc import CLASSES, VOC
from wsss.platform.errors import InputError

ID = "2007_000001"
CAT = CLASSES.index("cat")


def item(tree: Path, id: str = ID) -> tuple[VOC, Item]:
    source = VOC(tree)
    return source, next(i for i in source.items() if i.id == id)


def test_labels_of_several_objects_are_sorted_and_listed_once(voc_tree: Path) -> None:
    names = "".join(f"<object><name>{n}</name></object>" for n in ("dog", "cat", "dog"))
    (voc_tree / f"Annotations/{ID}.xml").write_text(f"<annotation>{names}</annotation>")
    assert item(voc_tree)[1].labels == (CAT, CLASSES.index("dog"))


@pytest.mark.parametrize("column", ["labels", "labels_cls"])
@pytest.mark.parametrize("separator", [" ", ";"])
def test_labels_are_read_from_a_csv(voc_tree: Path, column: str, separator: str) -> None:
    lines = [f"{i.id},{separator.join(['dog', 'cat'])}" for i in VOC(voc_tree).items()]
    (voc_tree / "image_labels.csv").write_text("\n".join([f"id,{column}", *lines]))
    assert item(voc_tree)[1].labels == (CAT, CLASSES.index("dog"))


@pytest.mark.parametrize("underscore", ["_", ""])
def test_labels_are_read_from_an_npz(voc_tree: Path, tmp_path: Path, underscore: str) -> None:
    """The community's file has 2007000032 for 2007_000032."""
    ids = [i.id.replace("_", underscore) for i in VOC(voc_tree).items()]
    labels = np.zeros((4, 20), np.uint8)
    labels[:, 3] = 1
    np.savez(tmp_path / "cls.npz", ids=np.array(ids), labels=labels)
    source = VOC(voc_tree, labels=str(tmp_path / "cls.npz"))
    assert {i.labels for i in source.items()} == {(3,)}


def cells(tree: Path, *labels: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return labels of the four images of the tree, by id; one for all where one is given."""
    ids = [entry.id for entry in VOC(tree).items()]
    return dict(zip(ids, labels * (4 // len(labels)), strict=True))


DOG = CLASSES.index("dog")


def test_pickled_labels_of_irn_and_sipe_are_read(voc_tree: Path, tmp_path: Path) -> None:
    expected = cells(voc_tree, (CAT,), (DOG,))
    for key in (str, lambda id: np.int32(id.replace("_", ""))):
        rows = {key(id): np.eye(20, dtype=np.float32)[k] for id, (k,) in expected.items()}
        np.save(tmp_path / "cls.npy", rows, allow_pickle=True)
        source = VOC(voc_tree, labels=tmp_path / "cls.npy")
        assert {i.id: i.labels for i in source.items()} == expected


def test_lists_of_indices_are_read_and_noted(voc_tree: Path, tmp_path: Path) -> None:
    expected = cells(voc_tree, (CAT, DOG))
    for base in (0, 1):
        rows = (f"{id} {k[0] + base} {k[1] + base}\n" for id, k in expected.items())
        (tmp_path / "cls.txt").write_text("".join(rows))
        source = VOC(voc_tree, labels=tmp_path / "cls.txt", label_base=base or None)
        assert {i.id: i.labels for i in source.items()} == expected
        span = "0 (aeroplane) to 19 (tvmonitor)", "1 (aeroplane) to 20 (tvmonitor)"
        assert f"cls.txt: labels are indices of classes, {span[base]}" in source.notes()
        assert source.settings()["label_base"] == (base or None)
    (tmp_path / "cls.txt").write_text(f"{ID} 20\n")
    with pytest.raises(
        InputError, match=rf"cls\.txt, {ID}: the label 20 is no .* counts .* from 1"
    ):
        VOC(voc_tree, labels=tmp_path / "cls.txt")


def test_lists_of_classes_give_the_labels_of_the_annotations(voc_tree: Path) -> None:
    """An image that has difficult objects of a class alone has the class in both."""
    annotated = {i.id: i.labels for i in VOC(voc_tree).items()}
    main = voc_tree / "ImageSets/Main"
    main.mkdir()
    for k, name in enumerate(CLASSES):
        rows = (f"{id} {0 if k in labels else -1}\n" for id, labels in annotated.items())
        (main / f"{name}_trainval.txt").write_text("".join(rows))
    source = VOC(voc_tree, labels=main)
    assert {i.id: i.labels for i in source.items()} == annotated
    assert "20 classes have lists of -1, 0 and 1" in source.notes()[0]


def test_names_with_blanks_are_one_class(voc_tree: Path) -> None:
    expected = cells(voc_tree, (CLASSES.index("diningtable"), CLASSES.index("tvmonitor")))
    rows = "".join(f'{id},"dining table;tv/monitor"\n' for id in expected)
    (voc_tree / "image_labels.csv").write_text(f"id,labels\n{rows}")
    source = VOC(voc_tree)
    assert {i.id: i.labels for i in source.items()} == expected
    assert source.notes() == [
        "image_labels.csv: other spellings of classes: 'dining table' is diningtable, 'tv/monitor' "
        "is tvmonitor"
    ]


def test_another_spelling_in_an_annotation_is_noted(voc_tree: Path) -> None:
    path = voc_tree / f"Annotations/{ID}.xml"
    path.write_text(path.read_text().replace("cat", "TV monitor"))
    assert item(voc_tree)[1].labels == (CLASSES.index("tvmonitor"),)
    assert VOC(voc_tree).notes() == [
        "Annotations: other spellings of classes: 'TV monitor' is tvmonitor"
    ]


def test_a_label_base_without_indices_is_refused(voc_tree: Path) -> None:
    with pytest.raises(InputError, match="--label-base counts the labels of a file; name one"):
        VOC(voc_tree, label_base=0)
    (voc_tree / "image_labels.csv").write_text(f"id,labels\n{ID},cat\n")
    with pytest.raises(InputError, match="has names as labels, no indices; leave out --label-base"):
        VOC(voc_tree, label_base=1)
    with pytest.raises(InputError, match="--label-base is 2; it must be 0 or 1"):
        VOC(voc_tree, label_base=2)
