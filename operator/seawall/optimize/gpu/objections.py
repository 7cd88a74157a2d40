"""What TensorRT's parser is known to refuse in a quantised graph, told without TensorRT.

A graph that onnxruntime's own quantisers made for a CPU runs there and is refused by TensorRT; these are the
constructs that were seen refused, each checked against the real parser in tests/gpu.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from seawall.optimize import graph as graphs
from seawall.optimize.types import Graph

DYNAMIC = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul")
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
SIGNED = (TensorProto.INT8, TensorProto.INT4)
UNSIGNED = (TensorProto.UINT8, TensorProto.UINT16, TensorProto.INT16)


def objections(graph: Graph, most: int = 5) -> tuple[str, ...]:
    """One sentence per node, the first `most` of them; none where nothing is known against the graph."""
    model = graphs.load(graph)
    constants = {init.name: init for init in model.graph.initializer}
    found: list[str] = []
    for node in model.graph.node:
        found += [f"node {node.name or node.output[0]}: {text}" for text in _against(node, constants)]
    return tuple(found[:most])


def _against(node: NodeProto, constants: dict[str, TensorProto]) -> Iterator[str]:
    if node.op_type in DYNAMIC:
        yield f"{node.op_type} quantises at run time; TensorRT wants QuantizeLinear and DequantizeLinear"
    if node.op_type == "MatMulNBits" and _in_float(constants.get(node.input[2])):
        yield "MatMulNBits with activations in float; TensorRT takes it in fp16 only"
    if node.op_type in QUANTISERS:
        yield from _scaling(node, constants)


def _in_float(scales: TensorProto | None) -> bool:
    """Scales are of the activations' type."""
    return scales is not None and scales.data_type == TensorProto.FLOAT


def _scaling(node: NodeProto, constants: dict[str, TensorProto]) -> Iterator[str]:
    source = constants.get(node.input[0])
    if node.op_type == "DequantizeLinear" and source is not None and source.data_type == TensorProto.INT32:
        yield "a bias quantised to int32 cannot be dequantised by TensorRT"
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero is not None and zero.data_type in UNSIGNED:
        kind = onnx.TensorProto.DataType.Name(zero.data_type).lower()
        yield f"{kind} quantisation; TensorRT takes signed 8 bits, symmetric"
    elif zero is not None and zero.data_type in SIGNED and np.any(numpy_helper.to_array(zero)):
        yield "a zero point other than zero; TensorRT quantises symmetrically"
    if source is not None and _blocked_wrongly(node, source, constants.get(node.input[1])):
        yield "a scale in blocks along another axis than the one of quantisation"


def _blocked_wrongly(node: NodeProto, source: TensorProto, scale: TensorProto | None) -> bool:
    options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if scale is None or not options.get("block_size") or len(scale.dims) != len(source.dims):
        return False
    axis = options.get("axis", 1) % len(source.dims)
    return any(s != w for i, (s, w) in enumerate(zip(scale.dims, source.dims, strict=True)) if i != axis)
