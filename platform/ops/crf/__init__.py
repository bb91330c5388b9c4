"""DenseCRF: its parameters, one image at a time on a CPU, and batches in torch."""

from .batch_refiner import BatchRefiner, hard_probabilities
from .parameters import CRF, CRFS, CRFBackend, CRFName, crf_bytes
from .refiner import Refiner, best_labels, label_probabilities

__all__ = [
    "CRF",
    "CRFS",
    "BatchRefiner",
    "CRFBackend",
    "CRFName",
    "Refiner",
    "best_labels",
    "crf_bytes",
    "hard_probabilities",
    "label_probabilities",
]
