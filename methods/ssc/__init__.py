"""Spatial structure constraints (SSC): the method and its reconstruction."""

from .method import SSC, SSCConfig, modulation_target, region_mean, suppress
from .reconstruction import Reconstruction

__all__ = [
    "SSC",
    "Reconstruction",
    "SSCConfig",
    "modulation_target",
    "region_mean",
    "suppress",
]
