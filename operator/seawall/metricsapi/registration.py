"""Whether the API server sends the group's requests here, and with which authority it checks us.

The APIServices are the chart's: they go when the release is removed, since one that leads nowhere breaks the
discovery of the whole cluster. The operator adds the one field that nobody can know beforehand, and only
where the object names its own Service; what names another belongs to another adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from seawall.decide.types import Manifest, ObjectRef
from seawall.metricsapi.answers import GROUP, VERSIONS
from seawall.metricsapi.certificates import encoded
from seawall.ports import Cluster

API_SERVICES = tuple(
    ObjectRef("apiregistration.k8s.io/v1", "APIService", "", f"{version}.{GROUP}") for version in VERSIONS
)

Owner = Literal["Ours", "Others", "Absent"]


@dataclass(frozen=True, slots=True)
class Standing:
    owner: Owner
    message: str = ""
    passing: bool = False
    """it is ours and does not answer at the moment, as during a start"""


class Registration:
    def __init__(self, cluster: Cluster, namespace: str, service: str) -> None:
        self._cluster = cluster
        self._place = (namespace, service)

    async def look(self, bundle: str, *, write: bool) -> Standing:
        """How it stands, after the authority was filled in where that may be done and was missing."""
        live = {ref: await self._cluster.get(ref) for ref in API_SERVICES}
        found = {ref: manifest for ref, manifest in live.items() if manifest is not None}
        if write and bundle:
            for ref, manifest in found.items():
                if self._is_ours(manifest) and _bundle(manifest) != encoded(bundle):
                    found[ref] = await self._fill(ref, manifest, bundle)
        return self._judge(found, bundle)

    async def _fill(self, ref: ObjectRef, live: Manifest, bundle: str) -> Manifest:
        # With the version that was read: an object that changed hands in between is refused.
        meta = {"name": ref.name, "resourceVersion": live["metadata"]["resourceVersion"]}
        wanted = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta}
        return await self._cluster.apply(wanted | {"spec": {"caBundle": encoded(bundle)}}, force=True)

    def _is_ours(self, manifest: Mapping[str, Any]) -> bool:
        service = manifest["spec"].get("service") or {}
        return (service.get("namespace"), service.get("name")) == self._place

    def _judge(self, found: Mapping[ObjectRef, Manifest], bundle: str) -> Standing:
        if not found:
            return Standing("Absent", f"no APIService registers {GROUP}")
        for ref, manifest in found.items():
            if not self._is_ours(manifest):
                return Standing("Others", f"APIService {ref.name} belongs to {_owner(manifest)}")
        for ref, manifest in found.items():
            if not bundle or _bundle(manifest) != encoded(bundle):
                return Standing("Absent", f"APIService {ref.name} lacks our certificate authority", True)
            if problem := _unavailable(manifest):
                return Standing("Absent", f"APIService {ref.name} is not available: {problem}", True)
        return Standing("Ours")


def _owner(manifest: Mapping[str, Any]) -> str:
    service = manifest["spec"].get("service")
    return f"Service {service['namespace']}/{service['name']}" if service else "the API server itself"


def _bundle(manifest: Mapping[str, Any]) -> str:
    return str(manifest["spec"].get("caBundle") or "")


def _unavailable(manifest: Mapping[str, Any]) -> str:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    said: Mapping[str, Any] = next((c for c in conditions if c.get("type") == "Available"), {})
    if said.get("status") == "True":
        return ""
    return str(said.get("message") or said.get("reason") or "the API server has not tried it yet")
