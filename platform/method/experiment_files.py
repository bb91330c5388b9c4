"""Experiments as files: read with the presets of their methods, and the JSON schema of a file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config.experiment import Experiment
from ..config.fields import fields_of, replaced, walk
from ..config.rules import unknown_field
from ..config.schema import experiment_schema, options_schema
from ..config.yaml_reader import BASELINE, EXTENDS, IDENTITY, Entry, merged, read
from ..errors import FieldError, InputError
from ..serialization import quoted
from .compose import PREFIX, build_experiment
from .registry import find_method
from .sections import SECTIONS, SPACE

HEAD = ("method", "localizer", "preset", "recipe", BASELINE, *IDENTITY)
"""The fields that choose methods and presets, on which all other fields build."""


@dataclass(frozen=True)
class ExperimentFile:
    """An experiment file: the fields of an experiment, and options of commands.

    Attributes:
        path: file.
        fields: fields of the experiment, by dotted name, each with the file and line that give it.
        sections: options of commands, by section and by name in the section.
    """

    path: Path
    fields: Mapping[str, Entry]
    sections: Mapping[str, Mapping[str, Entry]]

    @classmethod
    def read(cls, path: Path) -> ExperimentFile:
        """Return the content of a file and of the files that it extends.

        Raises:
            InputError: the file cannot be read, or an option in a section is unknown or out of
                range; the message gives file and line.
        """
        entries = read(path)
        fields = {n: e for n, e in entries.items() if n.partition(".")[0] not in SECTIONS}
        fields.pop(EXTENDS, None)
        return cls(path, fields, {name: _section(name, entries) for name in SECTIONS})

    def text(self, name: str) -> str:
        """Return the value of a field that is a text; empty where the file does not give it.

        Raises:
            InputError: the value is no text.
        """
        values = {n: entry.value for n, entry in self.fields.items()}
        return _text(name, values, self.fields) if name in values else ""

    @property
    def baseline(self) -> str:
        """METHOD[:LOCALIZER] or the name of an import; empty where the file names no baseline."""
        return _baseline({name: self.text(name) for name in HEAD if name in self.fields})

    def options(self, command: str) -> dict[str, Any]:
        """Return the options that the section of a command gives, by name."""
        section = self.sections[command].items()
        return {n: entry.value for n, entry in section if not n.startswith(SPACE)}

    @property
    def space(self) -> dict[str, Sequence[object]]:
        """The search space that the file itself holds; empty if it holds none."""
        section = self.sections["sweep"].items()
        return {n.removeprefix(SPACE): entry.value for n, entry in section if n.startswith(SPACE)}

    def without(self, groups: Collection[str]) -> ExperimentFile:
        """Return the file without the fields of some groups, such as those of a method."""
        kept = {n: e for n, e in self.fields.items() if n.partition(".")[0] not in groups}
        return replace(self, fields=kept)

    def experiment(self, changes: Mapping[str, Any], preset: str) -> Experiment:
        """Return the experiment of the file; arguments and errors are as for `experiment_of`."""
        new = {
            n for n, value in changes.items() if n in self.fields and self.fields[n].value != value
        }
        dropped = {f"{PREFIX}{name}" for name in ("data", "seed") if name in new}
        fields = {n: entry for n, entry in self.fields.items() if n not in dropped}
        values = merged({n: entry.value for n, entry in fields.items()}, changes)
        lines = {n: e for n, e in fields.items() if n in values and values[n] == e.value}
        return experiment_from(values, lines, self.path, preset)


def _section(name: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the options in a section of a file, by name in the section.

    Raises:
        InputError: an option is unknown or out of range, or a search space is empty.
    """
    section = SECTIONS[name]()
    known = fields_of(type(section))
    given = {n.removeprefix(f"{name}."): e for n, e in entries.items() if n.startswith(f"{name}.")}
    whole = entries.get(name)
    if whole and name == "figure" and isinstance(whole.value, str):
        given = {"name": whole, **given}
    elif whole and whole.value is not None:
        names = ", ".join(f"{name}.{option}" for option in known)
        raise InputError(f"{whole.place}: {name} is a group of options; there are {names}")
    for option, entry in given.items():
        field = f"{name}.{option}"
        if name == "sweep" and option.startswith(SPACE):
            if not isinstance(entry.value, list) or not entry.value:
                raise InputError(f"{entry.place}: {field} must be a list of the values to try")
        elif option not in known:
            names = ", ".join(f"{name}.{other}" for other in known)
            raise InputError(f"{entry.place}: unknown option {field!r}; there are {names}")
        else:
            try:
                replaced(section, {option: entry.value})
            except FieldError as error:
                raise InputError(f"{entry.place}: {error.inside(f'{name}.')}") from None
    return given


