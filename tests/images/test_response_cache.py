"""The response cache of the real Triton: equal questions are answered without the model, and the p99 stays true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper

from seawall.desired import triton
from seawall.fetch.ensemble import stage_name
from seawall.optimize.split import split
from seawall.optimize.types import MODEL_FILE, Graph, Samples
from support.asking import ask, metrics
from support.placed import flags, inputs, place

pytestmark = pytest.mark.node
WIDTH = 256
RNG = np.random.default_rng(5)
CACHE = {"size": "4Mi"}
VERSION = "24.10"
ASKED = {
    "cached": inputs("onnx", cache=CACHE, model={"maxBatchSize": 4}),
    "plain": inputs("onnx", model={"maxBatchSize": 4}),
    "staged": inputs("onnx", "pipeline", pipeline=2, cache=CACHE, model={"maxBatchSize": 4}),
}


def graph(folder: Path) -> Graph:
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["m"]),
        helper.make_node("Tanh", ["m"], ["t"]),
        helper.make_node("MatMul", ["t", "b"], ["y"]),
    ]
    ends = [[helper.make_tensor_value_info(name, Type.FLOAT, ["n", WIDTH])] for name in ("x", "y")]
    weights = [
        numpy_helper.from_array(RNG.normal(0, 0.06, (WIDTH, WIDTH)).astype(np.float32), n) for n in "ab"
    ]
    made = helper.make_graph(nodes, "graph", *ends, weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    folder.mkdir()
    onnx.save(model, folder / MODEL_FILE)
    return Graph(folder)


def rows(count: int = 2) -> np.ndarray:
    return RNG.normal(size=(count, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def server(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Services share this server, as their pods would not; each is laid out as for a pod of its own."""
    folder = tmp_path_factory.mktemp("cache")
    models = folder / "models"
    models.mkdir()
    found = split(graph(folder / "whole"), 2, Samples({"x": rows(16)}), folder / "cut")
    for name in ("cached", "plain"):
        place(name, ASKED[name], graph(folder / name).folder, models)
    place("staged", ASKED["staged"], folder / "cut", models, found.layout)
    for path in (folder, models):
        path.chmod(0o755)
    with start(models, *flags(ASKED["cached"])) as running:
        running.wait(lambda: running.answers("/v2/health/ready"))
        yield running


def hits(server: Any, model: str) -> float:
    return server.metric("nv_cache_num_hits_per_model", model=model)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("service", "counted"), [("cached", "cached"), ("staged", stage_name("staged", 1))])
def test_an_equal_question_is_answered_from_the_cache_to_the_same_bits(
    server: Any, protocol: str, service: str, counted: str
) -> None:
    x = rows()
    before, ran = hits(server, counted), server.metric("nv_inference_exec_count", model=counted)
    first = ask(server, protocol, service, x=x)["y"]
    assert hits(server, counted) == before
    again = ask(server, protocol, service, x=x)["y"]
    assert hits(server, counted) == before + 1
    assert server.metric("nv_inference_exec_count", model=counted) == ran + 1
    np.testing.assert_array_equal(first, again)


def test_another_question_is_not(server: Any) -> None:
    before = hits(server, "cached")
    x = rows()
    first = ask(server, "grpc", "cached", x=x)["y"]
    x[0, 0] += 1e-3
    assert np.abs(ask(server, "grpc", "cached", x=x)["y"] - first).max() > 0
    assert hits(server, "cached") == before


def test_who_has_not_asked_for_the_cache_has_none(server: Any) -> None:
    x = rows()
    for _ in range(2):
        ask(server, "grpc", "plain", x=x)
    assert hits(server, "plain") == 0


SOURCES = {"plain": (False, False), "cached": (True, False), "staged": (True, True)}


@pytest.mark.parametrize("service", SOURCES)
def test_the_source_of_the_p99_counts_every_answer_those_of_the_cache_too(server: Any, service: str) -> None:
    def counted() -> float:
        return server.metric("nv_inference_request_summary_us_count", model=service)

    source = triton.latency_source(VERSION, *SOURCES[service])
    before, x = counted(), rows()
    for _ in range(3):
        ask(server, "http", service, x=x)
    if source is None:
        assert not [m for m in metrics(server) if "request_summary" in m and f'model="{service}"' in m]
    else:
        assert source == "TritonSummary"
        assert counted() == before + 3
