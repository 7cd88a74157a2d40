"""Real pods under an open-loop load, scaled by each actuator that needs nothing but the cluster itself.

The model sleeps, so that its service times are known and pods cost no processor: one pod does 57 requests a
second in full batches, and about 22 within its SLO behind kube-proxy.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from demo_kube import conditions, pod_ready, summary, wait_for

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench")]

import sleeping  # noqa: E402
from openloop import OpenLoop  # noqa: E402

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

RATE = 40.0
MODES = ("Direct", "HPA")
Object = dict[str, Any]


def name_of(mode: str) -> str:
    return f"sleeper-{mode.lower()}"


class Steady:
    """The same rate until it is stopped, whatever becomes of the answers."""

    def __init__(self, namespace: str, service: str, rate: float, seconds: float) -> None:
        due = np.cumsum(np.random.default_rng(1).exponential(1 / rate, round(rate * seconds)))
        url = f"http://{service}.{namespace}.svc.cluster.local:8000/v2/models/{service}/infer"
        self._loop = OpenLoop(url, None, due)
        self._task = asyncio.create_task(self._loop.run())

    async def stop(self) -> np.ndarray:
        """Latencies of what was sent so far."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return self._loop.latency[~np.isnan(self._loop.latency)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def services(kube: Any, source: Path, operator: Any) -> None:
    await operator.steady()
    sleeping.pack(source, load_seconds=0.0)
    for mode in MODES:
        scaling = {"mode": mode, "minReplicas": 1, "maxReplicas": 6}
        await kube.apply(sleeping.service(name_of(mode), kube.namespace, scaling))
    for mode in MODES:
        await kube.wait_ready(name_of(mode))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def load(kube: Any, services: None) -> AsyncIterator[dict[str, Steady]]:
    running = {mode: Steady(kube.namespace, name_of(mode), RATE, 900) for mode in MODES}
    yield running
    for each in running.values():
        await each.stop()


async def ready_pods(kube: Any, service: str) -> int:
    return sum(pod_ready(pod) for pod in await kube.children("pod", service))


async def until_status(kube: Any, service: str, what: str, fits: Any, seconds: float = 150) -> Object:
    found: Object = {}

    async def look() -> tuple[bool, str]:
        found.clear()
        found.update(await kube.status(service))
        said = f"{summary(found)}; scaling {found.get('scaling')}; slo {found.get('slo')}"
        return bool(fits(found)), said

    await wait_for(look, f"{service}: {what}", seconds)
    return found


@pytest.mark.parametrize("mode", MODES)
async def test_more_load_than_a_pod_can_serve_brings_more_pods(kube: Any, load: Any, mode: str) -> None:
    service = name_of(mode)

    async def look() -> tuple[bool, str]:
        ready = await ready_pods(kube, service)
        status = await kube.status(service)
        return ready >= 2, f"{ready} ready; {status.get('scaling')}; {summary(status)}"

    await wait_for(look, f"{service} to have two ready pods", 240)


@pytest.mark.parametrize("mode", MODES)
async def test_the_slo_is_met_and_the_status_says_so(kube: Any, load: Any, mode: str) -> None:
    def met(status: Object) -> bool:
        found = conditions(status)
        return found.get("SLOMet", {}).get("status") == "True"

    status = await until_status(kube, name_of(mode), "to meet its SLO", met, 240)
    found = conditions(status)
    assert found["LatencyMetricAvailable"]["status"] == "True"
    assert found["ScalingReady"]["status"] == "True"
    assert status["scaling"]["mode"] == mode
    assert status["scaling"]["desiredReplicas"] >= 2
    assert float(status["scaling"]["demandRps"]) > 0
    assert status["slo"]["source"] == "TritonSummary"
    assert status["slo"]["p99"].endswith("ms")


async def test_the_autoscaler_reads_what_the_status_says(kube: Any, load: Any) -> None:
    (autoscaler,) = await kube.children("hpa", name_of("HPA"))
    (metric,) = autoscaler["status"]["currentMetrics"]
    assert metric["object"]["metric"]["name"] == "slo-load"
    active = next(c for c in autoscaler["status"]["conditions"] if c["type"] == "ScalingActive")
    assert active["status"] == "True", active


async def test_no_switch_of_mode_takes_pods_away(kube: Any, load: Any) -> None:
    service = name_of("HPA")
    seen: list[int] = []

    async def watch() -> None:
        while True:
            deployments = await kube.children("deployment", service)
            seen.extend(d["spec"]["replicas"] for d in deployments)
            await asyncio.sleep(0.3)

    before = (await kube.children("deployment", service))[0]["spec"]["replicas"]
    watcher = asyncio.create_task(watch())
    try:
        for mode in ("Direct", "HPA", "Auto"):
            await kube.patch("inferenceservice", service, {"spec": {"scaling": {"mode": mode}}})
            wanted = "HPA" if mode == "Auto" else mode
            await until_status(
                kube, service, f"in mode {wanted}",
                lambda status, wanted=wanted: (status.get("scaling") or {}).get("mode") == wanted,
            )  # fmt: skip
            await asyncio.sleep(5)
    finally:
        watcher.cancel()
    assert seen
    assert min(seen) >= before, f"started from {before}, saw {sorted(set(seen))}"


async def test_a_dead_operator_takes_no_pods_away(kube: Any, load: Any, operator: Any) -> None:
    counts = {mode: await ready_pods(kube, name_of(mode)) for mode in MODES}
    operator.kill(await operator.leader())
    lowest = dict(counts)
    for _ in range(40):
        for mode in MODES:
            lowest[mode] = min(lowest[mode], await ready_pods(kube, name_of(mode)))
        await asyncio.sleep(0.5)
    await operator.steady()
    assert lowest == counts


async def test_pods_that_are_no_longer_needed_cost_an_administrator_one_line(kube: Any, load: Any) -> None:
    """Fixed takes the count from whoever had it, and gives it back."""
    service = name_of("Direct")
    fixed = {"mode": "Fixed", "replicas": 4, "minReplicas": None, "maxReplicas": None}
    await kube.patch("inferenceservice", service, {"spec": {"scaling": fixed}})
    status = await until_status(
        kube, service, "to have four pods", lambda status: status.get("replicas") == 4
    )
    assert conditions(status)["ScalingReady"]["reason"] == "Fixed"
