"""The data set `scenes` of drawn insects with part maps, which needs no download.

Each class has its own head (the discriminative part), and trunk and legs (other parts) whose look
is drawn from a pool that three classes share. Each class has a context, such as a flower under a
bee, that is often beside an insect of the class and sometimes in an image without one.

The part map of a record holds 0, or 4 * (class + 1) + kind, with kind 1 discriminative, 2 other,
3 context. Where kind is 1 or 2, the mask is class + 1; where kind is 3, the mask is 0.

Lengths are shares of an object's length, which is a share of the image's side.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math

import numpy as np
from numpy.random import PCG64, Generator
from PIL import Image

from ...config.fields import Options, dataclass, option
from ...config.limits import bounds
from ...labels import VOID
from ..names import check_id
from .scene_drawing import Canvas, Colour, Frame, choose_colours, mix_colours
from .source import Item, Record

DISCRIMINATIVE, OTHER, CONTEXT = 1, 2, 3
DRAWING_VERSION = 3
"""Version of the drawing, raised when the same options draw other pixels."""


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A class of insects.

    Attributes:
        name: name of the class.
        head: both colours of the head.
        pattern: pattern of the head.
        trunks: numbers of two of the four looks of trunks.
        context: name of the context.
    """

    name: str
    head: tuple[Colour, Colour]
    pattern: str
    trunks: tuple[int, int]
    context: str


_KINDS = (
    _Kind("ant", ((220, 36, 30), (255, 190, 170)), "spot", (0, 1), "mound"),
    _Kind("bee", ((250, 200, 20), (70, 44, 10)), "stripes", (2, 3), "flower"),
    _Kind("beetle", ((30, 80, 224), (150, 205, 255)), "rings", (0, 2), "leaf"),
    _Kind("fly", ((230, 40, 180), (255, 190, 235)), "halves", (1, 3), "plate"),
    _Kind("moth", ((250, 250, 250), (126, 50, 200)), "checks", (0, 3), "lamp"),
    _Kind("spider", ((10, 176, 120), (190, 255, 220)), "spot", (1, 2), "web"),
)
_TRUNKS: tuple[tuple[Colour, Colour, str], ...] = (
    ((126, 82, 48), (92, 56, 32), "bands"),
    ((58, 56, 66), (98, 96, 110), "dots"),
    ((176, 142, 92), (140, 104, 62), "uniform"),
    ((96, 104, 62), (66, 74, 40), "bands"),
)
_GROUNDS: tuple[Colour, ...] = ((168, 172, 150), (188, 178, 160), (150, 160, 166), (176, 168, 176))


