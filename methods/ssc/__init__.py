"""Spatial structure constraints (SSC): the method and its reconstruction."""

from .method import SSC, SSCConfig, modulation_target, region_mean
from .reconstruction import Reconstruction
from .suppression import suppress

__all__ = [
    "SSC",
    "Reconstruction",
    "SSCConfig",
    "modulation_target",
    "region_mean",
    "suppress",
]
