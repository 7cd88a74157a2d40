"""The kinds that the operator watches or lists, and which of their objects are ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seawall.desired.names import API_VERSION, GROUP, MANAGED_BY, MANAGER

OURS = f"{MANAGED_BY}={MANAGER}"


@dataclass(frozen=True, slots=True)
class Kind:
    api_version: str
    kind: str
    plural: str
    selector: str = OURS
    """which objects are watched; other people's are not even transferred"""
    namespaced: bool = True

    @property
    def group_version(self) -> tuple[str, str]:
        group, _, version = self.api_version.rpartition("/")
        return group, version


SERVICE = Kind(API_VERSION, "InferenceService", "inferenceservices", "")
ACCELERATOR = Kind(API_VERSION, "AcceleratorClass", "acceleratorclasses", "", namespaced=False)
BUILD = Kind(API_VERSION, "ModelBuild", "modelbuilds")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
K8S_SERVICE = Kind("v1", "Service", "services")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
POD = Kind("v1", "Pod", "pods")
JOB = Kind("batch/v1", "Job", "jobs")
HPA = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
PROMETHEUS_RULE = Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", "")
GRPC_ROUTE = Kind("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes", "")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")

CUSTOM = (SERVICE, ACCELERATOR, BUILD)
AUTOSCALERS = (HPA, SCALED_OBJECT)
MONITORS = (POD_MONITOR, PROMETHEUS_RULE)
OPTIONAL = (SCALED_OBJECT, *MONITORS)
"""Not every cluster serves them, and one that does not yet may tomorrow: they are listed, not watched."""
ROUTES = (HTTP_ROUTE, GRPC_ROUTE)
"""Read one by one, at the moment: some are other people's, and what a Gateway says of them counts at once."""
CHILDREN = (DEPLOYMENT, K8S_SERVICE, DISRUPTION_BUDGET, POD, *AUTOSCALERS, *MONITORS)
"""Of a service."""
BUILD_CHILDREN = (JOB, POD)
SHARED = (SERVICE_ACCOUNT, NETWORK_POLICY)
UNOWNED = (*SHARED, BUILD)
"""What several services may have in common."""
WATCHED = (*CUSTOM, *(kind for kind in CHILDREN if kind not in OPTIONAL), JOB, *SHARED)
BY_NAME: Mapping[str, Kind] = {kind.kind: kind for kind in (*WATCHED, *OPTIONAL, *ROUTES)}

CRD_NAMES = tuple(f"{kind.plural}.{GROUP}" for kind in CUSTOM)


def labels_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return manifest["metadata"].get("labels") or {}
