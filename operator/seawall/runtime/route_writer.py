"""The write phase for routes: our own are applied whole, in somebody else's a few weights are set.

What was read for this very look is what is written to; routes are in no store.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from seawall.decide.types import Manifest, ObjectRef, Plan, RoutePatch, WriteProblem
from seawall.ports import ApiConflict, ApiRejected, Cluster
from seawall.runtime.reading import ownership
from seawall.runtime.writer import is_ours, is_predecessors, short, together, withdraw

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoutesWritten:
    routes: tuple[Manifest, ...]
    """all that are known, as they are now"""
    tried: bool
    """something was to be written"""
    problems: list[WriteProblem]


class RouteWriter:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def write(self, service: Manifest, routes: Sequence[Manifest], decided: Plan) -> RoutesWritten:
        """`routes`: those that the plan was made on. Each is tried, whatever becomes of the others: traffic
        that is to leave must not wait for a route that is broken."""
        known = {ObjectRef.of({**live, "metadata": _plain(live)}): live for live in routes}
        steps = [
            *(self._own(service, manifest, known) for manifest in decided.routes),
            *(self._weights(patch, known) for patch in decided.route_patches),
            *(self._gone(ref, known) for ref in decided.route_deletions),
        ]
        problems = await together(steps) if steps else []
        return RoutesWritten(tuple(known.values()), bool(steps), problems)

    async def _own(
        self, service: Manifest, manifest: Manifest, known: dict[ObjectRef, Manifest]
    ) -> WriteProblem | None:
        ref = ObjectRef.of(manifest)
        try:
            made = await self._apply(service, manifest, known.get(ref))
        except ApiRejected as refused:
            return WriteProblem(ref, "Rejected", short(refused.message))
        if made is None:
            message = f"{ref} exists in namespace {ref.namespace} and belongs to somebody else; rename one"
            return WriteProblem(ref, "NameConflict", message)
        known[ref] = made
        logger.info("applied %s", ref)
        return None

    async def _apply(self, service: Manifest, manifest: Manifest, live: Manifest | None) -> Manifest | None:
        """None when the name belongs to somebody else."""
        if live is not None and is_predecessors(live, service):
            await self._cluster.delete(ObjectRef.of(live))
            live = None
        if live is None:
            return await self._create(service, manifest)
        return await self._cluster.apply(manifest, force=True) if is_ours(live, service) else None

    async def _create(self, service: Manifest, manifest: Manifest) -> Manifest | None:
        ref = ObjectRef.of(manifest)
        try:
            made = await self._cluster.apply(manifest, force=False)
        except ApiConflict:
            live = await self._cluster.get(ref)
            if live is not None and not is_ours(live, service):
                return None
            return await self._cluster.apply(manifest, force=True)
        if ownership(made).alone:
            return made
        await withdraw(self._cluster, ref)
        return None

    async def _weights(self, patch: RoutePatch, known: dict[ObjectRef, Manifest]) -> WriteProblem | None:
        try:
            live = await self._cluster.patch(patch.ref, patch.operations)
        except ApiRejected as refused:
            return WriteProblem(patch.ref, "Rejected", short(refused.message))
        if live is None:
            known.pop(patch.ref, None)
        else:
            known[patch.ref] = live
            logger.info("set the weights in %s", patch.ref)
        return None

    async def _gone(self, ref: ObjectRef, known: dict[ObjectRef, Manifest]) -> WriteProblem | None:
        try:
            await self._cluster.delete(ref)
        except ApiRejected as refused:
            return WriteProblem(ref, "Rejected", short(refused.message))
        known.pop(ObjectRef(ref.api_version, ref.kind, ref.namespace, ref.name), None)
        logger.info("deleted %s", ref)
        return None


def _plain(live: Manifest) -> Manifest:
    return {key: value for key, value in live["metadata"].items() if key != "uid"}
