"""Objects that all services of a namespace share: a thousand services need two, not two thousand.

They have no owner: the last service to go leaves them for the operator to remove.
"""

from __future__ import annotations

from typing import Any

from seawall.desired import names
from seawall.desired.canonical import stamped


def build_service_account(namespace: str) -> dict[str, Any]:
    """An identity without rights or token."""
    return stamped(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": _metadata(namespace, names.SERVICE_ACCOUNT),
            "automountServiceAccountToken": False,
        }
    )


def build_network_policy(namespace: str) -> dict[str, Any]:
    """Model pods can be reached on their inference and metrics ports, from anywhere, and on nothing else."""
    ports = (names.HTTP_PORT, names.GRPC_PORT, names.METRICS_PORT)
    return stamped(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(namespace, names.NETWORK_POLICY),
            "spec": {
                "podSelector": {"matchLabels": names.common_labels()},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"} for port in ports]}],
            },
        }
    )


def build_shared(namespace: str) -> list[dict[str, Any]]:
    return [build_service_account(namespace), build_network_policy(namespace)]


def _metadata(namespace: str, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": names.common_labels()}
