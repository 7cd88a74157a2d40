"""One Secret with a serving certificate: the leader makes and renews it, every replica serves it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from seawall.decide.types import Manifest, ObjectRef
from seawall.metricsapi.certificates import Credentials, Due, due, renewed
from seawall.ports import Cluster

logger = logging.getLogger(__name__)


async def _nobody(authority: str) -> None:
    """Who trusts the certificate reads the Secret."""


class Keeper:
    """Of the Secret that is named as the Service whose certificate it holds."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        *,
        trust: Callable[[str], Awaitable[Any]] = _nobody,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`trust` is told of a new authority before a certificate needs it."""
        self._cluster = cluster
        self._secret = ObjectRef("v1", "Secret", namespace, name)
        self._trust = trust
        self._now = now
        self.name = f"{name}.{namespace}.svc"
        self.held: Credentials | None = None

    async def look(self, *, leads: bool) -> Credentials | None:
        """What is to be served, after what was due has been made anew where that may be done."""
        live = await self._cluster.get(self._secret)
        found = Credentials.of(live)
        now = self._now()
        what = due(found, self.name, now)
        if what is not Due.NOTHING and leads:
            self.held = await self._renew(live, found, what, now)
        elif what is not Due.EVERYTHING:  # else what is in memory serves until the leader has made another
            self.held = found
        return self.held

    async def _renew(
        self, live: Manifest | None, held: Credentials | None, what: Due, now: datetime
    ) -> Credentials:
        made = renewed(held, what, self.name, now)
        if what is Due.AUTHORITY:
            await self._trust(made.authority)
        meta = {"name": self._secret.name, "namespace": self._secret.namespace}
        if live is not None:
            meta["resourceVersion"] = live["metadata"]["resourceVersion"]
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": made.data()}
        await self._cluster.apply(secret, force=True)
        logger.info("made anew for %s: %s", self.name, what.name.lower())
        return made
