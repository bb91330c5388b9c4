"""Which losses and localizers run on which kinds of backbones, by trying each on a tiny network.

Shapes: B batch, N foreground classes, D channels, H W pixels, h w grid.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..method import Batch, Centers, Learner, Method, PrototypeMethod, methods
from ..models.backbones import Backbone, Swin, build
from ..models.network import SeparatelyTrained
from .training.label_learners import Boundaries, Segmenter


def _narrow_swin() -> Backbone:
    """Return a Swin transformer of a quarter of Swin-T's width, with two blocks in each stage."""
    from torchvision.models import SwinTransformer

    heads, sizes = [1, 2, 4, 8], {"patch_size": [4, 4], "embed_dim": 24, "window_size": [7, 7]}
    return Swin(SwinTransformer(depths=[2, 2, 2, 2], num_heads=heads, **sizes))


KINDS: Mapping[str, Callable[[], Backbone]] = {
    "ResNet": partial(build, "timm:test_resnet"),
    "MobileNetV2": partial(build, "timm:mobilenetv2_035"),
    "EfficientNet": partial(build, "timm:test_efficientnet"),
    "ConvNeXt": partial(build, "timm:test_convnext"),
    "Swin": _narrow_swin,
    "ViT": partial(build, "timm:test_vit"),
}
"""The function that builds a small network of each kind of backbone, by the name of the kind."""
LEARNERS: Mapping[str, Callable[[], Learner]] = {
    "IRN's boundary network": Boundaries,
    "deeplabv2, stride 8": lambda: Segmenter(scales=()),
    "deeplabv2, stride 16": lambda: Segmenter(scales=(), stride=16),
    "upernet": lambda: Segmenter(name="upernet"),
}
"""The networks that learn from pseudo labels, by name."""
RUNS = "yes"
"""The word for a learner that runs on a kind of backbone."""
CLASSES, SIDE, STEPS = 3, 64, 2


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial of a method or another learner on one kind of backbone.

    Attributes:
        learner: name of the method or learner.
        kind: kind of backbone, one of `KINDS`.
        refusal: the sentence with which it refuses the backbone; empty if it runs.
    """

    learner: str
    kind: str
    refusal: str


def trials() -> list[Trial]:
    """Try each method, with the paper's options, and each of `LEARNERS` on each kind of backbone.

    A method that refuses a kind is tried with its preset `default`, too.
    """
    out: list[Trial] = []
    for name, method in methods().items():
        if not method.trains:
            continue
        out += (paper := _trials(name, method(method.Config())))
        settings = method.presets["default"].settings
        if settings is not None and any(trial.refusal for trial in paper):
            out += _trials(f"{name}, preset default", method(settings))
    return out + [t for name, make in LEARNERS.items() for t in _trials(name, make())]


def _trials(name: str, learner: Learner) -> list[Trial]:
    return [
        Trial(learner=name, kind=kind, refusal=tried(learner, copy.deepcopy(_built(kind))))
        for kind in KINDS
    ]


def tried(learner: Learner, backbone: Backbone) -> str:
    """Train a learner for two steps on a backbone, localize, and return the sentence of a refusal.

    Args:
        learner: a method, or another learner.
        backbone: the backbone, which is changed.

    Returns:
        The sentence with which the learner refuses the backbone; empty if it runs.

    Raises:
        ArithmeticError: a loss or a class map is not finite, or a class map is negative.
    """
    torch.manual_seed(0)
    try:
        network = learner.network(CLASSES, backbone)
    except InputError as error:
        return str(error)
    network.train()
    learner.on_epoch_start(network, 0)
    groups = [dict(group) for group in network.parameter_groups(1.0, 1e-3, 0.0)]
    separate = [m for m in network.extras.values() if isinstance(m, SeparatelyTrained)]
    optimizers = [torch.optim.SGD(groups, lr=1e-3), *(m.optimizer() for m in separate)]
    for step in range(STEPS):
        loss = torch.stack(list(learner.losses(network, _batch(step), step / STEPS).values())).sum()
        _check(loss)
        network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
    learner.after_training(network)
    network.eval()
    with torch.inference_mode():
        images = _batch(STEPS).images
        if isinstance(learner, Method):
            _check(_class_maps(learner, network, images), 0.0)
        else:
            _check(network(images))
    return ""


@cache
def _built(kind: str) -> Backbone:
    """Return a backbone of random weights; copying it is faster than building it again."""
    torch.manual_seed(0)
    return KINDS[kind]()


def _class_maps(method: Method, network: Any, images: Tensor) -> Tensor:
    """Return the class maps `[B,N,h,w]` of a method, fitted to random centres if it needs any."""
    if isinstance(method, PrototypeMethod):
        generator = torch.Generator().manual_seed(0)
        width = network.features(images)["c4"].shape[1]
        foreground, context = torch.randn(2, 4, width, generator=generator)
        centers = Centers(foreground=foreground, context=context)
        method.fit(dict.fromkeys(range(CLASSES), centers), network.class_weights)
    return method.localize(network, images, _batch(STEPS).labels)


def _check(values: Tensor, lowest: float = -torch.inf) -> None:
    """Check that values are finite and not below the lowest.

    Raises:
        ArithmeticError: they are not.
    """
    if not values.isfinite().all() or values.min() < lowest:
        raise ArithmeticError(f"values lie between {values.min()} and {values.max()}")


def _batch(seed: int) -> Batch:
    """Return a batch of noise, with square superpixels and random probabilities."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.arange(SIDE) // (SIDE // 4)
    logits = torch.randn(2, CLASSES + 1, SIDE // 8, SIDE // 8, generator=generator)
    return Batch(
        images=torch.randn(2, 3, SIDE, SIDE, generator=generator),
        labels=torch.tensor([[1.0, 0, 0], [0, 1, 1]]),
        valid=torch.ones(2, SIDE, SIDE, dtype=torch.bool),
        plane=((4 * cells[:, None] + cells) % (CLASSES + 1)).repeat(2, 1, 1),
        probabilities=logits.softmax(1),
    )
