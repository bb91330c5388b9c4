"""JSON schemas of experiments, by which editors complete and check experiment files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from ..serialization import as_json
from .experiment import Experiment
from .fields import Options, fields_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOTTED = {r"^\w+(\.\w+)+$": {"description": "Field by its dotted name, e.g. training.lr."}}


def experiment_schema(experiment: Experiment, presets: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of the experiment files of a method.

    Args:
        experiment: gives the default of each field, and the methods whose fields a file may have.
        presets: names of the method's presets.
    """
    schema = options_schema(experiment)
    head = {
        "extends": {
            "type": "string",
            "description": "Experiment file on which this file builds, relative to this file.",
        },
        "preset": {"enum": list(presets), "description": "Preset of all fields."},
        "recipe": {"type": "string", "description": "Published recipe of the segmenters."},
    }
    text = {
        "type": ["string", "null"],
        "description": "Baseline: METHOD[:LOCALIZER], or the name of an import.",
    }
    inner = options_schema(experiment.baseline) if experiment.baseline else {"type": "object"}
    schema["properties"] = {**head, **schema["properties"], "baseline": {"anyOf": [text, inner]}}
    return {"$schema": DIALECT, "title": f"Experiment {experiment.combination}", **schema}


def options_schema(config: Options) -> dict[str, Any]:
    """Return the schema of options, with the values of the options as defaults."""
    properties: dict[str, Any] = {}
    schemas = _properties(type(config))
    for name in fields_of(type(config)):
        value = getattr(config, name)
        if isinstance(value, Options):
            properties[name] = options_schema(value)
        elif isinstance(value, Mapping):
            properties |= {key: options_schema(inner) for key, inner in value.items()}
        elif name in schemas:
            about = {k: v for k, v in schemas[name].items() if k != "title"}
            properties[name] = {**about, "default": as_json(value)}
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": DOTTED,
        "additionalProperties": False,
    }


def _properties(kind: type[Options]) -> dict[str, Any]:
    """Return the schemas of the options of a class by name, without nested options."""
    schema = TypeAdapter(kind).json_schema()
    if "$ref" in schema:  # a class that holds options of its own class
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    properties = schema.get("properties", {})
    return {name: about for name, about in properties.items() if "description" in about}
