"""All policies over all seeds on one trace: the numbers of the table, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import fmean, stdev

from scipy import stats

from seawall.simulate.briefing import Briefing, needed
from seawall.simulate.fleet import World
from seawall.simulate.policies import BASELINES, Clairvoyant, StaticPeak, build
from seawall.simulate.production import Seawall
from seawall.simulate.run import Policy, RunResult, Scenario, simulate
from seawall.simulate.traces import Trace
from seawall.sizing.behavior import Behavior
from seawall.sizing.capacity import CapacityTable, Sizing, build_table, predicted_p99, sizing
from seawall.sizing.profile import Dispatch, PodProfile
from seawall.sizing.state import LawSettings

NAMES = ("seawall", *BASELINES)
HEADROOM = 2.0
LEAST_MAXIMUM = 10
CONFIDENCE = 0.95
START_SECONDS = 300.0


class StudyError(ValueError):
    """Why there is nothing to simulate, as one sentence."""


@dataclass(frozen=True)
class Order:
    """What one study compares."""

    trace: Trace
    profile: PodProfile
    slo_ms: float
    dispatch: Dispatch = "p2c"
    summaries: bool = False
    """policies are told the slowest pod's own p99"""
    connections: int | None = None
    """that stay with their pods, see World"""
    scenario: Scenario = field(default_factory=Scenario)
    seeds: tuple[int, ...] = (0,)
    maximum: int | None = None
    margin: float = 0.0
    """of the SLO, that the policy `seawall` keeps free"""
    behavior: Behavior | None = None
    """of the autoscalers among the baselines"""
    price_per_hour: float | None = None
    idle_watts: float | None = None
    peak_watts: float | None = None


