"""Tests of DenseCRF in torch against pydensecrf, of its properties and of its memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_images import blobs, exact, shaded
from PIL import Image
from torch.nn import functional as F
from wsss.platform.ops.crf import (
    CRF,
    CRFS,
    BatchRefiner,
    Refiner,
    crf_bytes,
    hard_probabilities,
    label_probabilities,
)

PHOTOGRAPHS = Path(__file__).parents[4] / "shared/data/voc12_mixed/JPEGImages"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
AGREEING = 0.9999
"""Smallest mean share of pixels whose best label is pydensecrf's."""
DIFFERENT = 1e-3
"""Largest difference of a probability from pydensecrf's. A corner of the lattice that only one of
both has makes larger ones."""


def smooth_scores(labels, height, width, seed=0):
    """Return scores that change over about 16 pixels, `[L,H,W]`, which sum to one."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((1, labels, height // 16 + 2, width // 16 + 2), np.float32)
    scores = F.interpolate(torch.from_numpy(coarse), (height, width), mode="bicubic")[0].clamp(0.01)
    return (scores / scores.sum(0)).numpy()


def agreement(image, labels, crf, seed=0):
    """Return the share of pixels with pydensecrf's best label, and the largest difference."""
    start = smooth_scores(labels, *image.shape[:2], seed)
    if crf.certainty:
        start = label_probabilities(start.argmax(0), labels, crf.certainty)
    expected = Refiner(image, crf).refine(start)
    batch = torch.from_numpy(image)[None].to(DEVICE), torch.from_numpy(start)[None, None].to(DEVICE)
    refined = BatchRefiner(batch[0], crf).refine(batch[1])[0, 0].cpu().numpy()
    share = (refined.argmax(0) == expected.argmax(0)).mean()
    return share, np.abs(refined - expected).max()


@pytest.mark.parametrize("labels", [2, 3, 21, 81])
@pytest.mark.parametrize("name", CRFS)
def test_drawn_images_get_the_labels_of_pydensecrf(name, labels):
    image, _ = shaded(37, 51, seed=labels)
    share, difference = agreement(image, labels, CRFS[name])
    assert share >= AGREEING
    assert difference < DIFFERENT


