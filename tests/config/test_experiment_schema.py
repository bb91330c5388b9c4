"""Tests of the JSON schema of experiments."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from wsss.platform.config.fields import walk
from wsss.platform.config.schema import experiment_schema
from wsss.platform.method import build_experiment, methods
from wsss.platform.serialization import as_json


@functools.cache
def schema_of(method: str, **options: Any) -> dict[str, Any]:
    schema = experiment_schema(build_experiment(method, **options), ["paper", "default"])
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def fields_of(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted name and the schema of each field of a schema."""
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from fields_of(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


@pytest.mark.parametrize("method", sorted(methods()))
def test_the_schema_has_each_field_with_its_meaning_and_default(method: str) -> None:
    made = build_experiment(method, preset="paper")
    fields = dict(fields_of(schema_of(method, preset="paper")))
    for name, value, field in walk(made):
        assert fields[name]["default"] == as_json(value)
        assert fields[name]["description"] == field.description
    assert fields.keys() - {name for name, _, _ in walk(made)} == {
        "extends",
        "preset",
        "recipe",
        "baseline",
    }


@pytest.mark.parametrize(
    ("row", "valid"),
    [
        ({"training": {"epochs": 1, "lr": 1e-3}}, True),
        ({"training": {"epochs": 0}}, False),
        ({"training": {"epochs": "1"}}, False),
        ({"training": {"epochs": True}}, False),
        ({"training": {"epoch": 1}}, False),
        ({"training": {"optimizer": None, "precision": "bf16"}}, True),
        ({"training": {"optimizer": "sgd"}}, False),
        ({"training": {"resize": [96, 128]}}, True),
        ({"training": {"resize": [96, 128, 160]}}, False),
        ({"training": {"resize": [96, 1e9]}}, False),
        ({"views": {"scales": [1, 0.5, 2.0]}}, True),
        ({"views": {"scales": []}}, False),
        ({"views": {"scales": [1, 99]}}, False),
        ({"segment": {"stride": 16}}, True),
        ({"segment": {"stride": 12}}, False),
        ({"refine": {"kind": "mine"}}, False),
        ({"refine": {"threshold": None}}, True),
        ({"lpcam": {"tau": 0.5}}, True),
        ({"lpcam": {"tau": 2}}, False),
        ({"sipe": {"weight": 1}}, False),
        ({"extends": "a.yaml", "preset": "paper", "training.lr": 1}, True),
        ({"preset": "mine"}, False),
        ({"baseline": "cam"}, True),
        ({"baseline": {"method": "cam"}}, True),
        ({"baseline": 3}, False),
        ({"strange": 1}, False),
    ],
)
def test_the_schema_keeps_the_rules_of_the_fields(row: dict[str, Any], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(schema_of("lpcam")).is_valid(row) == valid


def test_a_baseline_has_its_own_fields() -> None:
    check = jsonschema.Draft202012Validator(schema_of("psdpm", baseline="lpcam"))
    assert check.is_valid({"baseline": {"lpcam": {"tau": 0.5}, "training": {"epochs": 2}}})
    assert not check.is_valid({"baseline": {"lpcam": {"tau": 2}}})
    assert not check.is_valid({"baseline": {"psdpm": {"depth": 2}}})


def test_files_and_options_of_the_machine_are_marked() -> None:
    fields = dict(fields_of(schema_of("cam")))
    assert fields["network.weights"]["format"] == "path"
    assert fields["views.actors"]["x-machine"]
    assert "x-machine" not in fields["views.scales"]
