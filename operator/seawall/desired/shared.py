"""Objects that all services of a namespace share, and those that all its builds share: a thousand services
need two, not two thousand.

They have no owner: the last service, or build, to go leaves them for the operator to remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seawall.desired import names
from seawall.desired.canonical import stamped


def build_service_account(namespace: str) -> dict[str, Any]:
    """An identity without rights or token."""
    return _account(namespace, names.SERVICE_ACCOUNT, names.common_labels())


@dataclass(frozen=True, slots=True)
class Reach:
    """Who may reach model pods, as the peers of a NetworkPolicy."""

    inference: tuple[Mapping[str, Any], ...] = ()
    """empty: anybody"""
    metrics: tuple[Mapping[str, Any], ...] = ()
    """of Triton, which knows no tokens; empty: anybody"""
    operator: str = ""
    """namespace of the operator, which asks for all of it"""

    def peers(self, chosen: tuple[Mapping[str, Any], ...], *ours: Mapping[str, Any]) -> dict[str, Any]:
        return {"from": [*map(dict, chosen), *ours]} if chosen else {}


ANYBODY = Reach()


def build_network_policy(namespace: str, reach: Reach = ANYBODY) -> dict[str, Any]:
    """Model pods, and the comparators beside them, can be reached on their inference and metrics ports, and
    on nothing else: by anybody, or by whom the administrator names."""
    kinds = [names.MODEL_SERVER, names.COMPARATOR]
    selector = {
        "matchLabels": {names.MANAGED_BY: names.MANAGER},
        "matchExpressions": [{"key": names.COMPONENT, "operator": "In", "values": kinds}],
    }
    inference, metrics = _ports(names.HTTP_PORT, names.GRPC_PORT), _ports(names.METRICS_PORT)
    if not reach.inference and not reach.metrics:
        rules: list[dict[str, Any]] = [{"ports": inference + metrics}]
    else:
        operator = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": reach.operator}},
            "podSelector": {"matchLabels": dict(names.OPERATOR_LABELS)},
        }
        # A comparator asks the pods that it compares.
        beside = {"podSelector": {"matchLabels": {names.COMPONENT: names.COMPARATOR}}}
        rules = [
            {**reach.peers(reach.inference, operator, beside), "ports": inference},
            {**reach.peers(reach.metrics, operator), "ports": metrics},
        ]
    return _policy(namespace, names.NETWORK_POLICY, names.common_labels(), selector, rules)


def build_shared(namespace: str, reach: Reach = ANYBODY) -> list[dict[str, Any]]:
    return [build_service_account(namespace), build_network_policy(namespace, reach)]


def build_shared_of_builds(namespace: str) -> list[dict[str, Any]]:
    """The same for the pods of ModelBuilds, which only tell their progress."""
    labels = names.shared_build_labels()
    return [
        _account(namespace, names.BUILD_ACCOUNT, labels),
        _policy(
            namespace,
            names.BUILD_POLICY,
            labels,
            {"matchLabels": labels},
            [{"ports": _ports(names.PROGRESS_PORT)}],
        ),
    ]


def _account(namespace: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    return stamped(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "automountServiceAccountToken": False,
        }
    )


def _ports(*ports: int) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": "TCP"} for port in ports]


def _policy(
    namespace: str, name: str, labels: dict[str, str], selector: dict[str, Any], rules: list[dict[str, Any]]
) -> dict[str, Any]:
    return stamped(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "podSelector": selector,
                "policyTypes": ["Ingress"],
                "ingress": rules,
            },
        }
    )
