"""With Prometheus and a real gateway in the cluster: what the clients see is what the status says."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from demo_kube import conditions, summary, wait_for
from load import Load, Target
from seawall_cluster.state import MARK

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

GATEWAY = "gw.infra.svc.cluster.local"
RATE = 40.0
Object = dict[str, Any]


def route(namespace: str) -> Object:
    backend = {"name": "digits", "port": 8000}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "digits", "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "gw", "namespace": "infra"}],
            "hostnames": [GATEWAY],
            "rules": [{"backendRefs": [backend]}],
        },
    }


def scaled(made: Object) -> Object:
    """The example, scaled by the operator itself."""
    made["spec"]["scaling"] = {"mode": "Direct", "minReplicas": 2, "maxReplicas": 3}
    made["spec"]["slo"] = {"p99": "500ms", "availability": "99.9%", "window": "7d"}
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def load(kube: Any, manifest: Any, digits: Any) -> AsyncIterator[list[Load]]:
    """`digits` is asked through the gateway, `plain` through its Service."""
    await kube.apply(scaled(manifest("digits")), scaled(manifest("plain")), route(kube.namespace))
    for name in ("digits", "plain"):
        await kube.wait_ready(name)
    through = Target("digits", GATEWAY, "http")
    loads = [
        Load(through, digits.inputs, digits.scores, rate=RATE),
        digits.load(kube, "plain", "http", RATE),
    ]
    tasks = [asyncio.create_task(each.run()) for each in loads]
    yield loads
    for each in loads:
        each.stop()
    await asyncio.gather(*tasks)


async def until(kube: Any, name: str, what: str, fits: Any, seconds: float = 180) -> Object:
    found: Object = {}

    async def look() -> tuple[bool, str]:
        found.clear()
        found.update(await kube.status(name))
        return bool(fits(found)), f"{found.get('slo')}; {summary(found)}"

    await wait_for(look, f"{name}: {what}", seconds)
    return found


async def test_the_gateways_histogram_is_the_truth_where_there_is_one(kube: Any) -> None:
    status = await until(
        kube, "digits", "p99 and attainment from the gateway",
        lambda s: (s.get("slo") or {}).get("source") == "Gateway" and "attainment" in s["slo"],
    )  # fmt: skip
    assert conditions(status)["LatencyMetricAvailable"]["status"] == "True"
    assert float(status["slo"]["attainment"].rstrip("%")) > 90
    assert status["slo"]["window"] == "7d"
    assert status["slo"]["errorBudgetRemaining"].endswith("%")


async def test_prometheus_tells_of_pods_that_no_gateway_knows(kube: Any) -> None:
    status = await until(
        kube, "plain", "p99 from Triton", lambda s: (s.get("slo") or {}).get("p99") is not None
    )
    assert status["slo"]["source"] == "TritonSummary"


def prometheus() -> int:
    """The process id of this cluster's Prometheus."""
    home = os.environ[MARK].encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"/prometheus") and any(home in word for word in words):
                return int(entry.name)
    raise AssertionError("no Prometheus of this cluster runs")


@contextmanager
def silenced(pid: int) -> Iterator[None]:
    """It takes connections and answers nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def replicas(kube: Any, name: str) -> int:
    return sum(d["spec"]["replicas"] for d in await kube.children("deployment", name))


async def test_a_silent_prometheus_takes_no_pod_and_is_told_at_once(kube: Any) -> None:
    before = {name: await replicas(kube, name) for name in ("digits", "plain")}
    seen = []
    with silenced(prometheus()):
        for name in before:
            await until(
                kube, name, "LatencyMetricAvailable to be False",
                lambda s: conditions(s)["LatencyMetricAvailable"]["status"] == "False", 60,
            )  # fmt: skip
        for _ in range(30):
            seen.append({name: await replicas(kube, name) for name in before})
            await asyncio.sleep(1)
    assert all(count >= before[name] for counts in seen for name, count in counts.items()), seen
    for name in before:
        await until(
            kube, name, "to recover by itself",
            lambda s: conditions(s)["LatencyMetricAvailable"]["status"] == "True", 180,
        )  # fmt: skip


async def test_no_request_through_the_gateway_failed(load: list[Load]) -> None:
    report = load[0].tally.report()
    assert report["failed"] == 0, report
    assert report["requests"] > RATE * 60
