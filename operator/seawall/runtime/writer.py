"""The write phase for children: sends what differs, nothing else, and never into somebody else's object.

An object is forced only when it is known to be ours. A new name is applied unforced: when it turns out to be
taken, that is a problem to be told in the status, and what the attempt has merged in is taken out again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from seawall.decide.types import Key, Manifest, ObjectRef, Scale, WriteProblem
from seawall.desired.canonical import covers
from seawall.desired.names import APPLIED_ANNOTATION, MANAGED_BY, MANAGER, SERVICE_LABEL
from seawall.ports import ApiConflict, ApiRejected, ApiUnavailable, Cluster
from seawall.runtime.kinds import (
    AUTOSCALERS,
    BY_NAME,
    DEPLOYMENT,
    K8S_SERVICE,
    MONITORS,
    SHARED,
    UNOWNED,
    Kind,
    labels_of,
)
from seawall.runtime.reading import ownership
from seawall.runtime.store import Store
from seawall.runtime.uses import Place

logger = logging.getLogger(__name__)
MESSAGE_LIMIT = 400


class Writer:
    def __init__(self, cluster: Cluster, store: Store, look_again: Callable[[], None]) -> None:
        """`look_again`: somebody else wrote to an object of the current service at the same time."""
        self._cluster = cluster
        self._store = store
        self._look_again = look_again
        self._answers: dict[Place, tuple[str, str]] = {}
        """of what was applied last: its digest, and that of the fields which we own since"""
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def namespace_lock(self, namespace: str) -> asyncio.Lock:
        """Held while a namespace's shared objects are made or removed."""
        return self._locks[namespace]

    async def apply(
        self, service: Manifest, manifests: Sequence[Manifest]
    ) -> tuple[list[Manifest], list[WriteProblem]]:
        """Shared objects first, then the independent ones at once, then the Services, and what watches over
        a Deployment last; returns what was tried.

        Stops at the first group with a problem: traffic must not move to what could not be written.
        """
        groups: list[list[Manifest]] = [[], [], [], []]
        for manifest in manifests:
            groups[_turn(BY_NAME[manifest["kind"]])].append(manifest)
        sent, problems = await self._shared(service, groups[0])
        for group in groups[1:]:
            if not problems:
                outdated = [m for m in group if not self._stands(m, service)]
                problems = await together([self._one(service, m) for m in outdated])
                sent += outdated
        return sent, problems

    async def scale(
        self, service: Manifest, scales: Sequence[Scale]
    ) -> tuple[list[Scale], list[WriteProblem]]:
        """Counts that differ from the live ones; returns what was tried. Its Deployment may have gone."""
        due = [scale for scale in scales if self._differs(scale, service)]
        return due, await together([self._count(scale.ref, scale.replicas, force=True) for scale in due])

    def all_scaled(self, service: Manifest, scales: Sequence[Scale]) -> bool:
        return not any(self._differs(scale, service) for scale in scales)

    def _differs(self, scale: Scale, service: Manifest) -> bool:
        live = self._store.get(DEPLOYMENT, scale.ref.namespace, scale.ref.name)
        if live is None or live["metadata"].get("deletionTimestamp") or not is_ours(live, service):
            return False
        return bool(live["spec"].get("replicas", 1) != scale.replicas)

    async def _count(self, ref: ObjectRef, replicas: int, *, force: bool) -> WriteProblem | None:
        live = self._store.get(DEPLOYMENT, ref.namespace, ref.name)
        if live is None:
            return None
        self._store.begin_write(DEPLOYMENT, ref.namespace, ref.name)
        result = None
        try:
            result = await self._cluster.scale(ObjectRef.of(live), replicas, force=force)
        except ApiRejected as refused:
            return WriteProblem(ref, "Rejected", short(refused.message))
        finally:
            if self._store.end_write(DEPLOYMENT, ref.namespace, ref.name, result):
                self._look_again()
        if result is not None:
            logger.info("scaled %s to %d", ref, replicas)
        return None

    async def delete(self, refs: Sequence[ObjectRef]) -> None:
        await together([self._delete(ref) for ref in refs])

    def forget(self, key: Key) -> None:
        """The service is gone; its children follow."""
        for place in self._store.places(key):
            self._answers.pop(place, None)

    def all_stand(self, service: Manifest, manifests: Sequence[Manifest]) -> bool:
        """Whether the store shows all of these as they shall be."""
        return all(self._stands(manifest, service) for manifest in manifests)

    async def _shared(
        self, service: Manifest, manifests: Sequence[Manifest]
    ) -> tuple[list[Manifest], list[WriteProblem]]:
        if self.all_stand(service, manifests):
            return [], []
        async with self.namespace_lock(service["metadata"]["namespace"]):
            outdated = [m for m in manifests if not self._stands(m, service)]
            return outdated, await together([self._one(service, m) for m in outdated])

    async def _delete(self, ref: ObjectRef) -> None:
        await self._cluster.delete(ref)
        kind = BY_NAME[ref.kind]
        place = (ref.kind, ref.namespace, ref.name)
        self._answers.pop(place, None)
        self._store.forget(kind, ref.namespace, ref.name, ref.uid)
        logger.info("deleted %s", ref)

    def _stands(self, manifest: Manifest, service: Manifest) -> bool:
        """Whether the live object already says all of this. One that is going is left alone."""
        ref = ObjectRef.of(manifest)
        place = (ref.kind, ref.namespace, ref.name)
        kind = BY_NAME[ref.kind]
        standing = self._store.standing(kind, ref.namespace, ref.name)
        if standing is None:
            return False
        applied = _applied(manifest)
        known = self._answers.get(place)
        if known == (applied, standing.ours):
            # Nobody has touched a field of ours since this very manifest was applied, however the server
            # spells what it was sent.
            return True
        live = self._store.get(kind, ref.namespace, ref.name)
        if live is None or not is_ours(live, service):
            return False
        if live["metadata"].get("deletionTimestamp"):
            return True
        # After a start there is no answer to compare with. Where others have written too, only the server
        # can tell whether fields of ours were meant, and one apply asks it.
        return known is None and _applied(live) == applied and standing.alone and covers(live, manifest)

    async def _one(self, service: Manifest, manifest: Manifest) -> WriteProblem | None:
        ref = ObjectRef.of(manifest)
        try:
            taken = not await self._write(service, manifest, ref)
        except ApiRejected as refused:
            return WriteProblem(ref, "Rejected", short(refused.message))
        if taken:
            message = f"{ref} exists in namespace {ref.namespace} and belongs to somebody else; rename one"
            return WriteProblem(ref, "NameConflict", message)
        return None

    async def _write(self, service: Manifest, manifest: Manifest, ref: ObjectRef) -> bool:
        """False when the name belongs to somebody else."""
        kind = BY_NAME[ref.kind]
        live = self._store.get(kind, ref.namespace, ref.name)
        if live is not None and is_predecessors(live, service):
            await self._delete(ObjectRef.of(live))
            live = None
        if live is None and (kind in UNOWNED or not _is_new(service)):
            # Ours may be here without the label that we watch by; with a new service that cannot be.
            live = await self._cluster.get(ref)
        if live is not None:
            if not is_ours(live, service):
                return False
            await self._hand_over_count(kind, manifest, ref, live)
            await self._send(kind, manifest, force=True)
            return True
        return await self._create(service, kind, manifest, ref)

    async def _hand_over_count(self, kind: Kind, manifest: Manifest, ref: ObjectRef, live: Manifest) -> None:
        """An earlier operator applied the count together with the rest. Left out of the next apply, the
        server would take it away and put 1 in its place, unless somebody else owns it, too."""
        standing = self._store.standing(kind, ref.namespace, ref.name)
        owned = standing.counts if standing is not None else ownership(live).counts
        if not owned or "replicas" in manifest["spec"]:
            return
        count = live["spec"].get("replicas", 1)
        try:
            # Unforced: with the very value that is there both own it, and with another the server refuses.
            await self._cluster.scale(ObjectRef.of(live), count, force=False)
        except ApiConflict as changed:
            raise ApiUnavailable(f"the count of {ref} has just changed: {changed}") from changed
        logger.info("took over the count of %s: %d", ref, count)

    async def _create(self, service: Manifest, kind: Kind, manifest: Manifest, ref: ObjectRef) -> bool:
        try:
            made = await self._send(kind, manifest, force=False)
        except ApiConflict:
            live = await self._cluster.get(ref)
            if live is not None and not is_ours(live, service):
                return False
            if live is not None:
                await self._hand_over_count(kind, manifest, ref, live)
            await self._send(kind, manifest, force=True)
            return True
        if ownership(made).alone:
            return True
        await withdraw(self._cluster, ref)
        self._store.forget(kind, ref.namespace, ref.name, None)
        return False

    async def _send(self, kind: Kind, manifest: Manifest, *, force: bool) -> Manifest:
        meta = manifest["metadata"]
        place = (kind.kind, meta.get("namespace", ""), meta["name"])
        self._store.begin_write(kind, place[1], place[2])
        result = None
        try:
            result = await self._cluster.apply(manifest, force=force)
        finally:
            if self._store.end_write(kind, place[1], place[2], result):
                self._look_again()
        self._answers[place] = (_applied(manifest), ownership(result).ours)
        logger.debug("applied %s %s", kind.kind, meta["name"])
        return result


