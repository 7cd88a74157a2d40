"""What an ONNX file says about itself: checked, and its inputs and outputs in Triton's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from seawall.fetch.problem import FetchProblem, invalid_model

TYPES = {
    TensorProto.BOOL: "TYPE_BOOL",
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.UINT16: "TYPE_UINT16",
    TensorProto.UINT32: "TYPE_UINT32",
    TensorProto.UINT64: "TYPE_UINT64",
    TensorProto.INT8: "TYPE_INT8",
    TensorProto.INT16: "TYPE_INT16",
    TensorProto.INT32: "TYPE_INT32",
    TensorProto.INT64: "TYPE_INT64",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.FLOAT: "TYPE_FP32",
    TensorProto.DOUBLE: "TYPE_FP64",
    TensorProto.STRING: "TYPE_STRING",
    TensorProto.BFLOAT16: "TYPE_BF16",
}
_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    data_type: str
    shape: tuple[int | str, ...]
    """a number, or the symbol (possibly empty) of a dimension that varies"""

    @property
    def batched(self) -> bool:
        """Whether the first dimension varies, so that it can be the batch."""
        return bool(self.shape) and isinstance(self.shape[0], str)


@dataclass(frozen=True, slots=True)
class Signature:
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def inspect(path: Path) -> Signature:
    """Checks the model and reads its signature, without its external data. Raises FetchProblem."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise invalid_model(f"{path.name} is no ONNX file: {error}") from error
    if not model.HasField("graph") or not model.graph.output:
        raise invalid_model(f"{path.name} is no ONNX file: it holds no graph with outputs")
    _require_external_data_inside(model.graph, path.parent)
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        first = " ".join(str(error).split())[:400]
        raise invalid_model(f"{path.name} is not valid ONNX: {first}") from error
    given = {initializer.name for initializer in model.graph.initializer}
    return Signature(
        tuple(_tensor(value, "input") for value in model.graph.input if value.name not in given),
        tuple(_tensor(value, "output") for value in model.graph.output),
    )


def _tensor(value: Any, role: str) -> Tensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise invalid_model(
            f"{role} {value.name} is a {kind or 'value without type'}; Triton takes tensors only"
        )
    data_type = TYPES.get(value.type.tensor_type.elem_type)
    if data_type is None:
        name = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        raise invalid_model(f"{role} {value.name} has elements of type {name}, which Triton does not know")
    if not value.type.tensor_type.HasField("shape"):
        raise invalid_model(
            f"{role} {value.name} has no shape; export the model with shapes (onnx.shape_inference may help)"
        )
    dims = value.type.tensor_type.shape.dim
    return Tensor(
        value.name,
        data_type,
        tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param for d in dims),
    )


def _require_external_data_inside(graph: Any, folder: Path) -> None:
    for tensor in _tensors(graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if not location or PurePosixPath(location).is_absolute() or ".." in PurePosixPath(location).parts:
            raise invalid_model(f"tensor {tensor.name} keeps its data in {location!r}, outside the folder")
        if not (folder / location).is_file():
            raise invalid_model(
                f"tensor {tensor.name} keeps its data in {location}, which was not fetched;"
                " let spec.model.uri name the folder (with a / at the end) and set spec.model.format: onnx"
            )


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type in _GRAPHS:
                for inner in (attribute.g, *attribute.graphs):
                    yield from _tensors(inner)


def io_config(signature: Signature, max_batch_size: int) -> dict[str, Any]:
    """`input` and `output` of the ModelConfig; with batches, the first dimension is Triton's own."""
    return {
        "input": [_io(tensor, max_batch_size, "input") for tensor in signature.inputs],
        "output": [_io(tensor, max_batch_size, "output") for tensor in signature.outputs],
    }


def _io(tensor: Tensor, max_batch_size: int, role: str) -> dict[str, Any]:
    shape = tensor.shape
    if max_batch_size > 0:
        if not tensor.batched:
            raise _fixed_batch(tensor, role)
        shape = shape[1:]
    dims = [size if isinstance(size, int) else -1 for size in shape]
    io: dict[str, Any] = {"name": tensor.name, "data_type": tensor.data_type, "dims": dims or [1]}
    if not dims:
        io["reshape"] = {"shape": []}  # Triton has no tensors of rank zero
    return io


def _fixed_batch(tensor: Tensor, role: str) -> FetchProblem:
    shape = f"[{', '.join(str(d) or '?' for d in tensor.shape)}]"
    return invalid_model(
        f"{role} {tensor.name} has the shape {shape}: its first dimension does not vary, so Triton cannot"
        " batch; export the model with a dynamic batch dimension or set spec.model.maxBatchSize: 0"
    )


def natural_batch_size(signature: Signature, default: int) -> int:
    """What to batch up to where the spec does not say: `default` if every first dimension is the same one."""
    tensors = (*signature.inputs, *signature.outputs)
    symbols = {tensor.shape[0] for tensor in signature.inputs if tensor.shape}
    return default if tensors and all(t.batched for t in tensors) and len(symbols) == 1 else 0


def warmup(signature: Signature, max_batch_size: int) -> list[dict[str, Any]]:
    """Samples of zeros at batch 1 and at the largest; none where a shape would have to be guessed."""
    batched = max_batch_size > 0
    inputs: dict[str, Any] = {}
    for tensor in signature.inputs:
        shape = tensor.shape[1:] if batched else tensor.shape
        tokens = tensor.data_type in ("TYPE_INT32", "TYPE_INT64") and len(shape) == 1
        if tensor.data_type == "TYPE_STRING" or not (tokens or all(isinstance(d, int) for d in shape)):
            return []
        dims = [d if isinstance(d, int) else WARMUP_TOKENS for d in shape]
        inputs[tensor.name] = {"data_type": tensor.data_type, "dims": dims or [1], "zero_data": True}
    if not inputs:
        return []
    sizes = sorted({1, max_batch_size}) if batched else [1]
    return [{"name": f"batch-{size}", "batch_size": size, "inputs": inputs} for size in sizes]


WARMUP_TOKENS = 16
"""Length of the sequences in a warm-up of a model that takes sequences of any length."""
