"""The PodDisruptionBudget: a drain takes few pods of a service at a time, and is never held for ever."""

from __future__ import annotations

from typing import Any

from seawall.desired import names
from seawall.desired.canonical import stamped
from seawall.desired.names import Owner


def build_disruption_budget(owner: Owner, replicas: int) -> dict[str, Any]:
    """One pod at a time, or a tenth of many.

    maxUnavailable rather than minAvailable: with one replica the latter would block every drain.

    Pods that are not ready anyway may always be evicted, so a broken revision blocks no drain either.
    """
    return stamped(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": names.metadata(owner, owner.name, names.child_labels(owner)),
            "spec": {
                "maxUnavailable": max(1, replicas // 10),
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": names.service_selector(owner)},
            },
        }
    )
