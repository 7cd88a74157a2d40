"""Gemm as MatMul and Add.

The 4-bit quantiser writes scales for a transposed Gemm along the wrong axis: the result loads neither in
onnxruntime nor in TensorRT, so a Gemm never reaches it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from seawall.optimize.types import Array


def gemm_to_matmul(model: onnx.ModelProto) -> int:
    """Rewrites, in place, every Gemm with constant weights and no transposed input; returns how many."""
    graph = model.graph
    constants = {init.name: init for init in graph.initializer}
    nodes: list[NodeProto] = []
    count = 0
    for node in graph.node:
        made = _rewritten(node, constants, graph) if node.op_type == "Gemm" else None
        count += made is not None
        nodes += made or [node]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    kept = [init for init in graph.initializer if init.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return count


def _rewritten(
    node: NodeProto, constants: dict[str, onnx.TensorProto], graph: onnx.GraphProto
) -> list[NodeProto] | None:
    options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if options.get("transA") or node.input[1] not in constants:
        return None
    alpha, beta = options.get("alpha", 1.0), options.get("beta", 1.0)
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias and bias not in constants and beta != 1.0:
        return None
    name = node.name or node.output[0]
    weight = numpy_helper.to_array(constants[node.input[1]])
    weight = weight.T if options.get("transB") else weight
    _add(graph, f"{name}_weight", np.ascontiguousarray(weight) * np.asarray(alpha, weight.dtype))
    product = f"{name}_product" if bias else node.output[0]
    made = [helper.make_node("MatMul", [node.input[0], f"{name}_weight"], [product], name=name)]
    if bias:
        if beta != 1.0:
            value = numpy_helper.to_array(constants[bias])
            _add(graph, f"{name}_bias", value * np.asarray(beta, value.dtype))
            bias = f"{name}_bias"
        made.append(helper.make_node("Add", [product, bias], [node.output[0]], name=f"{name}_add"))
    return made


def _add(graph: onnx.GraphProto, name: str, value: Array) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
