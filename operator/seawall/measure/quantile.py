"""What a histogram says about latencies, in milliseconds that are true.

Both servers count whole milliseconds, each in its own way: Triton cuts off the fraction and counts "at most",
Envoy cuts it off and counts "less than". So `le="19"` of Triton and `le="20"` of Envoy mean the same: faster
than 20 ms. Here an edge is always the latency that everything counted below it is faster than.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seawall.measure.types import Histogram, Source

Floats = NDArray[np.float64]
ENVOY_EXACT_MS = 100.0
"""Envoy keeps two digits of every latency, so that above this an edge between them is a guess of its own."""


@dataclass(frozen=True, slots=True)
class Quantile:
    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class Within:
    """Requests that were surely faster than the SLO."""

    count: float
    edge_ms: float
    exact: bool


def fault(histogram: Histogram) -> str:
    """Why this is no histogram, as a phrase that follows a name; empty if it is one."""
    edges, counts = histogram.edges_ms, histogram.counts
    if len(edges) != len(counts) or not edges or edges[-1] != math.inf:
        return "tells a histogram without its last edge"
    if len(edges) < 2:
        return "tells a histogram without edges"
    if any(math.isnan(edge) or edge < 0 for edge in edges) or any(
        after <= before for before, after in pairwise(edges)
    ):
        return "tells a histogram whose edges do not rise"
    if not all(math.isfinite(count) and count >= 0 for count in counts):
        return "tells a histogram with counts that are no numbers of requests"
    if any(after < before for before, after in pairwise(counts)):
        return "tells a histogram whose counts fall along its edges"
    return ""


@lru_cache(4096)
def true_edges(edges_ms: tuple[float, ...], source: Source) -> tuple[float, ...]:
    """The latencies that the counts stand for; see the module's first lines."""
    if source == "Gateway":
        return tuple(edge if math.isinf(edge) else float(math.ceil(edge)) for edge in edges_ms)
    return tuple(edge if math.isinf(edge) else float(math.floor(edge) + 1) for edge in edges_ms)


def quantile(
    edges: Sequence[float], counts: Floats, q: float, fastest_removed: float = 0.0
) -> Quantile | None:
    """As Prometheus' histogram_quantile, after so many of the fastest were taken away; None without a rest.

    Straight within the bucket; the last finite edge where it lies above all edges, with `high` infinite.
    """
    total = float(counts[-1])
    removed = min(max(fastest_removed, 0.0), total)
    if total - removed <= 0:
        return None
    rank = removed + q * (total - removed)
    bucket = min(int(np.searchsorted(counts, rank, side="left")), len(edges) - 1)
    low = float(edges[bucket - 1]) if bucket > 0 else 0.0
    high = float(edges[bucket])
    if math.isinf(high):
        return Quantile(low, low, high)
    before = float(counts[bucket - 1]) if bucket > 0 else 0.0
    inside = float(counts[bucket]) - before
    share = (rank - before) / inside if inside > 0 else 1.0
    return Quantile(low + (high - low) * min(max(share, 0.0), 1.0), low, high)


def within(edges: Sequence[float], counts: Floats, slo_ms: float, source: Source) -> Within | None:
    """Counted at the largest edge that is not above the SLO; None where every edge is above it."""
    fitting = [index for index, edge in enumerate(edges) if edge <= slo_ms * (1 + 1e-9)]
    if not fitting:
        return None
    edge = float(edges[fitting[-1]])
    exact = math.isclose(edge, slo_ms, rel_tol=1e-9) and told_exactly(edge, source)
    return Within(float(counts[fitting[-1]]), edge, exact)


def told_exactly(edge_ms: float, source: Source) -> bool:
    """Whether the server itself can tell what is below this edge."""
    if source != "Gateway" or edge_ms <= ENVOY_EXACT_MS:
        return True
    step = 10.0 ** (math.floor(math.log10(edge_ms)) - 1)
    return math.isclose(edge_ms / step, round(edge_ms / step), rel_tol=1e-9)
