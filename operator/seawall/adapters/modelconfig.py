"""Triton's own ModelConfig schema, asked what is wrong with a user's fragment of it.

The schema is the protobuf module that tritonclient carries. It is loaded by itself: importing it through
tritonclient.grpc would bring grpc along, 20 MB that the operator never uses.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


class TritonModelConfigSchema:
    """The ModelConfigSchema port. Field names in snake_case and camelCase both count, as in protobuf JSON."""

    def problem(self, override: Mapping[str, Any]) -> str | None:
        if not override:
            return None
        message = _schema().ModelConfig
        return _message_problem(message.DESCRIPTOR, override, "") or _parse_problem(message, override)


@cache
def _schema() -> Any:
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        raise ImportError("tritonclient is not installed")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("seawall_triton_model_config_pb2", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _protobuf(name: str) -> Any:
    """Imported with the first fragment; most operators never see one."""
    return importlib.import_module(f"google.protobuf.{name}")


def _message_problem(descriptor: Any, value: Any, path: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{path}: must be an object, not {_named(value)}"
    seen: dict[str, str] = {}
    for key, inner in value.items():
        here = f"{path}.{key}" if path else str(key)
        field = _field(descriptor, key)
        if field is None:
            return f"{here}: no such field in Triton's {descriptor.name}{_suggestion(descriptor, key)}"
        if field.name in seen:
            return f"{here}: given twice, as {seen[field.name]} and as {key}"
        seen[field.name] = key
        problem = _field_problem(field, inner, here)
        if problem:
            return problem
    return None


def _field(descriptor: Any, key: Any) -> Any | None:
    if key in descriptor.fields_by_name:
        return descriptor.fields_by_name[key]
    return descriptor.fields_by_camelcase_name.get(key) if isinstance(key, str) else None


def _suggestion(descriptor: Any, key: Any) -> str:
    names = [*descriptor.fields_by_name, *descriptor.fields_by_camelcase_name]
    close = difflib.get_close_matches(str(key), names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _field_problem(field: Any, value: Any, path: str) -> str | None:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            return f"{path}: must be an object, not {_named(value)}"
        items = [(f"{path}[{key}]", inner) for key, inner in value.items()]
        return _first_problem(entry.fields_by_name["value"], items)
    if field.is_repeated:
        if not isinstance(value, list | tuple):
            return f"{path}: must be a list, not {_named(value)}"
        return _first_problem(field, [(f"{path}[{i}]", inner) for i, inner in enumerate(value)])
    return _single_problem(field, value, path)


def _first_problem(field: Any, items: list[tuple[str, Any]]) -> str | None:
    return next((p for path, inner in items if (p := _single_problem(field, inner, path))), None)


def _single_problem(field: Any, value: Any, path: str) -> str | None:
    if field.message_type is not None:
        return _message_problem(field.message_type, value, path)
    if field.enum_type is not None:
        values = field.enum_type.values_by_name
        numbers = {v.number for v in values.values()}
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value in values if isinstance(value, str) else is_number and value in numbers:
            return None
        return f"{path}: must be one of {', '.join(values)}, not {value!r}"
    return _scalar_problem(field, value, path)


def _scalar_problem(field: Any, value: Any, path: str) -> str | None:
    """protobuf's own opinion of one value, asked with a message that holds nothing else."""
    json_format = _protobuf("json_format")
    owner = _protobuf("message_factory").GetMessageClass(field.containing_type)()
    try:
        json_format.ParseDict({field.name: [value] if field.is_repeated else value}, owner)
    except json_format.ParseError as error:
        reason = str(error).removeprefix(f"Failed to parse {field.name} field: ").split(" at ")[0]
        return f"{path}: {reason.rstrip('.')}"
    return None


def _parse_problem(message: Any, override: Mapping[str, Any]) -> str | None:
    """What concerns several fields together, such as two schedulers in one model."""
    json_format = _protobuf("json_format")
    try:
        json_format.ParseDict(dict(override), message())
    except json_format.ParseError as error:
        return str(error).splitlines()[0]
    return None


def _named(value: Any) -> str:
    kinds = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "null" if value is None else type(value).__name__)
