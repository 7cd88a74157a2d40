"""Graphs become PyTorch networks that answer the same, or are refused by the name of the operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not here: tools/training-env makes its environment")

from graphs import CLASSES, Given, convolutional, node, saved, weights  # noqa: E402

from seawall.optimize import graph as graphs  # noqa: E402
from seawall.optimize.train import network  # noqa: E402
from seawall.optimize.train.export import exported  # noqa: E402
from seawall.optimize.train.prune import pruned  # noqa: E402
from seawall.optimize.types import Graph, Refused  # noqa: E402

PICTURE = ["batch", 4, 8, 8]
HEAD = [
    node("GlobalAveragePool", "m", "p"),
    node("Flatten", "p", "q"),
    node("Gemm", "q hw hb", "y", transB=1),
]


def with_head(folder: Path, nodes: list[Any], given: Given, channels: int = 4) -> Graph:
    """Nodes from x to m, then pooled and classified."""
    head = {"hw": weights(CLASSES, channels, seed=20), "hb": weights(CLASSES, seed=21)}
    return saved(folder, nodes + HEAD, given | head, PICTURE)


def residual(folder: Path) -> Graph:
    nodes = [
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a s o mean var", "b", epsilon=1e-3),
        node("Relu", "b", "c"),
        node("Conv", "c w2", "d", pads=[1, 1, 1, 1]),
        node("Add", "d c", "e"),
        node("Clip", "e low high", "m"),
    ]
    given = {
        "w1": weights(8, 4, 3, 3, seed=1),
        "w2": weights(8, 8, 3, 3, seed=2),
        "s": weights(8, seed=3),
        "o": weights(8, seed=4),
        "mean": weights(8, seed=5),
        "var": np.abs(weights(8, seed=6)) + 0.1,
        "low": np.float32(0),
        "high": np.float32(6),
    }
    return with_head(folder, nodes, given, 8)


def depthwise(folder: Path) -> Graph:
    nodes = [
        node("Conv", "x w1 b1", "a", strides=[2, 2], pads=[0, 0, 1, 1]),
        node("HardSwish", "a", "c"),
        node("Conv", "c w2", "d", group=8, auto_pad="SAME_UPPER"),
        node("Sigmoid", "d", "e"),
        node("Mul", "d e", "f"),
        node("AveragePool", "f", "m", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    given = {"w1": weights(8, 4, 3, 3, seed=1), "b1": weights(8, seed=3), "w2": weights(8, 1, 3, 3, seed=2)}
    return with_head(folder, nodes, given, 8)


def branches(folder: Path) -> Graph:
    nodes = [
        node("Sub", "x centre", "n"),
        node("Div", "n spread", "o"),
        node("Conv", "o w1", "a"),
        node("Conv", "o w2", "b"),
        node("Concat", "a b", "c", axis=1),
        node("LeakyRelu", "c", "m", alpha=0.2),
    ]
    given = {
        "centre": weights(1, 4, 1, 1, seed=3),
        "spread": np.float32(2.5),
        "w1": weights(4, 4, 1, 1, seed=1),
        "w2": weights(6, 4, 1, 1, seed=2),
    }
    return with_head(folder, nodes, given, 10)


def perceptron(folder: Path) -> Graph:
    nodes = [
        node("MatMul", "x w1", "a"),
        node("Add", "b1 a", "b"),
        node("LayerNormalization", "b s o", "c", axis=-1),
        node("Tanh", "c", "d"),
        node("MatMul", "d w2", "e"),
        node("Add", "e b2", "f"),
        node("Softmax", "f", "y", axis=-1),
    ]
    given = {
        "w1": weights(5, 12, seed=1),
        "b1": weights(12, seed=2),
        "s": weights(12, seed=3),
        "o": weights(12, seed=4),
        "w2": weights(12, CLASSES, seed=5),
        "b2": weights(CLASSES, seed=6),
    }
    return saved(folder, nodes, given, ["batch", 5])


def averaged(folder: Path) -> Graph:
    nodes = [
        node("Conv", "x w1", "a", dilations=[2, 2]),
        node("Elu", "a", "b"),
        node("ReduceMean", "b axes", "c", keepdims=1),
        node("Squeeze", "c axes", "d"),
        node("Gemm", "d w", "e"),
        node("LogSoftmax", "e", "y", axis=1),
    ]
    given = {
        "w1": weights(8, 4, 3, 3, seed=1),
        "axes": np.array([2, 3], np.int64),
        "w": weights(8, CLASSES, seed=2),
    }
    return saved(folder, nodes, given, PICTURE)


def channels_last(folder: Path) -> Graph:
    nodes = [
        node("Reshape", "x shape", "a"),
        node("Transpose", "a", "b", perm=[0, 3, 1, 2]),
        node("Conv", "b w1", "c"),
        node("GlobalMaxPool", "c", "d"),
        node("Flatten", "d", "e"),
        node("MatMul", "e w2", "y"),
    ]
    given = {
        "shape": np.array([-1, 8, 8, 1], np.int64),
        "w1": weights(8, 1, 3, 3, seed=1),
        "w2": weights(8, CLASSES, seed=2),
    }
    return saved(folder, nodes, given, ["batch", 64])


GRAPHS: dict[str, Callable[[Path], Graph]] = {
    "convolutions and the Reshape of PyTorch's exporter": convolutional,
    "a residual block with batch normalisation": residual,
    "uneven padding, depthwise, and swish": depthwise,
    "branches that are joined, after a fixed scaling": branches,
    "a perceptron of MatMul and Add": perceptron,
    "an input that is turned round before the first layer": channels_last,
    "dilation, and a mean over the picture": averaged,
}


def sampled(graph: Graph, count: int = 5) -> np.ndarray:
    shape = graphs.signature(graph).inputs[0].shape
    return np.random.default_rng(9).standard_normal((count, *shape[1:])).astype(np.float32)


@pytest.mark.parametrize("made", GRAPHS.values(), ids=GRAPHS.keys())
def test_the_network_answers_as_the_graph_does(tmp_path: Path, made: Callable[[Path], Graph]) -> None:
    graph = made(tmp_path / "graph")
    inputs = sampled(graph)
    wanted = graphs.run(graphs.session(graph), {"x": inputs})[0]
    with torch.no_grad():
        found = network.load(graph).eval()(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("made", GRAPHS.values(), ids=GRAPHS.keys())
def test_half_of_the_channels_go_and_the_rest_is_exported(
    tmp_path: Path, made: Callable[[Path], Graph]
) -> None:
    graph = made(tmp_path / "graph")
    signature = graphs.signature(graph)
    loaded = network.load(graph).eval()
    example = (torch.from_numpy(sampled(graph)),)
    before = sum(p.numel() for p in loaded.parameters())
    pruned(loaded, example, 0.5)
    assert sum(p.numel() for p in loaded.parameters()) < 0.65 * before
    assert loaded(*example).shape == (5, CLASSES)
    smaller = exported(loaded, signature, example, tmp_path / "smaller")
    assert graphs.signature(smaller).inputs == signature.inputs
    assert graphs.signature(smaller).batched
    assert b"/train/" not in smaller.path.read_bytes(), "the exporter's stack traces are left out"


def attention(folder: Path) -> Graph:
    nodes = [node("MatMul", "x x", "a"), node("MatMul", "a w", "y")]
    return saved(folder, nodes, {"w": weights(4, CLASSES)}, ["batch", 4, 4], width=["batch", 4, CLASSES])


def sequence(folder: Path) -> Graph:
    return saved(
        folder,
        [node("Erf", "x", "a"), node("MatMul", "a w", "y")],
        {"w": weights(4, CLASSES)},
        ["batch", 4],
    )


def reshaped(folder: Path) -> Graph:
    nodes = [node("Reshape", "x shape", "a"), node("MatMul", "a w", "y")]
    given = {"shape": np.array([-1, 4], np.int64), "w": weights(4, CLASSES)}
    return saved(folder, nodes, given, ["batch", 2, 4], width=["rows", CLASSES])


def turned(folder: Path) -> Graph:
    nodes = [
        node("Conv", "x w1", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 3, 1]),
        node("Flatten", "b", "c"),
        node("MatMul", "c w2", "y"),
    ]
    given = {"w1": weights(4, 4, 3, 3), "w2": weights(144, CLASSES)}
    return saved(folder, nodes, given, PICTURE)


def doubles(folder: Path) -> Graph:
    nodes = [node("Cast", "x", "a", to=11), node("MatMul", "a w", "b"), node("Cast", "b", "y", to=1)]
    return saved(folder, nodes, {"w": weights(4, CLASSES).astype(np.float64)}, ["batch", 4])


REFUSED: dict[str, tuple[Callable[[Path], Graph], str]] = {
    "attention, where both factors are computed": (attention, "MatMul with a computed input 2"),
    "an operator that is not known": (sequence, "Erf is not among the operators"),
    "a Reshape that mixes samples": (reshaped, "Reshape .* mixes samples"),
    "a Transpose between layers": (turned, "Transpose between layers"),
    "weights in float64": (doubles, "weight w is float64"),
}


@pytest.mark.parametrize(("made", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_trained_is_refused_by_name(
    tmp_path: Path, made: Callable[[Path], Graph], words: str
) -> None:
    with pytest.raises(Refused, match=words) as caught:
        network.load(made(tmp_path / "graph"))
    assert caught.value.reason == "PresetUnsupported"


def test_only_the_layers_that_give_the_classes_keep_their_width(tmp_path: Path) -> None:
    deciding = network.load(convolutional(tmp_path / "graph", final="Softmax")).deciding()
    assert [layer.out_features for layer in deciding] == [CLASSES]
