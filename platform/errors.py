"""What a user got wrong, as against what is a bug here."""

from __future__ import annotations

LONGEST = 1000
"""Characters of a sentence; more are cut."""


class InputError(ValueError):
    """One clear sentence for the user: what is wrong, where, and what is allowed.

    The command line prints it and ends with exit code 2. As text it is one printable line,
    whatever names and bytes from outside it quotes.
    """

    def __str__(self) -> str:
        text = super().__str__()
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= LONGEST else line[:LONGEST] + " ..."


class StorageError(InputError):
    """What an object store says: it may be otherwise the next time."""


class StreamError(Exception):
    """What a command says cannot be written; the cause says why."""


class AheadError(RuntimeError):
    """A training that should stop early has gone further before."""
