"""Large JSON files, object by object: each with where its bytes lie, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError

CHUNK = 1 << 20
LONGEST = 64 << 20
"""Bytes of one value; an instances file's longest are some hundred thousand."""
BOM = "\xef\xbb\xbf"
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


class _Window:
    """The part of a file that is being read, byte by byte as characters (Latin-1)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream = path.open("rb")
        self.text, self.at, self.base, self.ended = "", 0, 0, False

    @property
    def offset(self) -> int:
        """Where the next character lies in the file."""
        return self.base + self.at

    def more(self) -> None:
        """Reads on, and drops what was taken."""
        found = self.stream.read(CHUNK)
        self.ended = not found
        self.text, self.base, self.at = (
            self.text[self.at :] + found.decode("latin-1"),
            self.offset,
            0,
        )

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def take(self, allowed: str) -> str:
        """The next character that is no space.

        Raises:
            InputError: it is not one of those allowed.
        """
        found = self.peek()
        if not found or found not in allowed:
            raise self.broken()
        self.at += 1
        return found

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                found, end = _DECODER.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:  # a number may go on
                    if not (piece := self.text[self.at : end]).isascii():
                        found = json.loads(piece.encode("latin-1"))
                    self.at = end
                    return found
            except RecursionError:
                raise self.broken() from None
            except ValueError:
                if self.ended or len(self.text) - self.at > LONGEST:
                    raise self.broken() from None
            self.more()

    def broken(self) -> InputError:
        """What is said of a file that is no JSON."""
        return InputError(f"{self.path} is not readable JSON at byte {self.offset}")


def objects(path: Path, arrays: Collection[str]) -> Iterator[tuple[str, Any, int, int]]:
    """The members of arrays of the outermost object.

    Args:
        path: a file that holds one JSON object.
        arrays: names of its members that are arrays.

    Yields:
        The array's name, a member, and where its bytes begin and end.

    Raises:
        InputError: the file is missing, or no JSON object.
    """
    try:
        window = _Window(path)
    except OSError as error:
        raise InputError(f"{path}: {error}") from error
    with window.stream:
        window.more()
        if window.text.startswith(BOM):
            window.at = len(BOM)
        window.take("{")
        if window.peek() == "}":
            return
        while True:
            name = window.value()
            window.take(":")
            if name in arrays:
                yield from _members(window, name)
            else:
                window.value()
            if window.take(",}") == "}":
                return


def _members(window: _Window, name: str) -> Iterator[tuple[str, Any, int, int]]:
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    while True:
        window.peek()
        start = window.offset
        found = window.value()
        yield name, found, start, window.offset
        if window.take(",]") == "]":
            return
