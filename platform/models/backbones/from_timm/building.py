"""Backbones of timm by name, such as `timm:convnext_tiny` or `timm:deit_small_patch16_224`."""

from __future__ import annotations

import difflib

from ....errors import InputError
from ..base import Backbone
from .convnet import ConvNet
from .positions import PositionKind
from .vit import SizeKind, ViT

PREFIX = "timm:"
"""What precedes timm's name of a network in the name of a backbone."""
TRANSFORMERS = ("vision_transformer", "vision_transformer_hybrid", "deit")
"""The modules of timm whose networks are plain vision transformers."""


def check_name(name: str) -> None:
    """Check that timm has a network of a name, without building it.

    Args:
        name: timm's name, with or without a tag such as `.augreg_in21k`.

    Raises:
        InputError: timm has no such network or tag; the message lists the nearest names or all
            tags.
    """
    import timm

    architecture, dot, _ = name.partition(".")
    if not timm.is_model(architecture):
        nearest = difflib.get_close_matches(architecture, timm.list_models(), 4)
        advice = f"the nearest names are {', '.join(nearest)}" if nearest else "see timm's models"
        raise InputError(f"timm has no network {architecture!r}; {advice}")
    tagged = timm.list_models(f"{architecture}.*", pretrained=True)
    if dot and name not in tagged:
        tags = ", ".join(one.partition(".")[2] for one in tagged) or "none"
        raise InputError(f"timm has no weights {name!r}; the tags of {architecture} are {tags}")


def is_transformer(name: str) -> bool:
    """Return whether a network of timm is a plain vision transformer, without building it."""
    from timm.models import model_entrypoint

    module: str = model_entrypoint(name).__module__
    return module.removeprefix("timm.models.") in TRANSFORMERS


def check_rules(name: str, positions: PositionKind, sizes: SizeKind, final_norm: bool) -> None:
    """Check that a backbone that is no vision transformer has no options of one.

    Raises:
        InputError: an option has another value than its default.
    """
    if (positions, sizes, final_norm) != ("timm", "pad", True):
        raise InputError(
            "network.positions, network.sizes and network.final_norm are for vision transformers; "
            f"keep their defaults for {name}"
        )


def build_from_timm(
    name: str, positions: PositionKind, sizes: SizeKind, final_norm: bool
) -> Backbone:
    """Build a backbone by timm's name with random weights.

    Args:
        name: timm's name, with or without a tag.
        positions: see `ViT`.
        sizes: see `ViT`.
        final_norm: see `ViT`.

    Raises:
        InputError: timm has no such network, or it cannot serve as a backbone here.
    """
    check_name(name)
    if is_transformer(name):
        return ViT(name, positions=positions, sizes=sizes, final_norm=final_norm)
    check_rules(f"{PREFIX}{name}", positions, sizes, final_norm)
    return ConvNet(name)
