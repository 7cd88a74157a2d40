"""Which nodes quantisation hurts most, one by one, before anything is tried on the whole model.

Each node is run alone on inputs that the original gives it, once as it is and once with rounded weights and
inputs. That is cheap, and unlike the difference between two whole graphs it does not blame a node for what
the nodes before it spoilt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from seawall.optimize import graph as graphs
from seawall.optimize import sessions
from seawall.optimize.compress.tidy import WEIGHT_AT
from seawall.optimize.types import Array, Graph, LayerError, Samples

SAMPLES = 8
AT_ONCE = 2
GROUP = 8
"""Nodes whose inputs are taken from one run: the inputs of all at once would not fit into memory"""

Round = Callable[[Array, Any], Array]
"""(weights, node) -> the weights after quantisation and back"""


def ranked(
    graph: Graph, weights: Mapping[str, str], samples: Samples, rounded: Round, activations: bool
) -> tuple[LayerError, ...]:
    """Worst first. `weights`: node name -> weight name, as tidy.weighted gives it."""
    model = graphs.load(graph, weights=False)
    chosen = [node for node in model.graph.node if node.name in weights]
    constants = graphs.initialisers(model)
    found = []
    for start in range(0, len(chosen), GROUP):
        group = chosen[start : start + GROUP]
        for node, fed in zip(group, _inputs(graph, group, constants, samples), strict=True):
            error = _error(graph, node, constants, fed, rounded, activations)
            found.append(LayerError(node.name, node.op_type, error))
    return tuple(sorted(found, key=lambda layer: -layer.relative_error))


def _inputs(
    graph: Graph, group: Sequence[Any], constants: Mapping[str, Any], samples: Samples
) -> list[dict[str, Array]]:
    """What the original feeds to each node besides its constants."""
    model = graphs.load(graph, weights=False)
    given = {spec.name for spec in graphs.signature_of(model).inputs}
    wanted = {name for node in group for name in node.input if name and name not in constants}
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted - given - there))
    few = Samples({name: values[:SAMPLES] for name, values in samples.inputs.items()})
    names = sorted(wanted - given)
    with tempfile.TemporaryDirectory(dir=graph.folder.parent) as scratch:
        running = graphs.session(graphs.save_structure(model, graph, Path(scratch) / "probe"), 0)
        runs = []
        for feed in sessions.batches(running, few, AT_ONCE):
            values = sessions.answer(running, feed, names) if names else []
            runs.append(dict(zip(names, values, strict=True)) | {n: feed[n] for n in wanted & given})
    return [_joined(runs, [n for n in node.input if n in wanted]) for node in group]


def _joined(runs: Sequence[Mapping[str, Array]], names: Sequence[str]) -> dict[str, Array]:
    """Several runs as one, where only the batch differs; else the first."""
    joined = {}
    for name in names:
        alike = all(run[name].shape[1:] == runs[0][name].shape[1:] and run[name].ndim for run in runs)
        joined[name] = np.concatenate([run[name] for run in runs]) if alike else runs[0][name]
    return joined


def _error(
    graph: Graph,
    node: Any,
    constants: Mapping[str, Any],
    fed: Mapping[str, Array],
    rounded: Round,
    activations: bool,
) -> float:
    at = WEIGHT_AT[node.op_type]
    feeds = {n: graphs.array(constants[n], graph.folder) for n in node.input if n in constants} | dict(fed)
    exact = _alone(node, feeds)
    rough = {**feeds, node.input[at]: rounded(feeds[node.input[at]], node)}
    if activations and at == 1 and node.input[0] in fed:
        rough[node.input[0]] = per_tensor(feeds[node.input[0]])
    norm = float(np.linalg.norm(exact))
    return float(np.linalg.norm(exact - _alone(node, rough))) / norm if norm else 0.0


def _alone(node: Any, feeds: Mapping[str, Array]) -> Array:
    inputs = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(feeds[name].dtype), list(feeds[name].shape)
        )
        for name in dict.fromkeys(n for n in node.input if n)
    ]
    output = onnx.helper.make_empty_tensor_value_info(node.output[0])
    graph = onnx.helper.make_graph([node], "alone", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    running = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (answer,) = running.run(None, {name: np.ascontiguousarray(value) for name, value in feeds.items()})
    return np.asarray(answer)


def per_tensor(values: Array) -> Array:
    """Through unsigned 8 bits and back, with one scale for all."""
    if values.dtype != np.float32:
        return values
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = (high - low) / 255 or 1.0
    zero = round(-low / scale)
    steps = np.clip(np.rint(values / scale) + zero, 0, 255)
    back: Array = ((steps - zero) * scale).astype(np.float32)
    return back


def per_channel(weights: Array, node: Any) -> Array:
    """Through signed 8 bits and back, with a scale per output channel; one for all of a Gather."""
    if node.op_type == "Gather":
        axes: tuple[int, ...] = tuple(range(weights.ndim))
    else:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        channel = 0 if node.op_type == "Conv" or transposed else 1 if weights.ndim > 2 else weights.ndim - 1
        axes = tuple(axis for axis in range(weights.ndim) if axis != channel)
    scale = np.max(np.abs(weights), axis=axes, keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale)
    back: Array = (np.clip(np.rint(weights / scale), -127, 127) * scale).astype(weights.dtype)
    return back
