"""Nodes that see the huge constants of attention masks, such as -3.4e38.

Such a constant becomes the minimum of a calibrated range, whose 255 steps then leave no room for the values
that matter: MiniLM's answers fall from cosine 0.99 to 0.34. Static quantisation keeps away from these nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.types import Graph

HUGE = 5e3
"""Larger than any activation of a network that trains, smaller than any mask"""
_STOPS = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Greater", "Less", "Equal", "Shape", "ArgMax")


def touched(model: Any, graph: Graph) -> frozenset[str]:
    """Names of the float nodes that read such a constant or what is computed from it, up to the Softmax."""
    huge = {tensor.name for tensor in model.graph.initializer if _is_huge(tensor, graph)}
    found = set()
    for node in model.graph.node:
        if node.op_type == "Constant" and any(
            (a.name == "value" and _is_huge(a.t, graph)) or (a.name == "value_float" and abs(a.f) > HUGE)
            for a in node.attribute
        ):
            huge.add(node.output[0])
        elif huge.intersection(node.input):
            found.add(node.name)
            if node.op_type not in _STOPS:
                huge.update(node.output)
    return frozenset(found)


def _is_huge(tensor: Any, graph: Graph) -> bool:
    """Small tensors only: a mask constant is a scalar or a triangle, never a weight."""
    if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        return False
    if graphs.tensor_bytes(tensor) > (1 << 24):
        return False
    values = graphs.array(tensor, graph.folder)
    return bool(values.size) and float(np.max(np.abs(values))) > HUGE
