"""A canvas that paints the pixels, the mask and the part map of an image from back to front.

Pixels are smooth at edges; mask and part map are not.
Shapes: S side of the image. Lengths are in pixels, or in units of a frame's scale where noted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float64]
Colour = tuple[float, float, float]


class Canvas:
    """An image with its mask and its part map.

    Attributes:
        rgb: float `[S,S,3]` in 0..255.
        mask: uint8 `[S,S]`, class values.
        parts: uint8 `[S,S]`, the part map.
        y, x: `[S,S]`, the middle of each pixel.
    """

    def __init__(self, size: int, rng: Generator) -> None:
        self.size, self.rng = size, rng
        self.rgb = np.zeros((size, size, 3))
        self.mask = np.zeros((size, size), np.uint8)
        self.parts = np.zeros((size, size), np.uint8)
        self.y, self.x = np.mgrid[0:size, 0:size].astype(np.float64) + 0.5

    def fill_ground(self, colour: Colour, roughness: float) -> None:
        """Fill the image with `colour` and smooth blotches of two sizes."""
        self.rgb[:] = colour
        for cells in (5, 24):
            grain = self.rng.integers(0, 256, (cells, cells), dtype=np.uint8)
            blotches = Image.fromarray(grain).resize((self.size,) * 2, Image.Resampling.BICUBIC)
            self.rgb += (np.asarray(blotches, np.float64)[..., None] / 255 - 0.5) * roughness

    def paint(
        self,
        distance: Plane,
        colour: Colour | NDArray[np.float64],
        mask: int = 0,
        part: int = 0,
        opacity: float = 1.0,
    ) -> None:
        """Paint where the signed `distance` `[S,S]` (pixels) is negative."""
        alpha = np.clip(0.5 - distance, 0, 1)[..., None] * opacity
        self.rgb = self.rgb * (1 - alpha) + np.asarray(colour, np.float64) * alpha
        inside = distance < 0
        self.mask[inside], self.parts[inside] = mask, part

    def pixels(self, noise: float) -> NDArray[np.uint8]:
        """Return the image `[S,S,3]` with normal noise of standard deviation `noise`."""
        noisy = self.rgb + self.rng.standard_normal(self.rgb.shape) * noise
        return np.floor(np.clip(noisy, 0, 255) + 0.5).clip(0, 255).astype(np.uint8)


class Frame:
    """A local system of coordinates on a canvas: u points forward, v to the side.

    Args:
        canvas: the canvas.
        at: origin (x, y), pixels.
        angle: direction of u, radians.
        scale: pixels per unit.

    Attributes:
        u, v: `[S,S]`, local coordinates of each pixel, in units of `scale`.
        scale: pixels per unit.
    """

    def __init__(self, canvas: Canvas, at: tuple[float, float], angle: float, scale: float) -> None:
        dx, dy = canvas.x - at[0], canvas.y - at[1]
        c, s = math.cos(angle), math.sin(angle)
        self.u, self.v, self.scale = (dx * c + dy * s) / scale, (dy * c - dx * s) / scale, scale

    def radius(self, at: tuple[float, float]) -> Plane:
        """Return the distance `[S,S]` from the local point `at`, in units."""
        out: Plane = np.sqrt((self.u - at[0]) ** 2 + (self.v - at[1]) ** 2)
        return out

    def ellipse(self, at: tuple[float, float], radii: tuple[float, float]) -> Plane:
        """Return the signed distance `[S,S]` from an ellipse in pixels, exact on the outline."""
        r = np.sqrt(((self.u - at[0]) / radii[0]) ** 2 + ((self.v - at[1]) / radii[1]) ** 2)
        out: Plane = (r - 1) * min(radii) * self.scale
        return out

    def bar(self, a: tuple[float, float], b: tuple[float, float], width: float) -> Plane:
        """Return the signed distance `[S,S]` from a rounded bar between local points, in pixels."""
        du, dv = b[0] - a[0], b[1] - a[1]
        t = ((self.u - a[0]) * du + (self.v - a[1]) * dv) / (du * du + dv * dv)
        t = t.clip(0, 1)
        gap = np.sqrt((self.u - a[0] - t * du) ** 2 + (self.v - a[1] - t * dv) ** 2)
        out: Plane = gap * self.scale - width / 2
        return out

    def pattern(self, name: str, at: tuple[float, float], radius: float) -> NDArray[np.bool_]:
        """Return the pixels `[S,S]` with the second colour of a pattern around a local point."""
        u, v = (self.u - at[0]) / radius, (self.v - at[1]) / radius
        r = np.sqrt(u * u + v * v)
        patterns: dict[str, Callable[[], NDArray[np.bool_]]] = {
            "uniform": lambda: np.zeros(u.shape, np.bool_),
            "spot": lambda: r < 0.55,
            "stripes": lambda: np.floor(u * 2.2 + 0.5) % 2 == 1,
            "bands": lambda: np.floor(u * 3.4) % 2 == 1,
            "halves": lambda: v > 0,
            "checks": lambda: (np.floor(u * 2) + np.floor(v * 2)) % 2 == 1,
            "rings": lambda: np.floor(r * 3) % 2 == 1,
            "dots": lambda: (_saw(u * 3) ** 2 + _saw(v * 3) ** 2) < 0.08,
        }
        return patterns[name]()


def _saw(x: Plane) -> Plane:
    out: Plane = x - np.floor(x) - 0.5
    return out


def mix_colours(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours, with `share` (0..1) of the second."""
    a, b, c = (x * (1 - share) + y * share for x, y in zip(first, second, strict=True))
    return a, b, c


def choose_colours(first: Colour, second: Colour, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return colours `[S,S,3]`: `second` where `where` `[S,S]` is true, `first` elsewhere."""
    out: NDArray[np.float64] = np.where(where[..., None], np.array(second), np.array(first))
    return out
