"""Small ONNX models with seeded weights, written where a test says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seawall.optimize.graph import save
from seawall.optimize.types import Graph

FLOAT = TensorProto.FLOAT


def floats(name: str, *shape: int, seed: int = 0, scale: float = 0.1) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(scale)
    return numpy_helper.from_array(values, name)


def constant(name: str, values: Any, dtype: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def value(name: str, shape: Sequence[Any], kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
    opset: int = 18,
    domains: Sequence[str] = (),
) -> Any:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(weights))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def cnn(batch: Any = "batch", channels: int = 16, opset: int = 18) -> Any:
    """Images of 1x8x8 -> four scores, by two convolutions and two Gemms."""
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("MaxPool", ["r2"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g"], name="gemm1", transB=1),
        helper.make_node("Relu", ["g"], ["r3"], name="relu3"),
        helper.make_node("Gemm", ["r3", "w4"], ["scores"], name="gemm2", transB=1),
    ]
    weights = [
        floats("w1", channels, 1, 3, 3, seed=1, scale=0.5),
        floats("b1", channels, seed=2),
        floats("w2", channels, channels, 3, 3, seed=3),
        floats("w3", 64, channels * 16, seed=4),
        floats("b3", 64, seed=5),
        floats("w4", 4, 64, seed=6, scale=0.3),
    ]
    return model(nodes, [value("image", [batch, 1, 8, 8])], [value("scores", [batch, 4])], weights, opset)


def tokens(mask: bool = True, width: int = 64, vocabulary: int = 200) -> Any:
    """Token ids -> an embedding: Gather, attention with a mask constant of -3.4e38, two MatMuls, a mean."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["e"], name="embed"),
        node("MatMul", ["e", "wq"], ["q"], name="query"),
        node("MatMul", ["e", "wk"], ["k"], name="key"),
        node("Transpose", ["k"], ["kt"], name="turn", perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["s"], name="scores"),
        node("Greater", ["ids", "zero"], ["real"], name="real"),
        node("Unsqueeze", ["real", "one"], ["row"], name="row"),
        node("Where", ["row", "nothing", "huge"], ["m"], name="mask"),
        node("Add", ["s", "m" if mask else "nothing"], ["sm"], name="masked"),
        node("Softmax", ["sm"], ["p"], name="softmax", axis=-1),
        node("MatMul", ["p", "e"], ["a"], name="attend"),
        node("MatMul", ["a", "w1"], ["h"], name="up"),
        node("Relu", ["h"], ["hr"], name="relu"),
        node("MatMul", ["hr", "w2"], ["o"], name="down"),
        node("ReduceMean", ["o"], ["embedding"], name="mean", axes=[1], keepdims=0),
    ]
    weights = [
        floats("table", vocabulary, width, seed=1, scale=1.0),
        floats("wq", width, width, seed=2),
        floats("wk", width, width, seed=3),
        floats("w1", width, 2 * width, seed=4),
        floats("w2", 2 * width, width, seed=5),
        constant("zero", 0, np.int64),
        constant("one", [1], np.int64),
        constant("nothing", 0.0),
        constant("huge", -3.4e38),
    ]
    ids = value("ids", ["batch", "length"], TensorProto.INT64)
    return model(nodes, [ids], [value("embedding", ["batch", width])], weights, opset=17)


def written(some: Any, folder: Path) -> Graph:
    return save(some, folder)


def external(some: Any, folder: Path, location: str = "weights.bin") -> Graph:
    """The same with every weight in a file of its own."""
    folder.mkdir(parents=True)
    onnx.save_model(
        some, folder / "model.onnx", save_as_external_data=True, location=location, size_threshold=0
    )
    return Graph(folder)
