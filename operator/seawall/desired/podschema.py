"""Checks a pod template against the Kubernetes API's own structure, and spells its values as the API does.

The CRD keeps spec.podTemplate free-form, because embedding the pod schema would make it larger than
client-side apply can carry. So a misspelt field would only be found by the API server when the Deployment is
applied; here it is found before, with its path. podschema.json is generated (`make golden`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from seawall.desired.canonical import canonical_quantity

Schema = Mapping[str, Mapping[str, str]]

KEPT_EMPTY = frozenset({"emptyDir", "labelSelector", "namespaceSelector", "podSelector", "selector"})
"""Where an empty map says something."""
_INT_BOUND = 2**63


class PodTemplateError(Exception):
    """One sentence about what is wrong with spec.podTemplate, and where; for a condition, not a traceback."""


@cache
def _schema() -> Schema:
    loaded: Schema = json.loads(files("seawall.desired").joinpath("podschema.json").read_text())
    return loaded


def canonical_pod_spec(value: Any) -> dict[str, Any]:
    """The pod spec with canonical values and without empties. Raises PodTemplateError."""
    return _structure("V1PodSpec", value, "spec") or {}


def canonical_string_map(value: Any, path: str) -> dict[str, str]:
    return _map("string", value, path) or {}


def _value(word: str, value: Any, path: str) -> Any:
    """None stands for `leave it out`."""
    if word.startswith("["):
        return _list(word[1:-1], value, path)
    if word.startswith("{"):
        return _map(word[1:-1], value, path)
    if word == "any":
        return value
    if word in _SCALARS:
        return _SCALARS[word](value, path)
    return _structure(word, value, path)


def _structure(name: str, value: Any, path: str) -> dict[str, Any] | None:
    fields = _schema()[name]
    if not isinstance(value, Mapping):
        raise _wrong(path, "an object", value)
    result: dict[str, Any] = {}
    for key, item in value.items():
        if key not in fields:
            raise PodTemplateError(f"{path}.{key}: Kubernetes knows no such field")
        word = fields[key].removesuffix("!")
        if item is None:
            continue
        spelled = _value(word, item, f"{path}.{key}")
        if spelled == {} and key in KEPT_EMPTY:
            result[key] = {}
        elif spelled not in (None, {}, []) and not (spelled == "" and not fields[key].endswith("!")):
            result[key] = spelled
    missing = [key for key, word in fields.items() if word.endswith("!") and key not in result]
    if missing:
        raise PodTemplateError(f"{path}.{missing[0]} is required")
    return result


def _list(word: str, value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, "a list", value)
    result: list[Any] = []
    for position, item in enumerate(value):
        label = item.get("name") if isinstance(item, Mapping) else None
        at = f"{path}[{label if isinstance(label, str) else position}]"
        if item is None:
            raise _wrong(at, "a value", item)
        result.append(_value(word, item, at))
    return result


def _map(word: str, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(path, "a map", value)
    result: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _wrong(path, "a map with strings for keys", key)
        if item is not None:
            result[key] = _value(word, item, f"{path}.{key}")
    return result


def _string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "a string (put it in quotes)", value)
    return value


def _integer(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -_INT_BOUND <= value < _INT_BOUND:
        raise _wrong(path, "a whole number", value)
    return value


def _number(value: Any, path: str) -> int | float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(path, "a number", value)
    return value


def _boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false", value)
    return value


def _int_or_string(value: Any, path: str) -> int | str:
    return value if isinstance(value, str) else _integer(value, path)


def _quantity(value: Any, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(path, "a quantity such as 500m or 2Gi", value)
    try:
        return canonical_quantity(value)
    except ValueError as error:
        raise _wrong(path, "a quantity such as 500m or 2Gi", value) from error


_SCALARS = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "int-or-string": _int_or_string,
    "quantity": _quantity,
}


def _wrong(path: str, wanted: str, value: Any) -> PodTemplateError:
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return PodTemplateError(f"{path} must be {wanted}, not {shown}")
