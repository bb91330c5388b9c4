"""The exceptions for wrong input, failing storage, and output or training that has to stop."""

from __future__ import annotations

LONGEST = 1000
"""Most characters of an error message; a longer one is cut."""


class InputError(ValueError):
    """An error in the input, with one clear sentence: what is wrong, where, and what to do.

    The command line prints the sentence and ends with exit code 2. As text the error is one
    printable line, whatever names and bytes from outside the sentence quotes.
    """

    def __str__(self) -> str:
        text = super().__str__()
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= LONGEST else line[:LONGEST] + " ..."


class FieldError(InputError):
    """An error in one field of a configuration; the message names the field.

    Attributes:
        field: dotted name of the field.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def inside(self, prefix: str) -> FieldError:
        """Return the error of a value with a prefix before the field's name, which comes first."""
        return FieldError(f"{prefix}{self.args[0]}", f"{prefix}{self.field}")


class StorageError(InputError):
    """A failure of an object store or a file system; the same request may succeed later."""


class StreamError(Exception):
    """The output of a command cannot be written; the exception's cause says why."""


class AheadError(RuntimeError):
    """The checkpoints of a training lie beyond the epoch at which it should stop."""
