"""Objects of a bucket: reading, writing and listing by pyarrow, compare-and-set by botocore.

Keys and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL) or from the usual files of the AWS tools. pyarrow has no write that fails if the
object exists or has changed, so `create` and `replace` send such a request by botocore.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ...errors import InputError, StorageError
from ..filesystem import CHUNK, storage_errors

SCHEME = "s3://"
_ADDRESS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._=-]+)*/?")
ATTEMPTS = 10
"""Most attempts at a request that the object store does not answer. The pause before an attempt
doubles each time; all attempts take 25 seconds, so that a job outlives an outage of 12 seconds."""
PAUSE = 0.05
"""Seconds before the second attempt at a request by botocore, whose own pauses are shorter."""
CONNECT_SECONDS, ANSWER_SECONDS = 5, 30  # S3 takes a while to copy or join a large object
MISSING, REFUSED, NOT_IMPLEMENTED = 404, 412, 501
"""HTTP statuses: there is no such object, a condition fails, the server knows no conditions."""
AGAIN = (409, 429, 500, 502, 503, 504)
"""HTTP statuses after which a request is sent again: another write of the object is under way, or
the server is overloaded or failed."""
NO_CONDITIONS = (
    "its server does not support conditional writes (If-None-Match and If-Match), with which "
    "processes take turns; use a server that does"
)


def path_of(address: str) -> str:
    """Return BUCKET/PREFIX of the address of a store.

    Raises:
        InputError: the address is malformed, the bucket does not exist, or the object store cannot
            be reached.
    """
    if not _ADDRESS.fullmatch(address) or "/." in address:
        without_keys = re.sub(r"//.*@|\?.*", "//...", address)  # secrets are not repeated
        raise InputError(
            f"{without_keys!r} is not the address of a store; write s3://BUCKET/PREFIX, and put "
            "keys and endpoint into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_ENDPOINT_URL)"
        )
    path = address.removeprefix(SCHEME).rstrip("/")
    _check_bucket(path.split("/")[0], *_endpoint_and_region())
    return path


@functools.cache
def _check_bucket(bucket: str, endpoint: str, region: str) -> None:
    """Check, once a process, that a bucket exists; raises InputError if it does not."""
    with storage_errors(f"{SCHEME}{bucket}"):
        info = _connected(bucket, endpoint, region, 2).get_file_info(bucket)
    if info.type.name == "NotFound":
        raise InputError(f"there is no bucket {SCHEME}{bucket}" + (endpoint and f" at {endpoint}"))


def _endpoint_and_region() -> tuple[str, str]:
    """Return endpoint and region from the environment; each is empty where it is not set."""
    variable = os.environ.get
    endpoint = variable("AWS_ENDPOINT_URL_S3") or variable("AWS_ENDPOINT_URL") or ""
    return endpoint, variable("AWS_REGION") or variable("AWS_DEFAULT_REGION") or ""


def _region_of(bucket: str, endpoint: str, region: str) -> str:
    from pyarrow import fs

    return region or ("us-east-1" if endpoint else str(fs.resolve_s3_region(bucket)))


@functools.cache
def _connected(bucket: str, endpoint: str, region: str, attempts: int = 0) -> Any:
    from pyarrow import fs

    scheme, _, host = endpoint.rpartition("://")

    class Patient(fs.S3FileSystem):  # type: ignore[misc]
        """An S3 file system that keeps its number of attempts when it is pickled.

        Ray Train pickles it; pyarrow's own class would lose the number.
        """

        def __reduce__(self) -> tuple[Any, ...]:
            return _connected, (bucket, endpoint, region, attempts)

    return Patient(
        region=_region_of(bucket, endpoint, region),
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
        connect_timeout=CONNECT_SECONDS,
        retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=attempts or ATTEMPTS),
        request_timeout=ANSWER_SECONDS,
        allow_delayed_open=True,  # a small object then takes one request
    )


@functools.cache
def _client(bucket: str, endpoint: str, region: str) -> Any:
    """Return botocore's client for the requests that pyarrow lacks."""
    import botocore.session
    from botocore.config import Config

    return botocore.session.get_session().create_client(
        "s3",
        region_name=_region_of(bucket, endpoint, region),
        endpoint_url=endpoint or None,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"total_max_attempts": 1},  # `Bucket` repeats requests
            request_checksum_calculation="when_required",  # some other stores know no checksums
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if endpoint else {},
        ),
    )


@dataclass(frozen=True)
class Answer:
    """The answer of the object store to a request.

    Attributes:
        status: number of the HTTP status.
        error: name of the error, or of the status.
        version: entity tag of the object that was written.
        was_sent_again: whether the request was sent again after a failure.
    """

    status: int
    error: str
    version: str
    was_sent_again: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any], was_sent_again: bool) -> Answer:
        """Return the answer that botocore gives or raises."""
        about = answer["ResponseMetadata"]
        status, error = about["HTTPStatusCode"], answer.get("Error", {}).get("Code", "")
        return cls(
            status=status,
            error=HTTPStatus(status).phrase if error in ("", str(status)) else error,
            version=answer.get("ETag", ""),
            was_sent_again=was_sent_again,
        )

    def check(self, address: str) -> None:
        """Raise StorageError where the request was no success."""
        if self.status >= 300:
            reason = NO_CONDITIONS if self.status == NOT_IMPLEMENTED else self.error
            raise StorageError(f"{address} cannot be used: {reason}")


