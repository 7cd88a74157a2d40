"""What watches over a service's Deployment: its autoscaler, and what Prometheus is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seawall.api.units import parse_duration
from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.actuator import Actuator, behavior_of, bounds_of
from seawall.decide.arms import WINDOW
from seawall.decide.rollout_plan import RolloutPlan, ShadowStep, WeightStep, plan_of
from seawall.decide.types import Capabilities, Manifest
from seawall.desired.hpa import build_hpa
from seawall.desired.monitoring import Promise, build_pod_monitor, build_prometheus_rule
from seawall.desired.names import Owner
from seawall.desired.scaledobject import build_scaled_object

AUTOSCALERS = frozenset({"HorizontalPodAutoscaler", "ScaledObject"})
MONITORS = frozenset({"PodMonitor", "PrometheusRule"})
WATCHERS = AUTOSCALERS | MONITORS
"""Kinds that nothing waits for: a rollout goes on without them."""
MARGIN_SECONDS = 300.0
"""For what a step does besides waiting."""


def autoscaler(
    owner: Owner,
    revision: str,
    spec: InferenceServiceSpec,
    actuator: Actuator,
    capabilities: Capabilities,
    metadata: Mapping[str, Any],
    floor: int = 0,
    *,
    pinned: int | None = None,
) -> Manifest | None:
    """Of one revision, in the modes that have one. `metadata`: the service's. `floor`: pods that a rollout
    must find again if its candidate fails, whatever the load says meanwhile. `pinned`: the count itself,
    while a candidate takes places of this revision's."""
    limits, behavior = bounds_of(spec, actuator.mode), behavior_of(spec)
    low, high = max(limits.min_replicas, min(floor, limits.max_replicas)), limits.max_replicas
    if pinned is not None:
        low = high = pinned
    if actuator.mode == "HPA":
        # Also while nobody answers its metric: it holds the count then, and goes on by itself afterwards.
        return build_hpa(owner, revision, low, high, behavior, tolerance=capabilities.hpa_tolerance)
    if actuator.mode == "KEDA" and not actuator.problem:
        url, annotations = capabilities.prometheus_url, metadata.get("annotations") or {}
        return build_scaled_object(owner, revision, low, high, behavior, url, annotations)
    return None


def monitors(
    owner: Owner, spec: InferenceServiceSpec, capabilities: Capabilities, runbook: str
) -> list[Manifest]:
    """For the Prometheus operator, where there is one. `runbook`: where an alert's page is."""
    if not capabilities.prometheus_operator:
        return []
    promise = Promise(
        slo_seconds=parse_duration(spec.slo.p99),
        availability=spec.slo.availability,
        window_days=parse_duration(spec.slo.window or WINDOW) / 86400,
        patience_seconds=patience(plan_of(spec, 1)),
        runbook=runbook,
    )
    return [build_pod_monitor(owner), build_prometheus_rule(owner, promise)]


def patience(plan: RolloutPlan) -> float:
    """How long a rollout may stay where it is and be well: its longest step, and what is waited for in it."""
    waits = [plan.progress_seconds]
    for step in plan.steps:
        if isinstance(step, WeightStep):
            waits.append(step.max_seconds)
        elif isinstance(step, ShadowStep):
            waits.append(step.duration_seconds)
    holds = plan.policy.no_data_seconds + plan.policy.provider_down_seconds
    return max(waits) + plan.warmup_seconds + holds + MARGIN_SECONDS