def experiment_of(
    path: Path, changes: Mapping[str, Any] | None = None, preset: str = "default"
) -> Experiment:
    """Return the experiment that a file describes.

    A field outside `baseline` also holds for a baseline that has the field, unless the file gives
    the field of the baseline itself.

    Args:
        path: file.
        changes: values by dotted name that count more than the file's, also of `method`, `preset`,
            `localizer`, `recipe` and `baseline`. Another data set or random seed also holds for the
            baseline.
        preset: name of the preset where neither file nor changes give one.

    Raises:
        InputError: the file cannot be read, a method, preset, recipe or field is unknown, or a
            value is out of range; the message gives file and line.
    """
    return ExperimentFile.read(path).experiment(changes or {}, preset)


def experiment_from(
    values: Mapping[str, Any], lines: Mapping[str, Entry], path: Path, preset: str
) -> Experiment:
    """Return the experiment that values describe.

    Args:
        values: values by dotted name.
        lines: the places of those values that are a file's.
        path: file, for an error in no field of it.
        preset: name of the preset where the values give none.
    """
    head = {name: _text(name, values, lines) for name in HEAD if name in values}
    if not head.get("method"):
        raise InputError(f"{path}: it names no method; write method: NAME")
    arguments: dict[str, Any] = {
        "preset": head.get("preset") or preset,
        "localizer": head.get("localizer", ""),
        "recipe": head.get("recipe", ""),
    }
    try:
        arguments[BASELINE] = _baseline(head)
        unchanged = build_experiment(head["method"], **arguments)
    except InputError as error:
        quoted_heads = (n for n in reversed(HEAD) if _mentions(str(error), head.get(n)))
        raise _placed(error, next(quoted_heads, ""), lines, path) from None
    fields = {k: v for k, v in values.items() if k not in HEAD and k != EXTENDS}
    fields = _known(fields, unchanged, lines, path)
    try:
        return build_experiment(head["method"], **arguments, changes=fields)
    except InputError as error:
        name = error.field if isinstance(error, FieldError) else ""
        raise _placed(error, name, lines, path) from None


def _text(name: str, values: Mapping[str, Any], lines: Mapping[str, Entry]) -> str:
    """Return the value of a field that chooses a method or preset."""
    value = values[name]
    if value is not None and not isinstance(value, str):
        where = f"{lines[name].place}: " if name in lines else ""
        raise InputError(f"{where}{name} is {quoted(value)}; it must be text")
    return value or ""


def _baseline(head: Mapping[str, str]) -> str:
    """Return METHOD[:LOCALIZER] or the name of an import, from which a method learns."""
    method, localizer, imported = (head.get(name, "") for name in IDENTITY)
    if head.get(BASELINE) or imported:
        return head.get(BASELINE) or imported
    if localizer and not method:
        raise InputError(
            f"baseline.localizer is {localizer!r} without baseline.method; name both in one file"
        )
    for name in method.split("+") if method else ():  # another name would be that of an import
        find_method(name)
    return ":".join(w for w in (method, localizer) if w)


def _mentions(message: str, value: str | None) -> bool:
    """Return whether a message quotes a value or one of the methods in it."""
    return bool(value) and any(repr(w) in message for w in (value, *re.split("[:+]", value or "")))


def _known(
    fields: Mapping[str, Any], made: Experiment, lines: Mapping[str, Entry], path: Path
) -> dict[str, Any]:
    """Return the fields without empty groups.

    Raises:
        InputError: a field is unknown, or is a group of fields that has a value.
    """
    names = [name for name, _, _ in walk(made)]
    names += [n.removeprefix(PREFIX) for n in names if n.startswith(PREFIX)]
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name in names:
            kept[name] = value
        elif inner := [other for other in names if other.startswith(f"{name}.")]:
            if value is not None:
                text = f"{name} is a group of fields; give the fields in it, such as {inner[0]}"
                raise _placed(InputError(text), name, lines, path)
        else:
            raise _placed(unknown_field(name, dict.fromkeys(names)), name, lines, path)
    return kept


def _placed(error: InputError, name: str, lines: Mapping[str, Entry], path: Path) -> InputError:
    """Return an error with the file and the line that give a field, if they do."""
    group = name.rpartition(".")[0]
    entry = lines.get(name) or lines.get(f"{PREFIX}{name}")
    near = (e for other, e in lines.items() if group and other.startswith(f"{group}."))
    entry = entry or (next(near, None) if isinstance(error, FieldError) else None)
    return InputError(f"{entry.place if entry else path}: {error}")


def json_schema(method: str) -> dict[str, Any]:
    """Return the JSON schema of a method's experiment files, with the defaults of `default`.

    Raises:
        InputError: a method is unknown.
    """
    presets = find_method(method.split("+")[0]).presets
    schema = experiment_schema(build_experiment(method), list(presets))
    commands = {name: options_schema(kind()) for name, kind in SECTIONS.items()}
    interval = {"type": "object", "minProperties": 1, "maxProperties": 1}
    values = {"anyOf": [{"type": "array", "minItems": 1}, interval]}
    space = {"type": "object", "minProperties": 1, "additionalProperties": values}
    options = commands["sweep"]["properties"]
    options["space"] = {"anyOf": [options["space"], space]}
    commands["figure"] = {"anyOf": [{"type": "string"}, commands["figure"]]}
    schema["properties"] |= commands
    return schema
