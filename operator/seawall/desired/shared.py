"""Objects that all services of a namespace share, and those that all its builds share: a thousand services
need two, not two thousand.

They have no owner: the last service, or build, to go leaves them for the operator to remove.
"""

from __future__ import annotations

from typing import Any

from seawall.desired import names
from seawall.desired.canonical import stamped


def build_service_account(namespace: str) -> dict[str, Any]:
    """An identity without rights or token."""
    return _account(namespace, names.SERVICE_ACCOUNT, names.common_labels())


def build_network_policy(namespace: str) -> dict[str, Any]:
    """Model pods, and the comparators beside them, can be reached on their inference and metrics ports, from
    anywhere, and on nothing else."""
    ports = (names.HTTP_PORT, names.GRPC_PORT, names.METRICS_PORT)
    kinds = [names.MODEL_SERVER, names.COMPARATOR]
    selector = {
        "matchLabels": {names.MANAGED_BY: names.MANAGER},
        "matchExpressions": [{"key": names.COMPONENT, "operator": "In", "values": kinds}],
    }
    return _policy(namespace, names.NETWORK_POLICY, names.common_labels(), selector, ports)


def build_shared(namespace: str) -> list[dict[str, Any]]:
    return [build_service_account(namespace), build_network_policy(namespace)]


def build_shared_of_builds(namespace: str) -> list[dict[str, Any]]:
    """The same for the pods of ModelBuilds, which only tell their progress."""
    labels = names.shared_build_labels()
    return [
        _account(namespace, names.BUILD_ACCOUNT, labels),
        _policy(namespace, names.BUILD_POLICY, labels, {"matchLabels": labels}, (names.PROGRESS_PORT,)),
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


def _policy(
    namespace: str, name: str, labels: dict[str, str], selector: dict[str, Any], ports: tuple[int, ...]
) -> dict[str, Any]:
    return stamped(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "podSelector": selector,
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"} for port in ports]}],
            },
        }
    )
