"""Models that must not be built, each with the one sentence that its owner reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from seawall.optimize import graph as graphs
from seawall.optimize.check import check, memory_estimate
from seawall.optimize.types import BuildOrder, Refused, Target
from support import graphs as made

CPU = Target("laptop", "cpu")


def order(batch: int = 8, instances: int = 1, target: Target = CPU) -> BuildOrder:
    return BuildOrder("m", "onnx", target, max_batch_size=batch, instances=instances)


def _custom(domain: str, kind: str, name: str = "odd") -> Any:
    node = helper.make_node(kind, ["x"], ["y"], name=name, domain=domain)
    return made.model(
        [node], [made.value("x", ["n", 2])], [made.value("y", ["n", 2])], domains=[domain] if domain else []
    )


def _custom_in_branch() -> Any:
    inner = helper.make_node("Magic", ["x"], ["y"], name="hidden", domain="com.example")
    branch = helper.make_graph([inner], "b", [], [made.value("y", ["n", 2])])
    node = helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch)
    return made.model(
        [node],
        [made.value("c", [], 9), made.value("x", ["n", 2])],
        [made.value("out", ["n", 2])],
        domains=["com.example"],
    )


def _wrong_types() -> Any:
    node = helper.make_node("Add", ["x", "w"], ["y"], name="sum")
    weight = made.constant("w", [1, 2], np.int64)
    return made.model([node], [made.value("x", ["n", 2])], [made.value("y", ["n", 2])], [weight])


def _wrong_shapes() -> Any:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    return made.model(
        [node], [made.value("x", ["n", 3])], [made.value("y", ["n", 2])], [made.floats("w", 5, 2)]
    )


def _loose_end() -> Any:
    return made.model(
        [helper.make_node("Relu", ["nowhere"], ["y"])],
        [made.value("x", ["n", 2])],
        [made.value("y", ["n", 2])],
    )


def _bf16_add() -> Any:
    node = helper.make_node("Add", ["x", "x"], ["y"], name="sum")
    return made.model([node], [made.value("x", ["n", 2], 16)], [made.value("y", ["n", 2], 16)])


REFUSED = [
    ("an operator of one's own", lambda: _custom("com.example", "Magic"), "CustomOps", "com.example::Magic"),
    ("the node is named", lambda: _custom("com.example", "Magic"), "CustomOps", "'odd'"),
    ("a nameless node is named by its output", lambda: _custom("x.y", "Z", ""), "CustomOps", "gives 'y'"),
    ("an invented standard operator", lambda: _custom("", "Relux"), "CustomOps", "Relux"),
    ("a TensorRT plugin", lambda: _custom("trt", "TRT_FP8QuantizeLinear"), "CustomOps", "trt::TRT_FP8"),
    ("an operator of one's own in a branch", _custom_in_branch, "CustomOps", "'hidden'"),
    ("types that do not fit", _wrong_types, "InvalidModel", "ONNX Runtime cannot load"),
    ("shapes that do not fit", _wrong_shapes, "InvalidModel", "ONNX Runtime cannot load"),
    ("an input that comes from nowhere", _loose_end, "InvalidModel", "not valid ONNX"),
    ("bf16, for which the CPU has no kernel", _bf16_add, "InvalidModel", "ONNX Runtime cannot load"),
    ("one image at a time", lambda: made.cnn(batch=1), "InvalidModel", "set maxBatchSize: 0"),
]


@pytest.mark.parametrize(("build", "reason", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_a_model_that_cannot_be_served_is_refused(
    build: Callable[[], Any], reason: str, words: str, tmp_path: Path
) -> None:
    graph = graphs.save(build(), tmp_path / "m")
    with pytest.raises(Refused) as caught:
        check(graph, CPU, order())
    assert caught.value.reason == reason
    assert words in caught.value.message


def test_a_function_of_the_model_itself_is_no_custom_operator(tmp_path: Path) -> None:
    model = _custom("own", "Twice")
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(
        helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    )
    assert check(graphs.save(model, tmp_path / "m"), CPU, order()).batched


@pytest.mark.parametrize("size", [0, 1])
def test_a_model_without_batches_is_fine_where_none_are_asked_for(size: int, tmp_path: Path) -> None:
    graph = graphs.save(made.cnn(batch=1), tmp_path / "m")
    assert not check(graph, CPU, order(size)).batched


MEMORY = [
    ("plenty", 1 << 30, 8, 1, False),
    ("less than the weights", 10_000, 1, 1, True),
    ("enough for the weights, not for the batch", 1 << 20, 64, 1, True),
    ("enough for the same at batch 1", 1 << 20, 1, 1, False),
    ("enough for one instance, not for twelve", 1 << 20, 1, 12, True),
]


@pytest.mark.parametrize(
    ("memory", "batch", "instances", "refused"), [r[1:] for r in MEMORY], ids=[r[0] for r in MEMORY]
)
def test_a_model_larger_than_the_memory_is_refused(
    memory: int, batch: int, instances: int, refused: bool, tmp_path: Path
) -> None:
    graph = graphs.save(made.cnn(channels=32), tmp_path / "m")
    target = Target("small", "cpu", memory_bytes=memory)
    if not refused:
        assert check(graph, target, order(batch, instances, target)).batched
        return
    with pytest.raises(Refused, match="small has") as caught:
        check(graph, target, order(batch, instances, target))
    assert caught.value.reason == "OutOfMemory"
    assert caught.value.details["estimatedBytes"] > memory


def test_memory_counts_what_lives_at_once(tmp_path: Path) -> None:
    """A chain of ten: two results at a time, not ten."""
    nodes = [helper.make_node("Relu", [f"x{i}"], [f"x{i + 1}"]) for i in range(10)]
    model = made.model(nodes, [made.value("x0", ["n", 1000])], [made.value("x10", ["n", 1000])])
    signature = graphs.signature_of(model)
    assert memory_estimate(model, signature, 4) == 2 * 4 * 1000 * 4
