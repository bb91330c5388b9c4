"""Tests of the check at the end of `wsss data`, of --check, and of `wsss doctor DATA`."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from wsss.platform.api import Folder, add
from wsss.platform.cli import main
from wsss.platform.data import registry
from wsss.platform.data.formats import shards
from wsss.platform.data.formats.checked_shards import check_of_shards
from wsss.platform.ray_runtime import cluster
from wsss.platform.storage.artifact import Artifact
from wsss.platform.storage.store import Store

COLUMNS = {"kind", "name", "images", "masks", "label without pixel", "pixel without label"}


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read records in this process."""

    def plain_loop(folder: Any, source: Any, plan: Any, tolerate: bool, _: Any) -> Iterator[Any]:
        for name, items in plan:
            if folder is None:
                result = shards.read_records(name, source, items, tolerate)[1]
            else:
                result = shards.write_shard(folder / name, source, items, tolerate)
            yield shards.ShardResult.from_row(result.as_row())

    monkeypatch.setattr(cluster, "connect", lambda: None)
    monkeypatch.setattr(cluster, "cpu_stage_resources", lambda: None)
    monkeypatch.setattr(shards, "_write_shards", plain_loop)


def draw(folder: Path, value: int = 1, count: int = 6) -> Path:
    """Write a folder of images labelled cat or dog, whose masks have a square of class x value."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["id,labels,split"]
    for k in range(count):
        rng = np.random.default_rng(k)
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/i{k}.png")
        mask = np.zeros((20, 30), np.uint8)
        mask[5:15, 5:15] = min(255, (k % 2 + 1) * value)
        Image.fromarray(mask).save(folder / f"masks/i{k}.png")
        lines.append(f"i{k},{('cat', 'dog')[k % 2]},{('train', 'val')[k * 2 // count]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "pets")


def wsss(tmp_path: Path, capsys: Any, *words: str) -> tuple[int, str, str]:
    code = main([*words, "--store", str(tmp_path / "store")])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_right_data_set_ends_with_one_line_on_its_check(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ("data", "folder", str(folder), "--name", "pets", "--quiet")
    code, out, _ = wsss(tmp_path, capsys, *words)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("check:")] == [
        "check: labels and masks agree in all 6 images that have both"
    ]
    code, out, _ = wsss(tmp_path, capsys, *words)
    assert "check: labels and masks agree in all 6 images" in out
    assert "nothing to do" in out


def test_an_honest_mismatch_is_a_line_and_a_row(folder: Path, tmp_path: Path, capsys: Any) -> None:
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("i2,cat", "i2,cat dog"))
    code, out, _ = wsss(tmp_path, capsys, "data", "folder", str(folder), "--quiet")
    assert code == 0
    assert "check: train: labels and masks differ in 1 of 3 images (33.3 %): 1 have" in out
    code, out, _ = wsss(tmp_path, capsys, "doctor", "folder", "--format", "json")
    assert code == 0
    rows = json.loads(out)
    assert {"kind", "name"} < COLUMNS <= set(rows[0])
    by_name = {(row["kind"], row["name"]): row for row in rows}
    assert by_name["all", "all images"]["images"] == 6
    assert by_name["class", "dog"]["label without pixel"] == 1
    assert by_name["split", "train"]["label without pixel"] == 1
    assert by_name["split", "val"]["label without pixel"] == 0


@pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
def test_check_prints_a_table_and_writes_nothing(
    folder: Path, tmp_path: Path, capsys: Any, format: str
) -> None:
    words = ("data", "folder", str(folder), "--check", "--quiet", "--format", format)
    code, out, err = wsss(tmp_path, capsys, *words)
    assert code == 0
    assert not (tmp_path / "store").exists()
    lines = out if format == "table" else err
    assert "labels and masks agree in all 6 images" in lines
    assert "sizes: smallest 30x20, median 30x20, largest 30x20" in lines
    if format == "json":
        assert [row["name"] for row in json.loads(out)] == [
            "all images", "train", "val", "cat", "dog",
        ]  # fmt: skip
    if format == "csv":
        assert [row["masks"] for row in csv.DictReader(out.splitlines())] == [
            "6",
            "3",
            "3",
            "3",
            "3",
        ]
    if format == "markdown":
        assert "| split train | 3 | 3 | 0 | 0 |" in out


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_white_masks_end_with_one_sentence_and_leave_nothing(
    tmp_path: Path, capsys: Any, check: list[str]
) -> None:
    folder = draw(tmp_path / "white", value=255)
    code, out, err = wsss(tmp_path, capsys, "data", "folder", str(folder), "--quiet", *check)
    assert code == 2
    assert err.count("\n") == 1
    assert "the masks of all 6 labelled images have no pixel of any label" in err
    assert "(3 images labelled 'cat' have no pixel of it)" in err
    assert "255, which is void, covers 16.7 % of the pixels" in err
    assert err.rstrip().endswith("--mask-values 0=background 255=label")
    assert ("label without pixel" in out) is bool(check)
    assert registry.names(Store(tmp_path / "store")) == []
    assert not list((tmp_path / "store").glob("artifacts/*/*"))


def test_check_names_every_broken_image_and_ends_as_data_would(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    for k in (1, 4):
        (folder / f"images/i{k}.png").write_bytes(b"no image")
    words = ("data", "folder", str(folder), "--check", "--quiet")
    code, out, err = wsss(tmp_path, capsys, *words)
    assert code == 2
    assert out.count("broken: ") == 2
    assert "2 of 6 records are broken; the first: " in err
    code, out, _ = wsss(tmp_path, capsys, *words, "--quarantine", "0.5")
    assert code == 0
    assert "all images" in out


def test_a_copy_of_a_training_image_in_val_is_named(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    shutil.copy(folder / "images/i0.png", folder / "images/i4.png")
    _, out, _ = wsss(tmp_path, capsys, "data", "folder", str(folder), "--quiet")
    assert "check: 1 image of train also in val: i0 = i4" in out.splitlines()


def test_the_check_of_older_shards_is_computed_from_them(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    shutil.copy(folder / "images/i0.png", folder / "images/i4.png")
    turned = Image.Exif()
    turned[0x0112] = 3
    with Image.open(folder / "images/i5.png") as image:
        image.save(folder / "images/i5.png", exif=turned)
    options = ("--name", "pets", "--orientation", "stored", "--quiet")
    wsss(tmp_path, capsys, "data", "folder", str(folder), *options)
    artifact = registry.open_dataset(Store(tmp_path / "store"), "pets")
    kept = check_of_shards(artifact)
    assert (kept.whole.turned, kept.duplicates[0].first) == (1, (("i0", "i4"),))
    about = {k: v for k, v in artifact.about.items() if k != "check"}
    older = Artifact(artifact.folder, {**artifact.manifest, "about": about})
    assert check_of_shards(older) == kept
    assert artifact.about["origin"]["images"] == ["images/*.png"]
    assert artifact.about["origin"]["lists"] == {
        split: digest["ids"] for split, digest in artifact.about["digests"].items()
    }


def test_the_python_api_says_what_the_check_finds(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    add(Folder(folder), "pets", store=tmp_path / "store")
    assert "check: labels and masks agree in all 6 images" in capsys.readouterr().err
    add(Folder(folder), "pets", store=tmp_path / "store", quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("names", "state"),
    [((), "none that PyTorch can use"), (("A", "B", "A"), "2 x A, 1 x B")],
)
def test_doctor_names_the_gpus(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], state: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
    code, out, _ = wsss(tmp_path, capsys, "doctor")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("GPUs "))
    assert line.split(maxsplit=1)[1].startswith(state)


def test_doctor_names_the_data_sets_that_there_are(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    wsss(tmp_path, capsys, "data", "folder", str(folder), "--name", "pets", "--quiet")
    code, _, err = wsss(tmp_path, capsys, "doctor", "cats")
    assert code == 2
    assert f"no data set 'cats' in the store {tmp_path / 'store'}; there are: pets (make it" in err
    code, out, _ = wsss(tmp_path, capsys, "doctor", "pets")
    assert code == 0
    assert out.splitlines()[0].split()[:2] == ["images", "masks"]
