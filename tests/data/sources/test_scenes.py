"""Tests of drawn scenes: they are seeded, and mask, part map and labels agree."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsss.platform.data.formats.shard_records import row_of
from wsss.platform.data.images import decode_image
from wsss.platform.data.sources.scenes import CONTEXT, DISCRIMINATIVE, OTHER, Scenes
from wsss.platform.data.sources.source import Record
from wsss.platform.errors import InputError
from wsss.platform.labels import VOID

DIGEST = (
    "import hashlib; from wsss.platform.data.images import decode_image;"
    "from wsss.platform.data.sources.scenes import Scenes; s = Scenes(); r = s.load(s.items()[7]);"
    "a = decode_image(r.image, ''), r.mask, r.parts;"
    "print(hashlib.sha256(b''.join(x.tobytes() for x in a)).hexdigest())"
)

scenes = st.builds(
    Scenes,
    train=st.just(3),
    val=st.just(1),
    size=st.sampled_from((32, 56, 96)),
    seed=st.integers(0, 2**32 - 1),
    max_objects=st.integers(1, 6),
    shared=st.floats(0, 1),
    cooccurrence=st.floats(0, 1),
    clutter=st.integers(0, 40),
    noise=st.floats(0, 64),
)


def planes(record: Record) -> tuple[np.ndarray, np.ndarray]:
    assert record.mask is not None
    assert record.parts is not None
    return record.mask, record.parts


def first(source: Scenes) -> Record:
    return source.load(source.items()[0])


@settings(max_examples=25, deadline=None)
@given(scenes)
def test_mask_part_map_and_labels_agree(source: Scenes) -> None:
    record = first(source)
    mask, part_map = planes(record)
    value, kind = part_map // 4, part_map % 4
    size = (source.size, source.size)
    assert record.pixels.shape == (*size, 3)
    np.testing.assert_array_equal(decode_image(record.image, record.id), record.pixels)
    assert mask.shape == part_map.shape == size
    on_object = np.isin(kind, (DISCRIMINATIVE, OTHER))
    assert (mask[on_object] == value[on_object]).all()
    assert (mask[kind == CONTEXT] == 0).all()
    assert on_object[(mask > 0) & (mask < VOID)].all()
    assert (part_map[kind == 0] == 0).all()
    assert value.max() <= len(source.classes)
    assert record.labels == tuple(int(v) - 1 for v in np.unique(mask) if 0 < v < VOID)
    assert record.labels
    for label in record.labels:
        assert (mask == label + 1).sum() >= 0.004 * mask.size


@settings(max_examples=10, deadline=None)
@given(scenes)
def test_the_same_parameters_draw_the_same_scenes(source: Scenes) -> None:
    again = pickle.loads(pickle.dumps(source))
    assert again.items() == source.items()
    assert row_of(first(again)) == row_of(first(source))
    assert again.fingerprint() == source.fingerprint()


def test_another_process_draws_the_same_scene_without_torch() -> None:
    digests: list[str] = []
    exec(DIGEST, {"print": digests.append})
    code = DIGEST + "; import sys; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.split() == [digests[0], "False"], process.stderr


def test_an_image_depends_on_its_id_and_the_seed_alone() -> None:
    """More images do not change the earlier ones."""
    few, many = Scenes(train=2, val=1), Scenes(train=5, val=9)
    assert row_of(few.load(few.items()[-1])) == row_of(many.load(many.items()[5]))
    images = {first(Scenes(seed=seed)).image for seed in range(3)}
    assert len(images) == 3


def test_items_are_numbered_within_their_split() -> None:
    source = Scenes(train=2, val=1)
    assert [i.id for i in source.items()] == [
        "scene_train_00000",
        "scene_train_00001",
        "scene_val_00000",
    ]
    assert source.splits == {"train": ("train",), "val": ("val",)}
    assert [i.split for i in source.items()] == ["train", "train", "val"]
    assert source.name == "scenes"
    assert len(set(source.classes)) == 6


@pytest.fixture(scope="module")
def records() -> list[Record]:
    source = Scenes()
    return [source.load(item) for item in source.items()[:80]]


def test_every_class_and_every_kind_of_part_occurs(records: list[Record]) -> None:
    assert {label for r in records for label in r.labels} == set(range(6))
    values = {int(v) for r in records for v in np.unique(planes(r)[1])} - {0}
    assert values == {4 * c + k for c in range(1, 7) for k in (1, 2, 3)}
    assert any(len(r.labels) > 1 for r in records)


@pytest.mark.parametrize(("cooccurrence", "low", "high"), [(0.0, 0, 0), (0.8, 0.6, 0.95)])
def test_contexts_occur_with_their_class_as_often_as_set(
    cooccurrence: float, low: float, high: float
) -> None:
    source = Scenes(cooccurrence=cooccurrence, max_objects=1)
    with_own = []
    for item in source.items()[:80]:
        record = source.load(item)
        part_map = planes(record)[1]
        with_own.append((part_map == 4 * (record.labels[0] + 1) + CONTEXT).any())
    assert low <= np.mean(with_own) <= high


def test_contexts_also_occur_without_their_class(records: list[Record]) -> None:
    alone = 0
    for record in records:
        part_map = planes(record)[1]
        values = {int(v) // 4 - 1 for v in np.unique(part_map[part_map % 4 == CONTEXT])}
        alone += bool(values - set(record.labels))
    assert 4 <= alone <= 30


def test_the_fingerprint_depends_on_every_parameter() -> None:
    changed: list[dict[str, float]] = [
        {"train": 9}, {"val": 9}, {"size": 64}, {"seed": 1}, {"max_objects": 1},
        {"shared": 0.5}, {"cooccurrence": 0.5}, {"clutter": 1}, {"noise": 1.0},
    ]  # fmt: skip
    assert len(changed) == len(dataclasses.fields(Scenes))
    prints = {Scenes(**kw).fingerprint() for kw in [{}, *changed]}  # type: ignore[arg-type]
    assert len(prints) == len(changed) + 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("train", 0), ("size", 8), ("shared", 1.5), ("cooccurrence", -0.1), ("noise", float("nan"))],
)
def test_a_parameter_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{field} is {value}; it must be a (whole )?number"):
        Scenes(**{field: value})  # type: ignore[arg-type]
