"""Tests of position embeddings on other grids, against interpolation pixel by pixel in float64."""

from __future__ import annotations

import math

import pytest
import torch
from wsss.platform.models.backbones.from_timm.positions import resampled_positions

KINDS = ("timm", "mct", "clip_es")


def embedding(own, prefix=1, width=3):
    torch.manual_seed(0)
    return torch.randn(1, prefix + own[0] * own[1], width)


def cubic(distance, a):
    x = abs(distance)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def slow_weights(count, size, kind):
    """Return the weights `[size][count]` of the table's rows in each row of the new grid."""
    out = []
    for i in range(size):
        factor = count / (size + 0.1) if kind == "mct" else count / size
        middle = (i + 0.5) * factor - 0.5
        row = [0.0] * count
        if kind == "timm":  # antialiased: the kernel widens when the grid shrinks, and stays inside
            stretch = max(1.0, count / size)
            for j in range(count):
                row[j] = cubic((j - middle) / stretch, -0.5)
            row = [value / sum(row) for value in row]
        else:
            reach = range(-1, 3) if kind == "mct" else range(2)
            for offset in reach:
                j = math.floor(middle) + offset
                weight = cubic(j - middle, -0.75) if kind == "mct" else 1 - abs(j - middle)
                row[min(max(j, 0), count - 1)] += weight
        out.append(row)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize("grid", [(7, 7), (9, 4), (3, 11)])
@pytest.mark.parametrize("kind", KINDS)
def test_tables_equal_slow_interpolation(kind, grid):
    own, prefix = (6, 5), 2
    table = embedding(own, prefix)
    out = resampled_positions(table, own, grid, prefix, kind, (100, 90))
    assert torch.equal(out[:, :prefix], table[:, :prefix])
    rows, columns = (slow_weights(n, m, kind) for n, m in zip(own, grid, strict=True))
    own_table = table[0, prefix:].double().reshape(*own, -1)
    slow = torch.einsum("ij,kl,jld->ikd", rows, columns, own_table).flatten(0, 1)
    tolerance = 2e-3 if kind == "clip_es" else 1e-5  # rounded to float16
    torch.testing.assert_close(out[0, prefix:].double(), slow, atol=tolerance, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_stay_as_they_are_on_their_own_grid(kind):
    table = embedding((14, 14))
    assert resampled_positions(table, (14, 14), (14, 14), 1, kind, (224, 224)) is table
    assert resampled_positions(table, (14, 14), (14, 14), 1, kind, (225, 225)) is table


def test_mctformer_resamples_its_own_grid_where_the_image_is_not_square():
    table = embedding((14, 14), 1, 64)
    moved = resampled_positions(table, (14, 14), (14, 14), 1, "mct", (224, 230))
    assert (moved - table).std() / table.std() > 0.05
    for kind in ("timm", "clip_es"):
        assert resampled_positions(table, (14, 14), (14, 14), 1, kind, (224, 230)) is table


def test_equal_numbers_of_tokens_on_another_grid_are_resampled():
    table = embedding((14, 14))
    for kind in KINDS:
        moved = resampled_positions(table, (14, 14), (7, 28), 1, kind, (112, 448))
        assert moved.shape == table.shape
        assert not torch.equal(moved, table)


def test_tables_in_float16_are_rounded_by_clip_es_only():
    table = embedding((4, 4))
    rounded = resampled_positions(table, (4, 4), (6, 6), 1, "clip_es", (96, 96))[:, 1:]
    assert torch.equal(rounded, rounded.half().float())
    exact = resampled_positions(table, (4, 4), (6, 6), 1, "timm", (96, 96))[:, 1:]
    assert not torch.equal(exact, exact.half().float())
