"""The synthetic question, put to a small server that speaks Triton's HTTP protocol and answers what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
import socket
from dataclasses import dataclass, field

import numpy as np
import pytest
from aiohttp import web
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from seawall.adapters.triton import TritonInference
from seawall.decide.types import Verdict, VerificationRequest

DIGITS = {
    "config": {
        "name": "digits",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": ["1", "8", "8"]}],
        "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": ["10"]}],
    },
    "metadata": {
        "name": "digits",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}],
    },
}


def scores(inputs, _call):
    return {"scores": inputs["image"].reshape(len(inputs["image"]), -1)[:, :10]}


@dataclass
class FakeTriton:
    """Answers like Triton: tensors in the binary extension, errors as {"error": …}."""

    model: dict
    compute: object = scores
    delay: float = 0.0
    tamper: object = None
    """changes the answer's JSON header and its bytes just before they leave"""
    requests: list = field(default_factory=list)
    calls: itertools.count = field(default_factory=itertools.count)

    @contextlib.asynccontextmanager
    async def serving(self):
        app = web.Application(client_max_size=2**28)
        app.router.add_get("/v2/models/digits/config", self._config)
        app.router.add_get("/v2/models/digits", self._metadata)
        app.router.add_post("/v2/models/digits/infer", self._infer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        finally:
            await runner.cleanup()

    async def _config(self, _request):
        return web.json_response(self.model["config"])

    async def _metadata(self, _request):
        return web.json_response(self.model["metadata"])

    async def _infer(self, request):
        await asyncio.sleep(self.delay)
        body = await request.read()
        header_size = int(request.headers["Inference-Header-Content-Length"])
        header, offset, inputs = json.loads(body[:header_size]), header_size, {}
        for tensor in header["inputs"]:
            size = tensor["parameters"]["binary_data_size"]
            data = body[offset : offset + size]
            offset += size
            if tensor["datatype"] == "BYTES":
                inputs[tensor["name"]] = data
                continue
            array = np.frombuffer(data, triton_to_np_dtype(tensor["datatype"]))
            inputs[tensor["name"]] = array.reshape(tensor["shape"])
        self.requests.append((header, inputs))
        answer = self.compute(inputs, next(self.calls))
        return answer if isinstance(answer, web.Response) else self._encoded(answer)

    def _encoded(self, outputs):
        described, chunks = [], []
        for name, array in outputs.items():
            datatype = np_to_triton_dtype(array.dtype)
            data = serialize_byte_tensor(array).item() if datatype == "BYTES" else array.tobytes()
            parameters = {"binary_data_size": len(data)}
            described.append(
                {"name": name, "datatype": datatype, "shape": list(array.shape), "parameters": parameters}
            )
            chunks.append(data)
        if self.tamper:
            self.tamper(described, chunks)
        header = json.dumps({"model_name": "digits", "model_version": "1", "outputs": described}).encode()
        return web.Response(
            body=header + b"".join(chunks), headers={"Inference-Header-Content-Length": str(len(header))}
        )


def model(**changes):
    made = copy.deepcopy(DIGITS)
    for key, value in changes.items():
        made[key].update(value)
    return made


def python_model():
    return model(config={"platform": "python", "backend": "python"})


def refuse(status, message):
    return lambda _inputs, _call: web.json_response({"error": message}, status=status)


def no_bytes(described, chunks):
    described[0]["parameters"]["binary_data_size"] = 0
    chunks[0] = b""


def fewer_bytes_than_said(_described, chunks):
    chunks[0] = chunks[0][:8]


def called(name, value):
    def change(described, _chunks):
        described[0][name] = value

    return change


def with_value(value):
    def compute(inputs, call):
        out = scores(inputs, call)["scores"].copy()
        out[0, 3] = value
        return {"scores": out}

    return compute


def random_values(inputs, call):
    out = scores(inputs, call)["scores"]
    return {"scores": out + np.float32(call)}


def random_length(inputs, call):
    return {"scores": np.ones((len(inputs["image"]), 10 + call), np.float32)}


def mixed_rows(inputs, call):
    out = scores(inputs, call)["scores"].copy()
    if len(out) == 2:
        out[1] = out[1, ::-1]
    return {"scores": out}


def almost_the_same_rows(inputs, call):
    out = scores(inputs, call)["scores"].copy()
    if len(out) == 2:
        out *= np.float32(1.001)
    return {"scores": out}


def forgets_the_batch(inputs, call):
    return {"scores": scores(inputs, call)["scores"][:1]}


def longer_rows_in_a_batch(inputs, _call):
    n = len(inputs["image"])
    return {"scores": np.ones((n, 10 * n), np.float32)}


FREE_OUTPUT = {"outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, -1]}]}

CASES = {
    "right": (FakeTriton(DIGITS), Verdict.PASSED, ""),
    "200 with no bytes of data": (
        FakeTriton(DIGITS, tamper=no_bytes),
        Verdict.WRONG,
        "output scores has 0 bytes of data; shape [1, 10] of FP32 is 40",
    ),
    "fewer bytes than announced": (
        FakeTriton(DIGITS, tamper=fewer_bytes_than_said),
        Verdict.WRONG,
        "does not hold what its shape promises",
    ),
    "NaN": (FakeTriton(DIGITS, compute=with_value(np.nan)), Verdict.WRONG, "scores holds NaN or infinity"),
    "infinity": (
        FakeTriton(DIGITS, compute=with_value(np.inf)),
        Verdict.WRONG,
        "scores holds NaN or infinity",
    ),
    "another rank": (
        FakeTriton(DIGITS, tamper=called("shape", [10])),
        Verdict.WRONG,
        "output scores has shape [10], declared [1, 10]",
    ),
    "another size": (
        FakeTriton(DIGITS, compute=lambda i, _c: {"scores": np.ones((len(i["image"]), 9), np.float32)}),
        Verdict.WRONG,
        "has shape [1, 9], declared [1, 10]",
    ),
    "another datatype": (
        FakeTriton(DIGITS, compute=lambda i, _c: {"scores": np.ones((len(i["image"]), 10), np.int64)}),
        Verdict.WRONG,
        "output scores is INT64, declared FP32",
    ),
    "an output missing": (
        FakeTriton(DIGITS, tamper=called("name", "others")),
        Verdict.WRONG,
        "output scores is missing",
    ),
    "Triton refuses to compute": (
        FakeTriton(DIGITS, compute=refuse(400, "onnx runtime error 2:\n  bad\tGather")),
        Verdict.WRONG,
        "onnx runtime error 2: bad Gather",
    ),
    "Triton's error is long": (FakeTriton(DIGITS, compute=refuse(500, "x" * 5000)), Verdict.WRONG, "xxx"),
    "Triton is overloaded": (
        FakeTriton(DIGITS, compute=refuse(503, "Exceeds maximum queue size")),
        Verdict.UNREACHABLE,
        "Exceeds maximum queue size",
    ),
    "the answer is no tensor": (
        FakeTriton(DIGITS, compute=lambda _i, _c: web.Response(text="<html>hello</html>")),
        Verdict.WRONG,
        "does not follow the inference protocol",
    ),
    "rows of a batch mixed up": (
        FakeTriton(DIGITS, compute=mixed_rows),
        Verdict.WRONG,
        "differs between a request alone and the same in a batch of 2",
    ),
    "rows of a batch a rounding apart": (
        FakeTriton(DIGITS, compute=almost_the_same_rows),
        Verdict.PASSED,
        "",
    ),
    "a batch answered with one row": (
        FakeTriton(DIGITS, compute=forgets_the_batch),
        Verdict.WRONG,
        "has shape [1, 10], declared [2, 10]",
    ),
    "a graph that answers at random": (
        FakeTriton(DIGITS, compute=random_values),
        Verdict.WRONG,
        "differs between two identical requests",
    ),
    "a python model that answers at random": (
        FakeTriton(python_model(), compute=random_values),
        Verdict.PASSED,
        "differs between two identical requests; accepted",
    ),
    "a python model with answers of random length": (
        FakeTriton(model(config=python_model()["config"], metadata=FREE_OUTPUT), compute=random_length),
        Verdict.PASSED,
        "differs between two identical requests; accepted",
    ),
    "a python model that mixes rows up": (
        FakeTriton(python_model(), compute=mixed_rows),
        Verdict.PASSED,
        "in a batch of 2; accepted",
    ),
    "a python model whose rows change shape in a batch": (
        FakeTriton(
            model(config=python_model()["config"], metadata=FREE_OUTPUT), compute=longer_rows_in_a_batch
        ),
        Verdict.WRONG,
        "rows of shape [20] in a batch of 2 and [10] alone",
    ),
    "a decoupled model": (
        FakeTriton(
            model(config={"model_transaction_policy": {"decoupled": True}}), compute=refuse(400, "no")
        ),
        Verdict.PASSED,
        "not asked",
    ),
}


def ask(*addresses, name="digits", seconds=5.0):
    return TritonInference(seconds).verify(VerificationRequest(name, "0a1b2c3d", addresses))


@pytest.mark.parametrize(("server", "verdict", "words"), CASES.values(), ids=CASES.keys())
async def test_answers(server, verdict, words):
    async with server.serving() as address:
        found = await ask(address)
    assert (found.revision, found.verdict) == ("0a1b2c3d", verdict), found.message
    assert words in found.message
    assert bool(words) == bool(found.message)
    assert "\n" not in found.message
    assert len(found.message) <= 512


async def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        found = await ask(f"127.0.0.1:{taken.getsockname()[1]}")
    assert found.verdict is Verdict.UNREACHABLE
    assert found.message.endswith(": Connection refused")


async def test_a_server_that_takes_too_long():
    async with FakeTriton(DIGITS, delay=30).serving() as address:
        found = await ask(address, seconds=0.3)
    assert found.verdict is Verdict.UNREACHABLE
    assert "no answer within 0.3 s" in found.message


async def test_an_address_that_serves_another_model_says_nothing_about_ours():
    async with FakeTriton(DIGITS).serving() as address:
        found = await ask(address, name="other")
    assert found.verdict is Verdict.UNREACHABLE


async def test_no_address():
    assert (await ask()).verdict is Verdict.UNREACHABLE


async def test_one_wrong_pod_condemns_and_one_silent_pod_leaves_it_open():
    right, wrong = FakeTriton(DIGITS), FakeTriton(DIGITS, compute=with_value(np.nan))
    async with right.serving() as a, wrong.serving() as b, FakeTriton(DIGITS).serving() as gone:
        assert (await ask(a, a)).verdict is Verdict.PASSED
        found = await ask(a, "127.0.0.1:1", b)
        assert (found.verdict, b in found.message) == (Verdict.WRONG, True)
    found = await ask(gone)
    assert found.verdict is Verdict.UNREACHABLE


async def test_sessions_are_closed_whatever_happens(recwarn):
    async with FakeTriton(DIGITS, compute=refuse(400, "no")).serving() as address:
        await ask(address)
    async with FakeTriton(DIGITS, delay=30).serving() as address:
        await ask(address, seconds=0.2)
    assert not [w for w in recwarn if "Unclosed" in str(w.message)]


TOKENS = {
    "config": {
        "platform": "onnxruntime_onnx",
        "max_batch_size": 4,
        "input": [
            {"name": "ids", "dims": ["-1"]},
            {"name": "flag", "dims": ["1"]},
            {"name": "text", "dims": ["1"]},
            {"name": "hint", "dims": ["3"], "optional": True},
        ],
    },
    "metadata": {
        "name": "digits",
        "inputs": [
            {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
            {"name": "flag", "datatype": "BOOL", "shape": [-1, 1]},
            {"name": "text", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "hint", "datatype": "FP16", "shape": [-1, 3]},
        ],
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1, 1]}],
    },
}


