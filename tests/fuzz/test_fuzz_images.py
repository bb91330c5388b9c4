"""Fuzz tests of images and masks from damaged bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from hostile import attempt, damaged, fuzz, with_checksums
from hypothesis import given
from PIL import Image, PngImagePlugin
from wsss.platform.data.images import MAX_PIXELS, decode_image, decode_mask, encode_png

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
)
PNGS = (
    encoded("PNG", "RGB", pnginfo=png_texts(), icc_profile=b"x" * 40),
    encoded("PNG", "RGBA"),
    encoded("PNG", "P", transparency=3),
    encoded("PNG", "P", bits=2),
    encoded("PNG", "1"),
    encoded("PNG", "I;16"),
    encode_png(PIXELS[:, :, 0] % 5),
    encode_png(PIXELS[:, :, 0], palette=False),
)


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