@dataclass(frozen=True)
class Bucket:
    """The objects under one prefix of a bucket, named relative to it.

    Args:
        path: BUCKET/PREFIX.
    """

    path: str

    @property
    def filesystem(self) -> Any:
        """The connection to the bucket, which Ray Train can use too."""
        return _connected(self.path.split("/")[0], *_endpoint_and_region())

    def key(self, name: str) -> str:
        """Return BUCKET/KEY of an object; the empty name stands for the prefix."""
        return f"{self.path}/{name}" if name else self.path

    def address(self, name: str) -> str:
        """Return the address of an object."""
        return f"{SCHEME}{self.key(name)}"

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Any]:
        """Open an object for reading.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: the object store cannot be used.
        """
        with (
            storage_errors(self.address(name)),
            self.filesystem.open_input_file(self.key(name)) as stream,
        ):
            yield stream

    def read(self, name: str) -> bytes:
        """Return the content of an object; errors are as for `stream`."""
        with self.stream(name) as stream:
            data: bytes = stream.read()
            return data

    def read_with_version(self, name: str) -> tuple[bytes, str]:
        """Return the content of an object and its version; errors are as for `stream`."""
        with (
            storage_errors(self.address(name)),
            self.filesystem.open_input_stream(self.key(name)) as stream,
        ):
            data: bytes = stream.read()
            return data, _version(stream)

    def version(self, name: str) -> str:
        """Return the entity tag of an object, or "" where there is none.

        Raises:
            StorageError: the object store cannot be used.
        """
        with (
            contextlib.suppress(FileNotFoundError),
            storage_errors(self.address(name)),
            self.filesystem.open_input_stream(self.key(name)) as stream,
        ):
            return _version(stream)
        return ""

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        with (
            storage_errors(self.address(name)),
            self.filesystem.open_output_stream(self.key(name)) as stream,
        ):
            stream.write(data)

    def upload(self, path: Path, name: str) -> None:
        """Upload a file of this machine as an object."""
        with (
            storage_errors(self.address(name)),
            path.open("rb") as source,
            self.filesystem.open_output_stream(self.key(name)) as stream,
        ):
            shutil.copyfileobj(source, stream, CHUNK)

    def create(self, name: str, data: bytes) -> str:
        """Write an object if none exists, and return its version, or "" where one exists."""
        return self._put(name, data, IfNoneMatch="*")

    def replace(self, name: str, data: bytes, version: str) -> str:
        """Write an object that has a version; return the new version, or "" if it has another."""
        return self._put(name, data, IfMatch=version) if version else ""

    def _put(self, name: str, data: bytes, **condition: str) -> str:
        """Write an object under a condition; return its version, or "" if the condition fails."""
        answer = self._request("put_object", name, Body=data, **condition)
        if answer.status in (MISSING, REFUSED):
            with contextlib.suppress(FileNotFoundError):
                if answer.was_sent_again:  # the first sending may have succeeded
                    content, version = self.read_with_version(name)
                    return version if content == data else ""
            return ""
        answer.check(self.address(name))
        return answer.version

    def _request(self, operation: str, name: str, **words: Any) -> Answer:
        """Return the answer to an operation of botocore's client on an object.

        Raises:
            StorageError: the object store cannot be reached.
        """
        from botocore import exceptions

        bucket, _, key = self.key(name).partition("/")
        failure: Exception | None = None
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE * 2 ** (attempt - 1) if attempt else 0)
            try:
                client = _client(bucket, *_endpoint_and_region())
                response = getattr(client, operation)(Bucket=bucket, Key=key, **words)
            except exceptions.ClientError as error:
                response, failure = error.response, error
            except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
                failure = error
                continue
            except exceptions.BotoCoreError as error:
                raise StorageError(f"{self.address(name)} cannot be used: {error}") from error
            answer = Answer.of(response, attempt > 0)
            if answer.status not in AGAIN:
                return answer
        raise StorageError(f"{self.address(name)} cannot be used: {failure}") from failure

    def listing(self, name: str, recursive: bool = True) -> list[Any]:
        """Return pyarrow's `FileInfo` of each object and folder under a name."""
        from pyarrow import fs

        selector = fs.FileSelector(self.key(name), recursive=recursive, allow_not_found=True)
        with storage_errors(self.address(name)):
            entries: list[Any] = self.filesystem.get_file_info(selector)
            return entries

    def objects(self, name: str) -> dict[str, Any]:
        """Return pyarrow's `FileInfo` of each object under a name, by name of the object."""
        start = f"{self.path}/"
        return {i.path.removeprefix(start): i for i in self.listing(name) if i.is_file}

    def info(self, name: str) -> Any:
        """Return pyarrow's `FileInfo` of an object or folder, which need not exist."""
        with storage_errors(self.address(name)):
            return self.filesystem.get_file_info(self.key(name))

    def remove(self, name: str) -> None:
        """Remove an object, if it exists."""
        answer = self._request("delete_object", name)  # pyarrow's would leave an empty object
        if answer.status != MISSING:
            answer.check(self.address(name))

    def move(self, name: str, target: str) -> None:
        """Move an object, if it exists."""
        with contextlib.suppress(FileNotFoundError), storage_errors(self.address(name)):
            self.filesystem.copy_file(self.key(name), self.key(target))
            self.remove(name)

    def remove_all(self, name: str) -> None:
        """Remove all objects under a name; objects that cannot be removed stay."""
        with contextlib.suppress(OSError):
            self.filesystem.delete_dir(self.key(name))


def _version(stream: Any) -> str:
    tag = stream.metadata()["ETag"]
    return tag.decode() if isinstance(tag, bytes) else str(tag)
