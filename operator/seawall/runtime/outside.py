"""What the operator talks to, each thing behind its door; put together once by whoever starts it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from seawall.ports import (
    Builds,
    Cluster,
    Inference,
    Metrics,
    MetricsFace,
    ModelConfigSchema,
    ScrapeFace,
    ServedKinds,
)
from seawall.runtime.handlers import OpenSession
from seawall.runtime.leader import LeaseApi


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class World:
    """What the operator talks to."""

    cluster: Cluster
    lease: LeaseApi
    inference: Inference
    builds: Builds
    schema: ModelConfigSchema
    open_session: OpenSession
    metrics: Metrics
    discover: Callable[[], Awaitable[ServedKinds]]
    """what the API server serves beside Kubernetes' own kinds"""
    metrics_api: MetricsFace | None
    """None: this process does not answer custom.metrics.k8s.io"""
    scrapes: ScrapeFace | None = None
    """None: /metrics is answered in plain HTTP, whoever asks"""
