"""One heavy operator as several light ones: each makes some of the output channels, and they are joined.

A network whose compute lies in a single convolution has no place to cut that shares it out. Its channels are
independent of one another, so any of them can be made elsewhere, to the same bits but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.split.blocks import Blocks, Value, read_by
from seawall.optimize.types import Array, Graph

STEP = 8
"""channels come in groups that the kernels of a CPU take at once"""


@dataclass(frozen=True, slots=True)
class Channels:
    """Where the output channels of an operator lie."""

    weight: str
    weight_axis: int
    bias: str | None
    output_axis: int
    count: int


def channels(blocks: Blocks, index: int) -> Channels | None:
    """None for an operator that cannot be divided."""
    node = blocks.nodes[index]
    tensors = graphs.initialisers(blocks.model)
    if len(node.input) < 2 or node.input[1] not in tensors or node.output[0] not in blocks.values:
        return None
    weight = tensors[node.input[1]]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if bias is not None and (bias not in tensors or len(tensors[bias].dims) != 1):
        return None
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    rank = len(blocks.values[node.output[0]].dims)
    if node.op_type == "Conv" and options.get("group", 1) == 1:
        axis, output_axis = 0, 1
    elif node.op_type == "Gemm":
        axis, output_axis = (0 if options.get("transB", 0) else 1), 1
    elif node.op_type == "MatMul" and len(weight.dims) == 2:
        axis, output_axis = 1, rank - 1
    else:
        return None
    count = int(weight.dims[axis])
    if bias is not None and tensors[bias].dims[0] != count:
        return None  # broadcast
    return Channels(node.input[1], axis, bias, output_axis, count)


def heaviest(blocks: Blocks, ideal: Sequence[float]) -> tuple[int, list[float]] | None:
    """The operator that lies over most of an ideal cut, and at which fractions of it the cuts would lie."""
    total, start = sum(blocks.costs), 0.0
    best: tuple[float, int, list[float]] | None = None
    for index, cost in enumerate(blocks.costs):
        inside = [(at * total - start) / cost for at in ideal if cost and start < at * total < start + cost]
        if inside and channels(blocks, index) and (best is None or cost > best[0]):
            best = (cost, index, inside)
        start += cost
    return None if best is None else best[1:]


def divided(graph: Graph, blocks: Blocks, index: int, fractions: Sequence[float]) -> Blocks | None:
    """The same model with this operator in parts; None where it has too few channels for it."""
    found = channels(blocks, index)
    if found is None:
        return None
    edges = [round(fraction * found.count / STEP) * STEP for fraction in fractions]
    edges = [edge for edge in dict.fromkeys(edges) if 0 < edge < found.count]
    if not edges:
        return None
    model = onnx.ModelProto()
    model.CopyFrom(blocks.model)
    node = model.graph.node[index]
    bounds = list(zip([0, *edges], [*edges, found.count], strict=True))
    nodes, values, costs = [], dict(blocks.values), list(blocks.costs)
    tensors = graphs.initialisers(model)
    weight = graphs.array(tensors[found.weight], graph.folder)
    bias = graphs.array(tensors[found.bias], graph.folder) if found.bias else None
    for number, (low, high) in enumerate(bounds, 1):
        nodes.append(_part(model, node, found, weight, bias, number, slice(low, high)))
        whole = blocks.values[node.output[0]]
        values[nodes[-1].output[0]] = _value(whole, found, high - low)
    joined = onnx.helper.make_node(
        "Concat", [part.output[0] for part in nodes], list(node.output), axis=found.output_axis
    )
    joined.name = f"{node.name or node.output[0]}/joined"
    shares = [(high - low) / found.count * costs[index] for low, high in bounds]
    _replaced(model, index, [*nodes, joined])
    costs[index : index + 1] = [*shares, 0.0]
    origins = list(blocks.origins)
    origins[index : index + 1] = [origins[index]] * (len(shares) + 1)
    _without_unused(model, {found.weight} | ({found.bias} if found.bias else set()))
    return replace(
        blocks,
        model=model,
        values=values,
        costs=tuple(costs),
        origins=tuple(origins),
        kept=blocks.kept | {part.output[0] for part in nodes},
    )


def _part(
    model: Any, node: Any, found: Channels, weight: Array, bias: Array | None, number: int, rows: slice
) -> Any:
    part = onnx.NodeProto()
    part.CopyFrom(node)
    part.name = f"{node.name or node.output[0]}/part-{number}"
    part.output[0] = f"{node.output[0]}/part-{number}"
    cut = tuple([slice(None)] * found.weight_axis + [rows])
    part.input[1] = f"{found.weight}/part-{number}/{node.output[0]}"
    _add(model, part.input[1], weight[cut])
    if bias is not None:
        part.input[2] = f"{found.bias}/part-{number}/{node.output[0]}"
        _add(model, part.input[2], bias[rows])
    return part


def _add(model: Any, name: str, array: Array) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))


def _value(whole: Value, found: Channels, count: int) -> Value:
    dims = list(whole.dims)
    dims[found.output_axis] = count
    sample = list(whole.sample)
    sample[found.output_axis - (len(whole.dims) - len(sample))] = count
    return replace(whole, dims=tuple(dims), sample=tuple(sample), bytes=whole.bytes * count // found.count)


def _replaced(model: Any, index: int, nodes: list[Any]) -> None:
    before, after = list(model.graph.node[:index]), list(model.graph.node[index + 1 :])
    del model.graph.node[:]
    model.graph.node.extend([*before, *nodes, *after])


def _without_unused(model: Any, names: set[str]) -> None:
    used = set().union(*(read_by(node) for node in model.graph.node))
    kept = [t for t in model.graph.initializer if t.name not in names or t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
