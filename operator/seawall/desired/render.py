"""Everything that a newly applied InferenceService becomes, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seawall.api.v1alpha1 import AcceleratorClass, InferenceService
from seawall.desired.deployment import build_deployment
from seawall.desired.disruption import build_disruption_budget
from seawall.desired.inputs import Platform, revision_inputs
from seawall.desired.modelbuild import build_model_build, build_spec
from seawall.desired.names import Owner
from seawall.desired.service import build_headless_service, build_service
from seawall.desired.shared import build_shared

UID = "00000000-0000-0000-0000-000000000000"
"""Stands for the uid that the API server will give."""


def render(
    service_raw: Mapping[str, Any],
    accelerators: Mapping[str, AcceleratorClass],
    platform: Platform,
) -> list[dict[str, Any]]:
    """The namespace's shared objects, then the service's own, in the order in which they are applied; of a
    service whose model has to be built first, its ModelBuild alone: the rest depends on what that makes.

    The contents of referenced Secrets and ConfigMaps are unknown here and count as absent from the hash.
    Raises KeyError for an unknown AcceleratorClass, ValueError and PodTemplateError as the builders do.
    """
    service = InferenceService.model_validate(service_raw)
    accelerator = accelerators[service.spec.accelerator.class_name]
    owner = Owner(
        name=service.metadata["name"],
        namespace=service.metadata.get("namespace") or "default",
        uid=service.metadata.get("uid") or UID,
    )
    needed = build_spec(service.spec, accelerator.name, accelerator.spec, platform.pipeline_version)
    if needed is not None:
        return [build_model_build(owner.namespace, needed)]
    inputs = revision_inputs(service.spec, accelerator.name, accelerator.spec, platform, {})
    scaling = service.spec.scaling
    replicas = scaling.replicas if scaling and scaling.replicas is not None else 1
    return [
        *build_shared(owner.namespace),
        build_deployment(owner, inputs, replicas),
        build_service(owner, inputs.revision),
        build_headless_service(owner, inputs.revision),
        build_disruption_budget(owner, replicas),
    ]
