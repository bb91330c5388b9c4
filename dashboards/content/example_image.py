"""Example image of a run, with its class maps, labels and target side by side in one picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...platform.data.formats.parquet import Row
from ...platform.data.images import decode_mask
from ...platform.errors import InputError
from ...platform.records.schema import RunRecord
from ...platform.serialization import digest
from ..labels import result_title
from . import layers
from .gallery import SHORT_KEY_LENGTH, Gallery, script, sources, splits_with_pictures
from .image_scores import Source

HEIGHT = 128
"""Height of the picture in pixels."""
LINE = 2
"""Width in pixels of the black line to the right of each part."""
OPACITY = 0.65
"""Opacity of class maps and masks over the image, the opacity that other pages start with."""
TITLE_HEIGHT = 16
"""Height of a line of text above the parts, in pixels."""
TITLE_FONT = ImageFont.load_default(size=11)
Part = tuple[str, Image.Image]
"""Name of a part of the picture, and the part in RGB."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """Example image of a run.

    Attributes:
        id: image id.
        result: title of the result whose score chose the image.
        score: mean IoU of that result over the classes in the image's target or prediction; None
            where no image of the split is scored.
        images: number of images that the image was chosen from.
    """

    id: str
    result: str
    score: float | None
    images: int


def example(images: Gallery) -> Example | None:
    """Return the example image of a run.

    It is the image with the median mean IoU (the lower one of two) among the images of the first
    chunk, by the last result of the run that can be scored; None where no result can be scored. Of
    a split that is not scored it is the first image.
    """
    if not images.scored:
        ids = images.ids()
        last = result_title(images.sources[-1].id)
        return Example(id=ids[0], result=last, score=None, images=len(ids)) if ids else None
    for source in reversed(images.sources):
        try:
            scores = images.scores(source, 0)
        except InputError:  # the artifact was deleted
            continue
        ranked = sorted((score.figures[0], id) for id, score in scores.items())
        if ranked:
            score, id = ranked[(len(ranked) - 1) // 2]
            title = result_title(source.id)
            return Example(id=id, result=title, score=score, images=len(ranked))
    return None


def picture_path(run: RunRecord) -> str:
    """Return the path of the picture, which changes with the artifacts of the run."""
    keys = [[str(s.id), s.key, s.threshold] for s in sources(run, splits_with_pictures(run)[0])]
    return f"examples/{digest([run.shards, keys])[:SHORT_KEY_LENGTH]}.jpg"


def example_data(images: Gallery) -> str:
    """Return the file `data/RUN/example.js`: the example image and the parts of its picture."""
    run, chosen = images.run, example(images)
    if chosen is None:
        return script("example", run.name, None)
    parts = list(_parts(images, chosen.id))
    value = {
        "id": chosen.id,
        "split": images.split,
        "result": chosen.result,
        "score": chosen.score,
        "images": chosen.images,
        "parts": [name for name, _ in parts],
        "picture": picture_path(run),
        "size": [sum(part.width + LINE for _, part in parts), HEIGHT],
    }
    return script("example", run.name, value)


def picture(images: Gallery) -> bytes | None:
    """Return the picture of the example image as a JPEG; None without an example image."""
    chosen = example(images)
    if chosen is None:
        return None
    parts = [
        np.pad(np.asarray(p), ((0,), (LINE,), (0,)))[:, LINE:] for _, p in _parts(images, chosen.id)
    ]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def titled_picture(images: Gallery, id: str) -> Image.Image:
    """Return an image, its class maps and labels, and its target, side by side with their names.

    Args:
        images: images of a split of a run.
        id: id of one of the images.
    """
    parts = list(_parts(images, id))
    widths = [max(part.width, round(TITLE_FONT.getlength(name)) + 2) for name, part in parts]
    out = Image.new("RGB", (sum(widths) + LINE * (len(parts) - 1), TITLE_HEIGHT + HEIGHT), "white")
    draw, left = ImageDraw.Draw(out), 0
    for (name, part), width in zip(parts, widths, strict=True):
        draw.text((left + 1, 1), name, fill="black", font=TITLE_FONT)
        out.paste(part, (left, TITLE_HEIGHT))
        left += width + LINE
    return out


def _parts(images: Gallery, id: str) -> Iterator[Part]:
    """Yield image, class maps and labels of each result, and target; a missing part is left out."""
    row, base = photograph_of(images, id)
    yield "image", base.convert("RGB")
    for source in images.sources:
        if source.id.baseline:
            continue
        try:
            part = picture_of_source(images, source, id, base)
        except InputError:  # the artifact was deleted
            continue
        yield result_title(source.id), part
    if row["mask"]:
        yield "target", picture_of_target(row, base)


def photograph_of(images: Gallery, id: str) -> tuple[Row, Image.Image]:
    """Return the record of an image and the image in RGBA, HEIGHT pixels high.

    Args:
        images: images of a split of a run.
        id: id of one of the images.
    """
    artifacts, shards = images.artifacts, images.run.shards
    row = artifacts.images(shards, artifacts.slice_of(shards, id))[id]
    photograph = opened(layers.photograph(row["image"], id, row["height"], row["width"]))
    width = max(1, round(photograph.width * HEIGHT / photograph.height))
    return row, photograph.resize((width, HEIGHT), Image.Resampling.LANCZOS)


def picture_of_source(images: Gallery, source: Source, id: str, base: Image.Image) -> Image.Image:
    """Return the heat of class maps, or labels, over an image from `photograph_of`, in RGB.

    Raises:
        InputError: the artifact was deleted.
    """
    artifacts = images.artifacts
    piece = artifacts.slice_of(images.run.shards, id)
    if source.threshold is None:
        mask = layers.mask(artifacts.labels(source.key, piece)[id])
        return overlaid(base, opened(mask).resize(base.size, Image.Resampling.NEAREST))
    heat = layers.heat(artifacts.maps(source.key, piece)[id])
    return overlaid(base, opened(heat).resize(base.size, Image.Resampling.BILINEAR))


def picture_of_target(row: Row, base: Image.Image) -> Image.Image:
    """Return the true mask of a record over its image from `photograph_of`, in RGB."""
    target = opened(layers.mask(decode_mask(row["mask"], row["id"])))
    return overlaid(base, target.resize(base.size, Image.Resampling.NEAREST))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGBA")


def overlaid(base: Image.Image, layer: Image.Image) -> Image.Image:
    """Return an image with a layer over it at OPACITY."""
    layer.putalpha(layer.getchannel("A").point(lambda alpha: alpha * OPACITY))
    return Image.alpha_composite(base, layer).convert("RGB")
