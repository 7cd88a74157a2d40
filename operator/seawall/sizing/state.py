"""What goes into a scaling decision, what comes out, and what is remembered between two of them.

Everything is plain numbers and tuples, so that the operator can keep a state in memory or write it down,
and the simulator can run a thousand services through the very same function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from seawall.sizing.capacity import LoadRatio

Reason = Literal[
    "Demand", "Latency", "Backlog", "Stable", "NoData", "Infeasible", "MinReplicas", "MaxReplicas", "Idle"
]


@dataclass(frozen=True, slots=True)
class Bounds:
    min_replicas: int = 1
    max_replicas: int = 20


@dataclass(frozen=True, slots=True)
class Signals:
    """One reading. None, NaN, a negative or an absurd number all mean: no data."""

    now: float
    """seconds, on any clock that does not jump"""
    rate_15s: float | None
    """offered requests per second (answered, failed and refused), over the last 15 s"""
    rate_60s: float | None
    replicas: int
    """what spec.replicas says now"""
    ready: int
    """pods that receive traffic"""
    p99_ms: float | None = None
    """over the last minute"""
    p99_age_seconds: float = 0.0
    late_share: float | None = None
    """share of the last minute's requests that missed the SLO or failed"""
    pending: float | None = None
    """requests waiting in all pods together"""
    busiest_rps: float | None = None
    """answers per second of the pod that gave the most in the last minute, by its own count"""
    ca2: float | None = None
    """index of dispersion of the arrivals; pods are not sized by it, see `PACED` in law.py"""
    service_scale: float | None = None
    """measured service time divided by the profile's, see calibration.py"""
    cold_start_seconds: float = 60.0
    """p90 from a pod's creation to its readiness, as measured"""
    complete: bool = True
    """False: some pods did not report, so what is counted is too low"""


@dataclass(frozen=True, slots=True)
class LawSettings:
    """One set for every service; none of them is meant to be tuned. docs/sizing.md has the measurements."""

    margin: float = 0.0
    """of the SLO, kept free on top of what the forecast's own errors ask for"""
    sync_seconds: float = 15.0
    holds_seconds: tuple[float, ...] = (450.0, 900.0, 1800.0)
    """how long a demand may still count: the memories of the rules that compete, see forecast.py"""
    memory_minutes: float = 240.0
    """how slowly what the rules attained, and what of the budget was used, is forgotten"""
    late_budget: float = 0.0015
    """share of requests that may miss the SLO, in the long run"""
    violation_budget: float = 0.015
    """share of minutes whose p99 may be above the SLO, in the long run"""
    lean_late: float = 0.008
    """risk accepted for the next minute while the whole budget is left"""
    lean_violation: float = 0.02
    strict_late: float = 0.001
    """risk accepted once the budget is used up"""
    strict_violation: float = 0.015
    doubt: float = 0.04
    """share of minutes that a rule without margin is thought to violate, until it is known better"""
    doubt_margin: float = 0.2
    """a margin of this much, as a logarithm, divides the doubt by e"""
    doubt_late: float = 0.1
    """share of late requests in a minute that is violated in this doubt"""
    doubt_minutes: float = 10.0
    """how many minutes of experience the doubt weighs"""
    recurrence: float = 1.3
    """a rise by this factor that came back three times running is expected again"""
    recurrence_minutes: tuple[int, ...] = (30, 60)
    turns_down_per_hour: int = 2
    """how often in an hour a rising count may start to fall; it changes direction twice as often at most"""
    fall_per_minute: float = 0.2
    settle_seconds: float = 300.0
    """how long a service must have been watched before it is made smaller"""
    drain_seconds: float = 45.0
    """a backlog is to be gone after this long"""
    stale_seconds: float = 45.0
    """an older p99 says nothing"""
    most_correction: float = 8.0
    blind_margin: float = 0.05
    """of the SLO, kept free while there is no p99 to learn from"""
    idle_seconds: float = 600.0
    """without one request for this long, minReplicas 0 is taken at its word"""


@dataclass(frozen=True, slots=True)
class Terms:
    """The replicas that each part of the law asks for; the largest wins."""

    feed_forward: int
    feedback: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Decision:
    replicas: int
    reason: Reason
    terms: Terms
    load_ratio: float | None
    """the observed p99 as load: 1 is exactly at capacity; None without a usable p99"""
    demand_rps: float | None
    """what the replicas are for: the forecast with its margin"""
    capacity_rps: float | None
    """of one pod at the SLO"""
    predicted_p99_ms: float | None
    """at the decided replicas and the present rate; inf beyond stability"""
    feasible: bool
    message: str
    elsewhere_ms: float = 0.0
    """of the p99, where it is above the SLO: a delay that no pod takes away"""


