"""KEDA's ScaledObject of a revision: the number that a HorizontalPodAutoscaler gets, by way of Prometheus.

KEDA makes an autoscaler of its own from it. An empty answer must never read as zero load, and a count must
never fall because nobody could be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seawall.desired import names
from seawall.desired.canonical import stamped
from seawall.desired.hpa import autoscaler_behavior
from seawall.desired.names import Owner

LOAD = "seawall_scaling_load"
PAUSED = "autoscaling.keda.sh/paused"
"""How the annotations begin with which a person halts KEDA: paused, paused-replicas, paused-scale-in, …"""
FAILURES = 3
"""Answers in a row that may be missing, one every 15 s, before the fallback speaks."""


def build_scaled_object(
    owner: Owner,
    revision: str,
    minimum: int,
    maximum: int,
    behavior: Mapping[str, Any] | None,
    prometheus_url: str,
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """`annotations` are the InferenceService's; those that pause KEDA are handed on."""
    name = names.deployment_name(owner.name, revision)
    meta = names.metadata(owner, name, names.revision_labels(owner, revision))
    paused = {key: value for key, value in annotations.items() if key.startswith(PAUSED)}
    return stamped(
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {**meta, "annotations": paused},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicaCount": minimum,
                "maxReplicaCount": maximum,
                "fallback": {
                    "failureThreshold": FAILURES,
                    "replicas": max(1, minimum),
                    "behavior": "currentReplicasIfHigher",
                },
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": autoscaler_behavior(behavior)}},
                "triggers": [_trigger(owner, revision, prometheus_url)],
            },
        }
    )


def load_query(owner: Owner, revision: str) -> str:
    """`max`: while one leader follows another, both may be seen for a moment."""
    labels = f'namespace="{owner.namespace}",inferenceservice="{owner.name}",revision="{revision}"'
    return f"max({LOAD}{{{labels}}})"


def _trigger(owner: Owner, revision: str, prometheus_url: str) -> dict[str, Any]:
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": prometheus_url,
            "query": load_query(owner, revision),
            "threshold": "1",
            # KEDA's own default reads an empty answer as zero, and scales to the minimum.
            "ignoreNullValues": "false",
        },
    }
