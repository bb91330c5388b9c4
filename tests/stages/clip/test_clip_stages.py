"""Tests of the stages of CLIP methods on single slices, and of the files of arrays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wsss.methods.clip_es import CLIPES, CLIPESConfig
from wsss.platform.config.experiment import Views
from wsss.platform.data.formats import class_maps, shards
from wsss.platform.errors import InputError
from wsss.platform.models.clip import image_tower
from wsss.platform.stages.clip import gradient_maps, image_arrays, networks, refined_maps, towers
from wsss.platform.stages.clip.image_arrays import ImageArray
from wsss.platform.stages.inference import actors
from wsss.platform.stages.labels.pseudo_labels import Cut, seed_labels
from wsss.platform.storage.artifact_files import LocalFolder

CLASSES = ("ant", "bee", "cow")


@pytest.fixture
def pieces(write_shards):
    """Return the slice of five images, the third of which has no label."""
    (piece,) = write_shards((5,), size=(21, 34))
    path = piece.file.local()
    rows = pq.read_table(path).to_pylist()
    rows[2]["labels"] = []
    pq.write_table(pa.Table.from_pylist(rows, schema=shards.SCHEMA), path)
    return (piece,)


def made(pieces, clip_file, root, **views):
    """Compute all stages below a folder and return the folders by name."""
    folders = {n: LocalFolder(root / n) for n in ("clip", "texts", "tokens", "w", "initial", "out")}
    for folder in folders.values():
        folder.path.mkdir(parents=True)
    method = CLIPES(CLIPESConfig(blocks=3))
    networks.keep(folders["clip"], str(clip_file))
    network = folders["clip"] / networks.NETWORK
    networks.embed(folders["texts"], network, method.texts(CLASSES))
    common = {"network": network, "views": Views(actors=1, **views)}
    for name, blocks, actor in (("tokens", 0, towers.Tokens), ("w", 3, towers.Attention)):
        job = towers.Job(position="clip_es", blocks=blocks, folder=folders[name], **common)
        assert [actor(job).work(piece) for piece in pieces] == [5]
    job = gradient_maps.Job(
        method=method,
        classes=len(CLASSES),
        embeddings=folders["texts"] / networks.EMBEDDINGS,
        tokens=folders["tokens"],
        folder=folders["initial"],
        **common,
    )
    gradient_maps.GradientMaps(job).work(pieces[0])
    refine = refined_maps.Job(
        method=method, attention=folders["w"], maps=folders["initial"], folder=folders["out"]
    )
    refined_maps.refine_slice(pieces[0], refine)
    return folders


def maps_in(folder, pieces):
    return list(class_maps.read([(folder / f"{pieces[0].name}.parquet").local()]))


def test_images_together_have_the_maps_of_images_alone(pieces, clip_file, tmp_path, monkeypatch):
    alone = made(pieces, clip_file, tmp_path / "alone")
    monkeypatch.setattr(actors, "images_at_once", lambda views, device: 4)
    together = made(pieces, clip_file, tmp_path / "together")
    for name in ("initial", "out"):
        for one, other in zip(
            maps_in(alone[name], pieces), maps_in(together[name], pieces), strict=True
        ):
            assert (one.id, one.classes) == (other.id, other.classes)
            # A step of float16 in a token may move an initial map over the edge of its box mask.
            difference = np.abs(one.planes.astype(float) - other.planes)
            assert one.planes.shape == other.planes.shape
            assert difference.sum() <= 2e-3 * difference.size


def test_an_image_without_labels_is_background(pieces, clip_file, tmp_path):
    folders = made(pieces, clip_file, tmp_path)
    for name in ("initial", "out"):
        maps = maps_in(folders[name], pieces)
        assert [m.id for m in maps] == [row["id"] for row in shards.read(pieces[0], ("id",))]
        assert maps[2].classes == ()
        assert not seed_labels(maps[2], 0.0, Cut(levels=(0.0,))).any()
        assert all(m.planes.shape == (len(m.classes), 6, 9) for m in maps)
        assert sum(not m.classes for m in maps) == 1
    for name in ("tokens", "w", "initial"):
        file = folders[name] / f"{pieces[0].name}{image_arrays.SUFFIX}"
        assert len(list(image_arrays.read(file))) == 4


def test_bfloat16_gives_nearly_the_same_attention(pieces, clip_file, tmp_path):
    arrays = []
    for precision in ("fp32", "bf16"):
        folders = made(pieces, clip_file, tmp_path / precision, precision=precision)
        file = folders["w"] / f"{pieces[0].name}{image_arrays.SUFFIX}"
        arrays.append(np.stack([row.values for row in image_arrays.read(file)]).astype(float))
    assert arrays[0].mean() == pytest.approx(1, abs=0.2)
    assert np.abs(arrays[0] - arrays[1]).mean() < 0.1


def test_a_large_image_has_a_coarser_grid(pieces, clip_file, tmp_path):
    folder = LocalFolder(tmp_path / "clip")
    folder.path.mkdir()
    networks.keep(folder, str(clip_file))
    patch_bytes = image_tower.patch_bytes(networks.load(folder / networks.NETWORK).visual)
    limit = 8 * (8 * image_tower.PAIR_BYTES + patch_bytes) / 2**30
    views = dataclasses.replace(Views(), image_gib=0.1)
    object.__setattr__(views, "image_gib", limit)
    out = LocalFolder(tmp_path / "out")
    out.path.mkdir()
    job = towers.Job(
        network=folder / networks.NETWORK, position="clip_es", blocks=0, folder=out, views=views
    )
    actor = towers.Tokens(job)
    assert actor.most_pixels == 8 * 64, "larger images are not grouped"
    actor.work(pieces[0])
    (file,) = [out / name for name in out.names()]
    assert {row.grid for row in image_arrays.read(file)} == {(2, 3)}


def test_arrays_that_do_not_fit_the_disk_are_refused(pieces, clip_file, tmp_path):
    folder = LocalFolder(tmp_path / "clip")
    folder.path.mkdir()
    networks.keep(folder, str(clip_file))
    for blocks, need in ((0, 5 * 2 * 16 * 128), (3, 5 * 2 * 15 * 15)):
        job = towers.Job(
            network=folder / networks.NETWORK,
            position="clip_es",
            blocks=blocks,
            folder=folder,
            views=Views(),
        )
        with pytest.raises(InputError, match=r"take about 0\.0 GB but the store's disk has only"):
            towers.run(job, pieces, need - 1, lambda done, total: None)


def array(**changes):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    row = ImageArray(id="a", labels=(1, 4), height=5, width=6, grid=(1, 2), values=values)
    return dataclasses.replace(row, **changes)


def test_arrays_are_read_as_they_were_written(tmp_path):
    rows = [array(), array(id="b", labels=(), values=np.zeros((3, 0, 2), np.float16))]
    file = LocalFolder(tmp_path) / "a.arrays"
    image_arrays.write(file, rows)
    for before, after in zip(rows, image_arrays.read(file), strict=True):
        assert dataclasses.replace(after, values=0) == dataclasses.replace(before, values=0)
        assert after.values.dtype == before.values.dtype
        assert np.array_equal(after.values, before.values)


def test_values_that_are_not_finite_are_refused(tmp_path):
    values = np.full(2, np.inf, np.float16)
    with pytest.raises(InputError, match="not finite for image a; check its weights"):
        image_arrays.write(LocalFolder(tmp_path) / "a.arrays", [array(values=values)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [{"shape": [2, 4]}, {"type": "object"}, {"grid": [1]}, {"height": 0}, {"shape": [-2, -3]}],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    row = {**image_arrays._encode(array()), **change}
    path = tmp_path / "a.arrays"
    pq.write_table(pa.Table.from_pylist([row], schema=image_arrays.SCHEMA), path)
    with pytest.raises(InputError, match=r"a\.arrays is damaged: the array of image a"):
        list(image_arrays.read(LocalFolder(tmp_path) / "a.arrays"))
