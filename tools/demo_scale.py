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
    ARTIFACTS,
    Kube,
    KubeError,
    Object,
    Waited,
    claims,
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
RATE = 40.0
LONGEST_SECONDS = 240.0


async def grow(kube: Kube, folder: Path, show: Show) -> Object:
    """What is to be told of it, as JSON. `folder` is the one behind the claim for artefacts."""
    sleeping.pack(folder, load_seconds=0.0)
    await kube.apply(namespace_object(NAMESPACE), *claims(NAMESPACE, folder, folder))
    service = sleeping.service(NAME, kube.namespace, {"minReplicas": 1, "maxReplicas": 6}, claim=ARTIFACTS)
    with show.step(f"kubectl apply of {NAME}: p99 {sleeping.SLO_MS:g}ms, 1 to 6 replicas") as note:
        await kube.apply(service)
        note.text = f"one pod, ready after {await kube.wait_ready(NAME):.1f} s"
    due = np.cumsum(np.random.default_rng(0).exponential(1 / RATE, round(RATE * LONGEST_SECONDS)))
    url = f"http://{NAME}.{kube.namespace}.svc.cluster.local:8000/v2/models/{NAME}/infer"
    load = OpenLoop(url, None, due)
    task, began = asyncio.create_task(load.run()), time.monotonic()
    try:
        with show.step(f"{RATE:.0f} requests a second, until its p99 holds") as note:
            status = await _held(kube, show)
            note.text = f"p99 {status['slo']['p99']} with {status['scaling']['desiredReplicas']} pods"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    answered = load.latency[~np.isnan(load.latency)]
    scaling = status["scaling"]
    show.line(f"  {scaling['mode']}: {scaling['message']}")
    return {
        "seconds": round(time.monotonic() - began, 1),
        "mode": scaling["mode"],
        "replicas": scaling["desiredReplicas"],
        "p99": status["slo"]["p99"],
        "load": {"requests": len(answered), "failed": int(np.isinf(answered).sum())},
    }


async def _held(kube: Kube, show: Show) -> Object:
    status: Object = {}

    async def look() -> tuple[bool, str]:
        status.clear()
        status.update(await kube.status(NAME))
        ready = sum(pod_ready(pod) for pod in await kube.children("pod", NAME))
        p99 = (status.get("slo") or {}).get("p99", "not known yet")
        show.progress(f"{ready} pods ready, p99 {p99}")
        met = conditions(status).get("SLOMet", {}).get("status") == "True"
        return ready >= 2 and met, f"{ready} pods ready, p99 {p99}; {summary(status)}"

    await wait_for(look, "the p99 to hold", LONGEST_SECONDS - 10)
    return status


async def run(folder: Path, as_json: bool) -> int:
    show, problem = Show(quiet=as_json), ""
    result: Object = {}
    show.heading("More load than one pod can serve within its SLO")
    try:
        result = await grow(Kube(NAMESPACE), folder, show)
        if failed := result["load"]["failed"]:
            problem = f"{failed} of {result['load']['requests']} requests failed"
    except (Waited, KubeError) as error:
        problem = str(error)
    if problem:
        print(f"demo: {problem}", file=sys.stderr)
    if as_json:
        print(json.dumps({**result, "ok": not problem, "problem": problem}))
    return 1 if problem else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    # The cluster's own folder, which goes with it.
    folder = Path(os.environ[MARK]) / "sleeping"
    folder.mkdir(exist_ok=True)
    return asyncio.run(run(folder, args.json))


if __name__ == "__main__":
    sys.exit(main())
