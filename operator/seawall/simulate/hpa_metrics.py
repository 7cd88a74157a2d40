"""What the HorizontalPodAutoscaler proposes for one metric (autoscaling/v2, replica calculator).

Every value is an integer in thousandths, as the controller holds it: much of its behaviour at the edges
comes from integer division and from the tolerance test, so nothing here is rounded differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["Resource", "ContainerResource", "Pods", "Object", "External"]
Target = Literal["Value", "AverageValue", "Utilization"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]

CPU_INITIALIZATION_SECONDS = 300.0
INITIAL_READINESS_SECONDS = 30.0
TOLERANCE = 0.1


class MetricUnavailable(Exception):
    """This metric gives no proposal in this round; what the others say then decides."""


@dataclass(frozen=True)
class Sample:
    """Of one pod; `containers` for ContainerResource. Times in seconds on the caller's clock."""

    milli: int
    timestamp: float = 0.0
    window: float = 30.0


@dataclass(frozen=True)
class Pod:
    name: str
    phase: Phase = "Running"
    ready: bool | None = True
    """None: it has no Ready condition yet"""
    started: float | None = -1e9
    ready_changed: float = -1e9
    deleting: bool = False
    requests: Mapping[str, int | None] = field(default_factory=lambda: {"main": 1000})
    """container -> thousandths requested of the metric's resource; None: no request is set"""


@dataclass(frozen=True)
class Tolerances:
    down: float = TOLERANCE
    up: float = TOLERANCE

    def within(self, ratio: float) -> bool:
        return (1.0 - self.down) <= ratio <= (1.0 + self.up)


@dataclass(frozen=True)
class Metric:
    """One entry of spec.metrics together with what its API returned just now.

    `series` for External (summed) and Object (one); `samples` by pod for the others. None: the API failed.
    """

    kind: Kind
    target: Target
    target_value: int
    """thousandths; whole percent for Utilization"""
    series: Sequence[int] | None = None
    samples: Mapping[str, Sample] | None = None
    cpu: bool = False
    container: str | None = None


@dataclass(frozen=True)
class Groups:
    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


def milli(value: float) -> int:
    """Quantity.MilliValue: rounds up."""
    return math.ceil(round(value * 1000.0, 6))


def propose(
    metric: Metric, spec: int, status: int, pods: Sequence[Pod], tolerances: Tolerances, now: float
) -> int:
    """Desired replicas by this metric alone. MetricUnavailable: it has nothing to say."""
    if metric.kind in {"Object", "External"}:
        usage = _usage(metric)
        if metric.target == "AverageValue":
            return _per_pod(usage, metric.target_value, status, tolerances)
        return _total(usage / metric.target_value, spec, pods, tolerances)
    if metric.target == "Utilization":
        return _utilization(metric, spec, pods, tolerances, now)
    return _average(metric, spec, pods, tolerances, now)


def _usage(metric: Metric) -> int:
    if metric.series is None or len(metric.series) == 0:
        raise MetricUnavailable("no metrics returned from the metrics API")
    return sum(metric.series)


def _total(ratio: float, spec: int, pods: Sequence[Pod], tolerances: Tolerances) -> int:
    if spec == 0:
        return math.ceil(ratio)
    if tolerances.within(ratio):
        return spec
    if not pods:
        raise MetricUnavailable("no pods returned by selector")
    return math.ceil(ratio * sum(1 for pod in pods if pod.phase == "Running" and pod.ready))


def _per_pod(usage: int, target: int, status: int, tolerances: Tolerances) -> int:
    if status == 0:
        # 0/0 is NaN and x/0 is infinite: both lie outside every tolerance.
        return math.ceil(usage / target)
    if tolerances.within(usage / (target * status)):
        return status
    return math.ceil(usage / target)


