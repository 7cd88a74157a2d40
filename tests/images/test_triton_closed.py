"""The flags that Seawall gives Triton, on the real server: what is closed on both protocols, and what stays open."""

from __future__ import annotations

import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from images.test_triton_cpu import AFFINE, WEIGHTS, X, affine, ask, write
from seawall.desired import triton
from seawall.desired.inputs import RevisionInputs

pytestmark = pytest.mark.node
KEY = str(uuid.uuid4())
MODEL = {"uri": "s3://models/a.onnx", "format": "onnx"}
RUNTIME = {"image": "triton-cpu:1", "tritonVersion": "24.10"}
PLATFORM = {"type": "cpu", "runtime": RUNTIME, "fetcherImage": "seawall:1", "templateVersion": 3}
INPUTS = RevisionInputs({"model": MODEL, "accelerator": {"class": "cpu"}}, PLATFORM, "20ms")


def flags() -> list[str]:
    """As the kubelet hands them over, without the repository, which the image's stand names itself."""
    given = [flag.replace(f"$({triton.KEY_VARIABLE})", KEY) for flag in triton.server_args(INPUTS)]
    assert not [flag for flag in given if "$(" in flag]
    return [flag for flag in given if not flag.startswith(("--model-repository", "--allow-gpu-metrics"))]


