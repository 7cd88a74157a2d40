"""A converted model held against the answers of the model that it was converted from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seawall.optimize import graph as graphs
from seawall.optimize.convert import equal
from seawall.optimize.types import Array, Graph, Refused

MODEL, INPUTS, OUTPUTS = "model.onnx", "inputs.npz", "outputs.npz"
"""What a converter's worker leaves: the graph, what it asked the original, and what that answered"""
QUANTISED = 0.05
"""Of the L2 norms, where the model came quantised: every layer may round a value to the next of 256 steps"""


def judged(made: Path, folder: Path) -> Graph:
    """The graph alone in a folder of its own. Raises Refused where it answers otherwise than the original."""
    graph = graphs.copy(made / MODEL, folder)
    signature = graphs.signature(graph)
    quantised = any(node.op_type == "QuantizeLinear" for node in graphs.all_nodes(graphs.parse(graph.path)))
    asked, wanted = _arrays(made / INPUTS), _arrays(made / OUTPUTS)
    found = graphs.run(graphs.session(graph), {spec.name: asked[spec.name] for spec in signature.inputs})
    for spec, values in zip(signature.outputs, found, strict=True):
        original = wanted[spec.name]
        if not equal.alike(original, values) and not (quantised and _close(original, values)):
            raise Refused(
                "ConversionFailed",
                f"the converted model answers otherwise than the original in its output {spec.name}",
            )
    return graph


def _arrays(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _close(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or not np.isfinite(other).all():
        return False
    left, right = one.astype(np.float64), other.astype(np.float64)
    return bool(np.linalg.norm(left - right) <= QUANTISED * np.linalg.norm(left))