def group(pods: Sequence[Pod], samples: Mapping[str, Sample], cpu: bool, now: float) -> Groups:
    ready = 0
    unready, missing, ignored = set[str](), set[str](), set[str]()
    for pod in pods:
        if pod.deleting or pod.phase == "Failed":
            ignored.add(pod.name)
        elif pod.phase == "Pending":
            unready.add(pod.name)
        elif pod.name not in samples:
            missing.add(pod.name)
        elif cpu and _cpu_unready(pod, samples[pod.name], now):
            unready.add(pod.name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _cpu_unready(pod: Pod, sample: Sample, now: float) -> bool:
    if pod.ready is None or pod.started is None:
        return True
    if pod.started + CPU_INITIALIZATION_SECONDS > now:
        return not pod.ready or sample.timestamp < pod.ready_changed + sample.window
    return not pod.ready and pod.started + INITIAL_READINESS_SECONDS > pod.ready_changed


def _average(metric: Metric, spec: int, pods: Sequence[Pod], tolerances: Tolerances, now: float) -> int:
    """Pods metrics, and Resource metrics with AverageValue."""
    values, groups = _grouped(metric, pods, now)
    target = metric.target_value

    def ratio() -> float:
        return (sum(values.values()) // len(values)) / target

    first = ratio()
    fill = target if first < 1.0 else 0
    return _rebalanced(first, groups, values, dict.fromkeys(groups.missing, fill), ratio, spec, tolerances)


def _utilization(metric: Metric, spec: int, pods: Sequence[Pod], tolerances: Tolerances, now: float) -> int:
    values, groups = _grouped(metric, pods, now)
    requests = _requests(pods, metric.container)

    def ratio() -> float:
        total = sum(requests[name] for name in values if name in requests)
        if total == 0:
            raise MetricUnavailable("no metrics returned matched known pods")
        used = sum(value for name, value in values.items() if name in requests)
        return (used * 100 // total) / metric.target_value

    first = ratio()
    # A ratio of exactly one fills nothing, unlike above.
    fill = {}
    if first < 1.0:
        most = max(100, metric.target_value)
        fill = {name: requests[name] * most // 100 for name in groups.missing}
    elif first > 1.0:
        fill = dict.fromkeys(groups.missing, 0)
    return _rebalanced(first, groups, values, fill, ratio, spec, tolerances)


def _grouped(metric: Metric, pods: Sequence[Pod], now: float) -> tuple[dict[str, int], Groups]:
    if metric.samples is None or not metric.samples:
        raise MetricUnavailable("no metrics returned from the metrics API")
    if not pods:
        raise MetricUnavailable("no pods returned by selector")
    groups = group(pods, metric.samples, metric.cpu, now)
    apart = groups.unready | groups.ignored
    values = {name: sample.milli for name, sample in metric.samples.items() if name not in apart}
    if not values:
        raise MetricUnavailable("did not receive metrics for targeted pods (pods might be unready)")
    return values, groups


def _requests(pods: Sequence[Pod], container: str | None) -> dict[str, int]:
    found = {}
    for pod in pods:
        wanted = pod.requests if container is None else {container: pod.requests.get(container)}
        if any(request is None for request in wanted.values()):
            raise MetricUnavailable(f"missing request in pod {pod.name}")
        found[pod.name] = sum(request for request in wanted.values() if request is not None)
    return found


def _rebalanced(
    first: float,
    groups: Groups,
    values: dict[str, int],
    fill: Mapping[str, int],
    ratio: Callable[[], float],
    spec: int,
    tolerances: Tolerances,
) -> int:
    """Without missing and unready pods at once; else again with cautious guesses in their place."""
    unready_count = bool(groups.unready) and first > 1.0
    if not unready_count and not groups.missing:
        return spec if tolerances.within(first) else math.ceil(first * groups.ready)
    values.update(fill)
    if unready_count:
        values.update(dict.fromkeys(groups.unready, 0))
    again = ratio()
    flips = (first < 1.0 < again) or (again < 1.0 < first)
    if tolerances.within(again) or flips:
        return spec
    replicas = math.ceil(again * len(values))
    against = (again < 1.0 and replicas > spec) or (again > 1.0 and replicas < spec)
    return spec if against else replicas
