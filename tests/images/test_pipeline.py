"""A model cut in two, laid out by the fetcher, in the real Triton: it answers as the whole model does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from tritonclient.utils import InferenceServerException

from seawall.fetch.ensemble import stage_name
from seawall.optimize import graph as graphs
from seawall.optimize.split import SplitModel, split
from seawall.optimize.types import Graph, Samples
from support.asking import ask, metrics
from support.placed import flags, inputs, place

pytestmark = pytest.mark.node
WIDTH = 192
RNG = np.random.default_rng(3)
STAGES = [stage_name("pipe", number) for number in (1, 2)]


def sentences(folder: Path) -> Graph:
    """Token ids of any length, a mask that both stages need, and six layers."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["t0"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=Type.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
    ]
    weights = {"table": RNG.normal(size=(50, WIDTH)), "last": np.array([2]), "axis": np.array([1])}
    for n in range(6):
        nodes += [
            helper.make_node("MatMul", [f"t{n}", f"w{n}"], [f"m{n}"]),
            helper.make_node("Mul", [f"m{n}", "column"], [f"k{n}"]),
            helper.make_node("Tanh", [f"k{n}"], [f"t{n + 1}"]),
        ]
        weights[f"w{n}"] = RNG.normal(0, WIDTH**-0.5, (WIDTH, WIDTH))
    nodes.append(helper.make_node("ReduceSum", ["t6", "axis"], ["embedding"], keepdims=0))
    nodes.append(helper.make_node("ReduceMax", ["t3", "axis"], ["middle"], keepdims=0))
    ends = [
        [helper.make_tensor_value_info(name, Type.INT64, ["n", "length"]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info(name, Type.FLOAT, ["n", WIDTH]) for name in ("embedding", "middle")],
    ]
    tensors = [
        numpy_helper.from_array(a.astype(np.float32) if a.dtype.kind == "f" else a, name)
        for name, a in weights.items()
    ]
    made = helper.make_graph(nodes, "graph", *ends, tensors)
    return graphs.save(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder
    )


def tokens(count: int, length: int = 24) -> dict[str, np.ndarray]:
    ids = RNG.integers(0, 50, (count, length))
    return {"ids": ids, "mask": (np.arange(length) < RNG.integers(4, length, (count, 1))).astype(np.int64)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return sentences(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def cut(whole: Graph, tmp_path_factory: pytest.TempPathFactory) -> SplitModel:
    return split(whole, 2, Samples(tokens(16)), tmp_path_factory.mktemp("cut"))


ASKED = inputs("onnx", "pipeline", pipeline=2, instances=2, model={"maxBatchSize": 8})


@pytest.fixture(scope="module")
def server(start: Any, cut: SplitModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    models = tmp_path_factory.mktemp("models")
    folder = cut.stages[0].graph.folder.parent
    place("pipe", ASKED, folder, models, cut.layout)
    models.chmod(0o755)
    with start(models, *flags(ASKED)) as running:
        running.wait(lambda: running.answers("/v2/models/pipe/versions/1/ready"))
        yield running


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("count", "length"), [(1, 24), (8, 24), (3, 7)])
def test_it_answers_as_the_whole(server: Any, whole: Graph, protocol: str, count: int, length: int) -> None:
    feed = tokens(count, length)
    found = ask(server, protocol, "pipe", **feed)
    session = graphs.session(whole)
    names = [entry.name for entry in session.get_outputs()]
    assert sorted(found) == sorted(names)
    for name, wanted in zip(names, session.run(None, feed), strict=True):
        np.testing.assert_allclose(found[name], wanted, atol=1e-5, rtol=1e-5)


def test_answers_of_many_at_once_are_everyones_own(server: Any, whole: Graph) -> None:
    feeds = [tokens(1) for _ in range(24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda feed: ask(server, "grpc", "pipe", **feed)["embedding"], feeds))
    session = graphs.session(whole)
    for feed, one in zip(feeds, found, strict=True):
        np.testing.assert_allclose(one, session.run(["embedding"], feed)[0], atol=1e-5, rtol=1e-5)


def test_too_large_a_batch_is_the_clients_error(server: Any) -> None:
    with pytest.raises(InferenceServerException, match="8"):
        ask(server, "http", "pipe", **tokens(9))


def test_every_stage_has_the_instances_that_were_asked_for(server: Any) -> None:
    for name in STAGES:
        config = server.get(f"/v2/models/{name}/config")
        assert [(g["kind"], g["count"]) for g in config["instance_group"]] == [("KIND_CPU", 2)]
        assert {s["name"] for s in config["model_warmup"]} == {"batch-1", "batch-8"}
    assert stubs(server) == dict.fromkeys(STAGES, 2)


def stubs(server: Any) -> dict[str, int]:
    """Processes of the Python backend below the server, by the model that they run."""
    found: dict[str, int] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = next(line.split()[1] for line in status.read_text().splitlines() if line[:5] == "PPid:")
            command = status.with_name("cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # ended meanwhile
        if int(parent) == server.process.pid and "python_backend_stub" in command[0]:
            name = Path(command[1]).parts[2]
            found[name] = found.get(name, 0) + 1
    return found


def test_the_services_metrics_are_the_ensembles_alone(server: Any) -> None:
    ask(server, "grpc", "pipe", **tokens(1))
    mine = [line for line in metrics(server) if '_inferenceservice="pipe"' in line]
    assert mine
    assert all('model="pipe"' in line for line in mine)
    assert any(line.startswith("nv_inference_request_summary_us{") for line in mine)


MEETING = """\
import time
from pathlib import Path
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.mine = Path("/tmp", args["model_instance_name"])

    def execute(self, requests):
        self.mine.touch()
        end = time.monotonic() + 20
        while len(list(Path("/tmp").glob("pair_*"))) < 2:
            if time.monotonic() > end:
                raise RuntimeError("nobody else is at work")
            time.sleep(0.01)
        found = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array)]) for array in found]
"""


def test_two_instances_work_at_the_same_time(start: Any, tmp_path: Path) -> None:
    fetched, models = tmp_path / "fetched", tmp_path / "models"
    fetched.mkdir()
    models.mkdir()
    (fetched / "model.py").write_text(MEETING)
    ends = {
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2]}],
    }
    asked = inputs("python", instances=2, model={"config": ends})
    place("pair", asked, fetched, models)
    tmp_path.chmod(0o755)
    models.chmod(0o755)
    with start(models, *flags(asked)) as server:
        server.wait(lambda: server.answers("/v2/models/pair/versions/1/ready"))
        assert stubs(server) == {"pair": 2}
        rows = [np.full(2, value, np.float32) for value in (1, 2)]
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda row: ask(server, "grpc", "pair", x=row)["y"], rows))
    np.testing.assert_array_equal(found, rows)
