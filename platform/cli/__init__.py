"""The command line, `wsss`."""

from .parser import main

__all__ = ["main"]
