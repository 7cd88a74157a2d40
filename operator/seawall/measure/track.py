"""One counter set followed through time: what was added between two looks, whatever happens to the server.

Kept are running totals that never fall, so that any window is the difference of two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seawall.measure.quantile import Floats

KEPT_SECONDS = 75.0
"""Of the past: the longest window, and one look more."""
GAP_SECONDS = 45.0
"""Two looks further apart than this do not belong to one window."""
SKEW_SECONDS = 5.0
"""A clock may be ahead by this much."""
CLOCK_GRAIN = 2.0
"""Kubernetes tells starts in whole seconds."""
BORN_WITHIN = 60.0
FIXED = 3
"""Numbers before the histogram's: answered, failed, refused; their sum never falls without a restart."""


@dataclass(frozen=True, slots=True)
class Look:
    """The counters of one server as read at one moment."""

    at: float
    values: Floats
    edges: tuple[float, ...] = ()
    """none: it has no histogram; else values has one count more for each"""
    started: float | None = None


@dataclass(frozen=True, slots=True)
class Grown:
    """What a window holds of one server."""

    values: Floats
    edges: tuple[float, ...]
    seconds: float
    part: bool
    """it came or left inside the window: `seconds` is only how long it was there"""


@dataclass(slots=True)
class Track:
    """A server's running totals. `problem` says why the last look could not be believed."""

    last: Look
    points: list[tuple[float, Floats]] = field(default_factory=list)
    born: float | None = None
    problem: str = ""
    line: object = field(default_factory=object)
    """totals of the same line differ by what came between them, and by nothing else"""
    from_zero: bool = False
    """the line begins where the server did"""
    found: Floats | None = None
    """what the server had counted at the first look of all, as long as that line lasts"""

    @staticmethod
    def begin(look: Look) -> Track:
        """Counted from zero only where the server is known to have started just before."""
        track = Track(look)
        track._base(look, track._just_started(look))
        track.found = None if track.from_zero else look.values
        return track

    def follow(self, look: Look, now: float) -> Floats | None:
        """What was added since the look before; None where that cannot be known."""
        if self.last.at > now + SKEW_SECONDS:
            self._base(look, False)
            return None
        if look.at <= self.last.at:
            return None
        restarted = self._restarted(look)
        before, self.last = self.last, look
        self.problem = ""
        if look.edges != before.edges or len(look.values) != len(before.values):
            self._base(look, self._just_started(look))
            return None
        added = look.values if restarted else look.values - before.values
        if restarted:
            self._break(False)
        if float(added.min()) < -1e-9:
            self.problem = "tells counters that fell although the server was not restarted"
            self._base(look, False)
            return None
        if look.at - before.at > GAP_SECONDS:
            self._base(look, False)
            return added
        self.points.append((look.at, self.points[-1][1] + added))
        while len(self.points) > 2 and self.points[1][0] <= look.at - KEPT_SECONDS:
            self.points.pop(0)
        return added

    def grown(self, span: float, end: float | None = None) -> Grown | None:
        """What the window of about `span` seconds up to `end` holds; None before two looks.

        `end`: of a server that has left; its own last look otherwise. The window begins at the look that is
        nearest to its due beginning, so that its length is the counters' own.
        """
        last_at, totals = self.points[-1]
        due = (last_at if end is None else end) - span
        if len(self.points) < 2 or last_at <= due:
            return None
        at, base = min(self.points[:-1], key=lambda point: abs(point[0] - due))
        part = end is not None or (self.born is not None and at == self.born and at > due)
        return Grown(totals - base, self.last.edges, last_at - at, part)

    def _base(self, look: Look, from_zero: bool) -> None:
        self.last = look
        zero = np.zeros_like(look.values)
        self.born = None
        self._break(from_zero and look.started is not None)
        if from_zero and look.started is not None:
            self.born = min(look.started, look.at - 1e-3)
            self.points = [(self.born, zero), (look.at, look.values)]
        else:
            self.points = [(look.at, zero)]

    def _break(self, from_zero: bool) -> None:
        self.line, self.from_zero, self.found = object(), from_zero, None

    def at(self, edge: float) -> tuple[float, Floats] | None:
        """The totals of the last look at or before a moment that is no longer ago than what is kept."""
        known = [point for point in self.points if point[0] <= edge]
        return known[-1] if known else None

    @staticmethod
    def _just_started(look: Look) -> bool:
        return look.started is not None and -CLOCK_GRAIN <= look.at - look.started <= BORN_WITHIN

    def _restarted(self, look: Look) -> bool:
        """By its own word where it is known, else because the number of its requests fell."""
        if look.started is not None:
            return look.started > self.last.at + CLOCK_GRAIN or (
                look.started > self.last.at - CLOCK_GRAIN and self._fewer(look)
            )
        return self._fewer(look)

    def _fewer(self, look: Look) -> bool:
        return float(look.values[:FIXED].sum()) < float(self.last.values[:FIXED].sum()) - 1e-9


def combined(parts: Sequence[Grown]) -> tuple[tuple[float, ...], Floats]:
    """Several servers' histograms in one, at the edges that all of them have: counts up to an edge add up."""
    if not parts:
        return (), np.zeros(0)
    shared = sorted(set.intersection(*(set(part.edges) for part in parts)))
    total = np.zeros(len(shared))
    for part in parts:
        where = {edge: index for index, edge in enumerate(part.edges)}
        total += part.values[FIXED:][[where[edge] for edge in shared]]
    return tuple(shared), total
