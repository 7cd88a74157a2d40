"""The simulated pod and the table built from it: against closed forms, in order, and read both ways."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.sizing.capacity import (
    CapacityTable,
    build_table,
    capacity,
    late_share,
    load_of,
    predicted_p99,
    sizing,
)
from seawall.sizing.montecarlo import simulate_pod
from seawall.sizing.profile import Dispatch, PodProfile, ProfileError
from seawall.sizing.queueing import wait_kingman

pytestmark = pytest.mark.long

SLO = 20.0
PROFILE = PodProfile(tuple(range(1, 9)), tuple(6.0 + b for b in range(1, 9)), (0.0,) * 8)
TABLE = build_table(PROFILE, "p2c", SLO, requests=8_000)
RATES = st.floats(0, 700)
PODS = st.floats(1, 40)


def simulate(profile: PodProfile, rate: float, dispatch: Dispatch = "random", pods: int = 1) -> np.ndarray:
    return simulate_pod(
        profile,
        np.array([rate]),
        np.ones(1),
        dispatch,
        pods,
        requests=20_000,
        rng=np.random.default_rng(7),
        copies=40,
    )[0]


def test_without_batching_the_pod_is_the_textbooks_m_d_1() -> None:
    single = PodProfile((1,), (10.0,), (0.0,), max_batch_size=1)
    # M/D/1: half of M/M/1, exact by Pollaczek and Khinchine
    expected = 10 + 1000 * wait_kingman(60, 0.01, 1, 0)
    assert simulate(single, 60).mean() == pytest.approx(expected, rel=0.04)


def test_an_idle_pod_answers_in_one_service_time_and_the_overhead() -> None:
    found = simulate(replace(PROFILE, overhead_ms=2.0), 0.5)
    assert np.median(found) == pytest.approx(9.0)


def test_a_pod_beyond_its_limit_does_not_answer_in_time() -> None:
    assert np.quantile(simulate(PROFILE, 700), 0.99, method="higher") > 100


def test_a_full_queue_refuses_and_a_refused_request_is_not_good() -> None:
    bounded = simulate(replace(PROFILE, max_queue_size=8), 700)
    assert 0.05 < np.isinf(bounded).mean() < 0.5
    assert bounded[np.isfinite(bounded)].max() <= 2 * 14 + 14


def test_a_queue_delay_makes_a_lonely_request_wait_and_a_full_batch_not() -> None:
    delayed = replace(PROFILE, max_queue_delay_ms=3.0)
    assert np.median(simulate(delayed, 0.5)) == pytest.approx(10.0)
    assert simulate(delayed, 450).mean() < simulate(PROFILE, 450).mean() + 3.0


def test_a_second_instance_of_the_same_speed_carries_more() -> None:
    two = replace(PROFILE, instances=2)
    assert np.quantile(simulate(two, 400), 0.99) < np.quantile(simulate(PROFILE, 400), 0.99)


# p99 of an independent event simulation of the same pod, written in another language
REFERENCE = {
    "alone": ("p2c", 1, 200, 19.3),
    "three, lightly loaded": ("p2c", 3, 100, 14.7),
    "three, at the capacity": ("p2c", 3, 296, 19.9),
    "eight": ("p2c", 8, 320, 19.7),
    "random dispatch does not care how many": ("random", 8, 200, 19.3),
}


@pytest.mark.parametrize(("dispatch", "pods", "rate", "expected"), REFERENCE.values(), ids=REFERENCE.keys())
def test_the_simulated_p99(dispatch: Dispatch, pods: int, rate: float, expected: float) -> None:
    assert np.quantile(simulate(PROFILE, rate, dispatch, pods), 0.99) == pytest.approx(expected, rel=0.03)


CAPACITIES: dict[str, tuple[Dispatch, int, float]] = {
    "random": ("random", 4, 222),
    "power of two, three pods": ("p2c", 3, 296),
    "power of two, eight pods": ("p2c", 8, 330),
    "power of two, alone": ("p2c", 1, 224),
    "least request": ("least-request", 4, 312),
    "round robin": ("round-robin", 4, 338),
}


@pytest.mark.parametrize(("dispatch", "pods", "expected"), CAPACITIES.values(), ids=CAPACITIES.keys())
def test_the_capacity_at_the_slo(dispatch: Dispatch, pods: int, expected: float) -> None:
    table = TABLE if dispatch == "p2c" else build_table(PROFILE, dispatch, SLO, requests=8_000)
    assert capacity(table, SLO, pods=pods) == pytest.approx(expected, rel=0.06)


def test_a_tight_slo_amplifies_speed() -> None:
    now = sizing(TABLE, SLO).rps(3)
    assert sizing(TABLE, SLO, scale=1.25).rps(3) / now == pytest.approx(0.42, abs=0.06)
    assert sizing(TABLE, SLO, scale=0.8).rps(3) / now == pytest.approx(1.4, abs=0.5)
    slower = build_table(PROFILE.scaled(1.25), "p2c", SLO, requests=8_000)
    assert sizing(TABLE, SLO, scale=1.25).rps(3) == pytest.approx(sizing(slower, SLO).rps(3), rel=0.15)


@given(RATES, RATES, PODS, st.floats(1, 4))
def test_more_load_is_never_faster(one: float, other: float, pods: float, ca2: float) -> None:
    low, high = sorted((one, other))
    assert predicted_p99(TABLE, low, ca2, pods) <= predicted_p99(TABLE, high, ca2, pods)
    assert late_share(TABLE, low, ca2, pods) <= late_share(TABLE, high, ca2, pods) + 1e-12


@given(st.floats(0, 560), PODS, PODS, st.floats(1, 4), st.floats(1, 4))
def test_more_pods_and_smoother_arrivals_are_never_slower(
    rate: float, one: float, other: float, smooth: float, rough: float
) -> None:
    few, many = sorted((one, other))
    low, high = sorted((smooth, rough))
    assert predicted_p99(TABLE, rate, low, many) <= predicted_p99(TABLE, rate, high, few) + 1e-9


@given(st.floats(0, 1e5), st.floats(0, 1e5))
def test_more_demand_never_needs_fewer_pods_and_every_answer_fits(one: float, other: float) -> None:
    size = sizing(TABLE, SLO)
    low, high = sorted((one, other))
    assert size.pods_for(low) <= size.pods_for(high)
    pods = size.pods_for(high)
    assert high <= pods * size.rps(pods) * (1 + 1e-6)
    assert pods == 1 or high > (pods - 1) * size.rps(pods - 1) * (1 - 1e-6)


@given(st.floats(30, 500), PODS)
def test_reading_the_curve_backwards_gives_the_load_back(rate: float, pods: float) -> None:
    latency = predicted_p99(TABLE, rate, 1.0, pods)
    if not math.isfinite(latency):
        return
    load = load_of(TABLE, latency, SLO, pods=pods)
    if load.clipped == "no":
        back = load.ratio * sizing(TABLE, SLO).rps(pods)
        assert predicted_p99(TABLE, back, 1.0, pods) == pytest.approx(latency, rel=1e-3)


CLIPPED = {
    "faster than any load explains": (5.0, "low"),
    "exactly the slo": (20.0, "no"),
    "slower than the table reaches": (10_000.0, "high"),
}


@pytest.mark.parametrize(("latency", "clipped"), CLIPPED.values(), ids=CLIPPED.keys())
def test_a_latency_outside_the_curve_is_said_to_be_clipped(latency: float, clipped: str) -> None:
    load = load_of(TABLE, latency, SLO)
    assert load.clipped == clipped
    if latency == SLO:
        assert load.ratio == pytest.approx(1.0)


def test_an_slo_below_the_service_time_has_no_capacity() -> None:
    assert capacity(TABLE, 6.0) == 0
    assert not sizing(TABLE, 6.0).feasible
    with pytest.raises(ValueError, match="no number of pods"):
        sizing(TABLE, 6.0).pods_for(100)


def test_the_stability_limit_is_where_the_prediction_ends() -> None:
    assert predicted_p99(TABLE, TABLE.limit_rps) == math.inf
    assert late_share(TABLE, TABLE.limit_rps) == 1.0
    assert predicted_p99(TABLE, 0) < SLO
    with pytest.raises(ValueError, match="no rate"):
        predicted_p99(TABLE, math.nan)


def test_the_same_arguments_give_the_same_table() -> None:
    again: CapacityTable = build_table(PROFILE, "p2c", SLO, requests=8_000)
    assert again.key == TABLE.key
    assert np.array_equal(again.p99_ms, TABLE.p99_ms)
    assert build_table(PROFILE, "p2c", SLO, seed=1, requests=1_000).key != TABLE.key


@pytest.mark.parametrize("slo", [0.0, -5.0, math.nan, math.inf])
def test_an_slo_that_is_no_latency_is_refused(slo: float) -> None:
    with pytest.raises(ProfileError, match="is no latency"):
        build_table(PROFILE, "p2c", slo)
