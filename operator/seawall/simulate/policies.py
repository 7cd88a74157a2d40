"""The autoscalers that Seawall is compared with, from a schedule that knows the future to a mis-set target.

Those that people really run go through the HorizontalPodAutoscaler, without a `behavior` block, as most do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from seawall.simulate.briefing import Briefing, needed, tuned_concurrency, tuned_rps
from seawall.simulate.hpa import SYNC_SECONDS, HorizontalPodAutoscaler
from seawall.simulate.hpa_metrics import Metric, Pod, Sample, milli
from seawall.simulate.kernel import Ints
from seawall.simulate.observe import View
from seawall.simulate.run import Policy

DUTY_PERCENT = 70
CPU_PERCENT = 80
RATE_WINDOW = 60.0


@dataclass
class Clairvoyant:
    """Knows the rates to come; even so a pod must be started a cold start ahead and paid for meanwhile."""

    briefing: Briefing
    name: str = "clairvoyant"
    sync: float = SYNC_SECONDS
    _needed: Ints = field(init=False)

    def __post_init__(self) -> None:
        self._needed = needed(self.briefing)

    def at(self, now: float) -> int:
        step = self.briefing.trace.step
        first = int(now / step + 1e-9)
        ahead = self.sync + self.briefing.profile.cold_start_seconds
        last = math.ceil((now + ahead) / step)
        return self.briefing.clamp(int(self._needed[first:last].max(initial=1)))

    def replicas(self, view: View) -> int:
        return self.at(view.now)


@dataclass
class StaticPeak:
    briefing: Briefing
    name: str = "static-peak"
    sync: float = SYNC_SECONDS
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = self.briefing.clamp(int(needed(self.briefing).max()))

    def replicas(self, view: View) -> int:
        return self.count


@dataclass
class Autoscaled:
    """A HorizontalPodAutoscaler and what it is given to look at."""

    name: str
    briefing: Briefing
    metric: Callable[[View], Metric]
    sync: float = SYNC_SECONDS
    hpa: HorizontalPodAutoscaler = field(init=False)

    def __post_init__(self) -> None:
        self.hpa = HorizontalPodAutoscaler(
            self.briefing.minimum, self.briefing.maximum, self.briefing.behavior
        )

    def replicas(self, view: View) -> int:
        return self.hpa.reconcile(view.now, view.replicas, _pods(view), [self.metric(view)]).replicas


def _pods(view: View) -> list[Pod]:
    return [
        Pod(
            f"pod-{pod.slot}-{pod.created:g}",
            ready=pod.state == "ready",
            started=pod.created,
            ready_changed=pod.ready_at if pod.state == "ready" else pod.created,
            deleting=pod.state == "leaving",
        )
        for pod in view.pods
    ]


def _raw_p99(share: float, briefing: Briefing) -> Callable[[View], Metric]:
    """A Prometheus query served as an Object metric, `Value`: the SLO, or a share of it."""
    target = milli(briefing.slo_ms * share)

    def metric(view: View) -> Metric:
        p99 = view.p99_ms(RATE_WINDOW) if view.fresh else None
        return Metric("Object", "Value", target, None if p99 is None else [milli(p99)])

    return metric


def _rps(target_rps: float) -> Callable[[View], Metric]:
    """KEDA's Prometheus trigger: the total rate as an External metric, `AverageValue`."""

    def metric(view: View) -> Metric:
        rate = view.rate(RATE_WINDOW) if view.fresh else None
        return Metric("External", "AverageValue", milli(target_rps), None if rate is None else [milli(rate)])

    return metric


def _gpu_duty(view: View) -> Metric:
    """The device exporter reports a pod's GPU while its model is still loading: idle."""
    duty = view.duty(RATE_WINDOW) if view.fresh else None
    samples = None if duty is None else _samples(view, milli(100 * duty), starting=True)
    return Metric("Pods", "AverageValue", milli(DUTY_PERCENT), samples=samples)


def _cpu_duty(briefing: Briefing) -> Callable[[View], Metric]:
    """A pod asks for the CPU that it needs at the most it can serve; use is proportional to requests."""
    limit = briefing.profile.limit_rps

    def metric(view: View) -> Metric:
        done = view.completed(30.0) / 30.0 if view.fresh else None
        samples = None
        if done is not None and view.ready:
            samples = _samples(view, milli(done / view.ready / limit), starting=False)
        return Metric("Resource", "Utilization", CPU_PERCENT, samples=samples, cpu=True)

    return metric


def _samples(view: View, each: int, starting: bool) -> dict[str, Sample]:
    found = {}
    for pod, record in zip(_pods(view), view.pods, strict=True):
        if record.state == "ready":
            found[pod.name] = Sample(each, view.now)
        elif record.state == "starting" and starting:
            found[pod.name] = Sample(0, view.now)
    return found


