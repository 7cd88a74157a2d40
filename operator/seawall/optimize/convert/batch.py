"""A batch dimension where the exporter fixed it at 1.

The dimension is freed only where several samples at once give what each gives alone; a model that mixes its
samples, or that counts on one, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.convert import equal
from seawall.optimize.types import Graph, Refused

SYMBOL = "batch"
SAMPLES = 3


def freed(graph: Graph, folder: Path) -> Graph | str | None:
    """A graph with a batch; or why there is none; or None where it has one already."""
    signature = graphs.signature(graph)
    if signature.batched or not signature.inputs:
        return None
    every = (*signature.inputs, *signature.outputs)
    if not all(spec.shape and spec.shape[0] in (1, None) for spec in every):
        return "the batch dimension stays as it is: it is fixed at more than 1, or not the first dimension"
    reason = ""
    for number, rewrite in enumerate((_nothing, _free_reshapes)):
        model = graphs.load(graph, weights=False)
        _free_ends(model)
        rewrite(model)
        candidate = graphs.save_structure(model, graph, folder / str(number))
        try:
            reason = _unequal(graph, candidate)
        except Refused as problem:
            reason = problem.message
        if not reason:
            return candidate
    return f"the batch dimension stays fixed at 1: {reason}"


def _free_ends(model: Any) -> None:
    given = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in given:
            value.type.tensor_type.shape.dim[0].dim_param = SYMBOL
    del model.graph.value_info[:]  # shapes of results, inferred when the batch was still 1


def _nothing(_model: Any) -> None:
    """The first try: many graphs carry the batch through once the ends let it."""


def _free_reshapes(model: Any) -> None:
    """Reshape to [1, …] becomes Reshape to [-1, …], or to [0, …] where -1 is taken: 0 copies the input's."""
    constants = graphs.initialisers(model)
    makers = {node.output[0]: node for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        if node.op_type != "Reshape":
            continue
        _change(model, node, constants, makers, _without_one)


def _change(
    model: Any,
    node: Any,
    constants: dict[str, Any],
    makers: dict[str, Any],
    rule: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any] | None],
) -> None:
    name = node.input[1]
    tensor = constants.get(name)
    if tensor is None and name in makers:
        tensor = next((a.t for a in makers[name].attribute if a.name == "value"), None)
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    shape = rule(onnx.numpy_helper.to_array(tensor))
    if shape is not None:
        fresh = f"{name}/{SYMBOL}/{node.output[0]}"
        model.graph.initializer.append(onnx.numpy_helper.from_array(shape, fresh))
        node.input[1] = fresh


def _without_one(shape: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    if not shape.size or shape[0] != 1:
        return None
    free = shape.copy()
    free[0] = 0 if -1 in shape[1:] else -1
    return free


def _unequal(original: Graph, candidate: Graph) -> str:
    signature = graphs.signature(candidate)
    together = equal.made_up(signature, SAMPLES, seed=1)
    alone = equal.answers(original, [equal.rows(together, index) for index in range(SAMPLES)])
    (got,) = equal.answers(candidate, [together])
    for position, spec in enumerate(signature.outputs):
        wanted = np.concatenate([one[position] for one in alone])
        if not equal.alike(wanted, got[position]):
            return f"output {spec.name} of {SAMPLES} samples at once is not that of each alone"
    return ""
