"""Tests of the scores of an image and of the mIoU by size, against slow sums over all pixels."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsss.dashboards.content.scoring import (
    ERRORS,
    SIZES,
    ImageScore,
    miou_by_size,
    score_of_image,
    size_bounds,
)
from wsss.platform.metrics import ConfusionMatrix

CLASSES = 4
Masks = list[tuple[np.ndarray, np.ndarray]]


def masks(seed: int, count: int) -> Masks:
    """Return pairs of prediction and target `[6,7]` with void pixels in both."""
    rng = np.random.default_rng(seed)
    values = np.array([0, 0, 0, 1, 2, 3, 255], np.uint8)
    pairs = rng.choice(values, (count, 2, 6, 7))
    pairs[:, 1, 0, 0] = 0  # a target has a known pixel
    return [(prediction, target) for prediction, target in pairs]


def slow_miou(pairs: Masks, scored: Sequence[int], size: int) -> tuple[np.float64 | None, int]:
    """Return mean IoU and number of the objects of a size, pixel by pixel in float64."""
    shares = {
        (k, c): np.float64(np.sum(target == c)) / np.float64(np.sum(target != 255))
        for k, (_, target) in enumerate(pairs)
        for c in scored
        if np.any(target == c)
    }
    ordered = sorted(shares.values())
    low, high = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    inside = [lambda s: s < low, lambda s: low <= s < high, lambda s: s >= high][size]
    objects = [pair for pair, share in shares.items() if inside(share)]
    ious = []
    for c in scored:
        both, either = np.float64(0), np.float64(0)
        for k in [k for k, of in objects if of == c]:
            prediction, target = pairs[k]
            for y, x in itertools.product(range(6), range(7)):
                if target[y, x] == 255:
                    continue
                both += target[y, x] == c and prediction[y, x] == c
                either += target[y, x] == c or prediction[y, x] == c
        if either:
            ious.append(both / either)
    return (np.mean(ious) if ious else None), len(objects)


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 9),
    scored=st.sets(st.integers(1, 3), min_size=1),
)
def test_the_miou_of_each_size_is_the_sum_over_its_pixels(
    seed: int, count: int, scored: Collection[int]
) -> None:
    pairs = masks(seed, count)
    scores = [score_of_image(prediction, target, CLASSES) for prediction, target in pairs]
    bounds = size_bounds(scores, scored)
    by_size = miou_by_size(scores, scored, bounds)
    assert list(by_size) == list(SIZES)
    for number, size in enumerate(SIZES):
        expected, objects = slow_miou(pairs, sorted(scored), number)
        assert by_size[size].objects == objects
        assert by_size[size].miou == (
            None if expected is None else pytest.approx(expected, abs=1e-12)
        )


@given(seed=st.integers(0, 2**32))
def test_the_figures_of_an_image_are_counts_of_its_pixels(seed: int) -> None:
    ((prediction, target),) = masks(seed, 1)
    score = score_of_image(prediction, target, CLASSES)
    known = target != 255
    predicted = np.where(prediction == 255, 0, prediction)
    wrong = (
        (target > 0) & (predicted == 0),
        (target == 0) & (predicted > 0),
        (target > 0) & (predicted > 0) & (target != predicted),
    )
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(target, prediction)
    expected = [matrix.mean_iou(), *(np.sum(known & kind) / np.sum(known) for kind in wrong)]
    assert len(score.figures) == 1 + len(ERRORS)
    np.testing.assert_allclose(score.figures, expected, atol=5e-5)
    assert score.pixels == np.sum(known)


def test_each_size_has_a_third_of_the_objects() -> None:
    objects = [((1, 10 * k, 10, 5),) for k in range(1, 10)]
    scores = [ImageScore(figures=(0.5, 0, 0, 0), pixels=1000, objects=o) for o in objects]
    bounds = size_bounds(scores, [1])
    assert bounds == (0.04, 0.07)
    by_size = miou_by_size(scores, [1], bounds)
    assert [score.objects for score in by_size.values()] == [3, 3, 3]


def test_sizes_without_objects_have_no_miou() -> None:
    assert size_bounds([], [1]) == (0.0, 0.0)
    alone = [ImageScore(figures=(1.0, 0, 0, 0), pixels=9, objects=((1, 3, 3, 3),))]
    by_size = miou_by_size(alone, [1], size_bounds(alone, [1]))
    assert [(s.objects, s.miou) for s in by_size.values()] == [(0, None), (0, None), (1, 1.0)]
