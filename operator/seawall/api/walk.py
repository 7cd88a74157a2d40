"""A structural schema held against a value, the way the API server does it: types, enums, bounds, required
and unknown fields. Only what our own schemas use is known here; anything else is an error, not an acceptance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seawall.api.problems import Problem, child
from seawall.api.structural import Schema

KNOWN = {
    "description", "type", "format", "enum", "properties", "required", "additionalProperties", "items",
    "minimum", "maximum", "maxLength", "minItems", "maxItems", "maxProperties", "x-kubernetes-validations",
    "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}  # fmt: skip
INT64 = range(-(2**63), 2**63)


def as_sent(value: Any, schema: Schema) -> Any:
    """A copy as kubectl sends it and the API server prunes it: 1.0 is 1, and a null field is an absent field.
    In lists a null stays, and is refused later."""
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        known = {k: properties.get(k, others) for k in value}
        return {k: as_sent(v, known[k] or {}) for k, v in value.items() if v is not None or known[k] is None}
    if isinstance(value, list):
        return [as_sent(v, schema.get("items", {})) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def unknown_fields(value: Any, schema: Schema, path: str = "") -> Iterator[Problem]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict) and schema.get("type") == "object":
        properties = schema.get("properties", {})
        for name, inner in value.items():
            below = properties.get(name, schema.get("additionalProperties"))
            if below is None:
                yield Problem(child(path, str(name)), "unknown field")
            else:
                yield from unknown_fields(inner, below, child(path, str(name)))


def mismatches(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    if not schema.keys() <= KNOWN:
        raise TypeError(f"{path}: schema words not known here: {sorted(schema.keys() - KNOWN)}")
    wanted = "integer or string" if schema.get("x-kubernetes-int-or-string") else str(schema["type"])
    if not _is(value, wanted):
        found = "null" if value is None else f"{value!r}" if isinstance(value, str) else _name(value)
        yield Problem(path, f"must be of type {wanted}, not {found}", blocking=True)
        return
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(map(str, schema["enum"]))
        yield Problem(path, f"{value!r} is not supported; supported values: {choices}", blocking=True)
    if isinstance(value, str):
        yield from _text(value, schema, path)
    elif isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)
    else:
        yield from _bounds(value, schema, path)


def _is(value: Any, wanted: str) -> bool:
    if wanted == "integer or string":
        return isinstance(value, str) or _is(value, "integer")
    if wanted == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool, "object": dict, "array": list}[wanted])


def _name(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
    return kinds.get(type(value), type(value).__name__)


def _text(value: str, schema: Schema, path: str) -> Iterator[Problem]:
    if len(value) > schema.get("maxLength", len(value)):
        yield Problem(path, f"must be at most {schema['maxLength']} characters long", blocking=True)


def _bounds(value: float, schema: Schema, path: str) -> Iterator[Problem]:
    if value < schema.get("minimum", value):
        yield Problem(path, f"must be {schema['minimum']} or more")
    if value > schema.get("maximum", value):
        yield Problem(path, f"must be {schema['maximum']} or less")
    if not isinstance(value, bool) and int(value) not in INT64:
        yield Problem(path, "must fit into 64 bits")


def _object(value: dict[Any, Any], schema: Schema, path: str) -> Iterator[Problem]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Problem(child(path, name), "is required", blocking=True)
    if len(value) > schema.get("maxProperties", len(value)):
        yield Problem(path, f"must have at most {schema['maxProperties']} entries", blocking=True)
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, inner in value.items():
        below = properties.get(name, others)
        if below is not None:
            yield from mismatches(inner, below, child(path, str(name)))


def _list(value: list[Any], schema: Schema, path: str) -> Iterator[Problem]:
    if len(value) > schema.get("maxItems", len(value)):
        yield Problem(path, f"must have at most {schema['maxItems']} items", blocking=True)
    if len(value) < schema.get("minItems", 0):
        yield Problem(path, f"must have at least {schema['minItems']} items")
    for index, item in enumerate(value):
        yield from mismatches(item, schema["items"], f"{path}[{index}]")
    seen: list[Any] = []
    kind = schema.get("x-kubernetes-list-type", "atomic")
    for index, item in enumerate(value if kind != "atomic" else ()):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        identity = [item.get(k) for k in keys] if kind == "map" and isinstance(item, dict) else item
        if identity in seen:
            yield Problem(f"{path}[{index}]", "duplicates an earlier item")
        seen.append(identity)
