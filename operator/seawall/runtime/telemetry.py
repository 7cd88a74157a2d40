"""What the operator says about itself: Prometheus metrics and one line of JSON per log record."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from seawall.decide.types import Key
from seawall.runtime.figures import ArmFigures, RolloutFigures, ServiceFigures, rollout_figures
from seawall.runtime.series import Builds, Clocked, Services

current_key: contextvars.ContextVar[str] = contextvars.ContextVar("current_key", default="")
"""The service that this task is looking at; stands in every line that it logs."""

RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TICK_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Telemetry:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self.builds: dict[Key, str] = {}
        self._used_builds: set[Key] = set()
        self.registry.register(Builds(self.builds, self._used_builds))
        self.figures: dict[Key, ServiceFigures] = {}
        self.arms: dict[tuple[Key, str], ArmFigures] = {}
        """by service and revision"""
        self._clocked = Clocked()
        self.registry.register(Services(self.figures, self.arms, self._clocked))
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
        self.oldest = Gauge(
            "seawall_queue_oldest_seconds",
            "How long the service that is next has waited to be looked at.",
            registry=self.registry,
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

    def service(self, key: Key, figures: ServiceFigures) -> None:
        self.figures[key] = figures
        self._clocked.note(key, figures.progress, self._clock())

    def forget_service(self, key: Key) -> None:
        self.figures.pop(key, None)
        self._clocked.forget(key)

    def build(self, key: Key, phase: str, *, used: bool) -> None:
        self.builds[key] = phase
        (self._used_builds.add if used else self._used_builds.discard)(key)

    def forget_build(self, key: Key) -> None:
        self.builds.pop(key, None)
        self._used_builds.discard(key)

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


__all__ = [
    "ArmFigures",
    "JsonLines",
    "RolloutFigures",
    "ServiceFigures",
    "Telemetry",
    "configure_logging",
    "current_key",
    "rollout_figures",
]
