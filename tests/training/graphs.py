"""Small ONNX graphs with seeded weights, written by hand, for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.types import Graph

Given = dict[str, np.ndarray]
CLASSES = 3


def weights(*shape: int, seed: int = 0, scale: float = 0.5) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(op, inputs.split(), [output], **attributes)


def saved(
    folder: Path,
    nodes: Sequence[Any],
    given: Given,
    shape: Sequence[Any],
    output: str = "y",
    width: Any = CLASSES,
) -> Graph:
    out = ["batch", width] if isinstance(width, int) else list(width)
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))],
        [onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, out)],
        [onnx.numpy_helper.from_array(value, name) for name, value in given.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return graphs.save(model, folder)


def convolutional(folder: Path, channels: int = 16, final: str | None = None) -> Graph:
    """8x8 pictures, flattened by the Reshape that PyTorch's exporter writes."""
    nodes = [
        node("Conv", "x w1 b1", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b w2 b2", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "d"),
        node("MaxPool", "d", "e", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "e shape", "f", allowzero=1),
        node("Gemm", "f w3 b3", "g", transB=1),
        node("Relu", "g", "h"),
        node("Gemm", "h w4 b4", "y" if final is None else "i", transB=1),
    ]
    if final is not None:
        nodes.append(node(final, "i", "y", axis=1))
    flat = 2 * channels * 16
    given = {
        "w1": weights(channels, 1, 3, 3, seed=1),
        "b1": weights(channels, seed=2),
        "w2": weights(2 * channels, channels, 3, 3, seed=3, scale=0.2),
        "b2": weights(2 * channels, seed=4),
        "w3": weights(32, flat, seed=5, scale=0.1),
        "b3": weights(32, seed=6),
        "w4": weights(CLASSES, 32, seed=7),
        "b4": weights(CLASSES, seed=8),
        "shape": np.array([-1, flat], np.int64),
    }
    return saved(folder, nodes, given, ["batch", 1, 8, 8])


def pictures(count: int, seed: int) -> np.ndarray:
    """Bright spots in one of three corners, under noise."""
    random = np.random.default_rng(seed)
    made = random.standard_normal((count, 1, 8, 8)).astype(np.float32) * 0.3
    for index, kind in enumerate(random.integers(0, CLASSES, count)):
        row, column = ((0, 0), (0, 4), (4, 0))[kind]
        made[index, 0, row : row + 4, column : column + 4] += 1.5
    return made