@pytest.mark.shared
@pytest.mark.parametrize("labels", [3, 21, 81])
@pytest.mark.parametrize("name", CRFS)
def test_photographs_get_the_labels_of_pydensecrf(name, labels):
    """The middle of 20 photographs; docs/refinement.md has the table of whole photographs."""
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("the photographs ../shared/data/voc12_mixed are not here")
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))
    results = []
    for number, file in enumerate(files[:: len(files) // 20][:20]):
        image = np.array(Image.open(file).convert("RGB"))
        top, left = (image.shape[0] - 96) // 2, (image.shape[1] - 128) // 2
        middle = np.ascontiguousarray(image[top : top + 96, left : left + 128])
        results.append(agreement(middle, labels, CRFS[name], number))
    shares, differences = zip(*results, strict=True)
    assert len(shares) == 20
    assert np.mean(shares) >= AGREEING
    assert min(shares) >= 0.9998  # two pixels, whose best labels are equally good
    assert max(differences) < DIFFERENT


def test_mean_field_is_near_to_exact_kernels():
    image, scores = shaded()
    for name in ("irn", "psa"):
        refined = refine(image, scores, CRFS[name])
        expected = exact(image, scores, CRFS[name])
        assert np.abs(refined - expected).mean() < 0.08


def refine(image, scores, crf):
    images, start = torch.from_numpy(image)[None], torch.from_numpy(scores)[None, None]
    return BatchRefiner(images, crf).refine(start)[0, 0].numpy()


def test_permuted_labels_permute_the_result():
    image, _ = shaded()
    scores = smooth_scores(5, *image.shape[:2])
    order = [3, 0, 4, 1, 2]
    for crf in CRFS.values():
        refined = refine(image, scores, crf)
        np.testing.assert_allclose(refine(image, scores[order], crf), refined[order], atol=1e-4)


def test_one_step_on_a_constant_image_adds_a_gaussian_blur():
    """The logits grow by the beliefs, blurred with the deviation `colour_xy`."""
    crf = CRF(smooth_xy=3, smooth=0, colour_xy=5, colour_rgb=5, colour=2, iterations=1)
    image = np.full((36, 44, 3), 130, np.uint8)
    scores = smooth_scores(3, 36, 44)
    grown = np.log(refine(image, scores, crf)) - np.log(scores)
    distance = [(np.arange(n)[:, None] - np.arange(n)) ** 2 for n in (36, 44)]
    rows, columns = (np.exp(-d / (2 * crf.colour_xy**2)) for d in distance)
    sums = np.sqrt(rows.sum(1)[:, None] * columns.sum(1))
    blurred = 2 * np.einsum("yv,lvu,xu->lyx", rows, scores / sums, columns) / sums
    for label in (1, 2):
        difference = grown[label] - grown[0] - (blurred[label] - blurred[0])
        assert np.abs(difference).max() < 0.15 * np.ptp(blurred[label] - blurred[0])


def test_one_label_stays_as_it_is():
    only = torch.rand(2, 2, 1, 9, 8)
    images = torch.randint(0, 256, (2, 9, 8, 3), dtype=torch.uint8)
    for crf in CRFS.values():
        assert BatchRefiner(images, crf).refine(only) is only


def test_without_kernels_scores_stay_unchanged():
    image, _, seed = blobs()
    start = np.stack([1 - seed, seed]).clip(0.01, 0.99)
    off = replace(CRFS["deeplab"], smooth=0.0, colour=0.0)
    np.testing.assert_allclose(refine(image, start, off), start, atol=1e-5)


def test_images_starts_and_labels_of_a_batch_do_not_touch_each_other():
    """Image 0 has two labels, image 1 four; each has two starts."""
    images = np.stack([shaded(seed=seed)[0] for seed in (0, 1)])
    starts = torch.zeros(2, 2, 4, *images.shape[1:3])
    counts = (2, 4)
    for image, count in enumerate(counts):
        for start in range(2):
            scores = smooth_scores(count, *images.shape[1:3], 2 * image + start)
            starts[image, start, :count] = torch.from_numpy(scores)
    present = torch.arange(4) < torch.tensor(counts)[:, None]
    together = BatchRefiner(torch.from_numpy(images), CRFS["psa"]).refine(starts, present)
    assert not together[0, :, 2:].any()
    for image, count in enumerate(counts):
        for start in range(2):
            alone = refine(images[image], starts[image, start, :count].numpy(), CRFS["psa"])
            np.testing.assert_allclose(together[image, start, :count], alone, atol=1e-4)


def test_hard_labels_leave_equal_shares_to_the_other_labels_of_an_image():
    seeds = torch.tensor([[[[0, 2]]], [[[1, 0]]]])
    present = torch.tensor([[True, True, True], [True, True, False]])
    out = hard_probabilities(seeds, present, 0.7)
    for number, count in enumerate((3, 2)):
        expected = label_probabilities(seeds[number, 0].numpy(), count, 0.7)
        np.testing.assert_allclose(out[number, 0, :count], expected)
    assert not out[1, 0, 2].any()
    single = hard_probabilities(torch.zeros(1, 1, 1, 1).long(), torch.tensor([[True, False]]), 0.7)
    assert single[0, 0, 1, 0, 0] == 0


def test_sizes_that_differ_are_refused():
    refiner = BatchRefiner(torch.zeros(1, 4, 5, 3, dtype=torch.uint8), CRFS["irn"])
    with pytest.raises(ValueError, match="the images have the shape"):
        refiner.refine(torch.ones(1, 1, 2, 4, 4))


def highest_bytes(action):
    """Return the highest number of bytes that the tensors of an action held at a time."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        action()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(np.cumsum([event.nbytes() for event in events]))


@pytest.mark.parametrize(
    ("name", "levels", "labels"),
    [("irn", 2, 2), ("deeplab", 1, 2), ("irn", 2, 12), ("deeplab", 1, 40)],
)
def test_the_memory_of_noise_stays_within_its_bound(name, levels, labels):
    """Of all images noise takes most, because each pixel has corners of its own."""
    height, width = 60, 80
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    )

    def action():
        start = torch.rand(2, levels, labels, height, width)
        BatchRefiner(images, replace(CRFS[name], iterations=2)).refine(start)

    assert highest_bytes(action) <= crf_bytes(2 * height * width, labels)
