"""Writing of whole experiment files, with the meaning and the range of each field as a comment."""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from .experiment import Experiment
from .fields import Options, fields_of
from .rules import choices_of, requirement, rule_of
from .yaml_reader import is_text

EXPERIMENT_FILE = "experiment.yaml"
"""Name of the experiment file in the record of a run or sweep."""
PATHS = "# Paths are relative to the folder of the command; that of `extends`, to the file."
WIDTH = 96
"""Most characters of a line of comments."""
PLAIN = re.compile(r"[A-Za-z_](?:[\w.+-]*[\w+-])?", re.ASCII)
"""Texts that need no quotation marks, if they are no words of YAML."""


def experiment_file(experiment: Experiment) -> str:
    """Return an experiment file that gives every field of an experiment, and of its baseline."""
    title = f"# Experiment {experiment.combination!r} on {experiment.data!r}, with all its fields."
    return "\n".join([title, PATHS, *_lines(experiment, "")]) + "\n"


def _lines(config: Options, indent: str) -> list[str]:
    """Return the lines of options and of the groups of options inside them."""
    lines: list[str] = []
    for name, field in fields_of(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, Options):
            lines += _group(name, value, indent)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                lines += _group(key, inner, indent)
        elif rule := rule_of(field):
            about = str(field.description)
            if rule.low is not None or choices_of(field):
                about += f" It must be {requirement(field)}."
            lines += ["", *_comment(about, indent), *_entry(name, value, indent)]
    return lines


def _entry(name: str, value: Any, indent: str) -> list[str]:
    """Return the lines of a field, several ones for a long list."""
    lines = [f"{indent}{name}: {value_text(value)}"]
    if len(lines[0]) <= WIDTH or not isinstance(value, tuple):
        return lines
    lines = [f"{indent}{name}: ["]
    for item in map(value_text, value):
        if len(lines[-1]) + len(item) + 2 > WIDTH:
            lines.append(f"{indent}  ")
        lines[-1] += f"{item}, "
    return [*(line.rstrip() for line in lines[:-1]), lines[-1].removesuffix(", ") + "]"]


def _group(name: str, config: Options, indent: str) -> list[str]:
    inner = _lines(config, f"{indent}  ")
    summary = (type(config).__doc__ or "").partition("\n")[0]
    return ["", *_comment(summary, indent), f"{indent}{name}:", *inner[1:]] if inner else []


@functools.cache
def _comment(text: str, indent: str) -> Sequence[str]:
    """Return a text as lines of a comment; the texts are those of fields and of groups."""
    lines = textwrap.wrap(text, WIDTH - len(indent) - 2, break_long_words=False)
    return [f"{indent}# {line}" for line in lines]


def value_text(value: Any) -> str:
    """Return a value, or a list or group of values, as YAML on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {value_text(v)}' for name, v in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(value_text, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):  # YAML 1.1 reads no number from 1e-05
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    text = str(value)
    if PLAIN.fullmatch(text) and is_text(text):
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.strip()
