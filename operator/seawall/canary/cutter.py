"""Windows of a rollout, cut from the very counters that the scaling reads.

Both arms are cut at the same edges and from one source, or not at all. Of a histogram nobody can tell which
of its requests failed: late are those above the edge, but never more than were answered, so that a request
counts in both metrics only if it failed late while others were answered in time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from seawall.canary.window import Arm, Window
from seawall.measure.latency import Sums, contradiction, joined
from seawall.measure.quantile import told_exactly
from seawall.measure.standing import Mark, Standing, Unknown, between
from seawall.measure.track import GAP_SECONDS, Grown
from seawall.measure.types import Source
from seawall.measure.window import Series

KEPT_WINDOWS = 64
"""More than the judge needs of the stable arm before a rollout."""
LONGEST_LAG = 65.0
"""Behind the clock. What a counter said longer ago than that is not remembered."""
LOST_FOR_TROUBLE = 2
"""So many windows in a row without counts are not chance any more."""
FEW = 5
"""So many requests may a pod count around a gateway: somebody tries it by hand."""
Trouble = Literal["", "ProviderDown", "NoLatency"]
NOBODY = Arm(ready_pods=0)
"""The candidate where there is none."""


@dataclass(frozen=True, slots=True)
class _Both:
    stable: Standing
    candidate: Standing | None
    """None: it has no pods"""

    @property
    def never(self) -> bool:
        return self.stable.never or (self.candidate is not None and self.candidate.never)

    def missing(self) -> str:
        by_gateway = self.stable.by_gateway
        arms = (self.stable, self.candidate) if self.candidate is not None else (self.stable,)
        return next((phrase for arm in arms if (phrase := arm.of(by_gateway).missing)), "")


@dataclass(slots=True)
class Cutter:
    """Of one service. `seconds`: of a window."""

    seconds: float
    stable: str = ""
    candidate: str = ""
    closed: deque[Window] = field(default_factory=lambda: deque(maxlen=KEPT_WINDOWS))
    lost: int = 0
    """windows since the last one that closed"""
    message: str = ""
    """why the last one was lost"""
    _before: _Both | None = None
    _due: float = 0.0

    @property
    def trouble(self) -> Trouble:
        if self.lost >= LOST_FOR_TROUBLE:
            return "ProviderDown"
        return "NoLatency" if self.closed and not self.closed[-1].timed else ""

    def follow(self, stable: str, candidate: str) -> bool:
        """These are the two revisions now; what others did is not held against them. Whether they are new."""
        if (stable, candidate) == (self.stable, self.candidate):
            return False
        if stable != self.stable:
            self.closed.clear()
            self._before, self.lost, self.message = None, 0, ""
        else:
            alone = [replace(window, candidate=NOBODY) for window in self.closed]
            self.closed = deque(alone, KEPT_WINDOWS)
            self._before = None
        self.stable, self.candidate = stable, candidate
        return True

    def cut(self, now: float, stable: Series | None, candidate: Series | None, slo_ms: float) -> bool:
        """Every window that is due; whether anything has become known. None: the arm has no pods."""
        news = False
        if not -self.seconds <= now - self._due <= LONGEST_LAG:
            self._before, self._due = None, (math.floor(now / self.seconds) + 1) * self.seconds
            # Of a clock that was put back: other windows will have these ends.
            self.closed = deque((window for window in self.closed if window.end <= now), KEPT_WINDOWS)
        while stable is not None and self._due <= now:
            tried = candidate.standing(self._due) if candidate is not None else None
            here = _Both(stable.standing(self._due), tried)
            if here.missing() and not here.never and now < self._due + GAP_SECONDS:
                break
            news = self._close(here, slo_ms) or news
            self._before = here if not here.missing() else None
            self._due += self.seconds
        if stable is None:
            self._before, self._due, self.lost, self.message = None, 0.0, 0, ""
        return news

    def _close(self, here: _Both, slo_ms: float) -> bool:
        missing = here.missing()
        if here.never or (self._before is None and not missing):
            return False  # the first edge of a first window
        try:
            if missing or self._before is None:
                raise Unknown(missing)
            self.closed.append(_window(self._before, here, self._due, self.seconds, slo_ms))
        except Unknown as reason:
            self.lost, self.message = self.lost + 1, str(reason)
        else:
            self.lost, self.message = 0, ""
        if self.trouble == "NoLatency":
            self.message = "The servers tell counters only, no latencies, and no gateway is heard."
        return True


def _window(before: _Both, here: _Both, end: float, seconds: float, slo_ms: float) -> Window:
    if (before.candidate is None) != (here.candidate is None):
        raise Unknown("The candidate's pods came or left inside the window.")
    source: Source = "Gateway" if here.stable.by_gateway else "Triton"
    found = _counted(before, here, source)
    if source == "Gateway" and _around(before, here, found):
        source = "Triton"
        found = _counted(before, here, source)
    sums = [joined(arm) for arm in found]
    edges = _shared([arm for arm in sums if len(arm.counts)], source)
    arms = [_arm(arm, edges, slo_ms) for arm in sums]
    looks = [mark.at for both in (before.stable, before.candidate) if both for mark in _marks(both, source)]
    return Window(
        end,
        replace(arms[0], ready_pods=here.stable.ready_pods),
        replace(arms[1], ready_pods=here.candidate.ready_pods) if here.candidate else NOBODY,
        began=min(looks, default=end - seconds),
        timed=source == "Gateway" or not any(_blind(grown) for arm in found for grown in arm.values()),
    )


def _marks(standing: Standing, source: Source) -> Sequence[Mark]:
    return list(standing.of(source == "Gateway").marks.values())


def _counted(before: _Both, here: _Both, source: Source) -> tuple[Mapping[str, Grown], Mapping[str, Grown]]:
    """By server, of the stable arm and of the candidate."""
    by_gateway = source == "Gateway"
    stable = between(before.stable.of(by_gateway), here.stable.of(by_gateway))
    candidate: dict[str, Grown] = {}
    if before.candidate is not None and here.candidate is not None:
        absent = before.stable.gateways.marks.keys() if by_gateway else ()
        candidate = between(before.candidate.of(by_gateway), here.candidate.of(by_gateway), absent)
    for name, grown in (*stable.items(), *candidate.items()):
        phrase = contradiction(grown) if source == "Triton" else ""
        if phrase:
            raise Unknown(f"Pod {name} {phrase}.")
    return stable, candidate


def _around(before: _Both, here: _Both, found: tuple[Mapping[str, Grown], Mapping[str, Grown]]) -> bool:
    """An arm's pods are asked and the gateway knows nothing of it: its traffic comes another way."""
    try:
        by_pods = _counted(before, here, "Triton")
    except Unknown:
        return False
    return any(
        _requests(counted) > FEW and not _requests(told) for counted, told in zip(by_pods, found, strict=True)
    )


