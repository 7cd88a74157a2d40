"""Who writes the count: the choice of Auto, and what a named mode does where its means are missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.actuator import behavior_of, bounds_of, choose
from seawall.decide.types import Capabilities
from seawall.sizing.state import Bounds
from support.town import START, service

OURS = Capabilities(metrics_api="Ours")
KEDA = Capabilities(keda=True, prometheus_url="http://p:9090")
BOTH = Capabilities(keda=True, prometheus_url="http://p:9090", metrics_api="Ours")
TAKEN = Capabilities(metrics_api="Others", metrics_api_message="monitoring/prometheus-adapter")
NONE = Capabilities()


def spec(scaling: dict[str, Any] | None) -> InferenceServiceSpec:
    raw = service()["spec"] | {"scaling": scaling}
    return InferenceServiceSpec.model_validate({k: v for k, v in raw.items() if v is not None})


CHOICES = {
    "nothing said, nothing there": (None, NONE, "Direct", ""),
    "nothing said, our metrics API": (None, OURS, "HPA", ""),
    "nothing said, KEDA and a Prometheus": (None, KEDA, "KEDA", ""),
    "KEDA comes before HPA": ({"mode": "Auto"}, BOTH, "KEDA", ""),
    "KEDA without a Prometheus is no choice": ({}, Capabilities(keda=True, metrics_api="Ours"), "HPA", ""),
    "somebody else's metrics API is no choice": ({"mode": "Auto"}, TAKEN, "Direct", ""),
    "bounds alone are scaled": ({"minReplicas": 2}, NONE, "Direct", ""),
    "a number alone is fixed": ({"replicas": 3}, BOTH, "Fixed", ""),
    "Fixed": ({"mode": "Fixed"}, BOTH, "Fixed", ""),
    "External": ({"mode": "External"}, BOTH, "External", ""),
    "Direct is not improved upon": ({"mode": "Direct"}, BOTH, "Direct", ""),
    "HPA": ({"mode": "HPA"}, BOTH, "HPA", ""),
    "HPA without our API": ({"mode": "HPA"}, KEDA, "HPA", "MetricsApiMissing"),
    "HPA with somebody else's API": ({"mode": "HPA"}, TAKEN, "HPA", "MetricsApiTaken"),
    "KEDA": ({"mode": "KEDA"}, BOTH, "KEDA", ""),
    "KEDA that is not installed": ({"mode": "KEDA"}, OURS, "KEDA", "KedaMissing"),
    "KEDA with nobody to ask": ({"mode": "KEDA"}, Capabilities(keda=True), "KEDA", "PrometheusMissing"),
}


@pytest.mark.parametrize(("scaling", "can", "mode", "problem"), CHOICES.values(), ids=CHOICES)
def test_the_choice(scaling: dict[str, Any] | None, can: Capabilities, mode: str, problem: str) -> None:
    made = choose(spec(scaling), can, None, START)
    assert (made.mode, made.problem) == (mode, problem)
    assert bool(made.message) == bool(problem)


def before(mode: str, minutes: float | None) -> dict[str, Any]:
    """A status in which scaling has been out of order for so many minutes; None: in order."""
    ready = "True" if minutes is None else "False"
    since = (START - timedelta(minutes=minutes or 60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": "ScalingReady", "status": ready, "lastTransitionTime": since}]
    return {"scaling": {"mode": mode}, "conditions": conditions}


PATIENCE = {
    "the metrics API has just gone": ("HPA", None, NONE, ("HPA", "MetricsApiMissing")),
    "it has been gone for a minute": ("HPA", 1, NONE, ("HPA", "MetricsApiMissing")),
    "it has been gone for long": ("HPA", 6, NONE, ("Direct", "")),
    "somebody has taken it for long": ("HPA", 6, TAKEN, ("Direct", "")),
    "it is back": ("HPA", 3, OURS, ("HPA", "")),
    "KEDA has just gone": ("KEDA", None, OURS, ("KEDA", "KedaMissing")),
    "KEDA is gone for long": ("KEDA", 6, OURS, ("HPA", "")),
    "Direct hands over at once": ("Direct", None, OURS, ("HPA", "")),
    "KEDA has come": ("HPA", None, BOTH, ("KEDA", "")),
    "from Fixed": ("Fixed", None, NONE, ("Direct", "")),
}


@pytest.mark.parametrize(("mode", "minutes", "can", "expected"), PATIENCE.values(), ids=PATIENCE)
def test_auto_does_not_run_after_every_hiccup(
    mode: str, minutes: float | None, can: Capabilities, expected: tuple[str, str]
) -> None:
    made = choose(spec({"mode": "Auto"}), can, before(mode, minutes), START)
    assert (made.mode, made.problem) == expected


BOUNDS = {
    "defaults": (None, "Direct", Bounds(1, 20)),
    "as given": ({"minReplicas": 2, "maxReplicas": 7}, "HPA", Bounds(2, 7)),
    "a minimum above the default maximum": ({"minReplicas": 30}, "HPA", Bounds(30, 30)),
    "a refused zero is not acted on": ({"minReplicas": 0}, "Direct", Bounds(1, 20)),
    "Fixed is one number": ({"mode": "Fixed", "replicas": 4}, "Fixed", Bounds(4, 4)),
    "Fixed at zero": ({"mode": "Fixed", "replicas": 0}, "Fixed", Bounds(0, 1)),
    "External may advise": ({"mode": "External", "minReplicas": 0}, "External", Bounds(0, 20)),
}


@pytest.mark.parametrize(("scaling", "mode", "expected"), BOUNDS.values(), ids=BOUNDS)
def test_the_bounds(scaling: dict[str, Any] | None, mode: Any, expected: Bounds) -> None:
    assert bounds_of(spec(scaling), mode) == expected


def test_a_users_behavior_is_handed_on_as_it_was_written() -> None:
    written = {"scaleDown": {"stabilizationWindowSeconds": 60, "policies": [
        {"type": "Pods", "value": 1, "periodSeconds": 60}], "tolerance": "0.05"}}  # fmt: skip
    assert behavior_of(spec({"behavior": written})) == written
    assert behavior_of(spec({"behavior": {}})) is None
    assert behavior_of(spec(None)) is None
