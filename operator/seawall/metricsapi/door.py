"""Who may read /metrics: whoever's bearer token the API server knows, and whom RBAC lets `get` that path.

A token that was let in is believed for a minute and one that was not for ten seconds, so that a scrape every
five seconds costs two questions a minute. What cannot be asked is refused. Tokens are remembered by their
digest alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from seawall.ports import Access, ApiRejected, ApiUnavailable

logger = logging.getLogger(__name__)

PATH = "/metrics"
ADMITTED_SECONDS, REFUSED_SECONDS = 60.0, 10.0
REMEMBERED = 256
"""of either kind; those refused never push out those admitted"""
AT_ONCE = 8
"""Strangers' tokens under review: each costs the API server a question, and anybody can make up tokens."""
LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Entry:
    status: int
    words: str = ""


ADMITTED = Entry(200)
NO_TOKEN = Entry(401, "a bearer token is needed: Authorization: Bearer TOKEN")
UNKNOWN = Entry(401, "the API server does not know this token, or it has expired")
CROWDED = Entry(503, "too many unknown tokens are being reviewed; try again")
UNASKABLE = Entry(503, "the API server cannot be asked about this token; try again")


class Door:
    def __init__(self, access: Access, clock: Callable[[], float]) -> None:
        self._access = access
        self._clock = clock
        self._admitted: OrderedDict[bytes, float] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, Entry]] = OrderedDict()
        self._reviews: dict[bytes, asyncio.Task[Entry]] = {}

    async def enter(self, authorization: str) -> Entry:
        """What the value of this header is answered with; never raises for what the API server says."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > LONGEST or not token.isascii():
            return NO_TOKEN
        key = hashlib.sha256(token.encode()).digest()
        if self._admitted.get(key, float("-inf")) > self._clock():
            return ADMITTED
        until, entry = self._refused.get(key, (float("-inf"), UNKNOWN))
        if until > self._clock():
            return entry
        review = self._reviews.get(key)
        if review is None:
            if key not in self._admitted and len(self._reviews) >= AT_ONCE:
                return CROWDED
            review = self._reviews[key] = asyncio.create_task(self._review(key, token))
            review.add_done_callback(lambda _: self._reviews.pop(key, None))
        return await asyncio.shield(review)  # who hangs up does not take the answer from those who wait

    async def _review(self, key: bytes, token: str) -> Entry:
        try:
            entry = await self._judge(token)
        except ApiUnavailable as problem:
            logger.warning("no answer about who reads %s: %s", PATH, problem)
            return UNASKABLE
        except ApiRejected as problem:
            logger.error("the operator may not ask who reads %s: %s", PATH, problem.message)
            return UNASKABLE
        self._admitted.pop(key, None)
        self._refused.pop(key, None)
        if entry is ADMITTED:
            self._admitted[key] = self._clock() + ADMITTED_SECONDS
        else:
            self._refused[key] = (self._clock() + REFUSED_SECONDS, entry)
        for kept in (self._admitted, self._refused):
            while len(kept) > REMEMBERED:
                kept.popitem(last=False)
        return entry

    async def _judge(self, token: str) -> Entry:
        caller = await self._access.caller(token)
        if caller is None:
            return UNKNOWN
        if await self._access.may_get(caller, PATH):
            return ADMITTED
        logger.warning("%s asked for %s and has no right to it", caller.name, PATH)
        return Entry(403, f"{caller.name} may not get {PATH}: bind it to the ClusterRole of metrics readers")
