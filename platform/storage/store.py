"""The store on disk, which computes each artifact once, writes it whole and verifies it on reading.

Layout under the root:

    artifacts/STAGE/KEY/      files, and manifest.json, written last
    attempts/                 artifacts that are being written; nothing here is ever read
    quarantine/               artifacts that failed verification
    locks/                    locks of the processes that compute
    verified/                 sizes and times of hashed files, which show whether one changed since
    data/ runs/ sweeps/       records by name

An artifact appears when its finished folder is renamed, so an aborted write is never visible.
`s3_store.open_store` returns a `Store`, or for a bucket an `s3_store.BucketStore`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError, StorageError
from ..serialization import as_json, digest, typed
from . import filesystem, locks
from .artifact import Artifact, Stage, versions
from .artifact_files import MANIFEST, NAME, Noted, noted_in, whole
from .filesystem import file_digest
from .json_files import read_json, read_record, write_json


class Store:
    """A folder of artifacts and records, safe for many processes on one machine."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.unmoved: dict[str, str] = {}
        """Faults of damaged artifacts that could not be moved to quarantine, by key."""

    def __str__(self) -> str:
        """Return the value of `--store` that names this store."""
        return str(self.root)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return type(self), (str(self),)

    def folder(self, stage: str, key: str) -> Path:
        """Return the folder of a stage's artifact, which need not exist.

        Raises:
            InputError: stage or key is not a valid name, so it could lead out of the store.
        """
        for name in (stage, key):
            if not NAME.fullmatch(name):
                raise InputError(f"{name!r} is not a valid name of a stage or key")
        return self.root / "artifacts" / stage / key

    def find(self, stage: str, key: str, again: bool = False) -> Artifact | None:
        """Return the verified artifact, or None if it is missing or damaged.

        An artifact whose files differ from its manifest is moved to quarantine, if the store can
        be written. With `again`, files that were hashed before are hashed again.
        """
        folder = self.folder(stage, key)
        try:
            manifest = read_json(folder / MANIFEST)
        except FileNotFoundError:
            return None
        except StorageError:  # the artifact may be intact although it cannot be read now
            raise
        except InputError as error:
            self._set_aside(folder, f"its manifest is not JSON: {error}")
            return None
        try:
            sealed = {name: value for name, value in manifest.items() if name != "seal"}
            intact = manifest["seal"] == digest(sealed)
            fault = "" if intact else "its manifest does not match its seal"
            fault = fault or ("" if manifest["key"] == key else "its manifest has another key")
            fault = fault or _form_fault(manifest)
            with filesystem.storage_errors(folder):
                fault = fault or self._fault(folder, manifest, again)
        except InputError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            fault = f"its manifest is damaged: {error}"
        if fault:
            self._set_aside(folder, fault)
            return None
        return Artifact(self._files(folder, manifest), manifest)

    def _files(self, folder: Path, manifest: Mapping[str, Any]) -> Path:
        """Return the folder that holds the artifact's files."""
        return folder

    def holds(self, stage: str, key: str) -> bool:
        """Return whether an artifact exists, intact or not."""
        return filesystem.exists(self.folder(stage, key) / MANIFEST)

    def noted(self, stage: str, key: str) -> Noted | None:
        """Return what an artifact's manifest says about its computation, without verifying it.

        Returns:
            None where there is no artifact.

        Raises:
            InputError: the manifest is damaged.
        """
        path = self.folder(stage, key) / MANIFEST
        try:
            manifest = read_json(path)
        except FileNotFoundError:
            return None
        try:
            noted = noted_in(manifest)
        except ValueError as error:
            raise InputError(f"{filesystem.address(path)} is not a manifest: {error}") from error
        return noted

    def artifacts(self) -> Iterator[tuple[str, str]]:
        """Iterate over stage and key of every artifact."""
        top = self.root / "artifacts"
        for stage in filesystem.names(top):
            yield from (
                (stage, key) for key in filesystem.names(top / stage) if self.holds(stage, key)
            )

    def verify(self, stage: str, key: str) -> str:
        """Hash all files of an artifact again; the store need not be writable.

        Returns:
            The first eight digits of the manifest's SHA-256, or "" if a file is damaged.
        """
        manifest = self.folder(stage, key) / MANIFEST
        return file_digest(manifest)[:8] if self.find(stage, key, again=True) else ""

    def open(self, stage: str, key: str) -> Artifact:
        """Return the verified artifact.

        Raises:
            InputError: the artifact is missing or damaged.
        """
        artifact = self.find(stage, key)
        if artifact is None:
            raise InputError(f"the store holds no intact artifact {stage}/{key[:12]}")
        return artifact

    def get(self, stage: Stage, compute: Callable[[Path], dict[str, Any]]) -> tuple[Artifact, bool]:
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
            artifact = self.find(stage.name, stage.key)
            if artifact:
                return artifact, True
            return self._compute(stage, compute), False

    def _compute(self, stage: Stage, compute: Callable[[Path], dict[str, Any]]) -> Artifact:
        attempt, started = self._attempt(stage), time.time()
        try:
            with contextlib.ExitStack() as undo:
                undo.callback(self._discard, attempt)
                attempt.mkdir(parents=True)
                about = compute(attempt)
                artifact = self._publish(stage, attempt, about, time.time() - started)
                undo.pop_all()
                return artifact
        except OSError as error:
            cause = getattr(error, "cause", None) or error  # Ray's wrapper has no errno
            if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"the disk of {self.root} is full, and nothing of {stage.name} was kept; free "
                    "some space and run the command again"
                ) from error
            raise

    def _attempt(self, stage: Stage) -> Path:
        """Return a new folder to compute a stage in, after removing those of dead processes.

        The caller holds the artifact's lock.
        """
        attempts = self.root / "attempts"
        for abandoned in attempts.glob(f"{stage.key[:32]}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        return attempts / f"{stage.key[:32]}-{uuid.uuid4().hex[:8]}"

    def _discard(self, attempt: Path) -> None:
        """Remove an attempt that did not become the artifact."""
        shutil.rmtree(attempt, ignore_errors=True)

    def _publish(
        self, stage: Stage, attempt: Path, about: Mapping[str, Any], seconds: float
    ) -> Artifact:
        """Write the manifest of an attempt and return it as the artifact."""
        files = {
            str(p.relative_to(attempt)): {"size": p.stat().st_size, "sha256": file_digest(p)}
            for p in whole(attempt)
        }
        manifest = self._manifest(stage, {"files": files}, about, seconds)
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        (attempt / MANIFEST).write_text(text)
        target = self.folder(stage.name, stage.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            self.quarantine(target, "it has no manifest")
        attempt.rename(target)
        self._remember(target, {name: _stamp(target / name) for name in files})
        return Artifact(target, manifest)

    def _manifest(
        self, stage: Stage, files: Mapping[str, Any], about: Mapping[str, Any], seconds: float
    ) -> dict[str, Any]:
        """Return a manifest with its seal, a digest of its other entries.

        Args:
            stage: the stage of the artifact.
            files: entries on the files; in a bucket also the name of the attempt.
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

    def _fault(self, folder: Path, manifest: Mapping[str, Any], again: bool = False) -> str:
        """Return what differs from the manifest, or "".

        Only files that changed since they were last hashed are hashed; with `again`, all are.
        """
        known = {}
        if not again:
            with contextlib.suppress(InputError):
                known = read_record(self._memory(folder), dict[str, list[int]])
        now, hashed = {}, False
        for name, entry in manifest["files"].items():
            if not (folder / name).is_file():
                return f"{name} is missing, or not a file"
            now[name] = _stamp(folder / name)
            if now[name][0] != entry["size"]:
                return f"{name} has {now[name][0]} bytes, not {entry['size']}"
            if known.get(name) != now[name]:
                hashed = True
                if file_digest(folder / name) != entry["sha256"]:
                    return f"{name} does not match its SHA-256"
        if hashed:
            self._remember(folder, now)
        return ""

    def _memory(self, folder: Path) -> Path:
        return self.root / "verified" / f"{folder.name}.json"

    def _remember(self, folder: Path, stamps: Mapping[str, list[int]]) -> None:
        with contextlib.suppress(OSError):  # without the stamps, files are only hashed again
            write_json(self._memory(folder), stamps)

    def _set_aside(self, folder: Path, fault: str) -> None:
        """Move a damaged artifact to quarantine, or note its fault if it cannot be moved."""
        try:
            self.quarantine(folder, fault)
        except (StorageError, OSError):
            self.unmoved[folder.name] = fault

    def quarantine(self, folder: Path, fault: str) -> Path:
        """Move a damaged artifact to quarantine, noting its fault, and return the new folder."""
        name = f"{folder.parent.name}-{folder.name[:12]}-{uuid.uuid4().hex[:6]}"
        target = self.root / "quarantine" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(target)
            filesystem.write(target / "fault.txt", f"{fault}\n".encode())
        return target

    def faults(self) -> list[str]:
        """Return one sentence on each artifact in quarantine."""
        folder, out = self.root / "quarantine", []
        for name in filesystem.names(folder):
            with contextlib.suppress(FileNotFoundError):
                fault = filesystem.read(folder / name / "fault.txt").decode(errors="replace")
                out.append(f"{name}: {fault.strip()}")
        return out

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name` during a block; the operating system frees it if the holder dies."""
        with locks.held(self.root / "locks" / f"{name}.lock"):
            yield

    def check_writable(self, what: str, *folders: str) -> None:
        """Check, before something is computed, that its result can be written.

        Args:
            what: name of the result, for the message.
            *folders: folders that the result needs besides the store's folders for artifacts.

        Raises:
            InputError: one of the folders cannot be written.
        """
        for folder in ("artifacts", "attempts", "locks", *folders):
            try:
                filesystem.check_writable(self.root / folder)
            except InputError as error:
                raise InputError(
                    f"{what} cannot be kept: {error}; name another --store, or a copy of this one"
                ) from error

    def free_bytes(self) -> int:
        """Return the free space of the store's disk, in bytes."""
        probe = self.root
        while not probe.exists():
            probe = probe.parent
        return shutil.disk_usage(probe).free


def _form_fault(manifest: Mapping[str, Any]) -> str:
    """Return what is malformed in a manifest (its notes, or files outside the folder), or ""."""
    if not isinstance(manifest["about"], dict) or not isinstance(manifest["files"], dict):
        return "its manifest lacks its notes or its list of files"
    typed(dict[str, str], manifest["inputs"], "its inputs")
    noted_in(manifest)
    for name in manifest["files"]:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
            return f"its manifest names {name!r}, which is no path inside the artifact"
    return ""


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
