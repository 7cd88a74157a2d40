"""Small graphs with seeded weights, and what a test of a preset needs around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seawall.optimize.graph import run, session
from seawall.optimize.types import (
    BuildOrder,
    Context,
    Criterion,
    Graph,
    Proof,
    Samples,
    Signature,
    Target,
    TensorSpec,
)  # fmt: skip

FLOAT = TensorProto.FLOAT
SIGNATURE = Signature(
    (TensorSpec("image", "float32", (None, 1, 8, 8)),), (TensorSpec("scores", "float32", (None, 10)),), True
)


def weights(seed: int, *shape: int) -> Any:
    fan = int(np.prod(shape[1:]))
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def cnn(folder: Path, opset: int = 18) -> Graph:
    """Convolution, pooling and two dense layers, one of them transposed as PyTorch exports them."""
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("MaxPool", ["r2"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["p", "shape"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["h"], "dense1", transB=1),
        helper.make_node("Relu", ["h"], ["r3"], "relu3"),
        helper.make_node("Gemm", ["r3", "w4", "b4"], ["scores"], "dense2"),
    ]
    constants = {
        "w1": weights(1, 32, 1, 3, 3), "b1": weights(2, 32, 1).ravel(),
        "w2": weights(3, 64, 32, 3, 3), "b2": weights(4, 64, 1).ravel(),
        "w3": weights(5, 64, 1024), "b3": weights(6, 64, 1).ravel(),
        "w4": weights(7, 10, 64).T.copy(), "b4": weights(8, 10, 1).ravel(),
        "shape": np.array([-1, 1024]),
    }  # fmt: skip
    return made(folder, nodes, constants, ("image", [None, 1, 8, 8]), ("scores", [None, 10]), opset)


def made(
    folder: Path, nodes: list[Any], constants: dict[str, Any], given: Any, answer: Any, opset: int = 18
) -> Graph:
    def end(name: str, dims: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, FLOAT, ["batch" if d is None else d for d in dims])

    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "graph", [end(*given)], [end(*answer)], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return Graph(folder)


def images(count: int = 32) -> Samples:
    return Samples({"image": np.random.default_rng(9).uniform(0, 1, (count, 1, 8, 8)).astype(np.float32)})


def answers(graph: Graph, samples: Samples) -> Any:
    return run(session(graph), dict(samples.inputs))[0].astype(np.float64)


def cosine(wanted: Any, found: Any) -> float:
    norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    return float(np.mean(np.sum(wanted * found, axis=1) / norms))


def proof(value: float, floor: float = 0.99) -> Proof:
    return Proof("cosine", value, value, value, floor, 32, "evaluation", value >= floor)


def context(
    graph: Graph,
    preset: str,
    *,
    target: str = "gpu",
    floor: float = 0.99,
    measure: Callable[[Graph], Proof] | None = None,
    seconds: float = 60,
) -> Context:
    samples = images()
    original = answers(graph, samples)

    def compared(candidate: Graph) -> Proof:
        return proof(cosine(original, answers(candidate, samples)), floor)

    order = BuildOrder("model.onnx", "onnx", Target("a-class", target), preset, criterion=Criterion())
    return Context(
        order, SIGNATURE, samples, samples, measure or compared, lambda *told: None, seconds=seconds
    )
