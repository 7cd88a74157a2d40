"""ONNX to better ONNX: batch dimension, opset, simplification, each kept only where the answers stay equal.

A step that fails or changes the answers leaves the model as it was, and a note says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxslim

from seawall.optimize import check
from seawall.optimize import graph as graphs
from seawall.optimize.convert import batch, equal
from seawall.optimize.types import Fetched, Graph, Refused

OPSET = 17

Step = Callable[[Graph, Path], "Graph | str | None"]
"""A better graph, or why there is none, or None where nothing is to be done"""


def convert(fetched: Fetched, folder: Path) -> Graph:
    """Raises Refused for what is no usable ONNX at all."""
    with tempfile.TemporaryDirectory(dir=_parent(folder)) as scratch:
        graph = graphs.copy(source(fetched.path), Path(scratch) / "original")
        check.structure(graph)
        return improve(graph, folder)


def improve(graph: Graph, folder: Path) -> Graph:
    """What every converter ends with; `graph` is left as it is, the result is written to `folder`."""
    notes: list[str] = list(graphs.notes(graph))
    with tempfile.TemporaryDirectory(dir=_parent(folder)) as scratch:
        for number, step in enumerate((parted, batch.freed, upgraded, slimmed)):
            result = step(graph, Path(scratch) / str(number))
            if isinstance(result, Graph):
                graph = result
            elif result:
                notes.append(result)
        model = graphs.load(graph, weights=False)
        kept = [entry for entry in model.metadata_props if entry.key != graphs.NOTES_KEY]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        graphs.add_notes(model, tuple(notes))
        return graphs.save_structure(model, graph, folder)


def source(path: Path) -> Path:
    """The one model file of what was fetched."""
    if path.is_file():
        return path
    found = sorted(path.rglob("*.onnx"))
    named = [file for file in found if file.name == "model.onnx"]
    if len(named) == 1 or len(found) == 1:
        return (named if len(named) == 1 else found)[0]
    what = f"{len(found)} .onnx files and none or several" if found else "no .onnx file, let alone one"
    raise Refused("InvalidModel", f"the folder {path.name} holds {what} called model.onnx")


def upgraded(graph: Graph, folder: Path) -> Graph | str | None:
    model = graphs.load(graph, weights=False)
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=OPSET)
    if version >= OPSET:
        return None
    label = f"the model stays at opset {version}"
    if graphs.weight_bytes(model) > graphs.INLINE_BYTES:
        return f"{label}: its weights are too large for the version converter"
    try:
        newer = onnx.version_converter.convert_version(graphs.load(graph), OPSET)
    except Exception as error:  # noqa: BLE001 the converter raises bare C++ errors
        return f"{label}: {_line(error)}"
    return _if_equal(newer, graph, folder, label)


def slimmed(graph: Graph, folder: Path) -> Graph | str | None:
    label = "the model was not simplified"
    model = graphs.load(graph, weights=False)
    aside = _set_aside(model)
    try:
        slim = onnxslim.slim(model)
    except (Exception, SystemExit) as error:  # noqa: BLE001 onnxslim raises whatever its passes meet
        return f"{label}: {_line(error)}"
    _put_back(slim, aside)
    return _if_equal(slim, graph, folder, label)


def _set_aside(model: Any) -> dict[str, Any]:
    """Weights in files of their own become inputs meanwhile: onnxslim would hold them seven times over."""
    aside = {t.name: t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    aside = {name: onnx.TensorProto.FromString(tensor.SerializeToString()) for name, tensor in aside.items()}
    listed = {value.name for value in model.graph.input}
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name in aside:
            del model.graph.initializer[index]
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        for name, tensor in aside.items()
        if name not in listed
    )
    return aside


def _put_back(model: Any, aside: dict[str, Any]) -> None:
    used = {name for node in graphs.nodes(model.graph) for name in node.input}
    used |= {value.name for value in model.graph.output}
    for index in reversed(range(len(model.graph.input))):
        if model.graph.input[index].name in aside:
            del model.graph.input[index]
    model.graph.initializer.extend(tensor for name, tensor in aside.items() if name in used)


def parted(graph: Graph, folder: Path) -> Graph | None:
    """Large weights in a file of their own, so that the next steps need not read them."""
    if graphs.inline_bytes(graphs.parse(graph.path)) <= graphs.INLINE_BYTES:
        return None
    return graphs.save(graphs.load(graph), folder)


def _if_equal(model: Any, original: Graph, folder: Path, label: str) -> Graph | str:
    # a serving runtime may be older than the libraries here
    model.ir_version = min(model.ir_version, max(graphs.parse(original.path).ir_version, 8))
    better = graphs.save_structure(model, original, folder)
    try:
        if graphs.signature(better) != graphs.signature(original):
            return f"{label}: that would change its inputs or outputs"
        if difference := equal.difference(original, better):
            return f"{label}: {difference}"
    except Refused as problem:
        return f"{label}: {problem.message}"
    return better


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _parent(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.parent
