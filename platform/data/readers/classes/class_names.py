"""Matching of label texts with the names of classes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from ....errors import InputError
from ....serialization import quoted

SEPARATORS = ";|,"
"""Characters that divide names; a blank may also belong to a name."""
SYNONYMS = (
    ("aeroplane", "airplane"),
    ("motorbike", "motorcycle"),
    ("sofa", "couch"),
    ("tvmonitor", "tv"),
)
"""Names of the same classes in VOC and in COCO."""
BACKGROUND = ("background", "__background__", "_background_")
"""Names that stand for the background, in small letters."""
LONGEST = 1000
"""Largest number of labels that a file gives for one image."""
MOST_WORDS = 3
"""Words of a text, such as "tv monitor", that may be another spelling of a shorter name."""


def spelling_key(name: str) -> str:
    """Return what spellings of one name share: its small letters without blanks and marks."""
    return re.sub(r"[\s_/-]+", "", name.casefold())


class ClassNames:
    """The class names of a data set, with which label texts are matched.

    A name in another spelling ("dining table" for diningtable, "tv/monitor" for tvmonitor) is
    matched if it fits one class alone.

    Args:
        classes: class names.
        separated: whether the file divides names by one of SEPARATORS anywhere, so that a name
            with blanks is one name.
    """

    def __init__(self, classes: Sequence[str], separated: bool = False) -> None:
        self.classes, self.separated = tuple(classes), separated
        self._spelt: dict[str, str] = {}
        self._background_seen = False
        self._index = {name: index for index, name in enumerate(classes)}
        self._indices_by_key: dict[str, list[int]] = {}
        for index, name in enumerate(classes):
            self._indices_by_key.setdefault(spelling_key(name), []).append(index)
        marks = "".join(c for c in SEPARATORS if not any(c in name for name in classes))
        self._separator = re.compile(f"[{re.escape(marks)}]" if marks else "$.")
        self._most_words = max(MOST_WORDS, *(len(name.split()) for name in classes), 0)

    def indices(self, cell: str | Iterable[str], where: str) -> tuple[int, ...]:
        """Return the 0-based classes of one image, sorted, each once.

        Args:
            cell: a text to divide into names, or names.
            where: file and image, for messages.

        Raises:
            InputError: a name is no class, or a text can be divided in several ways.
        """
        if isinstance(cell, str):
            parts = [part.strip() for part in self._separator.split(cell)]
            alone = self.separated or len(parts) > 1
            present = [self._indices_of_part(part, alone, where) for part in parts if part]
        else:
            present = [self._indices_of_part(part.strip(), True, where, False) for part in cell]
        return tuple(sorted(frozenset[int]().union(*present)))

    def notes(self, file: str) -> list[str]:
        """Return sentences on labels that are not spelt like a class."""
        out = []
        if self._spelt:
            pairs = [f"{quoted(text)} is {name}" for text, name in sorted(self._spelt.items())]
            more = f" and {len(pairs) - 8} more" if len(pairs) > 8 else ""
            out.append(f"{file}: other spellings of classes: {', '.join(pairs[:8])}{more}")
        if self._background_seen:
            out.append(f"{file}: the label background is left out, as it is no class")
        return out

    def index(self, name: str) -> int | None:
        """Return the class of a name, also in another spelling; None if it fits none or several."""
        indices = self._candidates(name)
        return indices[0] if len(indices) == 1 else None

    def _candidates(self, name: str) -> list[int]:
        if name in self._index:
            return [self._index[name]]
        key = spelling_key(name)
        if key and key in self._indices_by_key:
            return self._indices_by_key[key]
        synonyms = [other for group in SYNONYMS if key in group for other in group]
        return [k for other in synonyms for k in self._indices_by_key.get(other, [])]

    def _indices_of_name(self, name: str) -> frozenset[int] | None:
        """Return the class of a name, none for the background, or None for an unknown name."""
        index = self.index(name)
        if index is not None:
            return frozenset([index])
        return frozenset() if name.casefold() in BACKGROUND else None

    def _indices_of_part(
        self, part: str, alone: bool, where: str, words: bool = True
    ) -> frozenset[int]:
        """Return the classes of a text that no separator divides.

        Args:
            part: the text.
            alone: whether a text that is a name as a whole is one name.
            where: file and image, for messages.
            words: whether blanks may divide the text.
        """
        whole = self._indices_of_name(part)
        if whole is not None and (alone or not re.search(r"\s", part)):
            self._remember([part])
            return whole
        if words and len(part.split()) > LONGEST:
            raise InputError(f"{where}: over {LONGEST} labels")
        divisions = self._divisions(part.split()) if words else []
        if not divisions:
            raise InputError(self._unknown(part, words, where))
        if len(divisions) > 1:
            both = " or as ".join(quoted(list(names)) for names in divisions)
            raise InputError(
                f"{where}: {quoted(part)} can be read as {both}; divide names by ';', also a name "
                "alone ('name;')"
            )
        self._remember(divisions[0])
        return frozenset().union(*(self._indices_of_name(name) or () for name in divisions[0]))

    def _divisions(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the ways in which words can be divided into names, two at most."""
        rests: list[list[tuple[str, ...]]] = [[()]]
        for start in range(len(words) - 1, -1, -1):
            here: list[tuple[str, ...]] = []
            for count in range(1, min(self._most_words, len(words) - start) + 1):
                name = " ".join(words[start : start + count])
                if self._indices_of_name(name) is not None:
                    here += [(name, *names) for names in rests[count - 1]]
            rests = [here[:2], *rests[: self._most_words - 1]]
        return rests[0]

    def _remember(self, names: Iterable[str]) -> None:
        for name in names:
            index = self.index(name)
            if index is None:
                self._background_seen = True
            elif self.classes[index] != name:
                self._spelt[name] = self.classes[index]

    def _unknown(self, part: str, words: bool, where: str) -> str:
        """Return the sentence on a text that is no class."""
        indices = self._candidates(part)
        if indices:
            both = " or ".join(repr(self.classes[k]) for k in indices[:2])
            return f"{where}: label {quoted(part)} may be {both}; spell it like the class"
        name = part
        if words:
            unknown = [w for w in part.split() if self._indices_of_name(w) is None]
            name = unknown[0] if len(unknown) < len(part.split()) else part
        known = textwrap.shorten(", ".join(self.classes), 600, placeholder=" ...")
        return f"{where}: label {quoted(name)} is not among {known}"
