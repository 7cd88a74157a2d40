"""Turns for changes that only the platform asks for: a few services at a time, over all services.

A new runtime image of an AcceleratorClass, or a new operator, changes every service's pods. Each service that
follows holds a slot from its first new pod until the new revision serves; a failed one holds it longer, so
that a bad image stops by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from seawall.decide.types import Key, PlatformUpdate

SHARE = 0.02
AT_REST = ("Idle", "Paused", "RolledBack")


class Pacing:
    def __init__(
        self,
        *,
        services: Callable[[], int],
        wake: Callable[[Key], None],
        wake_after: Callable[[Key, float], None],
        clock: Callable[[], float],
        slots: int = 0,
        failure_hold: float = 600.0,
    ) -> None:
        self._services = services
        self._wake = wake
        self._wake_after = wake_after
        self._clock = clock
        self._slots = slots
        self._failure_hold = failure_hold
        self.running: set[Key] = set()
        self._waiting: dict[Key, None] = {}
        self._failed: dict[Key, float] = {}

    @property
    def limit(self) -> int:
        return self._slots or max(1, int(self._services() * SHARE))

    def restore(self, services: Iterable[tuple[Key, Mapping[str, Any]]]) -> None:
        """After a start: who holds a slot stands in the statuses."""
        for key, status in services:
            rollout = status.get("rollout") or {}
            if rollout.get("trigger") == "Platform" and rollout.get("phase") not in AT_REST:
                self.running.add(key)

    def may_start(self, key: Key) -> bool:
        return key in self.running or len(self.running) + self._held() < self.limit

    def note(self, key: Key, update: PlatformUpdate, *, rolled_back: bool = False) -> None:
        """What the plan of this service says about its turn."""
        if update is PlatformUpdate.RUNNING:
            self._waiting.pop(key, None)
            self.running.add(key)
            return
        if key in self.running:
            self.running.discard(key)
            if rolled_back:
                self._failed[key] = self._clock() + self._failure_hold
        if update is PlatformUpdate.WAITING:
            self._waiting.setdefault(key)
            if self._failed and not self.running:
                self._wake_after(key, max(1.0, min(self._failed.values()) - self._clock()))
        else:
            self._waiting.pop(key, None)
        self._next()

    def forget(self, key: Key) -> None:
        """The service is gone."""
        self._failed.pop(key, None)
        self.note(key, PlatformUpdate.NONE)

    def _held(self) -> int:
        now = self._clock()
        self._failed = {key: until for key, until in self._failed.items() if until > now}
        return len(self._failed)

    def _next(self) -> None:
        free = self.limit - len(self.running) - self._held()
        for key in list(self._waiting)[: max(0, free)]:
            self._wake(key)
