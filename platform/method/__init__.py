"""Methods of weakly supervised segmentation: their interface, registry and experiments."""

from .base import CLIPMethod, Method
from .compose import build_experiment, build_method, find_preset, published_refinement
from .joint import Joint, join_methods
from .learner import PADDING, Batch, Learner
from .prototypes import Centers, Clustering, PrototypeMethod
from .registry import find_method, method_names, methods, register, weights_field

__all__ = [
    "PADDING",
    "Batch",
    "CLIPMethod",
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
    "method_names",
    "methods",
    "published_refinement",
    "register",
    "weights_field",
]
