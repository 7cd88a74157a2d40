"""Precisions of a GPU made with nvidia-modelopt, proven on a CPU, and the search for layers to leave alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seawall.optimize.gpu.environment import GPU, run_script
from seawall.optimize.gpu.exclude import Attempt, fewest_excluded
from seawall.optimize.gpu.quantize import compress
from seawall.optimize.gpu.rewrite import gemm_to_matmul
from seawall.optimize.gpu.sensitivity import by_outliers
from seawall.optimize.gpu.simulate import runnable
from seawall.optimize.gpu.stored import store_quantised
from seawall.optimize.gpu.tables import cast_tables
from seawall.optimize.graph import save
from seawall.optimize.types import Graph, Refused, Samples
from support.gpugraphs import answers, cnn, context, cosine, images, made, proof, weights

NAMES = [f"layer{number}" for number in range(16)]


def kinds(graph: Graph) -> set[str]:
    model = onnx.load(graph.path)
    return {TensorProto.DataType.Name(init.data_type) for init in model.graph.initializer}


@pytest.mark.parametrize(
    ("preset", "kind", "ratio", "least"),
    [
        ("fp16", "FLOAT16", 1.9, 0.9999),
        ("bf16", "BFLOAT16", 1.9, 0.999),
        ("int8", "INT8", 2.1, 0.98),
        ("fp8", "FLOAT8E4M3FN", 2.1, 0.99),
        ("int4", "INT4", 2.0, 0.95),
    ],
)
def test_a_precision_is_in_the_graph_and_proven_on_a_cpu(
    preset: str, kind: str, ratio: float, least: float, tmp_path: Path, with_gpu: str
) -> None:
    graph = cnn(tmp_path / "graph")
    compressed = compress(preset, graph, context(graph, preset, floor=least), tmp_path / "made")
    assert kind in kinds(compressed.graph)
    assert graph.bytes / compressed.graph.bytes > ratio
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["model.onnx"]
    simulated = runnable(compressed.graph, tmp_path / "simulated")
    assert cosine(answers(graph, images()), answers(simulated, images())) >= least
    assert preset in compressed.method


def test_a_preset_that_would_change_nothing_is_refused(tmp_path: Path, with_gpu: str) -> None:
    """Its quantiser leaves small layers as they are without a word: the result would be fp16 called fp8."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], "dense")]
    graph = made(tmp_path / "graph", nodes, {"w": weights(1, 8, 3)}, ("x", [None, 8]), ("y", [None, 3]))
    asked = context(cnn(tmp_path / "other"), "fp8", measure=lambda candidate: proof(1.0))
    asked = replace(asked, calibration=Samples({"x": weights(3, 32, 8)}))
    with pytest.raises(Refused, match="ask for fp16") as refused:
        compress("fp8", graph, asked, tmp_path / "made")
    assert refused.value.reason == "PresetUnsupported"


def test_layers_that_hurt_are_left_alone(tmp_path: Path, with_gpu: str) -> None:
    """The proof fails until the first convolution is out: the search finds exactly that."""
    graph = cnn(tmp_path / "graph")

    def picky(candidate: Graph) -> Any:
        nodes = {node.name: node for node in onnx.load(candidate.path).graph.node}
        return proof(0.5 if "Dequantize" in nodes["conv1"].input[0] else 1.0)

    asked = context(graph, "int8", measure=picky)
    found = compress("int8", graph, asked, tmp_path / "made", rank=lambda *given: ["conv1", "conv2"])
    assert found.excluded == ("conv1",)
    inputs = {node.name: list(node.input) for node in onnx.load(found.graph.path).graph.node}
    assert not any("Dequantize" in name for name in inputs["conv1"])
    assert any("Dequantize" in name for name in inputs["conv2"])


