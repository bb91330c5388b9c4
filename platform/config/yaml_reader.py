"""Reading of experiment files: YAML whose fields keep the file and line that give them.

Plain words are read as in YAML 1.2 and on the command line: `1e-3` is a number, `no` is a text,
and `none` is null. Anchors, tags and keys that are no text are refused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..errors import InputError
from ..serialization import quoted
from ..storage.filesystem import regular
from .limits import DISTRIBUTIONS

T = TypeVar("T")
LARGEST = 1 << 18
"""Largest size of an experiment file, in bytes."""
DEEPEST = 20
"""Most levels of groups and lists inside each other, and most files that extend each other."""
EXTENDS = "extends"
BASELINE = "baseline"
IDENTITY = ("baseline.method", "baseline.localizer", "baseline.imported")
"""The fields that a text for the whole baseline stands for."""
FIGURE = ("figure", "figure.name")
"""The two names of the field that a figure has in a file."""
SPACE = "sweep.space"
"""The field that names a search space, or the group that holds one."""
WITH_GROUPS = f"{SPACE}."
"""What the names of the fields begin with whose lists may hold groups of fields."""
PREFIX = "tag:yaml.org,2002:"
WORDS = {
    "null": r"~|null|Null|NULL|none|None|NONE|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)",
}
"""The plain words that are no texts, by kind."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """The value of a field, with the place that gives it.

    Attributes:
        value: text, number, truth value, None or list of these.
        path: file.
        line: number of the line, from 1.
    """

    value: Any
    path: Path
    line: int

    @property
    def place(self) -> str:
        """The file and the line, as an error message names them."""
        return f"{self.path}, line {self.line}"


class _RefusedError(Exception):
    """A part of a file that may not be there; its arguments are the line and a sentence."""


class _Loader(yaml.SafeLoader):
    """Loader that composes nodes of plain words, lists and groups, but makes no objects."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose the next node, unless it is an alias, has an anchor or tag, or is too deep."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None):
            raise _RefusedError(line, "it has an anchor or alias; write the value out")
        if getattr(event, "tag", None):
            raise _RefusedError(line, f"it has the tag {event.tag}; leave the tag out")
        if self.depth >= DEEPEST:
            raise _RefusedError(line, f"it is nested deeper than {DEEPEST} levels")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for kind, pattern in WORDS.items():
    _Loader.add_implicit_resolver(PREFIX + kind, re.compile(f"(?:{pattern})\\Z"), None)


def flow_list(text: str) -> list[Any] | None:
    """Return the values of a list in brackets, as in `[train, 0.5]`; None: the text is no list."""
    try:
        node = _Loader(text).get_single_node()
        value = _value(node, Path(), False) if isinstance(node, yaml.SequenceNode) else None
    except (_RefusedError, yaml.YAMLError):
        return None
    return value if isinstance(value, list) else None


def is_text(text: str) -> bool:
    """Return whether a word is read as a text."""
    return not any(re.fullmatch(pattern, text) for pattern in WORDS.values())


def read(path: Path) -> dict[str, Entry]:
    """Return the fields of an experiment file and of the files that it extends, by dotted name.

    A file's field counts more than that of a file it extends.

    Raises:
        InputError: a file is missing, is no UTF-8 or YAML, is too large, gives a field twice, holds
            what an experiment file may not, or extends itself by way of other files.
    """
    fields: dict[str, Entry] = {}
    seen: list[Path] = []
    while True:
        if path.resolve() in seen:
            raise InputError(f"{fields[EXTENDS].place}: extends leads back to {path}; remove it")
        if len(seen) == DEEPEST:
            raise InputError(f"{path}: more than {DEEPEST} files extend each other; merge some")
        seen.append(path.resolve())
        own = _parsed(path)
        inherited = {k: e for k, e in fields.items() if k != EXTENDS}
        fields = merged(own, inherited)
        if EXTENDS not in own:
            return fields
        base = own[EXTENDS]
        if not isinstance(base.value, str) or not base.value:
            raise InputError(f"{base.place}: extends is {quoted(base.value)}; it must be a path")
        path = path.parent / base.value
        if not path.is_file():
            raise InputError(f"{base.place}: there is no file {path}")


def merged(base: Mapping[str, T], fields: Mapping[str, T]) -> dict[str, T]:
    """Return the fields of a base with other fields, which count more.

    A new baseline replaces the base's; the further fields of the base's baseline stay. A named
    search space replaces one that the base itself holds, and the other way round. A field of a
    search space takes the place of the same field with another domain.
    """
    given = {_subject(name) for name in fields}
    named, held = SPACE in fields, any(name.startswith(WITH_GROUPS) for name in fields)
    kept = {
        name: value
        for name, value in base.items()
        if _subject(name) not in given
        and not (named and name.startswith(WITH_GROUPS))
        and not (held and name == SPACE)
    }
    return {**kept, **fields}


