"""The manifests of artifacts: how one is made, and what may be wrong with one that was read."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ..serialization import as_json, digest, typed
from .artifact import Stage, versions
from .artifact_files import computation_in


class ManifestState(NamedTuple):
    """A manifest as it was read.

    Attributes:
        content: its content.
        version: its version, which changes whenever the file changes.
        fault: why it has no content, where it is no regular file.
    """

    content: bytes
    version: str
    fault: str = ""


def new_manifest(
    stage: Stage, files: Mapping[str, Any], about: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Return a manifest with its seal, a digest of its other entries.

    Args:
        stage: the stage of the artifact.
        files: entries on the files, see `ArtifactFolder.finished`.
        about: notes on the computation.
        seconds: how long the computation took.
    """
    manifest: dict[str, Any] = as_json(
        {
            "stage": stage.name,
            "version": stage.version,
            "key": stage.key,
            "config": stage.config,
            "inputs": stage.inputs,
            "title": stage.title,
            "about": about,
            **files,
            "seconds": round(seconds, 3),
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": platform.node(),
            "versions": versions(),
        }
    )
    return {**manifest, "seal": digest(manifest)}


def seal_fault(manifest: Any, stage: str, key: str) -> str:
    """Return the fault of a manifest that was changed or belongs to another artifact, or ""."""
    sealed = {name: value for name, value in manifest.items() if name != "seal"}
    if manifest["seal"] != digest(sealed):
        return "its manifest does not match its seal"
    if (manifest["stage"], manifest["key"]) != (stage, key):
        return "its manifest has another key"
    return ""


def form_fault(manifest: Any) -> str:
    """Return what is malformed in a manifest (its notes, or files outside the folder), or ""."""
    if not isinstance(manifest["about"], dict) or not isinstance(manifest["files"], dict):
        return "its manifest lacks its notes or its list of files"
    typed(dict[str, str], manifest["inputs"], "its inputs")
    computation_in(manifest)
    for name in manifest["files"]:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
            return f"its manifest names {name!r}, which is no path inside the artifact"
    return ""
