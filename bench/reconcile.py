"""The operator against a real API server: how fast, in how many calls, at what cost, beside its floor.

make bench
.venv/bin/python bench/reconcile.py --services 300 1000 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from typing import Any

import report
from audit import AuditLog, Call, by_kind, work, writes
from driver import (
    DAMAGES,
    MERGE,
    Driver,
    children,
    floor,
    healed,
    inference_service,
    path_of,
    service_name,
)
from restart import restart
from step import Bench
from world import OPERATOR_USER, ApiServer, Operator, progress, world

CHILDREN = {"deployments": 1, "services": 2, "poddisruptionbudgets": 1}
"""Objects per service by resource; what a namespace shares comes on top once."""
PER_SERVICE = sum(CHILDREN.values())
DRIVER_CONNECTIONS = 8
FLOOR_SERVICES = 100
TOUCHED = 50
HEAL_REPEATS = 5
IDLE_SECONDS = 10.0


def create(bench: Bench, namespace: str, services: int) -> dict[str, Any]:
    progress(f"{services} services: creating")
    bench.begin()
    before = bench.operator.usage()
    started = time.time()
    asyncio.run(_create(bench.server, namespace, services))
    accepted = time.time() - started

    def made(resource: str) -> list[Call]:
        own = (c for c in bench.calls if c.namespace == namespace and c.created)
        return [c for c in own if c.resource == resource]

    def complete() -> bool:
        return all(len({c.name for c in made(r)}) >= services * n for r, n in CHILDREN.items())

    bench.wait("all children", complete)
    last = max(c.answered for r in CHILDREN for c in made(r))
    seconds = last - started
    at_children = bench.operator.usage()
    until_children = [c for c in work(bench.calls) if c.answered <= last]
    bench.wait_quiet()
    quiet = bench.operator.usage()
    objects = services * PER_SERVICE
    calls = work(bench.calls)
    return {
        "services": services,
        "objects": objects,
        "acceptedSeconds": round(accepted, 2),
        "childrenSeconds": round(seconds, 2),
        "objectsPerSecond": round(objects / seconds, 1),
        "callsUntilChildren": len(until_children),
        "callsUntilQuiet": len(calls),
        "callsPerService": round(len(calls) / services, 2),
        "callsPerObject": round(len(calls) / objects, 3),
        "callsByKind": by_kind(calls),
        "cpuSecondsUntilChildren": round(at_children.cpu_seconds - before.cpu_seconds, 2),
        "cpuSeconds": round(quiet.cpu_seconds - before.cpu_seconds, 2),
        "rssMb": round(quiet.rss_mb, 1),
        "peakMb": round(quiet.peak_mb, 1),
    }


async def _create(server: ApiServer, namespace: str, services: int) -> None:
    async with Driver(server, DRIVER_CONNECTIONS) as driver:
        await driver.make_namespace(namespace)
        path = path_of("InferenceService", namespace)
        await driver.all(
            [("POST", path, inference_service(namespace, i), "application/json") for i in range(services)]
        )


def floors(bench: Bench, namespace: str, tag: str) -> dict[str, list[float]]:
    """Objects a second of a plain client: the ways take turns, so that a slow minute hits all of them."""
    ways = {"post1": (1, False), "post8": (8, False), "apply16": (16, True)}
    measured: dict[str, list[float]] = {way: [] for way in ways}

    async def all_ways() -> None:
        async with Driver(bench.server, 1) as driver:
            template = await children(driver, namespace, service_name(0))
        if len(template) != PER_SERVICE:
            raise SystemExit(f"{service_name(0)} has {len(template)} objects, not {PER_SERVICE}")
        for turn in range(2):
            for way, (connections, apply) in ways.items():
                progress(f"floor: {way}, turn {turn + 1}")
                place = f"floor-{tag}-{way}-{turn}"
                rate = await floor(
                    bench.server, place, template, FLOOR_SERVICES, connections=connections, apply=apply
                )
                measured[way].append(round(rate, 1))

    asyncio.run(all_ways())
    return measured


def nothing_to_do(bench: Bench, namespace: str) -> dict[str, Any]:
    """A command to a rollout that does not exist wakes the operator up and changes nothing."""
    progress("reconciles with nothing to do")
    return touch(bench, namespace, "serving.seawall.dev/rollout-command", "retry@nobody", TOUCHED)


def other_peoples_annotation(bench: Bench, namespace: str) -> dict[str, Any]:
    progress("other people's annotations")
    return touch(bench, namespace, "example.com/touched", "yes", 0)


def touch(bench: Bench, namespace: str, annotation: str, value: str, reconciles: int) -> dict[str, Any]:
    """What annotating services costs; waits for so many reconciles, and until all is quiet."""
    bench.begin()
    before = bench.operator.reconciles()

    async def annotate() -> None:
        async with Driver(bench.server, DRIVER_CONNECTIONS) as driver:
            paths = [path_of("InferenceService", namespace, service_name(i)) for i in range(TOUCHED)]
            patch = {"metadata": {"annotations": {annotation: value}}}
            await driver.all([("PATCH", path, patch, MERGE) for path in paths])

    asyncio.run(annotate())
    bench.wait("so many reconciles", lambda: bench.operator.reconciles() >= before + reconciles)
    bench.wait_quiet()
    return {
        "touched": TOUCHED,
        "reconciles": int(bench.operator.reconciles() - before),
        "calls": len(work(bench.calls)),
        "writes": len(writes(bench.calls)),
        "callsByKind": by_kind(work(bench.calls)),
    }


def idle(bench: Bench) -> dict[str, Any]:
    progress("idle")
    bench.wait_quiet()
    bench.begin()
    before = bench.operator.usage()
    time.sleep(IDLE_SECONDS)
    bench.read()
    spent = bench.operator.usage().cpu_seconds - before.cpu_seconds
    return {
        "seconds": IDLE_SECONDS,
        "calls": len(work(bench.calls)),
        "leaseCalls": len(bench.calls) - len(work(bench.calls)),
        "cpuSeconds": round(spent, 2),
    }


def heal(bench: Bench, namespace: str, services: int) -> dict[str, Any]:
    async def all_damages() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with Driver(bench.server, 1) as driver:
            for number, damage in enumerate(DAMAGES):
                progress(f"heal: {damage.title}")
                picked = [(number * HEAL_REPEATS + r) % services for r in range(HEAL_REPEATS)]
                times = [await healed(driver, damage, namespace, service_name(i)) for i in picked]
                seconds = [t for t in times if t is not None]
                found[damage.title] = {
                    "healed": len(seconds),
                    "of": len(times),
                    "medianSeconds": round(statistics.median(seconds), 3) if seconds else None,
                    "worstSeconds": round(max(seconds), 3) if seconds else None,
                }
        return found

    return asyncio.run(all_damages())


def measure(fleets: list[int]) -> dict[str, Any]:
    results: dict[str, Any] = {"machine": machine(), "fleets": []}
    for services in fleets:
        with world() as server:
            operator = Operator(server)
            bench = Bench(server, operator, AuditLog(server.audit_log, OPERATOR_USER))
            try:
                results["fleets"].append(one_fleet(bench, services))
            finally:
                operator.kill()
    return results


def one_fleet(bench: Bench, services: int) -> dict[str, Any]:
    """Everything about one size of fleet, on an API server of its own."""
    namespace = f"fleet-{services}"
    bench.operator.start()
    bench.wait_quiet()
    empty = bench.operator.usage()
    result: dict[str, Any] = {"emptyRssMb": round(empty.rss_mb, 1), "loadAverage": os.getloadavg()[0]}
    result["create"] = create(bench, namespace, services)
    result["floor"] = floors(bench, namespace, str(services))
    result["nothingToDo"] = nothing_to_do(bench, namespace)
    result["otherPeoplesAnnotation"] = other_peoples_annotation(bench, namespace)
    result["idle"] = idle(bench)
    result["heal"] = heal(bench, namespace, services)
    result["restart"] = restart(bench, namespace, services)
    return result


def machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: bench/reconcile.py --services 300 --json"
    )
    parser.add_argument("--services", type=int, nargs="+", default=[300, 1000], metavar="N")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    args = parser.parse_args()
    if min(args.services) < TOUCHED:
        parser.error(f"--services: at least {TOUCHED}")
    results = measure(args.services)
    print(json.dumps(results, indent=2) if args.json else report.text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
