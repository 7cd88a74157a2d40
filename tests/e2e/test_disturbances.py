"""Nothing is lost when pods, operators or the API server die in the middle of something."""

import asyncio
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from demo_kube import wait_for
from load import running

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).resolve().parents[2]
RATE = 80.0
LEAST_REQUESTS = 5000


def loads(digits: Any, kube: Any) -> list[Any]:
    return [digits.load(kube, "digits", protocol, RATE) for protocol in ("http", "grpc")]


def assert_nothing_failed(made: list[Any], least: int) -> None:
    for load in made:
        report = load.tally.report()
        assert report["failed"] == 0, f"{load.target.protocol}: {report}"
        assert report["requests"] >= least, f"{load.target.protocol}: {report}"


def model(source: Path, version: str) -> dict[str, Any]:
    digest = hashlib.sha256((source / f"{version}.onnx").read_bytes()).hexdigest()
    return {"spec": {"model": {"uri": f"pvc://models/{version}.onnx", "sha256": digest}}}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def good(kube: Any, manifest: Any, operator: Any) -> None:
    """Two replicas of the first version, whatever the test before has left."""
    await operator.steady()
    await kube.put(manifest("digits", replicas=2))
    await kube.wait_ready("digits")
    await kube.wait_settled("digits")


async def test_update_pod_kill_and_scale_down_lose_no_request(kube: Any, digits: Any, source: Path) -> None:
    made = loads(digits, kube)
    async with running(*made):
        await asyncio.sleep(2)
        pod = (await kube.children("pod", "digits"))[0]["metadata"]["name"]
        await kube.delete("pod", pod)
        await kube.wait_settled("digits")
        await kube.patch("inferenceservice", "digits", model(source, "digits-v2"))
        await kube.wait_settled("digits")
        await kube.run("scale", "inferenceservice", "digits", "--replicas=1")
        await kube.wait_settled("digits")

        async def enough() -> tuple[bool, str]:
            least = min(load.tally.requests for load in made)
            return least >= LEAST_REQUESTS, f"{least} requests"

        await wait_for(enough, f"{LEAST_REQUESTS} requests", 120)
    assert_nothing_failed(made, LEAST_REQUESTS)
    assert all(set(load.tally.answered_by) == {"digits-v1", "digits-v2"} for load in made)
    assert await digits.version(kube, "digits") == "digits-v2"


async def test_operator_killed_in_the_middle_of_an_update(
    kube: Any, digits: Any, source: Path, operator: Any
) -> None:
    made = loads(digits, kube)
    holder = await operator.leader()
    async with running(*made):
        await kube.patch("inferenceservice", "digits", model(source, "digits-v2"))

        async def begun() -> tuple[bool, str]:
            names = [each["metadata"]["name"] for each in await kube.children("deployment", "digits")]
            return len(names) == 2, f"deployments {names}"

        await wait_for(begun, "the new revision to start", 60)
        operator.kill(holder)
        await kube.wait_settled("digits", 240)
    assert_nothing_failed(made, 500)
    assert await digits.version(kube, "digits") == "digits-v2"


async def test_all_operators_killed_and_a_child_edited_meanwhile(
    kube: Any, system: Any, operator: Any
) -> None:
    pods = await system.listed("pod", **{"app.kubernetes.io/component": "operator"})
    for pod in pods:
        operator.kill(pod["metadata"]["name"])
    await kube.run("delete", "poddisruptionbudget", "digits")

    async def healed() -> tuple[bool, str]:
        return await kube.get("poddisruptionbudget", "digits") is not None, "no budget"

    await wait_for(healed, "the deleted child to come back", 120)


async def test_service_deleted_while_it_starts(kube: Any, manifest: Any) -> None:
    await kube.apply(manifest("brief"))

    async def begun() -> tuple[bool, str]:
        return bool(await kube.children("pod", "brief")), "no pod"

    await wait_for(begun, "the first pod", 60)
    await kube.delete("inferenceservice", "brief")

    async def gone() -> tuple[bool, str]:
        left = [
            f"{each['kind']} {each['metadata']['name']}"
            for kind in ("deployment", "service", "poddisruptionbudget", "pod")
            for each in await kube.children(kind, "brief")
        ]
        return not left, f"left: {left}"

    await wait_for(gone, "every child to go", 120)
    await asyncio.sleep(3)
    assert (await gone())[0], "a child came back"


async def test_two_operators_write_as_one(kube: Any, manifest: Any, system: Any, operator: Any) -> None:
    """One holds the Lease; after a start everything is written once and then left alone."""
    assert len(await system.listed("pod", **{"app.kubernetes.io/component": "operator"})) == 2
    holder = await operator.leader()
    await kube.apply(manifest("calm"))
    await kube.wait_ready("calm")
    await kube.wait_settled("calm")
    # The first answer was traffic; a minute later there is nothing left to tell.
    await kube.wait_condition("calm", "LatencyMetricAvailable", "Unknown", "NoTraffic", seconds=150)

    async def versions() -> dict[str, str]:
        kinds = ("service", "poddisruptionbudget")
        found = {
            f"{kind}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
            for kind in kinds
            for each in await kube.children(kind, "calm")
        }
        service = await kube.get("inferenceservice", "calm")
        return found | {"calm": service["metadata"]["resourceVersion"]}

    before = await versions()
    await asyncio.sleep(10)
    assert await versions() == before
    events = [each for each in await kube.listed("event") if each["involvedObject"]["name"] == "calm"]
    installed = [each for each in events if each["reason"] == "Installed"]
    assert len(installed) == 1
    assert installed[0].get("count", 1) == 1
    assert await operator.leader() == holder
    await kube.delete("inferenceservice", "calm", wait=True)


async def test_apiserver_restarted_under_the_operator(kube: Any, digits: Any, source: Path) -> None:
    made = loads(digits, kube)

    async def answering() -> tuple[bool, str]:
        return await kube.run("get", "--raw", "/readyz") == "ok", "not ok"

    async with running(*made):
        restart_apiserver()
        await wait_for(answering, "the API server to come back", 60)
        await kube.patch("inferenceservice", "digits", model(source, "digits-v2"))
        await kube.wait_settled("digits", 240)
    assert_nothing_failed(made, 500)
    assert await digits.version(kube, "digits") == "digits-v2"


def restart_apiserver() -> None:
    name = os.environ["SEAWALL_E2E_CLUSTER"]
    command = [str(ROOT / "tools" / "cluster"), "restart", "kube-apiserver", "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