@dataclass(frozen=True)
class Figure:
    """Mean over seeds, and a 95 % interval of that mean where there are several."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PolicyResult:
    name: str
    attainment: Figure
    violating_minutes: Figure
    p99_ms: Figure
    replica_hours: Figure
    versus_clairvoyant: Figure
    direction_changes_per_hour: Figure
    cost_per_1k: Figure | None
    joules_per_1k: Figure | None
    max_replicas: int
    first: RunResult
    """of the first seed, for the plot"""


@dataclass(frozen=True)
class StudyResult:
    order: Order
    requests: int
    policies: dict[str, PolicyResult] = field(default_factory=dict)


def run_study(
    order: Order, names: Sequence[str], progress: Callable[[str, float], None] | None = None
) -> StudyResult:
    """`progress` gets what is being done and the share of all work that is done."""
    briefing = brief(order)
    world = World(
        profile=order.scenario.truth(order.profile),
        slo_ms=order.slo_ms,
        dispatch=order.dispatch,
        cold_start_seconds=order.profile.cold_start_seconds,
        canary_slower=order.scenario.canary_slower,
        summaries=order.summaries,
        connections=order.connections,
    )
    everyone = list(dict.fromkeys(["clairvoyant", *names]))
    done, total = 0, len(everyone) * len(order.seeds)
    runs: dict[str, list[RunResult]] = {name: [] for name in everyone}
    for name in everyone:
        for seed in order.seeds:

            def share(part: float, name: str = name, done: int = done) -> None:
                if progress is not None:
                    progress(name, (done + part) / total)

            policy = _policy(name, briefing, order.margin)
            start = _start(policy, briefing)
            runs[name].append(simulate(order.trace, world, policy, order.scenario, start, seed, share))
            done += 1
    ideal = runs["clairvoyant"]
    results = {name: _summary(order, name, runs[name], ideal) for name in names}
    return StudyResult(order, sum(run.requests for run in ideal), results)


def brief(order: Order) -> Briefing:
    """Sizes the pods; refuses what no number of them can do."""
    scenario, profile = order.scenario, order.profile
    truth = scenario.truth(profile)
    believed = _table(profile, order.dispatch, order.slo_ms)
    briefing = Briefing(
        trace=order.trace,
        scenario=scenario,
        profile=profile,
        slo_ms=order.slo_ms,
        table=believed,
        believed=_sizing(believed, order, "the profile's pods"),
        true=_sizing(_table(truth, order.dispatch, order.slo_ms), order, "the pods as they are"),
        drifted=_sizing(
            _table(truth.scaled(1.0 + scenario.drift), order.dispatch, order.slo_ms),
            order,
            "the pods after the drift",
        ),
        minimum=1,
        behavior=order.behavior,
        dispatch=order.dispatch,
        maximum=2**31,
    )
    peak = int(needed(briefing).max())
    if order.maximum is not None and order.maximum < peak:
        raise StudyError(
            f"the SLO needs up to {peak} pods at the peak of this trace, more than the {order.maximum}"
            " that --max-replicas admits"
        )
    return replace(briefing, maximum=order.maximum or max(LEAST_MAXIMUM, math.ceil(HEADROOM * peak)))


def _table(profile: PodProfile, dispatch: Dispatch, slo_ms: float) -> CapacityTable:
    """Built once for all that serve alike, however long they take to start."""
    return _built(replace(profile, cold_start_seconds=0.0, interpolated=()), dispatch, slo_ms)


@lru_cache(maxsize=64)
def _built(profile: PodProfile, dispatch: Dispatch, slo_ms: float) -> CapacityTable:
    return build_table(profile, dispatch, slo_ms)


def _sizing(table: CapacityTable, order: Order, what: str) -> Sizing:
    found = sizing(table, order.slo_ms)
    if not found.feasible:
        fastest = predicted_p99(table, table.rates[0])
        raise StudyError(
            f"{what} have a p99 of {fastest:.3g} ms even when nearly idle: no number of them"
            f" meets an SLO of {order.slo_ms:g} ms"
        )
    return found


def _policy(name: str, briefing: Briefing, margin: float) -> Policy:
    settings = LawSettings(margin=margin)
    return Seawall(briefing, settings) if name == "seawall" else build(name, briefing)


def _start(policy: Policy, briefing: Briefing) -> int:
    """A trace begins in the middle of a service's life: everybody starts with what its first minutes need,
    and those that know more with what they want."""
    match policy:
        case Clairvoyant():
            return policy.at(0.0)
        case StaticPeak():
            return policy.count
        case _:
            first = max(1, int(START_SECONDS / briefing.trace.step))
            return briefing.clamp(int(needed(briefing)[:first].max()))


def _summary(order: Order, name: str, runs: list[RunResult], ideal: list[RunResult]) -> PolicyResult:
    hours = [run.replica_hours for run in runs]
    against = [mine / other.replica_hours for mine, other in zip(hours, ideal, strict=True)]
    return PolicyResult(
        name=name,
        attainment=figure([run.attainment for run in runs]),
        violating_minutes=figure([run.violating_minutes for run in runs]),
        p99_ms=figure([run.p99_ms for run in runs]),
        replica_hours=figure(hours),
        versus_clairvoyant=figure(against),
        direction_changes_per_hour=figure([run.direction_changes_per_hour for run in runs]),
        cost_per_1k=_cost(order, runs),
        joules_per_1k=_energy(order, runs),
        max_replicas=max(run.max_replicas for run in runs),
        first=runs[0],
    )


def figure(values: Sequence[float]) -> Figure:
    mean = fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Figure(mean)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return Figure(mean, mean - half, mean + half)


def _cost(order: Order, runs: list[RunResult]) -> Figure | None:
    if order.price_per_hour is None:
        return None
    return figure([1000.0 * run.replica_hours * order.price_per_hour / max(1, run.requests) for run in runs])


def _energy(order: Order, runs: list[RunResult]) -> Figure | None:
    """Idle power for as long as a pod exists, the rest while an instance executes."""
    idle, peak = order.idle_watts, order.peak_watts
    if idle is None or peak is None:
        return None
    extra = (peak - idle) / order.profile.instances
    return figure(
        [
            1000.0 * (run.replica_hours * 3600.0 * idle + run.busy_seconds * extra) / max(1, run.requests)
            for run in runs
        ]
    )
