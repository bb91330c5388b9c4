"""What the values or colours of masks stand for, as a user says with --mask-values.

Shapes: H W pixels.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....labels import VOID
from ....serialization import quoted
from ...images import voc_palette
from ..csv_rows import DELIMITERS, header_cells, read_rows
from ..files import read_text
from .samples import Samples, colour_code, colour_of

OPTION = "--mask-values"
LABEL = -1
"""Meaning of a value that stands for the only label of the image."""
UNKNOWN = -2
"""Meaning of a value that has none."""
WORDS = {"background": 0, "void": VOID, "label": LABEL}
"""Words that stand for no class: no object, not scored, and the only label of the image."""
MOST_BYTES = 1 << 20
"""Largest size of a file of values; 65,536 values with long names are smaller."""
_VALUE = re.compile(r"[0-9]{1,5}")
_COLOUR = re.compile(r"([0-9]{1,3})[ ,]+([0-9]{1,3})[ ,]+([0-9]{1,3})")


@dataclass(frozen=True, kw_only=True)
class ValueMap:
    """The meaning of each value, or of each colour, that masks may hold.

    Attributes:
        meanings: background 0, class + 1, void 255 or LABEL, by value or by `colour_code`.
        colours: whether the keys are colours.
        names: what the user called each meaning, for messages and records.
    """

    meanings: Mapping[int, int]
    colours: bool = False
    names: Mapping[str, str]

    def classes_of(self, samples: Samples, name: str, labels: Sequence[int]) -> NDArray[np.uint8]:
        """Return the class values `[H,W]` of a mask: 0 background, class + 1, 255 void.

        Args:
            samples: the samples of the mask.
            name: file of the mask, for messages.
            labels: 0-based classes of the image.

        Raises:
            InputError: a value has no meaning, the mask is stored in colours and the map names
                numbers, or a value stands for the label of an image that has not exactly one.
        """
        codes = self._codes(samples, name)
        meanings = look_up(codes, self.meanings)
        if (fault := unknown_values(codes, meanings, self.colours)) is not None:
            raise InputError(f"mask {name} has {fault}, which {OPTION} does not name")
        if LABEL in self.meanings.values() and (meanings == LABEL).any():
            if len(labels) != 1:
                raise InputError(
                    f"mask {name} has pixels that {OPTION} calls the label, but its image has "
                    f"{len(labels)} labels; only an image of one label has such a mask"
                )
            meanings[meanings == LABEL] = labels[0] + 1
        return meanings.astype(np.uint8)

    def _codes(self, samples: Samples, name: str) -> NDArray[np.integer]:
        """Return the values or colours `[H,W]` of a mask, as the keys of `meanings` are.

        Raises:
            InputError: the mask has colours and the map numbers, or 16 bits and the map colours.
        """
        if self.colours and samples.bits > 8:
            raise InputError(f"mask {name} has 16 bits; {OPTION} must name numbers, no colours")
        if self.colours:
            return samples.colour_codes()
        if samples.is_grey_in_colours:
            return samples.values[..., 0]
        if samples.in_colours:
            raise InputError(
                f"mask {name} is stored in colours, but {OPTION} names numbers; name the colours, "
                "as in 128,0,0=CLASS"
            )
        return samples.values


def look_up(codes: NDArray[np.integer], meanings: Mapping[int, int]) -> NDArray[np.int16]:
    """Return the meaning of each code; a code without a meaning gives UNKNOWN."""
    known = np.array(sorted(meanings))
    table = np.array([meanings[code] for code in known.tolist()], np.int16)
    if codes.dtype == np.uint8:  # nearly all masks; a table is ten times as fast as a search
        whole = np.full(256, UNKNOWN, np.int16)
        whole[known[known < 256]] = table[known < 256]
        return np.take(whole, codes)
    index = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[index] == codes, table[index], UNKNOWN).astype(np.int16)


def unknown_values(
    codes: NDArray[np.integer], meanings: NDArray[np.int16], colours: bool
) -> str | None:
    """Return words on the most frequent value without a meaning, None where all have one.

    Args:
        codes: values or `colour_code` of the pixels `[H,W]`.
        meanings: what `look_up` returns for them.
        colours: whether the codes are colours.
    """
    unknown = meanings == UNKNOWN
    if not unknown.any():
        return None
    values, counts = np.unique(codes[unknown], return_counts=True)
    code, count = int(values[counts.argmax()]), int(counts.max())
    kind, text = ("colour", ",".join(map(str, colour_of(code)))) if colours else ("value", code)
    if len(values) == 1:
        return f"{count} pixel{'s' * (count > 1)} of the {kind} {text}"
    return f"{counts.sum()} pixels of {len(values)} unknown {kind}s, {count} of the {kind} {text}"


def voc_colours(classes: int) -> dict[int, int]:
    """Return the meaning of the colours of VOC's palette for a number of classes."""
    palette = np.array(voc_palette()).reshape(-1, 3).tolist()
    return {colour_code(*palette[k]): k for k in (*range(classes + 1), VOID)}


