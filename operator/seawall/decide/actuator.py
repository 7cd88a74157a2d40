"""Who writes a service's replica count: the modes of spec.scaling and how Auto chooses among them.

A mode that the user has named is never exchanged for another one: where the cluster lacks what it needs, the
count stands still and ScalingReady says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.conditions import parse_timestamp
from seawall.decide.types import Capabilities
from seawall.sizing.state import Bounds

Mode = Literal["Fixed", "External", "HPA", "KEDA", "Direct"]
OURS = frozenset({"Fixed", "External", "Direct"})
"""Modes in which the operator itself writes the count."""
SCALED = frozenset({"HPA", "KEDA", "Direct"})
MIN_REPLICAS = 1
MAX_REPLICAS = 20
PATIENCE = timedelta(minutes=5)
"""How long Auto stays with a mode whose means have gone: a metrics API that restarts must not make the
autoscaler go and come."""


@dataclass(frozen=True, slots=True)
class Actuator:
    mode: Mode
    problem: str = ""
    """reason for ScalingReady=False; the count stands while there is one"""
    message: str = ""

    @property
    def scaled(self) -> bool:
        return self.mode in SCALED


def requested(spec: InferenceServiceSpec) -> str:
    """spec.scaling.mode, or what its absence means."""
    scaling = spec.scaling
    if scaling is not None and scaling.mode is not None:
        return scaling.mode
    return "Fixed" if scaling is not None and scaling.replicas is not None else "Auto"


def choose(
    spec: InferenceServiceSpec, can: Capabilities, status: Mapping[str, Any] | None, now: datetime
) -> Actuator:
    """`status` is the service's own, as it was written last."""
    asked = requested(spec)
    if asked == "Fixed":
        return Actuator("Fixed")
    if asked == "External":
        return Actuator("External")
    if asked == "Direct":
        return Actuator("Direct")
    if asked == "HPA":
        return _hpa(can)
    if asked == "KEDA":
        return _keda(can)
    return _auto(can, status or {}, now)


def _auto(can: Capabilities, status: Mapping[str, Any], now: datetime) -> Actuator:
    keda, hpa = _keda(can), _hpa(can)
    best = Actuator("Direct")
    if not keda.problem:
        best = keda
    elif not hpa.problem:
        best = hpa
    before = (status.get("scaling") or {}).get("mode")
    left = {"KEDA": keda, "HPA": hpa}.get(str(before))
    if left is None or not left.problem or _waited(status, now):
        return best
    return left


def _waited(status: Mapping[str, Any], now: datetime) -> bool:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "ScalingReady" and condition.get("status") == "False":
            try:
                return now - parse_timestamp(str(condition.get("lastTransitionTime"))) > PATIENCE
            except (ValueError, TypeError):
                return True
    return False


def _hpa(can: Capabilities) -> Actuator:
    if can.metrics_api == "Ours":
        return Actuator("HPA")
    if can.metrics_api == "Others":
        return Actuator(
            "HPA",
            "MetricsApiTaken",
            f"custom.metrics.k8s.io is served by somebody else ({can.metrics_api_message}), and a cluster has"
            " one; set spec.scaling.mode to Direct or KEDA, or let Seawall serve that API",
        )
    return Actuator(
        "HPA",
        "MetricsApiMissing",
        f"Seawall's metrics API does not answer ({can.metrics_api_message}); an administrator sets"
        " metricsAPI.enabled in the chart's values, or set spec.scaling.mode to Direct",
    )


def _keda(can: Capabilities) -> Actuator:
    if not can.keda:
        return Actuator(
            "KEDA",
            "KedaMissing",
            "this cluster serves no ScaledObjects; install KEDA, or set spec.scaling.mode to HPA or Direct",
        )
    if not can.prometheus_url:
        return Actuator(
            "KEDA",
            "PrometheusMissing",
            "KEDA would ask a Prometheus, and the operator is told of none; an administrator sets"
            " metrics.prometheusUrl in the chart's values, or set spec.scaling.mode to HPA or Direct",
        )
    return Actuator("KEDA")


def bounds_of(spec: InferenceServiceSpec, mode: Mode) -> Bounds:
    """What the law may ask for; in mode Fixed that is the one number."""
    scaling = spec.scaling
    if mode == "Fixed":
        return Bounds(fixed_count(spec), max(1, fixed_count(spec)))
    least = scaling.min_replicas if scaling is not None else None
    most = scaling.max_replicas if scaling is not None else None
    minimum = least if least is not None else MIN_REPLICAS
    if mode in SCALED:
        minimum = max(minimum, 1)  # a refused 0 is not acted on
    return Bounds(minimum, max(most if most is not None else MAX_REPLICAS, minimum))


def fixed_count(spec: InferenceServiceSpec) -> int:
    scaling = spec.scaling
    return scaling.replicas if scaling is not None and scaling.replicas is not None else 1


def behavior_of(spec: InferenceServiceSpec) -> dict[str, Any] | None:
    """As the user wrote it; None where nothing was said."""
    scaling = spec.scaling
    if scaling is None or scaling.behavior is None:
        return None
    return scaling.behavior.model_dump(by_alias=True, exclude_none=True) or None
