"""Endings of a command: broken standard streams, missing packages, and reports of crashes."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import platform
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, StreamError
from ..storage.artifact import versions

BROKEN_PIPE = 141
"""Exit code of a command whose output nobody reads any more, as a shell gives it for SIGPIPE."""
NEEDED = (
    "botocore",
    "cyclopts",
    "faiss",
    "jinja2",
    "numpy",
    "optuna",
    "pandas",
    "PIL",
    "plotly",
    "psutil",
    "pyarrow",
    "pycocotools",
    "pydantic",
    "pydensecrf",
    "ray",
    "rich",
    "safetensors",
    "scipy",
    "timm",
    "skimage",
    "torch",
    "torchvision",
    "yaml",
)
"""The packages that wsss cannot do without, by the names under which they are imported."""
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Run a command whose standard streams may be closed, or may lose their reader.

    A stream that is closed from the start is replaced by the null device, so that no file opened
    later gets its descriptor.

    Raises:
        SystemExit: standard output could not be written; with BROKEN_PIPE and without a message if
            its reader went away.
    """
    _open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold bytes that are no text
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (StreamError, OSError) as error:  # an OSError of the command itself is caught in main
        _drop(sys.stdout.fileno())
        cause = error.__cause__ or error
        if isinstance(cause, BrokenPipeError):
            raise SystemExit(BROKEN_PIPE) from None
        print_error(f"standard output cannot be written: {cause}")
        raise SystemExit(2) from None


def _open_closed() -> None:
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the process ends)


def _drop(descriptor: int) -> None:
    """Send all further output of a stream to the null device."""
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), descriptor)


def say(text: str = "") -> None:
    """Write a line to standard output.

    Raises:
        StreamError: the line cannot be written.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise StreamError from error


def print_error(sentence: str) -> None:
    """Write a sentence to standard error, if it can be written."""
    try:
        sys.stderr.write(f"wsss: {sentence}\n")
        sys.stderr.flush()
    except OSError:
        _drop(2)


def report_crash(command: str, error: Exception) -> None:
    """Write the traceback of a fault of wsss to a file and name the file on standard error.

    If no file can be written, the traceback goes to standard error.
    """
    text = _without_secrets(
        f"command: {command}\n"
        f"versions: {', '.join(f'{name} {version}' for name, version in versions().items())}\n"
        f"system: {platform.platform()}\n\n{''.join(traceback.format_exception(error))}"
    )
    text = text.encode(errors="backslashreplace").decode()
    kind = type(error).__name__
    try:
        path = _write_report(text)
    except OSError:
        print_error(
            f"this is a fault of wsss ({kind}); please report it with all that follows\n{text}"
        )
    else:
        print_error(f"this is a fault of wsss ({kind}); please report it with the file {path}")


def _write_report(text: str) -> Path:
    """Write a new file that only this user may read, and return its path."""
    name = f"wsss-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    path = Path(tempfile.gettempdir()) / name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(text.encode())
    except OSError:
        path.unlink()
        raise
    return path


def _without_secrets(text: str) -> str:
    """Return the text without the values of environment variables that are named like secrets."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"<{name}>")
    return text


def check_packages() -> None:
    """Check that all packages are there without which wsss cannot work.

    Raises:
        InputError: packages are missing; the message names them.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"missing packages: {', '.join(missing)}; install them with make env")