def parse(given: Sequence[str], classes: Sequence[str]) -> ValueMap | None:
    """Return the map that --mask-values describes, None for an option that is not given.

    Args:
        given: VALUE=CLASS each, or one path of a .csv or .json file of them.
        classes: class names of the data set.

    Raises:
        InputError: a value or a class is no such thing, or is named twice.
    """
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        where, pairs = given[0], _pairs_of_file(Path(os.path.expanduser(given[0])))
    else:
        where, pairs = OPTION, [_pair(word) for word in given]
    meanings: dict[int, int] = {}
    names: dict[str, str] = {}
    kinds = set()
    for text, class_name in pairs:
        code, is_colour = _code(text.strip(), where)
        if code in meanings and is_colour in kinds:
            raise InputError(f"{where} names {text.strip()} twice")
        meanings[code] = _meaning(class_name.strip(), classes, where)
        names[text.strip()] = class_name.strip()
        kinds.add(is_colour)
    if len(kinds) != 1:
        raise InputError(f"{where} must name either numbers or colours, and at least one")
    return ValueMap(meanings=meanings, colours=kinds.pop(), names=names)


def _pair(word: str) -> tuple[str, str]:
    """Return the value and the class of VALUE=CLASS."""
    value, equals, name = word.partition("=")
    if not equals:
        raise InputError(
            f"{OPTION} {quoted(word)} is no VALUE=CLASS; a file of values stands alone"
        )
    return value, name


def _pairs_of_file(path: Path) -> list[tuple[str, str]]:
    """Return the values and classes of a .csv (value,class) or .json (value to class) file."""
    suffix = path.suffix.lower()
    try:
        if suffix not in (".csv", ".json"):
            raise ValueError("it is neither .csv nor .json, and no VALUE=CLASS")
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has over {MOST_BYTES} bytes")
    except (OSError, ValueError) as error:
        raise InputError(f"{OPTION}: {path} is not readable: {error}") from error
    text = read_text(path)
    if suffix == ".csv":
        return _pairs_of_table(text, path)
    try:
        content = json.loads(text, object_pairs_hook=tuple)
        if not isinstance(content, tuple) or not all(isinstance(v, str) for _, v in content):
            raise ValueError('it is no object such as {"0": "background", "1": "cat"}')
    except (ValueError, RecursionError) as error:
        raise InputError(f"{OPTION}: {path} is not readable: {error}") from error
    return list(content)


def _pairs_of_table(text: str, path: Path) -> list[tuple[str, str]]:
    """Return the values and classes of a table with the columns value and class."""
    for delimiter in DELIMITERS:
        columns = [name.casefold() for name in header_cells(text, delimiter)]
        if columns.count("value") == columns.count("class") == 1:
            break
    else:
        raise InputError(f"{path} needs the columns value and class, each once, in its first line")
    value, name = columns.index("value"), columns.index("class")
    advice = 'a row is a value and a class; put a colour in quotes, as "128,0,0"'
    rows = read_rows(text, delimiter, len(columns), path, advice)
    return [(cells[value], cells[name]) for _, cells in rows]


def _code(text: str, where: str) -> tuple[int, bool]:
    """Return a value, or the number of a colour R,G,B, and whether it is a colour."""
    if _VALUE.fullmatch(text) and int(text) <= 0xFFFF:
        return int(text), False
    match = _COLOUR.fullmatch(text)
    if match and max(map(int, match.groups())) <= 255:
        red, green, blue = map(int, match.groups())
        return colour_code(red, green, blue), True
    raise InputError(
        f"{where}: {quoted(text)} is no value of a mask; a value is a number from 0 to 65535 or a "
        "colour R,G,B"
    )


def _meaning(name: str, classes: Sequence[str], where: str) -> int:
    """Return what a name stands for."""
    if name in WORDS and name not in classes:
        return WORDS[name]
    if name in classes and name not in WORDS:
        return classes.index(name) + 1
    if name in classes:
        raise InputError(
            f"{where}: {name} is a class and stands for something else here; rename the class"
        )
    raise InputError(f"{where}: {quoted(name)} is not among {', '.join([*WORDS, *classes])[:600]}")
