"""Capacity tables, made once each and beside the event loop: one costs a second or two of a core.

A service whose table is not there yet is not sized; the next tick asks again. One thread makes them, one
after the other: a thousand new profiles take one core for a while, and never the operator's breath away.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from seawall.sizing.capacity import CapacityTable, build_table
from seawall.sizing.profile import Dispatch, PodProfile

logger = logging.getLogger(__name__)

KEPT = 2048
"""Some 10 KB each: every service of a large cluster may have one of its own."""

Asked = tuple[str, Dispatch, float]
Build = Callable[[PodProfile, Dispatch, float], CapacityTable]


class Tables:
    def __init__(self, build: Build = build_table, kept: int = KEPT) -> None:
        self._build = build
        self._kept = kept
        self._made: OrderedDict[Asked, CapacityTable | None] = OrderedDict()
        """None: cannot be made, and will not be tried again"""
        self._making: dict[Asked, Future[CapacityTable]] = {}
        self._pool = ThreadPoolExecutor(1, "capacity-tables")

    def __len__(self) -> int:
        return len(self._made)

    @property
    def waiting(self) -> int:
        return len(self._making)

    def get(self, profile: PodProfile, dispatch: Dispatch, slo_ms: float) -> CapacityTable | None:
        """The table, or None while it is being made (which this asks for) and where it cannot be."""
        asked: Asked = (profile.key, dispatch, slo_ms)
        self._collect(asked)
        if asked in self._made:
            self._made.move_to_end(asked)
            return self._made[asked]
        if asked not in self._making:
            self._making[asked] = self._pool.submit(partial(self._build, profile, dispatch, slo_ms))
        return None

    def _collect(self, asked: Asked) -> None:
        making = self._making.get(asked)
        if making is None or not making.done():
            return
        del self._making[asked]
        problem = making.exception()
        if problem is not None:
            logger.error("no capacity table for profile %s, %s, %g ms: %s", *asked, problem)
        self._made[asked] = None if problem is not None else making.result()
        while len(self._made) > self._kept:
            self._made.popitem(last=False)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
