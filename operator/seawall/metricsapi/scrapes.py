"""/metrics over TLS, for whoever the door lets in. Every replica answers; the leader makes the certificate.

Until there is a certificate nothing listens: a scrape that fails is seen, figures that leak are not.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from seawall.metricsapi.certificates import Credentials
from seawall.metricsapi.door import ADMITTED, PATH, Door
from seawall.metricsapi.keeper import Keeper
from seawall.metricsapi.listener import Listener, server_context
from seawall.ports import ApiConflict, ApiRejected, ApiUnavailable, Cluster

logger = logging.getLogger(__name__)
FIRST_PAUSE = 1.0


class Scrapes:
    """Implements seawall.ports.ScrapeFace."""

    def __init__(
        self,
        cluster: Cluster,
        door: Door,
        namespace: str,
        name: str,
        host: str,
        port: int,
        *,
        interval: float = 60.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`name` is that of the Secret, and with the namespace that of the certificate."""
        self._keeper = Keeper(cluster, namespace, name, now=now)
        self._listener = Listener(host, port, self._respond)
        self._door = door
        self._interval = interval
        self._misses = 0
        self._serving: Credentials | None = None
        self._exposition: Callable[[], bytes] = lambda: b""

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return self._listener.port

    async def run(self, exposition: Callable[[], bytes], leads: Callable[[], bool]) -> None:
        self._exposition = exposition
        try:
            while True:
                await self.look_after(leads())
                await asyncio.sleep(self._pause())
        finally:
            self._serving = None
            await self._listener.close()

    async def look_after(self, leads: bool) -> None:
        """One round: whatever fails is tried again in the next."""
        try:
            held = await self._keeper.look(leads=leads)
            if held is not None and held != self._serving:
                await self._listener.use(server_context(held.certificate, held.key))
                self._serving = held
                logger.info("serving %s on port %d under a new certificate", PATH, self.port)
            self._misses = 0 if self._serving else self._misses + 1
        except (ApiUnavailable, ApiConflict) as problem:
            self._missed(str(problem))
        except ApiRejected as problem:
            self._missed(f"the API server refuses the operator: {problem.message}")
        except (OSError, ssl.SSLError) as problem:
            self._missed(f"cannot listen: {problem}")

    def _missed(self, words: str) -> None:
        logger.warning("the certificate of %s is left as it is for now: %s", PATH, words)
        self._misses += 1

    def _pause(self) -> float:
        """Short while there is nothing to serve under, and ever longer."""
        if not self._misses:
            return self._interval
        return min(self._interval, FIRST_PAUSE * 2.0 ** min(self._misses - 1, 16))

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        entry = await self._door.enter(request.headers.get("Authorization", ""))
        if entry is not ADMITTED:
            headers = {"WWW-Authenticate": "Bearer"} if entry.status == 401 else {}
            return web.Response(status=entry.status, text=entry.words + "\n", headers=headers)
        if request.path != PATH:
            return web.Response(status=404, text=f"there is {PATH} and nothing else\n")
        if request.method != "GET":
            return web.Response(status=405, text="GET alone is answered\n", headers={"Allow": "GET"})
        return web.Response(body=self._exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})
