"""Tests of platform.ops.kmeans against a simple version in float64."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.ops import kmeans

A, B = (0, 0), (3, 1)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class World:
    """Blocks of features that several workers hold."""

    def __init__(self, blocks, holders=1, seed=0, spherical=False):
        self.blocks, self.spherical = blocks, spherical
        self.rng = random.Random(seed)
        self.holders = holders
        self.starts = None
        self.passes = 0

    @property
    def sizes(self):
        return {s: {n: len(b) for n, b in blocks.items()} for s, blocks in self.blocks.items()}

    def totals(self, centers):
        """Return the totals; each holder sums its blocks, and all sums are added in any order."""
        self.passes += 1
        out = {}
        for s, of_set in centers.items():
            numbers = list(self.blocks[s])
            self.rng.shuffle(numbers)
            shares = [numbers[k :: self.holders] for k in range(self.holders)]
            sums = [self._share(s, share, of_set) for share in shares if share]
            self.rng.shuffle(sums)
            for other in sums[1:]:
                sums[0].add(other)
            out[s] = sums[0]
        return out

    def _share(self, s, numbers, centers):
        sums = [
            kmeans.block_totals(self.blocks[s][n], centers, n, spherical=self.spherical)
            for n in numbers
        ]
        for other in sums[1:]:
            sums[0].add(other)
        return sums[0]

    def gather(self, positions):
        out = {
            s: np.stack([self.blocks[s][n][r].astype(np.float32) for n, r in rows])
            for s, rows in positions.items()
        }
        self.starts = self.starts or {s: v.copy() for s, v in out.items()}
        return out

    def run(self, clusters, seed=0, **options):
        return kmeans.lloyd(
            self.sizes, self.totals, self.gather, clusters=clusters, seed=seed, **options
        )


def clouds(seed, blocks=4, rows=40, width=6, centres=4):
    """Return float16 blocks of points around a few positive centres, of different lengths."""
    rng = np.random.default_rng(seed)
    middle = rng.random((centres, width)) * 3
    out = {}
    for n in range(blocks):
        points = middle[rng.integers(centres, size=rows)] + rng.normal(0, 0.1, (rows, width))
        out[7 * n + 2] = (points.clip(0) * rng.uniform(0.5, 2, (rows, 1))).astype(np.float16)
    return out


def unit(x):
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def reference(rows, centers, spherical=False, tolerance=1e-3, rounds=100, shift=None):
    """Run Lloyd by cosine in float64, with means of raw or unit rows; no cluster may be empty."""
    centers = centers.astype(np.float64)
    for taken in range(1, rounds + 1):
        nearest = (rows @ unit(centers).T).argmax(1)
        source = unit(rows) if spherical else rows
        new = np.stack([source[nearest == k].mean(0) for k in range(len(centers))])
        moved = np.linalg.norm(new - centers, axis=1).sum()
        done = moved <= tolerance * np.linalg.norm(centers, axis=1).sum()
        if shift is not None:
            done = moved**2 < shift
        centers = new
        if done:
            return centers, np.bincount(nearest, minlength=len(centers)), taken, True
    return centers, np.bincount(nearest, minlength=len(centers)), rounds, False


def whole(blocks):
    return np.concatenate([blocks[n] for n in sorted(blocks)]).astype(np.float64)


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_lloyd_equals_the_simple_version(seed, spherical):
    world = World({A: clouds(seed), B: clouds(seed + 50, width=9)}, 2, spherical=spherical)
    results = world.run(4, seed)
    assert set(results) == {A, B}
    for s, result in results.items():
        centers, counts, rounds, converged = reference(
            whole(world.blocks[s]), world.starts[s], spherical
        )
        np.testing.assert_allclose(result.centers, centers, atol=2e-3)
        assert result.counts.tolist() == counts.tolist()
        assert (result.rounds, result.converged) == (rounds, converged)
        assert result.centers.dtype == np.float32


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(0, 1000), st.booleans())
def test_the_result_does_not_depend_on_the_holders(seed, holders, order, spherical):
    blocks = {A: clouds(seed, 6, 15), B: clouds(seed + 1, 5, 9)}
    one = World(blocks, 1, 0, spherical).run(3, seed)
    many = World(blocks, holders, order, spherical).run(3, seed)
    for s in blocks:
        assert one[s].centers.tobytes() == many[s].centers.tobytes()
        assert one[s].counts.tolist() == many[s].counts.tolist()
        assert one[s].rounds == many[s].rounds


def test_the_order_of_sets_and_blocks_does_not_matter():
    blocks = {A: clouds(1), B: clouds(2)}
    turned = {s: dict(reversed(list(blocks[s].items()))) for s in (B, A)}
    one, other = World(blocks).run(3, 5), World(turned).run(3, 5)
    for s in blocks:
        assert one[s].centers.tobytes() == other[s].centers.tobytes()


def test_totals_are_on_the_grid_and_complete():
    blocks = clouds(3)
    centers = np.abs(np.random.default_rng(0).normal(size=(3, 6))).astype(np.float32)
    for n, block in blocks.items():
        totals = kmeans.block_totals(block, centers, n)
        assert np.array_equal(
            np.rint(totals.sums * kmeans.STEPS_PER_UNIT), totals.sums * kmeans.STEPS_PER_UNIT
        )
        assert totals.counts.sum() == len(block)
        rows = block.astype(np.float64)
        np.testing.assert_allclose(totals.sums.sum(0), rows.sum(0), atol=1e-2)
        cosine = (unit(rows) @ unit(centers.astype(np.float64)).T).max(1)
        assert totals.worst[1:] == (n, int(cosine.argmin()))
        assert abs(totals.worst[0] - cosine.min()) < 1e-5


def test_another_seed_gives_another_start():
    blocks = {A: clouds(1)}
    starts = []
    for seed in (0, 0, 1):
        world = World(blocks)
        world.run(4, seed)
        starts.append(world.starts[A].tobytes())
    assert starts[0] == starts[1] != starts[2]


def lopsided(others, zeros=0):
    """Return many rows of one direction and the others: most starts leave clusters empty."""
    rows = [[1, 0, 0, 0]] * 40 + others + [[0, 0, 0, 0]] * zeros
    return np.array(rows, np.float16)


def run_from_equal_centers(rows, clusters, **options):
    """Return the result of a run whose first centres all are the frequent row."""
    for seed in range(100):
        world = World({A: {0: rows[::2], 1: rows[1::2]}})
        result = world.run(clusters, seed, **options)[A]
        if (world.starts[A] == rows[0].astype(np.float32)).all():
            return result
    raise AssertionError("no seed starts with equal centres")


def test_empty_clusters_are_seeded_again():
    rows = lopsided([[0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]])
    result = run_from_equal_centers(rows, 3)
    assert result.converged
    assert sorted(map(tuple, result.centers.tolist())) == [
        (0, 0, 1, 0),
        (0, 1.5, 0, 0),
        (1, 0, 0, 0),
    ]
    assert sorted(result.counts.tolist()) == [1, 2, 40]


def test_a_zero_row_is_no_seed_of_an_empty_cluster():
    result = run_from_equal_centers(lopsided([[0, 1, 0, 0], [0, 2, 0, 0]], zeros=3), 2)
    assert result.converged
    assert np.abs(result.centers).sum(1).min() > 0
    assert len(result.centers) == 2


def test_fewer_rows_than_clusters_give_the_rows():
    rows = np.array([[1, 0], [0, 2], [3, 3]], np.float16)
    result = World({A: {4: rows[:2], 9: rows[2:]}}).run(12)[A]
    assert sorted(result.centers.tolist()) == sorted(rows.astype(np.float32).tolist())
    assert result.counts.tolist() == [1, 1, 1]
    assert result.converged


def test_an_empty_set_is_left_out():
    results = World({A: clouds(0), B: {}}).run(3)
    assert set(results) == {A}


@pytest.mark.parametrize("spherical", [False, True])
def test_identical_rows_give_one_centre_in_few_passes(spherical):
    rows = np.full((50, 3), 2, np.float16)
    world = World({A: {0: rows[:20], 1: rows[20:]}}, spherical=spherical)
    result = world.run(5)[A]
    expected = 1 / np.sqrt(3) if spherical else 2
    np.testing.assert_allclose(result.centers, np.full((1, 3), expected), atol=1e-3)
    assert result.counts.tolist() == [50]
    assert result.converged
    assert world.passes < 10


@pytest.mark.parametrize("spherical", [False, True])
def test_zero_rows_give_a_zero_centre(spherical):
    world = World({A: {0: np.zeros((20, 3), np.float16)}}, spherical=spherical)
    result = world.run(4)[A]
    assert np.isfinite(result.centers).all()
    assert not result.centers.any()
    assert result.counts.sum() == 20
    assert result.converged
    assert world.passes < 10


def test_rounds_are_bounded():
    world = World({A: clouds(5, centres=30)})
    result = world.run(8, tolerance=0.0, max_iterations=2)[A]
    assert (result.rounds, result.converged) == (2, False)
    assert world.passes == 2
    centers, *_ = reference(whole(world.blocks[A]), world.starts[A], tolerance=0.0, rounds=2)
    np.testing.assert_allclose(result.centers, centers, atol=2e-3)


@pytest.mark.parametrize("shift", [1e-4, 0.3])
def test_a_shift_ends_by_the_square_of_the_movement(shift):
    world = World({A: clouds(3, rows=120, centres=9)})
    result = world.run(6, shift=shift, tolerance=1.0)[A]
    centers, _, rounds, converged = reference(whole(world.blocks[A]), world.starts[A], shift=shift)
    assert (result.rounds, result.converged) == (rounds, converged)
    assert rounds > 1
    np.testing.assert_allclose(result.centers, centers, atol=2e-3)


def test_unit_rows_have_length_one_or_zero():
    out = kmeans.unit_rows(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(out, [[0.6, 0.8], [0, 0]], atol=1e-6)


def test_assign_takes_the_direction_not_the_length():
    centers = np.array([[100, 0], [0, 0.1]], np.float32)
    similarity, nearest = kmeans.assign(np.array([[1, 2], [2, 1]], np.float32), centers)
    assert nearest.tolist() == [1, 0]
    np.testing.assert_allclose(similarity, [2, 2], atol=1e-6)


def test_assign_agrees_with_float64():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 32), np.float32)
    centers = rng.standard_normal((7, 32), np.float32)
    similarity, nearest = kmeans.assign(rows, centers)
    directions = centers.astype(np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    products = rows.astype(np.float64) @ directions.T
    assert nearest.tolist() == products.argmax(1).tolist()
    np.testing.assert_allclose(similarity, products.max(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spherical", [False, True])
def test_totals_on_a_device_are_the_sum_of_those_of_the_blocks(spherical):
    blocks = clouds(3, blocks=5, rows=60, width=8)
    blocks[2][7] = 0  # a zero row fits any centre
    centers = blocks[9][:4].astype(np.float32)
    expected, *others = (
        kmeans.block_totals(block, centers, n, spherical=spherical) for n, block in blocks.items()
    )
    for other in others:
        expected.add(other)
    tensors = ((n, torch.from_numpy(block).to(DEVICE)) for n, block in blocks.items())
    totals = kmeans.device_totals(tensors, centers, spherical=spherical)
    assert totals.counts.tolist() == expected.counts.tolist()
    np.testing.assert_allclose(totals.sums, expected.sums, atol=2 / kmeans.STEPS_PER_UNIT)
    assert (totals.sums * kmeans.STEPS_PER_UNIT % 1 == 0).all()
    assert totals.worst[1:] == expected.worst[1:]
    assert totals.worst[0] == pytest.approx(expected.worst[0], abs=1e-6)
