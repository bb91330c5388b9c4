"""Stages, and the artifacts that they leave in a store."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..serialization import digest


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step: what it depends on, and nothing else, makes its key.

    Attributes:
        name: folder under `artifacts/`.
        version: raised when the stage's code would give another result.
        config: the options that the stage reads.
        inputs: keys of the artifacts that it reads, by role.
        title: for people.
    """

    name: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    @functools.cached_property
    def key(self) -> str:
        """The address of this stage's artifact."""
        return digest([self.name, self.version, self.config, self.inputs])


@dataclass(frozen=True)
class Artifact:
    """A finished folder with its manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def key(self) -> str:
        return str(self.manifest["key"])

    @property
    def about(self) -> dict[str, Any]:
        """What the stage itself wrote down."""
        about: dict[str, Any] = self.manifest["about"]
        return about

    def path(self, name: str) -> Path:
        """Where a file is, or will be where `artifact_files.local` fetches it."""
        return self.folder / name

    def has(self, name: str) -> bool:
        return name in self.manifest["files"]

    def files(self, suffix: str = "") -> list[Path]:
        """The artifact's files by name, those with a suffix."""
        return [self.folder / n for n in sorted(self.manifest["files"]) if n.endswith(suffix)]


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what results depend on, without importing it."""
    from importlib.metadata import version

    names = ("wsss", "torch", "torchvision", "ray", "numpy", "faiss-cpu", "pyarrow")
    out = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(Exception):
            out[name] = version(name)
    return out
