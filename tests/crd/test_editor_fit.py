"""The JSON Schemas for editors, held against manifests by a validator that is not ours."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from crd.test_rules import ACCEPTED, objects
from crd.test_versions import EXAMPLES, as_stored
from seawall.api import crd, editor
from seawall.api.catalogue import classes


@pytest.fixture(scope="module")
def jsonschema() -> Any:
    import jsonschema

    return jsonschema


def held_against(jsonschema: Any, manifest: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft7Validator(editor.json_schema(manifest["kind"]))
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(manifest)]


FITTING = [m for _, m in EXAMPLES] + [dict(c) for c in classes()]


def test_schemas_are_schemas(jsonschema: Any) -> None:
    for kind in crd.MODELS:
        jsonschema.Draft7Validator.check_schema(editor.json_schema(kind))


@pytest.mark.parametrize("manifest", FITTING, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_examples_and_the_catalogue_fit(jsonschema: Any, manifest: dict[str, Any]) -> None:
    assert held_against(jsonschema, manifest) == []


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in ACCEPTED])
def test_what_the_api_server_accepts_fits(jsonschema: Any, case: dict[str, Any]) -> None:
    obj, _ = objects(case)
    obj.pop("status", None)
    assert held_against(jsonschema, as_stored(obj)) == []


WRONG = {
    "a typo": ("spec: {modle: 1}", "modle"),
    "a number for a duration": ("spec: {slo: {p99: 20}}", "spec.slo.p99"),
    "a duration without unit": ("spec: {slo: {p99: '20'}}", "spec.slo.p99"),
    "an unknown preset": ("spec: {compression: {preset: int9}}", "spec.compression.preset"),
    "too many devices": ("spec: {accelerator: {count: 1000}}", "spec.accelerator.count"),
    "another version": ("apiVersion: serving.seawall.dev/v9", "apiVersion"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_an_editor_underlines(jsonschema: Any, case: str) -> None:
    change, place = WRONG[case]
    manifest = as_stored(objects({"name": "few"})[0])
    for part, value in yaml.safe_load(change).items():
        if isinstance(value, dict):
            for name, inner in value.items():
                manifest[part][name] = (
                    {**manifest[part].get(name, {}), **inner} if isinstance(inner, dict) else inner
                )
        else:
            manifest[part] = value
    assert [line for line in held_against(jsonschema, manifest) if place in line]