def _turn(kind: Kind) -> int:
    if kind in SHARED:
        return 0
    if kind is K8S_SERVICE:
        return 2
    return 3 if kind in (*AUTOSCALERS, *MONITORS) else 1


async def together(steps: Sequence[Coroutine[Any, Any, WriteProblem | None]]) -> list[WriteProblem]:
    """All of them at once; every one ends before the first error is raised."""
    if len(steps) == 1:
        results: Sequence[Any] = [await steps[0]]
    else:
        results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if result is not None]


def controller_of(live: Mapping[str, Any]) -> Mapping[str, Any] | None:
    owners = live["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def is_ours(live: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    """Controlled by this very service, or shared and labelled so, or left behind by `--cascade=orphan`."""
    controller = controller_of(live)
    if controller is not None:
        return bool(controller.get("uid") == service["metadata"]["uid"])
    labels = labels_of(live)
    if labels.get(MANAGED_BY) != MANAGER:
        return False
    return BY_NAME[live["kind"]] in UNOWNED or labels.get(SERVICE_LABEL) == service["metadata"]["name"]


def is_predecessors(live: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    """Controlled by a deleted service of the same name: garbage collection has not come by yet."""
    controller = controller_of(live)
    meta = service["metadata"]
    return (
        controller is not None
        and controller.get("kind") == service["kind"]
        and controller.get("name") == meta["name"]
        and controller.get("uid") != meta["uid"]
    )


def _is_new(service: Mapping[str, Any]) -> bool:
    status = service.get("status") or {}
    return not (status.get("rollout") or status.get("phase"))


def _applied(manifest: Mapping[str, Any]) -> str:
    return str((manifest["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION, ""))


async def withdraw(cluster: Cluster, ref: ObjectRef) -> None:
    """Of an object that was somebody else's when ours was applied: applying nothing owns nothing."""
    logger.warning("%s was somebody else's: taking our fields out again", ref)
    bare = {"name": ref.name, "namespace": ref.namespace}
    await cluster.apply({"apiVersion": ref.api_version, "kind": ref.kind, "metadata": bare}, force=False)


def short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_LIMIT else f"{line[: MESSAGE_LIMIT - 1]}…"
