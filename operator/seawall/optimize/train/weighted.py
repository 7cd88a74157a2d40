"""Operators with weights, as PyTorch modules: what is pruned and trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from seawall.optimize.train.node import Node, numbered, padded, pads_of
from seawall.optimize.types import Array


def _filled(module: Any, weight: Array, bias: Array | None) -> Any:
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.array(weight)))
        if bias is not None:
            module.bias.copy_(torch.from_numpy(np.array(bias).reshape(-1)))
    return module


def conv(node: Node) -> Any:
    weight, bias = node.constant(1), node.constant(2)
    assert weight is not None  # noqa: S101 - the checker has seen it
    kernel = list(weight.shape[2:])
    kind = numbered(len(kernel), node, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    groups = node.get("group", 1)
    dilations = list(node.get("dilations", [1] * len(kernel)))

    def made(padding: Any) -> Any:
        module = kind(
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(kernel),
            stride=tuple(node.get("strides", [1] * len(kernel))),
            padding=padding,
            dilation=tuple(dilations),
            groups=groups,
            bias=bias is not None,
        )
        return _filled(module, weight, bias)

    return padded(made, pads_of(node, kernel, dilations), 0.0)


def gemm(node: Node) -> Any:
    if node.get("transA", 0) or node.get("alpha", 1.0) != 1.0 or node.get("beta", 1.0) != 1.0:
        raise node.refused("with transA, alpha or beta")
    weight = node.constant(1)
    return _linear(node, weight if node.get("transB", 0) else None if weight is None else weight.T)


def matmul(node: Node) -> Any:
    """The loader puts the bias of a following Add into the third place."""
    weight = node.constant(1)
    return _linear(node, None if weight is None or weight.ndim != 2 else weight.T)


def _linear(node: Node, weight: Array | None) -> Any:
    bias = node.constant(2)
    if weight is None or (bias is not None and bias.size != weight.shape[0]):
        raise node.refused("with a weight or bias of that shape")
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(module, weight, bias)


def batch_norm(node: Node) -> Any:
    scale, bias, mean, variance = (node.constant(index) for index in range(1, 5))
    assert scale is not None and mean is not None and variance is not None  # noqa: S101, PT018
    rank = len(node.shapes.get(node.inputs[0], (None,) * 4))
    kind = numbered(max(rank - 2, 1), node, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    # ONNX counts what stays, PyTorch what comes in.
    module = kind(scale.size, eps=node.get("epsilon", 1e-5), momentum=1 - node.get("momentum", 0.9))
    with torch.no_grad():
        module.running_mean.copy_(torch.from_numpy(np.array(mean)))
        module.running_var.copy_(torch.from_numpy(np.array(variance)))
    return _filled(module, scale, bias)


def layer_norm(node: Node) -> Any:
    scale, bias = node.constant(1), node.constant(2)
    if scale is None or scale.ndim != 1 or node.get("axis", -1) not in (-1, 2):
        raise node.refused("over several axes")
    module = nn.LayerNorm(scale.size, eps=node.get("epsilon", 1e-5), bias=bias is not None)
    return _filled(module, scale, bias)
