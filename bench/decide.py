"""What it costs to decide for many services: CPU per round of reading and per decision, one process.

make bench
.venv/bin/python bench/decide.py --services 100 1000 --json

The stores, the readings, the law and what follows from it are the operator's own; only the pods are made up.
A decision comes every 15 s, a round of reading every 5 s: the share of a core is what both cost together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))

from seawall.decide.scaling import assess_all  # noqa: E402
from seawall.runtime import scaled  # noqa: E402
from seawall.runtime.scaler import SYNC_SECONDS  # noqa: E402
from seawall.runtime.tables import Tables  # noqa: E402
from seawall.sizing.capacity import build_table  # noqa: E402
from seawall.sizing.profile import PodProfile  # noqa: E402
from support.dataplane import ScalerScene  # noqa: E402

PROFILE = PodProfile(sizes=(1, 8), mean_ms=(3.0, 12.0), std_ms=(0.1, 0.3), max_batch_size=8)
TABLE = build_table(PROFILE, "random", 50.0, requests=2000)
PODS = 3
ROUND_SECONDS = 5
WARM_MINUTES = 6
MEASURED_MINUTES = 2
BAR_SECONDS = 1.0
"""CPU for one decision about 1 000 services."""


class Decisions:
    """Stands in for the decision itself, and takes its time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.made = 0

    def __call__(self, now: float, arms: Any, memories: Any) -> Any:
        if any(arm.table is None for arm in arms):
            raise SystemExit("bench/decide.py: a service has no table, so nothing is decided for it")
        began = time.process_time()
        found = assess_all(now, arms, memories)
        self.seconds += time.process_time() - began
        self.made += 1
        return found


async def measure(services: int) -> dict[str, Any]:
    scene = ScalerScene(Tables(lambda *_: TABLE))
    names = [f"s{number}" for number in range(services)]
    for name in names:
        scene.serve(name, pods=PODS, replicas=PODS, mode="Direct", maxReplicas=50)
    reads: list[float] = []
    syncs: list[float] = []
    assessed: list[float] = []
    rounds = 60 // ROUND_SECONDS
    for number in range((WARM_MINUTES + MEASURED_MINUTES) * rounds):
        measured = number >= WARM_MINUTES * rounds
        decisions = Decisions()
        scaled.assess_all = decisions if measured else assess_all  # type: ignore[assignment]
        for index, name in enumerate(names):
            scene.plane.rates[name] = 150 + 100 * math.sin(number / 30 + index)
        scene.plane.advance(ROUND_SECONDS)
        began = time.process_time()
        await scene.scaler.tick()
        took = time.process_time() - began
        await asyncio.sleep(0.01)  # what runs beside the rounds
        if decisions.made:
            syncs.append(took)
            assessed.append(decisions.seconds)
        elif measured:
            reads.append(took)
    read, sync = statistics.median(reads), statistics.median(syncs)
    return {
        "services": services,
        "pods": services * PODS,
        "readCpuSeconds": round(read, 3),
        "syncCpuSeconds": round(sync - read, 3),
        "assessCpuSeconds": round(statistics.median(assessed), 3),
        "coreShare": round((2 * read + sync) / SYNC_SECONDS, 4),
        "maxRssMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = [asyncio.run(measure(services)) for services in args.services]
    if args.json:
        print(json.dumps(found))
    else:
        print(f"{'services':>9}{'pods':>7}{'read':>9}{'sync':>9}{'assess':>9}{'core':>8}{'RSS':>9}")
        for each in found:
            print(
                f"{each['services']:>9}{each['pods']:>7}{each['readCpuSeconds']:>8.3f}s"
                f"{each['syncCpuSeconds']:>8.3f}s{each['assessCpuSeconds']:>8.3f}s"
                f"{each['coreShare']:>8.1%}{each['maxRssMiB']:>5} MiB"
            )
    slow = [e for e in found if e["assessCpuSeconds"] > BAR_SECONDS * e["services"] / 1000]
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
