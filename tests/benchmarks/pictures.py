"""Generated pictures with the statistics of photographs, on which time and memory depend.

The spectrum of the light falls as in photographs, shapes hide each other, and colours are pale. So
DenseCRF's lattice has about as many corners, and a JPEG file about as many bytes, as those of a
photograph.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

HEIGHT, WIDTH = 375, 500
"""The size of most images of VOC, in pixels."""
FALL = 0.8
"""Power with which the amplitude of the light falls over the frequency, beside that of edges."""


def photograph(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Return a generated picture with a photograph's statistics, uint8 `[H,W,3]`."""
    rng = np.random.default_rng(seed)
    light = 20 * _cloud(rng, height, width, FALL)
    warm, green = (4 * _cloud(rng, height, width, FALL + 0.5) for _ in range(2))
    texture = np.stack([light + warm, light - green, light - warm], -1)
    grain = rng.normal(0, 2, (height, width, 1))
    return np.clip(_shapes(rng, height, width) + texture + grain, 0, 255).astype(np.uint8)


def _cloud(rng: np.random.Generator, height: int, width: int, fall: float) -> NDArray[np.float64]:
    """Return noise whose amplitude falls with the frequency, with standard deviation one."""
    rows = np.fft.fftfreq(height, 1 / height)[:, None] * (width / height)
    columns = np.fft.rfftfreq(width, 1 / width)
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    spectrum /= np.maximum(1, np.hypot(rows, columns)) ** fall
    plane = np.fft.irfft2(spectrum, (height, width))
    return plane / plane.std()


def _shapes(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Return 40 ellipses of pale colours that hide each other, `[H,W,3]`."""
    picture = Image.new("RGB", (width, height), (118, 118, 118))
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        across = width * np.exp(rng.uniform(np.log(0.03), np.log(0.4)))
        along = across * rng.uniform(0.4, 1)
        colour = np.clip(118 + rng.normal(0, 55) + rng.normal(0, 14, 3), 0, 255)
        red, green, blue = (int(value) for value in colour)
        draw.ellipse((x - across, y - along, x + across, y + along), (red, green, blue))
    return np.asarray(picture, np.float64)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an image as a JPEG file of a camera's quality."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=90)
    return data.getvalue()
