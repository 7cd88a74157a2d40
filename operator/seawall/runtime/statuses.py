"""Writes statuses and Events: one writer each, and nothing that changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from seawall.decide.types import EventNote, Key, Manifest, ObjectRef
from seawall.ports import ApiRejected, ApiUnavailable, Cluster
from seawall.runtime.kinds import BY_NAME
from seawall.runtime.store import Store

logger = logging.getLogger(__name__)


class Statuses:
    def __init__(self, cluster: Cluster, store: Store, wake: Callable[[Key], None]) -> None:
        self._cluster = cluster
        self._store = store
        self._wake = wake
        self._echoes: dict[Key, tuple[Manifest, Manifest]] = {}
        """what was sent last, and how the server spelt it, where that differs"""

    async def write(self, key: Key, live: Manifest, status: Manifest | None) -> bool:
        """Whether something was sent."""
        current = live.get("status") or {}
        if status is None or status == current or self._echoes.get(key) == (status, current):
            return False
        kind = BY_NAME[key.kind]
        ref = replace(ObjectRef.of(live), uid=live["metadata"]["uid"])
        self._store.begin_write(kind, key.namespace, key.name)
        result = None
        try:
            result = await self._cluster.apply_status(ref, status)
        except ApiRejected as refused:
            logger.error("the API server refuses the status: %s", refused.message)
        finally:
            if self._store.end_write(kind, key.namespace, key.name, result):
                self._wake(key)
        written = (result or {}).get("status") or {}
        if result is not None and written != status:
            self._echoes[key] = (status, written)
        else:
            self._echoes.pop(key, None)
        return True

    async def record(self, regarding: Manifest, notes: Sequence[EventNote]) -> None:
        for note in notes:
            try:
                await self._cluster.record(regarding, note)
            except (ApiRejected, ApiUnavailable) as trouble:
                logger.warning("an Event was not recorded: %s", trouble)

    def forget(self, key: Key) -> None:
        self._echoes.pop(key, None)