def labels(inputs, _call):
    return {"label": np.full((len(inputs["ids"]), 1), b"cat", np.object_)}


async def test_the_question_follows_the_declaration():
    server = FakeTriton(TOKENS, compute=labels)
    async with server.serving() as address:
        found = await ask(address)
    assert found.verdict is Verdict.PASSED, found.message
    (first, arrays), (second, again), (batch, _) = server.requests
    assert first == second
    assert [t["name"] for t in first["inputs"]] == ["ids", "flag", "text"]
    assert [t["shape"] for t in first["inputs"]] == [[1, 16], [1, 1], [1, 1]]
    assert [t["shape"] for t in batch["inputs"]] == [[2, 16], [2, 1], [2, 1]]
    assert np.array_equal(arrays["ids"], again["ids"])
    assert (arrays["ids"] == 1).all()
    assert arrays["flag"].all()
    assert b"seawall" in arrays["text"]


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [pytest.param(0, [1, 1], id="no batching declared"), pytest.param(1, [1, 1], id="batches of one")],
)
async def test_no_batch_where_the_model_takes_none(limit, sizes):
    server = FakeTriton(model(config={"max_batch_size": limit}))
    if limit == 0:
        server.model["metadata"]["outputs"][0]["shape"] = [1, 10]
    async with server.serving() as address:
        found = await ask(address)
    assert found.verdict is Verdict.PASSED, found.message
    assert [len(arrays["image"]) for _, arrays in server.requests] == sizes


