"""What a user got wrong, as against what is a bug here."""

from __future__ import annotations


class InputError(ValueError):
    """One clear sentence for the user: what is wrong, where, and what is allowed.

    The command line prints it and ends with exit code 2.
    """
