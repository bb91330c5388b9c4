"""Context prototype-aware learning (CPAL): the method and its support bank."""

from .bank import Bank
from .method import CPAL, CPALConfig, positiveness, prototype_aware_map, shift, soft_neighbours

__all__ = [
    "CPAL",
    "Bank",
    "CPALConfig",
    "positiveness",
    "prototype_aware_map",
    "shift",
    "soft_neighbours",
]
