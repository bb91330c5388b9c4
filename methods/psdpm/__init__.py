"""PSDPM: secondary discriminative pixels mined with a segmenter."""

from .fpem import FPEM, STAGES, position_encoding, propagate
from .method import PSDPM
from .options import PSDPMConfig

__all__ = ["FPEM", "PSDPM", "STAGES", "PSDPMConfig", "position_encoding", "propagate"]
