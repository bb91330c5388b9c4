"""Short labels of the fields of an experiment, and short texts of their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def field_labels(fields: Iterable[str]) -> dict[str, str]:
    """Return the shortest unambiguous label of each field among some fields.

    A label is the end of a field's dotted name: `tau` of `lpcam.tau`, but the full names of
    `training.lr` and `segment.training.lr` where a sweep varies both.

    Args:
        fields: full names; the same name may come more than once.
    """
    names = list(dict.fromkeys(fields))
    return {name: _label(name, [n for n in names if n != name]) for name in names}


def short_text(value: object) -> str:
    """Return a value as text, a float with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _label(field: str, others: Sequence[str]) -> str:
    """Return the shortest end of a field's dotted name that no other field ends with."""
    words = field.split(".")
    for length in range(1, len(words)):
        label = ".".join(words[-length:])
        if not any(f".{other}".endswith(f".{label}") for other in others):
            return label
    return field
