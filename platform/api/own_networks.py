"""Class maps of a network that was trained elsewhere.

Shapes: B batch, N foreground classes, H W pixels, h w grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError
from ..method import Method, PrototypeMethod, find_method
from ..models.classifier import Classifier
from ..ops.maps import grid_size, merge_scales


@torch.no_grad()
def class_maps(
    method: str,
    network: Classifier,
    images: Tensor,
    labels: Tensor,
    scales: tuple[float, ...] = (1.0,),
    **settings: object,
) -> Tensor:
    """Return the class maps that a method's localizer reads from a trained classifier.

    Example:
        >>> class_maps("cam", as_classifier(features, weights), images, labels, scales=(1.0, 0.5))

    Args:
        method: a name from `methods()`.
        network: result of `as_classifier`.
        images: `[B,3,H,W]`, normalised as in the training of the network.
        labels: image labels, `[B,N]`, 0 or 1.
        scales: factors on height and width; the maps of all scales are added.
        **settings: options of the method, e.g. `seed_features="c4"` for SIPE.

    Returns:
        `[B,N,h,w]` at stride 4, in 0..1, zero for absent classes; from a method with a background
        plane of its own `[B,N+1,h,w]`, background first.

    Raises:
        InputError: the method is unknown, or needs more than a trained network.
    """
    cls = find_method(method)
    if issubclass(cls, PrototypeMethod):
        raise InputError(
            f"{method} clusters the features of a whole data set; use run, or the functions of "
            f"wsss.methods.{method}"
        )
    localizer, planes = cls(cls.Config(**settings)), []
    for scale in scales:
        size = [max(1, round(scale * length)) for length in images.shape[-2:]]
        view = interpolate(images, size, mode="bicubic", antialias=True)
        planes.append(_localized(localizer, network, view if scale != 1 else images, labels))
    maps = localizer.normalize(merge_scales(planes, grid_size(*images.shape[-2:])))
    present = labels.to(maps)
    if localizer.own_background:
        present = torch.cat([torch.ones_like(present[:, :1]), present], 1)
    return maps * present[:, :, None, None]


def _localized(method: Method, network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Return the maps of `Method.localize`; raises InputError where the network lacks a part."""
    name = method.name
    if method.has_own_network:
        raise InputError(f"{name} reads only a network that {name} has trained; use run")
    try:
        return method.localize(network, images, labels)
    except KeyError as error:
        raise InputError(
            f"{name} reads {error}, which this network does not have; choose other settings "
            "or another method"
        ) from error
