"""How long every operator takes by itself, and what its results look like.

The runtime's own fusing is off here, so that each operator of the file is seen. What fusing saves is learnt
from whole stages later.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from seawall.optimize import graph as graphs
from seawall.optimize.sessions import answer, batch_of
from seawall.optimize.split.blocks import Value
from seawall.optimize.types import MODEL_FILE, Array, Graph, Refused, Samples

SHOWN = 256
"""results looked at in one session"""
SECONDS = 2.0
MOST_RUNS = 40
FEWEST_RUNS = 5
TYPES = {
    "tensor(bool)": onnx.TensorProto.BOOL, "tensor(uint8)": onnx.TensorProto.UINT8,
    "tensor(uint16)": onnx.TensorProto.UINT16, "tensor(uint32)": onnx.TensorProto.UINT32,
    "tensor(uint64)": onnx.TensorProto.UINT64, "tensor(int8)": onnx.TensorProto.INT8,
    "tensor(int16)": onnx.TensorProto.INT16, "tensor(int32)": onnx.TensorProto.INT32,
    "tensor(int64)": onnx.TensorProto.INT64, "tensor(float16)": onnx.TensorProto.FLOAT16,
    "tensor(float)": onnx.TensorProto.FLOAT, "tensor(double)": onnx.TensorProto.DOUBLE,
    "tensor(string)": onnx.TensorProto.STRING,
}  # fmt: skip
"""what Triton can carry from stage to stage"""


def values(graph: Graph, model: Any, samples: Samples, batched: bool, scratch: Path) -> dict[str, Value]:
    """Every tensor between operators that is a tensor, by name."""
    names = [name for node in model.graph.node for name in node.output if name]
    found: dict[str, Value] = {}
    for start in range(0, len(names), SHOWN):
        wanted = names[start : start + SHOWN]
        shown = _shown(graph, model, wanted, scratch / "shown")
        session = graphs.session(shown, optimised=False)
        one, two = (answers(session, wanted, batch_of(session, samples, n)) for n in (1, 2))
        inferred = {entry.name: entry for entry in session.get_outputs()}
        for name, first, second in zip(wanted, one, two, strict=True):
            elem_type = TYPES.get(inferred[name].type)
            if elem_type is not None and isinstance(first, np.ndarray):
                found[name] = _value(elem_type, inferred[name].shape, first, second, batched)
        del session
        shutil.rmtree(shown.folder)
    return found


def answers(session: Any, names: list[str], feed: dict[str, Array]) -> list[Any]:
    """Raw: results that are no tensors stay what they are."""
    try:
        return list(session.run(names, feed))
    except Exception as error:  # its exceptions share no base class but Exception
        sentence = " ".join(str(error).split())[:300]
        raise Refused("CannotSplit", f"the model does not run with its inside shown: {sentence}") from error


def _value(elem_type: int, dims: Sequence[Any], first: Array, second: Array, batched: bool) -> Value:
    rows = first.shape[:1] == (1,) and second.shape[:1] == (2,) and first.shape[1:] == second.shape[1:]
    known = dims if len(dims) == first.ndim else [None] * first.ndim
    size = 16 * first.size if first.dtype == object else first.nbytes
    sample = first.shape[1:] if batched and rows else first.shape
    return Value(elem_type, tuple(known), tuple(sample), size, rows)


def _shown(graph: Graph, model: Any, names: list[str], folder: Path) -> Graph:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    return graphs.save_structure(copy, graph, folder)


def kept(graph: Graph, threads: int, scratch: Path) -> frozenset[str]:
    """Names of the results that the runtime's fusing leaves, so that a cut there parts nothing."""
    options = _options(threads)
    # what comes after this level is for one machine's caches and renames everything
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    fused = scratch / "fused"
    fused.mkdir()
    options.optimized_model_filepath = str(fused / MODEL_FILE)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
    )
    onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
    found = onnx.load(fused / MODEL_FILE, load_external_data=False)
    shutil.rmtree(fused)
    return frozenset(name for node in found.graph.node for name in node.output)


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    return options


def node_costs(graph: Graph, model: Any, samples: Samples, batch: int, scratch: Path) -> tuple[float, ...]:
    """Microseconds of every operator, by the runtime's own profiler."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for index, node in enumerate(named.graph.node):
        node.name = f"seawall-{index}"
    folder = scratch / "named"
    graphs.save_structure(named, graph, folder)
    options = _options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(scratch / "profile")
    session = onnxruntime.InferenceSession(
        str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"]
    )
    feed = batch_of(session, samples, batch)
    end = time.perf_counter() + SECONDS
    for run in range(MOST_RUNS):
        answer(session, feed)
        if run >= FEWEST_RUNS and time.perf_counter() > end:
            break
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    taken: dict[str, list[float]] = defaultdict(list)
    for name, duration in _kernels(events):
        taken[name].append(duration)
    return tuple(
        statistics.median(taken[node.name]) if node.name in taken else 0.0 for node in named.graph.node
    )


def _kernels(events: list[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            yield name.removesuffix("_kernel_time"), float(event["dur"])
