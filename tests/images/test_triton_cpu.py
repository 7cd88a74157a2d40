"""The real Triton of the triton-cpu image, with real models, asked as clients ask it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

pytestmark = pytest.mark.node

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)
KUBERNETES_KEEPS = 2048  # bytes of a log's end that become the message of a dead container

ECHO = """\
import time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        time.sleep({seconds})
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(request, "x").as_numpy())]
            )
            for request in requests
        ]
"""


def graph(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, tuple[int, list[Any]]],
    **constants: np.ndarray,
) -> bytes:
    ends = [
        [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in side.items()]
        for side in (inputs, outputs)
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph([helper.make_node(*node) for node in nodes], "graph", *ends, weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def affine(batch: Any = "n", kind: int = Type.FLOAT) -> bytes:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return graph(
        [("MatMul", ["x", "w"], ["m"]), ("Add", ["m", "b"], ["y"]), ("Neg", ["y"], ["minus"])],
        {"x": (kind, [batch, 4])},
        {"y": (kind, [batch, 3]), "minus": (kind, [batch, 3])},
        w=WEIGHTS.astype(dtype),
        b=np.ones(3, dtype),
    )


TOKENS = graph(
    [("Gather", ["table", "ids"], ["rows"]), ("ReduceSum", ["rows", "axis"], ["y"], "sum", "", "")],
    {"ids": (Type.INT64, ["n", "length"])},
    {"y": (Type.FLOAT, ["n", 1, 4])},
    table=TABLE,
    axis=np.array([1]),
)
WORDS = graph([("StringConcat", ["x", "x"], ["y"])], {"x": (Type.STRING, ["n"])}, {"y": (Type.STRING, ["n"])})


def tensor(name: str, kind: str, *dims: int) -> str:
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: {list(dims)} }}'


def config(inputs: str, outputs: str, *, batch: int = 0, backend: str = "onnxruntime", more: str = "") -> str:
    return (
        f'backend: "{backend}"\nmax_batch_size: {batch}\ninput [ {inputs} ]\noutput [ {outputs} ]\n'
        f"instance_group [ {{ count: 1 kind: KIND_CPU }} ]\n{more}\n"
    )


BATCHED = "dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [ 8 ] }"
AFFINE = config(tensor("x", "FP32", 4), tensor("y", "FP32", 3), batch=8, more=BATCHED)


def write(models: Path, name: str, content: bytes, text: str, filename: str = "model.onnx") -> None:
    folder = models / name / "1"
    folder.mkdir(parents=True)
    if content:
        (folder / filename).write_bytes(content)
    if text:
        (models / name / "config.pbtxt").write_text(text)
    for path in (models, *models.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture(scope="module")
def server(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    models = tmp_path_factory.mktemp("models")
    both = f"{tensor('y', 'FP32', 3)}, {tensor('minus', 'FP32', 3)}"
    write(models, "affine", affine(), config(tensor("x", "FP32", 4), both, batch=8, more=BATCHED))
    half = config(tensor("x", "FP16", -1, 4), tensor("y", "FP16", -1, 3))
    write(models, "half", affine(kind=Type.FLOAT16), half)
    tokens = config(tensor("ids", "INT64", -1), tensor("y", "FP32", 1, 4), batch=8, more=BATCHED)
    write(models, "tokens", TOKENS, tokens)
    write(models, "words", WORDS, config(tensor("x", "STRING", -1), tensor("y", "STRING", -1)))
    strings = config(tensor("x", "STRING", 1), tensor("y", "STRING", 1), batch=4, backend="python")
    write(models, "echo", ECHO.format(seconds=0).encode(), strings, "model.py")
    threads = 'parameters { key: "intra_op_thread_count" value: { string_value: "2" } }'
    reshaped = tensor("y", "FP32", 3).replace("dims: [3]", "dims: [1, 3] reshape: { shape: [3] }")
    write(models, "shaped", affine(), config(tensor("x", "FP32", 4), reshaped, batch=8, more=threads))
    with start(models, "--disable-auto-complete-config", "--log-info=false") as running:
        running.wait(lambda: running.answers("/v2/health/ready"))
        yield running


def ask(server: Any, protocol: str, model: str, outputs: tuple[str, ...] = ("y",), **arrays: Any) -> Any:
    library, address = (http, server.http) if protocol == "http" else (grpc, server.grpc)
    inputs = []
    for name, array in arrays.items():
        inputs.append(library.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    wanted = [library.InferRequestedOutput(name) for name in outputs]
    with library.InferenceServerClient(address) as client:
        return client.infer(model, inputs, outputs=wanted)


X = np.array([[1, 2, 3, 4], [0, -1, 0.5, 2]], np.float32)
IDS = np.array([[1, 2, 3], [9, 0, 0]])
WORD = np.array([b"sea", "wäll".encode()], np.object_)
RIGHT = {
    "a batched float model": ("affine", {"x": X}, X @ WEIGHTS + 1),
    "a half model without batching": ("half", {"x": X.astype(np.float16)}, (X @ WEIGHTS + 1)),
    "token ids of any length": ("tokens", {"ids": IDS}, TABLE[IDS].sum(axis=1, keepdims=True)),
    "strings through ONNX": ("words", {"x": WORD}, np.array([w + w for w in WORD], np.object_)),
    "strings through a model in Python": ("echo", {"x": WORD.reshape(2, 1)}, WORD.reshape(2, 1)),
    "an output shown in another shape": ("shaped", {"x": X}, (X @ WEIGHTS + 1).reshape(2, 1, 3)),
}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("case", RIGHT)
def test_answers_are_right(server: Any, protocol: str, case: str) -> None:
    model, arrays, wanted = RIGHT[case]
    answer = ask(server, protocol, model, **arrays).as_numpy("y")
    assert answer.shape == wanted.shape
    if wanted.dtype == np.object_:
        assert answer.tolist() == wanted.tolist()
    else:
        np.testing.assert_allclose(answer.astype(np.float32), wanted, rtol=1e-3)


def test_only_requested_outputs_come_back(server: Any) -> None:
    answer = ask(server, "http", "affine", outputs=("minus",), x=X)
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["minus"]
    np.testing.assert_allclose(answer.as_numpy("minus"), -(X @ WEIGHTS + 1))


def runs(server: Any, model: str) -> float:
    return server.metric("nv_inference_exec_count", model=model)


def test_concurrent_requests_share_a_run_and_keep_their_own_answers(server: Any) -> None:
    rows = [np.full((1, 4), value, np.float32) for value in range(8)]
    single = [ask(server, "grpc", "affine", x=row).as_numpy("y") for row in rows]
    before = runs(server, "affine")
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: ask(server, "grpc", "affine", x=row).as_numpy("y"), rows))
    assert runs(server, "affine") - before < len(rows)
    np.testing.assert_array_equal(np.concatenate(together), np.concatenate(single))


def test_one_bad_request_in_a_batch_fails_alone(server: Any) -> None:
    rows = [np.array([[n, 1]]) for n in range(7)] + [np.array([[1, 99]])]

    def attempt(ids: np.ndarray) -> Any:
        try:
            return ask(server, "grpc", "tokens", ids=ids).as_numpy("y")
        except InferenceServerException as error:
            return error

    before = runs(server, "tokens")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, rows))
    assert runs(server, "tokens") - before < len(rows)
    for ids, answer in zip(rows[:7], answers[:7], strict=True):
        np.testing.assert_array_equal(answer, TABLE[ids].sum(axis=1, keepdims=True))
    assert "INVALID_ARGUMENT" in answers[7].status()
    assert "99" in answers[7].message()


REFUSED = {
    "a wrong shape": ("affine", {"x": np.zeros((1, 5), np.float32)}, r"unexpected shape for input 'x'"),
    "a wrong type": (
        "affine",
        {"x": np.zeros((1, 4), np.int64)},
        r"inference input 'x' data-type is 'INT64'",
    ),
    "too large a batch": (
        "affine",
        {"x": np.zeros((9, 4), np.float32)},
        r"exceed max_batch_size|must be <= 8",
    ),
    "bytes that are no text": (
        "words",
        {"x": np.array([b"\xff"], np.object_)},
        r"'x' holds a string that is not",
    ),
}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_the_clients_error_and_says_why(server: Any, protocol: str, case: str) -> None:
    model, arrays, why = REFUSED[case]
    with pytest.raises(InferenceServerException) as caught:
        ask(server, protocol, model, **arrays)
    assert re.search(why, caught.value.message())
    assert caught.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")


def test_a_configuration_without_tensors_is_completed_from_the_graph(start: Any, tmp_path: Path) -> None:
    write(tmp_path, "bare", affine(), 'backend: "onnxruntime"\nmax_batch_size: 4\n')
    with start(tmp_path) as server:
        server.wait(lambda: server.answers("/v2/health/ready"))
        known = server.get("/v2/models/bare/config")
        ends = [
            [(end["name"], end["data_type"], end["dims"]) for end in known[k]] for k in ("input", "output")
        ]
        assert ends == [[("x", "TYPE_FP32", [4])], [("y", "TYPE_FP32", [3]), ("minus", "TYPE_FP32", [3])]]
        np.testing.assert_allclose(ask(server, "http", "bare", x=X).as_numpy("y"), X @ WEIGHTS + 1)


IN, OUT = tensor("x", "FP32", 4), tensor("y", "FP32", 3)
BROKEN = {
    "cut-short": (affine()[:90], AFFINE, "ONNX Runtime .* refuses model.onnx: .*Protobuf parsing failed"),
    "absent": (b"", AFFINE, "there is no file model.onnx in version 1"),
    "other-type": (
        affine(),
        config(tensor("x", "FP16", 4), OUT, batch=8),
        "input 'x' is TYPE_FP32 in the graph and TYPE_FP16 in the configuration",
    ),
    "other-shape": (
        affine(),
        config(IN, tensor("y", "FP32", 5), batch=8),
        r"output 'y' has dimensions \[-1, 3\] in the graph and \[-1, 5\] in the configuration",
    ),
    "other-name": (
        affine(),
        config(tensor("z", "FP32", 4), OUT, batch=8),
        "input 'z' is not in the graph, which has x; input 'x' of the graph is missing",
    ),
    "fixed-batch": (
        affine(batch=2),
        AFFINE,
        "fixed first dimension of 2 in the graph: max_batch_size must be 0",
    ),
    "bfloat": (
        graph([("Identity", ["x"], ["y"])], {"x": (Type.BFLOAT16, [4])}, {"y": (Type.BFLOAT16, [4])}),
        config(tensor("x", "BF16", 4), tensor("y", "BF16", 4)),
        r"'x' is a tensor\(bfloat16\), which Triton's Python interface cannot carry",
    ),
    "threads": (
        affine(),
        AFFINE + 'parameters { key: "intra_op_thread_count" value: { string_value: "all" } }',
        "intra_op_thread_count is 'all'; it must be a whole number",
    ),
}


def test_what_cannot_be_served_says_why(start: Any, tmp_path: Path) -> None:
    for name, (content, text, _) in BROKEN.items():
        write(tmp_path, name, content, text)
    with start(tmp_path, "--disable-auto-complete-config", "--exit-on-error=false") as server:
        server.wait(lambda: server.answers("/v2/health/live"))
        reasons = {entry["name"]: entry["reason"] for entry in server.post("/v2/repository/index")}
    for name, (_, _, why) in BROKEN.items():
        assert re.search(why, reasons[name]), f"{name}: {reasons[name]}"


def test_the_reason_is_in_what_kubernetes_keeps_of_a_dead_container(start: Any, tmp_path: Path) -> None:
    content, text, why = BROKEN["cut-short"]
    write(tmp_path, "broken", content, text)
    with start(tmp_path, "--disable-auto-complete-config", "--log-info=false") as server:
        assert server.process.wait(timeout=60) == 1
        assert re.search(why, server.log.read_bytes()[-KUBERNETES_KEEPS:].decode())
        said = server.termination_log.read_text()
        assert re.fullmatch(rf"model 'broken' cannot be served: {why}.*\n", said)


def test_sigterm_lets_requests_in_flight_finish(start: Any, tmp_path: Path) -> None:
    slow = config(tensor("x", "FP32", 4), tensor("y", "FP32", 4), backend="python")
    write(tmp_path, "slow", ECHO.format(seconds=0.5).encode(), slow, "model.py")
    with start(tmp_path, "--exit-timeout-secs=20") as server:
        server.wait(lambda: server.answers("/v2/health/ready"))
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, server, "grpc", "slow", x=X[0] + n) for n in range(4)]
            server.wait(lambda: server.metric("nv_inference_pending_request_count", model="slow") == 3)
            assert server.stop() == 0
            for n, answer in enumerate(asked):
                np.testing.assert_array_equal(answer.result().as_numpy("y"), X[0] + n)
