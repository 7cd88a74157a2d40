"""What compresses on a TPU: bf16 throughout, or int8 weights that are multiplied out before they are used.

Both are made in the ONNX graph, so that they are proven like every other preset before they are exported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seawall.optimize import graph as graphs
from seawall.optimize.gpu.quantize import below_floor, measured
from seawall.optimize.gpu.tables import round_to
from seawall.optimize.types import Array, Compressed, Context, Graph, Refused

FLOAT, BF16 = TensorProto.FLOAT, TensorProto.BFLOAT16
_WEIGHTED = {"Conv": 0, "MatMul": 1, "Gemm": 1}
"""operators with constant weights, and the axis of their output channels"""
SMALLEST = 256
"""elements; below that scales cost more than they save"""


def compress(step: str, graph: Graph, context: Context, folder: Path) -> Compressed:
    """Raises Refused where the preset is no TPU's or the result is not right enough."""
    model = graphs.load(graph)
    if step == "bf16":
        to_bf16(model)
        method = "bf16 throughout, inputs and outputs kept"
    elif step == "int8":
        count = int8_weights(model)
        if not count:
            raise Refused("PresetUnsupported", "no layer has constant weights that int8 would shrink")
        method = f"int8 weights per channel, {count} layers, activations as they were"
    else:
        raise Refused("PresetUnsupported", f"{step} is no preset of a TPU: there are bf16 and int8")
    made = graphs.save(model, folder)
    proof = measured(made, context, folder.with_name(f"{folder.name}-simulated"))
    if not proof.passed:
        raise below_floor(step, proof, 0, 0)
    return Compressed(made, method)


def to_bf16(model: onnx.ModelProto) -> None:
    graph = model.graph
    for init in graph.initializer:
        if init.data_type == FLOAT:
            round_to(init, BF16)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = BF16
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == FLOAT:
                round_to(attribute.t, BF16)
    del graph.value_info[:]
    constant = {init.name for init in graph.initializer}
    before = [_cast(graph, end.name, f"{end.name}_bf16", BF16, read=True) for end in graph.input
              if end.type.tensor_type.elem_type == FLOAT and end.name not in constant]  # fmt: skip
    after = [_cast(graph, f"{end.name}_bf16", end.name, FLOAT, read=False) for end in graph.output
             if end.type.tensor_type.elem_type == FLOAT]  # fmt: skip
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast(graph: onnx.GraphProto, source: str, target: str, to: int, *, read: bool) -> onnx.NodeProto:
    """Everything inside goes by the cast name; the outer one stays the model's."""
    outer, inner = (source, target) if read else (target, source)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == outer:
                    names[index] = inner
    return helper.make_node("Cast", [source], [target], to=to)


def int8_weights(model: onnx.ModelProto) -> int:
    """In place; returns how many weights became int8 with a scale per output channel."""
    graph = model.graph
    constants = {init.name: init for init in graph.initializer}
    done: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        axis = _WEIGHTED.get(node.op_type)
        weight = constants.get(node.input[1]) if axis is not None and len(node.input) > 1 else None
        if axis is not None and weight is not None and weight.data_type == FLOAT:
            values = numpy_helper.to_array(weight)
            if values.ndim >= 2 and values.size >= SMALLEST:
                if weight.name not in done:
                    axis = _channels(node, axis, values.ndim)
                    nodes.append(_dequantised(graph, weight.name, values, axis))
                    done[weight.name] = nodes[-1].output[0]
                node.input[1] = done[weight.name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [init for init in graph.initializer if init.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return len(done)


def _channels(node: onnx.NodeProto, axis: int, rank: int) -> int:
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return axis if node.op_type == "Conv" else rank - 1


def _dequantised(graph: onnx.GraphProto, name: str, values: Array, axis: int) -> onnx.NodeProto:
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.maximum(np.abs(values).max(others), np.finfo(np.float32).tiny).astype(np.float32) / 127
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    steps = np.clip(np.rint(values / scale.reshape(shape)), -127, 127).astype(np.int8)
    graph.initializer.append(numpy_helper.from_array(steps, f"{name}_int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
    return helper.make_node(
        "DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [f"{name}_wide"], axis=axis
    )
