"""Stages, and the artifacts that they leave in a store."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..serialization import digest
from .artifact_files import ArtifactFile, ArtifactFolder


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the pipeline; its key follows from all that its result depends on.

    Attributes:
        name: name of the stage's folder under `artifacts/`.
        version: version of the stage's code, raised when the code would give another result.
        config: options that the stage reads.
        inputs: keys of the artifacts that the stage reads, by role.
        title: description for people; not part of the key.
    """

    name: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    @functools.cached_property
    def key(self) -> str:
        """The SHA-256 under which the store keeps this stage's artifact."""
        return digest([self.name, self.version, self.config, self.inputs])


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its folder and its manifest."""

    folder: ArtifactFolder
    manifest: dict[str, Any]

    @property
    def key(self) -> str:
        return str(self.manifest["key"])

    @property
    def about(self) -> dict[str, Any]:
        """The notes that the stage left in the manifest."""
        about: dict[str, Any] = self.manifest["about"]
        return about

    def file(self, name: str) -> ArtifactFile:
        """Return a file by its name."""
        return self.folder / name

    def has(self, name: str) -> bool:
        return name in self.manifest["files"]

    def files(self, suffix: str = "") -> list[ArtifactFile]:
        """Return the files whose names end in a suffix, in order of name."""
        return [self.folder / n for n in sorted(self.manifest["files"]) if n.endswith(suffix)]


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on.

    The packages are not imported; one that is not installed is left out.
    """
    from importlib.metadata import version

    names = ("wsss", "torch", "torchvision", "ray", "numpy", "faiss-cpu", "pyarrow")
    out = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(Exception):
            out[name] = version(name)
    return out
