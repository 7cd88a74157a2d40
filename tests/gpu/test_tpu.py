"""StableHLO: what is compressed, exported, accepted and refused, with jax on a CPU; no TPU was there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from seawall.fetch.order import Order
from seawall.fetch.problem import FetchProblem
from seawall.fetch.stablehlo import lay_out_stablehlo
from seawall.optimize.gpu.environment import TPU
from seawall.optimize.gpu.simulate import runnable
from seawall.optimize.graph import run, session
from seawall.optimize.tpu.precision import compress
from seawall.optimize.tpu.stablehlo import accept, translate
from seawall.optimize.tpu.versions import made_with, newer_than_server
from seawall.optimize.types import Array, Fetched, Graph, Refused, Samples
from support.gpugraphs import answers, cnn, context, cosine, images, made, proof, weights

SERVER = "0.7.1"
EXPORT = """\
import sys, jax, jax.numpy as jnp, numpy as np
from jax import export
weights = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
programs = {
    "batched": lambda x: jnp.dot(x, weights),
    "endless": lambda x: jnp.log(x - 2.0),
    "fixed": lambda x: jnp.dot(x, weights),
}
kind, platforms, out = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
(batch,) = export.symbolic_shape("b")
shape = (2, 4) if kind == "fixed" else (batch, 4)
made = export.export(jax.jit(programs[kind]), platforms=platforms)(jax.ShapeDtypeStruct(shape, jnp.float32))
open(out, "wb").write(made.serialize())
"""
LOGIC = """\
import importlib.util, json, sys
import numpy as np
spec = importlib.util.spec_from_file_location("model", sys.argv[1] + "/model.py")
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
program = model.Program(model.Path(sys.argv[1]))
data = np.load(sys.argv[2])["image"]
made = {str(n): program.run({"image": data[:n]})["scores"].tolist() for n in (1, 3, 4, 7, 8)}
try:
    program.run({"image": data[:9]})
    made["nine"] = "answered"
except ValueError as error:
    made["nine"] = str(error)
