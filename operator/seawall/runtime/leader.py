"""One writer among several replicas, by a Lease.

Time alone decides: the holder stops believing in its lease before anybody else may take it, by its own
monotonic clock and counted from before the renewal was sent. Candidates count from when they last saw the
record change, so no two clocks are ever compared.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from seawall.decide.types import Manifest
from seawall.ports import ApiConflict, ApiUnavailable

logger = logging.getLogger(__name__)


class LeaseApi(Protocol):
    """One Lease object with optimistic locking: `write` raises ApiConflict when somebody was faster."""

    async def read(self) -> Manifest | None: ...

    async def write(self, spec: dict[str, Any], current: Manifest | None) -> Manifest: ...


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class Leader:
    def __init__(
        self, api: LeaseApi, identity: str, times: LeaseTimes, clock: Callable[[], float] | None = None
    ) -> None:
        self._api = api
        self._identity = identity
        self._times = times
        self._clock = clock or asyncio.get_running_loop().time
        self._valid_until = float("-inf")
        self._record: Manifest | None = None
        self._seen: tuple[Any, ...] | None = None
        self._seen_at = float("-inf")

    @property
    def leads(self) -> bool:
        """Whether a write may be sent: nobody else can have taken the lease yet."""
        return self._clock() < self._valid_until

    async def acquire(self) -> None:
        """Returns when the lease is ours."""
        while not await self._try():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(self._times.retry)
        logger.info("leading", extra={"identity": self._identity})

    async def keep(self) -> None:
        """Renews for as long as that works; returns when the lease is lost."""
        while self.leads:
            await asyncio.sleep(min(self._times.retry, max(0.05, self._valid_until - self._clock())))
            try:
                async with asyncio.timeout(max(0.05, self._valid_until - self._clock())):
                    await self._try()
            except TimeoutError:
                break
        self._valid_until = float("-inf")
        logger.critical("the lease is lost", extra={"identity": self._identity})

    async def release(self) -> None:
        """Lets the next one start at once."""
        if not self.leads:
            return
        self._valid_until = float("-inf")
        try:
            await self._write(holder="", duration=1)
        except (ApiConflict, ApiUnavailable) as trouble:
            logger.warning("the lease was not released and has to run out: %s", trouble)

    async def _try(self) -> bool:
        """One attempt to take or renew."""
        asked = self._clock()
        try:
            if not self._holds(self._record) or not self.leads:
                self._look(await self._api.read())
                if not self._free():
                    self._valid_until = float("-inf")
                    return False
            await self._write(holder=self._identity, duration=math.ceil(self._times.duration))
        except (ApiConflict, ApiUnavailable) as trouble:
            logger.warning("no lease this time: %s", trouble)
            if isinstance(trouble, ApiConflict):
                self._record = None  # read before the next attempt
            return False
        self._valid_until = asked + self._times.renew_deadline
        return True

    async def _write(self, *, holder: str, duration: int) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before: dict[str, Any] = (self._record or {}).get("spec") or {}
        same = before.get("holderIdentity") == holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, duration),
            "acquireTime": before.get("acquireTime", now) if same else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if same else 1),
        }
        self._look(await self._api.write(spec, self._record))

    def _look(self, record: Manifest | None) -> None:
        self._record = record
        spec = (record or {}).get("spec") or {}
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()

    def _holds(self, record: Manifest | None) -> bool:
        return ((record or {}).get("spec") or {}).get("holderIdentity") == self._identity

    def _free(self) -> bool:
        spec = (self._record or {}).get("spec") or {}
        if not spec.get("holderIdentity") or self._holds(self._record):
            return True
        return self._clock() >= self._seen_at + float(spec.get("leaseDurationSeconds") or 0)