@dataclass(frozen=True, kw_only=True)
class Scenes(Options):
    """The drawn data set, in which the same options always give the same pixels."""

    train: int = option(240, "Number of training images.", **bounds("train"))
    val: int = option(80, "Number of validation images.", **bounds("val"))
    size: int = option(96, "Side of the images, in pixels.", **bounds("size"))
    seed: int = option(0, "Random seed of the drawing.", **bounds("seed"))
    max_objects: int = option(3, "Largest number of objects in an image.", low=1, high=6)
    shared: float = option(
        0.9,
        "Share of the trunk's look that classes have in common; at 1 only heads differ.",
        low=0,
        high=1,
    )
    cooccurrence: float = option(
        0.8, "Probability that an object has the context of its class beside it.", low=0, high=1
    )
    clutter: int = option(
        6, "Largest number of things in an image that belong to no class.", low=0, high=40
    )
    noise: float = option(
        4.0, "Standard deviation of pixel noise, for pixels in 0 to 255.", low=0, high=64
    )

    @property
    def name(self) -> str:
        """Name of the source, scenes."""
        return "scenes"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the six insects."""
        return tuple(kind.name for kind in _KINDS)

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """The splits train and val."""
        return {"train": ("train",), "val": ("val",)}

    def items(self) -> list[Item]:
        """Return one item for each image; the labels of an image are known once it is drawn."""
        counts = {"train": self.train, "val": self.val}
        ids = [(split, f"scene_{split}_{i:05d}") for split, n in counts.items() for i in range(n)]
        return [Item(id=id, split=split, seed=self._seed(id)) for split, id in ids]

    def load(self, item: Item) -> Record:
        """Draw the image of an item, with mask and part map."""
        canvas = Canvas(self.size, Generator(PCG64(item.seed)))
        labels = self._draw(canvas)
        pixels, out = canvas.pixels(self.noise), io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return Record(
            id=check_id(item.id),
            image=out.getvalue(),
            pixels=pixels,
            labels=labels,
            mask=canvas.mask,
            parts=canvas.parts,
            split=item.split,
        )

    def notes(self) -> list[str]:
        """Return no sentences, because all files are read in one way."""
        return []

    def settings(self) -> dict[str, object]:
        """Return the options and the version of the drawing."""
        return {"source": self.name, "drawing": DRAWING_VERSION, **dataclasses.asdict(self)}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()

    def _seed(self, id: str) -> int:
        digest = hashlib.sha256(f"{self.seed}/{id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def _draw(self, canvas: Canvas) -> tuple[int, ...]:
        """Draw one scene and return the classes that are visible in it."""
        rng = canvas.rng
        canvas.fill_ground(_GROUNDS[rng.integers(len(_GROUNDS))], roughness=24)
        for _ in range(rng.integers(self.clutter + 1)):
            _clutter(canvas)
        count = 1 + int(self.max_objects * rng.random() ** 1.7)  # low counts are likelier
        centres: list[tuple[float, float]] = []
        objects = []
        for _ in range(count):
            centres.append(_free_centre(canvas, centres))
            length = self.size * rng.uniform(0.62, 0.85) * (1.12 - 0.12 * count)
            frame = Frame(canvas, centres[-1], rng.uniform(0, 2 * math.pi), length)
            objects.append((int(rng.integers(len(_KINDS))), frame, centres[-1]))
        for index, frame, at in objects:
            if rng.random() < self.cooccurrence:
                _context(canvas, index, at, frame.scale)
        absent = [i for i in range(len(_KINDS)) if i not in {o[0] for o in objects}]
        if absent and rng.random() < 1 - self.cooccurrence:
            at = _free_centre(canvas, centres)
            _context(canvas, int(rng.choice(absent)), at, self.size * rng.uniform(0.4, 0.6))
        for index, frame, _ in objects:
            _insect(canvas, index, frame, self.shared)
        return _visible_classes(canvas)


def _visible_classes(canvas: Canvas) -> tuple[int, ...]:
    """Return the classes with at least 0.4 % of the pixels and set other classes to void."""
    counts = np.bincount(canvas.mask.ravel(), minlength=len(_KINDS) + 1)[1:]
    enough = counts >= 0.004 * canvas.mask.size
    for index in np.flatnonzero(~enough & (counts > 0)):
        rest = canvas.mask == index + 1
        canvas.mask[rest], canvas.parts[rest] = VOID, 0
    return tuple(int(i) for i in np.flatnonzero(enough))


def _free_centre(canvas: Canvas, taken: list[tuple[float, float]]) -> tuple[float, float]:
    """Draw eight random points and return the one farthest from those taken."""
    low, high = 0.22 * canvas.size, 0.78 * canvas.size
    spots = [(x, y) for x, y in canvas.rng.uniform(low, high, (8, 2)).tolist()]
    return max(
        spots, key=lambda p: min(((p[0] - x) ** 2 + (p[1] - y) ** 2 for x, y in taken), default=0.0)
    )


def _jittered(canvas: Canvas, colour: Colour, by: float) -> Colour:
    shift = canvas.rng.uniform(-by, by, 3) + canvas.rng.uniform(-by, by)
    r, g, b = (float(x) for x in np.clip(np.array(colour) + shift, 0, 255))
    return r, g, b


def _clutter(canvas: Canvas) -> None:
    """Draw a stone or a blade of grass."""
    rng = canvas.rng
    at = tuple(rng.uniform(0, canvas.size, 2).tolist())
    frame = Frame(canvas, (at[0], at[1]), rng.uniform(0, 2 * math.pi), canvas.size)
    if rng.random() < 0.5:
        colour = _jittered(canvas, (128, 126, 124), 24)
        radii = (rng.uniform(0.03, 0.09), rng.uniform(0.03, 0.06))
        canvas.paint(frame.ellipse((0, 0), radii), colour)
        light = (-radii[0] * 0.2, -radii[1] * 0.25)
        shine = mix_colours(colour, (255, 255, 255), 0.25)
        canvas.paint(frame.ellipse(light, (radii[0] * 0.55, radii[1] * 0.5)), shine)
    else:
        colour = _jittered(canvas, (112, 136, 80), 20)
        end = (rng.uniform(0.15, 0.4), 0.0)
        canvas.paint(frame.bar((0, 0), end, 0.016 * canvas.size), colour)


def _insect(canvas: Canvas, index: int, frame: Frame, shared: float) -> None:
    """Draw legs, feelers, abdomen and thorax (other parts), then the head (discriminative)."""
    kind, value = _KINDS[index], index + 1
    other, head = 4 * value + OTHER, 4 * value + DISCRIMINATIVE
    first, second, pattern = _TRUNKS[kind.trunks[canvas.rng.integers(2)]]
    light = _jittered(canvas, mix_colours(kind.head[0], first, shared), 10)
    dark = _jittered(canvas, mix_colours(kind.head[1], second, shared), 10)
    width = max(2.2, 0.05 * frame.scale)
    swing = canvas.rng.uniform(-0.06, 0.06, 6)
    for i, base in enumerate((-0.06, 0.06, 0.16)):
        for side in (-1, 1):
            knee = (base + 0.6 * (base - 0.06) + swing[i], side * 0.24)
            foot = (base + 1.6 * (base - 0.06) + swing[i + 3] - 0.04, side * 0.38)
            canvas.paint(frame.bar((base, 0), knee, width), dark, value, other)
            canvas.paint(frame.bar(knee, foot, width * 0.85), dark, value, other)
    for side in (-1, 1):
        canvas.paint(frame.bar((0.3, 0), (0.5, side * 0.13), width * 0.7), dark, value, other)
    for at, radii in (((-0.24, 0.0), (0.27, 0.19)), ((0.07, 0.0), (0.15, 0.13))):
        colours = choose_colours(light, dark, frame.pattern(pattern, at, 0.2))
        canvas.paint(frame.ellipse(at, radii), colours, value, other)
    face = [_jittered(canvas, colour, 12) for colour in kind.head]
    colours = choose_colours(face[0], face[1], frame.pattern(kind.pattern, (0.31, 0.0), 0.19))
    canvas.paint(frame.ellipse((0.31, 0.0), (0.19, 0.19)), colours, value, head)


def _context(canvas: Canvas, index: int, at: tuple[float, float], length: float) -> None:
    """Draw the context of a class near `at`, in proportion to the `length` of the object."""
    rng, part = canvas.rng, 4 * (index + 1) + CONTEXT
    turn, away = rng.uniform(0, 2 * math.pi), length * rng.uniform(0.2, 0.4)
    centre = (at[0] + away * math.cos(turn), at[1] + away * math.sin(turn))
    frame = Frame(canvas, centre, rng.uniform(0, 2 * math.pi), length * rng.uniform(0.7, 0.9))
    _CONTEXTS[_KINDS[index].context](canvas, frame, part)


def _mound(canvas: Canvas, frame: Frame, part: int) -> None:
    sand = choose_colours((206, 172, 112), (178, 140, 84), frame.pattern("dots", (0, 0), 0.22))
    canvas.paint(frame.ellipse((0, 0), (0.5, 0.36)), sand, 0, part)
    canvas.paint(frame.ellipse((0, 0), (0.1, 0.08)), (84, 62, 40), 0, part)


def _flower(canvas: Canvas, frame: Frame, part: int) -> None:
    for i in range(6):
        at = (0.27 * math.cos(i * math.pi / 3), 0.27 * math.sin(i * math.pi / 3))
        canvas.paint(frame.ellipse(at, (0.19, 0.19)), (212, 192, 224 - 8 * (i % 2)), 0, part)
    canvas.paint(frame.ellipse((0, 0), (0.16, 0.16)), (238, 222, 160), 0, part)


def _leaf(canvas: Canvas, frame: Frame, part: int) -> None:
    blade = np.maximum(
        frame.ellipse((0, 0.22), (0.52, 0.52)), frame.ellipse((0, -0.22), (0.52, 0.52))
    )
    canvas.paint(blade, (122, 156, 100), 0, part)
    canvas.paint(frame.bar((-0.5, 0), (0.5, 0), 0.05 * frame.scale), (158, 186, 132), 0, part)


def _plate(canvas: Canvas, frame: Frame, part: int) -> None:
    for radius, grey in ((0.48, 226), (0.4, 198), (0.36, 238)):
        canvas.paint(frame.ellipse((0, 0), (radius, radius)), (grey, grey, grey + 6), 0, part)


def _lamp(canvas: Canvas, frame: Frame, part: int) -> None:
    for radius, opacity in ((0.5, 0.45), (0.36, 0.5), (0.2, 0.7)):
        glow = frame.ellipse((0, 0), (radius, radius))
        canvas.paint(glow, (250, 240, 180), 0, part, opacity)


def _web(canvas: Canvas, frame: Frame, part: int) -> None:
    width = max(1.6, 0.02 * frame.scale)
    disc = frame.ellipse((0, 0), (0.5, 0.5))
    for radius in (0.15, 0.3, 0.47):
        ring = np.abs(frame.radius((0, 0)) - radius) * frame.scale - width / 2
        canvas.paint(ring, (244, 246, 250), 0, part)
    for i in range(4):
        end = (0.5 * math.cos(i * math.pi / 4), 0.5 * math.sin(i * math.pi / 4))
        spoke = frame.bar((-end[0], -end[1]), end, width)
        canvas.paint(np.maximum(spoke, disc), (244, 246, 250), 0, part)


_CONTEXTS = {
    "mound": _mound,
    "flower": _flower,
    "leaf": _leaf,
    "plate": _plate,
    "lamp": _lamp,
    "web": _web,
}
