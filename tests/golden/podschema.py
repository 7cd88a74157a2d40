"""Writes the schema that podTemplate patches are checked against, from the kubernetes client's strict models."""

from __future__ import annotations

import json
import types
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic
from kubernetes.client import models

PATH = Path(__file__).parents[2] / "operator" / "seawall" / "desired" / "podschema.json"
QUANTITIES = {"limits", "requests", "overhead", "capacity", "allocatedResources", "sizeLimit", "divisor"}
SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number", datetime: "string"}


def spelled(annotation: Any, seen: dict[str, Any], name: str) -> str:
    """One word per type: string, integer, …, `[T]`, `{T}`, or the name of a structure."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return spelled(get_args(annotation)[0], seen, name)
    if origin in (Union, types.UnionType):
        members = {spelled(a, seen, name) for a in get_args(annotation) if a is not type(None)}
        return "int-or-string" if members == {"string", "integer"} else one(members)
    if origin is list:
        return f"[{spelled(get_args(annotation)[0], seen, name)}]"
    if origin is dict:
        return f"{{{spelled(get_args(annotation)[1], seen, name)}}}"
    if annotation is Any:
        return "any"
    if annotation in SCALARS:
        return "quantity" if annotation is str and name in QUANTITIES else SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        structure(annotation, seen)
        return annotation.__name__
    raise TypeError(f"{name}: {annotation}")


def one(members: set[str]) -> str:
    (member,) = members
    return member


def structure(model: type[pydantic.BaseModel], seen: dict[str, Any]) -> None:
    if model.__name__ in seen:
        return
    fields: dict[str, str] = {}
    seen[model.__name__] = fields
    for attribute, field in model.model_fields.items():
        name = field.serialization_alias or attribute
        word = spelled(field.annotation, seen, name)
        fields[name] = f"{word}!" if field.is_required() else word


def text() -> str:
    seen: dict[str, Any] = {}
    structure(models.V1PodSpec, seen)
    return json.dumps(dict(sorted(seen.items())), indent=0, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
