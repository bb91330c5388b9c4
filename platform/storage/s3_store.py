"""A store in an object store, `s3://BUCKET/PREFIX`, laid out like a store on disk.

Nothing is renamed. The files of an artifact are uploaded while it is computed, from whichever
machine writes them, and `manifest.json` last, in one request: an artifact without a manifest does
not exist. If two machines compute the same artifact, the first manifest counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError
from . import artifact_files, filesystem
from .artifact import Artifact, Stage
from .artifact_files import MANIFEST
from .store import Store

OWN = {"artifacts", "attempts", "locks", "quarantine", "verified"}
"""Folders by which a store is recognised."""
ALSO = {"data", "runs", "sweeps", "imports", "training", "tune", "speeds", "lost+found"}
"""Further folders that a store may have; the last one is made by the file system."""

OLDER = "artefacts"
"""Name of the folder of artifacts in stores of version 0.1.0 and before."""


def open_store(where: str | Path) -> Store:
    """Return the store at a folder or an address, which need not exist yet.

    Raises:
        InputError: the address is malformed or cannot be reached, or the folder was made by an
            older version or is not a store.
    """
    store = BucketStore(str(where)) if "://" in str(where) else Store(where)
    _check_layout(store)
    return store


def _check_layout(store: Store) -> None:
    """Check that the root is a store or an empty folder; raises InputError if it is not."""
    above = store.root
    while not above.exists():
        above = above.parent
    if not filesystem.object_of(store.root) and not above.is_dir():
        raise InputError(f"{above} is a file; name a folder as the --store")
    names = set(filesystem.names(store.root))
    if OLDER in names:
        raise InputError(
            f"{store} was made by an older version of wsss, which this one cannot read; name "
            "another --store"
        )
    strange = sorted(names - OWN - ALSO)
    if strange and not names & OWN:
        raise InputError(
            f"{store} is not a store, as it holds {strange[0]!r}; name a store, or an empty folder"
        )


class BucketStore(Store):
    """A store in an object store.

    `root` is the folder of this machine that stands for the store (see `filesystem`).
    """

    def __init__(self, address: str) -> None:
        super().__init__(filesystem.root_of(address))
        self._intact: set[str] = set()
        self._writable = False

    def __str__(self) -> str:
        return filesystem.address(self.root)

    def _files(self, folder: Path, manifest: Mapping[str, Any]) -> Path:
        return folder / str(manifest["attempt"])

    def _fault(self, folder: Path, manifest: Mapping[str, Any], again: bool = False) -> str:
        """Return the fault of a file that is missing or has a wrong size, or "".

        Content is verified when it is fetched. A file that is damaged on this machine alone is
        removed, so that it is fetched again.
        """
        attempt, files = folder / str(manifest["attempt"]), manifest["files"]
        if not filesystem.ATTEMPT.fullmatch(f"/artifacts/s/k/{manifest['attempt']}"):
            return f"its manifest names the attempt {manifest['attempt']!r}"
        here = {name: entry for name, entry in files.items() if (attempt / name).exists()}
        while here and (fault := super()._fault(attempt, {"files": here}, again)):
            name = next(name for name in here if fault.startswith(f"{name} "))
            (attempt / name).unlink(missing_ok=True)
            del here[name]
        if manifest["seal"] in self._intact:  # an artifact never changes
            return ""
        size_of = artifact_files.sizes(attempt)
        for name, entry in files.items():
            size = size_of.get((name, entry["sha256"]))
            if size != entry["size"]:
                return f"{name} " + (
                    "is missing" if size is None else f"has {size} bytes, not {entry['size']}"
                )
        self._intact.add(manifest["seal"])
        return ""

    def _memory(self, folder: Path) -> Path:
        return filesystem.cache() / "verified" / f"{folder.name}.json"

    def verify(self, stage: str, key: str) -> str:
        self._intact.clear()
        artifact = self.find(stage, key, again=True)
        if artifact is None:
            return ""
        try:
            for name, entry in artifact.manifest["files"].items():
                for _ in artifact_files.content(artifact.folder, name, entry["sha256"]):
                    pass
        except StorageError:
            raise
        except InputError as error:
            if self.holds(stage, key):
                self.unmoved[key] = str(error)
            return ""
        return hashlib.sha256(filesystem.read(self.folder(stage, key) / MANIFEST)).hexdigest()[:8]

    def check_writable(self, what: str, *folders: str) -> None:
        """Check, once, that one object can be written; all others can be then, too."""
        if self._writable:
            return
        probe = self.root / "locks" / f"probe-{uuid.uuid4().hex}"
        try:
            filesystem.write(probe, b"")
            filesystem.remove(probe)
        except StorageError as error:
            raise InputError(f"{what} cannot be kept: {error}") from error
        self._writable = True

    def _attempt(self, stage: Stage) -> Path:
        return self.folder(stage.name, stage.key) / f"try-{uuid.uuid4().hex[:12]}"

    def _discard(self, attempt: Path) -> None:
        with contextlib.suppress(InputError):  # the next attempt removes what stays
            artifact_files.discard(attempt)

    def _publish(
        self, stage: Stage, attempt: Path, about: Mapping[str, Any], seconds: float
    ) -> Artifact:
        uploaded = artifact_files.listed(attempt)
        for path in artifact_files.whole(attempt):
            if path.relative_to(attempt).as_posix() not in uploaded:
                artifact_files.sent(path)
        where = {"files": artifact_files.listed(attempt), "attempt": attempt.name}
        manifest = self._manifest(stage, where, about, seconds)
        other = self.find(stage.name, stage.key)
        if other is None:
            text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
            filesystem.write(attempt.parent / MANIFEST, text.encode())
            with contextlib.suppress(InputError):  # files that stay only take space
                artifact_files.sweep(attempt)
            return Artifact(attempt, manifest)
        self._discard(attempt)
        return other

    def quarantine(self, folder: Path, fault: str) -> Path:
        self._intact.clear()
        return artifact_files.quarantine(folder, fault, self.root)