@dataclass(frozen=True, slots=True)
class Level:
    at: float
    level: float
    """offered rate: the larger of the short and the long window"""
    short: float
    """offered rate in the short window"""
    ready: int
    highs: tuple[float, ...]
    """largest level within each of the rules' memories, or a rise that is due again"""
    recurring: bool = False
    """such a rise is due, and larger than all that came"""
    replicas: int = 0
    """what was decided then"""


@dataclass(frozen=True, slots=True)
class Raise:
    """What was seen when the correction was raised without proof."""

    at: float
    counted: float
    """requests per second of the busiest pod"""
    p99_ms: float
    ready: int
    scale: float
    limit: float
    """the largest correction until it has helped"""


@dataclass(frozen=True, slots=True)
class LawState:
    since: float | None = None
    """when the first usable reading came"""
    recent: tuple[Level, ...] = ()
    minute: int | None = None
    peaks: tuple[float, ...] = ()
    """largest level of each minute, the last one still growing"""
    spent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """share of late requests, violated minutes and minutes, older ones counting less"""
    trials: tuple[tuple[float, ...], ...] = ()
    """what every rule would have attained and cost: late shares, violated minutes, pods"""
    tried: float = 0.0
    """minutes behind the trials, older ones counting less"""
    rule: int | None = None
    """the one that is followed"""
    correction: float = 1.0
    """how much heavier the load is than counted, by the observed p99 (kappa)"""
    scale: float = 1.0
    """the last service_scale that was measured"""
    slowed_at: float | None = None
    """when batches were last measured slower than before"""
    evidence: tuple[float, ...] = ()
    futile: int = 0
    """consecutive readings above the SLO at so little load that no pod can help"""
    proven: float = 1.0
    """the correction up to which pods have been seen to help"""
    proven_at: float | None = None
    raised: Raise | None = None
    """a raise beyond that, until it is known whether it helped"""
    verdict: int = 0
    """readings running that say it did; below 0: that it did not"""
    undecided: int = 0
    """readings running that could not tell, although each pod had less to do"""
    offset_ms: float = 0.0
    """part of the p99 that is from elsewhere than the pods and their load"""
    excess: tuple[float, ...] = ()
    """the same, as the last steady readings say"""
    retry_at: float | None = None
    retries: int = 0
    pending: float = 0.0
    growing: int = 0
    drained_at: float | None = None
    """when a long queue was last seen to become shorter"""
    wait_ms: float = 0.0
    """mean wait in the queues, by Little's law, smoothed"""
    p99_seen: float | None = None
    busy_at: float | None = None
    target: int | None = None
    direction: int = 0
    turns: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> LawState:
        """Reads back what to_json wrote; unknown fields are dropped, so an older operator's state fits."""
        known = {f.name for f in fields(LawState)}
        values = {k: _tuples(v) for k, v in document.items() if k in known}
        state = LawState(**values)
        levels = {f.name for f in fields(Level)}
        recent = tuple(
            Level(**{k: _tuples(v) for k, v in entry.items() if k in levels})
            for entry in document.get("recent", ())
        )
        raised = document.get("raised")
        return replace(state, recent=recent, raised=Raise(**raised) if raised is not None else None)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Seen:
    """The observed p99 beside what the model says about the same minute."""

    load: LoadRatio
    counted: float
    """requests per second and ready pod, at their highest in the window"""
    hottest: float
    """the same of the busiest pod"""
    ready: int
    expected_ms: float
    plain_ms: float
    """what the model says of the busiest pod without what is not proven"""
    weight: float
    """how much heavier the counted load must be to explain the p99; 1 is exactly as counted"""
    steady: bool
    """the p99 belongs to this rate and to these pods"""
    settled: bool
    """and so it did a whole window ago already, and no queue was long meanwhile"""
    imbalance: float
    """what the busiest pod gets, as a multiple of the mean"""
    uneven: bool
    """so much that connections must be what decides"""
    queued: bool
    """requests wait in the pods' own queues, beyond doubt"""


@dataclass(frozen=True, slots=True)
class Forecast:
    demand: float
    """with its margin"""
    base: float
    """the largest rate within the memory of the rule that is followed"""
    hold_seconds: float
    """that memory"""
    headroom: float
    """logarithm of the margin"""
    recurring: bool = field(default=False)
