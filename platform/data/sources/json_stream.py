"""Reading of large JSON files member by member, with the position of each, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ...errors import InputError

CHUNK = 1 << 20
LONGEST = 64 << 20
"""Largest size of one value; the longest of instances files take some hundred thousand bytes."""
BOM = "\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n]*")


class _TwiceError(Exception):
    """The error of a key that a JSON object has twice."""


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object as a dict.

    Raises:
        _TwiceError: the object has a key twice.
    """
    out: dict[str, object] = {}
    for key, value in pairs:
        if key in out:
            raise _TwiceError(key)
        out[key] = value
    return out


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


class _Window:
    """The section of a file that is in memory, with each byte as one character (Latin-1)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream = path.open("rb")
        self.text, self.at, self.base, self.ended = "", 0, 0, False

    @property
    def offset(self) -> int:
        """Position of the next character in the file."""
        return self.base + self.at

    def read_more(self) -> None:
        """Read the next chunk and drop the characters that were taken."""
        chunk = self.stream.read(CHUNK)
        self.ended = not chunk
        self.text, self.base, self.at = (
            self.text[self.at :] + chunk.decode("latin-1"),
            self.offset,
            0,
        )

    def peek(self) -> str:
        """Skip white space and return the next character, or "" at the end of the file."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.read_more()

    def take(self, allowed: str) -> str:
        """Skip white space and take the next character.

        Raises:
            InputError: the character is none of those allowed.
        """
        character = self.peek()
        if not character or character not in allowed:
            raise self.syntax_error()
        self.at += 1
        return character

    def value(self) -> object:
        """Take the next value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:  # a number may go on in the next chunk
                    if not (piece := self.text[self.at : end]).isascii():
                        value = _DECODER.decode(piece.encode("latin-1").decode())
                    self.at = end
                    return value
            except _TwiceError as error:
                raise self.duplicate_key_error(str(error)) from None
            except json.JSONDecodeError:  # the value may go on in the next chunk
                if self.ended or len(self.text) - self.at > LONGEST:
                    raise self.syntax_error() from None
            except (RecursionError, ValueError):  # no UTF-8, or a number of thousands of digits
                raise self.syntax_error() from None
            self.read_more()

    def syntax_error(self) -> InputError:
        """Return the error of a file that is no JSON."""
        return InputError(f"{self.path} is not readable JSON at byte {self.offset}")

    def duplicate_key_error(self, key: str) -> InputError:
        """Return the error of an object that has a key twice."""
        return InputError(
            f"{self.path} has the key {key!a} twice in the object at byte {self.offset}; "
            "remove one of them"
        )


def read_elements(path: Path, arrays: Collection[str]) -> Iterator[tuple[str, object, int, int]]:
    """Read the elements of arrays in the outermost object of a JSON file.

    Args:
        path: a file that holds one JSON object.
        arrays: keys of the object whose values are arrays to read.

    Yields:
        The key of an array, an element, and the positions where its bytes begin and end.

    Raises:
        InputError: the file is missing, does not hold exactly one JSON object, or has an object
            with a key twice.
    """
    try:
        window = _Window(path)
    except OSError as error:
        raise InputError(f"{path}: {error}") from error
    with window.stream:
        window.read_more()
        if window.text.startswith(BOM):
            window.at = len(BOM)
        if window.peek() == "[":
            raise InputError(f"{path} holds a list, not an object with {', '.join(arrays)}")
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


def _members(window: _Window, name: str) -> Iterator[tuple[str, object, int, int]]:
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    while True:
        window.peek()
        start = window.offset
        element = window.value()
        yield name, element, start, window.offset
        if window.take(",]") == "]":
            return
