"""The HorizontalPodAutoscaler of a revision: Kubernetes' own controller carries out what the law decides.

The metric is the load in pods, and its target is one per pod: the autoscaler's division gives back the law's
number. Its own habits must not bend that number, hence the tolerance of zero and the rates below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seawall.desired import names
from seawall.desired.canonical import canonical_quantity, stamped, without_empties
from seawall.desired.names import Owner

METRIC = "slo-load"
DIRECTIONS = ("scaleUp", "scaleDown")
# Without windows: the law has looked back already, and a second window would only delay it.
OWN_BEHAVIOR: Mapping[str, Any] = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Pods", "value": 1, "periodSeconds": 60},
            {"type": "Percent", "value": 20, "periodSeconds": 60},
        ],
    },
}


def build_hpa(
    owner: Owner,
    revision: str,
    minimum: int,
    maximum: int,
    behavior: Mapping[str, Any] | None,
    *,
    tolerance: bool = True,
) -> dict[str, Any]:
    """`tolerance` is False where the API server does not know that field: it would refuse the object."""
    name = names.deployment_name(owner.name, revision)
    described = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": owner.name}
    metric = {"name": METRIC, "selector": {"matchLabels": {"revision": revision}}}
    target = {"type": "AverageValue", "averageValue": "1"}
    return stamped(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": names.metadata(owner, name, names.revision_labels(owner, revision)),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": minimum,
                "maxReplicas": maximum,
                "metrics": [
                    {
                        "type": "Object",
                        "object": {"describedObject": described, "metric": metric, "target": target},
                    }
                ],
                "behavior": autoscaler_behavior(behavior, tolerance=tolerance),
            },
        }
    )


def autoscaler_behavior(behavior: Mapping[str, Any] | None, *, tolerance: bool = True) -> dict[str, Any]:
    """The user's words, or ours where there are none; deaf to nothing unless the user wants it so.

    With the usual tolerance of a tenth, ten pods would never become eleven.
    """
    said: dict[str, Any] = without_empties(behavior or {})
    if not tolerance:
        said = without_empties({key: _without_tolerance(rules) for key, rules in said.items()})
    said = said or dict(OWN_BEHAVIOR)
    if not tolerance:
        return said
    # A direction that is no map stays as it is: the API server says best what is wrong with it.
    return said | {
        direction: {**rules, "tolerance": _canonical(rules.get("tolerance", "0"))}
        for direction in DIRECTIONS
        if isinstance(rules := said.get(direction, {}), Mapping)
    }


def _without_tolerance(rules: Any) -> Any:
    return {k: v for k, v in rules.items() if k != "tolerance"} if isinstance(rules, Mapping) else rules


def _canonical(tolerance: Any) -> Any:
    try:
        return canonical_quantity(tolerance)
    except ValueError:
        return tolerance
