"""The label of pixels that belong to no class."""

from __future__ import annotations

VOID = 255
"""Value of a pixel of unknown class, in masks and in labels; no score counts the pixel."""
