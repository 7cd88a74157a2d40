"""The main job: two models, two protocols, right answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from load import Target, answers, arrays, model_inputs

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

PROTOCOLS = ("http", "grpc")


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def services(kube: Any, manifest: Any) -> None:
    await kube.apply(manifest("digits", replicas=2), manifest("minilm", example="minilm"))
    for name in ("digits", "minilm"):
        await kube.wait_ready(name)
        await kube.wait_settled(name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_digits_are_recognised(kube: Any, digits: Any, protocol: str) -> None:
    assert await digits.accuracy(kube, "digits", protocol) >= 0.98


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_embeddings_agree_with_the_original_model(kube: Any, models: Path, protocol: str) -> None:
    inputs = model_inputs(models / "minilm-test.npz")
    original = arrays(models / "minilm-expected.npz")["minilm"]
    host, port = ("minilm", 8000) if protocol == "http" else ("minilm-headless", 8001)
    target = Target("minilm", f"{host}.{kube.namespace}.svc.cluster.local:{port}", protocol)
    embedded = await answers(target, inputs, 16)
    assert ((embedded * original).sum(1) / np.linalg.norm(embedded, axis=1)).min() >= 0.999


async def test_status_says_where_and_what(kube: Any) -> None:
    status = await kube.status("digits")
    assert status["endpoints"] == {
        "http": f"http://digits.{kube.namespace}.svc:8000",
        "grpc": f"digits-headless.{kube.namespace}.svc:8001",
    }
    assert status["replicas"] == 2
    found = {each["type"]: each["status"] for each in status["conditions"]}
    # Whether the SLO is met is not known before there was enough traffic; nothing is wrong then either.
    assert {found.pop(name) for name in ("SLOMet", "SLOFeasible", "LatencyMetricAvailable")} <= {
        "True",
        "Unknown",
    }
    assert set(found.values()) == {"True"}


async def test_labels_on_the_service_restart_nothing(kube: Any) -> None:
    before = {pod["metadata"]["uid"] for pod in await kube.children("pod", "digits")}
    await kube.run("label", "inferenceservice", "digits", "team=vision")
    await kube.run("annotate", "inferenceservice", "digits", "note=hello")
    await kube.patch("inferenceservice", "digits", {"spec": {"slo": {"p99": "250ms"}}})
    await kube.wait_settled("digits")
    assert {pod["metadata"]["uid"] for pod in await kube.children("pod", "digits")} == before


async def test_the_scale_subresource_scales(kube: Any) -> None:
    await kube.run("scale", "inferenceservice", "digits", "--replicas=1")
    await kube.wait_settled("digits")
    assert len(await kube.children("pod", "digits")) == 1
