"""Triton's ModelConfig: layers merged by the schema's own rules, gated by release, written as config.pbtxt.

Merging happens on protobuf-JSON with the schema's field names, because protobuf's own merge can neither
replace a list nor set a field to zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]
from tritonclient.grpc.model_config_pb2 import ModelConfig

from seawall.desired.versions import CONFIG_FIELDS, at_least
from seawall.fetch.problem import invalid_config

IDENTITY_TAGS = ("inferenceservice", "namespace", "revision")


def check_override(config: Mapping[str, Any]) -> str | None:
    """What the schema says against this fragment of a ModelConfig; None if nothing."""
    try:
        normal = _normal(config, ModelConfig.DESCRIPTOR, "")
        json_format.ParseDict(normal, ModelConfig())
    except (ValueError, json_format.ParseError) as error:
        return _sentence(error)
    if "name" in normal:
        return "name is set by the operator: a model is served under the name of its InferenceService"
    return None


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """All layers, the later ones winning: objects merge, lists and values are replaced, null deletes.

    Raises FetchProblem for what is not in the schema.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        try:
            normal = _normal(layer, ModelConfig.DESCRIPTOR, "")
        except ValueError as error:
            raise invalid_config(_sentence(error)) from error
        result = _merged(result, normal, ModelConfig.DESCRIPTOR)
    return result


def as_text(config: Mapping[str, Any], triton_version: str) -> str:
    """The config.pbtxt. Raises FetchProblem when the schema or the server's release knows better."""
    for field, minimum in CONFIG_FIELDS.items():
        if field in config and not at_least(triton_version, minimum):
            raise invalid_config(
                f"{field} needs Triton {minimum} or newer, and the AcceleratorClass runs {triton_version}"
            )
    try:
        message = json_format.ParseDict(dict(config), ModelConfig())
    except json_format.ParseError as error:
        raise invalid_config(_sentence(error)) from error
    return str(text_format.MessageToString(message))


def from_text(text: str, where: str) -> dict[str, Any]:
    """A config.pbtxt that came with the model."""
    try:
        message = text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise invalid_config(f"{where}: {_sentence(error)}") from error
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def _normal(value: Mapping[str, Any], schema: Descriptor, path: str) -> dict[str, Any]:
    """The same with every key in the schema's spelling; protobuf-JSON allows camelCase too."""
    known = {field.name: field for field in schema.fields} | {f.json_name: f for f in schema.fields}
    result: dict[str, Any] = {}
    for key, item in value.items():
        field = known.get(key)
        if field is None:
            raise ValueError(f"{path}{key}: Triton's {schema.name} has no such field")
        if field.name in result:
            raise ValueError(f"{path}{key} is given twice")
        result[field.name] = _normal_field(item, field, f"{path}{key}")
    return result


def _normal_field(item: Any, field: FieldDescriptor, path: str) -> Any:
    schema = field.message_type
    if schema is None or item is None:
        return item
    if not schema.GetOptions().map_entry and field.is_repeated:
        if not isinstance(item, list):
            raise ValueError(f"{path} must be a list")
        return [_normal_message(entry, schema, f"{path}[{n}]") for n, entry in enumerate(item)]
    if not schema.GetOptions().map_entry:
        return _normal_message(item, schema, path)
    if not isinstance(item, Mapping):
        raise ValueError(f"{path} must be an object")
    inner = schema.fields_by_name["value"].message_type
    if inner is None:
        return dict(item)
    return {k: v if v is None else _normal_message(v, inner, f"{path}.{k}") for k, v in item.items()}


def _normal_message(item: Any, schema: Descriptor, path: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise ValueError(f"{path} must be an object")
    return _normal(item, schema, f"{path}.")


def _merged(low: Mapping[str, Any], high: Mapping[str, Any], schema: Descriptor) -> dict[str, Any]:
    result = dict(low)
    for key, value in high.items():
        field = schema.fields_by_name[key]
        if value is None:
            result.pop(key, None)
            continue
        for sibling in field.containing_oneof.fields if field.containing_oneof else ():
            if sibling.name != key:
                result.pop(sibling.name, None)
        result[key] = _merged_field(result.get(key), value, field)
    return result


def _merged_field(low: Any, high: Any, field: FieldDescriptor) -> Any:
    if not isinstance(low, Mapping) or not isinstance(high, Mapping) or field.message_type is None:
        return high
    if field.message_type.GetOptions().map_entry:
        return {k: v for k, v in {**low, **high}.items() if v is not None}
    return _merged(low, high, field.message_type)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
