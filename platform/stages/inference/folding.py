"""Batch normalisation that convolutions absorb, which makes inference faster."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FOLDED = ("Conv2d", "Conv2dSame")
"""Names of the classes of convolutions, torch's and timm's, that use their weights as they are."""
ROUNDING = 1e-3
"""Largest difference, beside the largest value, that folding makes by rounding alone."""
Folded = TypeVar("Folded", bound=nn.Module)


def fused(network: Folded) -> Folded:
    """Return a copy in evaluation mode whose convolutions have absorbed their batch normalisation.

    A convolution and a normalisation form a pair where they are neighbours among the children of a
    module, as in the networks of torchvision and timm; what a normalisation of timm does besides
    stays. A convolution that changes its weights whenever it computes, and a normalisation whose
    output a hook looks at, stay as they are.

    Outputs are equal except for rounding. If they are not, because a network computes something
    between two neighbours (RepViT adds branches there), the copy has no pair folded."""
    unfolded = copy.deepcopy(network).eval()
    folded = _folded(copy.deepcopy(unfolded))
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = unfolded(noise), folded(noise)
    close = (found - expected).abs().max() <= ROUNDING * expected.abs().max()
    return folded if close else unfolded


def _folded(network: Folded) -> Folded:
    """Fold all pairs of a network in place, see `fused`."""
    for module in list(network.modules()):
        children = list(module.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            fits = conv.out_channels == norm.num_features
            if fits and type(conv).__name__ in FOLDED and not norm._forward_hooks:
                after = [child for child in norm.children() if not isinstance(child, nn.Identity)]
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Sequential(*after) if after else nn.Identity())
    return network
