"""No write without the lease: the cluster, seen through a leader who looks at the clock before each write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seawall.decide.types import EventNote, Manifest, ObjectRef
from seawall.ports import Cluster


class LeaseLost(Exception):
    """The lease may have run out: somebody else may be writing."""


class Fenced:
    """A Cluster whose writes are refused as soon as the lease could belong to somebody else."""

    def __init__(self, cluster: Cluster, may_write: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._may_write = may_write

    def _check(self) -> None:
        if not self._may_write():
            raise LeaseLost("the lease could have run out, so nothing is written")

    async def get(self, ref: ObjectRef) -> Manifest | None:
        return await self._cluster.get(ref)

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> tuple[Sequence[Manifest], str]:
        return await self._cluster.list(api_version, kind, namespace, label_selector)

    async def apply(self, manifest: Mapping[str, Any], *, force: bool) -> Manifest:
        self._check()
        return await self._cluster.apply(manifest, force=force)

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Manifest | None:
        self._check()
        return await self._cluster.apply_status(ref, status)

    async def scale(self, ref: ObjectRef, replicas: int, *, force: bool) -> Manifest | None:
        self._check()
        return await self._cluster.scale(ref, replicas, force=force)

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Manifest | None:
        self._check()
        return await self._cluster.patch(ref, operations)

    async def delete(self, ref: ObjectRef) -> None:
        self._check()
        await self._cluster.delete(ref)

    async def record(self, regarding: Mapping[str, Any], note: EventNote) -> None:
        self._check()
        await self._cluster.record(regarding, note)
