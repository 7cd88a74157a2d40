"""The verdict on one window: p99, late share, good requests. Every doubt counts against the service.

A failed request is not good. Histograms do not tell failures apart, and a failure is often the fastest answer
of all; so as many of the fastest requests as failed are taken out before anything is said about the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seawall.measure import quantile
from seawall.measure.quantile import Floats
from seawall.measure.track import FIXED, Grown, combined
from seawall.measure.types import Counts, Source

FEWEST_REQUESTS = 200
"""In the window, for a p99: two of them are above it. Fewer make a number of luck."""
SLACK_SHARE, SLACK_REQUESTS = 0.10, 20.0
"""A server writes its counters one after the other while it works, so they never agree entirely."""


@dataclass(frozen=True, slots=True)
class Sums:
    """All servers of one source in one window."""

    total: float
    failed: float
    refused: float
    edges: tuple[float, ...]
    counts: Floats

    @property
    def asked(self) -> float:
        """Requests that the objective is about: a client's own mistakes are not."""
        return max(self.total - self.refused, 0.0)

    @property
    def removed(self) -> float:
        return self.failed + self.refused

    @property
    def answered(self) -> float:
        """That a latency is known of."""
        return max(float(self.counts[-1]) - self.removed, 0.0) if len(self.counts) else 0.0

    def p99(self) -> quantile.Quantile | None:
        return quantile.quantile(self.edges, self.counts, 0.99, self.removed)

    def good(self, slo_ms: float, source: Source) -> quantile.Within | None:
        """As if every failed request had been fast: never too many."""
        if not len(self.counts):
            # A gateway has no histogram as long as every request failed.
            return quantile.Within(0.0, slo_ms, True) if source == "Gateway" else None
        found = quantile.within(self.edges, self.counts, slo_ms, source)
        if found is None:
            return None
        return quantile.Within(
            min(max(found.count - self.removed, 0.0), self.asked), found.edge_ms, found.exact
        )


def contradiction(grown: Grown) -> str:
    """Whether a pod's histogram and its counters can both be true; failed ones may be in it or not."""
    if not grown.edges:
        return ""
    seen, total, failed = float(grown.values[-1]), float(grown.values[0]), float(grown.values[1])
    slack = max(SLACK_SHARE * total, SLACK_REQUESTS)
    if total - failed - slack <= seen <= total + slack:
        return ""
    return f"counts {total:.0f} requests and has {seen:.0f} in its histogram"


@dataclass(slots=True)
class Accrued:
    """Requests since the last reading; cumulative counts of servers with the same edges can be added."""

    fixed: Floats = field(default_factory=lambda: np.zeros(FIXED))
    histograms: dict[tuple[float, ...], Floats] = field(default_factory=dict)
    blind: float = 0.0
    """requests of servers that tell no histogram"""

    def add(self, values: Floats, edges: tuple[float, ...]) -> None:
        self.fixed = self.fixed + values[:FIXED]
        if edges:
            before = self.histograms.get(edges)
            added = values[FIXED:]
            self.histograms[edges] = added if before is None else before + added
        else:
            self.blind += float(values[0])

    def counts(self, slo_ms: float, source: Source) -> Counts:
        """For the error budget; nothing at all where good and late cannot be told apart."""
        total, failed, refused = (float(value) for value in self.fixed)
        within = [quantile.within(e, c, slo_ms, source) for e, c in self.histograms.items()]
        seen = sum(float(c[-1]) for c in self.histograms.values())
        untold = source == "Triton" and (self.blind > 0 or not within)
        if untold or any(found is None for found in within):
            return Counts()
        if source == "Triton" and contradiction(
            Grown(np.array([total, failed, 0.0, seen]), (np.inf,), 0.0, False)
        ):
            return Counts()
        asked = max(total - refused, 0.0)
        good = sum(found.count for found in within if found is not None) - failed - refused
        return Counts(asked, min(max(good, 0.0), asked), min(failed, asked))


def joined(parts: Mapping[str, Grown]) -> Sums:
    fixed = np.sum([part.values[:FIXED] for part in parts.values()], axis=0) if parts else np.zeros(FIXED)
    telling = [part for part in parts.values() if part.edges]
    edges, counts = combined(telling)
    return Sums(float(fixed[0]), float(fixed[1]), float(fixed[2]), edges, counts)
