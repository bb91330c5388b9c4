"""Small labelled masks, and a slow oracle that counts over them pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from wsss.platform.data.check.shard_check import ShardCheck, check_of_record
from wsss.platform.data.sources.source import Record

CLASSES = 3


@dataclass(frozen=True)
class Case:
    """An image with labels and a mask."""

    id: str
    labels: tuple[int, ...]
    mask: NDArray[np.uint8] | None
    subset: str = "train"


def noise(seed: int, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an RGB image of noise; `size` is (height, width)."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def check_of(cases: list[Case], classes: int = CLASSES) -> list[ShardCheck]:
    """Return the check of each case, as if all lay in one shard of its subset."""
    out = []
    for number, case in enumerate(cases):
        size = (4, 3) if case.mask is None else case.mask.shape
        record = Record(
            id=case.id,
            image=b"",
            pixels=noise(number, size),
            labels=case.labels,
            mask=case.mask,
            split=case.subset,
        )
        out.append(check_of_record(record, classes, (f"{case.subset}-00000.parquet", number)))
    return out


def mask_of(*values: int) -> NDArray[np.uint8]:
    """Return a mask of one row of pixels."""
    return np.array([values], np.uint8)


def masks() -> st.SearchStrategy[NDArray[np.uint8] | None]:
    """Return masks of up to twelve pixels with background, CLASSES classes and void, or none."""
    values = st.lists(st.sampled_from((0, 1, 2, 3, 255)), min_size=1, max_size=12)
    return st.none() | values.map(lambda v: np.array([v], np.uint8))


def cases() -> st.SearchStrategy[list[Case]]:
    """Return up to ten images with different ids, in two subsets."""
    labels = st.sets(st.integers(0, CLASSES - 1)).map(lambda s: tuple(sorted(s)))
    rows = st.lists(st.tuples(labels, masks(), st.sampled_from(("train", "val"))), max_size=10)
    return rows.map(
        lambda members: [Case(f"i{k}", lab, m, s) for k, (lab, m, s) in enumerate(members)]
    )


def oracle(cases: list[Case], classes: int = CLASSES) -> dict[str, object]:
    """Return the counts of `Counts` over cases, computed pixel by pixel."""
    out: dict[str, object] = {"images": len(cases)}
    with_mask = [c for c in cases if c.mask is not None]
    both = [c for c in with_mask if c.labels]
    shown = {c.id: _classes_in(c.mask, classes) for c in with_mask}
    out["unlabelled"] = sum(not c.labels for c in cases)
    out["masked"], out["comparable"] = len(with_mask), len(both)
    out["agreeing"] = sum(shown[c.id] == set(c.labels) for c in both)
    out["without_pixel"] = sum(any(k not in shown[c.id] for k in c.labels) for c in both)
    out["without_label"] = sum(any(k not in c.labels for k in shown[c.id]) for c in both)
    out["disjoint"] = sum(not shown[c.id] & set(c.labels) for c in both)
    out["unlabelled_shown"] = sum(bool(shown[c.id]) for c in with_mask if not c.labels)
    by_class = range(classes)
    out["labelled"] = tuple(sum(k in c.labels for c in cases) for k in by_class)
    out["shown"] = tuple(sum(k in shown[c.id] for c in with_mask) for k in by_class)
    out["class_without_pixel"] = tuple(
        sum(k in c.labels and k not in shown[c.id] for c in with_mask) for k in by_class
    )
    out["class_without_label"] = tuple(
        sum(k in shown[c.id] and k not in c.labels for c in with_mask) for k in by_class
    )
    pixels = [0] * 256
    for case in with_mask:
        for value in np.asarray(case.mask).ravel().tolist():
            pixels[value] += 1
    out["pixels"] = tuple(pixels)
    out["first_unmasked"] = tuple(sorted(c.id for c in cases if c.mask is None)[:5])
    return out


def _classes_in(mask: NDArray[np.uint8] | None, classes: int) -> set[int]:
    return {v - 1 for v in np.asarray(mask).ravel().tolist() if 1 <= v <= classes}
