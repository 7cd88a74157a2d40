"""Where an ONNX graph and a model's configuration disagree, told in one sentence; no server needed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "images" / "triton-cpu" / "onnxruntime" / "graph.py"


def load() -> ModuleType:
    """The adapter's module, by path: in the image it lies beside the adapter and in no package."""
    spec = importlib.util.spec_from_file_location("triton_cpu_graph", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


graph = load()


def argument(name: str, kind: str, *shape: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, type=f"tensor({kind})", shape=list(shape))


def entry(name: str, kind: str, *dims: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": list(dims), **more}


X, Y = argument("x", "float", "n", 4), argument("y", "float", None, 3)

AGREE = {
    "batched, the graph's first dimension open": ([entry("x", "FP32", 4)], [entry("y", "FP32", 3)], 8),
    "unbatched, the batch in the dimensions": ([entry("x", "FP32", -1, 4)], [entry("y", "FP32", -1, 3)], 0),
    "unbatched, one size of an open dimension": ([entry("x", "FP32", 2, 4)], [entry("y", "FP32", 2, 3)], 0),
    "no output of the graph wanted": ([entry("x", "FP32", 4)], [], 8),
    "a client's shape that is reshaped": (
        [entry("x", "FP32", 2, 2, reshape={"shape": ["4"]})],
        [entry("y", "FP32", 1, 3, reshape={"shape": ["3"]})],
        8,
    ),
}


def check(inputs: list[Any], outputs: list[Any], batch: int, offered: list[Any] | None = None) -> None:
    config = {"max_batch_size": batch, "input": inputs, "output": outputs}
    graph.check(config, graph.read_tensors(offered or [X]), graph.read_tensors([Y]), {})


@pytest.mark.parametrize("case", AGREE)
def test_agreement_is_accepted(case: str) -> None:
    check(*AGREE[case])


DIFFER = {
    "a rank": ([entry("x", "FP32", -1, 4)], [], 8, None, "dimensions [-1, 4] in the graph and [-1, -1, 4]"),
    "a size": ([entry("x", "FP32", 5)], [], 8, None, "dimensions [-1, 4] in the graph and [-1, 5]"),
    "a type": ([entry("x", "INT64", 4)], [], 8, None, "is TYPE_FP32 in the graph and TYPE_INT64"),
    "a name": ([entry("x", "FP32", 4)], [entry("z", "FP32", 3)], 8, None, "output 'z' is not in the graph"),
    "an input forgotten": ([], [], 8, None, "input 'x' of the graph is missing in the configuration"),
    "a fixed batch": (
        [entry("x", "FP32", 4)],
        [],
        8,
        [argument("x", "float", 1, 4)],
        "fixed first dimension of 1 in the graph: max_batch_size must be 0, not 8",
    ),
}


@pytest.mark.parametrize("case", DIFFER)
def test_difference_is_named(case: str) -> None:
    inputs, outputs, batch, offered, words = DIFFER[case]
    with pytest.raises(graph.InvalidModel) as caught:
        check(inputs, outputs, batch, offered)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["bfloat16", "complex64", "float8e4m3fn"])
def test_a_type_that_cannot_be_carried_is_refused(kind: str) -> None:
    with pytest.raises(graph.InvalidModel, match=f"'x' is a tensor\\({kind}\\)"):
        graph.read_tensors([argument("x", kind, 1)])


COMPLETED = {
    "batched": ([], 8, [entry("x", "FP32", 4)]),
    "unbatched": ([], 0, [entry("x", "FP32", -1, 4)]),
    "already there": ([entry("x", "FP32", 4)], 8, []),
}


@pytest.mark.parametrize("case", COMPLETED)
def test_missing_entries_are_completed(case: str) -> None:
    present, batch, wanted = COMPLETED[case]
    assert graph.completions(present, graph.read_tensors([X]), batch) == wanted


THREADS = {
    "the container's default": ({}, "3", 3),
    "the model's own": ({"intra_op_thread_count": {"string_value": "2"}}, "3", 2),
    "none": ({"intra_op_thread_count": {"string_value": "0"}}, "3", None),
    "words": ({"intra_op_thread_count": {"string_value": "all"}}, "3", None),
    "a default in words": ({}, "many", None),
}


@pytest.mark.parametrize("case", THREADS)
def test_threads(case: str) -> None:
    parameters, default, wanted = THREADS[case]
    if wanted is None:
        with pytest.raises(graph.InvalidModel, match="must be a whole number from 1 to 1024"):
            graph.threads(parameters, "intra_op_thread_count", default)
    else:
        assert graph.threads(parameters, "intra_op_thread_count", default) == wanted
