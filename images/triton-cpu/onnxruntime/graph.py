"""What an ONNX graph offers, in Triton's terms, and where a model's configuration says otherwise.

Triton hands over requests that fit the configuration. When that disagrees with the graph, each request
would fail with words about a tensor's rank; told at load time, it becomes one sentence that names the
tensor and both readings of it, and reaches the person who applied the service.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


class InvalidModel(Exception):
    """The graph cannot be served as it is, or not with this configuration."""


@dataclass(frozen=True)
class Tensor:
    """One input or output; -1 stands for a dimension that the graph leaves open."""

    name: str
    type: str
    dims: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.type} {list(self.dims)}"


def read_tensors(arguments: Iterable[Any]) -> dict[str, Tensor]:
    """The arguments of an ONNX Runtime session, by name."""
    tensors = {}
    for argument in arguments:
        known = TRITON_TYPES.get(argument.type)
        if known is None:
            raise InvalidModel(
                f"{argument.name!r} is a {argument.type}, which Triton's Python interface cannot carry; "
                "export the model with plain tensors of another type at its ends"
            )
        dims = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
        tensors[argument.name] = Tensor(argument.name, known, dims)
    return tensors


def configured(entry: Mapping[str, Any], max_batch_size: int) -> Tensor:
    """An input or output of config.pbtxt as the graph sees it: reshaped, and with its batch dimension."""
    reshape = entry.get("reshape") or {}
    dims = reshape.get("shape", []) if "reshape" in entry else entry["dims"]
    batch = (-1,) if max_batch_size > 0 else ()
    return Tensor(entry["name"], entry["data_type"], (*batch, *(int(size) for size in dims)))


def _difference(kind: str, wanted: Tensor, offered: Tensor, max_batch_size: int) -> str | None:
    if wanted.type != offered.type:
        return f"{kind} {wanted.name!r} is {offered.type} in the graph and {wanted.type} in the configuration"
    if max_batch_size > 0 and offered.dims and offered.dims[0] not in (-1, max_batch_size):
        return (
            f"{kind} {wanted.name!r} has a fixed first dimension of {offered.dims[0]} in the graph: "
            f"max_batch_size must be 0, not {max_batch_size}, or the model exported with an open batch size"
        )
    agree = len(wanted.dims) == len(offered.dims) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(wanted.dims, offered.dims, strict=True)
    )
    if agree:
        return None
    batched = " (the first is the batch)" if max_batch_size > 0 else ""
    return (
        f"{kind} {wanted.name!r} has dimensions {list(offered.dims)} in the graph "
        f"and {list(wanted.dims)} in the configuration{batched}"
    )


def _differences(
    kind: str, entries: Sequence[Mapping[str, Any]], offered: Mapping[str, Tensor], max_batch_size: int
) -> list[str]:
    found = []
    for entry in entries:
        name, wanted = entry["name"], configured(entry, max_batch_size)
        if name not in offered:
            found.append(f"{kind} {name!r} is not in the graph, which has {', '.join(sorted(offered))}")
        elif difference := _difference(kind, wanted, offered[name], max_batch_size):
            found.append(difference)
    return found


def check(
    config: Mapping[str, Any],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    overridable: Mapping[str, Tensor],
) -> None:
    """Raise InvalidModel with everything in which the configuration and the graph disagree."""
    max_batch_size = int(config.get("max_batch_size", 0))
    entries = config.get("input", [])
    found = _differences("input", entries, {**overridable, **inputs}, max_batch_size)
    forgotten = sorted(set(inputs) - {entry["name"] for entry in entries})
    found += [f"input {name!r} of the graph is missing in the configuration" for name in forgotten]
    found += _differences("output", config.get("output", []), outputs, max_batch_size)
    if found:
        raise InvalidModel("; ".join(found))


def completions(
    present: Sequence[Mapping[str, Any]], offered: Mapping[str, Tensor], max_batch_size: int
) -> list[dict[str, Any]]:
    """The entries that a configuration without any lacks; one that names some is left as it is."""
    if present:
        return []
    drop = 1 if max_batch_size > 0 else 0
    return [
        {"name": tensor.name, "data_type": tensor.type, "dims": list(tensor.dims[drop:])}
        for tensor in offered.values()
    ]


def threads(parameters: Mapping[str, Any], name: str, default: str) -> int:
    """A number of threads: the model's own parameter, else the default of the container."""
    text = parameters.get(name, {}).get("string_value", default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise InvalidModel(f"{name} is {text!r}; it must be a whole number from 1 to 1024")
    return int(text)
