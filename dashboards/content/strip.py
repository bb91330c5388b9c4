"""Picture of a comparison: a row for each of a few images, a column for each result."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw

from ...platform.errors import InputError
from ...platform.records.result_id import ResultId
from ...platform.records.schema import RunRecord
from . import layers
from .artifact_cache import ArtifactCache
from .example_image import (
    HEIGHT,
    LINE,
    TITLE_FONT,
    TITLE_HEIGHT,
    photograph_of,
    picture_of_source,
    picture_of_target,
)
from .gallery import SLICES_PER_CHUNK, Gallery, splits_with_images
from .image_scores import Rows, Source

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Ranks of the images among all images of the split by their score, as shares from 0 to 1."""

Result = tuple[str, ResultId, Sequence[RunRecord]]
"""Row of a table of scores: its title, the result, and the runs, one for each random seed."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Result with pictures: its title, the images of its run, and its class maps or labels."""

    title: str
    images: Gallery
    source: Source


def columns_of(artifacts: ArtifactCache, rows: Sequence[Result]) -> list[Column]:
    """Return the results of a table of scores that have pictures, on the split scored last.

    Of a result over several random seeds, the run with the first one is pictured.

    Args:
        artifacts: reads the store.
        rows: rows of the table.

    Raises:
        InputError: no result has pictures.
    """
    columns = []
    for title, id, runs in rows:
        for split in splits_with_images(runs[0], artifacts)[:1]:
            images = Gallery(artifacts, runs[0], split)
            sources = (source for source in images.sources if source.id == id)
            columns += [Column(title=title, images=images, source=source) for source in sources]
    if not columns:
        raise InputError("no result has class maps or labels to show; leave out the picture")
    split = columns[0].images.split
    return [column for column in columns if column.images.split == split]


def strip(columns: Sequence[Column]) -> Image.Image:
    """Return a picture with a row for each of a few images: image, each result, and target.

    Where the split is not scored, the images are spread over the first chunk, in stored order, and
    there are neither numbers nor targets.

    The images are those at QUANTILES of the score of the last result, lowest first, among the
    images of the first chunk, which are a fair sample of a large data set. Above the picture of a
    result stands the mean IoU of the image in percent, over the classes in its target or
    prediction, background included. White lines in class maps are the borders of their seed mask.

    Raises:
        InputError: the class maps or labels of a result were deleted, or no image has a mask.
    """
    last = columns[-1].images
    scores = [column.images.scores(column.source, 0) for column in columns]
    ids = _ids_at_quantiles(scores[-1]) if last.scored else _at_quantiles(_first_ids(last))
    lines = [_line(columns, scores, id) for id in ids]
    titles = ["image", *(column.title for column in columns), *(["target"] * last.scored)]
    return _composed(titles, lines, _notes(columns[-1], len(scores[-1])))


def _first_ids(images: Gallery) -> list[str]:
    """Return the ids of the images of the first chunk."""
    return images.ids()[: sum(piece.rows for piece in images.pieces[:SLICES_PER_CHUNK])]


def _notes(last: Column, count: int) -> list[str]:
    """Return the lines under the picture; `count` images of the last column have scores."""
    run, split, n = last.images.run, last.images.split, last.images.total
    start, borders = f"{run.dataset}, {split}, random seed {run.seed}", "borders of the seed masks"
    if not last.images.scored:
        return [f"{start}: images among {n}, which are not scored; white lines: {borders}"]
    return [
        f"{start}: the images at the lowest, quartile and highest scores of {last.title!r}, among "
        f"{count} of {n}",
        "numbers: mIoU in percent over the classes in the target or the prediction, background "
        f"included; white lines: {borders}",
    ]


def _ids_at_quantiles(scores: Rows) -> list[str]:
    """Return the ids of the images at QUANTILES of the score, lowest first, each once."""
    ranked = [id for _, id in sorted((score.figures[0], id) for id, score in scores.items())]
    if not ranked:
        raise InputError("none of the first images has a mask; leave out the picture")
    return _at_quantiles(ranked)


def _at_quantiles(ids: Sequence[str]) -> list[str]:
    """Return the ids at QUANTILES of their order, each once."""
    return list(dict.fromkeys(ids[round(q * (len(ids) - 1))] for q in QUANTILES))


Cell = tuple[str, Image.Image | None]
"""Text above a picture, and the picture in RGB; None: there is no picture."""


def _line(columns: Sequence[Column], scores: Sequence[Rows], id: str) -> list[Cell]:
    """Return the cells of an image."""
    row, base = photograph_of(columns[0].images, id)
    cells: list[Cell] = [(id, base.convert("RGB"))]
    for column, by_id in zip(columns, scores, strict=True):
        picture = _with_border(
            picture_of_source(column.images, column.source, id, base), column, id
        )
        cells.append((f"{100 * by_id[id].figures[0]:.1f}" if id in by_id else "", picture))
    scored = columns[0].images.scored
    return [*cells, ("", picture_of_target(row, base))] if scored else cells


def _with_border(picture: Image.Image, column: Column, id: str) -> Image.Image:
    """Return a picture of class maps with the border of their seed mask; labels as they are."""
    threshold, artifacts = column.source.threshold, column.images.artifacts
    if threshold is None:
        return picture
    piece = artifacts.slice_of(column.images.run.shards, id)
    seed = Image.fromarray(layers.seed(artifacts.maps(column.source.key, piece)[id], threshold))
    resized = seed.resize(picture.size, Image.Resampling.NEAREST)
    border = Image.open(io.BytesIO(layers.regions(np.asarray(resized)))).convert("RGBA")
    border = border.resize(picture.size, Image.Resampling.NEAREST)  # differs in a panorama
    return Image.alpha_composite(picture.convert("RGBA"), border).convert("RGB")


def _composed(
    titles: Sequence[str], lines: Sequence[Sequence[Cell]], notes: Sequence[str]
) -> Image.Image:
    """Return cells in columns under their titles, and notes under them, on white."""
    table = [[(title, None) for title in titles], *lines]
    widths = [
        max(
            max(picture.width if picture else 0, round(TITLE_FONT.getlength(text)) + 2)
            for text, picture in column
        )
        for column in zip(*table, strict=True)
    ]
    width = sum(widths) + LINE * (len(widths) - 1)
    texts = [text for note in notes for text in wrap(note, int(width / TITLE_FONT.getlength("n")))]
    height = TITLE_HEIGHT * (1 + len(lines) + len(texts)) + HEIGHT * len(lines)
    out = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(out), 0
    for cells in table:
        left = 0
        for (text, picture), column_width in zip(cells, widths, strict=True):
            draw.text((left + 1, top + 1), text, fill="black", font=TITLE_FONT)
            if picture:
                out.paste(picture, (left, top + TITLE_HEIGHT))
            left += column_width + LINE
        top += TITLE_HEIGHT + (HEIGHT if cells[0][1] else 0)
    for text in texts:
        draw.text((1, top + 1), text, fill="black", font=TITLE_FONT)
        top += TITLE_HEIGHT
    return out