def _requests(arm: Mapping[str, Grown]) -> float:
    return sum(float(grown.values[0]) for grown in arm.values())


def _blind(grown: Grown) -> bool:
    """It has answered requests and tells no histogram of them."""
    return not grown.edges and float(grown.values[0]) > float(grown.values[1])


def _shared(arms: Sequence[Sums], source: Source) -> tuple[float, ...]:
    """Edges that all have and that are told exactly: both arms are counted at the same one."""
    if not arms:
        return ()
    shared = set.intersection(*(set(arm.edges) for arm in arms))
    return tuple(sorted(edge for edge in shared if math.isinf(edge) or told_exactly(edge, source)))


def _arm(sums: Sums, edges: Sequence[float], slo_ms: float) -> Arm:
    answered = max(sums.total - sums.removed, 0.0)

    def above(edge: float | None, otherwise: float) -> float:
        if edge is None:
            return otherwise
        return min(float(sums.counts[-1] - sums.counts[sums.edges.index(edge)]), answered)

    slow, most = 0.0, None
    if len(sums.counts):
        at = next((edge for edge in edges if math.isclose(edge, slo_ms, rel_tol=1e-9)), None)
        higher = min((edge for edge in edges if edge > slo_ms and math.isfinite(edge)), default=None)
        lower = max((edge for edge in edges if edge < slo_ms), default=None)
        slow = above(at if at is not None else higher, 0.0)
        most = None if at is not None else above(lower, answered)
    return Arm(sums.asked, slow, min(sums.failed, sums.asked), slow_at_most=most)
