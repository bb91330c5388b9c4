"""The base class of all trained networks: a backbone, modules of methods, parameter groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypedDict, TypeVar

import torch
from torch import nn

from .backbones import STAGES, Backbone

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T", bound="Trainable")


class ParameterGroup(TypedDict):
    """Parameters of a network with their learning rate and weight decay, as optimisers take it."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


class SeparatelyTrained(nn.Module, ABC):
    """A module among the extras of a network that is trained by an optimiser of its own."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of all parameters of this module.

        Its learning rate decays on the schedule of the network's optimiser.
        """


class Trainable(nn.Module):
    """A trainable network on a backbone.

    `extras` holds the modules that methods add, by the name of the method.

    Args:
        backbone: gives the stages c1 to c4.
        frozen_stages: how many of the first stages take no gradient. IRN detaches after
            layer2, which is 2; LPCAM, ReCAM and AdvCAM removed that, which is 0.
    """

    def __init__(self, backbone: Backbone, frozen_stages: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.extras = nn.ModuleDict()
        for name in STAGES[:frozen_stages]:
            for parameter in backbone.stage_parameters(name):
                parameter.requires_grad_(False)

    def extra(self, name: str, kind: type[M]) -> M:
        """Return the module of type `kind` that the method `name` added to the network."""
        module = self.extras[name]
        assert isinstance(module, kind)
        return module

    def train(self: T, mode: bool = True) -> T:
        """Switch to training mode, in which a pretrained backbone keeps its running statistics.

        Source: IRN.
        """
        super().train(mode)
        for module in self.backbone.modules() if self.backbone.pretrained else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def parameter_groups(
        self, head_factor: float, lr: float, weight_decay: float
    ) -> list[ParameterGroup]:
        """Return the parameter groups for the optimiser.

        The backbone learns at `lr`, all other modules at `lr * head_factor`. Parameters of
        `SeparatelyTrained` modules are in no group.
        """
        backbone = [p for p in self.backbone.parameters() if p.requires_grad]
        excluded = [
            self.backbone,
            *(m for m in self.extras.values() if isinstance(m, SeparatelyTrained)),
        ]
        outside = {id(p) for module in excluded for p in module.parameters()}
        head = [p for p in self.parameters() if id(p) not in outside and p.requires_grad]
        groups: list[ParameterGroup] = [
            {"params": backbone, "lr": lr, "weight_decay": weight_decay},
            {"params": head, "lr": lr * head_factor, "weight_decay": weight_decay},
        ]
        return [group for group in groups if group["params"]]
