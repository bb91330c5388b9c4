"""Tests of the loader without Ray: which rows each worker sees, and in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.data.formats import class_maps, label_maps, shards
from wsss.platform.data.formats.shards import TRAINING_COLUMNS, Slice
from wsss.platform.data.transforms import (
    DEVIATION,
    MEAN,
    Crop,
    crop_maps,
    random_generator,
    random_placement,
)
from wsss.platform.errors import InputError
from wsss.platform.method import PADDING
from wsss.platform.stages.labels import superpixels
from wsss.platform.stages.training import loader
from wsss.platform.stages.training.loader import Plan
from wsss.platform.storage.artifact_files import LocalFolder

CROP = Crop(resize=(16, 32), side=16)
COLUMNS = ("file", "group", "rows", "start", "stop", "epoch")
FOLDER = LocalFolder(Path("none"))


def plan_of(slices, **options):
    values = {"classes": 3, "batch_size": 4, "crop": CROP, "seed": 0, "shuffle_rows": 16}
    return Plan(slices=tuple(slices), **{**values, **options})


def rows_of(plan, epoch):
    return [
        (p["file"], p["group"], row)
        for p in plan.pieces(epoch)
        for row in range(p["start"], p["stop"])
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=8),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 100),
)
def test_workers_share_an_epoch_evenly(sizes, world, epoch, seed):
    slices = [Slice(FOLDER / f"f{k // 2}", k % 2, n) for k, n in enumerate(sizes)]
    plans = [plan_of(slices, world=world, rank=r, seed=seed, batch_size=1) for r in range(world)]
    shares = [rows_of(plan, epoch) for plan in plans]
    everything = {(s.file.name, s.group, row) for s in slices for row in range(s.rows)}
    seen = [row for share in shares for row in share]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= everything
    assert {len(share) for share in shares} == {sum(sizes) // world}
    assert len(everything) - len(seen) < world
    assert {plan.steps for plan in plans} == {sum(sizes) // world}


def test_one_worker_sees_all_rows_in_another_order_each_epoch():
    slices = [Slice(FOLDER / "f", k, 8) for k in range(9)]
    plan = plan_of(slices)
    orders = [rows_of(plan, epoch) for epoch in range(3)]
    assert all(len(order) == 72 for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert rows_of(plan, 1) == orders[1]
    assert rows_of(replace(plan, seed=1), 0) != orders[0]


@pytest.mark.parametrize(
    ("rows", "batch", "world", "steps"), [(10, 4, 1, 2), (10, 4, 3, 0), (24, 4, 2, 3), (9, 9, 1, 1)]
)
def test_an_incomplete_last_batch_is_dropped(rows, batch, world, steps):
    assert plan_of([Slice(FOLDER / "f", 0, rows)], batch_size=batch, world=world).steps == steps


@pytest.fixture
def direct(monkeypatch):
    """Read blocks in this process; the returned function sets how many pieces a block has."""

    def use(size=1):
        def blocks(plan, epochs):
            pieces = [p for epoch in epochs for p in plan.pieces(epoch)]
            for k in range(0, len(pieces), size):
                columns = {c: np.array([p[c] for p in pieces[k : k + size]]) for c in COLUMNS}
                yield loader.load_rows(columns, plan.loading)

        monkeypatch.setattr(loader, "blocks", blocks)

    use()
    return use


def batches_of(plan, epochs):
    return [(epoch, b.images, b.labels, b.valid) for epoch, b in loader.batches(plan, epochs)]


def assert_same(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert one[0] == other[0]
        assert all(torch.equal(x, y) for x, y in zip(one[1:], other[1:], strict=True))


def test_batches_have_the_shape_and_number_that_the_plan_says(write_shards, direct):
    plan = plan_of(write_shards([20, 11]))
    batches = batches_of(plan, range(2))
    assert [epoch for epoch, *_ in batches] == [0] * 7 + [1] * 7
    for _, images, labels, valid in batches:
        assert images.shape == (4, 3, 16, 16)
        assert images.dtype == torch.float32
        assert labels.shape == (4, 3)
        assert set(labels.unique().tolist()) <= {0.0, 1.0}
        assert labels.sum(1).min() >= 1
        assert valid.dtype == torch.bool
        assert not (images * ~valid.unsqueeze(1)).any()


def test_superpixels_are_cropped_and_mirrored_with_their_image(
    write_shards, direct, tmp_path, monkeypatch
):
    """The superpixels follow from the image: its red, in four steps, at its own size."""
    slices = write_shards([20, 11])
    monkeypatch.setattr(superpixels, "regions_of", lambda image, kind: image[..., 0] // 64)
    for piece in slices:
        assert superpixels.slice_regions(piece, "merged", LocalFolder(tmp_path))[0] == piece.rows
    crop = Crop(resize=(24, 24), side=22)
    plan = plan_of(slices, crop=crop, planes=LocalFolder(tmp_path))
    seen = 0
    for _, batch in loader.batches(plan, range(2)):
        red = ((batch.images[:, 0] * DEVIATION[0] + MEAN[0]) * 255).round().long()
        assert torch.equal(batch.plane == PADDING, ~batch.valid)
        assert torch.equal(batch.plane[batch.valid], red[batch.valid] // 64)
        seen += len(red)
    assert seen == 2 * 28
    without_planes = loader.batches(plan_of(slices, crop=crop), range(1))
    assert next(iter(without_planes))[1].plane is None


def test_probabilities_come_with_their_image(write_shards, direct, tmp_path):
    """The maps repeat the labels of their image, so that a mix-up shows."""
    slices = write_shards([20, 11])
    for piece in slices:
        rows = shards.read(piece, ("id", "labels", "height", "width"))
        maps = []
        for row in rows:
            grid = (-(-row["height"] // 8), -(-row["width"] // 8))
            labels = shards.multi_hot(row["labels"], 3)
            planes = np.ones((4, *grid), np.float16)
            planes[1:] *= labels[:, None, None]
            size = {"height": row["height"], "width": row["width"]}
            maps.append(
                class_maps.ClassMaps(id=row["id"], classes=(0, 1, 2, 3), planes=planes, **size)
            )
        class_maps.write(LocalFolder(tmp_path) / f"{piece.name}.parquet", maps)
    plan = plan_of(slices, crop=Crop(resize=(24, 40), side=32), probabilities=LocalFolder(tmp_path))
    seen = 0
    for _, batch in loader.batches(plan, range(2)):
        assert batch.probabilities.shape == (4, 4, 4, 4)
        assert batch.probabilities.dtype == torch.float32
        inside = batch.valid[:, 4::8, 4::8].float()
        assert torch.equal(batch.probabilities[:, 0], inside)
        expected = batch.labels[:, :, None, None] * inside[:, None]
        assert torch.equal(batch.probabilities[:, 1:], expected)
        seen += len(inside)
    assert seen == 2 * 28
    without_maps = loader.batches(plan_of(slices), range(1))
    assert next(iter(without_maps))[1].probabilities is None


def test_probabilities_are_cropped_and_mirrored_as_their_image(write_shards, tmp_path):
    """One draw places an image and its maps; the maps are ramps, placed here by the same draw."""
    (piece,) = write_shards([3])
    rows = shards.read(piece, ("id", "height", "width"))
    ramps = {}
    for row in rows:
        grid = (-(-row["height"] // 8), -(-row["width"] // 8))
        ramp = np.linspace(0, 1, grid[0] * grid[1], dtype=np.float16).reshape(1, *grid)
        ramps[row["id"]] = np.concatenate([1 - ramp, ramp])
    maps = [
        class_maps.ClassMaps(
            id=r["id"], classes=(0, 1), planes=ramps[r["id"]], height=r["height"], width=r["width"]
        )
        for r in rows
    ]
    class_maps.write(LocalFolder(tmp_path) / f"{piece.name}.parquet", maps)
    crop = Crop(resize=(24, 40), side=32)
    plan = plan_of([piece], crop=crop, probabilities=LocalFolder(tmp_path))
    mirrored = 0
    for epoch in range(8):
        (columns,) = [{c: np.array([p[c]]) for c in COLUMNS} for p in plan.pieces(epoch)]
        probabilities = loader.load_rows(columns, plan.loading)["probabilities"]
        for row, of_row in zip(rows, probabilities, strict=True):
            place = random_placement(
                row["height"], row["width"], random_generator(0, epoch, row["id"]), crop
            )
            expected = crop_maps(ramps[row["id"]], place, 32, 8)
            np.testing.assert_array_equal(of_row, expected)
            mirrored += place.mirrored
    assert 0 < mirrored < 24


@pytest.mark.parametrize("kind", superpixels.KINDS)
def test_superpixels_are_written_as_bytes_in_one_file_a_slice(
    write_shards, tmp_path, monkeypatch, kind
):
    monkeypatch.setattr(superpixels, "PUBLISHED_SIDE", 128)  # see `test_regions.py` for larger ones
    (piece,) = write_shards([3])
    images, regions = superpixels.slice_regions(piece, kind, LocalFolder(tmp_path))
    ids_by_image = label_maps.read(label_maps.file_of_slice(tmp_path, piece))
    assert images == len(ids_by_image) == 3
    assert {ids.shape for ids in ids_by_image.values()} == {(24, 20)}
    assert sum(len(np.unique(ids)) for ids in ids_by_image.values()) == regions
    assert max(int(ids.max()) for ids in ids_by_image.values()) < PADDING


def test_batches_are_the_same_each_time(write_shards, direct):
    plan = plan_of(write_shards([20, 11]))
    assert_same(batches_of(plan, range(2)), batches_of(plan, range(2)))


def test_batches_do_not_depend_on_how_blocks_are_cut(write_shards, direct):
    plan = plan_of(write_shards([20, 11]))
    first = batches_of(plan, range(2))
    direct(3)
    assert_same(first, batches_of(plan, range(2)))


@pytest.mark.parametrize("world", [1, 2])
def test_resuming_at_an_epoch_gives_the_same_batches(write_shards, direct, world):
    slices = write_shards([20, 11])
    for rank in range(world):
        plan = plan_of(slices, world=world, rank=rank, batch_size=4 // world)
        whole = batches_of(plan, range(3))
        for epoch in (1, 2):
            assert_same([b for b in whole if b[0] >= epoch], batches_of(plan, range(epoch, 3)))


@pytest.mark.parametrize("shuffle_rows", [1, 5, 1000])
def test_an_epoch_holds_each_image_once(write_shards, direct, monkeypatch, shuffle_rows):
    slices = write_shards([16, 8])
    monkeypatch.setattr(loader, "collate", lambda rows, *_: [r["image"].tobytes() for r in rows])
    plan = plan_of(slices, shuffle_rows=shuffle_rows)
    for epoch in range(2):
        seen = [image for _, batch in loader.batches(plan, [epoch]) for image in batch]
        assert len(seen) == 24
        assert len(set(seen)) == 24


def test_other_seeds_give_other_batches(write_shards, direct):
    plan = plan_of(write_shards([16]))
    first, other = batches_of(plan, [0]), batches_of(replace(plan, seed=1), [0])
    assert not torch.equal(first[0][1], other[0][1])


def test_training_never_reads_a_mask(write_shards, direct, monkeypatch):
    assert not {"mask", "parts", "superpixels"} & set(TRAINING_COLUMNS)
    columns_read = []

    def watched(piece, columns):
        columns_read.append(tuple(columns))
        return shards.read(piece, columns)

    monkeypatch.setattr(loader, "read", watched)
    assert batches_of(plan_of(write_shards([16])), [0])
    assert set(columns_read) == {TRAINING_COLUMNS}


def test_masks_do_not_change_what_training_sees(write_shards, direct):
    clean, dirty = (
        plan_of(write_shards([16, 9], mask=mask, name=name))
        for mask, name in ((None, "clean"), (b"garbage \xff", "dirty"))
    )
    assert_same(batches_of(clean, range(2)), batches_of(dirty, range(2)))


def test_a_training_that_has_ended_has_nothing_to_read(write_shards):
    plan = Plan(slices=write_shards([4]), classes=3, batch_size=2, crop=CROP, seed=0)
    assert list(loader.blocks(plan, range(3, 3))) == []


def test_epochs_are_planned_a_few_at_a_time(write_shards, monkeypatch):
    plan = plan_of(write_shards([16, 9]))
    planned = []
    monkeypatch.setattr(loader, "_execution", lambda plan, epochs: planned.append(epochs) or epochs)
    monkeypatch.setattr(loader, "MOST_PIECES", 2 * len(plan.slices))
    assert list(loader.blocks(plan, range(1, 6))) == [1, 2, 3, 4, 5]
    assert planned == [range(1, 3), range(3, 5), range(5, 6)]
    planned.clear()
    assert next(loader.blocks(plan, range(100_000))) == 0
    assert planned == [range(2)]


def test_prefetching_keeps_the_items_and_an_error():
    def items():
        yield from range(3)
        raise InputError("no more")

    prefetched = loader.ahead(items())
    assert [next(prefetched) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="no more"):
        next(prefetched)
    assert list(loader.ahead([])) == []


def test_rows_are_loaded_with_the_cpu_that_workers_and_trials_leave(monkeypatch):
    """A training that reserves all CPUs but one, in a sweep of several trials, gets its rows."""
    import ray.data

    trials, asked = 20, []

    class Rows:
        def map_batches(self, load, num_cpus=1, **options):
            asked.append(num_cpus)
            return self

        def iter_batches(self, **options):
            return iter(())

    monkeypatch.setattr(ray.data, "from_items", lambda items, override_num_blocks: Rows())
    assert list(loader.blocks(plan_of([Slice(FOLDER / "f", 0, 8)]), range(1))) == []
    assert asked == [pytest.approx(1 - trials * 0.01)]
