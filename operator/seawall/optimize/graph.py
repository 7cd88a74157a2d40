"""ONNX models as folders on disk, whatever their size.

Protocol buffers end at 2 GiB and a model may not, so every reader here can leave the weights where they are,
and every writer puts them beside the graph once they are large. A file names where its weights lie, which
makes it a way to read any file of the machine: no weight is read before its place is known to be inside.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from seawall.optimize.types import MODEL_FILE, Array, Graph, Refused, Signature, TensorSpec

INLINE_BYTES = 1 << 28
"""Weights above this are kept in a file of their own. A protocol buffer ends at 2 GiB, and long before that
every rewrite would hold several copies of the weights, where it needs none of them."""
WEIGHTS_FILE = "model.onnx.data"
NOTES_KEY = "seawall.notes"
_NESTED = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive, as PyTorch and Keras write them"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<", "a page of text; perhaps the address answers with a login page"),
    (b"version https://git-lfs", "a Git LFS pointer, not the model itself"),
)


def load(graph: Graph, weights: bool = True) -> Any:
    """The ModelProto; without weights, large tensors keep pointing to their file. Raises Refused."""
    model = parse(graph.path)
    require_inside(model, graph.folder)
    if weights:
        onnx.external_data_helper.load_external_data_for_model(model, str(graph.folder))
    return model


def parse(path: Path) -> Any:
    """The structure alone, nothing of it trusted yet. Raises Refused."""
    if not path.is_file():
        raise Refused("InvalidModel", f"there is no file {path.name} in the model's folder")
    with path.open("rb") as source:
        head = source.read(32)
    for magic, kind in _FOREIGN:
        if head.startswith(magic):
            raise Refused("InvalidModel", f"{path.name} is no ONNX file; it looks like {kind}")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise Refused(
            "InvalidModel",
            f"{path.name} ({path.stat().st_size} bytes) cannot be read as ONNX: the file is cut short or is"
            " something else",
        ) from error
    if not model.HasField("graph") or not model.graph.output:
        raise Refused("InvalidModel", f"{path.name} is no ONNX file: it holds no graph with outputs")
    return model


def save(model: Any, folder: Path) -> Graph:
    """Writes into a folder that holds no model yet. Takes the weights out of `model` where they are large."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = Graph(folder)
    pending = any(t.data_location == TensorProto.EXTERNAL for t in tensors(model))
    if not pending and inline_bytes(model) > INLINE_BYTES:
        onnx.save_model(
            model, graph.path, save_as_external_data=True, location=WEIGHTS_FILE, size_threshold=1024
        )
    else:
        graph.path.write_bytes(model.SerializeToString())
    return graph


def save_structure(model: Any, weights_of: Graph, folder: Path) -> Graph:
    """Writes a model that was loaded without weights, and its weight files unchanged beside it."""
    copy_weights(model, weights_of.folder, folder)
    return save(model, folder)


def copy(source: Path, folder: Path) -> Graph:
    """Takes a model file and what it keeps outside, and nothing else of its folder. Raises Refused."""
    model = parse(source)
    require_inside(model, source.parent)
    copy_weights(model, source.parent, folder)
    shutil.copyfile(source, folder / MODEL_FILE)
    return Graph(folder)


