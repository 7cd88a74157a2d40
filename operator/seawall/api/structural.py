"""Turns what pydantic says about a model into the structural schema that a CustomResourceDefinition wants.

No default is passed on: the API server would store it in every object for ever.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

DROPPED = ("title", "default", "discriminator", "propertyNames", "$defs", "const", "anyOf", "$ref")
ORDER = ("description", "type", "format")
INT32_MAX = 2**31 - 1


def structural(model: type[BaseModel]) -> Schema:
    """The whole model, every reference inlined."""
    schema = model.model_json_schema(by_alias=True)
    return _node(schema, schema.get("$defs", {}))


def _node(raw: Schema, definitions: Schema) -> Schema:
    node = _merged(raw, definitions)
    if "const" in node:
        node["enum"] = [node["const"]]
    if node.get("x-kubernetes-preserve-unknown-fields"):
        node.pop("additionalProperties", None)
    if isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = _node(node["additionalProperties"], definitions)
    elif "additionalProperties" in node:
        raise TypeError(f"a free-form object must say x-kubernetes-preserve-unknown-fields: {node}")
    if "items" in node:
        node["items"] = _node(node["items"], definitions)
    if "properties" in node:
        node["properties"] = {k: _node(v, definitions) for k, v in node["properties"].items()}
    if node.get("type") == "integer":
        node["format"] = "int32" if node.get("maximum", INT32_MAX + 1) <= INT32_MAX else "int64"
    kept = {k: v for k, v in node.items() if k not in DROPPED}
    return {k: kept[k] for k in (*(o for o in ORDER if o in kept), *sorted(kept.keys() - set(ORDER)))}


def _merged(raw: Schema, definitions: Schema) -> Schema:
    """The node with its reference followed and its union with null resolved; the nearer word wins."""
    inner: Schema = {}
    if "$ref" in raw:
        inner = _merged(definitions[raw["$ref"].removeprefix("#/$defs/")], definitions)
    elif "anyOf" in raw:
        choices = [_merged(c, definitions) for c in raw["anyOf"] if c.get("type") != "null"]
        kinds = {c.get("type") for c in choices}
        if len(choices) == 1:
            inner = choices[0]
        elif kinds == {"integer", "string"}:
            inner = {"x-kubernetes-int-or-string": True}
        else:
            raise TypeError(f"the API server knows no union such as {raw['anyOf']}")
    return {**inner, **raw}
