"""One run: a trace, a world, a policy, a seed; what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from seawall.simulate import kernel
from seawall.simulate.arrivals import Arrivals
from seawall.simulate.fleet import Fleet, World, bin_edges_ms
from seawall.simulate.kernel import SCRAPE_SECONDS, Floats, Ints
from seawall.simulate.observe import SCRAPE_LAG_SECONDS, Gauges, View, quantile
from seawall.simulate.traces import Trace
from seawall.sizing.profile import PodProfile

GRACE_SECONDS = 10.0
"""after the trace, for what is still inside; unfinished then, it counts as late"""


class Policy(Protocol):
    name: str
    sync: float

    def replicas(self, view: View) -> int:
        """How many pods there should be. Asked every `sync` seconds."""
        ...


@dataclass(frozen=True)
class Scenario:
    """What goes wrong."""

    drift: float = 0.0
    """0.25: service times are a quarter longer from a quarter of the trace on"""
    profile_error: float = 0.0
    """0.3: pods take 30 % longer than their profile says, from the start"""
    outage: tuple[float, float] | None = None
    """start and length, in seconds: no metrics arrive"""
    canary_slower: float = 0.0
    elsewhere: tuple[float, float] | None = None
    """milliseconds, and seconds from when on: so much longer takes every request, outside of all pods"""

    def drift_at(self, now: float, seconds: float) -> float:
        return 1.0 + self.drift if now >= self.drift_from(seconds) else 1.0

    def drift_from(self, seconds: float) -> float:
        return 0.25 * seconds

    def elsewhere_at(self, now: float) -> float:
        return self.elsewhere[0] if self.elsewhere is not None and now >= self.elsewhere[1] else 0.0

    def next_edge(self, now: float, seconds: float) -> float:
        """When something begins that a slice of time may not reach across."""
        edges = [self.drift_from(seconds)] if self.drift else []
        edges += [self.elsewhere[1]] if self.elsewhere is not None else []
        return min((edge for edge in edges if edge > now), default=np.inf)

    def truth(self, profile: PodProfile) -> PodProfile:
        return profile.scaled(1.0 + self.profile_error)


@dataclass(frozen=True)
class Course:
    """How a run went, for the plot."""

    times: Floats
    rate: Floats
    replicas: Ints
    ready: Ints
    p99_ms: Floats
    violating: list[int]
    """minutes"""


@dataclass(frozen=True)
class RunResult:
    requests: int
    attainment: float
    violating_minutes: float
    mean_ms: float
    """of those answered"""
    p99_ms: float
    replica_hours: float
    direction_changes_per_hour: float
    max_replicas: int
    busy_seconds: float
    rejected: int
    decisions: list[tuple[float, int]]
    course: Course


def simulate(
    trace: Trace,
    world: World,
    policy: Policy,
    scenario: Scenario,
    replicas: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> RunResult:
    """From `replicas` pods, all ready. `progress` gets the share done, now and then."""
    fleet = Fleet(world, trace.seconds + GRACE_SECONDS, replicas, seed)
    arrivals, gauges = Arrivals(trace, seed), Gauges()
    decisions = [(0.0, replicas)]
    tick, scrape = policy.sync, SCRAPE_SECONDS
    end = trace.seconds
    while fleet.now < end:
        until = min(tick, scrape, fleet.next_change(), end, scenario.next_edge(fleet.now, end))
        drift = scenario.drift_at(fleet.now, end)
        fleet.hinder(scenario.elsewhere_at(fleet.now))
        fleet.run(arrivals.between(fleet.now, until), until, drift)
        if until >= scrape:
            gauges.write(fleet)
            scrape += SCRAPE_SECONDS
        if until >= tick:
            tick += policy.sync
            wanted = policy.replicas(View(fleet, gauges, until, _known(until, scenario)))
            if wanted != fleet.spec:
                fleet.scale(wanted)
                decisions.append((until, wanted))
        if progress is not None:
            progress(until / end)
    paid = fleet.pod_seconds
    fleet.run(np.empty(0), end + GRACE_SECONDS, scenario.drift_at(end, end))
    return _result(trace, fleet, gauges, decisions, paid)


def _known(now: float, scenario: Scenario) -> int:
    """Scrapes that have arrived by now."""
    if scenario.outage is not None:
        start, length = scenario.outage
        if start <= now < start + length:
            now = start
    return max(0, int((now - SCRAPE_LAG_SECONDS) / SCRAPE_SECONDS + 1e-9))


def _result(
    trace: Trace, fleet: Fleet, gauges: Gauges, decisions: list[tuple[float, int]], paid: float
) -> RunResult:
    state = fleet.state
    offered = int(state.tally[kernel.OFFERED])
    good = int(state.tally[kernel.GOOD])
    late = offered - int(state.histogram.sum())
    busy_minutes = state.minute > 0
    violating = busy_minutes & (state.minute_good < 0.99 * state.minute)
    return RunResult(
        requests=offered,
        attainment=good / offered if offered else 1.0,
        violating_minutes=float(violating.sum()) / max(1, int(busy_minutes.sum())),
        mean_ms=1e3 * float(state.total[kernel.LATENCY]) / max(1, int(state.histogram.sum())),
        p99_ms=_p99(state.histogram, late, fleet.world.slo_ms),
        replica_hours=paid / 3600.0,
        direction_changes_per_hour=direction_changes([count for _, count in decisions])
        / (trace.seconds / 3600.0),
        max_replicas=max(count for _, count in decisions),
        busy_seconds=float(state.busy.sum()),
        rejected=int(state.tally[kernel.REJECTED] + state.tally[kernel.UNSERVED]),
        decisions=decisions,
        course=_course(trace, fleet, gauges, decisions, np.flatnonzero(violating).tolist()),
    )


def direction_changes(counts: list[int]) -> int:
    """How often growing turned into shrinking, or back."""
    steps = [after - before for before, after in pairwise(counts) if after != before]
    return sum((one > 0) != (two > 0) for one, two in pairwise(steps))


def _p99(histogram: Ints, unfinished: int, slo_ms: float) -> float:
    """Upper edge of the fine bin; unfinished and refused requests count as slower than all others."""
    total = int(histogram.sum()) + unfinished
    if total == 0:
        return 0.0
    place = int(np.searchsorted(np.cumsum(histogram), 0.99 * total, side="left"))
    edges = bin_edges_ms(slo_ms)
    return float(edges[place]) if place < len(edges) else float("inf")


def _course(
    trace: Trace, fleet: Fleet, gauges: Gauges, decisions: list[tuple[float, int]], violating: list[int]
) -> Course:
    minutes = max(1, int(trace.seconds // 60))
    times: Floats = np.arange(minutes, dtype=np.float64) * 60.0
    per = round(60.0 / SCRAPE_SECONDS)
    scraped = fleet.state.scraped
    p99 = [
        quantile(fleet.bounds_ms, scraped[m * per : (m + 1) * per].sum(axis=0), 0.99) for m in range(minutes)
    ]
    at = np.array([when for when, _ in decisions])
    counts = np.array([count for _, count in decisions])
    return Course(
        times=times,
        rate=fleet.state.minute[:minutes] / 60.0,
        replicas=counts[np.searchsorted(at, times, side="right") - 1],
        ready=np.array([gauges.ready[min(m * per, len(gauges.ready) - 1)] for m in range(minutes)])
        if gauges.ready
        else np.zeros(minutes, np.int64),
        p99_ms=np.array([np.nan if value is None else value for value in p99]),
        violating=violating,
    )
