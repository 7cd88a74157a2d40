"""The cheapest rule that sizes by the past and keeps the bars, chosen with the whole trace in sight.

A rule is a memory and a margin: pods for the largest rate of the last H seconds times m, and never fewer than
the present rate needs. Each is given what no policy has: every step's rate the moment that it is over,
without noise, the exact capacity of a pod, as many changes of direction as it likes. Lateness is read
from the capacity table, a steady state, without the queue that an overload leaves behind; so it is for traces
of 5 s a step or more, and bench/reactive.py for those of seconds. The best of them, chosen per trace
afterwards, shows what is left for learning; below its price no rule of this kind keeps the bars.

    python bench/hindsight.py TRACE PROFILE SLO_MS MEAN_RPS [SERIES]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from seawall.simulate.briefing import Briefing
from seawall.simulate.offer import read_offer
from seawall.simulate.policies import Clairvoyant
from seawall.simulate.study import Order, brief
from seawall.simulate.traces import read
from seawall.sizing.lateness import late_at, pods_of

Floats = NDArray[np.float64]
HOLDS = (15, 60, 120, 300, 450, 600, 900, 1800, 3600)
MARGINS = tuple(round(0.8 + 0.04 * i, 2) for i in range(41))
ATTAINMENT, VIOLATING, PRICE = 0.998, 0.02, 1.15
STEP = 5.0


@dataclass(frozen=True)
class Found:
    hold: int
    margin: float
    attainment: float
    violating: float
    price: float

    def __str__(self) -> str:
        return (
            f"{100 * self.attainment:8.3f} % {100 * self.violating:6.1f} % {self.price:7.2f}"
            f"   hold {self.hold} s, margin x{self.margin:.2f}"
        )


def largest(values: Floats, count: int) -> Floats:
    """Of the last `count` values, at every place."""
    padded = np.concatenate([np.full(count - 1, values[0]), values])
    most: Floats = sliding_window_view(padded, count).max(axis=1)
    return most


def judge(briefing: Briefing, rates: Floats, paid: float, hold: int, margin: float) -> Found:
    wanted = pods_of(briefing.true, np.maximum(largest(rates, max(1, round(hold / STEP))) * margin, rates))
    known = np.concatenate([wanted[:1], wanted[:-1]])
    cold = round(briefing.profile.cold_start_seconds / STEP)
    ready = -largest(-known, cold + 1)
    late = late_at(briefing.table, briefing.true, rates, ready)
    minutes = np.arange(0, len(rates), round(60 / STEP))
    offered = np.add.reduceat(rates, minutes)
    bad = np.add.reduceat(rates * late, minutes)
    busy = offered > 0
    return Found(
        hold, margin, 1 - float(bad.sum() / offered.sum()),
        float((bad[busy] > 0.01 * offered[busy]).mean()), float(known.sum() * STEP / 3600 / paid),
    )  # fmt: skip


def main() -> int:
    path, profile, slo_ms, mean = sys.argv[1:5]
    trace = read(Path(path), series=sys.argv[5] if len(sys.argv) > 5 else None).scaled_to(float(mean))
    if trace.step < STEP:
        print(f"{path}: steps of {trace.step:g} s are too short for a steady state; see bench/reactive.py")
        return 2
    briefing = brief(Order(trace, read_offer(Path(profile)).profile, float(slo_ms)))
    ideal = Clairvoyant(briefing)
    paid = sum(ideal.at(float(now)) for now in np.arange(0.0, trace.seconds, ideal.sync)) * ideal.sync / 3600
    rates = np.repeat(trace.rates, round(trace.step / STEP))
    every = [judge(briefing, rates, paid, hold, margin) for hold in HOLDS for margin in MARGINS]
    met = [f for f in every if f.attainment >= ATTAINMENT and f.violating <= VIOLATING]
    cheap = [f for f in every if f.price <= PRICE]
    print(f"{'':>28}{'attained':>10} {'violating':>8} {'price':>7}")
    if met:
        print(f"{'cheapest that meets both':>28}{min(met, key=lambda f: f.price)}")
    else:
        print("no rule of the family meets both")
    if cheap:
        print(f"{f'best at {PRICE} or less':>28}{max(cheap, key=lambda f: f.attainment)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
