"""The HorizontalPodAutoscaler: what it asks for, whose words rule it, and that it is spelled canonically."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.desired.canonical import covers, stamped, without_empties
from seawall.desired.hpa import OWN_BEHAVIOR, autoscaler_behavior, build_hpa
from seawall.desired.names import Owner

OWNER = Owner("digits", "vision", "u-1")


def hpa(behavior: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return build_hpa(OWNER, "abc12", 2, 9, behavior, **more)


def test_it_divides_the_load_of_this_revision_by_one() -> None:
    spec = hpa()["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "digits-abc12"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    (metric,) = spec["metrics"]
    assert metric["type"] == "Object"
    assert metric["object"] == {
        "describedObject": {
            "apiVersion": "serving.seawall.dev/v1alpha1",
            "kind": "InferenceService",
            "name": "digits",
        },
        "metric": {"name": "slo-load", "selector": {"matchLabels": {"revision": "abc12"}}},
        "target": {"type": "AverageValue", "averageValue": "1"},
    }


def test_it_belongs_to_the_service_and_names_the_revision() -> None:
    meta = hpa()["metadata"]
    assert (meta["name"], meta["namespace"]) == ("digits-abc12", "vision")
    assert meta["ownerReferences"] == [OWNER.reference()]
    assert meta["labels"]["serving.seawall.dev/inferenceservice"] == "digits"
    assert meta["labels"]["serving.seawall.dev/revision"] == "abc12"


def test_without_words_of_the_user_it_rises_at_once_and_falls_slowly() -> None:
    for behavior in (None, {}):
        found = hpa(behavior)["spec"]["behavior"]
        assert found["scaleUp"] == {**OWN_BEHAVIOR["scaleUp"], "tolerance": "0"}
        assert found["scaleDown"] == {**OWN_BEHAVIOR["scaleDown"], "tolerance": "0"}
        assert found["scaleDown"]["stabilizationWindowSeconds"] == 0


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        pytest.param(
            {"scaleDown": {"stabilizationWindowSeconds": 600}},
            {
                "scaleDown": {"stabilizationWindowSeconds": 600, "tolerance": "0"},
                "scaleUp": {"tolerance": "0"},
            },
            id="what the user leaves out is Kubernetes' business, not ours",
        ),
        pytest.param(
            {"scaleUp": {"tolerance": "0.05"}, "scaleDown": {"tolerance": 0.2}},
            {"scaleUp": {"tolerance": "50m"}, "scaleDown": {"tolerance": "200m"}},
            id="the user's tolerance, as the API server spells it",
        ),
        pytest.param(
            {"scaleUp": {"selectPolicy": "Disabled", "policies": [], "tolerance": None}},
            {"scaleUp": {"selectPolicy": "Disabled", "tolerance": "0"}, "scaleDown": {"tolerance": "0"}},
            id="empty lists and nulls say nothing",
        ),
        pytest.param(
            {"scaleUp": {"tolerance": "much"}},
            {"scaleUp": {"tolerance": "much"}, "scaleDown": {"tolerance": "0"}},
            id="nonsense is left for the API server to refuse",
        ),
        pytest.param(
            {"scaleUp": "fast", "sideways": {"policies": [{"value": 0}]}},
            {
                "scaleUp": "fast",
                "sideways": {"policies": [{"value": 0}]},
                "scaleDown": {"tolerance": "0"},
            },
            id="so is a direction that is none",
        ),
    ],
)
def test_the_users_words_are_handed_on(said: dict[str, Any], meant: dict[str, Any]) -> None:
    assert autoscaler_behavior(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, OWN_BEHAVIOR),
        ({"scaleUp": {"tolerance": "0.05"}}, OWN_BEHAVIOR),
        ({"scaleUp": {"tolerance": "0.05", "selectPolicy": "Min"}}, {"scaleUp": {"selectPolicy": "Min"}}),
        ({"scaleUp": "fast"}, {"scaleUp": "fast"}),
    ],
)
def test_an_api_server_that_knows_no_tolerance_hears_of_none(said: Any, meant: Any) -> None:
    assert hpa(said, tolerance=False)["spec"]["behavior"] == meant


def test_it_is_stamped_and_holds_nothing_that_a_server_would_drop() -> None:
    made = hpa()
    assert stamped(made) == made
    assert without_empties(made) == made
    assert covers(made, hpa())
    assert hpa({"scaleUp": {"tolerance": "0.1"}}) != made
