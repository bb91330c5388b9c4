"""The check that a method can build its network on a backbone, before any stage is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch

from ...config.groups.network import Network
from ...method import Method
from ...models.backbones import Backbone, build
from ...serialization import digest


def check_network(method: Method, network: Network, classes: int) -> None:
    """Check that a method can build its network, mostly without memory for its values.

    The network is built once for the same options of method and backbone. A method that trains the
    plain classifier takes any backbone, so that nothing is built for it.

    Args:
        method: the method to train.
        network: options of the backbone.
        classes: N, the number of foreground classes.

    Raises:
        InputError: there is no such backbone, or the method refuses it.
    """
    if method.changes_network:
        rules = (network.backbone, network.positions, network.sizes, network.final_norm)
        key = digest([method.name, method.training_settings(), rules, classes])
        _build(_Request(key, method, rules, classes))


@dataclass(frozen=True)
class _Request:
    """A network to build; requests with the same key are equal."""

    key: str
    method: Method = field(compare=False)
    rules: tuple[Any, ...] = field(compare=False)
    classes: int = field(compare=False)


@lru_cache(maxsize=4096)
def _build(request: _Request) -> None:
    """Build a network on the device `meta`, whose tensors have shapes but no values.

    Where the method or the backbone computes with values, which this device refuses, the network
    is built with random values instead.
    """
    with torch.device("meta"):
        own = request.method.has_own_network  # it may change the backbone, so it gets a new one
        backbone = build(*request.rules) if own else _outline(*request.rules)
        try:
            request.method.network(request.classes, backbone)
            return
        except RuntimeError:  # NotImplementedError, too
            pass
        finally:
            for module in backbone.modules():
                module._forward_hooks.clear()
    with torch.random.fork_rng(devices=()):
        request.method.network(request.classes, build(*request.rules))


@lru_cache(maxsize=16)
def _outline(*rules: Any) -> Backbone:
    """Return a backbone without values, which methods extend one after the other."""
    return build(*rules)
