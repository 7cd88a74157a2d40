"""How many builds run at once, over all namespaces: each takes a core and gigabytes for minutes to hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seawall.decide.types import Key


class BuildSlots:
    def __init__(self, at_once: int, wake: Callable[[Key], None]) -> None:
        self._at_once = at_once
        self._wake = wake
        self.running: set[Key] = set()
        self._waiting: dict[Key, None] = {}

    def restore(self, running: Iterable[Key]) -> None:
        """After a start: those whose Job exists."""
        self.running.update(running)

    def free_for(self, key: Key) -> bool:
        return key in self.running or len(self.running) < self._at_once

    def note(self, key: Key, *, holds: bool, waits: bool = False) -> None:
        """What the plan of this build says; whoever has waited longest is told of a free place."""
        freed = key in self.running and not holds
        if holds:
            self.running.add(key)
        else:
            self.running.discard(key)
        if waits:
            self._waiting.setdefault(key)
        else:
            self._waiting.pop(key, None)
        if freed:
            for waiting in list(self._waiting)[: max(0, self._at_once - len(self.running))]:
                self._wake(waiting)
