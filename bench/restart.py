"""A restart with nothing changed but one service, edited while the operator reads everything anew."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from audit import by_kind, work, writes
from driver import MERGE, Driver, children, path_of, service_name
from step import STEP_LIMIT_SECONDS, Bench
from world import ApiServer, progress

EDIT_AFTER_SECONDS = 0.5


def restart(bench: Bench, namespace: str, services: int) -> dict[str, Any]:
    """SIGTERM, start again, and an edit of the last service while the operator reads everything anew."""
    progress("restart")
    bench.wait_quiet()
    stop_seconds = bench.operator.stop()
    bench.begin()
    started = time.monotonic()
    bench.operator.start(wait=False)
    with ThreadPoolExecutor(1) as other:
        became_ready = other.submit(lambda: (bench.operator.wait_ready(), time.monotonic() - started)[1])
        time.sleep(EDIT_AFTER_SECONDS)
        edited = service_name(services - 1)
        after_edit = asyncio.run(_edit_served(bench.server, namespace, edited))
        since_start = time.monotonic() - started
        ready = became_ready.result()
    bench.wait_quiet()
    calls = work(bench.calls)
    about_others = [c for c in writes(calls) if not (c.namespace == namespace and c.name.startswith(edited))]
    usage = bench.operator.usage()
    return {
        "stopSeconds": round(stop_seconds, 2),
        "editServedSeconds": round(after_edit, 2),
        "readySeconds": round(ready, 2),
        "editServedSinceStartSeconds": round(since_start, 2),
        "calls": len(calls),
        "writesToUnchangedServices": len(about_others),
        "callsByKind": by_kind(calls),
        "cpuSeconds": round(usage.cpu_seconds, 2),
        "peakMb": round(usage.peak_mb, 1),
    }


async def _edit_served(server: ApiServer, namespace: str, service: str) -> float:
    """Seconds from the edit of spec.scaling.replicas until the Deployment says the same."""
    async with Driver(server, 1) as driver:
        [deployment] = [o for o in await children(driver, namespace, service) if o["kind"] == "Deployment"]
        path = path_of("Deployment", namespace, deployment["metadata"]["name"])
        await driver.do(
            "PATCH",
            path_of("InferenceService", namespace, service),
            {"spec": {"scaling": {"replicas": 2}}},
            MERGE,
        )
        edited = time.monotonic()
        while (await driver.do("GET", path))["spec"]["replicas"] != 2:
            if time.monotonic() - edited > STEP_LIMIT_SECONDS:
                raise SystemExit("the edit was not served")
            await asyncio.sleep(0.01)
        return time.monotonic() - edited
