"""Methods of weakly supervised segmentation: their interface, registry and experiments."""

from .base import Method
from .compose import build_experiment, build_method, find_preset, published_refinement
from .joint import Joint, join_methods
from .learner import PADDING, Batch, Learner
from .prototypes import Centers, Clustering, PrototypeMethod
from .registry import find_method, methods, register

__all__ = [
    "PADDING",
    "Batch",
    "Centers",
    "Clustering",
    "Joint",
    "Learner",
    "Method",
    "PrototypeMethod",
    "build_experiment",
    "build_method",
    "find_method",
    "find_preset",
    "join_methods",
    "methods",
    "published_refinement",
    "register",
]
