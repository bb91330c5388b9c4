"""A terminal for tests: it runs a command and keeps what its screen shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence

from limits import HANG

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def on_terminal(
    words: Sequence[str],
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
    seen: Callable[[subprocess.Popen[bytes], str], object] = lambda process, text: None,
) -> tuple[int, str]:
    """Run a command whose output and errors go to a terminal.

    Args:
        words: the command.
        columns: width of the terminal.
        environment: variables that the command gets beside those of this process.
        seen: function that gets the process and all its output whenever there is more of it.

    Returns:
        The exit code, and all that was written.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    settings = {"TERM": "xterm-256color", **(environment or {})}
    main_end, far_end = pty.openpty()
    fcntl.ioctl(far_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        words, stdin=far_end, stdout=far_end, stderr=far_end, env={**kept, **settings}
    ) as process:
        os.close(far_end)
        data = b""
        try:
            while chunk := os.read(main_end, 4096):
                data += chunk
                seen(process, data.decode(errors="replace"))
        except OSError:  # the other end is closed
            pass
        code = process.wait(HANG)
    os.close(main_end)
    return code, data.decode()


def screen(text: str) -> list[str]:
    """Return the lines that a terminal shows after a text; empty lines at the end are left out."""
    lines, row, column = [""], 0, 0
    for match in SEQUENCE.finditer(text):
        argument, command, move, plain = match.groups()
        if move == "\r":
            column = 0
        elif move == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif plain:
            lines[row] = (
                lines[row].ljust(column)[:column] + plain + lines[row][column + len(plain) :]
            )
            column += len(plain)
        elif command == "A":
            row = max(0, row - int(argument or 1))
        elif command == "K":
            lines[row] = "" if argument == "2" else lines[row][:column]
        elif command not in "hlm":
            raise AssertionError(f"unexpected control sequence {match[0]!r}")
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]
