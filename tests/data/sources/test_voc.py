"""Tests of VOC trees: what is read, and the sentence for each fault."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from wsss.platform.data.formats.shard_records import row_of
from wsss.platform.data.images import decode_mask
from wsss.platform.data.sources.source import Item, Record
from wsss.platform.data.sources.voc import CLASSES, VOC
from wsss.platform.errors import InputError

Bytes = Callable[..., bytes]
LISTS = "ImageSets/Segmentation"
ID = "2007_000001"
CAT = CLASSES.index("cat")


def item(tree: Path, id: str = ID) -> tuple[VOC, Item]:
    source = VOC(tree)
    return source, next(i for i in source.items() if i.id == id)


def load(tree: Path, id: str = ID) -> Record:
    source, entry = item(tree, id)
    return source.load(entry)


def test_items_are_split_by_the_lists(voc_tree: Path) -> None:
    source = VOC(voc_tree)
    assert source.name == "voc"
    assert source.classes == CLASSES
    assert tuple(sorted(CLASSES)) == CLASSES
    assert source.splits == {
        "train": ("train+train_aug",),
        "train_aug": ("train+train_aug", "train_aug"),
        "val": ("val",),
    }
    splits = [i.split for i in source.items()]
    assert sorted(splits) == ["train+train_aug", "train+train_aug", "train_aug", "val"]


def test_a_record_holds_image_labels_and_mask(voc_tree: Path) -> None:
    record = load(voc_tree)
    assert record.image == (voc_tree / f"JPEGImages/{ID}.jpg").read_bytes()
    assert record.pixels.shape == (8, 12, 3)
    assert record.labels == (CAT,)
    assert record.split == "train+train_aug"
    assert record.mask is not None
    assert set(np.unique(record.mask)) == {0, 8, 255}
    assert record.parts is None


def test_a_mask_of_sbd_is_read_from_its_folder(voc_tree: Path) -> None:
    _, entry = item(voc_tree, "2008_000003")
    assert entry.mask == "SegmentationClassAug/2008_000003.png"


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationClassAug", "cls"])
def test_a_mask_of_sbd_is_read_as_it_is_downloaded(voc_tree: Path, folder: str) -> None:
    """The file has GTcls.Segmentation beside boundaries and the present categories."""
    id = "2008_000003"
    (voc_tree / f"SegmentationClassAug/{id}.png").unlink()
    expected = np.zeros((8, 12), np.uint8)
    expected[1:4, 2:9] = 1 + CAT
    structure = {"Segmentation": expected, "CategoriesPresent": [1 + CAT]}
    (voc_tree / folder).mkdir(exist_ok=True)
    savemat(voc_tree / folder / f"{id}.mat", {"GTcls": structure}, do_compression=True)
    _, entry = item(voc_tree, id)
    assert entry.mask == f"{folder}/{id}.mat"
    record = load(voc_tree, id)
    np.testing.assert_array_equal(record.mask, expected)
    assert record.notes == ("the mask was read from SBD's GTcls.Segmentation (.mat)",)


def test_a_stored_mask_has_the_values_of_its_file(voc_tree: Path) -> None:
    file = (voc_tree / f"SegmentationClass/{ID}.png").read_bytes()
    np.testing.assert_array_equal(load(voc_tree).mask, decode_mask(file, ID))
    assert load(voc_tree).notes == ()
    assert VOC(voc_tree).notes() == []


def test_images_of_the_test_list_need_no_labels(voc_tree: Path, make_picture: Bytes) -> None:
    new = "2010_000005"
    (voc_tree / f"JPEGImages/{new}.jpg").write_bytes(make_picture())
    (voc_tree / f"{LISTS}/test.txt").write_text(f"{new}\n")
    source = VOC(voc_tree, lists=("train", "test"))
    item_by_id = {i.id: i for i in source.items()}
    assert (item_by_id[new].labels, item_by_id[new].split, item_by_id[new].mask) == (
        (),
        "test",
        None,
    )
    assert source.load(item_by_id[new]).labels == ()
    (voc_tree / "image_labels.csv").write_text(f"id,labels\n{ID},cat\n2007_000002,cat\n")
    assert {i.id: i.labels for i in VOC(voc_tree, lists=("train", "test")).items()}[new] == ()
    (voc_tree / f"{LISTS}/other.txt").write_text(f"{new}\n")
    with pytest.raises(InputError, match=f"no labels of image {new}"):
        VOC(voc_tree, lists=("train", "other"))


def test_the_devkit_folder_around_the_tree_is_accepted(voc_tree: Path, tmp_path: Path) -> None:
    shutil.move(voc_tree, tmp_path / "VOCdevkit" / "VOC2012")
    assert len(VOC(tmp_path / "VOCdevkit").items()) == 4


def test_a_source_pickles(voc_tree: Path) -> None:
    source, entry = item(voc_tree)
    copy = pickle.loads(pickle.dumps(source))
    loaded = copy.load(pickle.loads(pickle.dumps(entry)))
    assert row_of(loaded) == row_of(source.load(entry))


def test_a_list_may_have_no_masks(voc_tree: Path) -> None:
    (voc_tree / f"{LISTS}/test.txt").write_text(f"{ID} 1\n")
    shutil.rmtree(voc_tree / "SegmentationClass")
    source = VOC(voc_tree, lists=("test",))
    assert source.splits == {"test": ("test",)}
    assert source.load(source.items()[0]).mask is None


def test_classes_may_be_listed_in_a_file(voc_tree: Path) -> None:
    (voc_tree / "classes.txt").write_text("background\ncat\ndog\n")
    assert VOC(voc_tree).classes == ("cat", "dog")


def test_the_fingerprint_depends_on_files_and_labels(voc_tree: Path) -> None:
    seen = {VOC(voc_tree).fingerprint()}
    assert VOC(voc_tree).fingerprint() in seen
    seen.add(VOC(voc_tree, lists=("train",)).fingerprint())
    image = voc_tree / f"JPEGImages/{ID}.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    seen.add(VOC(voc_tree).fingerprint())
    xml = voc_tree / f"Annotations/{ID}.xml"
    xml.write_text(xml.read_text().replace("cat", "dog"))
    seen.add(VOC(voc_tree).fingerprint())
    assert len(seen) == 4


def test_equal_labels_of_another_file_are_other_content(voc_tree: Path, tmp_path: Path) -> None:
    """The sentences on how a file was read belong to the shards."""
    before = VOC(voc_tree)
    rows = "".join(f"{id} cat\n" for id in before.labels)
    (tmp_path / "labels.txt").write_text(rows)
    after = VOC(voc_tree, labels=tmp_path / "labels.txt")
    assert after.labels == before.labels
    assert after.fingerprint() != before.fingerprint()
    assert before.settings()["labels"] == "Annotations"
    assert after.settings()["labels"] == "labels.txt"


def test_the_fingerprint_does_not_depend_on_the_folder(voc_tree: Path, tmp_path: Path) -> None:
    before = VOC(voc_tree).fingerprint()
    assert VOC(shutil.move(voc_tree, tmp_path / "elsewhere")).fingerprint() == before


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no VOC folder .*nowhere"):
        VOC(tmp_path / "nowhere")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(InputError, match="hollow is empty"):
        VOC(tmp_path / "hollow")


def test_a_missing_image_folder_is_named(voc_tree: Path) -> None:
    shutil.rmtree(voc_tree / "JPEGImages")
    with pytest.raises(InputError, match=r"there is no image folder .*JPEGImages"):
        VOC(voc_tree)


def test_missing_lists_are_named(voc_tree: Path) -> None:
    with pytest.raises(InputError, match=r"there is no list .*test\.txt"):
        VOC(voc_tree, lists=("test",))
    shutil.rmtree(voc_tree / LISTS)
    with pytest.raises(InputError, match=r"Segmentation holds none of train\.txt"):
        VOC(voc_tree)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"list .*val\.txt is empty"),
        ("\n\n", r"list .*val\.txt is empty"),
        ("a/b\n", r"val\.txt, line 1: image id 'a/b' is not allowed"),
        ("..\n", r"val\.txt, line 1: image id '\.\.' is not allowed"),
        ("2009_000004\n2009_000004\n", r"list .*val\.txt names 2009_000004 twice"),
    ],
)
def test_faulty_lists_are_refused(voc_tree: Path, text: str, sentence: str) -> None:
    (voc_tree / f"{LISTS}/val.txt").write_text(text)
    with pytest.raises(InputError, match=sentence):
        VOC(voc_tree)


def test_a_missing_image_is_named(voc_tree: Path) -> None:
    (voc_tree / "JPEGImages/2009_000004.jpg").unlink()
    with pytest.raises(InputError, match=r"list val names 2009_000004, .*2009_000004\.jpg"):
        VOC(voc_tree).items()


def test_an_unknown_label_is_named(voc_tree: Path) -> None:
    path = voc_tree / f"Annotations/{ID}.xml"
    path.write_text(path.read_text().replace("cat", "unicorn"))
    with pytest.raises(InputError, match=rf"{ID}\.xml: label 'unicorn' is not among aeroplane"):
        VOC(voc_tree)
    (voc_tree / "image_labels.csv").write_text(f"id,labels\n{ID},unicorn\n")
    with pytest.raises(InputError, match=rf"image_labels\.csv, {ID}: label 'unicorn'"):
        VOC(voc_tree)


def test_an_image_without_labels_is_named(voc_tree: Path) -> None:
    (voc_tree / f"Annotations/{ID}.xml").unlink()
    with pytest.raises(InputError, match=f"image {ID} has no labels"):
        VOC(voc_tree)
    (voc_tree / "image_labels.csv").write_text("id,labels\n2009_000004,cat\n")
    with pytest.raises(InputError, match=rf"image_labels\.csv has no labels of image {ID}"):
        VOC(voc_tree)


def test_an_unreadable_annotation_is_named(voc_tree: Path) -> None:
    (voc_tree / f"Annotations/{ID}.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=rf"{ID}\.xml is not readable XML"):
        VOC(voc_tree)


def test_faulty_label_files_are_refused(voc_tree: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "cls.npy", np.array({ID: print}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"cls\.npy is not read: .*calls .*print.*not allowed"):
        VOC(voc_tree, labels=str(tmp_path / "cls.npy"))
    np.savez(tmp_path / "p.npz", ids=np.array([{}], dtype=object), labels=np.zeros((1, 20)))
    with pytest.raises(InputError, match=r"p\.npz is no \.npz file of arrays"):
        VOC(voc_tree, labels=str(tmp_path / "p.npz"))
    np.savez(tmp_path / "n.npz", ids=np.array(["a"]), labels=np.zeros((1, 19)))
    with pytest.raises(InputError, match=r"n\.npz, a: the row has 19 numbers; 20 classes need 20"):
        VOC(voc_tree, labels=str(tmp_path / "n.npz"))
    with pytest.raises(InputError, match=r"there is no label file .*gone\.csv"):
        VOC(voc_tree, labels=str(tmp_path / "gone.csv"))


def test_a_mask_of_another_size_is_refused(voc_tree: Path, make_mask: Bytes) -> None:
    (voc_tree / f"SegmentationClass/{ID}.png").write_bytes(make_mask(8, height=9))
    with pytest.raises(InputError, match=rf"mask .*{ID}\.png is 12x9.*its image 12x8"):
        load(voc_tree)


def test_a_mask_value_beyond_the_classes_is_refused(voc_tree: Path, make_mask: Bytes) -> None:
    (voc_tree / f"SegmentationClass/{ID}.png").write_bytes(make_mask(21))
    with pytest.raises(InputError, match=rf"mask .*{ID}\.png .* 21; allowed are 0"):
        load(voc_tree)


def test_a_truncated_image_is_named(voc_tree: Path, make_picture: Bytes) -> None:
    data = make_picture(size=(64, 64))
    (voc_tree / f"JPEGImages/{ID}.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=rf"{ID}\.jpg is truncated"):
        load(voc_tree)


@pytest.mark.shared
def test_the_development_images_are_read() -> None:
    tree = Path(__file__).parents[4] / "shared" / "data" / "voc12_animals"
    if not tree.is_dir():
        pytest.skip("the development images ../shared/data/voc12_animals are not here")
    source = VOC(tree)
    items = source.items()
    counts = {s: sum(i.split in parts for i in items) for s, parts in source.splits.items()}
    assert counts == {"train": 437, "val": 445, "train_aug": 637}
    for entry in items:
        assert entry.mask is not None
        mask = decode_mask((tree / entry.mask).read_bytes(), entry.mask)
        assert ((mask <= 20) | (mask == 255)).all()
    assert source.load(items[0]).labels
