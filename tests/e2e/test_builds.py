"""Models that are compressed first: a service asks for a preset, waits for its ModelBuild, and serves it."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from demo_kube import pod_ready, wait_for
from load import Target, answers, arrays, model_inputs, running

from support.served_builds import (
    DIGITS_DATA,
    SENTENCES,
    Watched,
    build_of,
    builds,
    compressed,
    pods_made,
    wait_running,
)

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

PROTOCOLS = ("http", "grpc")
LEAST_RATIO = 1 / 0.27
NEAR = 0.98
"""least cosine of an answer to that of the model before it was compressed"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def way(kube: Any, manifest: Any) -> Watched:
    """How `digits` with int8 became Ready."""
    seen = Watched()
    await kube.apply(compressed(manifest("digits")))
    await seen.until_ready(kube, "digits")
    await kube.wait_settled("digits")
    return seen


async def test_a_service_waits_for_its_build_with_progress_and_never_crashes(way: Watched) -> None:
    assert way.reasons[0] == "Building"
    assert any("stage profile" in message for message in way.messages), way.messages
    assert way.pods_while_building == 0
    assert way.restarts == 0


async def test_what_a_build_tells_was_measured_in_triton(kube: Any, way: Watched) -> None:
    build = await build_of(kube, "digits")
    status, result = build["status"], build["status"]["result"]
    assert status["phase"] == "Succeeded"
    assert float(result["compressionRatio"]) >= LEAST_RATIO
    assert result["originalBytes"] / result["compressedBytes"] >= LEAST_RATIO
    assert float(result["accuracy"]["low"]) >= 0.98
    assert float(result["accuracy"]["drop"]["drop"]) <= 0.5
    assert result["accuracy"]["samples"] == 540
    assert result["profile"]["source"] == "triton"
    assert [batch["size"] for batch in result["profile"]["batches"]] == [1, 2, 4, 8, 16, 32]
    assert status["versions"]["triton"]
    assert not await kube.listed("job"), "a Job goes when its result stands in the status"
    told = (await kube.status("digits"))["model"]
    assert told["buildRef"] == build["metadata"]["name"]
    shown = ("preset", "originalBytes", "compressedBytes", "compressionRatio", "sha256")
    assert {name: told[name] for name in shown} == {name: result[name] for name in shown}
    assert told["accuracy"]["value"] == result["accuracy"]["value"]


async def test_kubectl_get_shows_preset_phase_and_ratio(kube: Any, way: Watched) -> None:
    ratio = (await build_of(kube, "digits"))["status"]["result"]["compressionRatio"]
    _, line, *_ = (await kube.run("get", "swb")).splitlines()
    assert line.split()[2:6] == ["int8", "cpu", "Succeeded", ratio]
    lines = (await kube.run("get", "swi", "digits")).splitlines()
    assert "int8" in lines[1].split()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_compressed_digits_answer_as_the_original(
    kube: Any, digits: Any, way: Watched, protocol: str
) -> None:
    scores = await answers(digits.target(kube, "digits", protocol), digits.inputs, 20)
    original = digits.scores["digits-v1"]
    assert (scores.argmax(1) == original.argmax(1)).mean() >= 0.98
    assert (scores.argmax(1) == digits.labels).mean() >= (original.argmax(1) == digits.labels).mean() - 0.005
    assert not np.allclose(scores, original, atol=1e-6), "these are the original's own answers"


async def test_the_same_request_again_needs_no_build(kube: Any, manifest: Any, way: Watched) -> None:
    before, made = await builds(kube), await pods_made(kube)
    await kube.apply(compressed(manifest("twin")))
    await kube.wait_ready("twin")
    assert await pods_made(kube) == made
    assert set(await builds(kube)) == set(before)
    assert (await build_of(kube, "twin"))["metadata"]["uid"] == before[
        (await build_of(kube, "digits"))["metadata"]["name"]
    ]["metadata"]["uid"]


def written(artifacts: Path) -> list[tuple[int, int]]:
    """What tells a file that was written again from the one that was there."""
    found = [path.stat() for path in sorted(artifacts.glob("builds/*/manifest.json"))]
    return [(each.st_ino, each.st_mtime_ns) for each in found]


async def test_a_deleted_build_is_found_in_the_store(
    kube: Any, digits: Any, way: Watched, artifacts: Path
) -> None:
    build = await build_of(kube, "digits")
    name, digest = build["metadata"]["name"], build["status"]["artifact"]["digest"]
    before = written(artifacts)
    assert len(before) == 1
    pods = {pod["metadata"]["uid"] for pod in await kube.children("pod", "digits")}
    await kube.delete("modelbuild", name, wait=True)

    async def again() -> tuple[bool, str]:
        status = ((await kube.get("modelbuild", name)) or {}).get("status") or {}
        return status.get("phase") == "Succeeded", str(status.get("progress"))

    await wait_for(again, "the build to be found again", 60)
    assert (await kube.get("modelbuild", name))["status"]["artifact"]["digest"] == digest
    assert written(artifacts) == before
    assert {pod["metadata"]["uid"] for pod in await kube.children("pod", "digits")} == pods
    assert (await kube.condition("digits", "Ready"))["status"] == "True"


