"""What the cluster can do beside Kubernetes itself, looked at again every minute.

KEDA, the Prometheus operator and the metrics API come and go while the operator runs.

Kinds that a cluster need not serve are listed rather than watched: a watch on a kind that goes away would end
the operator. A minute is soon enough for objects that nobody but the operator is to write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from seawall.decide.types import Capabilities
from seawall.ports import ApiRejected, ApiUnavailable, MetricsFace, ServedKinds
from seawall.runtime.kinds import MONITORS, OPTIONAL, SCALED_OBJECT, Kind

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 60.0
GLANCE_SECONDS = 5.0
"""How often the process looks at what it knows itself: how its own metrics API fares."""
FIRST_LOOK_SECONDS = 10.0
"""How long the start waits for the metrics API to know whose it is: `Auto` depends on it."""
OFF: tuple[Literal["Absent"], str] = ("Absent", "the operator is configured not to serve it")


class Survey:
    def __init__(
        self,
        *,
        discover: Callable[[], Awaitable[ServedKinds]],
        repair: Callable[[Kind], Awaitable[None]],
        clear: Callable[[Kind], None],
        face: MetricsFace | None,
        prometheus_url: str,
        changed: Callable[[], None],
    ) -> None:
        """`repair` reads a kind into the store, `clear` takes it out; `changed` hears of every difference."""
        self._discover = discover
        self._repair = repair
        self._clear = clear
        self._face = face
        self._changed = changed
        self._served: frozenset[Kind] = frozenset()
        self.capabilities = Capabilities(prometheus_url=prometheus_url)

    def serves(self, kind: Kind) -> bool:
        """False for optional kinds alone."""
        return kind not in OPTIONAL or kind in self._served

    async def start(self) -> None:
        """The first look, before anything is decided on it; waits until the API server has answered."""
        if self._face is not None:
            try:
                async with asyncio.timeout(FIRST_LOOK_SECONDS):
                    await self._face.looked.wait()
            except TimeoutError:
                logger.warning("whose metrics API it is remains unknown for now")
        while not await self.look():  # noqa: ASYNC110 - the API server is waited for
            await asyncio.sleep(1)

    async def run(self) -> None:
        while True:
            for _ in range(int(PERIOD_SECONDS / GLANCE_SECONDS)):
                await asyncio.sleep(GLANCE_SECONDS)
                owner, message = self._metrics_api()
                self._note(replace(self.capabilities, metrics_api=owner, metrics_api_message=message))
            await self.look()

    async def look(self) -> bool:
        """One round; False when the API server did not answer and everything stays as it was."""
        try:
            found = await self._discover()
            wanted = {SCALED_OBJECT: found.keda} | dict.fromkeys(MONITORS, found.prometheus_operator)
            served = frozenset([kind for kind, there in wanted.items() if there and await self._listed(kind)])
        except (ApiUnavailable, ApiRejected) as trouble:
            logger.warning("what the cluster serves is asked again later: %s", trouble)
            return False
        for kind in self._served - served:
            self._clear(kind)
        self._served = served
        owner, message = self._metrics_api()
        self._note(
            Capabilities(
                keda=SCALED_OBJECT in served,
                prometheus_operator=served.issuperset(MONITORS),
                hpa_tolerance=found.tolerance,
                gateway_api=found.gateway_api,
                grpc_routes=found.grpc_routes,
                metrics_api=owner,
                metrics_api_message=message,
                prometheus_url=self.capabilities.prometheus_url,
            )
        )
        return True

    async def _listed(self, kind: Kind) -> bool:
        """A kind that may not be listed is as good as none: what it held could not be looked after."""
        try:
            await self._repair(kind)
        except ApiRejected as refused:
            logger.warning("%s are served and cannot be used: %s", kind.plural, refused.message)
            return False
        return True

    def _metrics_api(self) -> tuple[Literal["Ours", "Others", "Absent"], str]:
        return self._face.state if self._face is not None else OFF

    def _note(self, found: Capabilities) -> None:
        if found != self.capabilities:
            logger.info("the cluster serves: %s", found)
            self.capabilities = found
            self._changed()
