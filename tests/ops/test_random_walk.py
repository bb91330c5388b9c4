"""Tests of the random walk against the dense matrix in float64, and of its invariants."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.ops.affinity_loss import affinity_losses, interior, sort_pairs
from wsss.platform.ops.random_walk import (
    affinities,
    neighbour_offsets,
    path_points,
    random_walk,
    transition_matrix,
)

few_examples = settings(max_examples=20, deadline=None)


def noise(seed, *shape, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def between(a, b):
    """Return the points in the bounding box of two positions that lie within one of their line."""
    (y, x), (dy, dx) = a, (b[0] - a[0], b[1] - a[1])
    length = math.hypot(dy, dx)
    return [
        (p, q)
        for p in range(min(y, b[0]), max(y, b[0]) + 1)
        for q in range(min(x, b[1]), max(x, b[1]) + 1)
        if abs(dy * (q - x) - dx * (p - y)) / length < 1
    ]


def dense(maps, boundary, radius, beta, steps):
    """Return the slow result: maps times the power of the whole matrix with normalised columns."""
    height, width = boundary.shape
    points, at = [(y, x) for y in range(height) for x in range(width)], boundary.tolist()
    matrix = torch.eye(len(points), dtype=torch.float64)
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            if i != j and math.dist(a, b) < radius:
                strongest = max(at[y][x] for y, x in between(a, b))
                matrix[i, j] = (1 - strongest) ** beta
    power = torch.linalg.matrix_power(matrix / matrix.sum(0), steps)
    out = (maps * (1 - boundary)).double().flatten(1) @ power
    return out.reshape(maps.shape)


def test_offsets_are_as_many_as_published():
    assert [len(neighbour_offsets(r)) for r in (5, 10)] == [34, 152]


def test_a_path_holds_both_ends():
    for offset in neighbour_offsets(10):
        assert (0, 0) in path_points(offset)
        assert offset in path_points(offset)


@few_examples
@given(seed=st.integers(0, 999), height=st.integers(1, 7), width=st.integers(1, 7))
def test_the_walk_equals_the_dense_result(seed, height, width):
    maps, boundary = noise(seed, 2, height, width), noise(seed + 1, height, width)
    for radius, beta, steps in ((5, 10.0, 256), (3, 2.0, 7), (2, 1.0, 0)):
        walked = random_walk(maps, boundary, radius, beta, steps)
        expected = dense(maps, boundary, radius, beta, steps)
        torch.testing.assert_close(walked, expected, atol=1e-9, rtol=1e-9)


def test_single_precision_is_near_the_dense_result():
    maps, boundary = noise(0, 3, 11, 14, dtype=torch.float32), noise(1, 11, 14).float() ** 4
    walked = random_walk(maps, boundary)
    expected = dense(maps, boundary.double(), 5, 10.0, 256)
    assert walked.dtype == torch.float32
    torch.testing.assert_close(walked.double(), expected, atol=1e-4, rtol=1e-3)


@few_examples
@given(seed=st.integers(0, 999))
def test_images_of_a_batch_do_not_influence_each_other(seed):
    maps, boundary = noise(seed, 3, 2, 5, 6), noise(seed + 1, 3, 5, 6)
    together = random_walk(maps, boundary)
    alone = torch.stack([random_walk(m, b) for m, b in zip(maps, boundary, strict=True)])
    torch.testing.assert_close(together, alone)


@few_examples
@given(seed=st.integers(0, 999))
def test_each_step_is_an_average(seed):
    matrix = transition_matrix(noise(seed, 1, 6, 5)).to_dense()
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(1), torch.ones(30, dtype=torch.float64))
    maps = noise(seed, 2, 6, 5)
    walked = random_walk(maps, torch.zeros(6, 5, dtype=torch.float64))
    for before, after in zip(maps, walked, strict=True):
        assert before.min() - 1e-9 <= after.min() <= after.max() <= before.max() + 1e-9


def test_a_wall_stops_the_walk():
    maps, wall = torch.zeros(1, 8, 17), torch.zeros(8, 17)
    maps[0, 4, 3], wall[:, 8] = 1, 1
    walked = random_walk(maps, wall)[0]
    assert walked[:, :8].min() > 0
    assert walked[:, 8:].max() == 0


def test_without_boundaries_the_neighbourhood_is_full():
    values = affinities(torch.zeros(1, 20, 20), 5)[0, :, 8, 10]
    assert values.tolist() == [1.0] * 34


def test_half_precision_is_kept():
    maps, boundary = noise(0, 1, 6, 6).half(), noise(1, 6, 6).half()
    walked = random_walk(maps, boundary)
    assert walked.dtype == torch.float16
    torch.testing.assert_close(
        walked.float(), random_walk(maps.float(), boundary.float()), atol=1e-3, rtol=1e-2
    )


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="the maps have the shape"):
        random_walk(torch.zeros(1, 4, 4), torch.zeros(4, 5))


def slow_losses(boundary, labels, radius, inside=False):
    """Return the affinity losses by loops over all pairs of positions.

    With `inside`, a pair counts if its upper position has all its neighbours on the grid.
    """
    sums = {"background": [], "foreground": [], "other": []}
    height, width = labels.shape
    points, at = [(y, x) for y in range(height) for x in range(width)], boundary.tolist()
    label = {(y, x): labels[y, x].item() for y, x in points}
    for i, a in enumerate(points):
        neighbours = {(a[0] + dy, a[1] + dx) for dy, dx in neighbour_offsets(radius)}
        if inside and not neighbours <= label.keys():
            continue
        for b in points[i + 1 :]:
            if math.dist(a, b) >= radius or 255 in (label[a], label[b]):
                continue
            affinity = 1 - max(at[y][x] for y, x in between(a, b))
            if label[a] != label[b]:
                sums["other"].append(-math.log(1 + 1e-5 - affinity))
            else:
                kind = "foreground" if label[a] else "background"
                sums[kind].append(-math.log(affinity + 1e-5))
    mean = {k: sum(v) / len(v) if v else 0.0 for k, v in sums.items()}
    return {
        "same": (mean["background"] + mean["foreground"]) / 4,
        "different": mean["other"] / 2,
    }


@few_examples
@given(seed=st.integers(0, 999), radius=st.integers(2, 5))
def test_losses_equal_slow_loops(seed, radius):
    boundary = noise(seed, 1, 5, 6)
    choices = torch.tensor([0, 0, 1, 2, 255])
    drawn = torch.randint(5, (1, 5, 6), generator=torch.Generator().manual_seed(seed))
    labels = choices[drawn]
    losses = affinity_losses(boundary, labels, radius)
    expected = slow_losses(boundary[0], labels[0], radius)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected, abs=1e-9)


@few_examples
@given(seed=st.integers(0, 999), radius=st.integers(2, 4))
def test_interior_pairs_equal_slow_loops(seed, radius):
    boundary = noise(seed, 1, 7, 9)
    choices = torch.tensor([0, 0, 1, 2, 255])
    drawn = torch.randint(5, (1, 7, 9), generator=torch.Generator().manual_seed(seed))
    labels = choices[drawn]
    losses = affinity_losses(boundary, labels, radius, "interior")
    expected = slow_losses(boundary[0], labels[0], radius, inside=True)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected, abs=1e-9)
    rows, columns = interior(10, 128, 128)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (119, 110)  # as published


def test_unknown_labels_teach_nothing():
    boundary = noise(0, 2, 6, 6).requires_grad_()
    labels = torch.full((2, 6, 6), 255)
    assert not any(kind.any() for kind in sort_pairs(labels, 5))
    loss = torch.stack(list(affinity_losses(boundary, labels, 5).values())).sum()
    loss.backward()
    assert loss.item() == 0
    assert boundary.grad.abs().max() == 0


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 4, 5), (0, 3, 4, 5)])
def test_a_walk_of_no_maps_gives_no_maps(shape):
    maps = torch.zeros(shape, dtype=torch.float16)
    result = random_walk(maps, torch.rand(*shape[:-3], 4, 5))
    assert result.shape == shape
    assert result.dtype == maps.dtype
