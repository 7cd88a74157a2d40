"""Which layers suffer most from quantised activations: each alone, on the values that reach it.

Errors at a layer's output tell little, because they carry those of every layer before it; a language model's
last layers would always look worst. What decides is how badly a layer's own inputs fit into 256 even steps:
one far outlier stretches the steps for all the others.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from onnx import NodeProto, helper

from seawall.optimize import graph as graphs
from seawall.optimize.sessions import answer, batches
from seawall.optimize.types import Array, Graph, Samples

STEPS = 127
USUAL = 0.99


def by_outliers(original: Graph, samples: Samples, kinds: Sequence[str]) -> Sequence[str]:
    """Names of the layers, the one that suffers most first."""
    model = graphs.load(original)
    constants = {init.name for init in model.graph.initializer}
    layers = {n.name: _activations(n, constants) for n in model.graph.node if n.op_type in kinds and n.name}
    given = {end.name for end in model.graph.input}
    inner = sorted({name for names in layers.values() for name in names} - given)
    outputs = {end.name for end in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in inner if n not in outputs)
    with tempfile.TemporaryDirectory(prefix="seawall-") as folder:
        session = graphs.session(graphs.save(model, Path(folder, "opened")))
        feeds = list(batches(session, samples))
        found: dict[str, float] = {}
        for name, error in _errors(session, feeds, inner):
            found[name] = max(error, found.get(name, 0.0))
    for name in given:
        found[name] = max((rounding_error(feed[name]) for feed in feeds if name in feed), default=0.0)
    worst = {layer: max((found[n] for n in names), default=0.0) for layer, names in layers.items()}
    return sorted(worst, key=lambda layer: -worst[layer])


def _activations(node: NodeProto, constants: set[str]) -> list[str]:
    return [name for name in node.input[:2] if name and name not in constants]


def _errors(session: object, feeds: list[dict[str, Array]], names: list[str]) -> Iterator[tuple[str, float]]:
    for feed in feeds:
        if names:
            yield from zip(names, map(rounding_error, answer(session, feed, names)), strict=True)


def rounding_error(values: Array) -> float:
    """Noise of rounding to even steps up to the largest value, over the usual size of a value.

    The usual size leaves the largest hundredth out: an outlier would hide in a norm that it dominates.
    """
    if not np.issubdtype(values.dtype, np.floating) or not values.size:
        return 0.0
    sizes = np.abs(values.astype(np.float32))
    usual = float(np.sqrt(np.mean(np.square(np.minimum(sizes, np.quantile(sizes, USUAL))))))
    noise = float(sizes.max()) / STEPS / math.sqrt(12)
    return noise / usual if usual else 0.0
