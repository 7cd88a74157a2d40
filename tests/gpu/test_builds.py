"""Builds for GPUs and TPUs through the whole pipeline, up to the artefact; no device was there."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seawall.optimize import deliver, pipeline, publish
from seawall.optimize.bench import Bench, with_server
from seawall.optimize.types import BuildOrder, Criterion, PresetResult, Refused, Target
from support import builds

GPU = Target("l4", "gpu", "8.9")
TPU = Target("v5e", "tpu", jax_version="0.7.1")
PROGRAM = """\
import sys, jax, jax.numpy as jnp, numpy as np
from jax import export
weights = np.random.default_rng(0).standard_normal((64, 3)).astype("float32")
(batch,) = export.symbolic_shape("b")
def program(image):
    if sys.argv[2] == "bfloat16":
        image = image.astype(jnp.float32)
    return {"scores": jnp.dot(jnp.reshape(image, (image.shape[0], 64)), weights)}
given = jax.ShapeDtypeStruct((batch, 1, 8, 8), getattr(jnp, sys.argv[2]))
made = export.export(jax.jit(lambda feed: program(feed["image"])), platforms=["cpu", "tpu"])({"image": given})
open(sys.argv[1], "wb").write(made.serialize())
"""


def built(tmp_path: Path, order: BuildOrder, preset: str) -> tuple[PresetResult, dict[str, Any]]:
    bench = Bench(replace(order, preset=preset), tmp_path / "work", os.environ, lambda *_: None)
    stages = bench.stages()
    prepared = pipeline.prepare(bench, bench.stages())
    made = pipeline.candidate(bench, stages, prepared, preset)
    result = pipeline.accepted(made, prepared, stages, None)
    delivery = deliver.Delivery(publish.open_store(str(tmp_path / "store")))
    done = deliver.deliver(bench, prepared, made, result, delivery)
    assert done.artifact is not None
    manifest = json.loads((Path(done.artifact.uri) / "manifest.json").read_text())
    return done, manifest["predicate"]


@pytest.mark.parametrize("preset", ["none", "fp16", "bf16"])
def test_a_gpus_graph_is_pre_checked_and_says_so(preset: str, tmp_path: Path, with_gpu: str) -> None:
    done, told = built(tmp_path, builds.order(tmp_path, target=GPU), preset)
    assert done.notes[0] == (
        "pre-check passed (a pre-check by TensorRT-RTX without a GPU, not a build for this one)"
    )
    assert done.precheck == {
        "preCheck": "passed",
        "note": "a pre-check by TensorRT-RTX without a GPU, not a build for this one",
        "reasons": [],
        "builder": told["versions"]["tensorrt-rtx"],
        "computeCapability": "8.9",
    }
    assert "pre-check" in [stage["name"] for stage in told["stages"]]
    assert preset == "none" or told["versions"]["nvidia-modelopt"]


@pytest.mark.parametrize("preset", ["none", "bf16", "int8"])
def test_a_tpus_program_is_proven_and_exported(preset: str, tmp_path: Path, with_tpu: str) -> None:
    order = builds.order(tmp_path, target=TPU, criterion=Criterion("cosine", 0.99))
    done, told = built(tmp_path, order, preset)
    assert told["layout"]["kind"] == "stablehlo"
    assert told["layout"]["batches"] == [1, 2]
    assert told["versions"]["jax"].startswith("0.7.")
    assert done.notes == ()
    assert preset == "none" or (done.proof is not None and done.proof.passed)


def test_without_the_servers_jax_the_result_says_so(tmp_path: Path, with_tpu: str) -> None:
    order = builds.order(tmp_path, target=replace(TPU, jax_version=None))
    done, _ = built(tmp_path, order, "none")
    assert "nothing tells which release of jax the server has" in done.notes[0]


def test_a_server_that_is_older_is_refused(tmp_path: Path, with_tpu: str) -> None:
    order = builds.order(tmp_path, target=replace(TPU, jax_version=None))
    with pytest.raises(Refused, match=r"the server runs jax 0\.5\.0") as refused:
        built(tmp_path, with_server(order, {"SEAWALL_SERVER_JAX": "0.5.0"}), "none")
    assert refused.value.reason == "PresetUnsupported"


def program(tmp_path: Path, python: str, told: str = "0.7.1", kind: str = "float32") -> Path:
    folder = tmp_path / "program"
    folder.mkdir()
    script = tmp_path / "export.py"
    script.write_text(PROGRAM)
    subprocess.run([python, "-I", script, folder / "given.stablehlo", kind], check=True, capture_output=True)
    (folder / "metadata.json").write_text(json.dumps({"jax": told}))
    return folder


def test_a_program_of_somebody_is_verified_and_published_as_it_is(tmp_path: Path, with_tpu: str) -> None:
    given = program(tmp_path, with_tpu)
    order = builds.order(tmp_path, model=str(given), format="stablehlo", target=TPU)
    done, told = built(tmp_path, order, "none")
    assert told["layout"]["inputs"] == [{"name": "image", "dtype": "float32", "shape": [None, 1, 8, 8]}]
    assert told["layout"]["jax"] == "0.7.1"
    assert done.artifact is not None
    served = Path(done.artifact.uri) / "model.stablehlo"
    assert served.read_bytes() == (given / "given.stablehlo").read_bytes()
    assert [stage["name"] for stage in told["stages"]] == ["fetch", "verify", "fetch-evaluation"]


UNFIT: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a preset": ({}, "bf16", "float32", "is served as it was exported"),
    "two stages": ({"pipeline": 2}, "none", "float32", "cannot be cut into stages"),
    "a GPU": ({"target": GPU}, "none", "float32", "on TPUs and CPUs, not on GPUs"),
    "a server older than its exporter": (
        {"target": replace(TPU, jax_version="0.6.0")}, "none", "float32", "the server runs jax 0.6.0",
    ),
    "a type that no request can carry": ({}, "none", "bfloat16", "cast inside the program"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "preset", "kind", "words"), UNFIT.values(), ids=UNFIT.keys())
def test_a_program_that_does_not_fit_is_refused(
    changes: dict[str, Any], preset: str, kind: str, words: str, tmp_path: Path, with_tpu: str
) -> None:
    given = program(tmp_path, with_tpu, kind=kind)
    order = builds.order(tmp_path, **{"model": str(given), "format": "stablehlo", "target": TPU} | changes)
    with pytest.raises(Refused, match=words):
        built(tmp_path, order, preset)
    assert not list((tmp_path / "store").rglob("manifest.json"))
