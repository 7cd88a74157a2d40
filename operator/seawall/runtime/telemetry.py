"""What the operator says about itself: Prometheus metrics and one line of JSON per log record."""

from __future__ import annotations

import contextvars
import json
import logging
import math
import sys
from collections import Counter as Counted
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from seawall.decide.types import Key

current_key: contextvars.ContextVar[str] = contextvars.ContextVar("current_key", default="")
"""The service that this task is looking at; stands in every line that it logs."""

PHASES = ("Pending", "Running", "Succeeded", "Refused", "Failed")
RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TICK_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class RolloutFigures:
    """Of a candidate on its way."""

    revision: str
    weight: float | None
    """share of the traffic that the routes give it"""
    evidence: tuple[tuple[str, str, float], ...]
    """(metric, direction, logarithm)"""


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    revision: str
    slo_target_seconds: float | None
    desired_replicas: int | None
    rollout: RolloutFigures | None = None


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One revision at the moment. None: no data, and then no series either."""

    p99_seconds: float | None = None
    slo_attainment_ratio: float | None = None
    slo_error_budget_remaining_ratio: float | None = None
    slo_load_ratio: float | None = None
    scaling_load: float | None = None
    ready_replicas: int | None = None
    capacity_rps: float | None = None
    demand_rps: float | None = None
    cost_per_1k_requests: float | None = None
    energy_joules_per_1k_requests: float | None = None


SERVICE_SERIES = {
    "slo_target_seconds": "The p99 latency asked for, in seconds.",
    "desired_replicas": "Pods that the service shall have.",
}
ARM_SERIES = {
    "p99_seconds": "The p99 latency of the last minute, in seconds.",
    "slo_attainment_ratio": "Share of requests within the SLO, over the SLO's window.",
    "slo_error_budget_remaining_ratio": "Share of the error budget that is left; negative when overspent.",
    "slo_load_ratio": "The observed p99 as load: 1 is exactly at capacity.",
    "scaling_load": "The load in pods, by which autoscalers size the revision.",
    "ready_replicas": "Pods that receive traffic.",
    "capacity_rps": "Requests per second that one pod carries within the SLO.",
    "demand_rps": "Requests per second that the revision is sized for.",
    "cost_per_1k_requests": "Price of a thousand requests, in the class's currency.",
    "energy_joules_per_1k_requests": "Energy of a thousand requests, in joules.",
}
LABELS = ["namespace", "inferenceservice", "revision"]
DIRECTIONS = {"rollback": "logERollback", "pass": "logEPass"}


class _Services(Collector):
    """Computed when asked: a thousand services of prometheus_client objects would cost megabytes."""

    def __init__(self, figures: dict[Key, ServiceFigures], arms: dict[tuple[Key, str], ArmFigures]) -> None:
        self._figures = figures
        self._arms = arms

    def collect(self) -> Iterator[GaugeMetricFamily]:
        services = [((key.namespace, key.name, f.revision), f) for key, f in list(self._figures.items())]
        yield from _families(SERVICE_SERIES, services)
        arms = [((key.namespace, key.name, revision), f) for (key, revision), f in list(self._arms.items())]
        yield from _families(ARM_SERIES, arms)
        rollouts = [(labels, figures.rollout) for labels, figures in services if figures.rollout is not None]
        yield from _rollout_families(rollouts)


def _families(
    series: Mapping[str, str], figures: Sequence[tuple[tuple[str, str, str], object]]
) -> Iterator[GaugeMetricFamily]:
    for name, text in series.items():
        family = GaugeMetricFamily(f"seawall_{name}", text, labels=LABELS)
        for labels, each in figures:
            value = getattr(each, name)
            if value is not None and math.isfinite(value):
                family.add_metric(labels, value)
        yield family


def rollout_figures(rollout: Mapping[str, Any]) -> RolloutFigures | None:
    """From status.rollout; None while no candidate has a step."""
    candidate, weight = rollout.get("candidateRevision"), rollout.get("observedWeight")
    if not candidate or rollout.get("step") is None:
        return None
    evidence = tuple(
        (str(each["metric"]), direction, float(each[field]))
        for each in (rollout.get("analysis") or {}).get("metrics") or ()
        for direction, field in DIRECTIONS.items()
        if field in each
    )
    return RolloutFigures(str(candidate), weight / 100 if weight is not None else None, evidence)


def _rollout_families(
    rollouts: Sequence[tuple[tuple[str, str, str], RolloutFigures]],
) -> Iterator[GaugeMetricFamily]:
    weight = GaugeMetricFamily(
        "seawall_rollout_weight_ratio",
        "Share of the traffic that the routes give a candidate.",
        labels=LABELS,
    )
    evidence = GaugeMetricFamily(
        "seawall_rollout_evidence",
        "Evidence for rolling a candidate back, or for passing its step: a natural logarithm.",
        labels=[*LABELS, "metric", "direction"],
    )
    for (namespace, name, _), each in rollouts:
        labels = (namespace, name, each.revision)
        if each.weight is not None:
            weight.add_metric(labels, each.weight)
        for metric, direction, value in each.evidence:
            evidence.add_metric((*labels, metric, direction), value)
    yield weight
    yield evidence


class _Builds(Collector):
    def __init__(self, phases: dict[Key, str]) -> None:
        self._phases = phases

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("seawall_builds", "ModelBuilds, by phase.", labels=["phase"])
        found = Counted(list(self._phases.values()))
        for phase in PHASES:
            family.add_metric([phase], found[phase])
        yield family


class Telemetry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.builds: dict[Key, str] = {}
        self.registry.register(_Builds(self.builds))
        self.figures: dict[Key, ServiceFigures] = {}
        self.arms: dict[tuple[Key, str], ArmFigures] = {}
        """by service and revision"""
        self.registry.register(_Services(self.figures, self.arms))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.reconciles = Counter(
            "seawall_reconcile",
            "Looks at a service or a build, by result.",
            ["result"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "seawall_reconcile_seconds",
            "Duration of one look at a service or a build.",
            buckets=RECONCILE_BUCKETS,
            registry=self.registry,
        )
        self.depth = Gauge(
            "seawall_queue_depth", "Services that wait to be looked at.", registry=self.registry
        )
        self.calls = Counter(
            "seawall_api_calls",
            "Calls to the Kubernetes API.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self.ticks = Histogram(
            "seawall_scaling_seconds",
            "Duration of one round of reading and sizing all services.",
            buckets=TICK_BUCKETS,
            registry=self.registry,
        )
        self.leading = Gauge(
            "seawall_leader", "1 while this replica holds the lease.", registry=self.registry
        )

    def call(self, verb: str, resource: str, code: str) -> None:
        self.calls.labels(verb, resource, code).inc()


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and `key` on what a reconcile logs."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if key := current_key.get():
            line["key"] = key
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("kopf", "aiohttp", "aiohttp.access", "asyncio", "kubernetes"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
