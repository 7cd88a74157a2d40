"""A cluster in memory that keeps every write of the operator, and can make any of them its last."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from seawall.decide.types import EventNote, Manifest, ObjectRef
from seawall.desired.names import REVISION_LABEL, SERVICE_LABEL
from seawall.ports import ApiUnavailable
from support.fakecluster import FakeCluster

Moment = Literal["before", "after", "beside", "refused", "unanswered"]
MOMENTS: tuple[Moment, ...] = ("before", "after", "beside")
"""The last write never reached the server; its answer never came back; it was lost while others that had
been sent together with it arrived."""
FAULTS: tuple[Moment, ...] = ("refused", "unanswered")
"""The same without an end: the operator is told that it did not succeed, which is true or not."""


BOTH = "both"


class Killed(BaseException):
    """The operator is no more: nothing may catch this."""


@dataclass(frozen=True)
class Written:
    verb: str
    kind: str
    name: str
    at: datetime
    said: Any
    """a route's share, a Deployment's count, a Service's revision or BOTH, a status's rollout"""


class WriteLog(FakeCluster):
    def __init__(self, now: datetime) -> None:
        super().__init__()
        self.log: list[Written] = []
        self.now = now
        self.count = 0
        self.last: tuple[int, Moment] | None = None
        self.dead = False
        self.struck = 0
        """times that it came to `last`"""
        self.checks: list[Callable[[], None]] = []
        """after each write"""
        self.raised: Callable[[Manifest, int], None] = lambda route, share: None
        """a route has just been told to give the candidate more, or a Service to select it, too"""

    def skip_versions(self, many: int) -> None:
        """Objects of another log are here now: what is written from now on is newer."""
        self._versions = itertools.count(next(self._versions) + many)

    def live(self, kind: str, name: str) -> Manifest:
        return self.objects[(kind, "ns", name)]

    def of(self, kind: str) -> list[Manifest]:
        return [live for (k, _, _), live in sorted(self.objects.items()) if k == kind]

    async def apply(self, manifest: Mapping[str, Any], *, force: bool) -> Manifest:
        kind, name, act = manifest["kind"], manifest["metadata"]["name"], super().apply
        before = self._share(kind, name)
        selected = self._selected(name) if kind == "Service" else ""

        def said() -> Any:
            if kind == "Service":
                now = _selected(manifest)
                if now == BOTH != selected:
                    self.raised(self.live(kind, name), 0)
                return now
            return self._told(kind, name, before)

        made: Manifest = await self._write("apply", kind, name, lambda: act(manifest, force=force), said)
        return made

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Manifest | None:
        act, before = super().patch, self._share(ref.kind, ref.name)
        made: Manifest | None = await self._write(
            "patch",
            ref.kind,
            ref.name,
            lambda: act(ref, operations),
            lambda: self._told(ref.kind, ref.name, before),
        )
        return made

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Manifest | None:
        act = super().apply_status
        made: Manifest | None = await self._write(
            "status", ref.kind, ref.name, lambda: act(ref, status), lambda: status.get("rollout") or {}
        )
        return made

    async def scale(self, ref: ObjectRef, replicas: int, *, force: bool) -> Manifest | None:
        act = super().scale

        async def scaled() -> Manifest | None:
            before = self.live(ref.kind, ref.name)["spec"]["replicas"]
            made = await act(ref, replicas, force=force)
            if made is None or before == replicas:
                return made
            self.live(ref.kind, ref.name)["metadata"]["generation"] += 1
            return await self.get(ref)

        made: Manifest | None = await self._write("scale", ref.kind, ref.name, scaled, lambda: replicas)
        return made

    async def delete(self, ref: ObjectRef) -> None:
        act = super().delete
        await self._write("delete", ref.kind, ref.name, lambda: act(ref), lambda: None)

    async def record(self, regarding: Mapping[str, Any], note: EventNote) -> None:
        act = super().record
        await self._write("record", "Event", note.reason, lambda: act(regarding, note), lambda: note.message)

    async def _write(
        self, verb: str, kind: str, name: str, act: Callable[[], Awaitable[Any]], said: Callable[[], Any]
    ) -> Any:
        if self.dead:
            raise Killed
        self.count += 1
        moment = self.last[1] if self.last is not None and self.last[0] == self.count else None
        self.struck += moment is not None
        self.dead = moment == "before"
        if moment in ("before", "beside"):
            raise Killed
        if moment == "refused":
            raise ApiUnavailable("503")
        result = await act()
        self.log.append(Written(verb, kind, name, self.now, said()))
        for check in self.checks:
            check()
        if moment == "after":
            self.dead = True
            raise Killed
        if moment == "unanswered":
            raise ApiUnavailable("time-out")
        return result

    def _selected(self, name: str) -> str | None:
        live = self.objects.get(("Service", "ns", name))
        return _selected(live) if live is not None else None

    def _share(self, kind: str, name: str) -> int:
        route = self.objects.get((kind, "ns", name))
        return share_of(route) if route is not None and kind.endswith("Route") else 0

    def _told(self, kind: str, name: str, before: int) -> int:
        now = self._share(kind, name)
        if now > before:
            self.raised(self.live(kind, name), now)
        return now

    # What was written.

    def shares(self, kind: str) -> list[Any]:
        """Every share of the candidate in the routes of this kind, in order, each change once; of Services, what
        they have selected."""
        said = [written.said for written in self.log if written.kind == kind]
        return [share for share, _ in itertools.groupby(said)]

    def recorded(self) -> list[int]:
        """Every weight that the status had, in order."""
        said = [written.said.get("desiredWeight", 0) for written in self.log if written.verb == "status"]
        return [weight for weight, _ in itertools.groupby(said)]

    def story(self) -> list[str]:
        """All but the statuses and Events, in order."""
        return [
            f"{written.verb} {written.kind} {written.name} {written.said}"
            for written in self.log
            if written.verb not in ("status", "record")
        ]


def _selected(service: Mapping[str, Any]) -> str | None:
    selector = service["spec"]["selector"]
    found: str | None = selector.get(REVISION_LABEL, BOTH if SERVICE_LABEL in selector else None)
    return found


def share_of(route: Mapping[str, Any]) -> int:
    """Percent for the candidate's name, of what the first rule sends to the service at all."""
    weights = {ref["name"]: ref.get("weight", 1) for ref in route["spec"]["rules"][0]["backendRefs"]}
    theirs = weights.get("digits-candidate", 0)
    return round(100 * theirs / max(1, weights["digits"] + theirs))
