"""A graph in bf16 or fp8 as a CPU can run it, with the same roundings, so that its accuracy can be proven.

onnxruntime has no bf16 kernels on a CPU, and fuses fp8 quantisation into operators it cannot run. In the
simulation every value that the GPU would hold in the small type is rounded to it by a pair of casts, and the
arithmetic between is in float: products are summed in float on tensor cores too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from seawall.optimize import graph as graphs
from seawall.optimize.types import Array, Graph

BF16 = TensorProto.BFLOAT16
FP8 = (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2)
FLOAT = TensorProto.FLOAT
_QUANTIZE = ("QuantizeLinear", "TRT_FP8QuantizeLinear")
_DEQUANTIZE = ("DequantizeLinear", "TRT_FP8DequantizeLinear")


def runnable(graph: Graph, folder: Path) -> Graph:
    """The graph itself where a CPU runs it; else a simulation of it, written to `folder`."""
    model = graphs.load(graph, weights=False)
    small = {init.data_type for init in model.graph.initializer} | {_cast_to(n) for n in model.graph.node}
    if BF16 not in small and not small & set(FP8) and not _trt_nodes(model):
        return graph
    model = graphs.load(graph)
    if _trt_nodes(model) or small & set(FP8):
        _open_fp8(model)
    if BF16 in small:
        _open_bf16(model)
    shutil.rmtree(folder, ignore_errors=True)
    return graphs.save(model, folder)


def _trt_nodes(model: onnx.ModelProto) -> bool:
    return any(node.op_type.startswith("TRT_FP8") for node in model.graph.node)


def _cast_to(node: NodeProto) -> int | None:
    return next((a.i for a in node.attribute if a.name == "to"), None) if node.op_type == "Cast" else None


def _open_fp8(model: onnx.ModelProto) -> None:
    """Quantise -> divide and cast; dequantise -> cast and multiply."""
    graph = model.graph
    constants = {init.name: init for init in graph.initializer}
    ranks = {name: len(init.dims) for name, init in constants.items()}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type in _QUANTIZE and node.input[0] in ranks:
            ranks[node.output[0]] = ranks[node.input[0]]
        small = _fp8_type(node, constants)
        if small is None:
            nodes.append(node)
            continue
        scale = _broadcast(node, constants, ranks.get(node.input[0], 0), graph)
        wide = constants[node.input[1]].data_type
        source, target, middle = node.input[0], node.output[0], f"{node.output[0]}_simulated"
        if node.op_type in _QUANTIZE:
            nodes.append(helper.make_node("Div", [source, scale], [middle]))
            nodes.append(helper.make_node("Cast", [middle], [target], to=small, saturate=1))
        else:
            nodes.append(helper.make_node("Cast", [source], [middle], to=wide))
            nodes.append(helper.make_node("Mul", [middle, scale], [target]))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def _fp8_type(node: NodeProto, constants: dict[str, TensorProto]) -> int | None:
    if node.op_type.startswith("TRT_FP8"):
        return int(TensorProto.FLOAT8E4M3FN)
    if node.op_type not in _QUANTIZE + _DEQUANTIZE or len(node.input) < 3:
        return None
    zero = constants.get(node.input[2])
    return int(zero.data_type) if zero is not None and zero.data_type in FP8 else None


def _broadcast(node: NodeProto, constants: dict[str, TensorProto], rank: int, graph: onnx.GraphProto) -> str:
    """A scale per channel stands on the node's axis; multiplication wants it in place of the shape."""
    scale = numpy_helper.to_array(constants[node.input[1]])
    if scale.size == 1:
        return str(node.input[1])
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [1] * rank
    shape[axis] = scale.size
    name = f"{node.output[0]}_scale"
    graph.initializer.append(numpy_helper.from_array(scale.reshape(shape), name))
    return name


def _open_bf16(model: onnx.ModelProto) -> None:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=False).graph
    held = {v.name for v in [*inferred.value_info, *inferred.output] if v.type.tensor_type.elem_type == BF16}
    graph = model.graph
    for init in graph.initializer:
        if init.data_type == BF16:
            init.CopyFrom(numpy_helper.from_array(_as_float(init), init.name))
    nodes: list[NodeProto] = []
    for node in graph.node:
        _float_attributes(node)
        rounded = [name for name in node.output if name in held]
        for index, name in enumerate(node.output):
            if name in rounded:
                node.output[index] = f"{name}_exact"
        nodes.append(node)
        for name in rounded:
            nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_bf16"], to=BF16))
            nodes.append(helper.make_node("Cast", [f"{name}_bf16"], [name], to=FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    for end in [*graph.input, *graph.output]:
        if end.type.tensor_type.elem_type == BF16:
            end.type.tensor_type.elem_type = FLOAT


def _float_attributes(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i == BF16:
            attribute.i = FLOAT
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == BF16:
            attribute.t.CopyFrom(numpy_helper.from_array(_as_float(attribute.t), attribute.t.name))


def _as_float(tensor: TensorProto) -> Array:
    return np.asarray(numpy_helper.to_array(tensor), dtype=np.float32)
