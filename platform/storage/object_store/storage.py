"""Storage in an object store, `s3://BUCKET/PREFIX`, laid out like a storage on disk.

Nothing is renamed. The files of an artifact are uploaded while it is computed, from whichever
machine writes them, and `manifest.json` last: an artifact without a manifest does not exist. If two
machines compute the same artifact, the first manifest counts.

The cache of each machine keeps copies of the files of artifacts, the metrics of running trainings
and the files that people read.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from ...errors import InputError, StorageError
from .. import filesystem
from ..artifact_files import MANIFEST, ArtifactFolder, fault_on_disk
from ..storage import Location, Storage, artifact_name, checked_name
from . import folder, lease
from .bucket import NO_CONDITIONS, Bucket, path_of
from .folder import ATTEMPT, ObjectFolder


class ObjectStorage(Storage):
    """Storage under an address `s3://BUCKET/PREFIX`.

    Args:
        address: the address.

    Raises:
        InputError: the address is malformed, the bucket does not exist, or the object store cannot
            be reached.
    """

    pace: ClassVar[int] = 20

    def __init__(self, address: str) -> None:
        self.bucket = Bucket(path_of(address))
        self._intact: set[str] = set()
        self._compares_and_sets = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectStorage) and other.bucket == self.bucket

    def __hash__(self) -> int:
        return hash(self.bucket)

    def __reduce__(self) -> tuple[type[ObjectStorage], tuple[str]]:
        return type(self), (self.address(),)

    @property
    def local_folder(self) -> Path:
        return folder.cached(self.bucket, "")

    def free_space(self) -> str:
        return f"{super().free_space()} in {self.local_folder}"

    def address(self, name: str = "") -> str:
        return self.bucket.address(name)

    def read(self, name: str) -> bytes:
        return self.bucket.read(checked_name(name))

    def read_with_version(self, name: str) -> tuple[bytes, str]:
        return self.bucket.read_with_version(checked_name(name))

    def write(self, name: str, data: bytes) -> None:
        self.bucket.write(checked_name(name), data)

    def create(self, name: str, data: bytes) -> str:
        return self.bucket.create(checked_name(name), data)

    def replace(self, name: str, data: bytes, version: str) -> str:
        return self.bucket.replace(checked_name(name), data, version)

    def append(self, name: str, data: bytes) -> None:
        before = b""
        with contextlib.suppress(FileNotFoundError):
            before = self.read(name)
        self.write(name, before + data)

    def remove(self, name: str) -> None:
        self.bucket.remove(checked_name(name))
        self.drop_copy(name)

    def remove_tree(self, name: str) -> None:
        shutil.rmtree(folder.cached(self.bucket, checked_name(name)), ignore_errors=True)
        self.bucket.remove_all(name)

    def exists(self, name: str) -> bool:
        return bool(self.bucket.info(checked_name(name)).type.name != "NotFound")

    def names(self, name: str, suffix: str = "") -> list[str]:
        entries = (i.base_name for i in self.bucket.listing(checked_name(name), recursive=False))
        return sorted(n for n in entries if n.endswith(suffix) and not n.startswith("."))

    def modified(self, name: str) -> float:
        written = self.bucket.info(checked_name(name)).mtime
        return written.timestamp() if written else 0.0

    def version(self, name: str) -> str:
        return self.bucket.version(checked_name(name))

    def versions(self, name: str, file_names: Collection[str]) -> dict[str, str]:
        return {  # a listing is one request, whatever the number of files
            file: f"{info.size}-{info.mtime_ns}"
            for file, info in self.bucket.objects(checked_name(name)).items()
            if info.base_name in file_names and file.count("/") == name.count("/") + 2
        }

    def lock(self, name: str, wait: bool = True) -> AbstractContextManager[None]:
        self.check_writable()
        return lease.lock(self.bucket, checked_name(name), wait)

    def is_locked(self, name: str) -> bool:
        return lease.is_locked(self.bucket, checked_name(name))

    def check_writable(self, *names: str) -> None:
        if self._compares_and_sets:  # what can be written once can be written everywhere
            return
        probe = f"locks/probe-{uuid.uuid4().hex}"
        version = self.create(probe, b"1")
        try:
            later = self.replace(probe, b"2", version)
            refused = not self.create(probe, b"3") and not self.replace(probe, b"3", version)
            if not later or not refused:  # some servers do not know the conditions and ignore them
                raise StorageError(f"{self.address()} cannot be used: {NO_CONDITIONS}")
        finally:
            self.remove(probe)
        self._compares_and_sets = True

    def local_copy(self, name: str) -> Path:
        return folder.cached(self.bucket, checked_name(name))

    def upload_copy(self, name: str) -> None:
        self.bucket.upload(self.local_copy(name), name)

    def drop_copy(self, name: str) -> None:
        self.local_copy(name).unlink(missing_ok=True)

    def for_ray(self, name: str) -> dict[str, Any]:
        key = self.bucket.key(checked_name(name))
        return {"storage_path": key, "storage_filesystem": self.bucket.filesystem}

    def new_attempt(self, stage: str, key: str) -> ObjectFolder:
        name = f"try-{uuid.uuid4().hex[:12]}"
        attempt = ObjectFolder(self.bucket, checked_name(f"artifacts/{stage}/{key}/{name}"))
        attempt.path.mkdir(parents=True)
        return attempt

    def publish(self, attempt: ArtifactFolder, manifest: Mapping[str, Any]) -> bool:
        assert isinstance(attempt, ObjectFolder)
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        if not self.create(f"{attempt.artifact}/{MANIFEST}", text.encode()):
            return False
        with contextlib.suppress(InputError):  # files that stay only take space
            attempt.remove_other_attempts()
        return True

    def artifact_folder(self, manifest: Mapping[str, Any]) -> ObjectFolder:
        return ObjectFolder(self.bucket, f"{artifact_name(manifest)}/{manifest['attempt']}")

    def fault(self, manifest: Mapping[str, Any], again: bool = False) -> str:
        """Return the fault of a file that is missing or has a wrong size, or "".

        Content is verified when it is fetched. A file that is damaged on this machine alone is
        removed, so that it is fetched again.
        """
        if not ATTEMPT.fullmatch(str(manifest["attempt"])):
            return f"its manifest names the attempt {manifest['attempt']!r}"
        files, attempt = manifest["files"], self.artifact_folder(manifest)
        memory = filesystem.cache() / "verified" / f"{manifest['key']}.json"
        here = {name: entry for name, entry in files.items() if (attempt.path / name).exists()}
        while here and (fault := fault_on_disk(attempt.path, here, memory, again)):
            name = next(name for name in here if fault.startswith(f"{name} "))
            (attempt.path / name).unlink(missing_ok=True)
            del here[name]
        if manifest["seal"] in self._intact and not again:  # an artifact never changes
            return ""
        size_of = attempt.sizes()
        for name, entry in files.items():
            size = size_of.get((name, entry["sha256"]))
            if size != entry["size"]:
                has = "is missing" if size is None else f"has {size} bytes, not {entry['size']}"
                return f"{name} {has}"
        self._intact.add(manifest["seal"])
        return ""

    def quarantine(self, name: str, fault: str) -> Location:
        self._intact.clear()
        return self.location(folder.quarantine(self.bucket, checked_name(name), fault))
