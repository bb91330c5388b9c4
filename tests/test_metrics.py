"""Tests of platform.metrics against torchmetrics, slow loops and a slow cut at each threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassJaccardIndex
from wsss.platform.metrics import (
    THRESHOLDS,
    VOID,
    BoundaryScore,
    ConfusionMatrix,
    ThresholdCurve,
    boundary_f,
    mean_ious,
    summarize,
)

few_examples = settings(max_examples=30, deadline=None)


def random_pair(seed, classes=4, size=(9, 11), void=0.2):
    rng = np.random.default_rng(seed)
    target, prediction = rng.integers(classes, size=(2, *size))
    target[rng.random(size) < void] = VOID
    prediction[rng.random(size) < void] = VOID
    return target.astype(np.uint8), prediction.astype(np.uint8)


def slow_matrix(classes, target, prediction):
    out = np.zeros((classes, classes), np.int64)
    for t, p in zip(target.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t != VOID:
            out[t, 0 if p == VOID else p] += 1
    return out


@few_examples
@given(st.integers(0, 10**6), st.integers(2, 7))
def test_confusion_matrix_equals_slow_counting(seed, classes):
    target, prediction = random_pair(seed, classes)
    confusion = ConfusionMatrix(classes)
    confusion.update(target, prediction)
    assert confusion.matrix.dtype == np.int64
    assert np.array_equal(confusion.matrix, slow_matrix(classes, target, prediction))
    slow = confusion.matrix
    for c, value in enumerate(confusion.iou()):
        union = slow[c].sum() + slow[:, c].sum() - slow[c, c]
        assert np.isnan(value) if union == 0 else value == slow[c, c] / union


@few_examples
@given(st.integers(0, 10**6), st.integers(2, 7))
def test_iou_equals_torchmetrics(seed, classes):
    confusion = ConfusionMatrix(classes)
    oracle = MulticlassJaccardIndex(classes, average=None, ignore_index=VOID)
    mean = MulticlassJaccardIndex(classes, average="macro", ignore_index=VOID)
    for k in range(2):
        target, prediction = random_pair(seed + k, classes)
        confusion.update(target, prediction)
        mapped = torch.from_numpy(np.where(prediction == VOID, 0, prediction).astype(np.int64))
        for metric in (oracle, mean):
            metric.update(mapped, torch.from_numpy(target.astype(np.int64)))
    present = np.isfinite(confusion.iou())
    np.testing.assert_allclose(
        confusion.iou()[present], oracle.compute().numpy()[present], atol=1e-6
    )
    assert abs(confusion.mean_iou() - mean.compute().item()) < 1e-6


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, lambda a: a.tolist()])
def test_arrays_tensors_and_lists_give_the_same_counts(make):
    target, prediction = random_pair(0)
    confusion = ConfusionMatrix(4)
    confusion.update(make(target), make(prediction))
    assert np.array_equal(confusion.matrix, slow_matrix(4, target, prediction))


def test_void_is_dropped_in_the_target_and_background_in_the_prediction():
    confusion = ConfusionMatrix(3)
    confusion.update([VOID, 2, 0], [1, VOID, VOID])
    assert confusion.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_an_absent_class_has_no_iou_and_does_not_enter_the_mean():
    confusion = ConfusionMatrix(4)
    confusion.update([0, 0, 1, 3], [0, 1, 1, 0])
    assert np.isnan(confusion.iou()[2])
    assert confusion.iou()[3] == 0
    assert confusion.mean_iou() == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)


def test_an_empty_matrix_has_no_mean():
    confusion = ConfusionMatrix(3)
    confusion.update([VOID], [1])
    assert np.isnan(confusion.mean_iou())
    assert np.isnan(confusion.iou()).all()


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        ([0, 1], [0], "shape"),
        ([[0, 1]], [0, 1], "shape"),
        ([3], [0], "target holds 3"),
        ([0], [3], "prediction holds 3"),
        ([-1], [0], "-1"),
        ([254], [0], "254"),
        ([VOID], [77], "77"),
    ],
)
def test_wrong_input_is_refused_and_counts_nothing(target, prediction, message):
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        confusion.update(target, prediction)
    assert not confusion.matrix.any()


def test_merged_matrices_equal_one_pass():
    pairs = [random_pair(k) for k in range(3)]
    whole, merged = ConfusionMatrix(4), ConfusionMatrix(4)
    for target, prediction in pairs:
        whole.update(target, prediction)
        one = ConfusionMatrix(4)
        one.update(target, prediction)
        merged.merge(one)
    assert np.array_equal(whole.matrix, merged.matrix)
    with pytest.raises(ValueError, match="3 classes cannot be added to counts of 4"):
        merged.merge(ConfusionMatrix(3))


def random_planes(seed, classes, size=(6, 7)):
    """Return class planes whose values often equal a threshold or each other."""
    rng = np.random.default_rng(seed)
    on = np.array(THRESHOLDS, np.float32)[rng.integers(100, size=(classes - 1, *size))]
    off = rng.random((classes - 1, *size), np.float32) * 1.1
    return np.where(rng.random(off.shape) < 0.7, on, off).astype(np.float32)


@few_examples
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_the_curve_equals_a_cut_at_each_threshold(seed, classes):
    curve = ThresholdCurve(classes)
    slow = [ConfusionMatrix(classes) for _ in THRESHOLDS]
    for k in range(2):
        target, _ = random_pair(seed + k, classes, (6, 7))
        planes = random_planes(seed + k, classes)
        best = planes.argmax(0)
        curve.update(
            torch.from_numpy(target), torch.from_numpy(planes.max(0)), torch.from_numpy(best + 1)
        )
        for t, matrix in zip(THRESHOLDS, slow, strict=True):
            background = np.full((1, *target.shape), np.float32(t))
            matrix.update(target, np.concatenate([background, planes]).argmax(0))
    assert curve.matrices().dtype == np.int64
    assert np.array_equal(curve.matrices(), np.stack([m.matrix for m in slow]))


def test_a_tie_goes_to_background():
    curve = ThresholdCurve(2, (0.0, 0.25, 0.5))
    curve.update(torch.ones(1, 3), torch.tensor([[0.0, 0.25, 0.5]]), torch.ones(1, 3).long())
    assert curve.matrices()[:, 1, 1].tolist() == [2, 1, 0]


def test_merged_curves_equal_one_pass():
    curves = []
    whole = ThresholdCurve(3)
    for k in range(3):
        target, planes = random_pair(k, 3, (6, 7))[0], random_planes(k, 3)
        update = [torch.from_numpy(a) for a in (target, planes.max(0), planes.argmax(0) + 1)]
        one = ThresholdCurve(3)
        for curve in (one, whole):
            curve.update(*update)
        curves.append(one)
    merged = ThresholdCurve(3)
    for one in curves:
        merged.merge(one)
    assert np.array_equal(merged.counts, whole.counts)


@pytest.mark.parametrize(("target", "best"), [(3, 1), (0, 3), (1, 7), (2, 3), (254, 1), (0, -1)])
def test_the_curve_refuses_classes_that_do_not_exist(target, best):
    curve = ThresholdCurve(3)
    arguments = torch.tensor([target]), torch.tensor([0.5]), torch.tensor([best])
    with pytest.raises(ValueError, match="class"):
        curve.update(*arguments)
    assert not curve.counts.any()


@few_examples
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_false_positives_false_negatives_and_iou_add_up_to_one(seed, classes):
    matrix = slow_matrix(classes, *random_pair(seed, classes, (4, 4)))
    for c in range(1, classes):
        one = summarize(matrix, [0, c])
        if np.isnan(one.iou[c]):
            assert np.isnan([one.false_positives, one.false_negatives]).all()
        else:
            assert one.false_positives + one.false_negatives + one.iou[c] == pytest.approx(1)


def test_a_summary_equals_one_by_hand():
    matrix = np.array([[50, 5, 0, 0], [10, 20, 0, 0], [0, 0, 0, 0], [3, 0, 0, 12]])
    whole = summarize(matrix, range(4))
    assert whole.iou[:2] == pytest.approx((50 / 68, 20 / 35))
    assert np.isnan(whole.iou[2])
    assert whole.miou == pytest.approx((50 / 68 + 20 / 35 + 12 / 15) / 3)
    assert whole.false_positives == pytest.approx((5 / 35 + 0) / 2)
    assert whole.false_negatives == pytest.approx((10 / 35 + 3 / 15) / 2)
    assert whole.precision == pytest.approx((20 / 25 + 1) / 2)
    assert whole.recall == pytest.approx((20 / 30 + 12 / 15) / 2)
    assert summarize(matrix, [0, 3]).miou == pytest.approx((50 / 68 + 12 / 15) / 2)


def test_a_summary_of_an_empty_matrix_is_nan():
    nothing = summarize(np.zeros((3, 3), np.int64), range(3))
    assert np.isnan([nothing.miou, nothing.precision, nothing.recall]).all()


def slow_boundary(target, prediction, reach):
    """Return the boundary F score by loops over the pixels of both outlines."""

    def outline(region):
        height, width = region.shape
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if region[y, x]
            and any(
                not region[p, q]
                for p, q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                if 0 <= p < height and 0 <= q < width
            )
        ]

    a, b = outline(target), outline(prediction)
    if not (a and b):
        return float(not (a or b))
    precision = sum(min(math.dist(p, q) for q in a) <= reach for p in b) / len(b)
    recall = sum(min(math.dist(p, q) for q in b) <= reach for p in a) / len(a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(seed=st.integers(0, 999), reach=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_boundary_scores_equal_slow_loops(seed, reach):
    rng = np.random.default_rng(seed)
    target, prediction = (rng.random((2, 7, 9)) < rng.random()).astype(bool)
    score = boundary_f(target, prediction, reach)
    assert score == pytest.approx(slow_boundary(target, prediction, reach))
    assert score == pytest.approx(boundary_f(prediction, target, reach))
    assert boundary_f(target, target, reach) == 1


def test_boundaries_ignore_void_and_background():
    score = BoundaryScore(3)
    target = np.zeros((20, 20), int)
    target[5:15, 5:15], target[:3] = 1, 255
    prediction = target.copy()
    prediction[:3] = 2
    score.update(target, prediction)
    assert score.sums.tolist() == [[0, 0], [1, 1], [0, 0]]
    other = BoundaryScore(3)
    other.update(target, np.zeros((20, 20), int))
    score.merge(other)
    assert score.mean([0, 1, 2]) == 0.5
    assert score.mean([0]) is None


def test_mean_ious_equal_those_of_the_summaries():
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 9, (5, 4, 4))
    matrices[0, 2], matrices[0, :, 2], matrices[1] = 0, 0, 0
    means = mean_ious(matrices, [0, 2, 3])
    expected = [summarize(matrix, [0, 2, 3]).miou for matrix in matrices]
    np.testing.assert_allclose(means, expected)
    assert np.isnan(means[1])


@pytest.mark.parametrize("seed", range(4))
def test_labels_that_are_no_cut_of_a_score_have_the_matrix_of_each_threshold(seed):
    """Also after another image, which is counted by its score."""
    generator = np.random.default_rng(seed)
    curve = ThresholdCurve(4, (0.0, 0.3, 0.6))
    slow = [ConfusionMatrix(4) for _ in range(3)]
    for _ in range(3):
        target = generator.choice(np.array([0, 1, 2, 3, 255], np.uint8), (7, 9))
        labels = generator.integers(0, 4, (3, 7, 9)).astype(np.uint8)
        curve.update_labels(torch.from_numpy(target), iter(labels))
        for matrix, plane in zip(slow, labels, strict=True):
            matrix.update(target, plane)
    curve.update(torch.ones(1, 1).long(), torch.full((1, 1), 0.5), torch.ones(1, 1).long())
    for matrix, prediction in zip(slow, (1, 1, 0), strict=True):
        matrix.update(np.ones((1, 1), int), np.full((1, 1), prediction))
    assert np.array_equal(curve.matrices(), np.stack([m.matrix for m in slow]))
