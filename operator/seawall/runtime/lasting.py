"""Work that runs beside reconciling and that no surprise may end for good."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from seawall.decide.types import Key, Manifest
from seawall.ports import MetricsFace
from seawall.runtime.store import Store

logger = logging.getLogger(__name__)
RESTART_SECONDS = 5.0


async def lasting(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled."""
    while True:
        try:
            await work()
        except Exception:  # serving and reconciling go on without it
            logger.exception("the %s ended in a surprise", name)
        await asyncio.sleep(RESTART_SECONDS)


async def answering(face: MetricsFace, store: Store, leads: Callable[[], bool]) -> None:
    """custom.metrics.k8s.io, answered from the store by every replica, leader or not."""

    def lookup(namespace: str, name: str) -> Manifest | None:
        return store.service(Key(namespace, name))

    def listing(namespace: str) -> list[Manifest]:
        found = (store.service(key) for key in store.services_in(namespace))
        return [service for service in found if service is not None]

    await lasting("metrics API", lambda: face.run(lookup, leads, listing))
