"""Tests of DenseCRF of one image: exact kernels, the published parameters and edge cases."""

from __future__ import annotations

import typing
from dataclasses import replace

import numpy as np
import pytest
from drawn_images import blobs, exact, shaded
from wsss.platform.ops.crf import CRFS, CRFName, Refiner, best_labels, label_probabilities


def test_every_parameter_set_has_a_name_for_mypy():
    assert tuple(CRFS) == typing.get_args(CRFName)


@pytest.mark.parametrize("name", CRFS)
def test_the_crf_is_nearer_to_exact_mean_field_than_with_another_kernel(name):
    crf = CRFS[name]
    image, scores = shaded()
    start = label_probabilities(scores.argmax(0), 3, crf.certainty) if crf.certainty else scores
    expected = exact(image, start, crf)
    np.testing.assert_allclose(Refiner(image, crf).refine(start).sum(0), 1, atol=1e-4)

    def distance(**changes):
        return np.abs(Refiner(image, replace(crf, **changes)).refine(start) - expected).mean()

    near = distance()  # the lattice is an approximation, the coarser the narrower the kernel
    assert near < 0.08
    assert near < 0.6 * distance(smooth=0.0)
    assert near < 0.6 * distance(colour_rgb=3 * crf.colour_rgb)
    assert near < 0.6 * distance(smooth_xy=crf.colour_xy, colour_xy=crf.smooth_xy)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("irn", (3, 3, 50, 5, 10, 10, 0.7)),
        ("psa", (3, 3, 80, 13, 10, 10, 0)),
        ("deeplab", (1, 3, 67, 3, 4, 10, 0)),
        ("mctformer", (4, 3, 83, 5, 3, 10, 0)),
        ("seam", (3, 3, 32, 13, 10, 1, 0)),
    ],
)
def test_parameters_are_the_published_ones(name, published):
    crf = CRFS[name]
    spatial, coloured = (crf.smooth_xy, crf.smooth), (crf.colour_xy, crf.colour_rgb, crf.colour)
    assert (*spatial, *coloured, crf.iterations, crf.certainty) == published


def test_the_crf_follows_the_colours():
    image, inside, seed = blobs()
    scores = np.stack([np.full_like(seed, 0.4), seed])
    cut = best_labels(scores, None)
    refined = best_labels(scores, Refiner(image, CRFS["irn"]))
    assert (cut == inside).mean() < 0.95
    assert (refined == inside).mean() > 0.98


def test_a_refiner_keeps_no_state_between_calls():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (23, 31, 3), np.uint8)
    shared = Refiner(image, CRFS["irn"])
    for labels in (2, 3, 2, 3):
        start = rng.random((labels, 23, 31), np.float32)
        alone = Refiner(image, CRFS["irn"]).refine(start)
        np.testing.assert_array_equal(shared.refine(start), alone)


def test_scores_of_one_label_are_returned_unchanged():
    image, _, _ = blobs()
    only = np.ones((1, *image.shape[:2]), np.float32)
    for crf in CRFS.values():
        assert Refiner(image, crf).refine(only) is only
        assert not best_labels(only, Refiner(image, crf)).any()


def test_no_label_is_made_up():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 18, 3), dtype=np.uint8)
    scores = rng.random((4, 16, 18), dtype=np.float32)
    for crf in CRFS.values():
        assert set(np.unique(best_labels(scores, Refiner(image, crf)))) <= {0, 1, 2, 3}


def test_without_kernels_scores_stay_unchanged():
    image, _, seed = blobs()
    start = np.stack([1 - seed, seed]).clip(0.01, 0.99)
    off = replace(CRFS["deeplab"], smooth=0.0, colour=0.0)
    np.testing.assert_allclose(Refiner(image, off).refine(start), start, atol=1e-5)


def test_certain_labels_leave_equal_shares_to_all_others():
    scores = label_probabilities(np.array([[0, 2]]), 3, 0.7)
    np.testing.assert_allclose(scores[:, 0, 0], [0.7, 0.15, 0.15])
    np.testing.assert_allclose(scores[:, 0, 1], [0.15, 0.15, 0.7])


def test_the_sum_of_soft_scores_makes_no_difference():
    image, _, seed = blobs()
    scores = np.stack([np.full_like(seed, 0.4), seed]).clip(0.01, 1)
    whole = best_labels(scores, Refiner(image, CRFS["psa"]))
    np.testing.assert_array_equal(whole, best_labels(scores / 2, Refiner(image, CRFS["psa"])))


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="the image has the shape"):
        Refiner(np.zeros((4, 5, 3), np.uint8), CRFS["irn"]).refine(np.ones((2, 4, 4), np.float32))
