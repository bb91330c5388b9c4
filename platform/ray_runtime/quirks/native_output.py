"""Capture of the standard error of Ray's native code, and a message if it ends the process.

Ray's C++ code writes to file descriptor 2 directly and may end the process without an exception.
So the descriptor is redirected to a file while Ray starts, and a small shell process prints the
captured lines and one sentence once this process is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

LINES = 20
"""Most lines of Ray's native output that are printed when Ray fails to start."""
FRAME_MARK = "[0x"
"""Text that marks a line of a native stack trace; such lines are never printed."""
REPORTER_SCRIPT = """
while IFS= read -r line; do message=$line; done
if [ -n "$message" ]; then grep -vF "$3" "$2" | tail -n "$1"; echo "$message"; fi >&2
"""
ENDED = (
    "wsss: Ray or another process ended this command; finished stages and the last epoch of each "
    "training are kept, so run the same command again"
)


class CapturedStderr:
    """Standard error while what Ray's native code writes there goes to a file.

    Args:
        terminal: file descriptor of the real standard error.
        file: file descriptor of the file with the captured output.
    """

    def __init__(self, terminal: int, file: int) -> None:
        self.terminal, self.file = terminal, file

    def write_line(self, text: str) -> None:
        """Write a line to the real standard error."""
        os.write(self.terminal, f"{text}\n".encode(errors="replace"))

    def last_lines(self) -> str:
        """Return the last `LINES` captured lines, without native stack frames."""
        size = os.fstat(self.file).st_size
        data = os.pread(self.file, 1 << 16, max(0, size - (1 << 16)))
        lines = data.decode(errors="replace").splitlines()
        return "\n".join([line for line in lines if FRAME_MARK not in line][-LINES:])


@contextlib.contextmanager
def capture_stderr() -> Iterator[CapturedStderr]:
    """Redirect standard error to a file; if the block raises, print the last captured lines."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as file:
        captured = CapturedStderr(terminal, file.fileno())
        os.dup2(captured.file, 2)
        try:
            yield captured
        except Exception:
            if lines := captured.last_lines():
                captured.write_line(lines)
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


class ExitReporter:
    """A shell process that prints its message once this process has ended.

    It prints the last captured lines before the message, and nothing if the message is empty."""

    def __init__(self, captured: CapturedStderr) -> None:
        output = f"/dev/fd/{captured.file}"
        command = ["/bin/sh", "-c", REPORTER_SCRIPT, "sh", str(LINES), output, FRAME_MARK]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=captured.terminal,
            pass_fds=[captured.file],
            text=True,
        )

    def set_message(self, message: str) -> None:
        """Replace the message; with an empty message nothing is printed."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # Ctrl-C has ended the reporter as well
            self.process.stdin.write(f"{message}\n")
            self.process.stdin.flush()

    def dismiss(self) -> None:
        """End the reporter without printing anything."""
        assert self.process.stdin
        if self.process.stdin.closed:
            return
        self.set_message("")
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


@contextlib.contextmanager
def reporting_exit(captured: CapturedStderr) -> Iterator[ExitReporter]:
    """Start a reporter for the rest of this process; an exception in the block dismisses it.

    After the block the captured output is dropped and the message becomes `ENDED`."""
    reporter = ExitReporter(captured)
    atexit.register(reporter.dismiss)
    try:
        yield reporter
    except BaseException:
        reporter.dismiss()
        raise
    os.ftruncate(captured.file, 0)
    reporter.set_message(ENDED)
