"""What is read from a data plane, and what one minute of it says.

Samples are cumulative counters as they were found, wherever they were found; rates, quantiles and doubts
are made from them in one place (window.py), so that Prometheus and a direct scrape cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from seawall.sizing.calibration import BatchCount

Source = Literal["Gateway", "Triton", "TritonSummary"]
Trouble = Literal[
    "MetricsUnavailable",  # nobody answered: Prometheus or every pod
    "MetricsStale",  # answers, but older than they may be
    "MetricsInvalid",  # NaN, duplicates, counters that contradict each other
    "P99Unavailable",  # counters only: this server has no latency distribution
    "NoTraffic",  # nothing to measure
    "NotEnoughRequests",  # a p99 of so few requests says nothing
    "NotStarted",  # no pod serves yet, or the first window is not over
]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts by upper edge; the last edge is infinity."""

    edges_ms: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PodSample:
    """One pod's counters, all since its server was started. None: not told."""

    pod: str
    at: float
    """when the counters were read, seconds since the epoch"""
    answered: float | None = None
    failed: float | None = None
    pending: float | None = None
    histogram: Histogram | None = None
    summary_p99_ms: float | None = None
    batches: tuple[BatchCount, ...] | None = None
    joules: float | None = None
    """of the GPUs that this pod sees; only meant where it owns them whole"""
    started: float | None = None
    """when its server was started, where known: its counters were zero then"""
    problem: str = ""
    """why nothing of this may be believed, as a phrase that follows the pod's name"""


@dataclass(frozen=True, slots=True)
class GatewaySample:
    """The gateway's counters for one backend: of one instance, or of several as `parts`."""

    at: float
    histogram: Histogram
    """of what was answered; failed and refused requests may be in it or not. Empty: no server answered yet"""
    failed: float
    ended: float | None = None
    """every request that came to an end, those without an answer of a server included"""
    refused: float = 0.0
    """by the client's own fault (4xx other than 429): neither good nor failed"""
    instance: str = ""
    parts: tuple[GatewaySample, ...] = ()
    """one per instance of the gateway, where these are known; the other fields mean nothing then"""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ArmSample:
    """One read of one revision."""

    at: float
    pods: tuple[PodSample, ...] = ()
    expected: frozenset[str] = frozenset()
    """pods that are ready and should have been heard"""
    gateway: GatewaySample | None = None
    trouble: Trouble | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests since the reading before: for the error budget."""

    total: float = 0.0
    good: float = 0.0
    """answered, and within the SLO"""
    failed: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One revision's last minute. None is no data: never zero, never good."""

    at: float
    """of the newest sample in it"""
    source: Source | None = None
    rate_15s: float | None = None
    """offered requests per second: answered, failed and refused"""
    rate_60s: float | None = None
    p99_ms: float | None = None
    """within its bucket, interpolated; of a summary, the slowest pod's"""
    p99_low_ms: float | None = None
    p99_high_ms: float | None = None
    """the edges of that bucket; inf above the last edge"""
    late_share: float | None = None
    """of the last minute's requests, failed ones included"""
    pending: float | None = None
    busiest_rps: float | None = None
    """answers per second of the pod that gave the most in the last minute"""
    ca2: float | None = None
    counts: Counts = Counts()
    complete: bool = True
    """every expected pod has told"""
    approximate: bool = False
    """joined from per-pod quantiles"""
    batches: Mapping[str, tuple[BatchCount, ...]] = field(default_factory=dict)
    """by pod, what ran since the reading before"""
    joules_per_request: float | None = None
    trouble: Trouble | None = None
    """why there is no p99"""
    message: str = ""
