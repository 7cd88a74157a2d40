"""The keyed work queue: what client-go's workqueue does, in asyncio.

An event is only a hint that a key deserves a look. So a key waits at most once, runs at most once at a time,
and when it is added during its run it runs once more, because the run may have looked too early. Edits by
people go before the backlog that a start or a resync makes: a thousand unchanged services must not keep one
changed service waiting. `Keys` is the bookkeeping, without clock, loop or randomness; `WorkQueue` runs it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
logger = logging.getLogger(__name__)

BACKOFF_BASE = 0.5
BACKOFF_CAP = 300.0


class RetryLater(Exception):
    """A run that did not succeed for a reason it understands; `at_least` is what the server asked for."""

    def __init__(self, message: str, at_least: float = 0.0) -> None:
        super().__init__(message)
        self.at_least = at_least


class Keys(Generic[K]):
    """Which keys wait, run and sleep. Every method is given the time."""

    def __init__(self) -> None:
        self._live: dict[K, float] = {}
        self._backlog: dict[K, float] = {}
        self.running: dict[K, float] = {}
        self._again: dict[K, bool] = {}
        self._deadlines: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._live) + len(self._backlog)

    @property
    def sleeping(self) -> int:
        return len(self._deadlines)

    def oldest_wait(self, now: float) -> float:
        """How long the key that is next in either line has waited."""
        heads = [next(iter(line.values())) for line in (self._live, self._backlog) if line]
        return max((now - added for added in heads), default=0.0)

    def longest_run(self, now: float) -> float:
        return max((now - started for started in self.running.values()), default=0.0)

    def add(self, key: K, now: float, *, live: bool = True) -> None:
        if key in self.running:
            self._again[key] = self._again.get(key, False) or live
        elif key in self._live or (key in self._backlog and not live):
            return
        elif live:
            self._live[key] = self._backlog.pop(key, now)
        else:
            self._backlog[key] = now

    def add_after(self, key: K, delay: float, now: float) -> None:
        """The earliest of several deadlines stands."""
        if delay <= 0:
            self.add(key, now)
            return
        deadline = now + delay
        if deadline < self._deadlines.get(key, float("inf")):
            self._deadlines[key] = deadline
            heapq.heappush(self._heap, (deadline, next(self._order), key))

    def wake(self, now: float) -> float | None:
        """Lines up what is due and returns the next deadline."""
        while self._heap:
            deadline, _, key = self._heap[0]
            if self._deadlines.get(key) != deadline:
                heapq.heappop(self._heap)  # an earlier or a cancelled deadline of this key
            elif deadline <= now:
                heapq.heappop(self._heap)
                del self._deadlines[key]
                self.add(key, now)
            else:
                return deadline
        return None

    def take(self, now: float) -> K | None:
        """The next key, now running. Its pending deadline is dropped: this run is what it asked for."""
        line = self._live or self._backlog
        if not line:
            return None
        key = next(iter(line))
        del line[key]
        self._deadlines.pop(key, None)
        self.running[key] = now
        return key

    def done(self, key: K, now: float, *, requeue_after: float | None = None) -> None:
        self._failures.pop(key, None)
        self._finish(key, now)
        if requeue_after is not None:
            self.add_after(key, requeue_after, now)

    def failed(self, key: K, now: float, *, spread: float, at_least: float = 0.0) -> float:
        """Comes back after an exponential pause; `spread` in [0, 1) moves it by a quarter either way."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures - 1, 20)) * (0.75 + 0.5 * spread)
        pause = max(pause, at_least)
        self._finish(key, now)
        self.add_after(key, pause, now)
        return pause

    def _finish(self, key: K, now: float) -> None:
        del self.running[key]
        if key in self._again:
            self.add(key, now, live=self._again.pop(key))


class WorkQueue(Generic[K]):
    """Runs keys through a handler: `handler(key)` returns when to look again, or None."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.keys: Keys[K] = Keys()
        self._clock = clock
        self._spread = spread
        self._idle: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._draining = False

    def add(self, key: K, *, live: bool = True) -> None:
        self.keys.add(key, self._clock(), live=live)
        self._rouse()

    def add_after(self, key: K, delay: float) -> None:
        self.keys.add_after(key, delay, self._clock())
        self._rouse()

    @property
    def longest_run(self) -> float:
        return self.keys.longest_run(self._clock())

    @property
    def oldest_wait(self) -> float:
        return self.keys.oldest_wait(self._clock())

    def start(self, workers: int, handler: Callable[[K], Awaitable[float | None]]) -> None:
        self._workers = [
            asyncio.create_task(self._work(handler), name=f"worker-{number}") for number in range(workers)
        ]

    async def drain(self, grace: float) -> bool:
        """Takes no more keys and waits for the runs in hand; False if some had to be cut off."""
        self._draining = True
        while self._idle:
            self._wake_one()
        if self._timer is not None:
            self._timer.cancel()
        if not self._workers:
            return True
        _, late = await asyncio.wait(self._workers, timeout=grace)
        for worker in late:
            worker.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return not late

    async def _work(self, handler: Callable[[K], Awaitable[float | None]]) -> None:
        while (key := await self._next()) is not None:
            try:
                requeue_after = await handler(key)
            except RetryLater as trouble:
                self._failed(key, trouble.at_least)
            except asyncio.CancelledError:
                self.keys.failed(key, self._clock(), spread=0.0)
                raise
            except Exception:  # one key's surprise must not stop the others
                logger.exception("a run ended in a surprise", extra={"key": str(key)})
                self._failed(key, 0.0)
            else:
                self.keys.done(key, self._clock(), requeue_after=requeue_after)
            self._rouse()
            await asyncio.sleep(0)  # a run may never have waited; the watch wants its turn

    def _failed(self, key: K, at_least: float) -> None:
        self.keys.failed(key, self._clock(), spread=self._spread(), at_least=at_least)

    async def _next(self) -> K | None:
        while not self._draining:
            key = self.keys.take(self._clock())
            if key is not None:
                return key
            waiter = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter
        return None

    def _rouse(self) -> None:
        """Wakes as many workers as there are keys, and sets the timer to the next deadline."""
        now = self._clock()
        deadline = self.keys.wake(now)
        for _ in range(min(len(self.keys), len(self._idle))):
            self._wake_one()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None and not self._draining:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, deadline - now), self._rouse)

    def _wake_one(self) -> None:
        waiter = self._idle.popleft()
        if not waiter.done():
            waiter.set_result(None)
