"""int4 weights for ONNX Runtime on CPUs: MatMulNBits and GatherBlockQuantized, in blocks of 32.

Weights alone are rounded; products are computed in 8 bits. It is a matter of size: of time only at batch 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.capi._pybind_state import quantize_matmul_4bits

from seawall.optimize import graph as graphs
from seawall.optimize.compress import rank, search, tidy
from seawall.optimize.types import Array, Compressed, Context, Graph, Refused

BLOCK = 32
_INT8_PRODUCTS = 4
"""accuracy_level of MatMulNBits: activations rounded to 8 bits, which CPUs multiply several at once"""
_KINDS = ("MatMul", "Gather")
_DOMAIN = "com.microsoft"


def compress(graph: Graph, context: Context, folder: Path) -> Compressed:
    """Raises Refused where there is nothing to quantise or nothing shrinks."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        scratch = Path(place)
        split = tidy.prepared(graph, scratch / "split", None, split_gemm=True)
        method = _method(split, context)
        if not _chosen(graphs.load(split, weights=False)):
            raise Refused(
                "CompressionFailed",
                "int4 finds nothing to do: the model has no MatMul, Gemm or Gather with constant float32"
                " weights",
            )
        (tries := scratch / "tries").mkdir()
        result = search.best([[method]], graph, context, tries, scratch / "best")
        small = tidy.shrunk(result.graph, graph, folder)
    return Compressed(small, result.method, result.excluded, result.tried)


def _method(graph: Graph, context: Context) -> search.Method:
    def build(excluded: frozenset[str], folder: Path) -> Graph:
        model = graphs.load(graph)
        quantise(model, excluded)
        return graphs.save(model, folder)

    return search.Method(
        f"int4 weights, MatMul+Gemm+Gather, blocks of {BLOCK}, asymmetric",
        build,
        lambda: rank.ranked(
            graph, _chosen(graphs.load(graph, weights=False)), context.calibration, rounded, activations=False
        ),
    )


def _chosen(model: Any) -> dict[str, str]:
    constants = graphs.initialisers(model)
    fitting = {
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" or (node.op_type == "Gather" and _axis(node) == 0)
    }
    return {
        name: weight
        for name, weight in tidy.weighted(model).items()
        if name in fitting and len(constants[weight].dims) == 2
    }


def _axis(node: Any) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 0)


def quantise(model: Any, excluded: frozenset[str]) -> None:
    """In place, all nodes that have a matrix of weights, except these."""
    chosen = {name: weight for name, weight in _chosen(model).items() if name not in excluded}
    done: dict[tuple[str, str], list[str]] = {}
    fresh: list[Any] = []
    for node in model.graph.node:
        if node.name not in chosen or node.op_type not in _KINDS:
            fresh.append(node)
            continue
        weight = chosen[node.name]
        key = (node.op_type, weight)
        if key not in done:
            values = onnx.numpy_helper.to_array(graphs.initialisers(model)[weight])
            parts = (
                _matmul_parts(weight, values) if node.op_type == "MatMul" else _gather_parts(weight, values)
            )
            model.graph.initializer.extend(parts)
            done[key] = [part.name for part in parts]
        dims = tuple(graphs.initialisers(model)[weight].dims)
        fresh.append(_replacement(node, done[key], dims))
    del model.graph.node[:]
    model.graph.node.extend(fresh)
    tidy.drop_unused(model)
    if not any(entry.domain == _DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))


def _replacement(node: Any, parts: list[str], dims: tuple[int, ...]) -> Any:
    if node.op_type == "Gather":
        return onnx.helper.make_node(
            "GatherBlockQuantized",
            [parts[0], node.input[1], *parts[1:]],
            list(node.output),
            name=node.name,
            domain=_DOMAIN,
            gather_axis=0,
            quantize_axis=1,
            block_size=BLOCK,
        )
    return onnx.helper.make_node(
        "MatMulNBits",
        [node.input[0], *parts],
        list(node.output),
        name=node.name,
        domain=_DOMAIN,
        K=dims[0],
        N=dims[1],
        bits=4,
        block_size=BLOCK,
        accuracy_level=_INT8_PRODUCTS,
    )


def _matmul_parts(name: str, weights: Array) -> list[Any]:
    rows, columns = weights.shape
    blocks = -(-rows // BLOCK)
    packed = np.zeros((columns, blocks, BLOCK // 2), np.uint8)
    scales = np.zeros(columns * blocks, np.float32)
    zeros = np.zeros(columns * ((blocks + 1) // 2), np.uint8)
    quantize_matmul_4bits(packed, np.ascontiguousarray(weights), scales, zeros, BLOCK, columns, rows, False)
    return [
        onnx.numpy_helper.from_array(values, f"{name}/matmul/{part}")
        for part, values in (("int4", packed), ("scales", scales), ("zeros", zeros))
    ]


def _gather_parts(name: str, weights: Array) -> list[Any]:
    steps, scales, zeros = _blocks(weights)
    kind = onnx.TensorProto.UINT4
    return [
        onnx.helper.make_tensor(f"{name}/gather/int4", kind, weights.shape, _packed(steps), raw=True),
        onnx.numpy_helper.from_array(scales, f"{name}/gather/scales"),
        onnx.helper.make_tensor(f"{name}/gather/zeros", kind, zeros.shape, _packed(zeros), raw=True),
    ]


def _blocks(weights: Array) -> tuple[Array, Array, Array]:
    """Steps, scales and zero points of blocks along the rows."""
    rows, columns = weights.shape
    blocks = -(-columns // BLOCK)
    padded = np.zeros((rows, blocks * BLOCK), np.float32)
    padded[:, :columns] = weights
    padded = padded.reshape(rows, blocks, BLOCK)
    low, high = np.minimum(padded.min(axis=2), 0), np.maximum(padded.max(axis=2), 0)
    scales = (high - low) / 15
    divisor = np.where(scales == 0, 1, scales)
    zeros = np.where(scales == 0, 8, np.rint(-low / divisor)).clip(0, 15)
    steps = np.rint(padded / divisor[:, :, None] + zeros[:, :, None]).clip(0, 15).astype(np.uint8)
    return steps.reshape(rows, -1)[:, :columns], scales.astype(np.float32), zeros.astype(np.uint8)


def _packed(nibbles: Array) -> bytes:
    flat = nibbles.reshape(-1)
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return bytes((flat[::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes())


def rounded(weights: Array, node: Any) -> Array:
    """Through four bits and back, as the node would be."""
    by_row = weights if node.op_type == "Gather" else weights.T
    steps, scales, zeros = _blocks(by_row)
    wide = [np.repeat(part, BLOCK, axis=1)[:, : by_row.shape[1]] for part in (scales, zeros)]
    back = ((steps.astype(np.float32) - wide[1]) * wide[0]).astype(weights.dtype)
    return back if node.op_type == "Gather" else np.ascontiguousarray(back.T)
