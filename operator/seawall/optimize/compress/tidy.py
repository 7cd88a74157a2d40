"""Graphs made ready for the quantisers, and their results made small.

onnxruntime's quantisers stumble over shapes that exporters leave behind ("Inferred shape and existing shape
differ"), cannot name what has no name, and leave long names behind themselves; of a small model those names
are a tenth of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.compress import clipping
from seawall.optimize.types import Graph

_MARK = ("onnx.quant.pre_process", "onnxruntime.quant")
_MARKS = (_MARK[0], "onnx.infer")
WEIGHT_AT = {"Conv": 1, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1, "Gather": 0}
"""Operators whose weights are worth quantising, and which of their inputs is the weight"""


def prepared(graph: Graph, folder: Path, clip: float | None, split_gemm: bool) -> Graph:
    """The same function with a name for every node and no remembered shapes; weights clipped if asked for.

    `split_gemm` turns Gemm into MatMul and Add, which is what the quantisers without Gemm take.
    """
    model = graphs.load(graph)
    del model.graph.value_info[:]
    _lift_constants(model)
    if split_gemm:
        _split_gemms(model)
    _name_nodes(model)
    if clip is not None:
        clipping.clip(model, weighted(model), clip)
    mark = model.metadata_props.add()
    mark.key, mark.value = _MARK  # without it the quantisers warn on the root logger
    return graphs.save(model, folder)


def weighted(model: Any) -> dict[str, str]:
    """Node name -> weight name of the nodes that have a matrix or more of constant float weights."""
    constants = graphs.initialisers(model)
    found = {}
    for node in model.graph.node:
        at = WEIGHT_AT.get(node.op_type)
        if node.domain or at is None or len(node.input) <= at:
            continue
        tensor = constants.get(node.input[at])
        if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 2:
            found[node.name] = tensor.name
    return found


def _lift_constants(model: Any) -> None:
    """Weights that an exporter wrote as Constant nodes: the quantisers look among the initialisers only."""
    kept = []
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type != "Constant" or value is None:
            kept.append(node)
            continue
        value.name = node.output[0]
        model.graph.initializer.append(value)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _name_nodes(model: Any) -> None:
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)


def _split_gemms(model: Any) -> None:
    constants = graphs.initialisers(model)
    fresh: list[Any] = []
    for node in model.graph.node:
        parts = _split(node, constants, model) if node.op_type == "Gemm" and not node.domain else None
        fresh.extend(parts or [node])
    del model.graph.node[:]
    model.graph.node.extend(fresh)
    drop_unused(model)


def _split(node: Any, constants: dict[str, Any], model: Any) -> list[Any] | None:
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    weight = constants.get(node.input[1])
    plain = options.get("alpha", 1.0) == 1.0 and options.get("beta", 1.0) == 1.0 and not options.get("transA")
    if weight is None or not plain:
        return None
    name = weight.name
    if options.get("transB"):
        name = f"{weight.name}/T"
        if name not in constants:
            values = np.ascontiguousarray(onnx.numpy_helper.to_array(weight).T)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
            constants[name] = model.graph.initializer[-1]
    biased = len(node.input) > 2 and bool(node.input[2])
    product = f"{node.output[0]}/product" if biased else node.output[0]
    parts = [onnx.helper.make_node("MatMul", [node.input[0], name], [product], name=node.name)]
    if biased:
        add = onnx.helper.make_node(
            "Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}/bias"
        )
        parts.append(add)
    return parts


def drop_unused(model: Any) -> None:
    """Initialisers that no node reads any more; left in, they would keep the file as large as it was."""
    used = {name for node in graphs.nodes(model.graph) for name in node.input}
    used |= {value.name for value in model.graph.output}
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name not in used:
            del model.graph.initializer[index]


def shrunk(graph: Graph, like: Graph, folder: Path) -> Graph:
    """Without remembered shapes, exporters' remarks and the quantiser's long names.

    Names that `like` has are kept: by them the layers of the two graphs are compared.
    """
    model = graphs.load(graph)
    keep = _names(graphs.load(like, weights=False))
    keep |= {v.name for v in (*model.graph.input, *model.graph.output)}
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    remarks = [entry for entry in model.metadata_props if entry.key not in _MARKS]
    del model.metadata_props[:]
    model.metadata_props.extend(remarks)
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if not name or name in keep else short.setdefault(name, f"q{len(short)}")

    flat = all(a.type not in (5, 10) for node in model.graph.node for a in node.attribute)
    for node in graphs.nodes(model.graph):
        del node.metadata_props[:]
        node.doc_string = ""
    if flat:  # names inside branches and loops have scopes of their own
        for node in model.graph.node:
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
            node.name = "" if node.op_type in _SCAFFOLD else node.name
        for tensor in model.graph.initializer:
            tensor.name, tensor.doc_string = renamed(tensor.name), ""
    return graphs.save(model, folder)


_SCAFFOLD = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def _names(model: Any) -> set[str]:
    used = {tensor.name for tensor in model.graph.initializer}
    for node in graphs.nodes(model.graph):
        used |= {*node.input, *node.output}
    return used