def _subject(name: str) -> str:
    """Return what a field gives, which fields of other names may give as well."""
    if name in (BASELINE, *IDENTITY):
        return BASELINE
    if name in FIGURE:
        return FIGURE[0]
    field, _, last = name.rpartition(".")
    return field if field.startswith(WITH_GROUPS) and last in DISTRIBUTIONS else name


def _parsed(path: Path) -> dict[str, Entry]:
    """Return the fields of one file by dotted name."""
    text = _text(path)
    try:
        node = _Loader(text).get_single_node()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise _RefusedError(node.start_mark.line + 1, "it holds no fields; write NAME: VALUE")
        return _unique(_entries(node, "", path))
    except _RefusedError as error:
        line, sentence = error.args
        raise InputError(f"{path}, line {line}: {sentence}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}, {_fault(error, text)}") from None


def _unique(entries: Iterable[tuple[str, Entry]], prefix: str = "") -> dict[str, Entry]:
    """Return fields by name, each of which may be given once.

    Args:
        entries: names and values.
        prefix: what the names begin with in the file.
    """
    fields: dict[str, Entry] = {}
    names: dict[str, str] = {}
    for name, entry in entries:
        subject = _subject(f"{prefix}{name}")
        other = names.setdefault(subject, name)
        if name in fields:
            first = fields[name].line
            raise _RefusedError(entry.line, f"{name} is given twice, first in line {first}")
        if subject.startswith(WITH_GROUPS):
            names.setdefault(WITH_GROUPS, name)
            other = names.get(SPACE, other)
        elif subject == SPACE:
            other = names.get(WITH_GROUPS, other)
        if other != name and not {other, name} <= {*IDENTITY}:
            raise _RefusedError(
                entry.line,
                f"{name} is given beside {other}, line {fields[other].line}; leave one of them out",
            )
        fields[name] = entry
    return fields


def _text(path: Path) -> str:
    """Return the text of a file."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if regular(path).stat().st_size > LARGEST:
        raise InputError(f"{path} has more than {LARGEST} bytes; it is no experiment file")
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: it is not UTF-8; save it as UTF-8") from None


def _fault(error: yaml.YAMLError, text: str) -> str:
    """Return the line and the reason why a text is not YAML."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n") + 1
        return f"line {line}: it holds a character that YAML does not allow; remove it"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        line = error.problem_mark.line + 1
        if "\\t" in str(error.problem):
            return f"line {line}: it holds a tab; use blanks"
        if "another document" in str(error.problem):
            return f"line {line}: it holds a second document; remove the line ---"
        return f"line {line}: it is not YAML: {error.problem}"
    return f"it is not YAML: {error}"


def _entries(
    node: yaml.MappingNode, prefix: str, path: Path, in_space: bool = False
) -> Iterator[tuple[str, Entry]]:
    """Yield the dotted names and values of a group of fields, which may be in a search space."""
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != f"{PREFIX}str":
            name_text = quoted(key.value) if isinstance(key, yaml.ScalarNode) else "a list or group"
            raise _RefusedError(line, f"the name of a field is {name_text}; it must be a text")
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode):
            inside = in_space or f"{name}.".startswith(WITH_GROUPS)
            if inside and not value.value:
                raise _RefusedError(line, f"{name} is empty; give values to try, or leave it out")
            yield from _entries(value, f"{name}.", path, inside)
        else:
            yield name, Entry(_value(value, path, name.startswith(WITH_GROUPS)), path, line)


def _value(node: yaml.Node, path: Path, groups: bool) -> Any:
    """Return the value of a scalar or a list, which may hold groups of fields."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(inner, path, groups) for inner in node.value]
    if isinstance(node, yaml.MappingNode):
        if groups:
            fields = _unique(_entries(node, "", path, in_space=True), WITH_GROUPS)
            return {name: entry.value for name, entry in fields.items()}
        raise _RefusedError(node.start_mark.line + 1, "a list holds fields; it must hold values")
    kind, text = node.tag.removeprefix(PREFIX), node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "float":
        return float(re.sub(r"\.(?=[a-zA-Z])", "", text))
    return _whole(text) if kind == "int" else text


def _whole(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # Python reads no number of over 4300 digits
        return text
