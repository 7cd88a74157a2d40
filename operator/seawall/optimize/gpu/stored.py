"""Constant weights stored as what they are quantised to: the artefact is small, and not only the engine.

The quantiser leaves the weights in fp16 with a QuantizeLinear behind them; a GPU's builder would compute the
same numbers from them, each time.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from seawall.optimize.types import Array

_FP8_MOST = 448.0


def store_quantised(model: onnx.ModelProto) -> int:
    """In place; returns how many weights were quantised for good."""
    graph = model.graph
    constants = {init.name: init for init in graph.initializer}
    kept: list[NodeProto] = []
    count = 0
    for node in graph.node:
        made = _quantised(node, constants) if node.op_type == "QuantizeLinear" else None
        if made is None:
            kept.append(node)
        else:
            graph.initializer.append(made)
            count += 1
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in graph.node for name in node.input} | {end.name for end in graph.output}
    left = [init for init in graph.initializer if init.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)
    return count


def _quantised(node: NodeProto, constants: dict[str, TensorProto]) -> TensorProto | None:
    if len(node.input) < 3 or not all(name in constants for name in node.input):
        return None
    weights, scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input)
    kind = constants[node.input[2]].data_type
    if kind not in (TensorProto.INT8, TensorProto.FLOAT8E4M3FN) or np.any(zero.astype(np.float32)):
        return None
    axis = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "axis"), 1)
    steps = weights.astype(np.float32) / _along(scale.astype(np.float32), axis, weights.ndim)
    if kind == TensorProto.INT8:
        small: Array = np.clip(np.rint(steps), -128, 127).astype(np.int8)
    else:
        small = np.clip(steps, -_FP8_MOST, _FP8_MOST).astype(ml_dtypes.float8_e4m3fn)
    return numpy_helper.from_array(small, node.output[0])


def _along(scale: Array, axis: int, rank: int) -> Array:
    if scale.size == 1:
        return scale.reshape(())
    return scale.reshape([-1 if i == axis % rank else 1 for i in range(rank)])
