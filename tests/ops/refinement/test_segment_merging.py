"""Tests of the merging of segments into labels against sets of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from wsss.platform.metrics import THRESHOLDS, Steps
from wsss.platform.ops.refinement.segment_merging import (
    MergeRule,
    Segments,
    merged_at_thresholds,
    merged_labels,
)

VOID = 255


def slow(labels, masks, rule):
    """Return merged labels by the rule of SEPL, with sets of pixels."""
    height, width = labels.shape
    segments = [{*zip(*(v.tolist() for v in np.nonzero(m)), strict=True)} for m in masks]
    segments = [s for s in segments if s and len(s) <= rule.max_area * height * width]
    if not segments:
        unknown = (labels == VOID) & (not rule.keep_unknown)
        return np.where(unknown, 0, labels)
    by_class = {
        c: {*zip(*(v.tolist() for v in np.nonzero(labels == c)), strict=True)}
        for c in np.unique(labels).tolist()
    }
    foreground = [c for c in sorted(by_class) if c not in (0, VOID)]
    out, taken = {}, []
    for c in foreground:
        free = [s for k, s in enumerate(segments) if k not in taken]
        under = set().union(*free)
        selected = [
            k
            for k, s in enumerate(segments)
            if k not in taken
            and (
                len(s & by_class[c]) > rule.inside * len(s)
                or len(s & by_class[c]) >= rule.covered * len(by_class[c])
            )
            and (
                rule.assign == "ascending"
                or c == max(foreground, key=lambda n: (len(s & by_class[n]), -n))
            )
        ]
        taken += selected
        pixels = set().union(*(segments[k] for k in selected))
        if rule.residue:
            pixels |= by_class[c] - under
        out |= dict.fromkeys(pixels, c)
    merged = np.zeros_like(labels)
    for position, c in out.items():
        merged[position] = c
    if rule.keep_unknown:
        for position in by_class.get(VOID, set()) - set(out):
            merged[position] = VOID
    return merged


def boxes(generator, count, height, width):
    masks = []
    for _ in range(count):
        (top, bottom), (left, right) = (
            sorted(generator.integers(0, n + 1, 2)) for n in (height, width)
        )
        mask = np.zeros((height, width), bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return masks


def labels_of_boxes(generator, height, width):
    labels = np.zeros((height, width), np.uint8)
    for mask, value in zip(boxes(generator, 4, height, width), (3, 1, 7, VOID), strict=True):
        labels[mask] = value
    return labels


RULES = [
    MergeRule(),
    MergeRule(residue=False),
    MergeRule(covered=1.1),
    MergeRule(inside=0.3, covered=0.6),
    MergeRule(max_area=0.4),
    MergeRule(keep_unknown=True),
    MergeRule(assign="largest"),
    MergeRule(assign="largest", inside=0.2, residue=False, keep_unknown=True),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(12))
def test_random_boxes_merge_as_sets_of_pixels_do(rule, seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(5, 22, 2)
    labels = labels_of_boxes(generator, height, width)
    masks = boxes(generator, int(generator.integers(0, 9)), height, width)
    segments = Segments.from_masks(height, width, masks)
    out = merged_labels(labels, segments, rule)
    np.testing.assert_array_equal(out, slow(labels, masks, rule))
    shuffled = [masks[k] for k in generator.permutation(len(masks))]
    other = merged_labels(labels, Segments.from_masks(height, width, shuffled), rule)
    np.testing.assert_array_equal(out, other)


def test_unknown_pixels_of_an_image_without_segments_follow_the_rule():
    labels = np.array([[0, 3, VOID]], np.uint8)
    none = Segments.from_masks(1, 3, [])
    assert merged_labels(labels, none, MergeRule()).tolist() == [[0, 3, 0]]
    assert merged_labels(labels, none, MergeRule(keep_unknown=True)).tolist() == [[0, 3, VOID]]
    assert merged_labels(labels, none, MergeRule()).dtype == np.uint8


def test_each_option_of_the_rule_changes_some_labels():
    outputs = {rule: [] for rule in RULES}
    for seed in range(40):
        generator = np.random.default_rng(seed)
        labels = labels_of_boxes(generator, 18, 20)
        segments = Segments.from_masks(18, 20, boxes(generator, 6, 18, 20))
        for rule in RULES:
            outputs[rule].append(merged_labels(labels, segments, rule))
    first = outputs.pop(RULES[0])
    for rule, others in outputs.items():
        assert any((a != b).any() for a, b in zip(first, others, strict=True)), rule


def one_segment(rows, columns, size=(4, 8)):
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return Segments.from_masks(*size, [mask])


@pytest.mark.parametrize(("columns", "taken"), [(4, False), (5, True)])
def test_just_half_of_a_segment_is_not_enough(columns, taken):
    """The class has many pixels elsewhere, so that the second condition does not hold."""
    labels = np.zeros((4, 8), np.uint8)
    labels[0, :columns] = 1
    labels[1:] = 1
    out = merged_labels(labels, one_segment(0, slice(0, 8)), MergeRule())
    assert (out[0] == taken).all()
    assert (out[1:] == 1).all()


@pytest.mark.parametrize(("inside", "taken"), [(17, True), (16, False)])
def test_a_segment_with_85_percent_of_a_class_is_taken(inside, taken):
    labels = np.zeros((10, 10), np.uint8)
    labels.flat[:inside] = 5
    labels.flat[100 - (20 - inside) :] = 5
    mask = np.zeros((10, 10), bool)
    mask.flat[:80] = True
    out = merged_labels(labels, Segments.from_masks(10, 10, [mask]), MergeRule())
    assert (out.flat[:80] == (5 if taken else 0)).all()
    assert (out.flat[100 - (20 - inside) :] == 5).all()


@pytest.mark.parametrize(("assign", "expected"), [("ascending", 1), ("largest", 2)])
def test_two_classes_under_one_segment(assign, expected):
    """Both classes lie under the segment as a whole, and the second one has more pixels."""
    labels = np.zeros((4, 8), np.uint8)
    labels[0, :2], labels[1, :4] = 1, 2
    out = merged_labels(labels, one_segment(slice(0, 2), slice(0, 8)), MergeRule(assign=assign))
    assert (out[:2] != expected).sum() == (4 if expected == 1 else 0)
    assert expected in out[:2]


def test_labels_without_segments_stay_as_they_are():
    labels = labels_of_boxes(np.random.default_rng(3), 12, 12)
    rule = MergeRule(max_area=0.99, keep_unknown=True)
    assert merged_labels(labels, Segments(12, 12, []), rule) is labels
    whole = Segments.from_masks(12, 12, [np.ones((12, 12), bool)])
    assert merged_labels(labels, whole, rule) is labels


def test_segments_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\), and the segments \(4, 3\)"):
        merged_labels(np.zeros((3, 4), np.uint8), Segments(4, 3, []), MergeRule())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_all_thresholds_at_once_give_the_labels_of_each(rule, seed):
    generator = np.random.default_rng(seed)
    height, width = 13, 17
    score = generator.random((height, width), np.float32)
    best = generator.choice(np.array([2, 4, 9], np.uint8), (height, width))
    best[:, :8] = 4
    masks = boxes(generator, 6, height, width)
    segments = Segments.from_masks(height, width, masks)
    below = Steps(THRESHOLDS).below(score)
    merged = list(merged_at_thresholds(best, below, len(THRESHOLDS), segments, rule))
    for number in range(0, len(THRESHOLDS), 9):
        cut = np.where(score > np.float32(THRESHOLDS[number]), best, 0).astype(np.uint8)
        np.testing.assert_array_equal(merged[number], slow(cut, masks, rule))


def test_ids_are_segments_but_for_the_uncovered_value():
    ids = np.array([[7, 7, 0], [0, 255, 7]], np.uint8)
    segments = Segments.from_ids(ids, 255)
    assert [p.tolist() for p in segments.pixels] == [[2, 3], [0, 1, 5]]
    assert [p.tolist() for p in Segments.from_ids(ids).pixels] == [[2, 3], [0, 1, 5], [4]]