served = model.TritonPythonModel()
served.program = program
together = served._together([{"image": data[:2]}, {"image": data[2:5]}])
made["together"] = [part["scores"].tolist() for part in together]
made["compiled"] = sorted(program._compiled)
print(json.dumps(made))
"""


def reference(graph: Graph, folder: Path) -> Any:
    running = session(runnable(graph, folder))
    return lambda batch: {"scores": run(running, dict(batch))[0]}


def exported(graph: Graph, tmp_path: Path, most: int = 8) -> Any:
    answer = reference(graph, tmp_path / "simulated")
    return translate(graph, images(), tmp_path / "hlo", max_batch=most, server=SERVER, reference=answer)


@pytest.mark.parametrize(
    ("preset", "kind", "ratio"), [("bf16", "BFLOAT16", 1.9), ("int8", "INT8", 3.5)], ids=["bf16", "int8"]
)
def test_a_preset_is_proven_and_exported(
    preset: str, kind: str, ratio: float, tmp_path: Path, with_tpu: str
) -> None:
    graph = cnn(tmp_path / "graph")
    made = compress(preset, graph, context(graph, preset, target="tpu"), tmp_path / "made").graph
    assert kind in {TensorProto.DataType.Name(i.data_type) for i in onnx.load(made.path).graph.initializer}
    verified = exported(made, tmp_path)
    assert verified.batches == (1, 2, 4, 8)
    assert graph.bytes / verified.path.stat().st_size > ratio
    assert [dict(end)["name"] for end in (*verified.inputs, *verified.outputs)] == ["image", "scores"]
    assert all(dict(end)["dtype"] == "float32" for end in (*verified.inputs, *verified.outputs))


@pytest.mark.parametrize("preset", ["fp16", "fp8", "int4", "sparse24"])
def test_what_a_tpu_has_not_is_refused(preset: str, tmp_path: Path) -> None:
    graph = cnn(tmp_path / "graph")
    with pytest.raises(Refused, match="no preset of a TPU"):
        compress(preset, graph, context(graph, preset, target="tpu"), tmp_path / "made")


def test_a_preset_that_is_not_right_enough_is_refused(tmp_path: Path) -> None:
    graph = cnn(tmp_path / "graph")
    asked = context(graph, "bf16", target="tpu", measure=lambda candidate: proof(0.2))
    with pytest.raises(Refused, match=r"bf16 reaches cosine 0\.2000"):
        compress("bf16", graph, asked, tmp_path / "made")


def attribute(**given: Any) -> dict[str, Any]:
    return given


IMAGE = [None, 4, 6, 6]
OPERATORS = {
    "padded average": (["AveragePool"], attribute(kernel_shape=[3, 3], pads=[1, 1, 1, 1]), {}),
    "average with its padding": (
        ["AveragePool"], attribute(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), {}),
    "strided maximum": (["MaxPool"], attribute(kernel_shape=[2, 2], strides=[2, 2]), {}),
    "same padding": (["Conv", "w"], attribute(auto_pad="SAME_UPPER"), {"w": weights(1, 8, 4, 3, 3)}),
    "dilated": (["Conv", "w"], attribute(dilations=[2, 2]), {"w": weights(1, 8, 4, 3, 3)}),
    "grouped": (["Conv", "w", "b"], attribute(group=4), {"w": weights(1, 8, 1, 3, 3), "b": weights(2, 8, 1).ravel()}),
    "global average": (["GlobalAveragePool"], {}, {}),
    "batch normalisation": (
        ["BatchNormalization", "s", "b", "m", "v"], {},
        {name: np.abs(weights(i, 4, 1).ravel()) + 0.1 for i, name in enumerate("sbmv")}),
    "clip": (["Clip", "low", "high"], {}, {"low": np.float32(0.2), "high": np.float32(0.6)}),
    "transpose": (["Transpose"], attribute(perm=[0, 2, 3, 1]), {}),
    "flatten": (["Flatten"], attribute(axis=2), {}),
    "softmax": (["Softmax"], attribute(axis=1), {}),
    "sigmoid": (["Sigmoid"], {}, {}),
    "leaky": (["LeakyRelu"], attribute(alpha=0.2), {}),
    "reshape with a kept dimension": (["Reshape", "s"], {}, {"s": np.array([0, -1, 6])}),
    "squeeze": (["Unsqueeze", "axes"], {}, {"axes": np.array([1])}),
    "product": (["MatMul", "w"], {}, {"w": weights(1, 6, 3)}),
}  # fmt: skip


@pytest.mark.parametrize(("call", "attributes", "constants"), OPERATORS.values(), ids=OPERATORS)
def test_an_operator_is_translated_as_onnxruntime_runs_it(
    call: list[str], attributes: dict[str, Any], constants: dict[str, Any], tmp_path: Path, with_tpu: str
) -> None:
    nodes = [helper.make_node(call[0], ["x", *call[1:]], ["y"], "one", **attributes)]
    graph = made(
        tmp_path / "graph", nodes, {k: np.asarray(v) for k, v in constants.items()}, ("x", IMAGE), ("y", [])
    )
    model = onnx.load(graph.path)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, graph.path)
    data = Samples({"x": np.random.default_rng(1).uniform(-1, 1, (4, 4, 6, 6)).astype(np.float32)})
    running = session(graph)

    def answer(batch: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"y": run(running, dict(batch))[0]}

    translate(graph, data, tmp_path / "hlo", max_batch=2, server=None, reference=answer)


def test_a_graph_beyond_the_class_is_refused_by_name(tmp_path: Path, with_tpu: str) -> None:
    nodes = [
        helper.make_node("Erf", ["x"], ["e"]),
        helper.make_node("Einsum", ["e"], ["y"], equation="ij->ij"),
    ]
    graph = made(tmp_path / "graph", nodes, {}, ("x", [None, 3]), ("y", [None, 3]))
    with pytest.raises(Refused, match="no translation of Einsum, Erf; export it with") as refused:
        exported(graph, tmp_path)
    assert refused.value.reason == "ConversionFailed"


def test_a_program_that_answers_otherwise_is_refused(tmp_path: Path, with_tpu: str) -> None:
    graph = cnn(tmp_path / "graph")
    with pytest.raises(Refused, match="answers otherwise than its graph"):
        translate(graph, images(), tmp_path / "hlo", max_batch=2, server=None,
                  reference=lambda batch: {"scores": np.ones((len(batch["image"]), 10))})  # fmt: skip


def artefact(tmp_path: Path, python: str, kind: str = "batched", platforms: str = "cpu,tpu") -> Path:
    script = tmp_path / "export.py"
    script.write_text(EXPORT)
    out = tmp_path / "given.stablehlo"
    subprocess.run([python, "-I", script, kind, platforms, out], check=True, capture_output=True)
    return out


def fetched(path: Path) -> Fetched:
    return Fetched(path, "stablehlo", "0" * 64, 1)


def test_an_artefact_of_somebody_is_verified_at_every_batch_size(tmp_path: Path, with_tpu: str) -> None:
    verified = accept(fetched(artefact(tmp_path, with_tpu)), None, 8, SERVER, tmp_path / "out")
    assert verified.batches == (1, 2, 4, 8)
    assert [dict(end)["name"] for end in verified.inputs] == ["input_0"]
    assert verified.layout()["kind"] == "stablehlo"
    assert made_with(verified.path.read_bytes()).stablehlo >= (1,)


@pytest.mark.parametrize(
    ("kind", "platforms", "said"),
    [
        ("endless", "cpu,tpu", "not finite at batch size 1"),
        ("batched", "tpu", "does not run at batch size 1"),
        ("batched", "cpu", "exported for cpu; cpu and tpu are needed"),
    ],
    ids=["answers that are no numbers", "not for a CPU, where it is verified", "not for a TPU, where it is served"],
)  # fmt: skip
def test_an_artefact_that_cannot_be_served_is_refused(
    kind: str, platforms: str, said: str, tmp_path: Path, with_tpu: str
) -> None:
    with pytest.raises(Refused, match=said):
        accept(fetched(artefact(tmp_path, with_tpu, kind, platforms)), None, 2, SERVER, tmp_path / "out")


def test_a_program_of_one_fixed_shape_is_served_without_batching(tmp_path: Path, with_tpu: str) -> None:
    verified = accept(fetched(artefact(tmp_path, with_tpu, "fixed")), None, 8, SERVER, tmp_path / "out")
    assert verified.batches == ()


@pytest.mark.parametrize(
    ("told", "server", "said"),
    [
        ({"jax": "0.10.2"}, "0.7.1", "exported with jax 0.10.2, and the server runs jax 0.7.1"),
        (None, "0.5.0", "does not tell its exporter"),
        ({"version": 3}, "0.7.1", "does not tell the release"),
        ({"jax": "newest"}, "0.7.1", "no version"),
    ],
    ids=["newer than the server", "an exporter that nobody knows", "metadata of another form", "no version at all"],
)  # fmt: skip
def test_an_exporter_newer_than_the_server_is_refused(
    told: dict[str, Any] | None, server: str, said: str, tmp_path: Path, with_tpu: str
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    artefact(tmp_path, with_tpu).rename(folder / "model.stablehlo")
    if told is not None:
        (folder / "metadata.json").write_text(json.dumps(told))
    with pytest.raises(Refused, match=said):
        accept(fetched(folder), None, 2, server, tmp_path / "out")


@pytest.mark.parametrize(
    ("exporter", "server", "refused"),
    [
        ("0.7.1", "0.7.1", False), ("0.7.1", "0.10.2", False), ("0.10.2", "0.7.1", True),
        ("0.7.2", "0.7.1", True), (None, "0.7.1", False), ("0.7.1", None, False), ("0.7.1.dev2", "0.7.1", False),
    ],
)  # fmt: skip
def test_versions_are_compared_as_numbers(exporter: str | None, server: str | None, refused: bool) -> None:
    assert (newer_than_server(exporter, server) is not None) == refused


@pytest.mark.parametrize("content", [b"", b"module @jit { }", b"PK\x03\x04", b"ML\xefRStableHLO_v"])
def test_a_file_that_is_no_artefact_is_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="no artefact of jax"):
        made_with(content)


def test_a_broken_artefact_is_refused(tmp_path: Path, with_tpu: str) -> None:
    path = artefact(tmp_path, with_tpu)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(Refused) as refused:
        accept(fetched(path), None, 2, SERVER, tmp_path / "out")
    assert refused.value.reason == "InvalidModel"


def test_without_jax_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TPU, raising=False)
    with pytest.raises(Refused, match="StableHLO needs jax"):
        exported(cnn(tmp_path / "graph"), tmp_path)


LAYOUT: dict[str, Any] = {
    "kind": "stablehlo", "batches": [1, 2, 4, 8], "jax": "0.7.1", "stablehlo": "1.12.1",
    "inputs": [{"name": "image", "dtype": "float32", "shape": [None, 1, 8, 8]}],
    "outputs": [{"name": "scores", "dtype": "float32", "shape": [None, 10]},
                {"name": "best", "dtype": "int32", "shape": [None]}],
}  # fmt: skip


def laid_out(tmp_path: Path, layout: Mapping[str, Any], **override: Any) -> dict[str, Any]:
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / "model.stablehlo").write_bytes(b"artefact")
    (tmp_path / "models" / "digits").mkdir(parents=True)
    order = Order("digits", "pvc://a/b", "stablehlo", "2.51.0", {"backend": "python"}, override)
    return lay_out_stablehlo(order, tmp_path / "fetched", tmp_path / "models", layout)


def test_an_artefact_is_laid_out_for_the_python_backend(tmp_path: Path) -> None:
    config = laid_out(tmp_path, LAYOUT)
    assert (config["backend"], config["max_batch_size"]) == ("python", 8)
    assert config["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 8, 8]}]
    assert config["output"][1]["reshape"] == {"shape": []}
    version = tmp_path / "models" / "digits" / "1"
    assert sorted(p.name for p in version.iterdir()) == ["layout.json", "model.py", "model.stablehlo"]


@pytest.mark.parametrize(
    ("layout", "override", "said"),
    [
        ({"kind": "stablehlo"}, {}, "does not describe"),
        ({**LAYOUT, "inputs": [{"name": "x", "dtype": "bfloat16", "shape": [None]}]}, {}, "of type bfloat16"),
        (LAYOUT, {"max_batch_size": 16}, "more than the artefact is compiled for, 8"),
    ],
    ids=["a manifest that says too little", "a type without a name in numpy", "a batch that was never compiled"],
)  # fmt: skip
def test_a_layout_that_cannot_be_served_is_refused(
    layout: dict[str, Any], override: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(FetchProblem, match=said):
        laid_out(tmp_path, layout, **override)


def served(tmp_path: Path, python: str) -> tuple[Graph, Path]:
    """The version folder of a served artefact."""
    graph = cnn(tmp_path / "graph")
    verified = exported(graph, tmp_path)
    (tmp_path / "models" / "digits").mkdir(parents=True)
    order = Order("digits", "pvc://a/b", "stablehlo", "2.51.0", {})
    lay_out_stablehlo(order, verified.path.parent, tmp_path / "models", verified.layout())
    return graph, tmp_path / "models" / "digits" / "1"


def test_the_model_answers_batches_of_every_size(tmp_path: Path, with_tpu: str) -> None:
    graph, version = served(tmp_path, with_tpu)
    np.savez(tmp_path / "data.npz", **images().inputs)
    (tmp_path / "logic.py").write_text(LOGIC)
    command = [with_tpu, "-I", tmp_path / "logic.py", version, tmp_path / "data.npz"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    wanted = answers(graph, images())
    for size in (1, 3, 4, 7, 8):
        assert np.shape(told[str(size)]) == (size, 10)
        assert cosine(wanted[:size], np.array(told[str(size)])) > 0.9999
    assert told["compiled"] == [1, 2, 4, 8]
    assert "up to 8 are served" in told["nine"]
    assert [len(part) for part in told["together"]] == [2, 3]
    np.testing.assert_allclose(np.concatenate(told["together"]), wanted[:5], rtol=1e-3, atol=1e-4)


def test_the_model_says_when_its_server_is_too_old(tmp_path: Path, with_tpu: str) -> None:
    _, version = served(tmp_path, with_tpu)
    layout = json.loads((version / "layout.json").read_text())
    (version / "layout.json").write_text(json.dumps({**layout, "jax": "99.1.0"}))
    (tmp_path / "logic.py").write_text(LOGIC)
    ended = subprocess.run(
        [with_tpu, "-I", tmp_path / "logic.py", version, "none"], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "exported with jax 99.1.0, this server runs jax 0.7.1" in ended.stderr
