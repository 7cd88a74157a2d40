"""The part of the replay inside the cluster's network: services, load, a notebook of the replica counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import statistics
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "bench")]

import sleeping  # noqa: E402
from demo_kube import Kube, claims, namespace_object, pod_ready  # noqa: E402

from seawall.simulate.hpa import SYNC_SECONDS, HorizontalPodAutoscaler  # noqa: E402
from seawall.simulate.hpa_metrics import Metric, Pod  # noqa: E402

NAMESPACE = "replay"
LOOK_SECONDS = 3.0
PROMETHEUS = "http://prometheus.infra.svc:9090"
MODES = {"direct": "Direct", "hpa": "HPA", "keda": "KEDA"}
Object = dict[str, Any]


def wanted(policy: str, task: Object) -> Object:
    if policy in MODES:
        scaling: Object = {"mode": MODES[policy], "minReplicas": 1, "maxReplicas": task["maximum"]}
    elif policy == "static-peak":
        scaling = {"mode": "Fixed", "replicas": task["peak"]}
    else:
        scaling = {"mode": "External", "replicas": 2}
    return sleeping.service(policy, NAMESPACE, scaling)


class Notebook:
    """Pods and spec.replicas of every service, every few seconds."""

    def __init__(self, kube: Kube, policies: list[str]) -> None:
        self._kube = kube
        self.counts: dict[str, list[tuple[float, int, int]]] = {name: [] for name in policies}
        self.pods: dict[str, Object] = {}
        self.began = time.monotonic()

    async def keep(self) -> None:
        label = "serving.seawall.dev/inferenceservice"
        while True:
            started = time.monotonic()
            pods, deployments = await asyncio.gather(
                self._kube.listed("pods"), self._kube.listed("deployments")
            )
            for pod in pods:
                self.pods[pod["metadata"]["uid"]] = pod
            for name, rows in self.counts.items():
                mine = [p for p in pods if p["metadata"]["labels"].get(label) == name]
                wanted = sum(
                    d["spec"]["replicas"] for d in deployments if d["metadata"]["labels"].get(label) == name
                )
                rows.append((started - self.began, len(mine), wanted))
            await asyncio.sleep(max(0.0, LOOK_SECONDS - (time.monotonic() - started)))

    def cold_start(self, policy: str) -> float | None:
        """Median seconds from a pod's creation to Ready."""
        found = []
        for pod in self.pods.values():
            ready = [c for c in pod["status"].get("conditions", ()) if c["type"] == "Ready"]
            if pod["metadata"]["name"].startswith(f"{policy}-") and ready and ready[0]["status"] == "True":
                ends, begins = ready[0]["lastTransitionTime"], pod["metadata"]["creationTimestamp"]
                found.append((datetime.fromisoformat(ends) - datetime.fromisoformat(begins)).total_seconds())
        return statistics.median(found) if found else None


def asked(query: str) -> float | None:
    """The largest value of an instant query; None where there is none."""
    url = f"{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a constant scheme
        found = json.load(answer)["data"]["result"]
    values = [float(each["value"][1]) for each in found]
    return max((v for v in values if not math.isnan(v)), default=None)


async def raw_p99(kube: Kube, task: Object) -> None:
    """The exact HPA controller on the observed p99 with 0.8 of the SLO as target, through /scale."""
    controller = HorizontalPodAutoscaler(minimum=1, maximum=task["maximum"])
    name, target, began = "hpa-p99-80", round(1000 * 0.8 * sleeping.SLO_MS), time.monotonic()
    current = 2
    while True:
        await asyncio.sleep(SYNC_SECONDS)
        try:
            p99 = await asyncio.to_thread(
                asked, f'seawall_p99_seconds{{namespace="{NAMESPACE}",inferenceservice="{name}"}}'
            )
        except OSError:
            p99 = None
        value = None if p99 is None else [round(1e6 * p99)]
        pods = [
            Pod(p["metadata"]["name"], ready=pod_ready(p), deleting="deletionTimestamp" in p["metadata"])
            for p in await kube.children("pod", name)
        ]
        outcome = controller.reconcile(
            time.monotonic() - began, current, pods, [Metric("Object", "Value", target, value)]
        )
        if outcome.replicas != current:
            current = outcome.replicas
            await kube.run("scale", "inferenceservice", name, f"--replicas={current}")


async def load(policy: str, folder: Path, task: Object) -> None:
    """One process each, so that no generator waits for another's answers."""
    out = folder / f"{policy}.npy"
    url = f"http://{policy}.{NAMESPACE}.svc.cluster.local:8000/v2/models/{policy}/infer"
    words = [sys.executable, str(ROOT / "bench" / "openloop.py"), "--url", url]
    process = await asyncio.create_subprocess_exec(
        *words, "--due", str(folder / "due.npy"), "--out", str(out), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load on {policy} ended with exit code {process.returncode}")
    print(f"{policy}: {said.decode().strip()}", file=sys.stderr)


async def progress(seconds: float) -> None:
    began = time.monotonic()
    while sys.stderr.isatty():
        print(f"\r{time.monotonic() - began:.0f} of {seconds:.0f} s ", end="", file=sys.stderr)
        await asyncio.sleep(1)


async def run(folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text())
    kube, policies = Kube(NAMESPACE), list(task["policies"])
    await kube.run("create", "--filename=-", stdin=json.dumps(namespace_object(NAMESPACE)))
    artifacts = folder / "artifacts"
    await kube.apply(*claims(NAMESPACE, folder, artifacts))
    await kube.apply(*(wanted(policy, task) for policy in policies))
    await asyncio.gather(*(kube.wait_ready(policy, seconds=300) for policy in policies))
    book = Notebook(kube, policies)
    helpers = [
        asyncio.create_task(book.keep()),
        asyncio.create_task(progress(task["warm_seconds"] + task["seconds"])),
    ]
    if "hpa-p99-80" in policies:
        helpers.append(asyncio.create_task(raw_p99(kube, task)))
    try:
        await asyncio.gather(*(load(policy, folder, task) for policy in policies))
        for helper in helpers:
            if helper.done() and helper.exception() is not None:
                raise RuntimeError("the notebook or the raw HPA broke off") from helper.exception()
    finally:
        for helper in helpers:
            helper.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await helper
    told = {
        policy: {"counts": book.counts[policy], "coldStartSeconds": book.cold_start(policy)}
        for policy in policies
    }
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
