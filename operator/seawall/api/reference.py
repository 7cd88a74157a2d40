"""docs/api.md: every field of the resources as a table, written from the very schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seawall.api import crd
from seawall.api.fields import VALIDATIONS
from seawall.api.structural import Schema

INTRODUCTION = r"""<!-- Generated from the models in operator/seawall/api by `make crds`; edit those. -->
# Fields of the resources

Group `serving.seawall.dev`, version `v1alpha1`. `kubectl explain` shows the same texts. A field marked \* is
required where its parent is given. Durations are strings with a unit (`20ms`, `1.5s`), numbers with a
fraction are strings (`"0.99"`), sizes are Kubernetes quantities. The words with which a value is refused
stand beside each field under Rules. The API server stores no defaults. Editors get the same as JSON Schemas
from the folder `schemas` or from `seawall schema` ([cli.md](cli.md)).

## Versions
`v1alpha1` is the only version: served, and the one that is stored. Until Seawall 1.0 it may
change between minor versions, as the changelog says; otherwise a field may be added, and none changes its
meaning. Whoever reads drops fields that it does not know, so an operator from before a field was added acts
as if it were absent; it loses nothing of a spec, because it writes none.

A later version will be a second entry of `spec.versions`, served beside this one, with the models of both in
`operator/seawall/api` and, where a field has moved, a conversion webhook. Such a conversion must bring every
field there and back; that the models themselves lose none is tested with every example and every case of
`tests/crd/cases.yaml`. The old version may go when `status.storedVersions` names the new one alone.
"""
TITLES = {
    "InferenceService": "Namespaced, short name `swi`, categories `seawall` and `ai`.",
    "AcceleratorClass": "Cluster-scoped, short name `swa`, category `seawall`.",
    "ModelBuild": "Namespaced, short name `swb`, categories `seawall` and `ai`. The operator makes them: one "
    "for each model that has to be converted, compressed or split, shared by every service of the namespace "
    "that needs the same result.",
}


def markdown() -> str:
    return INTRODUCTION + "".join(f"\n## {kind}\n{about}\n\n{_kind(kind)}" for kind, about in TITLES.items())


def _kind(kind: str) -> str:
    schema = crd.schema(kind)
    rules = [f"- {r['message']}" for r in schema.get(VALIDATIONS, ())]
    lines = [*rules, ""] if rules else []
    lines += ["| field | type | meaning and rules |", "|---|---|---|"]
    for part in ("spec", "status"):
        if part in schema["properties"]:
            lines += _rows(part, schema["properties"][part], required=part == "spec")
    return "\n".join(lines) + "\n"


def _rows(path: str, schema: Schema, required: bool) -> Iterator[str]:
    rules = "; ".join(r["message"] for r in schema.get(VALIDATIONS, ()))
    meaning = (schema.get("description", ""), f"Rules: {rules}." if rules else "")
    text = " ".join(m.replace("\n", " ") for m in meaning if m).replace("|", "\\|")
    yield f"| `{path}`{'*' if required else ''} | {_type(schema)} | {text} |"
    inner, prefix = (schema["items"], f"{path}[]") if schema.get("type") == "array" else (schema, path)
    for name, below in inner.get("properties", {}).items():
        yield from _rows(f"{prefix}.{name}", below, name in inner.get("required", ()))


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object, free-form"
    if "enum" in schema:
        return " \\| ".join(f"`{v}`" for v in schema["enum"])
    kind = str(schema["type"])
    if kind == "array":
        return f"list of {_type(schema['items'])}, at most {schema['maxItems']}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    return kind + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    return f", {low} to {high}" if low is not None and high is not None else ""
