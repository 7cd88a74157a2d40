"""The operator's Lease, with optimistic locking: an update carries the version that it was read at."""

from __future__ import annotations

from typing import Any

from seawall.adapters.kube import KubeCluster
from seawall.adapters.problems import problem
from seawall.decide.types import Manifest, ObjectRef
from seawall.ports import ApiConflict

API_VERSION = "coordination.k8s.io/v1"


class KubeLease:
    """Implements seawall.runtime.leader.LeaseApi."""

    def __init__(self, cluster: KubeCluster, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._ref = ObjectRef(API_VERSION, "Lease", namespace, name)

    async def read(self) -> Manifest | None:
        return await self._cluster.get(self._ref)

    async def write(self, spec: dict[str, Any], current: Manifest | None) -> Manifest:
        ref = self._ref
        meta: dict[str, Any] = {"name": ref.name, "namespace": ref.namespace}
        if current is not None:
            meta["resourceVersion"] = current["metadata"]["resourceVersion"]
        body = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta, "spec": spec}
        if current is None:
            answer = await self._cluster.call(
                "POST", "create", ref.api_version, ref.kind, ref.namespace, body=body
            )
        else:
            answer = await self._cluster.call(
                "PUT", "update", ref.api_version, ref.kind, ref.namespace, ref.name, body=body
            )
        if answer.status == 409:
            raise ApiConflict(answer.message)
        if not answer.ok:
            raise problem(answer, f"write the Lease {ref.namespace}/{ref.name}")
        return answer.data
