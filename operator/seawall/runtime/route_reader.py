"""Reads a service's routes as they are at the moment, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.routes import routes_to_read
from seawall.decide.types import Capabilities, Manifest, ObjectRef
from seawall.ports import ApiRejected, Cluster


@dataclass(frozen=True, slots=True)
class RoutesRead:
    found: Sequence[Manifest] = ()
    problems: Mapping[ObjectRef, str] = field(default_factory=dict)
    """why one could not be read"""


async def read_routes(
    cluster: Cluster, service: Manifest, services: Sequence[Manifest], capabilities: Capabilities
) -> RoutesRead:
    """`services`: the Services of the InferenceService. Raises ApiUnavailable when nobody answers."""
    if not capabilities.gateway_api and not capabilities.grpc_routes:
        return RoutesRead()
    try:
        spec = InferenceServiceSpec.model_validate(service.get("spec") or {})
    except ValidationError:
        return RoutesRead()  # the plan refuses this spec and leaves the routes as they are
    refs = routes_to_read(service, spec, services, capabilities)
    answers = await asyncio.gather(*(_read(cluster, ref) for ref in refs))
    return RoutesRead(
        [answer for answer in answers if isinstance(answer, dict)],
        {ref: answer for ref, answer in zip(refs, answers, strict=True) if isinstance(answer, str)},
    )


async def _read(cluster: Cluster, ref: ObjectRef) -> Manifest | str | None:
    try:
        return await cluster.get(ref)
    except ApiRejected as refused:
        return f"{ref} may not be read: {' '.join(refused.message.split())}"
