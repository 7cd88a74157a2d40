"""What TensorRT refuses: told from the graph alone, and asked of TensorRT-RTX's own parser and builder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)  # fmt: skip

from seawall.optimize.gpu.objections import objections
from seawall.optimize.gpu.precheck import NOT_CHECKED, NOTE, PASSED, REFUSED, Verdict, precheck
from seawall.optimize.gpu.profile import profiles
from seawall.optimize.gpu.quantize import compress
from seawall.optimize.types import Graph, Target
from support.gpugraphs import SIGNATURE, cnn, context, images, proof

L4 = Target("nvidia-l4", "gpu", compute_capability="8.9")
SHAPES = profiles(SIGNATURE, images(), 8)


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self.rows: Iterator[np.ndarray] = iter(images().inputs["image"])

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self.rows, None)
        return None if row is None else {"image": row[None]}


def static(symmetric: bool) -> Callable[[Graph, Path], Graph]:
    def make(graph: Graph, folder: Path) -> Graph:
        folder.mkdir()
        more = (
            {
                "activation_type": QuantType.QInt8,
                "weight_type": QuantType.QInt8,
                "extra_options": {
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                },
            }
            if symmetric
            else {}
        )
        quantize_static(
            graph.path,
            folder / "model.onnx",
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            **more,
        )
        return Graph(folder)

    return make


def dynamic(graph: Graph, folder: Path) -> Graph:
    folder.mkdir()
    quantize_dynamic(graph.path, folder / "model.onnx")
    return Graph(folder)


def plain(graph: Graph, folder: Path) -> Graph:
    return graph


def packed(graph: Graph, folder: Path) -> Graph:
    """One dense layer as onnxruntime packs 4 bits: two weights to a byte, a scale for every 32."""
    packed = helper.make_node(
        "MatMulNBits", ["flat", "packed", "scales"], ["y"], "dense", domain="com.microsoft",
        K=64, N=10, bits=4, block_size=32,
    )  # fmt: skip
    flat = helper.make_node("Reshape", ["image", "shape"], ["flat"])
    constants = {
        "packed": np.full((10, 2, 16), 0x97, np.uint8),
        "scales": np.full(20, 0.1, np.float32),
        "shape": np.array([-1, 64]),
    }
    ends = [
        helper.make_tensor_value_info("image", 1, ["n", 1, 8, 8]),
        helper.make_tensor_value_info("y", 1, ["n", 10]),
    ]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph([flat, packed], "graph", ends[:1], ends[1:], held)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    folder.mkdir()
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), folder / "model.onnx")
    return Graph(folder)


CASES = {
    "a float graph": (plain, None),
    "onnxruntime's static int8 as TensorRT wants it": (static(symmetric=True), None),
    "onnxruntime's static int8 as it comes": (static(symmetric=False), "int32"),
    "onnxruntime's dynamic int8": (dynamic, "quantises at run time"),
    "onnxruntime's int4 with float activations": (packed, "in fp16 only"),
}


@pytest.mark.parametrize(("make", "objection"), CASES.values(), ids=CASES)
def test_what_is_known_against_a_graph(
    make: Callable[[Graph, Path], Graph], objection: str | None, tmp_path: Path
) -> None:
    found = objections(make(cnn(tmp_path / "graph"), tmp_path / "made"))
    assert bool(found) == (objection is not None), found
    assert any(objection in told for told in found) if objection else True
    assert all(told.startswith("node ") for told in found)


@pytest.mark.parametrize(("make", "objection"), CASES.values(), ids=CASES)
def test_the_real_parser_agrees_with_what_is_known(
    make: Callable[[Graph, Path], Graph],
    objection: str | None,
    tmp_path: Path,
    with_gpu: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = make(cnn(tmp_path / "graph"), tmp_path / "made")
    monkeypatch.setattr("seawall.optimize.gpu.precheck.objections", lambda graph: ())
    verdict = precheck(graph, SHAPES, L4, tmp_path / "check")
    assert verdict.status == (REFUSED if objection else PASSED), verdict.reasons
    assert verdict.builder is not None
    if objection:
        assert verdict.reasons[0].startswith("node ")


@pytest.mark.parametrize("preset", ["fp16", "bf16", "int8", "fp8", "int4"])
def test_every_precision_is_a_graph_that_tensorrt_builds(preset: str, tmp_path: Path, with_gpu: str) -> None:
    graph = cnn(tmp_path / "graph")
    made = compress(preset, graph, context(graph, preset, floor=0.9), tmp_path / "made").graph
    verdict = precheck(made, SHAPES, L4, tmp_path / "check")
    assert (verdict.status, verdict.capability) == (PASSED, "8.9"), verdict.reasons


def test_four_bits_on_a_gemm_are_refused_and_so_never_made(
    tmp_path: Path, with_gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seawall.optimize.gpu.quantize.gemm_to_matmul", lambda model: 0)
    monkeypatch.setattr("seawall.optimize.gpu.quantize.measured", lambda *given: proof(1.0))
    graph = cnn(tmp_path / "graph")
    broken = compress("int4", graph, context(graph, "int4"), tmp_path / "made").graph
    assert "blocks along another axis" in objections(broken)[0]
    monkeypatch.setattr("seawall.optimize.gpu.precheck.objections", lambda graph: ())
    verdict = precheck(broken, SHAPES, L4, tmp_path / "check")
    assert verdict.status == REFUSED
    assert "Scale dimension" in verdict.reasons[0]


@pytest.mark.parametrize("capability", ["9.0", None])
def test_a_gpu_that_the_builder_does_not_know_is_said_so(
    capability: str | None, tmp_path: Path, with_gpu: str
) -> None:
    target = Target("nvidia-h100-80gb", "gpu", compute_capability=capability)
    verdict = precheck(cnn(tmp_path / "graph"), SHAPES, target, tmp_path / "check")
    assert (verdict.status, verdict.capability) == (PASSED, None)
    assert "no particular GPU" in verdict.reasons[0]


def test_a_profile_that_is_not_legal_is_refused(tmp_path: Path, with_gpu: str) -> None:
    wrong = {"image": ((1, 1, 8, 8), (8, 1, 8, 8), (4, 1, 8, 8))}
    verdict = precheck(cnn(tmp_path / "graph"), wrong, L4, tmp_path / "check")
    assert verdict.status == REFUSED


def test_without_the_builder_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seawall.optimize.gpu.precheck.interpreter", lambda *given: None)
    verdict = precheck(cnn(tmp_path / "graph"), SHAPES, L4, tmp_path / "check")
    assert verdict.status == NOT_CHECKED
    assert verdict.refusal() is None


def test_every_answer_says_that_it_is_a_pre_check() -> None:
    refused = Verdict(REFUSED, ("node a: no",)).refusal()
    assert refused is not None
    assert NOTE in refused.message
    assert Verdict(PASSED).to_json()["note"] == NOTE
