"""Options of a network's backbone."""

from __future__ import annotations

from typing import Literal

from ..fields import Options, dataclass, option


@dataclass(frozen=True, kw_only=True)
class Network(Options):
    """Options of the classifier's backbone."""

    backbone: str = option(
        "resnet50",
        "Backbone of the classifier: a name that `wsss doctor` lists, or timm:NAME for a network "
        "of timm.",
    )
    weights: str | None = option(
        None,
        "Local file of ImageNet weights (.pth, .safetensors or MXNet's .params); none: train from "
        "scratch.",
        file=True,
    )
    weights_key: str = option(
        "",
        "Key or prefix of the network to read from a weight file that holds several, such as "
        "teacher; empty: the only network.",
        added=True,
    )
    frozen_stages: int = option(
        0,
        "Number of first stages that are not trained (IRN: 2; LPCAM and ReCAM: 0, but their code "
        "freezes the first convolution, which belongs to stage 1 here).",
        low=0,
        high=4,
    )
    positions: Literal["timm", "mct", "clip_es"] = option(
        "timm",
        "Resampling of a vision transformer's position embedding: timm (bicubic, antialiased), mct "
        "(as MCTformer) or clip_es (bilinear, as CLIP-ES).",
        added=True,
    )
    sizes: Literal["pad", "floor", "squash"] = option(
        "pad",
        "Image sides that are no multiple of a vision transformer's patch: pad (zeros), floor (cut "
        "off, as MCTformer) or squash (resize, as CLIP-ES).",
        added=True,
    )
    final_norm: bool = option(
        True,
        "Apply the last normalisation of a vision transformer to its features.",
        added=True,
    )
