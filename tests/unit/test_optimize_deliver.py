"""What a manifest tells and what it keeps to itself, and the words that go with a result."""

from __future__ import annotations

import ast
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import seawall.optimize
from seawall.api.modelbuild import BuildResult
from seawall.cli.optimize_table import Table, _Said, progress_line
from seawall.fetch.problem import Reason
from seawall.optimize import deliver, forms, pipeline, publish, report
from seawall.optimize import graph as graphs
from seawall.optimize.bench import Bench, Candidate, Prepared, with_server
from seawall.optimize.gpu.engine import Engine
from seawall.optimize.types import (
    REASONS,
    BatchTiming,
    BuildOrder,
    Criterion,
    PresetResult,
    Profile,
    Recipe,
    Refused,
    Stage,
    Target,
)
from support import builds

GPU = Target("l4", "gpu", "8.9", triton_version="26.06", image="registry.example/triton:26.06")
TIMES = tuple(BatchTiming(n, 2.0 * n, 0.1, 1.9 * n, 2.5 * n, 500) for n in (1, 2))


def built(tmp_path: Path, **changes: Any) -> tuple[Bench, Prepared, Candidate]:
    """Preset none, from a model on disk."""
    order = builds.order(tmp_path, preset="none", **changes)
    bench = Bench(order, tmp_path / "work", os.environ, lambda *_: None)
    prepared = pipeline.prepare(bench, bench.stages())
    return bench, prepared, Candidate("none", prepared.original)


def delivered(
    bench: Bench, prepared: Prepared, made: Candidate, tmp_path: Path, **more: Any
) -> tuple[PresetResult, dict[str, Any]]:
    result = replace(pipeline.accepted(made, prepared, bench.stages(), None), **more)
    delivery = deliver.Delivery(publish.open_store(str(tmp_path / "store")))
    done = deliver.deliver(bench, prepared, made, result, delivery)
    assert done.artifact is not None
    predicate: dict[str, Any] = json.loads((Path(done.artifact.uri) / "manifest.json").read_text())
    return done, predicate["predicate"]


def test_signatures_of_addresses_stay_out_of_the_manifest(tmp_path: Path) -> None:
    bench, prepared, made = built(tmp_path)
    signed = "https://user:password@store.example/a/m.onnx?X-Amz-Signature=secret#part"
    order = replace(
        bench.order, model=signed, evaluation=signed, calibration="s3://b/k", recipe=Recipe(data=signed)
    )
    _, told = delivered(replace(bench, order=order), prepared, made, tmp_path)
    plain = "https://store.example/a/m.onnx"
    request = told["request"]
    assert [request["model"], request["evaluation"], request["recipe"]["data"]] == [plain] * 3
    assert request["calibration"] == "s3://b/k"
    assert "secret" not in json.dumps(told)


def test_what_is_no_number_is_told_as_nothing(tmp_path: Path) -> None:
    bench, prepared, made = built(tmp_path)
    odd = Profile("cpu", (replace(TIMES[0], p99_ms=math.inf, std_ms=math.nan),), "onnxruntime")
    stage = Stage("prove", 1.0, {"value": math.nan, "layers": [{"relativeError": math.inf}]})
    done, told = delivered(bench, prepared, made, tmp_path, profile=odd, stages=(stage,))
    assert told["stages"][0]["detail"] == {"value": None, "layers": [{"relativeError": None}]}
    assert told["result"]["profile"]["batches"] == [
        {"size": 1, "meanMs": "2", "p50Ms": "1.9", "samples": 500}
    ]
    shown = json.loads(json.dumps(report.result_json(done, builds.CPU), allow_nan=False))
    assert shown["latency"][0]["p99Ms"] is None


def test_what_is_known_is_read_once(tmp_path: Path) -> None:
    bench, prepared, made = built(tmp_path)
    delivered(bench, prepared, made, tmp_path)
    store = publish.open_store(str(tmp_path / "store"))
    asked: list[str] = []

    class Counting:
        uri = store.uri

        def find(self, key: str) -> Any:
            asked.append(key)
            return store.find(key)

    found = deliver.known(bench.order, prepared.digests, deliver.Delivery(Counting()))  # type: ignore[arg-type]
    assert found is not None
    assert found.result["preset"] == "none"
    assert asked == [publish.key(bench.order, prepared.digests)]


