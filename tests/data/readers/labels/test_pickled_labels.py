"""Tests of pickled image labels, as IRN and SIPE keep them: arrays are read, no code runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_kinds import (
    CLASSES,
    LABELS,
    npy,
    vectors,
)
from wsss.platform.data.readers.labels.label_files import read_labels
from wsss.platform.errors import InputError


@pytest.mark.parametrize("key", [int, np.int32, np.int64])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_label_file_of_irn_is_read(tmp_path: Path, key: Any, protocol: int) -> None:
    numbers = {f"200{k}000032": present for k, present in enumerate(LABELS.values())}
    (tmp_path / "a.npy").write_bytes(npy(vectors(numbers, key=lambda id: key(int(id))), protocol))
    labels = read_labels(tmp_path / "a.npy", CLASSES)
    assert [labels.find(f"200{k}_000032") for k in range(4)] == list(LABELS.values())
    assert labels.notes[0] == "a.npy: numbers stand for ids, 2000000032 for 2000_000032"


def test_a_label_file_of_numpy_itself_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", vectors(LABELS), allow_pickle=True)  # type: ignore[arg-type]
    assert read_labels(tmp_path / "a.npy", CLASSES).by_id == LABELS


class Evil:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_no_code_of_a_label_file_runs(tmp_path: Path, protocol: int) -> None:
    for content in (Evil(tmp_path / "ran"), {"a": Evil(tmp_path / "ran")}):
        (tmp_path / "a.npy").write_bytes(npy(content, protocol))
        with pytest.raises(InputError, match=r"a\.npy is not read: .*\.system, which is not allow"):
            read_labels(tmp_path / "a.npy", CLASSES)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (np.zeros((2, 4)), r"holds float64 \(2, 4\), not labels by image id"),
        (5, "holds no dict, not labels by image id"),
        ({}, "has no rows"),
        ({(1, 2): [0]}, r"entry 1: \(1, 2\) is no image id"),
        ({True: [0]}, "entry 1: True is no image id"),
        ({"a": {"cat": 2}}, "'a': 'cat' is 2; a class has 0 or 1"),
        ({"a": [0, "cat"]}, "'a': .* is neither a list of names nor one of numbers"),
        ({"a": np.zeros((2, 4))}, "'a': the labels are an array of several rows"),
        ({"a": np.full(4, 0.5)}, "a: the row holds 0.5; a class has 0 or 1"),
        ({"a": np.full(4, np.nan)}, "a: the row holds nan; a class has 0 or 1"),
        ({"a": [0] * 1001}, "'a': over 1000 labels"),
        ({"a": [10**400]}, "'a': a number is too large for an index"),
        ({"a": [0], "b": ["cat"]}, "a: the labels are numbers, but other labels are names"),
    ],
)
def test_pickles_without_labels_by_image_id_are_refused(
    tmp_path: Path, content: Any, sentence: str
) -> None:
    if isinstance(content, np.ndarray):
        np.save(tmp_path / "a.npy", content)
    else:
        (tmp_path / "a.npy").write_bytes(npy(content))
    with pytest.raises(InputError, match=sentence):
        read_labels(tmp_path / "a.npy", CLASSES)
