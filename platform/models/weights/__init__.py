"""Weight files as people have them: their formats, and their fit with a network's parameters."""

from .loading import load
from .reading import read
from .torch_files import read_torch_file, torch_bytes

__all__ = ["load", "read", "read_torch_file", "torch_bytes"]