ENERGIES: dict[str, tuple[dict[str, float], dict[str, Any] | None]] = {
    "idle and peak": (
        {"idle_watts": 10.0, "peak_watts": 100.0},
        {"joulesPer1k": 200.0, "originalJoulesPer1k": 400.0, "estimated": True, "batch": 1,
         "idleWatts": 10.0, "peakWatts": 100.0},
    ),
    "peak alone: in full use the other plays no part": (
        {"peak_watts": 100.0},
        {"joulesPer1k": 200.0, "originalJoulesPer1k": 400.0, "estimated": True, "batch": 1,
         "idleWatts": None, "peakWatts": 100.0},
    ),
    "idle alone": ({"idle_watts": 10.0}, None),
    "nothing known": ({}, None),
}  # fmt: skip


@pytest.mark.parametrize(("watts", "told"), ENERGIES.values(), ids=ENERGIES.keys())
def test_energy_comes_from_the_watts_of_the_class(
    watts: Mapping[str, float], told: dict[str, Any] | None
) -> None:
    slow = tuple(replace(t, mean_ms=2 * t.mean_ms) for t in TIMES)
    target = Target("cpu", "cpu", **watts)  # type: ignore[arg-type]
    row = PresetResult("int8", True, "", 10, profile=Profile("cpu", TIMES, "triton"),
                       baseline=Profile("cpu", slow, "triton"))  # fmt: skip
    assert report.result_json(row, target)["energy"] == told
    status = report.build_json(row, (), "0" * 64, target, baseline=row.baseline, kind="onnx")
    energy = BuildResult.model_validate(status).energy
    assert (energy is None) == (told is None)
    assert energy is None or energy.joules_per_1k == "200"


