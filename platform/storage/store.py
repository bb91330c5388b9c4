"""The store, which computes each artifact once, writes it whole and verifies it on reading.

Layout under the root, on disk and in an object store:

    artifacts/STAGE/KEY/      files, and manifest.json, written last
    attempts/                 on disk, artifacts that are being written; nothing here is ever read
    quarantine/               artifacts that failed verification
    locks/                    locks of the processes that compute
    verified/                 on disk, the states in which files were hashed
    data/ runs/ sweeps/       records by name
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError
from . import filesystem
from .artifact import Artifact, Stage
from .artifact_files import MANIFEST, NAME, ArtifactFolder, Computation, computation_in
from .json_files import json_value, read_json
from .local_storage import LocalStorage
from .manifests import ManifestState, form_fault, new_manifest, seal_fault
from .object_store.storage import ObjectStorage
from .storage import Location, Storage

STORE_FOLDERS = {"artifacts", "attempts", "locks", "quarantine", "verified"}
"""Folders by which a store is recognised."""
OTHER_FOLDERS = {
    "data", "runs", "sweeps", "imports", "training", "tune", "speeds", "tensorboard", "lost+found"
}  # fmt: skip
"""Further folders that a store may have; the last one is made by the file system."""
HIDDEN = 0.5
"""Pause in seconds while NFS hides an artifact that another machine has just published."""
TRIES = 240
"""Most attempts to publish an artifact."""
OLD_ARTIFACTS = "artefacts"
"""Name of the folder of artifacts in stores of version 0.1.0 and before."""


def open_store(where: str | Path) -> Store:
    """Return the store at a folder or an address, which need not exist yet.

    Raises:
        InputError: the address is malformed or cannot be reached, or the folder was made by an
            older version or is not a store.
    """
    text = str(where)
    store = Store(ObjectStorage(text) if filesystem.is_address(text) else where)
    _check_layout(store)
    return store


def store_on_disk(where: str) -> Store | None:
    """Return the store at a folder; None at an address, to which a request may take seconds.

    The folder need not exist, and is not checked.
    """
    return None if filesystem.is_address(where) else Store(Path(where).expanduser())


def _check_layout(store: Store) -> None:
    """Check that the root is a store or an empty folder; raises InputError if it is not."""
    above = store.storage.local_folder
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise InputError(f"{above} is a file; name a folder as the --store")
    names = set(store.storage.names(""))
    if OLD_ARTIFACTS in names:
        raise InputError(
            f"{store} was made by an older version of wsss, which this one cannot read; name "
            "another --store"
        )
    strange = sorted(names - STORE_FOLDERS - OTHER_FOLDERS)
    if strange and not names & STORE_FOLDERS:
        raise InputError(
            f"{store} is not a store, as it holds {strange[0]!r}; name a store, or an empty folder"
        )


class Store:
    """Artifacts and records in a storage, safe for many processes and machines.

    Args:
        storage: the storage, or a folder of this machine.
    """

    def __init__(self, storage: Storage | Path | str) -> None:
        self.storage: Storage = (
            storage if isinstance(storage, Storage) else LocalStorage(Path(storage))
        )
        self.unmoved: dict[str, str] = {}
        """Faults of damaged artifacts that could not be moved to quarantine, by key."""
        self._faultless: set[tuple[str, str, bytes]] = set()
        """Stage, key and SHA-256 of manifests without a fault, which a sweep reads many times."""

    def __str__(self) -> str:
        """Return the value of `--store` that names this store."""
        return self.storage.address()

    def __reduce__(self) -> tuple[type[Store], tuple[Storage]]:
        return type(self), (self.storage,)

    def location(self, *names: str) -> Location:
        """Return the location of a record, see `Storage.location`."""
        return self.storage.location(*names)

    def folder(self, stage: str, key: str) -> Location:
        """Return the location of a stage's artifact, which need not exist.

        Raises:
            InputError: stage or key is not a valid name, so it could lead out of the store.
        """
        for name in (stage, key):
            if not NAME.fullmatch(name):
                raise InputError(f"{name!r} is not a valid name of a stage or key")
        return self.location("artifacts", stage, key)

    def manifest(self, stage: str, key: str) -> Location:
        """Return the location of an artifact's manifest; errors are as for `folder`."""
        return self.folder(stage, key) / MANIFEST

    def find(
        self, stage: str, key: str, again: bool = False, locked: bool = False
    ) -> Artifact | None:
        """Return the verified artifact, or None if it is missing or damaged.

        An artifact whose files differ from its manifest is moved to quarantine, if the store can
        be written and no other process holds the lock of the key.

        Args:
            stage: name of the stage.
            key: key of the stage.
            again: whether files that were hashed before are hashed again.
            locked: whether the caller holds the lock of the key.
        """
        folder = self.folder(stage, key)
        while judged := self._read(folder):
            manifest, fault = self._judgement(judged, stage, key, again)
            if not fault:
                return Artifact(self.storage.artifact_folder(manifest), manifest)
            if self._set_aside(folder, judged, fault, locked):
                break
        return None

    def _read(self, folder: Location) -> ManifestState | None:
        """Return the manifest in a folder as it is now, or None where there is none.

        Raises:
            StorageError: the manifest cannot be read now, although it may be intact.
        """
        try:
            return ManifestState(*self.storage.read_with_version((folder / MANIFEST).name))
        except FileNotFoundError:
            return None
        except StorageError:
            raise
        except InputError as error:
            return ManifestState(b"", "", str(error))

    def _judgement(self, read: ManifestState, stage: str, key: str, again: bool) -> tuple[Any, str]:
        """Return the manifest of an artifact, and the fault of the artifact or ""."""
        location, manifest = self.manifest(stage, key), None
        try:
            if read.fault:
                raise InputError(read.fault)
            manifest = json_value(read.content, location)
        except InputError as error:
            return None, f"its manifest is not JSON: {error}"
        try:
            fault = self._manifest_fault(read.content, manifest, stage, key)
            with filesystem.storage_errors(location.parent):
                fault = fault or self.storage.fault(manifest, again)
        except InputError:
            raise
        except FileNotFoundError as error:  # another process moved the artifact
            fault = f"{error.filename} is missing"
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            fault = f"its manifest is damaged: {error}"
        return manifest, fault

    def _manifest_fault(self, content: bytes, manifest: Any, stage: str, key: str) -> str:
        """Return the fault of the manifest with a content for the artifact of a key, or ""."""
        known = (stage, key, sha256(content).digest())
        if known in self._faultless:
            return ""
        fault = seal_fault(manifest, stage, key) or form_fault(manifest)
        if not fault:
            self._faultless.add(known)
        return fault

    def holds(self, stage: str, key: str) -> bool:
        """Return whether an artifact exists, intact or not."""
        return self.manifest(stage, key).exists()

    def computation(self, stage: str, key: str) -> Computation | None:
        """Return what an artifact's manifest says about its computation, without verifying it.

        Returns:
            None where there is no artifact.

        Raises:
            InputError: the manifest is damaged.
        """
        location = self.manifest(stage, key)
        try:
            manifest = read_json(location)
        except FileNotFoundError:
            return None
        try:
            computation = computation_in(manifest)
        except ValueError as error:
            raise InputError(f"{location} is not a manifest: {error}") from error
        return computation

    def artifacts(self) -> Iterator[tuple[str, str]]:
        """Iterate over stage and key of every artifact."""
        top = self.location("artifacts")
        for stage in top.names():
            yield from ((stage, key) for key in (top / stage).names() if self.holds(stage, key))

    def verify(self, stage: str, key: str) -> str:
        """Read all files of an artifact again; the store need not be writable.

        Returns:
            The first eight digits of the manifest's SHA-256, or "" if a file is damaged.
        """
        artifact = self.find(stage, key, again=True)
        if artifact is None:
            return ""
        try:
            artifact.folder.check_content(artifact.manifest["files"])
        except StorageError:
            raise
        except InputError as error:
            if self.holds(stage, key):
                self.unmoved[key] = str(error)
            return ""
        return sha256(self.manifest(stage, key).read()).hexdigest()[:8]

    def open(self, stage: str, key: str) -> Artifact:
        """Return the verified artifact.

        Raises:
            InputError: the artifact is missing or damaged.
        """
        artifact = self.find(stage, key)
        if artifact is None:
            raise InputError(
                f"the store holds no intact artifact {stage}/{key[:12]}; repeat the command that "
                "computed it"
            )
        return artifact

    def get(
        self, stage: Stage, compute: Callable[[ArtifactFolder], dict[str, Any]]
    ) -> tuple[Artifact, bool]:
        """Return the artifact of a stage, computed if it is missing, and whether it existed before.

        Of several processes that need the same artifact one computes it while the rest wait; if
        that process dies, the next one takes over.

        Args:
            stage: stage of the artifact.
            compute: fills an empty folder and returns notes for the manifest.

        Raises:
            InputError: the artifact is missing, and the store cannot be written.
        """
        artifact = self.find(stage.name, stage.key)
        if artifact:
            return artifact, True
        self.check_writable(stage.title or stage.name, f"artifacts/{stage.name}")
        with self.lock(stage.key):
            artifact = self.find(stage.name, stage.key, locked=True)
            if artifact:
                return artifact, True
            return self._compute(stage, compute), False

    def _compute(
        self, stage: Stage, compute: Callable[[ArtifactFolder], dict[str, Any]]
    ) -> Artifact:
        started = time.time()
        try:
            attempt = self.storage.new_attempt(stage.name, stage.key)
            with contextlib.ExitStack() as undo:
                undo.callback(_discard, attempt)
                about = compute(attempt)
                artifact = self._publish(stage, attempt, about, time.time() - started)
                undo.pop_all()
                return artifact
        except (StorageError, OSError) as error:
            cause = error.__cause__ if isinstance(error, StorageError) else error
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                place = cause.filename or self.storage.local_folder
                raise InputError(
                    f"the disk of {place} is full, and nothing of {stage.name} was kept; free some "
                    "space and run the command again"
                ) from error
            raise

    def _publish(
        self, stage: Stage, attempt: ArtifactFolder, about: Mapping[str, Any], seconds: float
    ) -> Artifact:
        """Return the artifact that an attempt becomes, or that another process made meanwhile."""
        manifest = new_manifest(stage, attempt.finished(), about, seconds)
        for _ in range(TRIES):
            if self.storage.publish(attempt, manifest):
                return Artifact(self.storage.artifact_folder(manifest), manifest)
            other = self.find(stage.name, stage.key, locked=True)
            if other:
                _discard(attempt)
                return other
            if stage.key in self.unmoved:
                raise InputError(
                    f"{self.folder(stage.name, stage.key)} is damaged and cannot be replaced: "
                    f"{self.unmoved[stage.key]}; remove it"
                )
            time.sleep(HIDDEN)
        raise InputError(
            f"{self.folder(stage.name, stage.key)} exists, but the file system hides it; run the "
            "command again"
        )

    def _set_aside(self, folder: Location, judged: ManifestState, fault: str, locked: bool) -> bool:
        """Move a damaged artifact to quarantine, or note its fault if it cannot be moved.

        The lock of the key keeps other processes from publishing meanwhile. A process that already
        holds the lock judges the artifact itself, so nobody waits for it here.

        Args:
            folder: folder of the artifact.
            judged: the manifest that was found damaged, or whose files were.
            fault: what is wrong with the artifact.
            locked: see `find`.

        Returns:
            Whether the manifest is still the one that was judged; otherwise nothing is moved.
        """
        key = folder.last_name
        name = f"locks/{key}.lock"
        try:
            with contextlib.nullcontext() if locked else self.storage.lock(name, wait=False):
                if self._read(folder) != judged:
                    return False
                self.quarantine(folder, fault)
                self.unmoved.pop(key, None)
        except (StorageError, BlockingIOError):
            self.unmoved[key] = fault
        return True

    def quarantine(self, folder: Location, fault: str) -> Location:
        """Move a damaged artifact to quarantine, noting its fault, and return its new location."""
        return self.storage.quarantine(folder.name, fault)

    def faults(self) -> list[str]:
        """Return one sentence on each artifact in quarantine."""
        folder, out = self.location("quarantine"), []
        for name in folder.names():
            with contextlib.suppress(FileNotFoundError):
                fault = (folder / name / "fault.txt").read().decode(errors="replace")
                out.append(f"{name}: {fault.strip()}")
        return out

    def lock(self, name: str, wait: bool = True) -> AbstractContextManager[None]:
        """Hold the lock `name` during a block, see `Storage.lock`."""
        return self.storage.lock(f"locks/{name}.lock", wait)

    def check_writable(self, what: str, *folders: str) -> None:
        """Check, before something is computed, that its result can be written.

        Args:
            what: name of the result, for the message.
            *folders: folders that the result needs besides the store's folders for artifacts.

        Raises:
            InputError: one of the folders cannot be written.
        """
        try:
            self.storage.check_writable("artifacts", "attempts", "locks", *folders)
        except InputError as error:
            raise InputError(
                f"{what} cannot be kept: {error}; name another --store, or a copy of this one"
            ) from error


def _discard(attempt: ArtifactFolder) -> None:
    """Remove an attempt that did not become the artifact; the next attempt removes what stays."""
    with contextlib.suppress(InputError):
        attempt.discard()
