"""Everything that a newly applied InferenceService becomes, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from seawall.api.v1alpha1 import AcceleratorClass, InferenceService, InferenceServiceSpec
from seawall.decide.actuator import bounds_of, choose, fixed_count, requested
from seawall.decide.rollout_plan import routed
from seawall.decide.types import Capabilities
from seawall.decide.watchers import autoscaler, monitors
from seawall.desired.deployment import build_deployment
from seawall.desired.disruption import build_disruption_budget
from seawall.desired.inputs import Platform, revision_inputs
from seawall.desired.modelbuild import build_model_build, build_spec
from seawall.desired.names import Owner
from seawall.desired.routes import build_grpc_route, build_http_route
from seawall.desired.service import build_candidate_service, build_headless_service, build_service
from seawall.desired.shared import build_shared

UID = "00000000-0000-0000-0000-000000000000"
"""Stands for the uid that the API server will give."""


def render(
    service_raw: Mapping[str, Any],
    accelerators: Mapping[str, AcceleratorClass],
    platform: Platform,
    capabilities: Capabilities,
) -> list[dict[str, Any]]:
    """The namespace's shared objects, then the service's own, in the order in which they are applied; of a
    service whose model has to be built first, its ModelBuild alone: the rest depends on what that makes.

    The Deployment has spec.replicas where the spec says a number, and none where the count follows the load.
    The contents of referenced Secrets and ConfigMaps are unknown here and count as absent from the hash.
    Raises KeyError for an unknown AcceleratorClass, ValueError and PodTemplateError as the builders do.
    """
    service = InferenceService.model_validate(service_raw)
    spec = service.spec
    accelerator = accelerators[spec.accelerator.class_name]
    owner = Owner(
        name=service.metadata["name"],
        namespace=service.metadata.get("namespace") or "default",
        uid=service.metadata.get("uid") or UID,
    )
    needed = build_spec(spec, accelerator.name, accelerator.spec, platform.pipeline_version)
    if needed is not None:
        return [build_model_build(owner.namespace, needed)]
    inputs = revision_inputs(spec, accelerator.name, accelerator.spec, platform, {})
    actuator = choose(spec, capabilities, None, datetime.now(UTC))
    deployment = build_deployment(owner, inputs)
    count = bounds_of(spec, actuator.mode).min_replicas
    if not actuator.scaled:
        count = fixed_count(spec)
        deployment = {**deployment, "spec": {"replicas": count, **deployment["spec"]}}
    scaler = autoscaler(owner, inputs.revision, spec, actuator, capabilities, service.metadata)
    return [
        *build_shared(owner.namespace, platform.reach),
        deployment,
        build_service(owner, inputs.revision),
        build_headless_service(owner, inputs.revision),
        *_routes(owner, spec, inputs.revision),
        build_disruption_budget(owner, count),
        *([scaler] if scaler is not None else []),
        *monitors(owner, spec, capabilities, platform.runbook),
    ]


def _routes(owner: Owner, spec: InferenceServiceSpec, revision: str) -> list[dict[str, Any]]:
    """Before any rollout: all of the traffic goes to what serves."""
    made = [build_candidate_service(owner, revision)] if routed(spec) else []
    if spec.routing is not None:
        made.append(build_http_route(owner, spec.routing, 0))
        if spec.routing.grpc_hostnames:
            made.append(build_grpc_route(owner, spec.routing, 0))
    return made


def assumed(spec: InferenceServiceSpec, given: Capabilities, prometheus_url: str) -> Capabilities:
    """Of a cluster that nobody can ask: what is given, and whatever a mode needs that the spec names."""
    asked = requested(spec)
    keda = given.keda or asked == "KEDA"
    return Capabilities(
        keda=keda,
        prometheus_operator=given.prometheus_operator,
        metrics_api="Ours" if asked == "HPA" else given.metrics_api,
        prometheus_url=prometheus_url if keda else "",
    )
