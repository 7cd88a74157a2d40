"""What sizing by the past attains at its best: a bound for policies that buy no more than was needed.

It is given what no policy has: every second's true rate the moment that second is over, the exact capacity
of a pod, no lag, no noise, no limit on changes. It keeps as many pods as the busiest second of the last H
seconds needed. What it misses came as the largest burst of H seconds, within one cold start; to serve that
too, a policy must hold pods that nothing in those H seconds called for.

    python bench/reactive.py TRACE PROFILE SLO_MS MEAN_RPS [SERIES]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from seawall.simulate.briefing import Briefing, needed
from seawall.simulate.fleet import World
from seawall.simulate.kernel import Ints
from seawall.simulate.observe import View
from seawall.simulate.offer import read_offer
from seawall.simulate.policies import Clairvoyant
from seawall.simulate.run import Policy, RunResult, simulate
from seawall.simulate.study import START_SECONDS, Order, brief
from seawall.simulate.traces import read

HOLDS = (60, 300, 600, 1200, 3600)


@dataclass
class Reactive:
    briefing: Briefing
    hold: int
    name: str = "reactive"
    sync: float = 1.0
    _needed: Ints = field(init=False)

    def __post_init__(self) -> None:
        self._needed = needed(self.briefing)

    def replicas(self, view: View) -> int:
        step = self.briefing.trace.step
        past = self._needed[max(0, int((view.now - self.hold) / step)) : int(view.now / step + 1e-9)]
        return self.briefing.clamp(int(past.max(initial=1)))


def main() -> int:
    path, profile, slo_ms, mean = sys.argv[1:5]
    trace = read(Path(path), series=sys.argv[5] if len(sys.argv) > 5 else None).scaled_to(float(mean))
    order = Order(trace, read_offer(Path(profile)).profile, float(slo_ms))
    briefing = brief(order)
    world = World(order.profile, order.slo_ms, cold_start_seconds=order.profile.cold_start_seconds)

    def run(policy: Policy, start: int) -> RunResult:
        return simulate(trace, world, policy, order.scenario, start, seed=0)

    ideal = Clairvoyant(briefing)
    start = briefing.clamp(int(needed(briefing)[: max(1, int(START_SECONDS / trace.step))].max()))
    paid = run(ideal, ideal.at(0.0)).replica_hours
    print(f"{'held for':>10} {'attained %':>11} {'violating %':>12} {'x clairvoyant':>14}")
    for hold in HOLDS:
        found = run(Reactive(briefing, hold), start)
        print(
            f"{hold:>8} s {100 * found.attainment:>11.3f} {100 * found.violating_minutes:>12.1f}"
            f" {found.replica_hours / paid:>14.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
