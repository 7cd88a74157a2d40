"""The ScaledObject: what KEDA asks Prometheus, and that no missing answer can make it remove pods."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.desired.canonical import stamped, without_empties
from seawall.desired.hpa import autoscaler_behavior
from seawall.desired.names import APPLIED_ANNOTATION, Owner
from seawall.desired.scaledobject import build_scaled_object

OWNER = Owner("digits", "vision", "u-1")
URL = "http://prometheus.monitoring.svc:9090"


def scaled_object(minimum: int = 2, **annotations: str) -> dict[str, Any]:
    given = {f"autoscaling.keda.sh/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return build_scaled_object(OWNER, "abc12", minimum, 9, None, URL, given | {"team": "vision"})


def test_it_asks_prometheus_for_the_load_of_this_revision_and_divides_by_one() -> None:
    (trigger,) = scaled_object()["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert trigger["metricType"] == "AverageValue"
    assert trigger["metadata"] == {
        "serverAddress": URL,
        "query": 'max(seawall_scaling_load{namespace="vision",inferenceservice="digits",revision="abc12"})',
        "threshold": "1",
        "ignoreNullValues": "false",
    }


def test_it_scales_the_revisions_deployment_within_the_bounds() -> None:
    made = scaled_object()
    assert made["metadata"]["name"] == "digits-abc12"
    assert made["metadata"]["ownerReferences"] == [OWNER.reference()]
    spec = made["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "digits-abc12"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 9)
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == autoscaler_behavior(None)


@pytest.mark.parametrize(("minimum", "fallback"), [(0, 1), (1, 1), (4, 4)])
def test_what_cannot_be_asked_removes_no_pod(minimum: int, fallback: int) -> None:
    assert scaled_object(minimum)["spec"]["fallback"] == {
        "failureThreshold": 3,
        "replicas": fallback,
        "behavior": "currentReplicasIfHigher",
    }


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ({}, {}),
        ({"paused": "true"}, {"autoscaling.keda.sh/paused": "true"}),
        ({"paused_replicas": "5"}, {"autoscaling.keda.sh/paused-replicas": "5"}),
        ({"paused_scale_in": "true"}, {"autoscaling.keda.sh/paused-scale-in": "true"}),
        ({"force_activation": "true"}, {}),
    ],
)
def test_a_pause_is_handed_on_and_nothing_else(given: dict[str, str], handed_on: dict[str, str]) -> None:
    annotations = dict(scaled_object(**given)["metadata"]["annotations"])
    annotations.pop(APPLIED_ANNOTATION)
    assert annotations == handed_on


def test_it_is_stamped_and_holds_nothing_that_a_server_would_drop() -> None:
    made = scaled_object()
    assert stamped(made) == made
    assert without_empties(made) == made
    assert scaled_object(paused="true") != made
