"""ONNX made better: each rewrite is kept where the answers stay equal, and says so where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxslim
import pytest
from onnx import helper

from seawall.optimize import graph as graphs
from seawall.optimize.convert import convert, equal, onnx_model
from seawall.optimize.types import BuildOrder, Fetched, Graph, Refused, Target
from support import graphs as made

ORDER = BuildOrder("m", "onnx", Target("cpu", "cpu"))


def _convert(model: Any, tmp_path: Path, said: list[str] | None = None) -> Graph:
    source = tmp_path / "fetched" / "network.onnx"
    source.parent.mkdir()
    source.write_bytes(model.SerializeToString())
    fetched = Fetched(source, "onnx", "0", 0)
    return convert(
        fetched, ORDER, tmp_path / "graph", lambda _a, _b, text: said.append(text) if said else None
    )


def _reshaping(shape: list[int]) -> Any:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    weights = [made.constant("shape", shape, np.int64), made.floats("w", 12, 2)]
    return made.model(nodes, [made.value("x", [1, 3, 4])], [made.value("y", [1, 2])], weights)


FREED = [
    ("convolutions carry a batch through", lambda: made.cnn(batch=1)),
    ("a Reshape to [1, 12]", lambda: _reshaping([1, 12])),
    ("a Reshape to [1, -1]", lambda: _reshaping([1, -1])),
    ("a batch that varies already", made.cnn),
]


@pytest.mark.parametrize("build", [row[1] for row in FREED], ids=[row[0] for row in FREED])
def test_a_batch_of_one_becomes_any_batch(build: Callable[[], Any], tmp_path: Path) -> None:
    graph = _convert(build(), tmp_path)
    signature = graphs.signature(graph)
    assert signature.batched
    three = equal.made_up(signature, 3, seed=5)
    together = graphs.run(graphs.session(graph), three)[0]
    original = Graph(tmp_path / "original")
    graphs.save(build(), original.folder)
    alone = [graphs.run(graphs.session(original), equal.rows(three, i))[0] for i in range(3)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-6)
    assert graphs.notes(graph) == ()


def _mixing() -> Any:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], keepdims=1, axes=[0]),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    return made.model(nodes, [made.value("x", [1, 4])], [made.value("y", [1, 4])], opset=17)


def _hidden_constant() -> Any:
    nodes = [helper.make_node("Concat", ["x", "w"], ["c"], axis=0), helper.make_node("Relu", ["c"], ["d"])]
    nodes.append(helper.make_node("ReduceSum", ["d", "zero"], ["y"], keepdims=1))
    weights = [made.floats("w", 1, 4), made.constant("zero", [0], np.int64)]
    return made.model(nodes, [made.value("x", [1, 4])], [made.value("y", [1, 4])], weights)


def _fixed_at_four() -> Any:
    return made.model(
        [helper.make_node("Relu", ["x"], ["y"])], [made.value("x", [4, 2])], [made.value("y", [4, 2])]
    )


LEFT = [
    ("samples that are averaged with each other", _mixing, "not that of each alone"),
    ("samples that are added up with a constant", _hidden_constant, "not that of each alone"),
    ("a first dimension of four", _fixed_at_four, "fixed at more than 1"),
]


@pytest.mark.parametrize(("build", "words"), [row[1:] for row in LEFT], ids=[row[0] for row in LEFT])
def test_a_batch_that_would_change_the_answers_is_not_made_up(
    build: Callable[[], Any], words: str, tmp_path: Path
) -> None:
    said: list[str] = ["start"]
    graph = _convert(build(), tmp_path, said)
    assert not graphs.signature(graph).batched
    assert words in graphs.notes(graph)[0]
    assert said[-1] == graphs.notes(graph)[-1]


def test_an_old_opset_is_raised(tmp_path: Path) -> None:
    model = made.cnn(opset=11)
    model.ir_version = 6
    graph = _convert(model, tmp_path)
    raised = graphs.load(graph, weights=False)
    assert [entry.version for entry in raised.opset_import if not entry.domain] == [17]
    assert raised.ir_version <= 8


def test_an_opset_that_cannot_be_raised_stays_and_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_model: Any, _version: int) -> Any:
        raise RuntimeError("no adapter for Odd")

    monkeypatch.setattr(onnx_model.onnx.version_converter, "convert_version", broken)
    graph = _convert(made.cnn(opset=13), tmp_path)
    assert "stays at opset 13: RuntimeError: no adapter for Odd" in graphs.notes(graph)[0]


def _changed(model: Any) -> Any:
    model.graph.initializer[0].CopyFrom(made.floats("w1", 16, 1, 3, 3, seed=99))
    return model


def _renamed(model: Any) -> Any:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    return model


def _crash(_model: Any) -> Any:
    raise SystemExit(1)


SPOILT = [
    ("other weights", _changed, "output scores would change by"),
    ("other outputs", _renamed, "change its inputs or outputs"),
    ("an exit", _crash, "SystemExit"),
]


@pytest.mark.parametrize(("slim", "words"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_simplification_that_goes_wrong_is_dropped_and_noted(
    slim: Callable[[Any], Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxslim, "slim", slim)
    graph = _convert(made.cnn(), tmp_path)
    (note,) = graphs.notes(graph)
    assert note.startswith("the model was not simplified: ")
    assert words in note
    assert equal.difference(graphs.save(made.cnn(), tmp_path / "original"), graph) is None


def test_what_can_be_folded_is_folded(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["w"]),
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("MatMul", ["i", "w"], ["y"]),
    ]
    weights = [made.floats("a", 4, 4), made.floats("b", 4, 4, seed=1)]
    model = made.model(nodes, [made.value("x", ["n", 4])], [made.value("y", ["n", 4])], weights)
    graph = _convert(model, tmp_path)
    assert [node.op_type for node in graphs.load(graph, weights=False).graph.node] == ["MatMul"]


def test_models_too_large_for_the_version_converter_keep_their_opset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "INLINE_BYTES", 10_000)
    source = made.external(made.cnn(opset=13), tmp_path / "fetched")
    graph = convert(Fetched(source.folder, "onnx", "0", 0), ORDER, tmp_path / "graph", lambda *_: None)
    (note,) = graphs.notes(graph)
    assert "stays at opset 13: its weights are too large" in note
    assert equal.difference(source, graph) is None


@pytest.mark.parametrize("outside", [False, True], ids=["weights inside", "weights outside"])
def test_large_models_are_simplified_around_their_weights(
    outside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "INLINE_BYTES", 10_000)
    seen: list[int] = []
    slim = onnxslim.slim

    def watched(model: Any) -> Any:
        seen.append(graphs.weight_bytes(model))
        return slim(model)

    monkeypatch.setattr(onnxslim, "slim", watched)
    model = made.cnn()
    model.graph.node.insert(0, helper.make_node("Identity", ["image"], ["same"]))
    model.graph.node[1].input[0] = "same"
    source = tmp_path / "fetched"
    if outside:
        made.external(model, source)
    else:
        source.mkdir()
        (source / "model.onnx").write_bytes(model.SerializeToString())
    graph = convert(Fetched(source, "onnx", "0", 0), ORDER, tmp_path / "graph", lambda *_: None)
    kinds = [node.op_type for node in graphs.load(graph, weights=False).graph.node]
    assert "Identity" not in kinds
    assert graph.path.stat().st_size < 10_000
    assert seen[0] < 10_000
    assert graphs.notes(graph) == ()
    assert equal.difference(Graph(source), graph) is None


FOLDERS = [
    ("a folder with one model of any name", ["a/net.onnx"], "net.onnx"),
    ("a folder with model.onnx among others", ["model.onnx", "other.onnx"], "model.onnx"),
    ("a folder without a model", ["readme.md"], None),
    ("a folder with two models", ["a.onnx", "b.onnx"], None),
]


@pytest.mark.parametrize(("files", "expected"), [r[1:] for r in FOLDERS], ids=[r[0] for r in FOLDERS])
def test_the_model_of_a_folder_is_found_or_refused(
    files: list[str], expected: str | None, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if expected:
        assert onnx_model.source(tmp_path).name == expected
    else:
        with pytest.raises(Refused, match=r"InvalidModel: the folder .* holds"):
            onnx_model.source(tmp_path)


def test_a_format_that_no_build_starts_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="FormatUnknown"):
        convert(Fetched(tmp_path, "caffe", "0", 0), ORDER, tmp_path / "graph", lambda *_: None)


def test_a_model_with_custom_operators_is_refused_before_it_runs(tmp_path: Path) -> None:
    node = helper.make_node("Magic", ["x"], ["y"], name="odd", domain="com.example")
    model = made.model([node], [made.value("x", [1, 2])], [made.value("y", [1, 2])], domains=["com.example"])
    with pytest.raises(Refused, match="CustomOps"):
        _convert(model, tmp_path)
    assert not (tmp_path / "graph").exists()


def test_conversion_leaves_no_scratch_behind(tmp_path: Path) -> None:
    _convert(made.cnn(batch=1), tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fetched", "graph"]
