"""Golden sets through the real Triton: an equal revision passes, a subtly wrong one does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper

from seawall.adapters.triton import TritonInference
from seawall.decide.types import ComparisonRequest
from support.golden import digits, npz, prototype

pytestmark = pytest.mark.node

PICTURES, LABELS = digits(360)
ORDER = [1, 0, *range(2, 10)]
"""Ones are called noughts, and noughts ones."""
NOISY = """\
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        def answer(request):
            rows = len(pb_utils.get_input_tensor_by_name(request, "picture").as_numpy())
            return np.random.default_rng().random((rows, 10)).astype(np.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("scores", answer(r))]) for r in requests]
"""
CONFIG = """\
backend: "{backend}"
max_batch_size: {batch}
input [ {{ name: "picture" data_type: TYPE_UINT8 dims: [ 1, 8, 8 ] }} ]
output [ {{ name: "scores" data_type: TYPE_FP32 dims: [ 10 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
{more}
"""


def linear(weights: np.ndarray[Any, Any]) -> bytes:
    """Scores of the nearest prototype."""
    constants = {
        "w": weights.T.astype(np.float32),
        "b": (-0.5 * (weights**2).sum(axis=1)).astype(np.float32),
        "flat": np.array([-1, 64]),
    }
    nodes = [
        helper.make_node("Cast", ["picture"], ["grey"], to=Type.FLOAT),
        helper.make_node("Reshape", ["grey", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["scores"]),
    ]
    picture = helper.make_tensor_value_info("picture", Type.UINT8, ["n", 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", Type.FLOAT, ["n", 10])
    weights_of = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "graph", [picture], [scores], weights_of)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def write(models: Path, name: str, content: bytes, *, batch: int = 8, more: str = "") -> None:
    python = not content.startswith(b"\x08")
    folder = models / name / "1"
    folder.mkdir(parents=True)
    (folder / ("model.py" if python else "model.onnx")).write_bytes(content)
    backend = "python" if python else "onnxruntime"
    (folder.parent / "config.pbtxt").write_text(CONFIG.format(backend=backend, batch=batch, more=more))


W = prototype()
ROUNDED = np.rint(W / 2) * 2
CACHED = "response_cache { enable: true }"
# name -> what the stable revision has, and the candidate
REVISIONS = {
    "same": (linear(W), linear(W)),
    "rounded": (linear(W), linear(W + np.random.default_rng(1).normal(0, 0.05, W.shape))),
    "permuted": (linear(W), linear(W[ORDER])),
    "noisy": (NOISY.encode(), NOISY.encode()),
}
CASES = {
    # model, metric, with labels -> verdict, words
    "the same graph": ("same", None, True, "Pass", "top1: 0 of 360 answers differ"),
    "the same graph, by direction": ("same", "cosine", False, "Pass", "cosine: 0 of 360 answers differ"),
    "the same graph without batches": ("whole", None, True, "Pass", "top1: 0 of 360 answers differ"),
    "a rounding apart": ("rounded", "top1", True, "Pass", "answers differ"),
    "two classes permuted": ("permuted", None, True, "Fail", "the candidate is less accurate beyond chance"),
    "two classes permuted, without labels": ("permuted", "top1", False, "Fail", "at least; 1% may"),
    "answers at random": ("noisy", "top1", False, "Unknown", "not repeatable enough to compare with"),
    "answers at random behind the response cache": (
        "cached", "top1", False, "Unknown", "not repeatable enough to compare with",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def servers(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """gRPC addresses of the stable revision and of the candidate."""
    with ExitStack() as stack:
        running = []
        for side, label in enumerate(("stable", "candidate")):
            models = tmp_path_factory.mktemp(label)
            for name, contents in REVISIONS.items():
                write(models, name, contents[side])
            write(models, "whole", linear(W), batch=0, more="")
            (models / "whole" / "config.pbtxt").write_text(
                CONFIG.format(backend="onnxruntime", batch=0, more="")
                .replace("[ 1, 8, 8 ]", "[ -1, 1, 8, 8 ]")
                .replace("[ 10 ]", "[ -1, 10 ]")
            )
            write(models, "cached", NOISY.encode(), more=CACHED)
            for path in (models, *models.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            flags = (
                "--disable-auto-complete-config",
                "--log-info=false",
                "--cache-config=local,size=4194304",
            )
            running.append(stack.enter_context(start(models, *flags)))
        for each in running:
            each.wait(lambda each=each: each.answers("/v2/health/ready"))
        yield running[0].grpc, running[1].grpc


@pytest.mark.parametrize(("name", "metric", "labelled", "verdict", "words"), CASES.values(), ids=CASES.keys())
async def test_verdicts(
    servers: tuple[str, str], name: str, metric: Any, labelled: bool, verdict: str, words: str
) -> None:
    arrays = {"picture": PICTURES} | ({"labels": LABELS} if labelled else {})
    request = ComparisonRequest(
        rollout="3-abc", step=0, model=name, stable="old", candidate="new", stable_addresses=servers[:1],
        candidate_addresses=servers[1:], config_map="golden", size=None, metric=metric, max_disagreement=0.01,
        alpha=0.01, beta=0.05,
    )  # fmt: skip
    found = await TritonInference().compare(request, npz(**arrays))
    assert found.verdict == verdict, found.message
    assert words in found.message


async def test_a_server_without_the_model_is_nobody(servers: tuple[str, str]) -> None:
    from seawall.ports import NoAnswer

    request = ComparisonRequest(
        "3-abc", 0, "absent", "old", "new", servers[:1], servers[1:], "golden", None, None, 0.01, 0.01, 0.05
    )  # fmt: skip
    with pytest.raises(NoAnswer, match="unknown model"):
        await TritonInference().compare(request, npz(picture=PICTURES))
