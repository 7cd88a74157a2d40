"""The scene in which load grows beyond what one pod can do within its SLO, and pods come until it holds.

    tools/cluster exec --name NAME -- .venv/bin/python tools/demo_scale.py [--json]

The model sleeps for as long as a batch would take, so that the pods of a small machine do not fight for its
cores: what is shown is how they are counted. Its requests are sent when they are due, whatever becomes of
those before.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import sleeping
from demo_kube import (
    MODELS,
    Kube,
    KubeError,
    Object,
    Waited,
    claim,
    conditions,
    namespace_object,
    pod_ready,
    summary,
    wait_for,
)
from demo_show import Show
from openloop import OpenLoop
from seawall_cluster.state import MARK

NAMESPACE, NAME = "demo-scale", "elastic"
CALM, RATE = 8.0, 40.0
CALM_SECONDS, LONGEST_SECONDS = 20.0, 330.0
RECENT_SECONDS = 15.0
"""What clients saw lately: the demo's own measurement, beside what the status says"""
LINE_SECONDS = 10.0
BUSY = 4.0
"""runnable programs to a core"""


class Clients:
    """Requests at a rate, and how long the latest of them had to wait."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._due = np.cumsum(np.random.default_rng(0).exponential(1 / rate, round(rate * seconds)))
        url = f"http://{NAME}.{NAMESPACE}.svc.cluster.local:8000/v2/models/{NAME}/infer"
        self._loop = OpenLoop(url, None, self._due)
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._loop.run())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def p99_ms(self) -> float | None:
        """Of the answers to what was due lately; what still waits has waited for so long at least."""
        now = self.seconds
        lately = (self._due > now - RECENT_SECONDS) & (self._due <= now)
        if lately.sum() < 100:
            return None
        waited = self._loop.latency[lately]
        unanswered = np.isnan(waited)
        waited[unanswered] = (now - self._due[lately])[unanswered]
        return float(np.quantile(waited, 0.99)) * 1e3

    async def stop(self) -> tuple[int, int]:
        """Answered requests, and failed ones."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        latency = self._loop.latency
        return int(np.isfinite(latency).sum()), int(np.isinf(latency).sum())


class Scene:
    def __init__(self, show: Show) -> None:
        self.show, self.kube = show, Kube(NAMESPACE)
        self.result: Object = {}
        self._told = -LINE_SECONDS

    async def run(self, folder: Path) -> None:
        """`folder` becomes the claim for models."""
        self.show.heading("More load than one pod can serve within its SLO")
        await self.serve(folder)
        await self.rise()
        await self.fall()

    async def serve(self, folder: Path) -> None:
        sleeping.pack(folder, load_seconds=0.0)
        await self.clean()
        await self.kube.apply(namespace_object(NAMESPACE), *claim(MODELS, NAMESPACE, folder, "ReadOnlyMany"))
        service = sleeping.service(NAME, NAMESPACE, {"minReplicas": 1, "maxReplicas": 6})
        with self.show.step(f"kubectl apply of {NAME}: p99 {sleeping.SLO_MS:g}ms, 1 to 6 replicas") as note:
            await self.kube.apply(service)
            await self.kube.wait_ready(NAME)
            note.text = "one pod"

    async def clean(self) -> None:
        """A model that was served here before is known, and so are the pods that it needs."""
        if await self.kube.get("namespace", NAMESPACE):
            with self.show.step(f"kubectl delete namespace {NAMESPACE}, of an earlier run"):
                await self.kube.delete("namespace", NAMESPACE, wait=True)
                await self.kube.delete("persistentvolume", f"{MODELS}-{NAMESPACE}", wait=True)

    async def rise(self) -> None:
        clients = Clients(RATE, LONGEST_SECONDS)
        status: Object = {}
        try:
            with self.show.step(f"{RATE:.0f} requests a second, until p99 holds again") as note:
                status = await self.held(clients)
                p99, ready = clients.p99_ms(), await self.ready()
                note.text = f"{ready} pods, {seen(p99)}"
        finally:
            seconds = clients.seconds
            answered, failed = await clients.stop()
        self.show.line(f"  seawall status: {self.why(status)}")
        self.show.line(f"  Failed requests: {failed} of {answered + failed}")
        self.result = {
            "seconds": round(seconds, 1),
            "mode": status["scaling"]["mode"],
            "ready": ready,
            "desiredReplicas": status["scaling"]["desiredReplicas"],
            "p99": status["slo"]["p99"],
            "clientsP99Ms": round(p99, 1) if p99 is not None else None,
            "reason": status["scaling"]["message"],
            "load": {"requests": answered + failed, "failed": failed},
        }
        if failed:
            raise Waited(f"{failed} of {answered + failed} requests failed")

    async def held(self, clients: Clients) -> Object:
        status: Object = {}

        async def look() -> tuple[bool, str]:
            status.clear()
            status.update(await self.kube.status(NAME))
            ready = await self.ready()
            met, p99 = conditions(status).get("SLOMet", {}), clients.p99_ms()
            said = (
                f"after {clients.seconds:.0f} s: {ready} ready, {seen(p99)}; status: {met.get('message', '')}"
            )
            self.tell(said)
            within = p99 is not None and p99 <= sleeping.SLO_MS
            return ready >= 2 and within and met.get("status") == "True", f"{said}; {summary(status)}"

        await wait_for(look, "p99 to hold", LONGEST_SECONDS)
        return status

    async def ready(self) -> int:
        return sum(pod_ready(pod) for pod in await self.kube.children("pod", NAME))

    def tell(self, text: str) -> None:
        if time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            self.show.news(text)

    async def fall(self) -> None:
        """What has to be waited for longer than a demo may last is said."""
        clients = Clients(CALM, CALM_SECONDS)
        with self.show.step(f"{CALM:.0f} requests a second from now on") as note:
            await asyncio.sleep(CALM_SECONDS)
            ready = await self.ready()
            note.text = f"{ready} pods stay"
        answered, failed = await clients.stop()
        self.show.line(
            "  A count takes its time to fall: not in a service's first five minutes, by a fifth a minute,"
            "\n  and it begins to twice an hour at most (docs/scaling.md). The demo does not wait for it."
        )
        self.result["calm"] = {"ready": ready, "requests": answered + failed, "failed": failed}
        if failed:
            raise Waited(f"{failed} of {answered + failed} requests failed")

    @staticmethod
    def why(status: Object) -> str:
        scaling = status["scaling"]
        return f"mode {scaling['mode']}, {scaling['reason']}: {scaling['message']}"


def busy() -> str:
    """Pods that sleep wait for a processor, too, where others take them all."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    much = load > BUSY * cores
    return (
        f"\nThe machine is busy: load {load:.0f} on {cores} cores, so latencies say little." if much else ""
    )


def seen(p99_ms: float | None) -> str:
    return "clients' p99 not known yet" if p99_ms is None else f"clients' p99 {p99_ms:.0f} ms"


async def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    scene, problem = Scene(Show(quiet=args.json)), ""
    # The cluster's own folder, which goes with it.
    folder = Path(os.environ[MARK]) / "sleeping"
    folder.mkdir(exist_ok=True)
    try:
        await scene.run(folder)
    except (Waited, KubeError) as error:
        problem = f"{error}{busy()}"
        print(f"demo: {problem}", file=sys.stderr)
    if args.json:
        print(json.dumps({**scene.result, "ok": not problem, "problem": problem}))
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
