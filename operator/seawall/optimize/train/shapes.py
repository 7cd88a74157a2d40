"""Operators that pool, flatten, bound or turn round, as PyTorch modules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from seawall.optimize.train.node import Apply, Node, numbered, padded, pads_of


def max_pool(node: Node) -> Any:
    kernel = list(node.attributes["kernel_shape"])
    kind = numbered(len(kernel), node, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
    dilations = list(node.get("dilations", [1] * len(kernel)))

    def made(padding: Any) -> Any:
        return kind(
            tuple(kernel),
            tuple(node.get("strides", [1] * len(kernel))),
            padding,
            tuple(dilations),
            ceil_mode=bool(node.get("ceil_mode", 0)),
        )

    return padded(made, pads_of(node, kernel, dilations), float("-inf"))


def average_pool(node: Node) -> Any:
    kernel = list(node.attributes["kernel_shape"])
    kind = numbered(len(kernel), node, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
    pads = pads_of(node, kernel, [1] * len(kernel))
    if pads[: len(kernel)] != pads[len(kernel) :]:
        raise node.refused("with uneven padding")
    return kind(
        tuple(kernel),
        tuple(node.get("strides", [1] * len(kernel))),
        tuple(pads[: len(kernel)]),
        ceil_mode=bool(node.get("ceil_mode", 0)),
        count_include_pad=bool(node.get("count_include_pad", 0)),
    )


def global_pool(node: Node, *kinds: Any) -> Any:
    rank = len(node.shapes.get(node.inputs[0], (None,) * 4))
    return numbered(rank - 2, node, *kinds)(1)


def reduce_mean(node: Node) -> Any:
    axes = node.list_of("axes", 1)
    if not axes:
        raise node.refused("over all axes")
    keep = bool(node.get("keepdims", 1))
    return Apply(lambda given: given.mean(dim=axes, keepdim=keep))


def reshape(node: Node) -> Any:
    """Only what flattens a sample: other shapes count on a number of channels that is about to change."""
    wanted, known = node.constant(1), node.shapes.get(node.inputs[0])
    assert wanted is not None  # noqa: S101 - the checker has seen it
    if known is None or None in known[1:]:
        raise node.refused("of a tensor whose shape is not known")
    each = [size or 1 for size in known[1:]]
    rest = [int(size) for size in wanted[1:]]
    whole = rest == [-1] or math.prod(rest) == math.prod(each)
    if not rest or int(wanted[0]) not in (-1, 0, known[0]) or not whole:
        raise node.refused(f"to {wanted.tolist()}, which mixes samples")
    if len(rest) == 1:
        return nn.Flatten(1)
    if not node.early:
        raise node.refused(f"to {wanted.tolist()}, which is more than flattening")
    return Apply(lambda given: given.reshape(given.shape[0], *rest))


def flatten(node: Node) -> Any:
    if node.get("axis", 1) != 1:
        raise node.refused("from an axis other than 1")
    return nn.Flatten(1)


def clip(node: Node) -> Any:
    low, high = node.constant(1), node.constant(2)
    bounds = [None if bound is None else float(bound) for bound in (low, high)]
    return nn.ReLU6() if bounds == [0.0, 6.0] else Apply(lambda given: torch.clamp(given, *bounds))


def squeeze(node: Node) -> Any:
    axes = node.list_of("axes", 1)
    if not axes or 0 in axes:
        raise node.refused("of unnamed axes or of the batch")
    return Apply(lambda given: given.squeeze(tuple(axes)))


def transpose(node: Node) -> Any:
    order = list(node.get("perm", []))
    if not order or order[0] != 0:
        raise node.refused("that moves the batch")
    if not node.early:
        raise node.refused("between layers, which hides from pruning which value belongs to which channel")
    return Apply(lambda given: given.permute(order))


def cast(node: Node) -> Any:
    if node.get("to", 0) != 1:
        raise node.refused("to anything but float32")
    return Apply(lambda given: given.to(torch.float32))
