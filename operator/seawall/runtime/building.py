"""One look at one ModelBuild: observe, decide, act, as for a service."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from seawall.decide.build_plan import plan_build
from seawall.decide.types import Key, Manifest, ObjectRef, ObservedBuild, Plan
from seawall.runtime.kinds import BUILD
from seawall.runtime.observe_build import BuildObserver
from seawall.runtime.slots import BuildSlots
from seawall.runtime.statuses import Statuses
from seawall.runtime.store import Store
from seawall.runtime.telemetry import Telemetry
from seawall.runtime.writer import Writer

logger = logging.getLogger(__name__)


class BuildReconciler:
    def __init__(
        self,
        *,
        store: Store,
        observer: BuildObserver,
        slots: BuildSlots,
        telemetry: Telemetry,
        wake: Callable[[Key], None],
    ) -> None:
        self._store = store
        self._observer = observer
        self._slots = slots
        self._telemetry = telemetry
        self._wake = wake

    async def look(self, key: Key, writer: Writer, statuses: Statuses) -> float | None:
        build = self._store.build(key)
        if build is None or build["metadata"].get("deletionTimestamp"):
            self._forget(key, writer, statuses)
            return None
        observed = await self._observer.stored(key, build)
        decided = self._plan(key, observed)
        if decided.needs_live_read:
            live = await self._observer.live(key, observed)
            if live is None:
                return None
            observed, decided = live, self._plan(key, live)
        return await self._act(key, observed, decided, writer, statuses)

    async def _act(
        self, key: Key, observed: ObservedBuild, decided: Plan, writer: Writer, statuses: Statuses
    ) -> float | None:
        sent, problems = await writer.apply(observed.build, decided.apply)
        if sent:
            logger.info("applied %s", ", ".join(str(ObjectRef.of(manifest)) for manifest in sent))
        if problems:
            for problem in problems:
                logger.warning("%s: %s: %s", problem.ref, problem.reason, problem.message)
            decided = self._plan(key, replace(observed, write_problems=problems))
        else:
            await writer.delete(decided.delete)
            if any(ref.kind == BUILD.kind for ref in decided.delete):
                self._forget(key, writer, statuses)  # the watch tells nothing of what we have deleted
                return None
        if await statuses.write(key, observed.build, decided.status):
            for service in self._store.uses.services(key.namespace, key.name):
                self._wake(service)
            await statuses.record(observed.build, decided.events)
        return decided.requeue_after

    def _plan(self, key: Key, observed: ObservedBuild) -> Plan:
        """Asking for a slot and taking it is one step: nothing is awaited in between."""
        free = self._slots.free_for(key)
        decided = plan_build(replace(observed, slot=free))
        status = decided.status or observed.build.get("status") or {}
        phase = _phase(status)
        waits = not free and not decided.holds_build_slot and phase == "Pending"
        self._slots.note(key, holds=decided.holds_build_slot, waits=waits)
        self._telemetry.build(key, phase, used="unusedSince" not in status)
        return decided

    def _forget(self, key: Key, writer: Writer, statuses: Statuses) -> None:
        """The build is gone or going; its Job goes with it, by garbage collection."""
        self._slots.note(key, holds=False)
        self._telemetry.forget_build(key)
        statuses.forget(key)
        writer.forget(key)
        if self._store.left_over(key.namespace):
            self._wake(Key(key.namespace, ""))


def _phase(status: Manifest) -> str:
    return str(status.get("phase", "Pending"))
