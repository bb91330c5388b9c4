"""Changes of a training's options after some of its epochs, as texts such as "4: lr=0.02"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ...errors import FieldError
from ...serialization import quoted

CHANGEABLE = ("lr", "head_factor", "momentum", "weight_decay", "power", "clip_norm")
"""The options of a training that may change within it; each step reads their values anew."""
EXAMPLE = "4: lr=0.02, weight_decay=0.001"
CHANGE = re.compile(r"\s*([0-9]{1,6})\s*:(.+)", re.DOTALL)

Values = Mapping[str, float]
"""Values of options by name."""


def parse_change(text: str) -> tuple[int, dict[str, float]]:
    """Return the number of epochs before a change, and the new values by option.

    Raises:
        FieldError: the text is no change, or names an option that cannot change.
    """
    match = CHANGE.fullmatch(text)
    values: dict[str, float] = {}
    for part in match[2].split(",") if match else ():
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in CHANGEABLE:
            raise FieldError(
                f"changes has {quoted(text)}; of a training, only {', '.join(CHANGEABLE)} can "
                f"change, but it names {quoted(name)}",
                "changes",
            )
        try:
            values[name] = float(number)
        except ValueError:
            break
    else:
        if match and len(values) == match[2].count("=") == match[2].count(",") + 1:
            return int(match[1]), values
    raise FieldError(
        f"changes has {quoted(text)}; each text must be like {EXAMPLE!r}, with an option once",
        "changes",
    )


def change_text(epochs: int, values: Values) -> str:
    """Return the text of a change, with its options in the order of CHANGEABLE."""
    given = (f"{name}={float(values[name])!r}" for name in CHANGEABLE if name in values)
    return f"{epochs}: {', '.join(given)}"


def parse_changes(texts: Sequence[str], epochs: int) -> dict[int, dict[str, float]]:
    """Return the new values by number of epochs before each change.

    Args:
        texts: the changes in the order of their epochs.
        epochs: epochs of the whole training.

    Raises:
        FieldError: a text is no change, or a change is out of order or not within the training.
    """
    changes: dict[int, dict[str, float]] = {}
    for text in texts:
        after, values = parse_change(text)
        if not 0 < after < epochs:
            raise FieldError(
                f"changes has {quoted(text)}, but the training has {epochs} epochs; a change comes "
                "after 1 epoch at the earliest and before the last one",
                "changes",
            )
        if changes and after <= max(changes):
            raise FieldError(
                f"changes has {quoted(text)} after a change at epoch {max(changes)}; put the "
                "changes in the order of their epochs, one for an epoch",
                "changes",
            )
        changes[after] = values
    return changes
