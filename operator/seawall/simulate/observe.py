"""What a policy can know at a moment: the pods as the API server has them, the metrics as last scraped.

Everything measured ends at the last scrape that has arrived; during an outage that scrape stays where it
was and only its age grows. Nothing here looks at the trace or at what is happening just now, with two named
exceptions: the pods, and `live_request_seconds` for the autoscaler that asks the pods itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seawall.simulate.fleet import Fleet, PodRecord
from seawall.simulate.kernel import SCRAPE_SECONDS, Floats, Ints

SCRAPE_LAG_SECONDS = 5.0


def quantile(bounds_ms: Sequence[float], counts: Ints, q: float) -> float | None:
    """As Prometheus' histogram_quantile: straight within a bucket, the last finite bound above all bounds.

    `counts` are per bucket, the last one beyond all bounds. None where nothing was counted.
    """
    total = int(counts.sum())
    if total == 0:
        return None
    rank = q * total
    cumulative = np.cumsum(counts)
    bucket = int(np.searchsorted(cumulative, rank, side="left"))
    if bucket >= len(bounds_ms):
        return float(bounds_ms[-1])
    low = bounds_ms[bucket - 1] if bucket > 0 else 0.0
    before = float(cumulative[bucket - 1]) if bucket > 0 else 0.0
    inside = float(counts[bucket])
    return float(low + (bounds_ms[bucket] - low) * (rank - before) / inside)


@dataclass
class Gauges:
    """Written at every scrape, because the pods keep no history of them."""

    waiting: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    request_seconds: list[float] = field(default_factory=list)
    summary_ms: list[float | None] = field(default_factory=list)
    """the slowest pod's own p99; only where pods tell summaries"""

    def write(self, fleet: Fleet) -> None:
        self.waiting.append(fleet.waiting())
        self.ready.append(fleet.ready())
        self.request_seconds.append(fleet.request_seconds())
        if fleet.world.summaries:
            self.summary_ms.append(fleet.summary_p99_ms())


@dataclass
class View:
    fleet: Fleet
    gauges: Gauges
    now: float
    scrapes: int
    """complete scrapes that are known"""

    @property
    def replicas(self) -> int:
        return self.fleet.spec

    @property
    def pods(self) -> Sequence[PodRecord]:
        return self.fleet.pods

    @property
    def ready(self) -> int:
        return self.fleet.ready()

    @property
    def starting(self) -> int:
        return self.fleet.starting()

    @property
    def age(self) -> float:
        """Seconds since the last known scrape."""
        return self.now - self.scrapes * SCRAPE_SECONDS

    @property
    def fresh(self) -> bool:
        return self.scrapes > 0 and self.age < SCRAPE_LAG_SECONDS + 2 * SCRAPE_SECONDS

    @property
    def live_request_seconds(self) -> float:
        return self.fleet.request_seconds()

    def p99_ms(self, window: float = 60.0) -> float | None:
        """Of all requests together; a summary has its own window, and is the slowest pod's."""
        if self.fleet.world.summaries:
            return self.gauges.summary_ms[self.scrapes - 1] if self.scrapes else None
        return quantile(self.fleet.bounds_ms, self._sum(self.fleet.state.scraped, window), 0.99)

    def rate(self, window: float) -> float | None:
        """Requests per second that were offered, refused ones included."""
        counts = self.per_second(window)
        return None if len(counts) == 0 else float(counts.mean())

    def per_second(self, window: float) -> Ints:
        end = int(self.scrapes * SCRAPE_SECONDS)
        return self.fleet.state.offered[max(0, end - int(window)) : end]

    def late_share(self, window: float = 60.0) -> float | None:
        """Share of requests that missed the SLO or were refused; no summary tells it."""
        if self.fleet.world.summaries:
            return None
        counts = self._sum(self.fleet.state.scraped, window)
        end = int(self.scrapes * SCRAPE_SECONDS)
        refused = int(self.fleet.state.refused[max(0, end - int(window)) : end].sum())
        total = int(counts.sum()) + refused
        edge = self.fleet.bounds_ms.index(self.fleet.world.slo_ms) + 1
        return None if total == 0 else 1.0 - int(counts[:edge].sum()) / total

    def busiest_rps(self, window: float = 60.0) -> float | None:
        """Answers per second of the pod that gives the most of them."""
        first, last = self._slots(window)
        if last == first or not self.ready:
            return None
        return float(self.fleet.served(first, last).max()) / ((last - first) * SCRAPE_SECONDS)

    def completed(self, window: float) -> int:
        return int(self._sum(self.fleet.state.ended, window))

    def batches(self, window: float) -> tuple[Ints, Floats]:
        """Executions and seconds by batch size."""
        first, last = self._slots(window)
        state = self.fleet.state
        return state.batches[first:last].sum(axis=0), state.batch_seconds[first:last].sum(axis=0)

    def duty(self, window: float) -> float | None:
        """Share of the ready pods' time in which an instance was executing."""
        first, last = self._slots(window)
        ready = sum(self.gauges.ready[first:last]) * SCRAPE_SECONDS * self.fleet.setup.instances
        return None if ready == 0 else float(self.fleet.state.busy[first:last].sum()) / ready

    def concurrency(self, window: float) -> float | None:
        """Mean number of requests inside the pods."""
        first, last = self._slots(window)
        if last - first < 2:
            return None
        seconds = self.gauges.request_seconds
        return (seconds[last - 1] - seconds[first]) / ((last - 1 - first) * SCRAPE_SECONDS)

    def waiting(self, scrapes_ago: int = 0) -> int:
        place = self.scrapes - 1 - scrapes_ago
        return self.gauges.waiting[place] if place >= 0 else 0

    def _slots(self, window: float) -> tuple[int, int]:
        return max(0, self.scrapes - round(window / SCRAPE_SECONDS)), self.scrapes

    def _sum(self, array: Ints, window: float) -> Ints:
        first, last = self._slots(window)
        found: Ints = array[first:last].sum(axis=0)
        return found