@dataclass
class Kpa:
    """Knative's autoscaler on concurrency: 60 s stable window, 6 s panic window, asked every 2 s."""

    briefing: Briefing
    target: float
    """requests inside one pod"""
    name: str = "kpa"
    sync: float = 2.0
    _history: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])
    _panic_until: float = -1.0
    _panic_most: int = 0

    def replicas(self, view: View) -> int:
        self._history.append((view.now, view.live_request_seconds))
        del self._history[: max(0, len(self._history) - 31)]
        ready = max(1, view.ready)
        stable, panic = self._wanted(60.0, ready), self._wanted(6.0, ready)
        if panic >= 2 * ready:
            if view.now >= self._panic_until:
                self._panic_most = 0
            self._panic_until = view.now + 60.0
        if view.now < self._panic_until:
            self._panic_most = max(self._panic_most, panic, ready, view.replicas)
            return self.briefing.clamp(self._panic_most)
        return self.briefing.clamp(stable)

    def _wanted(self, window: float, ready: int) -> int:
        now, area = self._history[-1]
        start, before = next((entry for entry in self._history if entry[0] >= now - window), self._history[0])
        if now <= start:
            return ready
        concurrency = (area - before) / (now - start)
        most_up, most_down = 1000 * ready, ready // 2
        return min(most_up, max(most_down, math.ceil(concurrency / self.target)))


@dataclass
class Faro:
    """Faro's sizing in outline: every 5 min as many servers as M/D/c wants for the recent peak, one more
    when the SLO is missed for 30 s. Each request takes one unbatched service time: Faro knows no batching."""

    briefing: Briefing
    name: str = "faro"
    sync: float = 10.0
    _planned: float = -math.inf
    _missed: int = 0

    def replicas(self, view: View) -> int:
        if not view.fresh:
            return view.replicas
        if view.now - self._planned >= 300.0 and len(view.per_second(60.0)):
            self._planned = view.now
            minutes = view.per_second(300.0)
            peak = max(float(part.mean()) for part in np.array_split(minutes, max(1, len(minutes) // 60)))
            return self.briefing.clamp(self._servers(peak, view.replicas))
        p99 = view.p99_ms(30.0)
        self._missed = self._missed + 1 if p99 is not None and p99 > self.briefing.slo_ms else 0
        if self._missed >= 3:
            self._missed = 0
            return self.briefing.clamp(view.replicas + 1)
        return view.replicas

    def _servers(self, rate: float, current: int) -> int:
        """The fewest whose 99th percentile of M/D/c, half the wait of M/M/c, keeps the SLO."""
        service = self.briefing.profile.service_time(1) / 1e3
        spare = self.briefing.slo_ms / 1e3 - service
        load = rate * service
        blocked, servers = 1.0, 0
        while servers < self.briefing.maximum:
            servers += 1
            blocked = load * blocked / (servers + load * blocked)
            if servers <= load:
                continue
            delayed = blocked / (1.0 - load / servers * (1.0 - blocked))
            wait = 0.5 * service / (servers - load) * math.log(max(1.0, delayed / 0.01))
            if wait <= spare:
                return servers
        return self.briefing.maximum


def build(name: str, briefing: Briefing) -> Policy:
    """A baseline by the name that the command line takes."""
    tuned = tuned_rps(briefing)
    makers: dict[str, Callable[[], Policy]] = {
        "clairvoyant": lambda: Clairvoyant(briefing),
        "static-peak": lambda: StaticPeak(briefing),
        "hpa-p99": lambda: Autoscaled(name, briefing, _raw_p99(1.0, briefing)),
        "hpa-p99-80": lambda: Autoscaled(name, briefing, _raw_p99(0.8, briefing)),
        "cpu-duty": lambda: Autoscaled(name, briefing, _cpu_duty(briefing)),
        "gpu-duty": lambda: Autoscaled(name, briefing, _gpu_duty),
        "kpa": lambda: Kpa(briefing, tuned_concurrency(briefing)),
        "rps-tuned": lambda: Autoscaled(name, briefing, _rps(tuned)),
        "rps-high": lambda: Autoscaled(name, briefing, _rps(tuned * 1.3)),
        "rps-low": lambda: Autoscaled(name, briefing, _rps(tuned * 0.7)),
        "faro": lambda: Faro(briefing),
    }
    return makers[name]()


BASELINES = (
    "clairvoyant",
    "static-peak",
    "hpa-p99",
    "hpa-p99-80",
    "cpu-duty",
    "gpu-duty",
    "kpa",
    "rps-tuned",
    "rps-high",
    "rps-low",
    "faro",
)
