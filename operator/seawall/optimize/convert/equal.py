"""Whether two graphs answer alike, on made-up inputs: the test that every rewrite has to pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seawall.optimize import graph as graphs
from seawall.optimize.types import Array, Graph, Signature, TensorSpec

TOLERANCE = 1e-4
"""Of the L2 norms: reordered sums of float32 stay well below, a changed meaning does not"""
LENGTH = 16
"""Size of the dimensions that vary and are not the batch"""


def difference(original: Graph, candidate: Graph) -> str | None:
    """None where the answers are equal at batch 1 and, where batches vary, at 3; else what differs."""
    signature = graphs.signature(original)
    tries = [
        made_up(signature, size, seed) for seed, size in enumerate((1, 3) if signature.batched else (1,))
    ]
    expected = answers(original, tries)
    for wanted, got in zip(expected, answers(candidate, tries), strict=True):
        for spec, one, other in zip(signature.outputs, wanted, got, strict=True):
            if not alike(one, other):
                return f"output {spec.name} would change by {_distance(one, other)}"
    return None


def answers(graph: Graph, tries: list[dict[str, Array]]) -> list[list[Array]]:
    """Of a session that ends with this call, so that no two graphs fill the memory at once."""
    running = graphs.session(graph)
    return [graphs.run(running, inputs) for inputs in tries]


def alike(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return False
    left, right = (np.nan_to_num(a.astype(np.float64)) for a in (one, other))
    return bool(np.linalg.norm(left - right) <= TOLERANCE * max(float(np.linalg.norm(left)), 1e-6))


def _distance(one: Array, other: Array) -> str:
    if one.shape != other.shape:
        return f"its shape ({one.shape} to {other.shape})"
    if one.dtype.kind != "f":
        return f"{int((one != other).sum())} of {one.size} elements"
    norm = float(np.linalg.norm(one)) or 1.0
    return f"{float(np.linalg.norm(one - other)) / norm:.1e} of its norm"


def made_up(signature: Signature, size: int, seed: int) -> dict[str, Array]:
    """Inputs of the right type and shape: zeros and ones for whole numbers, which are ids and masks."""
    source = np.random.default_rng(seed)
    return {spec.name: _values(spec, size, source) for spec in signature.inputs}


def _values(spec: TensorSpec, size: int, source: np.random.Generator) -> Array:
    shape = [
        dim if dim is not None else (size if position == 0 else LENGTH)
        for position, dim in enumerate(spec.shape)
    ]
    if spec.dtype == "object":
        return np.array(["text"] * int(np.prod(shape)), dtype=object).reshape(shape)
    if spec.dtype == "bool":
        return source.random(shape) < 0.5
    kind = np.dtype(spec.dtype)
    return (source.integers(0, 2, shape) if kind.kind in "iu" else source.standard_normal(shape)).astype(kind)


def rows(inputs: Mapping[str, Array], index: int) -> dict[str, Array]:
    return {name: values[index : index + 1] for name, values in inputs.items()}
