"""Methods of weakly supervised segmentation: their interface, registry and experiments."""

from .base import Method
from .compose import experiment, family, made
from .joint import Joint, together
from .learner import OUTSIDE, Batch, Learner
from .prototypes import Centers, Clustering, PrototypeMethod
from .registry import find, methods

__all__ = [
    "OUTSIDE",
    "Batch",
    "Centers",
    "Clustering",
    "Joint",
    "Learner",
    "Method",
    "PrototypeMethod",
    "experiment",
    "family",
    "find",
    "made",
    "methods",
    "together",
]
