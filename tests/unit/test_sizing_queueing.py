"""Closed forms against textbook values and against each other; Inoue's bound against the simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.sizing.montecarlo import simulate_pod
from seawall.sizing.profile import PodProfile
from seawall.sizing.queueing import (
    bounds,
    erlang_c,
    inoue_mean,
    utilisation,
    wait_allen_cunneen,
    wait_kingman,
    wait_mmc,
    wait_quantile,
)

WAITING = {
    "one server waits as often as it is busy": (1, 0.7, 0.7),
    "two servers at one Erlang": (2, 1.0, 1 / 3),
    "ten servers at eight Erlangs": (10, 8.0, 0.409180),
    "nothing to do": (3, 0.0, 0.0),
    "more work than servers": (2, 2.5, 1.0),
}


@pytest.mark.parametrize(("servers", "load", "expected"), WAITING.values(), ids=WAITING.keys())
def test_erlang_c(servers: int, load: float, expected: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(expected, abs=1e-5)


@given(st.integers(1, 200), st.floats(0.01, 0.98))
def test_more_servers_at_the_same_load_wait_less(servers: int, load: float) -> None:
    assert 0 <= erlang_c(servers + 1, load * servers) <= erlang_c(servers, load * servers) <= 1


def test_the_general_forms_agree_with_the_exact_ones_where_both_hold() -> None:
    rate, service = 80.0, 0.01
    assert wait_mmc(rate, service, 1) == pytest.approx(0.8 * 0.01 / 0.2)
    assert wait_kingman(rate, service, 1, 1) == pytest.approx(wait_mmc(rate, service, 1))
    assert wait_allen_cunneen(rate, service, 1, 1, 0) == pytest.approx(0.5 * wait_mmc(rate, service, 1))
    assert wait_kingman(100, service, 1, 1) == wait_mmc(200, service, 2) == math.inf


def test_the_tail_is_exponential_and_zero_where_few_wait() -> None:
    assert wait_quantile(0.01, 0.5, 0.99) == pytest.approx(0.02 * math.log(50))
    assert wait_quantile(0.01, 0.005, 0.99) == 0
    assert wait_quantile(math.inf, 1, 0.99) == math.inf


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.7])
def test_inoues_bound_lies_on_the_simulated_mean(load: float) -> None:
    # a batch size that is never reached stands for an unlimited one
    alpha, tau0 = 1.0, 6.0
    sizes = (1, 400)
    profile = PodProfile(sizes, tuple(tau0 + alpha * b for b in sizes), (0.0, 0.0), max_batch_size=400)
    rate = load / (alpha / 1000)
    found = simulate_pod(
        profile,
        np.array([rate]),
        np.ones(1),
        "random",
        1,
        requests=40_000,
        rng=np.random.default_rng(1),
        copies=40,
    )
    mean = float(found[np.isfinite(found)].mean())
    assert inoue_mean(rate, alpha / 1000, tau0 / 1000) * 1000 == pytest.approx(mean, rel=0.08)


def test_the_bounds_of_a_pod() -> None:
    profile = PodProfile((1, 8), (7.0, 14.0), (0.0, 0.0), overhead_ms=0.5)
    at = bounds(profile, 300)
    assert at.stable
    assert at.floor_ms == 7.5
    assert at.limit_rps == pytest.approx(571.4, abs=0.1)
    assert utilisation(profile, at.limit_rps) == pytest.approx(1)
    assert not bounds(profile, 600).stable
    assert bounds(profile, 600).inoue_mean_ms == math.inf
    delayed = PodProfile((1, 8), (7.0, 14.0), (0.0, 0.0), max_queue_delay_ms=2)
    assert bounds(delayed, 300).inoue_mean_ms == math.inf


@pytest.mark.parametrize(("servers", "load"), [(0, 1.0), (2, -1.0), (2, math.nan)])
def test_a_queue_that_is_none_is_refused(servers: int, load: float) -> None:
    with pytest.raises(ValueError, match="no queue has"):
        erlang_c(servers, load)
