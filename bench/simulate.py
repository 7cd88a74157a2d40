"""Requests that one core simulates in a second, by dispatch and number of pods: python bench/simulate.py

The figure holds the whole of it: making the arrivals, dispatching, batching, recording, control ticks.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from seawall.simulate.fleet import World
from seawall.simulate.observe import View
from seawall.simulate.run import Scenario, simulate
from seawall.simulate.traces import Trace
from seawall.sizing.profile import DISPATCHES, PodProfile

SIZES = (1, 2, 4, 8)
PROFILE = PodProfile(SIZES, tuple(6.0 + size for size in SIZES), (0.2,) * 4)
PER_POD = 250.0
BAR = 1_000_000.0


@dataclass
class Fixed:
    pods: int
    name: str = "fixed"
    sync: float = 15.0

    def replicas(self, view: View) -> int:
        view.p99_ms()
        return self.pods


def measure(dispatch: str, pods: int, requests: float) -> float:
    seconds = int(requests / (PER_POD * pods)) + 1
    trace = Trace("bench", np.full(seconds, PER_POD * pods), 1.0)
    world = World(PROFILE, 20.0, dispatch)
    start = time.process_time()
    done = simulate(trace, world, Fixed(pods), Scenario(), pods, seed=0)
    return done.requests / (time.process_time() - start)


def main() -> int:
    requests = float(sys.argv[1]) if len(sys.argv) > 1 else 3e6
    measure("p2c", 2, 1e4)  # compiles
    print(f"{'dispatch':>14} {'pods':>5} {'requests/s':>12}")
    slowest = np.inf
    for dispatch in DISPATCHES:
        for pods in (2, 8, 32):
            rate = measure(dispatch, pods, requests)
            slowest = min(slowest, rate)
            print(f"{dispatch:>14} {pods:>5} {rate:>12,.0f}")
    print(f"slowest: {slowest:,.0f} requests per second of one core")
    return 0 if slowest >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
