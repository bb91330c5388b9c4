"""The data set COCO, and data sets of other images in COCO's formats."""

from .source import COCO

__all__ = ["COCO"]
