"""Candidates measured in the real Triton of the triton-cpu image, loaded and unloaded by the profiler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seawall.decide.build_result import parse_result
from seawall.optimize import job
from seawall.optimize.triton_profile import Server, onnx_model, profile
from seawall.optimize.types import MODEL_FILE, Graph, Refused, Samples, Signature, TensorSpec
from support import builds

pytestmark = pytest.mark.node

SIGNATURE = Signature(
    (TensorSpec("x", "float32", (None, 64)),), (TensorSpec("y", "float32", (None, 64)),), batched=True
)
SAMPLES = Samples({"x": np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)})


def chain(folder: Path, layers: int) -> Graph:
    """So many square layers: its cost is known to grow with their number."""
    random = np.random.default_rng(1)
    names = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(layers)]
    weights = [
        numpy_helper.from_array((random.standard_normal((64, 64)) / 8).astype(np.float32), f"w{i}")
        for i in range(layers)
    ]
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 64])] for n in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "chain", *ends, weights),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    folder.mkdir(parents=True)
    onnx.save(model, folder / MODEL_FILE)
    return Graph(folder)


@pytest.fixture(scope="module")
def server(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    repository = tmp_path_factory.mktemp("repository")
    repository.chmod(0o755)
    with start(repository, "--model-control-mode=explicit") as running:
        running.wait(lambda: running.answers("/v2/health/ready"))
        yield running, repository


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("shared", [True, False], ids=["files in a shared folder", "files in the request"])
def test_both_candidates_are_timed_in_the_server(
    server: tuple[Any, Path], tmp_path: Path, scheme: str, shared: bool
) -> None:
    running, repository = server
    url = f"{scheme}://{running.http if scheme == 'http' else running.grpc}"
    models = {
        "build-original": onnx_model(chain(tmp_path / "long", 60), 4, 1),
        "build-int8": onnx_model(chain(tmp_path / "short", 1), 4, 1),
    }
    made = profile(
        Server(url, repository if shared else None),
        models,
        SIGNATURE,
        SAMPLES,
        (1, 4),
        original="build-original",
        seconds=1.0,
    )
    short = made["build-int8"]
    assert [b.size for b in short.batches] == [1, 4]
    assert short.source == "triton"
    assert short.overhead_ms > 0
    assert short.cold_start_seconds is not None
    # Sixty layers against one, in the server's own clock: no busy machine turns that around.
    assert all(b.ratio_to_original is not None and b.ratio_to_original < 1 for b in short.batches)
    states = {m["name"]: m.get("state") for m in running.post("/v2/repository/index")}
    assert "READY" not in states.values()


def test_a_model_that_triton_refuses_is_a_refusal_in_its_words(
    server: tuple[Any, Path], tmp_path: Path
) -> None:
    running, repository = server
    served = onnx_model(chain(tmp_path / "good", 1), 4, 1)
    (tmp_path / "good" / MODEL_FILE).write_bytes(b"cut short")
    with pytest.raises(Refused, match="Triton cannot load build-bad") as caught:
        profile(
            Server(f"http://{running.http}", repository),
            {"build-bad": served},
            SIGNATURE,
            SAMPLES,
            (1,),
            original="build-bad",
            seconds=1.0,
        )
    assert caught.value.reason == "ProfileFailed"


def test_a_build_is_measured_in_the_server_beside_it(
    server: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phases as a ModelBuild's pod runs them, with the repository that both share."""
    running, repository = server
    work = tmp_path / "work"
    work.mkdir()
    (work / "repository").symlink_to(repository)
    environment = {
        "SEAWALL_BUILD": builds.order(tmp_path).to_json(),
        "SEAWALL_ARTIFACTS": "pvc://builds/models",
        "SEAWALL_BUILD_ARTIFACTS_MOUNT": str(tmp_path / "volume"),
        "SEAWALL_BUILD_PORT": "0",
        "SEAWALL_TERMINATION_LOG": str(tmp_path / "last-words"),
        "SEAWALL_TRITON": f"grpc://{running.grpc}",
    }
    monkeypatch.setattr(job, "PROFILE_SECONDS", 2.0)
    assert job.main(("prepare", "compress", "finish"), environment, work) == 0
    told = parse_result((tmp_path / "last-words").read_text(), "pvc://builds/models")
    assert told.result["profile"]["source"] == "triton"
    assert [batch["size"] for batch in told.result["profile"]["batches"]] == [1, 2]
    assert float(told.result["profile"]["overheadMs"]) > 0
