"""Large JSON files, object by object: each with where its bytes lie, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError

CHUNK = 1 << 20
LONGEST = 64 << 20
"""Bytes of one value; an instances file's longest are some hundred thousand."""
BOM = "\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n]*")


class _TwiceError(Exception):
    """A key that an object has twice."""


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        _TwiceError: a key stands there twice.
    """
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise _TwiceError(key)
        out[key] = value
    return out


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


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
                        found = _DECODER.decode(piece.encode("latin-1").decode())
                    self.at = end
                    return found
            except _TwiceError as error:
                raise self.twice(str(error)) from None
            except json.JSONDecodeError:  # what is there may be cut off
                if self.ended or len(self.text) - self.at > LONGEST:
                    raise self.broken() from None
            except (RecursionError, ValueError):  # no UTF-8, or a number of thousands of digits
                raise self.broken() from None
            self.more()

    def broken(self) -> InputError:
        """What is said of a file that is no JSON."""
        return InputError(f"{self.path} is not readable JSON at byte {self.offset}")

    def twice(self, key: str) -> InputError:
        """What is said of an object that has a key twice."""
        return InputError(
            f"{self.path} has the key {key!a} twice in the object at byte {self.offset}; "
            "only one of both can be meant"
        )


def objects(path: Path, arrays: Collection[str]) -> Iterator[tuple[str, Any, int, int]]:
    """The members of arrays of the outermost object.

    Args:
        path: a file that holds one JSON object.
        arrays: names of its members that are arrays.

    Yields:
        The array's name, a member, and where its bytes begin and end.

    Raises:
        InputError: the file is missing, or is not one JSON object and nothing behind it, or an
            object has a key twice.
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
        known: set[str] = set()
        more = window.peek() != "}" or not window.take("}")
        while more:
            window.peek()
            start = window.offset
            name = window.value()
            if not isinstance(name, str):
                raise InputError(f"{path} has a key that is no text at byte {start}")
            if name in known:
                raise InputError(f"{path} has the key {name!a} twice, again at byte {start}")
            known.add(name)
            window.take(":")
            if name in arrays:
                yield from _members(window, name)
            else:
                window.value()
            more = window.take(",}") == ","
        if window.peek():
            raise InputError(f"{path} goes on behind the end of its JSON, at byte {window.offset}")


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
