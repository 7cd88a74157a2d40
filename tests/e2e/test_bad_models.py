"""Whatever a user points at: one sentence says what is wrong, and the good revision goes on serving."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from onnx import TensorProto, helper

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

SCORES = {"name": "scores", "data_type": "TYPE_FP32", "dims": [10]}
IMAGE = {"name": "image", "data_type": "TYPE_FP32", "dims": [1, 8, 8]}
PYTHON_CONFIG = {"input": [IMAGE], "output": [SCORES]}
PYTHON_MODEL = """\
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        answers = []
        for request in requests:
            rows = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().shape[0]
            scores = {scores}
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("scores", scores.astype(np.float32))]))
        return answers
"""


def python_model(scores: str = "np.zeros((rows, 10))", initialize: str = "pass") -> bytes:
    return PYTHON_MODEL.format(scores=scores, initialize=initialize).encode()


def onnx_with_unknown_operator() -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 1, 8, 8])
    node = helper.make_node("Fourier", ["image"], ["scores"], domain="example.test")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("example.test", 1)]
    graph = helper.make_graph([node], "unknown", [image], [scores])
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


@dataclass(frozen=True)
class Bad:
    """An update that cannot work, and what must be said about it."""

    condition: str
    reasons: tuple[str, ...]
    words: str
    model: dict[str, Any] = field(default_factory=dict)
    pod: dict[str, Any] | None = None
    file: bytes | None = None
    file_name: str = "model.onnx"


def triton(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "triton", **fields}]}}


def python(file: bytes, words: str, *reasons: str, condition: str = "RolloutHealthy") -> Bad:
    model = {"format": "python", "config": PYTHON_CONFIG}
    return Bad(condition, reasons, words, model, file=file, file_name="model.py")


WRONG = "VerificationFailed"
UPDATES = {
    "a digest that differs": Bad("ModelReady", ("DigestMismatch",), "sha256", {"sha256": "0" * 64}),
    "a model that is missing": Bad(
        "ModelReady", ("ModelNotFound",), "nothing.onnx", {"uri": "pvc://models/nothing.onnx"}
    ),
    "bytes that are no model": Bad(
        "ModelReady", ("InvalidModel",), "ONNX", file=b"no model, just a sentence"
    ),
    "an operator that the server does not know": Bad(
        "ModelReady",
        ("ServerRefusedModel", "InvalidModel"),
        "Fourier",
        file=onnx_with_unknown_operator(),
    ),
    "a python model that does not start": python(
        python_model(initialize='raise ValueError("no weights here")'),
        "no weights here",
        "ServerRefusedModel",
        condition="ModelReady",
    ),
    "answers that are not a number": python(python_model("np.full((rows, 10), np.nan)"), "NaN", WRONG),
    "answers of the wrong shape": python(python_model("np.zeros((rows, 7))"), "scores", WRONG),
    "answers without data": python(python_model("np.zeros((rows, 0))"), "scores", WRONG),
    "an image that does not exist": Bad(
        "WorkloadReady", ("ImagePullFailed",), "missing", pod=triton(image="localhost/missing:1")
    ),
    "no node that fits": Bad(
        "WorkloadReady",
        ("Unschedulable",),
        "node",
        pod={"spec": {"nodeSelector": {"disk": "made-of-cheese"}}},
    ),
    "too little memory": Bad(
        "WorkloadReady",
        ("OOMKilled",),
        "memory",
        pod=triton(resources={"requests": {"memory": "24Mi"}, "limits": {"memory": "24Mi"}}),
    ),
}


def changed(service: dict[str, Any], case: str, source: Path) -> dict[str, Any]:
    """The service with what is bad about the case. A file gets a uri of its own: the uri makes the revision."""
    bad = UPDATES[case]
    if bad.file is not None:
        folder = case.replace(" ", "-")
        (source / folder).mkdir(mode=0o755, exist_ok=True)
        (source / folder / bad.file_name).write_bytes(bad.file)
        service["spec"]["model"]["uri"] = f"pvc://models/{folder}/{bad.file_name}"
    service["spec"]["model"].update(bad.model)
    if bad.pod is not None:
        service["spec"]["podTemplate"] = bad.pod
    return service


@pytest_asyncio.fixture(loop_scope="module")
async def stable(kube: Any, manifest: Any, source: Path) -> str:
    """The good revision serves and nothing else is about, whatever the test before has left."""
    digest = hashlib.sha256((source / "digits-v1.onnx").read_bytes()).hexdigest()
    await kube.put(manifest("digits", sha256=digest))
    await kube.wait_ready("digits")
    return str(await kube.wait_settled("digits"))


@pytest.mark.parametrize("case", UPDATES)
async def test_a_bad_update_is_explained_and_never_serves(
    kube: Any, manifest: Any, source: Path, digits: Any, stable: str, case: str
) -> None:
    bad = UPDATES[case]
    await kube.put(changed(manifest("digits"), case, source))
    said = await kube.wait_condition("digits", bad.condition, "False", *bad.reasons, seconds=180)
    assert bad.words in said["message"]
    ready = await kube.condition("digits", "Ready")
    assert ready["status"] == "True", f"the good revision serves, and Ready says {ready}"
    assert (await kube.status("digits"))["rollout"]["stableRevision"] == stable
    assert (await kube.get("service", "digits"))["spec"]["selector"]["serving.seawall.dev/revision"] == stable
    assert await digits.version(kube, "digits") == "digits-v1"


WRONG_FROM_THE_START = [case for case, bad in UPDATES.items() if bad.reasons == (WRONG,)]


@pytest.mark.parametrize("case", WRONG_FROM_THE_START)
async def test_a_first_revision_with_wrong_answers_gets_no_requests(
    kube: Any, manifest: Any, source: Path, case: str
) -> None:
    await kube.apply(changed(manifest("first"), case, source))
    try:
        await kube.wait_condition("first", "ModelReady", "False", WRONG)
        assert (await kube.condition("first", "Ready"))["status"] == "False"
        pods = {pod["status"].get("podIP") for pod in await kube.children("pod", "first")}
        slices = await kube.listed("endpointslice", **{"kubernetes.io/service-name": "first"})
        served = {a for s in slices for e in s.get("endpoints") or () for a in e["addresses"]}
        assert not pods & served
    finally:
        await kube.delete("inferenceservice", "first", wait=True)
        await kube.run("delete", "pods", "--selector=serving.seawall.dev/inferenceservice=first", "--force")
