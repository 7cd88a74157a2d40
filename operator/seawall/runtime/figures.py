"""What Prometheus is to be told of a service, taken from its status as it was decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seawall.api.units import parse_duration
from seawall.decide.conditions import parse_timestamp

IDLE = "Idle"
CONDITIONS = (
    "Ready",
    "ModelReady",
    "ScalingReady",
    "LatencyMetricAvailable",
    "SLOFeasible",
    "SLOMet",
    "RolloutHealthy",
)
"""The others are in these, or in the status."""
VALUES = {"True": 1.0, "False": 0.0}
UNKNOWN = -1.0
FIXED = frozenset({"Fixed", "External"})
"""Modes in which maxReplicas says nothing."""
DIRECTIONS = {"rollback": "logERollback", "pass": "logEPass"}


@dataclass(frozen=True, slots=True)
class RolloutFigures:
    """Of a candidate on its way."""

    revision: str
    weight: float | None
    """share of the traffic that the routes give it"""
    evidence: tuple[tuple[str, str, float], ...]
    """(metric, direction, logarithm)"""
    step: int | None = None
    """how many of the steps are passed"""
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is."""

    phase: str
    revision: str
    mark: tuple[object, ...]
    """differs as soon as the rollout gets on"""
    pause: float | None
    """since when it waits for a person"""


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    revision: str
    slo_target_seconds: float | None
    desired_replicas: int | None
    rollout: RolloutFigures | None = None
    max_replicas: int | None = None
    slo_requests: int | None = None
    scaling_reason: str = ""
    conditions: tuple[tuple[str, float, str], ...] = ()
    """(type, value, reason)"""
    progress: Progress | None = None


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


def service_figures(status: Mapping[str, Any], spec: Mapping[str, Any], max_replicas: int) -> ServiceFigures:
    """From a status as it was decided. `max_replicas`: what holds where the spec says none."""
    rollout, scaling, slo = (status.get(name) or {} for name in ("rollout", "scaling", "slo"))
    target, days = slo.get("target"), slo.get("days")
    asked = (spec.get("scaling") or {}).get("maxReplicas", max_replicas)
    return ServiceFigures(
        revision=rollout.get("stableRevision") or rollout.get("candidateRevision") or "",
        slo_target_seconds=parse_duration(target) if target else None,
        desired_replicas=scaling.get("desiredReplicas"),
        rollout=rollout_figures(rollout),
        max_replicas=asked if scaling and scaling.get("mode") not in FIXED else None,
        slo_requests=sum(day["total"] for day in days) if days else None,
        scaling_reason=scaling.get("reason") or "",
        conditions=tuple(_conditions(status.get("conditions") or ())),
        progress=_progress(rollout),
    )


def _conditions(conditions: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float, str]]:
    for each in conditions:
        if each["type"] in CONDITIONS:
            yield each["type"], VALUES.get(each["status"], UNKNOWN), each["reason"]


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
    share = weight / 100 if weight is not None else None
    return RolloutFigures(str(candidate), share, evidence, rollout["step"], rollout.get("steps"))


def _progress(rollout: Mapping[str, Any]) -> Progress | None:
    phase = rollout.get("phase") or IDLE
    if phase == IDLE:
        return None
    since = (rollout.get("pause") or {}).get("since")
    told = ("id", "phase", "candidateRevision", "step", "desiredWeight", "candidateReplicas")
    return Progress(
        phase=phase,
        revision=rollout.get("candidateRevision") or rollout.get("stableRevision") or "",
        mark=tuple(rollout.get(name) for name in told),
        pause=parse_timestamp(since).timestamp() if since else None,
    )
