"""What a later version of the API will stand on: the models lose nothing, and what is stored is what is served."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from crd.test_rules import ACCEPTED, objects
from seawall.api import crd
from seawall.api.structural import Schema
from seawall.api.v1alpha1 import API_VERSION
from seawall.api.walk import as_sent

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    (path.name, document)
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    if isinstance(document, dict) and document.get("apiVersion") == API_VERSION and "spec" in document
]


def through_the_models(obj: dict[str, Any]) -> dict[str, Any]:
    read = crd.MODELS[obj["kind"]].model_validate(obj)
    return read.model_dump(by_alias=True, exclude_unset=True, mode="json")


def as_stored(obj: dict[str, Any]) -> dict[str, Any]:
    """As kubectl sends it and the API server keeps it: a null is an absent field."""
    return without_nulls(as_sent(copy.deepcopy(obj), crd.schema(obj["kind"])))


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


FREE_FORM = "free-form objects keep whatever they hold"


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in ACCEPTED if c["name"] != FREE_FORM])
def test_no_field_is_lost_in_the_models(case: dict[str, Any]) -> None:
    obj, _ = objects(case)
    obj.pop("status", None)
    stored = as_stored(obj)
    assert through_the_models(stored) == stored


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 5


@pytest.mark.parametrize(
    ("name", "manifest"), EXAMPLES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(EXAMPLES)]
)
def test_no_field_of_an_example_is_lost(name: str, manifest: dict[str, Any]) -> None:
    stored = as_stored(manifest)
    assert through_the_models(stored) == stored, name


def one_of_everything(schema: Schema) -> Any:
    """A value with every field that the schema knows."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type", "string"):
        case "object":
            if "properties" in schema:
                return {name: one_of_everything(inner) for name, inner in schema["properties"].items()}
            below = schema.get("additionalProperties")
            return {"key": one_of_everything(below)} if below else {"free": [1, {"form": True}]}
        case "array":
            return [one_of_everything(schema["items"])]
        case "integer":
            return schema.get("minimum", 7)
        case "boolean":
            return True
    return "2026-11-21T12:00:00Z" if schema.get("format") == "date-time" else "text"


@pytest.mark.parametrize("kind", ["InferenceService", "ModelBuild"])
def test_no_field_of_a_full_status_is_lost(kind: str) -> None:
    obj, _ = next(o for o in map(objects, ACCEPTED) if o[0]["kind"] == kind)
    obj["status"] = one_of_everything(crd.schema(kind)["properties"]["status"])
    assert through_the_models(as_stored(obj))["status"] == obj["status"]


@pytest.mark.parametrize("definition", crd.definitions(), ids=lambda d: d["spec"]["names"]["kind"])
def test_one_version_is_stored_and_every_version_is_served(definition: dict[str, Any]) -> None:
    versions = definition["spec"]["versions"]
    assert [v["name"] for v in versions if v["storage"]] == ["v1alpha1"]
    assert all(v["served"] for v in versions)
    assert len({v["name"] for v in versions}) == len(versions)
    # With several of them, nothing converts what moved until a webhook is named here.
    assert ("conversion" in definition["spec"]) == (len(versions) > 1)
