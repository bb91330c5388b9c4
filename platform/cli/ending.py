"""How a command ends where it cannot speak, and where it breaks."""

from __future__ import annotations

import contextlib
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

from ..errors import StreamError
from ..storage.artifact import versions

UNREAD = 141
"""Exit code of a command whose reader went away: the shell's for one that SIGPIPE ended."""
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Runs a command whose standard streams may be closed, or be closed by their reader.

    A stream that is closed from the start leads nowhere, so that no file of ours gets its number.

    Raises:
        SystemExit: standard output could not be written to its end; with UNREAD, and without a
            word, where its reader went away.
    """
    _open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path need not be text
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (StreamError, OSError) as error:  # a command's own OSError became a sentence
        _drop(sys.stdout.fileno())
        cause = error.__cause__ or error
        if isinstance(cause, BrokenPipeError):
            raise SystemExit(UNREAD) from None
        tell(f"standard output cannot be written: {cause}")
        raise SystemExit(2) from None


def _open_closed() -> None:
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open to the end)


def _drop(descriptor: int) -> None:
    """Lets what is still to be written to a stream go nowhere."""
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), descriptor)


def tell(sentence: str) -> None:
    """Writes a sentence to standard error, where anyone reads that."""
    try:
        sys.stderr.write(f"wsss: {sentence}\n")
        sys.stderr.flush()
    except OSError:
        _drop(2)


def tell_crash(command: str, error: Exception) -> None:
    """Keeps the traceback of a fault of ours in a file and says where; prints it where no file
    can be written."""
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
        tell(f"this is a fault of wsss ({kind}); please report it with all that follows\n{text}")
    else:
        tell(f"this is a fault of wsss ({kind}); please report it with the file {path}")


def _write_report(text: str) -> Path:
    """Writes a new file that only this user may read."""
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
    """The text without the values of environment variables that are named like secrets."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"<{name}>")
    return text
