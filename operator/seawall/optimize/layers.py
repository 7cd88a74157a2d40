"""Where a result goes wrong: the outputs inside both graphs, side by side, worst first.

Quantisers rename and add nodes but keep the names of the tensors that mattered in the original, so that these
are what the two graphs are matched by.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from seawall.optimize.data import chosen
from seawall.optimize.graph import load, session
from seawall.optimize.sessions import answer, batches
from seawall.optimize.types import MODEL_FILE, Array, Graph, LayerError, Refused, Samples

SAMPLES = 4
LAYERS = 256
OPS = frozenset((
    "Attention", "Conv", "ConvTranspose", "Einsum", "GRU", "Gather", "Gemm", "LSTM", "LayerNormalization",
    "MatMul", "MultiHeadAttention", "RNN", "Softmax",
))  # fmt: skip
"""operators worth a name in a refusal: they have weights, or are where ranges matter"""


def layer_errors(original: Graph, candidate: Graph, samples: Samples) -> tuple[LayerError, ...]:
    """Relative error of the tensors that both graphs have; none where they share no names."""
    before, after = load(original, weights=False), load(candidate, weights=False)
    made = {name for node in after.graph.node for name in node.output}
    wanted = [
        node for node in before.graph.node if node.op_type in OPS and node.output and node.output[0] in made
    ][:LAYERS]
    names = [node.output[0] for node in wanted]
    if not names:
        return ()
    few = chosen(samples, np.arange(min(SAMPLES, samples.count)))
    with tempfile.TemporaryDirectory(dir=candidate.folder.parent, prefix=".layers-") as folder:
        try:
            errors = _errors(
                _opened(original, before, names, Path(folder, "original")),
                _opened(candidate, after, names, Path(folder, "candidate")),
                names,
                few,
            )
        except Refused:
            return ()  # a graph that does not run with its inside shown is refused for what led here
    told = [
        LayerError(node.name or node.output[0], node.op_type, float(np.mean(errors[node.output[0]])))
        for node in wanted
        if errors[node.output[0]]
    ]
    return tuple(sorted(told, key=lambda layer: -layer.relative_error))


def _opened(graph: Graph, model: Any, names: list[str], folder: Path) -> Any:
    """A session that also answers with these tensors; weights kept outside are linked to beside it."""
    shown = {output.name for output in model.graph.output}
    for name in names:
        if name not in shown:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    folder.mkdir()
    for file in graph.folder.rglob("*"):
        if file.is_file() and file != graph.path:
            target = folder / file.relative_to(graph.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, target)
            except OSError:
                shutil.copyfile(file, target)
    onnx.save(model, folder / MODEL_FILE)
    return session(Graph(folder))


def _errors(before: Any, after: Any, names: list[str], samples: Samples) -> dict[str, list[float]]:
    errors: dict[str, list[float]] = defaultdict(list)
    for feed in batches(before, samples, 1):
        pairs = zip(names, answer(before, feed, names), answer(after, feed, names), strict=True)
        for name, wanted, found in pairs:
            error = _relative(wanted, found)
            if error is not None:
                errors[name].append(error)
    return errors


def _relative(wanted: Array, found: Array) -> float | None:
    if wanted.shape != found.shape or wanted.dtype.kind != "f":
        return None
    first, second = wanted.astype(np.float64), found.astype(np.float64)
    if not np.isfinite(second).all():
        return 1e9  # JSON has no infinity
    size = float(np.linalg.norm(first))
    return float(np.linalg.norm(first - second)) / size if size else None
