"""Tests of the picture of a comparison: which images it shows, and its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drawn_store import run_of
from PIL import Image
from wsss.dashboards.content import example_image, layers
from wsss.dashboards.content.artifact_cache import ArtifactCache
from wsss.dashboards.content.example_image import HEIGHT, LINE, TITLE_HEIGHT
from wsss.dashboards.content.gallery import Gallery
from wsss.dashboards.content.scoring import ImageScore
from wsss.dashboards.content.strip import (
    QUANTILES,
    Column,
    _ids_at_quantiles,
    columns_of,
    strip,
)
from wsss.platform.data.images import decode_image
from wsss.platform.errors import InputError
from wsss.platform.pipeline.run import Row
from wsss.platform.records.result_id import ResultId
from wsss.platform.storage.store import Store

CAM, LPCAM, CRF = (ResultId.parse(text) for text in ("cam", "lpcam", "lpcam/crf"))
WHITE = 255


def rows_of(store: Store) -> list[Row]:
    """Return the rows of a table of the two runs of a store."""
    first, second = (run_of(store, name) for name in ("run-0", "run-1"))
    return [
        ("cam", CAM, [first]),
        ("lpcam", LPCAM, [first]),
        ("second", LPCAM, [second]),
        ("second > crf", CRF, [second]),
    ]


def columns(folder: Path) -> list[Column]:
    store = Store(folder)
    return columns_of(ArtifactCache(store), rows_of(store))


def cells_of(picture: Image.Image, number: int, count: int) -> Sequence[np.ndarray]:
    """Return the pictures in a row of a strip whose cells are as wide as high, `[H,W,3]` each."""
    pixels = np.asarray(picture, np.int64)
    top = TITLE_HEIGHT + number * (TITLE_HEIGHT + HEIGHT) + TITLE_HEIGHT
    step = HEIGHT + LINE
    return [pixels[top : top + HEIGHT, k * step : k * step + HEIGHT] for k in range(count)]


def expected_ids(folder: Path) -> list[str]:
    """Return the ids at the quantiles of the score of the last result, with numpy's ranks."""
    images = Gallery(ArtifactCache(Store(folder)), run_of(Store(folder), "run-1"), "val")
    source = next(s for s in images.sources if s.id == CRF)
    ranked = sorted((score.figures[0], id) for id, score in images.scores(source, 0).items())
    return [ranked[int(k)][1] for k in np.quantile(np.arange(len(ranked)), QUANTILES).round()]


def closest_image(images: Gallery, cell: np.ndarray) -> str:
    """Return the id of the image whose 64 x 64 pixels differ least from a picture of twice the
    size."""
    artifacts, shards = images.artifacts, images.run.shards
    rows = [artifacts.images(shards, artifacts.slice_of(shards, id))[id] for id in images.ids()]
    distances = {
        row["id"]: np.abs(
            cell[1::2, 1::2] - decode_image(row["image"], row["id"]).astype(int)
        ).sum()
        for row in rows
    }
    return min(distances, key=lambda id: distances[id])


def test_the_columns_are_the_results_of_the_table_on_the_last_split(scenes: Path) -> None:
    made = columns(scenes)
    assert [column.title for column in made] == ["cam", "lpcam", "second", "second > crf"]
    assert {column.images.split for column in made} == {"val"}
    assert [str(column.source.id) for column in made] == ["cam", "lpcam", "lpcam", "lpcam/crf"]
    assert made[1].source.key != made[2].source.key


def test_the_strip_has_a_row_for_each_quantile_of_the_last_result(scenes: Path) -> None:
    made = columns(scenes)
    picture = strip(made)
    lines = 1 + len(QUANTILES)  # titles, a line above each row
    notes = picture.height - lines * TITLE_HEIGHT - len(QUANTILES) * HEIGHT
    assert notes % TITLE_HEIGHT == 0
    assert 1 < notes // TITLE_HEIGHT < 6
    below = np.asarray(picture)[-notes:]
    assert (below[:, -1] == WHITE).all(), "no note is cut at the right"
    assert (below < WHITE).any()
    assert picture.width == 6 * HEIGHT + 5 * LINE
    for number, id in enumerate(expected_ids(scenes)):
        row, base = example_image.photograph_of(made[0].images, id)
        shown = cells_of(picture, number, 6)
        np.testing.assert_array_equal(shown[0], np.asarray(base.convert("RGB")))
        assert closest_image(made[0].images, shown[0]) == id
        target = example_image.picture_of_target(row, base)
        np.testing.assert_array_equal(shown[-1], np.asarray(target))


def test_class_maps_have_the_border_of_their_seed_mask_and_labels_have_none(scenes: Path) -> None:
    made = columns(scenes)
    picture, counts = strip(made), []
    for number, id in enumerate(expected_ids(scenes)):
        _, base = example_image.photograph_of(made[0].images, id)
        for column, cell in zip(made, cells_of(picture, number, 6)[1:], strict=False):
            part = example_image.picture_of_source(column.images, column.source, id, base)
            border = border_of(column, id)
            counts.append(int(border.sum()))
            np.testing.assert_array_equal(cell[~border], np.asarray(part)[~border])
            assert (cell[border] > 0.8 * WHITE).all()
    assert sum(count > 100 for count in counts) > 5


def border_of(column: Column, id: str) -> np.ndarray:
    """Return which pixels of a picture of twice the image's size are on the border of a seed mask.

    A pixel is on the border if its class differs from that of its left or upper neighbour.
    """
    border = np.zeros((HEIGHT, HEIGHT), bool)
    if column.source.threshold is None:
        return border
    artifacts = column.images.artifacts
    maps = artifacts.maps(column.source.key, artifacts.slice_of(column.images.run.shards, id))[id]
    seed = layers.seed(maps, column.source.threshold).repeat(2, 0).repeat(2, 1)
    for y, x in np.ndindex(HEIGHT, HEIGHT):
        near = [seed[y, x - 1]] if x else []
        near += [seed[y - 1, x]] if y else []
        border[y, x] = any(other != seed[y, x] for other in near)
    return border


def test_few_images_are_shown_once_and_none_are_refused() -> None:
    def scored(**values: float) -> dict[str, ImageScore]:
        return {
            id: ImageScore(figures=(v, 0.0, 0.0, 0.0), pixels=1, objects=())
            for id, v in values.items()
        }

    assert _ids_at_quantiles(scored(b=0.5, a=0.9, c=0.1)) == ["c", "b", "a"]
    assert _ids_at_quantiles(scored(b=0.5)) == ["b"]
    with pytest.raises(InputError, match="none of the first images has a mask"):
        _ids_at_quantiles({})


def test_an_empty_table_and_deleted_results_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="leave out the picture"):
        columns_of(ArtifactCache(store), [])
    made = columns_of(ArtifactCache(store), rows_of(store))
    store.folder("maps", made[0].source.key).remove_tree()
    with pytest.raises(InputError, match="maps"):
        strip(made)