def test_the_layer_with_outliers_suffers_most(tmp_path: Path) -> None:
    """Its inputs hold one value far from all others; the layers behind it inherit none of its rank."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], "before"),
        helper.make_node("Mul", ["a", "far"], ["b"], "stretch"),
        helper.make_node("MatMul", ["b", "w2"], ["c"], "outliers"),
        helper.make_node("Tanh", ["c"], ["d"], "tame"),
        helper.make_node("MatMul", ["d", "w3"], ["y"], "after"),
    ]
    far = np.ones(256, np.float32)
    far[3] = 1000
    constants = {"w1": weights(1, 16, 256), "w2": weights(2, 256, 16), "w3": weights(3, 16, 4), "far": far}
    graph = made(tmp_path / "graph", nodes, constants, ("x", [None, 16]), ("y", [None, 4]))
    order = by_outliers(graph, Samples({"x": weights(4, 8, 16)}), ("MatMul",))
    assert order[0] == "outliers"
    assert set(order) == {"before", "outliers", "after"}


def test_below_the_floor_it_is_refused_with_numbers(tmp_path: Path, with_gpu: str) -> None:
    graph = cnn(tmp_path / "graph")
    asked = context(graph, "fp16", measure=lambda candidate: proof(0.42), seconds=0)
    with pytest.raises(
        Refused, match=r"fp16 reaches cosine 0\.4200 on 32 samples, the floor is 0\.9900"
    ) as refused:
        compress("fp16", graph, asked, tmp_path / "made")
    assert refused.value.reason == "AccuracyBelowFloor"


@pytest.mark.parametrize(
    ("environ", "said"),
    [({}, "needs nvidia-modelopt"), ({GPU: "/nowhere/python"}, "no interpreter /nowhere/python")],
    ids=["no environment", "an environment that is gone"],
)
def test_without_the_library_it_is_refused(
    environ: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(GPU, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    graph = cnn(tmp_path / "graph")
    with pytest.raises(Refused, match=said):
        compress("int8", graph, context(graph, "int8"), tmp_path / "made")


def test_what_the_library_says_is_handed_on(tmp_path: Path, with_gpu: str) -> None:
    """A graph whose only operator nobody knows."""
    graph = cnn(tmp_path / "graph")
    model = onnx.load(graph.path)
    asked = context(graph, "int8", measure=lambda candidate: proof(1.0))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, graph.path)
    with pytest.raises(Refused, match="nvidia-modelopt made no int8 graph") as refused:
        compress("int8", graph, asked, tmp_path / "made")
    assert "NoSuchOperator" in refused.value.message


def test_a_job_without_end_is_ended(tmp_path: Path, with_gpu: str) -> None:
    script = tmp_path / "endless.py"
    script.write_text("import time\nwhile True: time.sleep(1)\n")
    with pytest.raises(Refused, match="took longer"):
        run_script(Path(with_gpu), script, {}, seconds=0.5)


@pytest.mark.parametrize(
    ("needed", "expected", "attempts"),
    [(0, 0, 1), (1, 1, 2), (3, 3, 5), (8, 8, 7), (9, None, 5)],
    ids=["none hurts", "one hurts", "three hurt", "half of them", "more than half: refused"],
)
def test_the_search_excludes_as_few_as_it_must(needed: int, expected: int | None, attempts: int) -> None:
    asked: list[int] = []

    def attempt(excluded: tuple[str, ...]) -> Attempt:
        asked.append(len(excluded))
        return Attempt(excluded, proof(1.0 if len(excluded) >= needed else len(excluded) / 100))

    best = fewest_excluded(attempt, lambda: NAMES, len(NAMES), 1e9, lambda: 0.0)
    assert best.proof.passed == (expected is not None)
    assert len(best.excluded) == (8 if expected is None else expected)
    assert len(asked) == attempts


def test_the_search_begins_nothing_after_its_time() -> None:
    now = iter([0.0, 1.0, 11.0])
    tried: list[int] = []

    def attempt(excluded: tuple[str, ...]) -> Attempt:
        tried.append(len(excluded))
        return Attempt(excluded, proof(0.5))

    fewest_excluded(attempt, lambda: NAMES, len(NAMES), 10.0, lambda: next(now))
    assert tried == [0, 1]


VALUES = np.array([[1.001, 3.14159, 100.7, 300, 1000.0]], np.float32)


def rounding(folder: Path, small: int, opset: int) -> Graph:
    if small == TensorProto.BFLOAT16:
        nodes = [
            helper.make_node("Cast", ["x"], ["small"], to=small),
            helper.make_node("Add", ["small", "zero"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.FLOAT),
        ]
        held = [helper.make_tensor("zero", small, [1], [0.0])]
    else:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["small"]),
            helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["y"]),
        ]
        held = [helper.make_tensor("scale", 1, [], [1.0]), helper.make_tensor("zero", small, [], [0])]
    ends = [helper.make_tensor_value_info(name, 1, ["n", 5]) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], held)
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10),
        folder / "model.onnx",
    )
    return Graph(folder)


@pytest.mark.parametrize(
    ("small", "opset", "rounded"),
    [
        (TensorProto.BFLOAT16, 22, [1.0, 3.140625, 100.5, 300, 1000]),
        (TensorProto.FLOAT8E4M3FN, 19, [1.0, 3.25, 104, 288, 448]),
        (TensorProto.FLOAT8E5M2, 19, [1.0, 3.0, 96, 320, 1024]),
    ],
    ids=["bf16 keeps 8 bits", "fp8 keeps 4 bits and ends at 448", "the other fp8 keeps 3 bits"],
)
def test_the_simulation_rounds_as_the_device_does(
    small: int, opset: int, rounded: list[float], tmp_path: Path
) -> None:
    simulated = runnable(rounding(tmp_path / "graph", small, opset), tmp_path / "simulated")
    assert answers(simulated, Samples({"x": VALUES})).tolist() == [rounded]


def lookup(folder: Path, kind: int) -> Graph:
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["small"], to=kind),
        helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
    ]
    return made(folder, nodes, {"table": weights(1, 50, 8)}, ("x", [None]), ("y", [None, 8]))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16], ids=["fp16", "bf16"])
def test_a_table_of_words_is_kept_in_the_type_of_its_rows(kind: int, tmp_path: Path) -> None:
    graph = lookup(tmp_path / "graph", kind)
    model = onnx.load(graph.path)
    assert cast_tables(model) == 1
    assert model.graph.initializer[0].data_type == kind
    small = save(model, tmp_path / "made")
    assert small.bytes < graph.bytes * 0.7
    data = Samples({"x": np.arange(50, dtype=np.float32)})
    assert (answers(runnable(small, tmp_path / "simulated"), data) == answers(graph, data)).all()


@pytest.mark.parametrize(
    ("small", "opset"), [(TensorProto.INT8, 18), (TensorProto.FLOAT8E4M3FN, 19)], ids=["int8", "fp8"]
)
def test_weights_are_stored_as_what_they_are_quantised_to(small: int, opset: int, tmp_path: Path) -> None:
    """onnxruntime quantises the ones of the original, numpy those that are stored: not one value differs."""
    wide = weights(1, 64, 32)
    scale = (np.abs(wide).max(0) / 100).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], axis=1),
        helper.make_node("Mul", ["d", "x"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, [64, 32]) for name in "xy"]
    held = [
        numpy_helper.from_array(wide, "w"),
        numpy_helper.from_array(scale, "scale"),
        helper.make_tensor("zero", small, [32], [0] * 32),
    ]
    made = helper.make_graph(nodes, "graph", ends[:1], ends[1:], held)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    before = save(model, tmp_path / "graph")
    assert store_quantised(model) == 1
    after = save(model, tmp_path / "made")
    assert after.bytes < before.bytes * 0.5
    data = Samples({"x": np.ones((64, 32), np.float32)})
    assert (answers(after, data) == answers(before, data)).all()
    assert (answers(runnable(after, tmp_path / "simulated"), data) == answers(before, data)).all()


def test_a_table_that_is_read_in_float_too_stays(tmp_path: Path) -> None:
    model = onnx.load(lookup(tmp_path / "graph", TensorProto.FLOAT16).path)
    model.graph.node.append(helper.make_node("Neg", ["rows"], ["minus"]))
    assert cast_tables(model) == 0
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT


def test_a_graph_that_a_cpu_runs_is_no_simulation(tmp_path: Path) -> None:
    graph = cnn(tmp_path / "graph")
    assert runnable(graph, tmp_path / "simulated") is graph


@pytest.mark.parametrize(
    ("options", "shape", "bias"),
    [
        ({}, (8, 3), True),
        ({"transB": 1}, (3, 8), True),
        ({"alpha": 0.5, "beta": 2.0}, (8, 3), True),
        ({"transB": 1, "alpha": 2.0}, (3, 8), False),
    ],
    ids=["as it is", "transposed", "scaled", "without a bias"],
)
def test_a_gemm_becomes_a_matmul_with_the_same_answers(
    options: dict[str, Any], shape: tuple[int, int], bias: bool, tmp_path: Path
) -> None:
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    constants = {"w": weights(1, *shape)} | ({"b": weights(2, 3, 1).ravel()} if bias else {})
    nodes = [helper.make_node("Gemm", inputs, ["y"], "dense", **options)]
    graph = made(tmp_path / "graph", nodes, constants, ("x", [None, 8]), ("y", [None, 3]))
    model = onnx.load(graph.path)
    assert gemm_to_matmul(model) == 1
    onnx.checker.check_model(model)
    (tmp_path / "made").mkdir()
    onnx.save(model, tmp_path / "made" / "model.onnx")
    data = Samples({"x": weights(3, 5, 8)})
    np.testing.assert_allclose(answers(graph, data), answers(Graph(tmp_path / "made"), data), atol=1e-6)
    assert Counter(node.op_type for node in model.graph.node)["Gemm"] == 0