async def test_open_dimensions_are_tried_in_several_sizes():
    picture = model(metadata={"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]})

    def needs_a_picture(inputs, call):
        if inputs["image"].shape[-1] < 32:
            return web.json_response({"error": "kernel larger than image"}, status=400)
        return scores(inputs, call)

    server = FakeTriton(picture, compute=needs_a_picture)
    async with server.serving() as address:
        assert (await ask(address)).verdict is Verdict.PASSED
    assert [a["image"].shape[-1] for _, a in server.requests] == [16, 64, 64, 64]

    never = FakeTriton(picture, compute=refuse(400, "kernel larger than image"))
    async with never.serving() as address:
        found = await ask(address)
    assert (found.verdict, "kernel larger" in found.message) == (Verdict.WRONG, True)


async def test_the_warm_up_knows_the_size():
    sized = model(
        config={"model_warmup": [{"name": "one", "inputs": {"image": {"dims": ["3", "224", "224"]}}}]},
        metadata={"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]},
    )
    server = FakeTriton(sized)
    async with server.serving() as address:
        assert (await ask(address)).verdict is Verdict.PASSED
    assert {a["image"].shape[1:] for _, a in server.requests} == {(3, 224, 224)}


async def test_sequence_models_get_a_whole_sequence():
    server = FakeTriton(model(config={"sequence_batching": {}}))
    async with server.serving() as address:
        assert (await ask(address)).verdict is Verdict.PASSED
    assert [len(arrays["image"]) for _, arrays in server.requests] == [1, 1]  # Triton takes no batch here
    parameters = server.requests[0][0]["parameters"]
    assert (parameters["sequence_id"], parameters["sequence_start"], parameters["sequence_end"]) == (
        1,
        True,
        True,
    )