def copy_weights(model: Any, source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    outside = (t for t in tensors(model) if t.data_location == TensorProto.EXTERNAL)
    for location in sorted({location_of(tensor) for tensor in outside}):
        goal = folder / location
        goal.parent.mkdir(parents=True, exist_ok=True)
        if not goal.exists():
            shutil.copyfile(source / location, goal)


def require_inside(model: Any, folder: Path) -> None:
    """Refuses weights outside the folder, by name or by link, and weights that end after their file."""
    root = folder.resolve()
    for tensor in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = location_of(tensor)
        pure = PurePosixPath(location)
        if not location or pure.is_absolute() or ".." in pure.parts or pure.name == MODEL_FILE:
            raise _outside(tensor.name, location)
        file = folder / location
        if not file.resolve().is_relative_to(root):
            raise _outside(tensor.name, location)
        if not file.is_file():
            raise Refused(
                "InvalidModel", f"tensor {tensor.name} keeps its data in {location}, which is not there"
            )
        where = {e.key: e.value for e in tensor.external_data}
        end = int(where.get("offset") or 0) + int(where.get("length") or 0)
        if end > file.stat().st_size:
            raise Refused("InvalidModel", f"{location} is cut short: tensor {tensor.name} ends at byte {end}")


def _outside(tensor: str, location: str) -> Refused:
    message = f"tensor {tensor} keeps its data in {location!r}, outside the model's folder"
    return Refused("UnsafeModel", message)


def location_of(tensor: Any) -> str:
    return next((str(e.value) for e in tensor.external_data if e.key == "location"), "")


def nodes(graph: Any) -> Iterator[Any]:
    """All nodes of a GraphProto or FunctionProto, those of its branches and loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type in _NESTED:
                for inner in [attribute.g] if attribute.type == _NESTED[0] else attribute.graphs:
                    yield from nodes(inner)


def all_nodes(model: Any) -> Iterator[Any]:
    yield from nodes(model.graph)
    for function in model.functions:
        yield from nodes(function)


def tensors(model: Any) -> Iterator[Any]:
    """Every tensor that the model carries, in whichever corner."""
    yield from _weights(model.graph)
    for function in model.functions:
        yield from _attributes(function.node)


def _weights(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _attributes(graph.node)


def _attributes(some: Any) -> Iterator[Any]:
    for node in some:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.TENSORS:
                yield from attribute.tensors
            elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                yield attribute.sparse_tensor.values
                yield attribute.sparse_tensor.indices
            elif attribute.type in _NESTED:
                for inner in [attribute.g] if attribute.type == _NESTED[0] else attribute.graphs:
                    yield from _weights(inner)


def tensor_bytes(tensor: Any) -> int:
    """By type and shape, so that it is right for weights that were not loaded."""
    count = int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1
    if tensor.data_type == TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return (count + 1) // 2
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def weight_bytes(model: Any) -> int:
    return sum(tensor_bytes(tensor) for tensor in tensors(model))


def inline_bytes(model: Any) -> int:
    return sum(tensor_bytes(t) for t in tensors(model) if t.data_location != TensorProto.EXTERNAL)


def initialisers(model: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def array(tensor: Any, folder: Path) -> Array:
    """The values of one tensor, read from its file where it is kept outside."""
    return onnx.numpy_helper.to_array(tensor, str(folder))  # type: ignore[no-any-return]


def signature(graph: Graph) -> Signature:
    return signature_of(load(graph, weights=False))


def signature_of(model: Any) -> Signature:
    """Raises Refused for inputs and outputs that no server can take: sequences, unknown shapes."""
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(value, "input") for value in model.graph.input if value.name not in given)
    outputs = tuple(_spec(value, "output") for value in model.graph.output)
    every = (*inputs, *outputs)
    batched = bool(inputs) and all(spec.shape and spec.shape[0] is None for spec in every)
    return Signature(inputs, outputs, batched)


def _spec(value: Any, role: str) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise Refused("InvalidModel", f"{role} {value.name} is a {kind or 'value without type'}, no tensor")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise Refused("InvalidModel", f"{role} {value.name} has no shape; export the model with shapes")
    if tensor.elem_type == TensorProto.STRING:
        dtype = "object"
    else:
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        except KeyError as error:
            raise Refused("InvalidModel", f"{role} {value.name} has elements of no known type") from error
    dims = (d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)
    return TensorSpec(value.name, dtype, tuple(dims))


def session(graph: Graph, threads: int = 1, optimised: bool = True) -> Any:
    """An ONNX Runtime session on the CPU. Raises Refused where ONNX Runtime will not have the model."""
    require_inside(parse(graph.path), graph.folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # a thread that spins for work takes the core from whatever else is measured in the same rounds
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class but Exception
        sentence = " ".join(str(error).split())[:400]
        raise Refused("InvalidModel", f"ONNX Runtime cannot load the model: {sentence}") from error


def run(running: Any, inputs: dict[str, Array]) -> list[Array]:
    """One answer. Raises Refused where the model fails on inputs that fit its signature."""
    try:
        return list(running.run(None, inputs))
    except Exception as error:  # its exceptions share no base class but Exception
        sentence = " ".join(str(error).split())[:400]
        raise Refused("InvalidModel", f"ONNX Runtime cannot run the model: {sentence}") from error


def notes(graph: Graph) -> tuple[str, ...]:
    """What the conversion left as it was and why; kept in the model itself, so that it cannot be lost."""
    kept = [p.value for p in parse(graph.path).metadata_props if p.key == NOTES_KEY]
    return tuple(kept[0].split("\n")) if kept else ()


def add_notes(model: Any, some: tuple[str, ...]) -> None:
    if some:
        entry = model.metadata_props.add()
        entry.key, entry.value = NOTES_KEY, "\n".join(some)
