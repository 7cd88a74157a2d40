"""A stage written as a model of its own: its operators, its weights, and the tensors it takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.split.blocks import Blocks, Crossing
from seawall.optimize.types import Graph, Refused


@dataclass(frozen=True, slots=True)
class Piece:
    """One stage on disk, not measured yet."""

    graph: Graph
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    crossing_bytes: int


def extract(graph: Graph, blocks: Blocks, cuts: Sequence[int], folder: Path) -> list[Piece]:
    """Below `folder`, stage-1 and on. Raises Refused."""
    bounds = list(zip([0, *cuts], [*cuts, len(blocks.nodes)], strict=True))
    crossings = [blocks.crossing(start, end) for start, end in bounds]
    for name in blocks.outputs:
        if name not in blocks.maker:
            raise Refused("CannotSplit", f"output {name} is made by no operator")
    pieces = []
    for number, ((start, end), crossing) in enumerate(zip(bounds, crossings, strict=True), 1):
        wanted = set(blocks.outputs).union(*(later.tensors for later in crossings[number:]))
        outputs = [n for node in blocks.nodes[start:end] for n in node.output if n in wanted]
        if not outputs:
            raise Refused("CannotSplit", f"stage {number} would give nothing")
        model = _model(blocks, crossing, start, end, outputs)
        onnx.external_data_helper.load_external_data_for_model(model, str(graph.folder))
        stage = graphs.save(model, folder / f"stage-{number}")
        inputs = tuple(value.name for value in model.graph.input)
        pieces.append(Piece(stage, inputs, tuple(outputs), blocks.crossing_bytes(crossing)))
    return pieces


def _model(blocks: Blocks, crossing: Crossing, start: int, end: int, outputs: Sequence[str]) -> Any:
    whole = blocks.model
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    weights = set().union(*(blocks.reads[i] for i in [*crossing.again, *range(start, end)])) & blocks.weights
    graph, old = model.graph, whole.graph
    for field in ("node", "input", "output", "initializer", "sparse_initializer", "value_info"):
        graph.ClearField(field)
    graph.node.extend(blocks.nodes[index] for index in [*sorted(crossing.again), *range(start, end)])
    graph.input.extend(value for value in old.input if value.name in crossing.inputs)
    graph.input.extend(_value_info(blocks, name) for name in sorted(crossing.tensors, key=blocks.maker.get))  # type: ignore[arg-type]
    known = {value.name: value for value in old.output}
    graph.output.extend(known.get(name) or _value_info(blocks, name) for name in outputs)
    graph.initializer.extend(tensor for tensor in old.initializer if tensor.name in weights)
    # Some fusing needs to know shapes, which the runtime does not always infer again from half a graph.
    inside = {name for node in graph.node for name in node.output} - set(outputs)
    graph.value_info.extend(value for value in old.value_info if value.name in inside)
    graph.sparse_initializer.extend(s for s in old.sparse_initializer if s.values.name in weights)
    return model


def _value_info(blocks: Blocks, name: str) -> Any:
    value = blocks.values[name]
    dims = list(value.dims)
    if blocks.batched and dims:
        dims[0] = _batch_symbol(blocks)
    return onnx.helper.make_tensor_value_info(name, value.elem_type, dims)


def _batch_symbol(blocks: Blocks) -> str:
    """One symbol for the batch everywhere: that is what tells a batch from any other open dimension."""
    first = next(v for v in blocks.model.graph.input if v.name in blocks.inputs)
    return first.type.tensor_type.shape.dim[0].dim_param or "batch"