async def test_a_build_goes_on_without_the_operator_while_the_old_revision_serves(
    kube: Any, digits: Any, source: Path, manifest: Any, operator: Any, way: Watched
) -> None:
    """The operator dies, and after it the build's own pod: what is asked for comes nevertheless."""
    before = set(await builds(kube))
    load = digits.load(kube, "twin", "http", 40.0, NEAR)
    async with running(load):
        await kube.put(compressed(manifest("twin", uri="pvc://models/digits-v2.onnx")))
        pod = await wait_running(kube, "digits-v2", before)
        operator.kill(await operator.leader())
        await kube.delete("pod", pod["metadata"]["name"])
        await kube.wait_condition("twin", "ModelReady", "True", seconds=180)
        await kube.wait_settled("twin")
    build = await build_of(kube, "twin")
    assert build["metadata"]["name"] not in before
    assert build["status"]["attempts"] == 2
    report = load.tally.report()
    assert report["failed"] == 0, report
    assert set(report["answeredBy"]) == {"digits-v1 compressed", "digits-v2 compressed"}
    scores = await answers(digits.target(kube, "twin", "http"), digits.inputs, 20)
    assert (scores.argmax(1) == digits.scores["digits-v2"].argmax(1)).mean() >= 0.98
    await operator.steady()


async def test_the_operator_restarted_keeps_the_build_that_runs(
    kube: Any, manifest: Any, models: Path, operator: Any
) -> None:
    """And MiniLM in int8 gives the sentences the places that they had."""
    made = await pods_made(kube)
    await kube.apply(compressed(manifest("minilm", example="minilm"), data=SENTENCES))
    await wait_running(kube, "minilm", set())
    operator.kill(await operator.leader())
    await kube.wait_ready("minilm", 240)
    assert await pods_made(kube) == made + 1
    build = await build_of(kube, "minilm")
    assert float(build["status"]["result"]["compressionRatio"]) >= 3.9
    inputs = model_inputs(models / "minilm-test.npz")
    original = arrays(models / "minilm-expected.npz")["minilm"]
    target = Target("minilm", f"minilm-headless.{kube.namespace}.svc.cluster.local:8001", "grpc")
    embedded = await answers(target, inputs, 16)
    norms = np.linalg.norm(embedded, axis=1) * np.linalg.norm(original, axis=1)
    assert ((embedded * original).sum(1) / norms).mean() >= 0.99
    await kube.delete("inferenceservice", "minilm", wait=True)
    await operator.steady()


async def test_auto_takes_what_fits_and_tells_why_the_others_lost(
    kube: Any, digits: Any, manifest: Any
) -> None:
    await kube.apply(compressed(manifest("choice"), "auto"))
    await kube.wait_ready("choice", 180)
    told = (await kube.status("choice"))["model"]
    assert told["preset"] in ("int8", "int4")
    lost = {each["preset"]: each["reason"] for each in told["rejectedPresets"]}
    assert "none" in lost
    assert all(lost.values()), lost
    assert await digits.accuracy(kube, "choice", "grpc") >= 0.98


async def test_a_model_cut_in_two_answers_the_same(kube: Any, digits: Any, manifest: Any) -> None:
    service = manifest("pair")
    service["spec"]["parallelism"] = {"pipeline": 2}
    await kube.apply(service)
    await kube.wait_ready("pair", 180)
    for protocol in PROTOCOLS:
        scores = await answers(digits.target(kube, "pair", protocol), digits.inputs, 20)
        np.testing.assert_allclose(scores, digits.scores["digits-v1"], atol=1e-5, rtol=1e-5)
    assert (await kube.status("pair"))["model"]["format"] == "pipeline"


def hits(pod: dict[str, Any], model: str) -> int:
    url = f"http://{pod['status']['podIP']}:8000/v2/models/{model}/stats"
    with urllib.request.urlopen(url, timeout=5) as answer:
        (stats,) = json.load(answer)["model_stats"]
    return int(stats["inference_stats"]["cache_hit"]["count"])


async def test_an_equal_question_is_answered_from_the_response_cache(
    kube: Any, digits: Any, manifest: Any
) -> None:
    service = compressed(manifest("cached"), data=DIGITS_DATA)
    service["spec"]["cache"] = {"size": "16Mi"}
    await kube.apply(service)
    await kube.wait_ready("cached")
    (pod,) = [each for each in await kube.children("pod", "cached") if pod_ready(each)]
    before = hits(pod, "cached")
    one = {name: array[:1] for name, array in digits.inputs.items()}
    target = digits.target(kube, "cached", "http")
    first = await answers(target, one, 1)
    assert hits(pod, "cached") == before
    second = await answers(target, one, 1)
    assert hits(pod, "cached") == before + 1
    np.testing.assert_array_equal(first, second)
