"""The comparator of a shadow step: one pod of the operator's image that gets copies of live requests, and the
Service by which the route reaches it.

Its pod carries none of the labels by which a service's own pods are counted, scaled, measured and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seawall.desired import names
from seawall.desired.canonical import canonical_json, stamped
from seawall.desired.names import Owner

CONTAINER = "comparator"


@dataclass(frozen=True, slots=True)
class ComparatorOrder:
    rollout: str
    step: int
    percent: int

    @property
    def name(self) -> str:
        """By which its counts are told from those of another rollout or step."""
        return f"{self.rollout}/{self.step}"


def build_comparator(owner: Owner, order: ComparatorOrder, image: str) -> list[dict[str, Any]]:
    return [_deployment(owner, order, image), _service(owner)]


def _labels(owner: Owner) -> dict[str, str]:
    """Of the objects, which are children like others."""
    return {**names.child_labels(owner), names.COMPONENT: names.COMPARATOR}


def _deployment(owner: Owner, order: ComparatorOrder, image: str) -> dict[str, Any]:
    pod = names.comparator_labels(owner)
    return stamped(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": names.metadata(owner, names.shadow_name(owner.name), _labels(owner)),
            "spec": {
                "revisionHistoryLimit": 0,
                "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": pod},
                # Two at once would share out the requests and know half of them each.
                "strategy": {"type": "Recreate"},
                "template": {"metadata": {"labels": pod}, "spec": _pod(owner, order, image)},
            },
        }
    )


def _pod(owner: Owner, order: ComparatorOrder, image: str) -> dict[str, Any]:
    return {
        "serviceAccountName": names.SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["comparator"],
                "env": [{"name": "SEAWALL_COMPARATOR", "value": _order(owner, order)}],
                "ports": [{"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "resources": {
                    "requests": {"cpu": "50m", "memory": "128Mi"},
                    "limits": {"memory": "512Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }


def _order(owner: Owner, order: ComparatorOrder) -> str:
    def address(service: str) -> str:
        return f"http://{service}.{owner.namespace}.svc:{names.HTTP_PORT}"

    return canonical_json(
        {
            "order": order.name,
            "model": owner.name,
            "stable": address(owner.name),
            "candidate": address(names.candidate_name(owner.name)),
            "percent": order.percent,
        }
    )


def _service(owner: Owner) -> dict[str, Any]:
    port = {"name": "http", "port": names.HTTP_PORT, "targetPort": "http", "protocol": "TCP"}
    return stamped(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": names.metadata(owner, names.shadow_name(owner.name), _labels(owner)),
            "spec": {
                "type": "ClusterIP",
                "selector": names.comparator_labels(owner),
                "ports": [port],
            },
        }
    )
