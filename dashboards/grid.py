"""The image grid of a report: a card for each image, its layers stacked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..platform.data.images import voc_palette
from .layers import ImageLayers, Layer
from .tables import esc, label

_KINDS = ("image", "target", "map", "seed", "labels")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the page needs of an image: no pixels."""

    id: str
    width: int
    height: int
    classes: tuple[int, ...]
    scores: tuple[tuple[str, float | None], ...]
    layers: tuple[Layer, ...]


def strip(image: ImageLayers, layers: Sequence[Layer]) -> Card:
    """The card of an image whose layers are written."""
    classes = sorted({c for present, _ in image.maps.values() for c in present if c})
    return Card(
        id=image.id,
        width=image.width,
        height=image.height,
        classes=tuple(classes),
        scores=tuple(
            (name, value if value is not None and math.isfinite(value) else None)
            for name, value in image.scores.items()
        ),
        layers=tuple(layers),
    )


def image_grid(cards: Sequence[Card], names: Sequence[str]) -> str:
    """Controls and cards; `names` are the class names, background first."""
    localizers = list(dict.fromkeys(w["localizer"] for c in cards for w in c.layers))
    localizers.sort(key=lambda name: (name != "", name != "cam"))
    found = {(w["kind"], w["localizer"]) for c in cards for w in c.layers}
    slots = [(k, n) for k in _KINDS for n in localizers if (k, n) in found]
    on = {("image", ""), slots[-1]}
    scored = list(dict.fromkeys(n for c in cards for n, v in c.scores if v is not None))
    scored.sort(key=lambda name: name != "cam")
    body = "".join(_card(k, c, slots, on, scored, names) for k, c in enumerate(cards))
    return f'{_controls(slots, on, scored, len(cards))}<div class="grid">\n{body}</div>\n'


def _title(kind: str, localizer: str) -> str:
    return f"{label(localizer)} {kind}" if localizer else kind


def _controls(
    slots: list[tuple[str, str]], on: set[tuple[str, str]], scored: list[str], count: int
) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" data-layer="{k}"{" checked" if s in on else ""}> '
        f"{esc(_title(*s))}</label>"
        for k, s in enumerate(slots)
    )
    orders = '<option value="">as given</option>'
    for k, name in enumerate(scored):
        shown = esc(label(name))
        orders += f'<option value="s{k}:1">{shown}: worst first</option>'
        orders += f'<option value="s{k}:-1">{shown}: best first</option>'
    for k, name in enumerate(scored[1:], 1):
        pair = f"{esc(label(name))} − {esc(label(scored[0]))}"
        orders += f'<option value="d{k}:-1">{pair}: most gained</option>'
        orders += f'<option value="d{k}:1">{pair}: most lost</option>'
    return (
        '<form class="controls" aria-label="Image layers">'
        f"<fieldset><legend>Layers</legend>{boxes}</fieldset>"
        '<label>Opacity <input type="range" name="opacity" min="0" max="100" value="65"></label>'
        '<label>Size <input type="range" name="size" min="120" max="460" value="200"></label>'
        f'<label>Order <select name="order">{orders}</select></label>'
        '<p class="note">Shift and click: this layer alone over the image. '
        f'<output name="count">{count} images</output></p></form>\n'
    )


def _card(
    order: int,
    card: Card,
    slots: list[tuple[str, str]],
    on: set[tuple[str, str]],
    scored: list[str],
    names: Sequence[str],
) -> str:
    by_slot = {(w["kind"], w["localizer"]): w for w in card.layers}
    pictures = ""
    for k, slot in enumerate(slots):
        if slot in by_slot:
            w = by_slot[slot]
            hidden = "" if slot in on else " hidden"
            alt = f"{_title(*slot)} of {card.id}"
            pictures += (
                f'<img class="{w["kind"]}" data-layer="{k}" src="images/{esc(w["file"])}" '
                f'width="{w["width"]}" height="{w["height"]}" alt="{esc(alt)}" '
                f'loading="lazy" decoding="async"{hidden}>'
            )
    scores = dict(card.scores)
    values = [scores.get(n) for n in scored]
    data = "".join(f' data-s{k}="{v:.6f}"' for k, v in enumerate(values) if v is not None)
    shown = " · ".join(
        f"{esc(label(n))} {'–' if v is None else f'{100 * v:.1f}'}"
        for n, v in zip(scored, values, strict=True)
    )
    chips = "".join(_chip(c, names) for c in card.classes)
    return (
        f'<article class="card" data-order="{order}"{data}><div class="stack">{pictures}</div>'
        f'<h3>{esc(card.id)}</h3><p class="scores">{shown}</p><p class="chips">{chips}</p>'
        "</article>\n"
    )


def _chip(value: int, names: Sequence[str]) -> str:
    r, g, b = voc_palette()[3 * value : 3 * value + 3]
    name = names[value] if value < len(names) else f"class {value}"
    return (
        '<span class="chip"><svg viewBox="0 0 10 10" aria-hidden="true">'
        f'<rect width="10" height="10" rx="2" fill="#{r:02x}{g:02x}{b:02x}"/></svg>'
        f"{esc(name)}</span>"
    )
