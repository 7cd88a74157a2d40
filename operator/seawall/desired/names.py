"""Names, labels and owner references that every object of Seawall carries; the one place that spells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GROUP = "serving.seawall.dev"
API_VERSION = f"{GROUP}/v1alpha1"
KIND = "InferenceService"
BUILD_KIND = "ModelBuild"

MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
MANAGER = "seawall"
REPLICAS_MANAGER = "seawall-replicas"
"""Field manager of spec.replicas alone: it never sends an apply without that field, so no change of mode
resets a count."""
ROUTES_MANAGER = "seawall-routes"
"""Field manager of the weights in routes that belong to somebody else."""
MODEL_SERVER = "model-server"
MODEL_BUILD = "model-build"
COMPARATOR = "comparator"
OPERATOR_LABELS = {"app.kubernetes.io/name": "seawall", COMPONENT: "operator"}
"""Of the operator's own pods, whichever release they are of."""
SERVICE_LABEL = f"{GROUP}/inferenceservice"
REVISION_LABEL = f"{GROUP}/revision"
BUILD_LABEL = f"{GROUP}/modelbuild"
COMPARES_LABEL = f"{GROUP}/compares"
"""Of a comparator's pod: the service that it works for. It has no label of the service's own pods, and so
counts among them nowhere."""

APPLIED_ANNOTATION = f"{GROUP}/applied"
INPUTS_ANNOTATION = f"{GROUP}/revision-inputs"
STABLE_ANNOTATION = f"{GROUP}/stable-revision"
"""On a Service that selects the pods of two revisions: the one that serves anyway."""
COMMAND_ANNOTATION = f"{GROUP}/rollout-command"
"""What a person says to a rollout."""

TRITON_CONTAINER = "triton"
FETCH_CONTAINER = "fetch"
HTTP_PORT = 8000
GRPC_PORT = 8001
METRICS_PORT = 8002
PROGRESS_PORT = 8085

SERVICE_ACCOUNT = "seawall-model"
NETWORK_POLICY = "seawall-models"
BUILD_ACCOUNT = "seawall-build"
BUILD_POLICY = "seawall-builds"
WITHHELD = "withheld"
"""Selector value that matches no revision: a Service that must send nobody anywhere."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The InferenceService, or the ModelBuild, that a child belongs to."""

    name: str
    namespace: str
    uid: str
    kind: str = KIND

    def reference(self) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def common_labels() -> dict[str, str]:
    return {MANAGED_BY: MANAGER, COMPONENT: MODEL_SERVER}


def shared_build_labels() -> dict[str, str]:
    return {MANAGED_BY: MANAGER, COMPONENT: MODEL_BUILD}


def build_labels(build: str) -> dict[str, str]:
    return {**shared_build_labels(), BUILD_LABEL: build}


def child_labels(owner: Owner) -> dict[str, str]:
    return {**common_labels(), SERVICE_LABEL: owner.name}


def revision_labels(owner: Owner, revision: str) -> dict[str, str]:
    return {**child_labels(owner), REVISION_LABEL: revision}


def service_selector(owner: Owner) -> dict[str, str]:
    """All pods of a service, of whatever revision."""
    return {SERVICE_LABEL: owner.name}


def revision_selector(owner: Owner, revision: str) -> dict[str, str]:
    return {SERVICE_LABEL: owner.name, REVISION_LABEL: revision}


def label_selector(labels: dict[str, str]) -> str:
    """As the API's query parameter and the scale subresource spell it."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def deployment_name(service: str, revision: str) -> str:
    return f"{service}-{revision}"


def headless_name(service: str) -> str:
    return f"{service}-headless"


def candidate_name(service: str) -> str:
    """The longest of the names that are made of a service's: 63 characters are a Service's limit."""
    return f"{service}-candidate"


def grpc_route_name(service: str) -> str:
    """Not as the HTTPRoute: Contour keeps statuses by name alone, and one of the two would get none."""
    return f"{service}-grpc"


def shadow_name(service: str) -> str:
    """The comparator of a shadow step."""
    return f"{service}-shadow"


def comparator_labels(owner: Owner) -> dict[str, str]:
    """Of its pods."""
    return {MANAGED_BY: MANAGER, COMPONENT: COMPARATOR, COMPARES_LABEL: owner.name}


def metadata(owner: Owner, name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels,
        "ownerReferences": [owner.reference()],
    }
