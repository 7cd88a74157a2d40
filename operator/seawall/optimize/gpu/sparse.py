"""2:4 sparsity: of every four weights along the input channels, the two smallest become zero.

That is the layout NVIDIA's sparse tensor cores skip over. It changes neither the file's size nor its speed
anywhere else, and without fine-tuning most models do not survive it: the accuracy gate decides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = npt.NDArray[np.floating]


def prune_2_4(model: onnx.ModelProto) -> tuple[str, ...]:
    """Prunes, in place, what the tensor cores can skip over; returns the names of those weights."""
    pruned = list(_places(model))
    for tensor, axis in pruned:
        weights = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(pruned_along(weights, axis), tensor.name))
    return tuple(tensor.name for tensor, _ in pruned)


def dense(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the weights that could be 2:4 and are not."""
    return tuple(
        tensor.name
        for tensor, axis in _places(model)
        if not np.array_equal(pruned_along(found := numpy_helper.to_array(tensor), axis), found)
    )


def _places(model: onnx.ModelProto) -> Iterator[tuple[TensorProto, int]]:
    """Weights, each once, with the axis of their input channels."""
    constants = {init.name: init for init in model.graph.initializer}
    seen = set[str]()
    for node in model.graph.node:
        axis = _input_axis(node)
        if axis is None or len(node.input) < 2 or node.input[1] not in constants:
            continue
        tensor = constants[node.input[1]]
        kind = tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
        if kind and len(tensor.dims) >= 2 and tensor.dims[axis] % 4 == 0 and tensor.name not in seen:
            seen.add(tensor.name)
            yield tensor, axis


def pruned_along(weights: Weights, axis: int) -> Weights:
    moved = np.moveaxis(weights, axis, -1)
    groups = moved.reshape(-1, 4).copy()
    smallest = np.argsort(np.abs(groups), axis=1, kind="stable")[:, :2]
    np.put_along_axis(groups, smallest, 0, axis=1)
    return np.ascontiguousarray(np.moveaxis(groups.reshape(moved.shape), -1, axis))


def _input_axis(node: onnx.NodeProto) -> int | None:
    """Where the input channels lie in the weights; TensorRT looks for zeros along them."""
    if node.op_type == "Conv":
        grouped = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "group"), 1)
        return 1 if grouped == 1 else None
    if node.op_type == "MatMul":
        return -2
    if node.op_type == "Gemm":
        transposed = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "transB"), 0)
        return 1 if transposed else 0
    return None
