"""ONNX operators as PyTorch modules: those that classifiers are made of, each exactly or not at all.

Anything else is refused by name. Guessing here would train another network than the one that was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from seawall.optimize.train import shapes, weighted
from seawall.optimize.train.node import Apply, Node, WithConstant


def build(node: Node) -> tuple[Any, tuple[str, ...]]:
    """The module, and the names of the tensors that it is called with. Raises Refused."""
    if node.op in _ARITHMETIC:
        return _arithmetic(node)
    if node.op == "Concat":
        axis = node.get("axis", 1)
        if any(name in node.constants for name in node.inputs):
            raise node.refused("with a fixed part")
        return Apply(lambda *parts: torch.cat(parts, axis)), node.inputs
    if node.op in _PLAIN:
        return _PLAIN[node.op](node), node.inputs[:1]
    raise node.refused("is not among the operators that it knows")


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
}


def _arithmetic(node: Node) -> tuple[Any, tuple[str, ...]]:
    function = _ARITHMETIC[node.op]
    fixed = [name in node.constants for name in node.inputs]
    if not any(fixed):
        return Apply(function), node.inputs
    if all(fixed):
        raise node.refused("of two fixed tensors")
    place = fixed.index(True)
    value = node.constants[node.inputs[place]]
    return WithConstant(function, value, place == 0), (node.inputs[1 - place],)


_PLAIN: dict[str, Callable[[Node], Any]] = {
    "Conv": weighted.conv,
    "Gemm": weighted.gemm,
    "MatMul": weighted.matmul,
    "BatchNormalization": weighted.batch_norm,
    "LayerNormalization": weighted.layer_norm,
    "MaxPool": shapes.max_pool,
    "AveragePool": shapes.average_pool,
    "GlobalAveragePool": lambda node: shapes.global_pool(
        node, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d
    ),
    "GlobalMaxPool": lambda node: shapes.global_pool(
        node, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d
    ),
    "ReduceMean": shapes.reduce_mean,
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Clip": shapes.clip,
    "Squeeze": shapes.squeeze,
    "Transpose": shapes.transpose,
    "Cast": shapes.cast,
    "Relu": lambda node: nn.ReLU(),
    "LeakyRelu": lambda node: nn.LeakyReLU(node.get("alpha", 0.01)),
    "Elu": lambda node: nn.ELU(node.get("alpha", 1.0)),
    "Sigmoid": lambda node: nn.Sigmoid(),
    "Tanh": lambda node: nn.Tanh(),
    "HardSwish": lambda node: nn.Hardswish(),
    "Gelu": lambda node: nn.GELU(approximate=node.get("approximate", "none")),
    "Softmax": lambda node: nn.Softmax(node.get("axis", -1)),
    "LogSoftmax": lambda node: nn.LogSoftmax(node.get("axis", -1)),
    # Dropout is for training; a served graph carries it as a relic at most.
    "Dropout": lambda node: nn.Identity(),
    "Identity": lambda node: nn.Identity(),
}
