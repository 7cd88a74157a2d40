"""Edges that mean what they say, and quantiles between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.desired.triton import latency_buckets
from seawall.measure import quantile
from seawall.measure.types import Histogram, Source

INF = math.inf


@pytest.mark.parametrize(
    ("source", "told", "true"),
    [
        ("Triton", (18.0, 19.0, 20.0, INF), (19, 20, 21, INF)),
        ("Triton", (0.0, 2.5, INF), (1, 3, INF)),
        ("Gateway", (18.0, 19.0, 20.0, INF), (18, 19, 20, INF)),
        ("Gateway", (0.5, 2.5, INF), (1, 3, INF)),
    ],
)
def test_an_edge_is_the_latency_that_all_below_it_are_faster_than(
    source: Source, told: tuple[float, ...], true: tuple[float, ...]
) -> None:
    assert quantile.true_edges(told, source) == true


@given(st.lists(st.floats(0, 99.999), min_size=1, max_size=60))
def test_true_edges_hold_for_both_ways_of_counting(latencies: list[float]) -> None:
    """Triton counts floor(x) <= edge, Envoy floor(x) < edge."""
    edges = (0.5, 5.0, 9.0, 19.0, 20.0, INF)
    for source, counted in (
        ("Triton", lambda x, e: math.floor(x) <= e),
        ("Gateway", lambda x, e: math.floor(x) < e),
    ):
        for told, true in zip(edges, quantile.true_edges(edges, source), strict=True):
            assert [counted(x, told) for x in latencies] == [x < true for x in latencies]


@pytest.mark.parametrize("slo_ms", [2, 5, 20, 33, 100, 250, 2000])
def test_our_own_buckets_have_an_exact_edge_at_the_slo(slo_ms: int) -> None:
    told = (*(float(edge) for edge in latency_buckets(slo_ms / 1000)), INF)
    edges = quantile.true_edges(told, "Triton")
    found = quantile.within(edges, np.arange(len(edges), dtype=float), slo_ms, "Triton")
    assert found is not None
    assert (found.edge_ms, found.exact) == (slo_ms, True)
    assert told[int(found.count)] == slo_ms - 1


@pytest.mark.parametrize(
    ("source", "slo_ms", "edge", "exact"),
    [
        ("Gateway", 20, 20, True),
        ("Gateway", 22, 20, False),
        ("Gateway", 9, None, False),
        ("Gateway", 120, 120, True),
        ("Gateway", 125, 125, False),
        ("Triton", 125, 125, True),
        ("Triton", 20.5, 20, False),
        ("Triton", 9000, 125, False),
    ],
)
def test_good_is_counted_below_the_slo_never_above(
    source: Source, slo_ms: float, edge: float | None, exact: bool
) -> None:
    edges = (10.0, 20.0, 120.0, 125.0, INF)
    found = quantile.within(edges, np.array([1.0, 2, 3, 4, 5]), slo_ms, source)
    if edge is None:
        assert found is None
    else:
        assert found is not None
        assert (found.edge_ms, found.exact) == (edge, exact)


@pytest.mark.parametrize(
    ("counts", "removed", "ms", "low", "high"),
    [
        ((0, 0, 1000, 1000), 0, 19.9, 10, 20),
        ((0, 990, 1000, 1000), 0, 10, 5, 10),
        ((1000, 1000, 1000, 1000), 0, 4.95, 0, 5),
        ((0, 0, 900, 1000), 0, 20, 20, INF),
        # With 500 fast failures taken out, 99 % of the rest is rank 995.
        ((500, 980, 1000, 1000), 500, 17.5, 10, 20),
    ],
)
def test_quantiles(counts: tuple[float, ...], removed: float, ms: float, low: float, high: float) -> None:
    found = quantile.quantile((5.0, 10.0, 20.0, INF), np.array(counts, float), 0.99, removed)
    assert found is not None
    assert found.ms == pytest.approx(ms)
    assert (found.low_ms, found.high_ms) == (low, high)


@pytest.mark.parametrize(("counts", "removed"), [((0, 0), 0), ((5, 5), 5), ((5, 5), 9)])
def test_no_quantile_of_nothing(counts: tuple[float, ...], removed: float) -> None:
    assert quantile.quantile((5.0, INF), np.array(counts, float), 0.99, removed) is None


@given(st.lists(st.floats(0, 60), min_size=1, max_size=300), st.integers(0, 40))
def test_the_bucket_of_a_quantile_holds_the_true_one(latencies: list[float], fast_failures: int) -> None:
    edges = (5.0, 10.0, 15.0, 20.0, 40.0, INF)
    seen = sorted([*latencies, *([0.0] * fast_failures)])
    counts = np.array([sum(x < edge for x in seen) for edge in edges], float)
    found = quantile.quantile(edges, counts, 0.99, fast_failures)
    true = sorted(latencies)[max(math.ceil(0.99 * len(latencies) - 1e-9), 1) - 1]
    assert found is not None
    assert found.low_ms <= found.ms <= found.high_ms
    assert true < found.high_ms, "fast failures hide nothing"
    if fast_failures == 0:
        assert found.low_ms <= true


def test_a_sound_histogram_has_no_fault() -> None:
    assert quantile.fault(Histogram((0.0, 5.0, INF), (0.0, 3.0, 3.0))) == ""
