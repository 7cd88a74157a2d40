"""The adapter as the operator runs it: certificates, registration and answers, looked after once a minute.

Every replica answers, from the InferenceServices that its own watch keeps. The leader alone writes: the
Secret with the certificates, and the authority in the APIServices.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from seawall.metricsapi.answers import GROUP, Listing, Lookup, Question, Reply, Services, answer, refusal
from seawall.metricsapi.certificates import Credentials
from seawall.metricsapi.frontproxy import CONFIG, FrontProxy, NotPublished, tls_context
from seawall.metricsapi.keeper import Keeper
from seawall.metricsapi.listener import Listener
from seawall.metricsapi.registration import Owner, Registration, Standing
from seawall.ports import ApiConflict, ApiRejected, ApiUnavailable, Cluster

logger = logging.getLogger(__name__)

PRESUMED_SECONDS = 180.0
"""How long an API that is ours may fail to answer before it counts as absent. An autoscaler that gets no
answer leaves the count alone, so waiting costs nothing; taking its work away and back does."""
FIRST_PAUSE = 1.0


class MetricsApi:
    """Serves until it is cancelled. `looked` is set as soon as `state` says something."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        service_name: str,
        host: str,
        port: int,
        *,
        interval: float = 60.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._registration = Registration(cluster, namespace, service_name)
        self._keeper = Keeper(cluster, namespace, service_name, trust=self._trust, now=now)
        self._listener = Listener(host, port, self._respond)
        self._interval = interval
        self._misses = 0
        self._now = now
        self._proxy: FrontProxy | None = None
        self._serving: tuple[Credentials, FrontProxy] | None = None
        self._services = Services(lambda namespace, name: None)
        self._leads: Callable[[], bool] = lambda: False
        self._standing = Standing("Absent", "the operator has not looked yet")
        self._failing_since: datetime | None = None
        self.looked = asyncio.Event()

    @property
    def state(self) -> tuple[Owner, str]:
        """Who answers the group, and whatever is to be said about that."""
        standing = self._standing
        if standing.passing and self._failing_since is not None:
            failing = (self._now() - self._failing_since).total_seconds()
            if failing < PRESUMED_SECONDS:
                return "Ours", standing.message
        return standing.owner, standing.message

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return self._listener.port

    async def run(self, lookup: Lookup, leads: Callable[[], bool], listing: Listing | None = None) -> None:
        self._services, self._leads = Services(lookup, listing), leads
        try:
            while True:
                await self.look_after()
                await asyncio.sleep(self._pause())
        finally:
            self._serving = None
            await self._listener.close()

    async def look_after(self) -> None:
        """One round: whatever fails for now is tried again in the next."""
        try:
            standing = await self._round()
        except (ApiUnavailable, ApiConflict) as problem:
            logger.warning("the metrics API is left as it is for now: %s", problem)
            self._misses += 1
            return
        except ApiRejected as problem:
            standing = Standing("Absent", f"the API server refuses the operator: {problem.message}")
        except NotPublished as problem:
            await self._silence()
            standing = Standing("Absent", f"the front proxy is not known: {problem}")
        except (OSError, ssl.SSLError) as problem:
            standing = Standing("Absent", f"the metrics API cannot listen: {problem}")
        self._tell(standing)

    async def _round(self) -> Standing:
        held = await self._keeper.look(leads=self._leads())
        self._proxy = FrontProxy.of(await self._cluster.get(CONFIG))
        await self._serve(held)
        bundle = held.authority if held else ""
        return await self._registration.look(bundle, write=self._leads())

    async def _trust(self, authority: str) -> None:
        await self._registration.look(authority, write=True)

    async def _serve(self, held: Credentials | None) -> None:
        if held is None or self._proxy is None:
            return
        wanted = (held, self._proxy)
        if self._serving is None or _contextual(wanted) != _contextual(self._serving):
            credentials, proxy = wanted
            await self._listener.use(tls_context(credentials.certificate, credentials.key, proxy.authorities))
            logger.info("serving %s on port %d under a new certificate or trust", GROUP, self.port)
        self._serving = wanted

    async def _silence(self) -> None:
        if self._serving is not None:
            logger.error("the metrics API answers nobody: the API server publishes no front proxy")
            self._serving = self._proxy = None
            await self._listener.close()

    def _tell(self, standing: Standing) -> None:
        if (standing.owner, standing.message) != (self._standing.owner, self._standing.message):
            logger.info("%s: %s %s", GROUP, standing.owner, standing.message)
        self._failing_since = (self._failing_since or self._now()) if standing.passing else None
        self._standing = standing
        self._misses = self._misses + 1 if standing.owner == "Absent" else 0
        self.looked.set()

    def _pause(self) -> float:
        """Short after something has failed, and ever longer while it still does."""
        if not self._misses:
            return self._interval
        return min(self._interval, FIRST_PAUSE * 2.0 ** min(self._misses - 1, 16))

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        reply = self._reply(request)
        body = json.dumps(reply.document, separators=(",", ":")).encode()
        response = web.Response(status=reply.status, body=body, content_type="application/json")
        if request.get_extra_info("sslcontext") is not self._listener.context:
            response.force_close()  # it was verified by authorities that may be trusted no more
        return response

    def _reply(self, request: web.BaseRequest) -> Reply:
        peer: Any = request.get_extra_info("peercert")
        if self._proxy is None or not self._proxy.user(peer, request.headers):
            return refusal(401, "only the API server's front proxy is answered, on behalf of a user")
        path = request.raw_path.partition("?")[0]
        question = Question(request.method, path, request.query, request.headers.get("Accept", ""))
        return answer(question, self._services, self._now())


def _contextual(served: tuple[Credentials, FrontProxy]) -> tuple[str, str]:
    return served[0].certificate, served[1].authorities