@pytest.fixture(scope="module")
def server(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    models = tmp_path_factory.mktemp("models")
    write(models, "affine", affine(), AFFINE)
    with start(models, *flags()) as running:
        running.wait(lambda: running.answers("/v2/health/ready"))
        yield running


def http(server: Any, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    body = b"{}" if method == "POST" else None
    request = urllib.request.Request(f"http://{server.http}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


CLOSED_HTTP = {
    "what models there are": ("POST", "/v2/repository/index"),
    "load": ("POST", "/v2/repository/models/affine/load"),
    "unload": ("POST", "/v2/repository/models/affine/unload"),
    "shared memory": ("GET", "/v2/systemsharedmemory/status"),
    "register shared memory": ("POST", "/v2/systemsharedmemory/region/r/register"),
    "CUDA shared memory": ("GET", "/v2/cudasharedmemory/status"),
    "trace settings": ("GET", "/v2/trace/setting"),
    "a model's trace settings": ("POST", "/v2/models/affine/trace/setting"),
    "log settings": ("GET", "/v2/logging"),
    "change the log": ("POST", "/v2/logging"),
}
WRONG = {
    "no key": {},
    "another key": {triton.KEY_HEADER: str(uuid.uuid4())},
    "an empty key": {triton.KEY_HEADER: ""},
}


@pytest.mark.parametrize("key", WRONG)
@pytest.mark.parametrize("case", CLOSED_HTTP)
def test_over_http_it_is_refused_without_the_key(server: Any, case: str, key: str) -> None:
    status, words = http(server, *CLOSED_HTTP[case], WRONG[key])
    assert (status, "restricted" in words) == (403, True), words


def test_over_http_the_key_opens_it(server: Any) -> None:
    headers = {triton.KEY_HEADER: KEY}
    status, words = http(server, "POST", "/v2/repository/index", headers)
    assert (status, '"affine"' in words) == (200, True)
    assert http(server, "GET", "/v2/logging", headers)[0] == 200
    status, words = http(server, "POST", "/v2/repository/models/affine/unload", headers)
    assert (status, "not allowed" in words) == (503, True), "the control mode stays none, key or no key"


Call = Callable[[grpc.InferenceServerClient, dict[str, str]], Any]
CLOSED_GRPC: dict[str, Call] = {
    "what models there are": lambda client, h: client.get_model_repository_index(headers=h),
    "load": lambda client, h: client.load_model("affine", headers=h),
    "unload": lambda client, h: client.unload_model("affine", headers=h),
    "shared memory": lambda client, h: client.get_system_shared_memory_status(headers=h),
    "register shared memory": lambda client, h: client.register_system_shared_memory("r", "/r", 8, headers=h),
    "CUDA shared memory": lambda client, h: client.get_cuda_shared_memory_status(headers=h),
    "trace settings": lambda client, h: client.get_trace_settings(headers=h),
    "change the trace": lambda client, h: client.update_trace_settings(
        settings={"trace_file": "/models/t"}, headers=h
    ),
    "log settings": lambda client, h: client.get_log_settings(headers=h),
    "change the log": lambda client, h: client.update_log_settings({"log_file": "/models/l"}, headers=h),
}
METADATA = f"triton-grpc-protocol-{triton.KEY_HEADER}"


@pytest.mark.parametrize("headers", [{}, {METADATA: str(uuid.uuid4())}, {triton.KEY_HEADER: KEY}])
@pytest.mark.parametrize("case", CLOSED_GRPC)
def test_over_grpc_it_is_refused_without_the_key(server: Any, case: str, headers: dict[str, str]) -> None:
    with (
        grpc.InferenceServerClient(server.grpc) as client,
        pytest.raises(InferenceServerException, match="expecting header") as refusal,
    ):
        CLOSED_GRPC[case](client, headers)
    assert refusal.value.status() == "StatusCode.UNAVAILABLE"


def test_over_grpc_the_key_opens_it(server: Any) -> None:
    with grpc.InferenceServerClient(server.grpc) as client:
        (model,) = client.get_model_repository_index(headers={METADATA: KEY}).models
    assert model.name == "affine"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_inference_needs_no_key(server: Any, protocol: str) -> None:
    np.testing.assert_allclose(ask(server, protocol, "affine", x=X).as_numpy("y"), X @ WEIGHTS + 1)


OPEN = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/affine",
    "/v2/models/affine/versions/1/ready",
    "/v2/models/affine/config",
    "/v2/models/affine/stats",
)


@pytest.mark.parametrize("path", OPEN)
def test_what_probes_and_the_operator_ask_needs_no_key(server: Any, path: str) -> None:
    assert http(server, "GET", path, {})[0] == 200


def test_the_operators_own_client_is_answered(server: Any) -> None:
    with grpc.InferenceServerClient(server.grpc) as client:
        assert client.is_server_ready()
        assert client.get_model_config("affine").config.name == "affine"
        assert client.get_model_metadata("affine").name == "affine"
        assert client.get_inference_statistics("affine").model_stats[0].name == "affine"
    assert server.metric("nv_inference_request_success", model="affine") >= 0


def test_the_key_is_in_no_log(server: Any) -> None:
    assert KEY not in server.log.read_text()


def test_the_server_of_a_build_answers_the_pod_alone(start: Any, tmp_path: Path) -> None:
    write(tmp_path, "affine", affine(), AFFINE)
    given = [flag.replace(f"$({triton.KEY_VARIABLE})", KEY) for flag in triton.build_args("24.10")]
    assert "--grpc-address=127.0.0.1" in given, "as this stand has it for every server"
    with start(tmp_path, *(flag for flag in given if "-address" not in flag)) as server:
        server.wait(lambda: server.answers("/v2/health/live"))
        for case in ("load", "what models there are", "log settings", "shared memory"):
            assert http(server, *CLOSED_HTTP[case], {})[0] == 403, case
        for path in ("/v2", "/v2/models/affine/config", "/v2/models/affine/stats"):
            assert http(server, "GET", path, {})[0] == 403, path
        assert http(server, "POST", "/v2/models/affine/infer", {})[0] == 403
        with grpc.InferenceServerClient(server.grpc) as client:
            client.load_model("affine")
            assert client.is_model_ready("affine")
        np.testing.assert_allclose(ask(server, "grpc", "affine", x=X).as_numpy("y"), X @ WEIGHTS + 1)


def test_a_server_that_does_not_know_the_flags_gets_none() -> None:
    old = RevisionInputs(INPUTS.user, PLATFORM | {"runtime": RUNTIME | {"tritonVersion": "23.10"}}, "20ms")
    assert not [flag for flag in triton.server_args(old) if "restricted" in flag]