def _reasons_in(source: str) -> set[str]:
    """First arguments of Refused(…), and what stands before the colon in Passing(…)."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
        if not called or node.func.id not in ("Refused", "Passing"):
            continue
        first = node.args[0]
        parts = first.values if isinstance(first, ast.JoinedStr) else [first]
        text = parts[0].value if isinstance(parts[0], ast.Constant) else ""
        word, colon, _ = str(text).partition(":")
        if node.func.id == "Refused" or colon:
            found.add(word)
    return found - {""}


def test_every_reason_is_on_the_list() -> None:
    package = Path(seawall.optimize.__file__).parent
    found = set().union(*(_reasons_in(file.read_text()) for file in package.rglob("*.py")))
    assert len(found) > 15
    assert found | {str(reason) for reason in Reason} <= set(REASONS)
    assert len(REASONS) == len(set(REASONS))


SERVERS = {
    "a TPU": ({"target": Target("v5e", "tpu")}, "0.7.1"),
    "a program on a CPU": ({"format": "stablehlo"}, "0.7.1"),
    "told by the order already": ({"target": Target("v5e", "tpu", jax_version="0.6.0")}, "0.6.0"),
    "a graph on a CPU, which no jax runs": ({}, None),
}


@pytest.mark.parametrize(("changes", "told"), SERVERS.values(), ids=SERVERS.keys())
def test_the_servers_jax_counts_where_it_runs(changes: dict[str, Any], told: str | None) -> None:
    order = replace(BuildOrder("m", "onnx", builds.CPU), **changes)
    assert with_server(order, {"SEAWALL_SERVER_JAX": "0.7.1"}).target.jax_version == told
    assert with_server(order, {}) == order


def engine(folder: Path) -> Engine:
    plan = folder / "model.plan"
    plan.write_bytes(b"plan")
    return Engine(plan, 4, "10.13.3", "NVIDIA L4, 580.1, 8.9", 12.5, 0.001, TIMES)


def test_an_engine_is_told_with_its_versions_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, prepared, made = built(tmp_path, target=GPU)
    monkeypatch.setattr(forms, "engine_of", lambda *_: engine(tmp_path))
    done, told = delivered(bench, prepared, made, tmp_path)
    assert done.engine_bytes == 4
    assert (told["versions"]["tensorrt"], told["versions"]["gpu"]) == ("10.13.3", "NVIDIA L4, 580.1, 8.9")
    assert told["layout"] == {"kind": "tensorrt"}
    assert told["stages"][-1]["name"] == "compile"
    assert told["result"]["engine"]["times"][0] == {"batch": 1, "p50Ms": "1.9", "p99Ms": "2.5"}
    assert report.result_json(done, GPU)["engine"]["tensorrt"] == "10.13.3"
    assert told["key"] == publish.key(bench.order, prepared.digests)


def test_a_graph_without_its_engine_answers_no_request_for_one(tmp_path: Path) -> None:
    bench, prepared, made = built(tmp_path, target=GPU)
    done, told = delivered(bench, prepared, made, tmp_path)
    assert told["layout"] == {"kind": "onnx"}
    assert "no engine was built here" in done.notes[-1]
    delivery = deliver.Delivery(publish.open_store(str(tmp_path / "store")))
    assert deliver.known(bench.order, prepared.digests, delivery) is None


def test_an_engine_that_did_not_come_about_is_refused(tmp_path: Path) -> None:
    bench, prepared, made = built(tmp_path, target=GPU)
    forms.ready_to_compile(bench, prepared, made)
    with pytest.raises(Refused, match="left no result") as refused:
        delivered(bench, prepared, made, tmp_path)
    assert refused.value.reason == "CompileFailed"


def test_without_its_builder_the_pre_check_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEAWALL_GPU_PYTHON", raising=False)
    bench, prepared, _ = built(tmp_path, target=GPU)
    made = pipeline.candidate(bench, bench.stages(), prepared, "none")
    assert made.precheck is not None
    assert made.precheck["preCheck"] == "not pre-checked"
    row = pipeline.accepted(made, prepared, bench.stages(), None)
    assert row.notes[0].startswith("not pre-checked: there is no TensorRT-RTX here")
    assert report.result_json(row, GPU)["precheck"] == made.precheck
    assert pipeline.accepted(Candidate("none", prepared.original), prepared, bench.stages(), None).notes == ()


def test_what_the_parser_will_not_take_is_refused_before_there_is_a_gpu(tmp_path: Path) -> None:
    """A graph that quantises at run time, as onnxruntime makes them for CPUs."""
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 4]) for n in "xy"]
    nodes = [
        onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "quantise"),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "dynamic", ends[:1], ends[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10,
    )  # fmt: skip
    graph = graphs.save(model, tmp_path / "given")
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32))
    order = BuildOrder(str(graph.path), "onnx", GPU, criterion=Criterion(), evaluation=str(data))
    bench = Bench(order, tmp_path / "work", os.environ, lambda *_: None)
    prepared = pipeline.prepare(bench, bench.stages())
    with pytest.raises(Refused, match="quantises at run time") as refused:
        pipeline.candidate(bench, bench.stages(), prepared, "none")
    assert refused.value.reason == "CompileFailed"
    assert "a pre-check" in refused.value.message


LINES = {
    "begun": (_Said("prove", None, "64 samples", 10.0), 10.4, "prove: 64 samples"),
    "a while": (_Said("compress", None, "int8", 10.0), 22.9, "compress 12 s: int8"),
    "with a share": (_Said("train", 41.7, "pass 5", 10.0), 13.0, "train 42 % 3 s: pass 5"),
    "too long for a line": (_Said("fetch", None, "x" * 200, 0.0), 0.0, "fetch: " + "x" * 93),
}


@pytest.mark.parametrize(("said", "now", "line"), LINES.values(), ids=LINES.keys())
def test_the_line_of_progress_tells_how_long(said: _Said, now: float, line: str) -> None:
    assert progress_line(said, now) == line


def test_progress_is_for_terminals_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for terminal, shown in ((False, ""), (True, "\r\033[Kprove: now\r\033[K")):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        with Table(quiet=False, clock=lambda: 1.0) as table:
            table.say("prove", None, "now")
        assert capsys.readouterr().err == shown


def test_a_pipeline_of_tpus_is_refused(tmp_path: Path) -> None:
    bench, prepared, made = built(tmp_path, target=Target("v5e", "tpu"), pipeline=2)
    with pytest.raises(Refused, match="cannot be cut into stages") as refused:
        delivered(bench, prepared, made, tmp_path)
    assert refused.value.reason == "CannotSplit"


def test_the_originals_latency_stays_with_the_build() -> None:
    beside = Profile("cpu", (replace(TIMES[0], ratio_to_original=0.5),), "onnxruntime")
    [batch] = report.decimal(beside.to_json(builds.CPU))["batches"]
    assert (batch["p50Ms"], batch["originalP50Ms"]) == ("1.9", "3.8")
