"""Fuzz tests of images and masks from damaged bytes, and of what a user says on mask values."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from hostile import attempt, damaged, fuzz, texts, with_checksums
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from scipy.io import savemat
from wsss.platform.data.images import (
    MAX_PIXELS,
    decode_image,
    decode_mask,
    encode_png,
    voc_palette,
)
from wsss.platform.data.readers.image_reader import FileContent, ImageReader
from wsss.platform.data.readers.masks import value_map
from wsss.platform.labels import VOID

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)


def encoded(form: str, mode: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(out, form, **options)
    return out.getvalue()


def png_texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * 50, zip=True)
    info.add_itxt("c", "d" * 50, zip=True)
    return info


JPEGS = (
    encoded("JPEG", "RGB"),
    encoded("JPEG", "L", progressive=True),
    encoded("JPEG", "CMYK", quality=30),
    encoded(
        "JPEG", "RGB", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", dpi=(9, 9)
    ),
    encoded("MPO", "RGB", save_all=True, append_images=[Image.fromarray(PIXELS)]),
)


def without_palette() -> bytes:
    """Return a PNG with indices of a palette that it lacks."""
    png = bytearray(encoded("PNG", "P"))
    start = png.index(b"PLTE") - 4
    del png[start : start + 12 + int.from_bytes(png[start : start + 4])]
    return bytes(png)


PNGS = (
    encoded("PNG", "RGB", pnginfo=png_texts(), icc_profile=b"x" * 40),
    encoded("PNG", "RGBA"),
    encoded("PNG", "P", transparency=3),
    encoded("PNG", "P", bits=2),
    encoded("PNG", "1"),
    encoded("PNG", "I;16"),
    encode_png(PIXELS[:, :, 0] % 5),
    encode_png(PIXELS[:, :, 0], palette=False),
    encoded("PNG", "RGB", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"),
    encoded("PNG", "L", save_all=True, append_images=[Image.fromarray(PIXELS)]),
    encoded("PNG", "LA"),
    without_palette(),
)
LABELS = PIXELS[:, :, 0] % 4


def colour_mask() -> bytes:
    out = io.BytesIO()
    colours = np.array(voc_palette(), np.uint8).reshape(256, 3)[LABELS]
    Image.fromarray(colours).save(out, "PNG")
    return out.getvalue()


def matlab_mask(**options: Any) -> bytes:
    out = io.BytesIO()
    structure = {"Segmentation": LABELS, "Boundaries": np.zeros((3, 1)), "CategoriesPresent": [1]}
    savemat(out, {"GTcls": structure}, **options)
    return out.getvalue()


MASKS = (encode_png(LABELS), encode_png(LABELS // 3 * 255), colour_mask(), *PNGS)
MATLAB = (matlab_mask(), matlab_mask(do_compression=True))


@fuzz(75)
@given(damaged(*JPEGS) | damaged(*PNGS) | damaged(*PNGS).map(with_checksums))
def test_an_image_is_read_or_refused(data: bytes) -> None:
    image = attempt(decode_image, data, "a.jpg")
    if image is not None:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS


@fuzz(50)
@given(damaged(*PNGS) | damaged(*PNGS).map(with_checksums) | damaged(*JPEGS))
def test_a_mask_is_read_or_refused(data: bytes) -> None:
    mask = attempt(decode_mask, data, "a.png")
    if mask is not None:
        assert mask.dtype == np.uint8
        assert mask.ndim == 2


readers = st.builds(
    ImageReader,
    classes=st.sampled_from((1, 3, 254)),
    orientation=st.sampled_from((None, "stored", "applied")),
    values=st.sampled_from(
        (
            None,
            value_map.parse(("0=background", "1=label", "2=cat", "3=void", "255=label"), ("cat",)),
            value_map.parse(("0,0,0=background", "128,0,0=cat", "0,128,0=label"), ("cat",)),
        )
    ),
    resize_masks=st.booleans(),
)


@fuzz(150)
@given(
    readers,
    st.sampled_from((JPEGS[3], PNGS[0], PNGS[8])) | damaged(*JPEGS, *PNGS).map(with_checksums),
    st.tuples(
        st.just("m.png"),
        st.sampled_from(MASKS) | damaged(*MASKS) | damaged(*MASKS).map(with_checksums),
    )
    | st.tuples(st.just("m.mat"), st.sampled_from(MATLAB) | damaged(*MATLAB)),
    st.sampled_from(((), (0,), (0, 1))),
)
def test_an_image_with_its_mask_is_read_or_refused(
    reader: ImageReader, image: bytes, mask: tuple[str, bytes], labels: tuple[int, ...]
) -> None:
    content = FileContent("a.jpg", image)
    record = attempt(reader.read, content, FileContent(*mask), labels)
    if record is None:
        return
    np.testing.assert_array_equal(record.pixels, decode_image(record.image, "a"))
    assert record.mask is not None
    assert record.mask.shape == record.pixels.shape[:2]
    assert all(value <= reader.classes or value == VOID for value in np.unique(record.mask))
    assert all(note.isprintable() for note in record.notes)


WORDS = ("0=background", "1=cat", "9,9,9=cat", "a.csv", "b.json", "~0")
VALUES = (b"value,class\n0,background\n1,cat\n255,void\n", b'{"0": "background", "1": "cat"}')


@fuzz(60)
@given(
    st.lists(texts | st.sampled_from(WORDS), max_size=3),
    damaged(*VALUES),
)
@example(["b.json"], b"[" * 100_000)
@example(["b.json"], b'{"0": ' * 100_000)
@example(["a.csv"], b"value,class\n" + b'"' + b"a" * 200_000)
@example(["1" * 5000 + "=cat"], b"")
def test_meanings_of_values_are_read_or_refused(
    given_folder: Path, words: list[str], data: bytes
) -> None:
    for name in ("a.csv", "b.json"):
        (given_folder / name).write_bytes(data)
    given_words = [str(given_folder / w) if w in ("a.csv", "b.json") else w for w in words]
    values = attempt(value_map.parse, given_words, ("cat", "dog"))
    if values is not None:
        assert set(values.meanings.values()) <= {0, 1, 2, VOID, value_map.LABEL}
