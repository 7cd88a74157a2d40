"""The decision as a table of situations, and what it never does."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.sizing.capacity import build_table, late_share, predicted_p99, sizing
from seawall.sizing.lateness import late_at, pods_of
from seawall.sizing.law import decide
from seawall.sizing.profile import PodProfile
from seawall.sizing.state import Bounds, Decision, LawSettings, LawState, Signals

pytestmark = pytest.mark.long

SLO = 20.0
PROFILE = PodProfile(tuple(range(1, 9)), tuple(6.0 + b for b in range(1, 9)), (0.0,) * 8)
TABLE = build_table(PROFILE, "p2c", SLO, requests=6_000)
SIZE = sizing(TABLE, SLO)
BOUNDS = Bounds(1, 50)
START = 1_000_000.0


class Service:
    """A service whose pods are ready a minute after they were asked for, read every 15 seconds."""

    def __init__(self, replicas: int, bounds: Bounds = BOUNDS, slowdown: float = 1.0) -> None:
        self.now, self.bounds, self.slowdown = START, bounds, slowdown
        self.elsewhere_ms, self.memory = 0.0, 1
        self.p99s: list[float] = []
        self.asked = [(START - 1e6, replicas)]
        self.state = LawState()
        self.decisions: list[Decision] = []

    @property
    def replicas(self) -> int:
        return self.asked[-1][1]

    @property
    def ready(self) -> int:
        return min(n for at, n in [*self._before(60), self.asked[-1]])

    def _before(self, seconds: float) -> list[tuple[float, int]]:
        older = [a for a in self.asked if a[0] <= self.now - seconds][-1:]
        return older + [a for a in self.asked if a[0] > self.now - seconds]

    def read(self, rate: float | None, **changes: Any) -> Decision:
        p99 = None
        if rate is not None:
            seen = predicted_p99(TABLE, rate / max(self.ready, 1), 1.0, self.ready, self.slowdown)
            self.p99s.append(min(seen, 200.0) + self.elsewhere_ms)
            p99 = max(self.p99s[-self.memory :])
        signals = Signals(
            now=self.now, rate_15s=rate, rate_60s=rate, replicas=self.replicas, ready=self.ready, p99_ms=p99
        )
        decision, self.state = decide(TABLE, SLO, self.bounds, replace(signals, **changes), self.state)
        self.asked.append((self.now, decision.replicas))
        self.decisions.append(decision)
        self.now += 15
        return decision

    def run(self, rates: Sequence[float | None], **changes: Any) -> Decision:
        for rate in rates:
            self.read(rate, **changes)
        return self.decisions[-1]

    def counts(self) -> list[int]:
        return [d.replicas for d in self.decisions]


def minutes(count: float, rate: float) -> list[float]:
    return [rate] * round(count * 4)


def turns(counts: Sequence[int]) -> int:
    moves = [b - a for a, b in pairwise(counts) if a != b]
    return sum((a > 0) != (b > 0) for a, b in pairwise(moves))


def test_many_cases_at_once_are_each_case_alone() -> None:
    demands = np.array([0.0, 1.0, 214.0, 500.0, 1000.0, 5400.0, 5430.0, 9000.0, 30_000.0])
    assert pods_of(SIZE, demands).tolist() == [SIZE.pods_for(float(demand)) for demand in demands]
    for pods in TABLE.pods:
        for load in (0.7, 1.0, 1.4):
            alone = late_share(TABLE, load * SIZE.rps(pods), 1.0, pods)
            together = late_at(TABLE, SIZE, load * pods * SIZE.rps(pods), np.array([float(pods)]))
            assert together[0] == pytest.approx(alone, rel=0.1, abs=1e-3)


def test_a_steady_demand_gets_enough_pods_and_keeps_them() -> None:
    service = Service(5)
    last = service.run(minutes(60, 1000))
    assert set(service.counts()[40:]) == {last.replicas}
    assert last.replicas * SIZE.rps(last.replicas) >= 1000
    assert last.reason == "Stable"
    assert last.feasible
    assert last.predicted_p99_ms is not None
    assert last.predicted_p99_ms <= SLO


def test_a_rise_is_answered_at_once() -> None:
    service = Service(5)
    service.run(minutes(20, 1000))
    decision = service.read(2500)
    assert decision.replicas * SIZE.rps(decision.replicas) >= 2500
    assert decision.reason == "Demand"
    assert "2500 now" in decision.message


def test_a_fall_waits_until_the_demand_is_forgotten_and_is_then_gradual() -> None:
    service = Service(12)
    service.run(minutes(20, 3000))
    service.run(minutes(5, 600))
    assert min(service.counts()[-20:]) >= SIZE.pods_for(3000 * 0.9)
    service.run(minutes(40, 600))
    counts = service.counts()
    assert all(
        later >= earlier - max(1, math.floor(0.2 * max(counts[max(0, i - 4) : i + 1])))
        for i, (earlier, later) in enumerate(pairwise(counts))
    )
    assert counts[-1] <= SIZE.pods_for(600 * 1.3)


@pytest.mark.parametrize("period", [2, 5, 9, 17])
def test_an_oscillating_demand_does_not_swing_the_count(period: int) -> None:
    service = Service(5)
    for _ in range(180 // period):
        service.run(minutes(period / 2, 700))
        service.run(minutes(period / 2, 1900))
    per_hour = turns(service.counts()) / (len(service.counts()) / 240)
    assert per_hour <= 5


def test_an_hourly_rise_is_expected_the_fourth_time() -> None:
    service = Service(4)
    service.run((minutes(59, 800) + minutes(1, 1600)) * 3)
    service.run(minutes(58, 800))
    assert service.state.recent[-1].recurring
    assert min(service.state.recent[-1].highs) > 1500
    assert "a rise that has come back before" in service.decisions[-1].message
    assert service.decisions[-1].replicas * SIZE.rps(service.decisions[-1].replicas) >= 1600


def test_noise_keeps_room_free_and_calm_gives_it_back() -> None:
    calm, noisy = Service(5), Service(5)
    calm.run(minutes(70, 1000))
    for minute in range(70):
        noisy.run(minutes(1, 1500 if minute in {9, 19, 28, 40, 49, 61} else 1000))
    assert calm.decisions[-1].replicas == SIZE.pods_for(1000)
    assert noisy.decisions[-1].replicas >= SIZE.pods_for(1500)


def test_a_demand_that_comes_back_is_remembered_for_as_long_as_it_takes() -> None:
    service = Service(5)
    for _ in range(12):
        service.run(minutes(18, 1000) + minutes(2, 1900))
    service.run(minutes(17, 1000))
    assert service.decisions[-1].replicas >= SIZE.pods_for(1900)


def test_a_jump_that_no_margin_covers_does_not_widen_it() -> None:
    service = Service(3)
    service.run(minutes(90, 600))
    service.run(minutes(90, 3000))
    assert service.decisions[-1].replicas <= SIZE.pods_for(3000 * 1.2)


def test_a_slower_model_is_answered_through_its_p99() -> None:
    service = Service(5)
    service.run(minutes(20, 1000))
    before = service.decisions[-1]
    service.slowdown = 1.25
    service.run(minutes(40, 1000))
    after = service.decisions[-1]
    assert after.replicas > 1.5 * before.replicas
    assert after.terms.feedback > after.terms.feed_forward
    assert "by the observed p99" in " ".join(d.message for d in service.decisions[-160:])
    assert predicted_p99(TABLE, 1000 / after.replicas, 1.0, after.replicas, 1.25) <= SLO


def test_a_p99_that_endangers_nothing_raises_no_correction() -> None:
    service = Service(6)
    service.run(minutes(30, 1000), p99_ms=0.85 * SLO)
    assert service.state.correction == 1.0
    assert Service(6).run(minutes(30, 1000)).replicas == service.decisions[-1].replicas


def test_counts_that_scatter_do_not_ask_for_pods() -> None:
    service = Service(5)
    assert service.run(minutes(20, 1000), ca2=80.0).replicas == Service(5).run(minutes(20, 1000)).replicas


def test_a_spike_that_the_requests_explain_is_not_answered_twice() -> None:
    service = Service(5)
    service.run(minutes(20, 1000))
    service.run(minutes(1, 2200))
    service.run(minutes(10, 1000))
    assert service.state.correction == 1.0


def test_a_measured_service_time_replaces_the_profiles() -> None:
    service = Service(5)
    slower = service.read(1000, service_scale=1.25).replicas
    assert slower >= 2 * Service(5).read(1000).replicas * 0.8
    assert Service(5).read(1000, service_scale=0.8).replicas <= Service(5).read(1000).replicas


def test_a_slowness_is_not_answered_twice_once_it_is_measured() -> None:
    service = Service(5, slowdown=1.25)
    service.run(minutes(30, 1000))
    assert service.state.correction > 1.5
    service.run(minutes(5, 1000), service_scale=1.25)
    assert service.state.correction < 1.5
    known = sizing(TABLE, SLO, scale=1.25)
    service.read(1000)
    assert service.state.scale == 1.25
    service.run(minutes(90, 1000))
    assert service.decisions[-1].replicas <= known.pods_for(1000 * 1.5)


def test_a_growing_queue_asks_for_what_drains_it() -> None:
    service = Service(5)
    service.run(minutes(20, 1000))
    for pending in (30_000.0, 60_000.0, 90_000.0):
        decision = service.read(1400, pending=pending)
    assert decision.terms.backlog > decision.terms.feed_forward
    assert decision.reason in {"Backlog", "Stable"}
    assert any(d.reason == "Backlog" and "waiting in the queues" in d.message for d in service.decisions)


def test_pods_that_start_are_not_ordered_again() -> None:
    service = Service(5)
    service.run(minutes(20, 1000))
    first = service.read(2500)
    service.run(minutes(0.75, 2500), p99_ms=180.0)
    assert service.decisions[-1].replicas <= first.replicas + 2


NO_DATA: dict[str, dict[str, Any]] = {
    "nothing answers": {"rate_15s": None, "rate_60s": None},
    "the short window is empty": {"rate_15s": None},
    "the long window is empty": {"rate_60s": None},
    "not a number": {"rate_15s": math.nan},
    "infinite": {"rate_60s": math.inf},
    "negative": {"rate_15s": -1.0},
    "absurd": {"rate_15s": 1e15},
    "a clock that is none": {"now": math.nan},
    "a negative count of pods": {"ready": -1},
}


@pytest.mark.parametrize("changes", NO_DATA.values(), ids=NO_DATA.keys())
def test_without_data_the_count_stands(changes: dict[str, Any]) -> None:
    service = Service(9)
    service.run(minutes(20, 2000))
    before = service.decisions[-1].replicas
    for _ in range(40):
        decision = service.read(10, **changes)
        assert decision.replicas == before
        assert decision.reason == "NoData"
        assert decision.load_ratio is None
    assert "unknown" in decision.message


def test_after_a_silence_the_old_demand_still_holds_the_count() -> None:
    service = Service(9)
    service.run(minutes(20, 2000))
    before = service.decisions[-1].replicas
    service.run([None] * 20)
    assert service.read(2000).replicas >= before


LIES: dict[str, dict[str, Any]] = {
    "no p99": {"p99_ms": None},
    "a p99 that is no number": {"p99_ms": math.nan},
    "a negative p99": {"p99_ms": -3.0},
    "a p99 of zero": {"p99_ms": 0.0},
    "an absurd p99": {"p99_ms": 1e12},
    "an old p99": {"p99_ms": 5000.0, "p99_age_seconds": 300.0},
    "a p99 from the future": {"p99_ms": 5000.0, "p99_age_seconds": -60.0},
    "an absurd queue": {"pending": math.inf},
    "an absurd busiest pod": {"busiest_rps": math.nan},
    "a busiest pod that is busier than all": {"busiest_rps": 1e6},
    "an absurd variability": {"ca2": -4.0},
    "an absurd speed": {"service_scale": math.nan},
    "an absurd share": {"late_share": 7.0},
}


@pytest.mark.parametrize("changes", LIES.values(), ids=LIES.keys())
def test_what_makes_no_sense_is_left_out_and_never_lowers_the_count(changes: dict[str, Any]) -> None:
    service = Service(5)
    service.run(minutes(20, 1000))
    before = service.decisions[-1].replicas
    service.run(minutes(12, 1000), **changes)
    assert min(service.counts()[80:]) >= before
    assert service.decisions[-1].replicas <= before + 2


def test_while_pods_do_not_report_the_count_does_not_fall() -> None:
    service = Service(12)
    service.run(minutes(20, 3000))
    before = service.decisions[-1].replicas
    service.run(minutes(40, 300), complete=False)
    assert service.decisions[-1].replicas == before


def test_a_fresh_start_does_not_shrink_a_service_it_has_not_watched() -> None:
    service = Service(12)
    service.run(minutes(4.5, 100))
    assert set(service.counts()) == {12}


def test_an_slo_below_the_service_time_is_not_answered_with_pods() -> None:
    signals = Signals(now=START, rate_15s=1000, rate_60s=1000, replicas=4, ready=4)
    decision, _ = decide(TABLE, 6.0, BOUNDS, signals, LawState())
    assert not decision.feasible
    assert decision.reason == "Infeasible"
    assert decision.replicas <= 4
    assert "p99 6 ms cannot be met" in decision.message


def test_latency_that_no_load_explains_adds_no_pods() -> None:
    service = Service(10)
    service.run(minutes(10, 400), p99_ms=60.0)
    decision = service.decisions[-1]
    assert not decision.feasible
    assert decision.replicas <= 10
    assert "more replicas cannot help" in decision.message


@pytest.mark.parametrize("delay_ms", [9.0, 14.0, 60.0, 600.0])
@pytest.mark.parametrize("measured", [True, False], ids=["batches are measured", "they are not"])
def test_latency_from_elsewhere_is_not_fought_with_ever_more_pods(delay_ms: float, measured: bool) -> None:
    known = {"service_scale": 1.0} if measured else {}
    service = Service(6)
    service.run(minutes(20, 1000), **known)
    usual = service.replicas
    service.elsewhere_ms = delay_ms
    service.run(minutes(120, 1000), **known)
    during = service.counts()[-480:]
    # Slower pods look much the same until nearly nothing is left of their load.
    assert max(during) <= (usual + 2 if measured else 2.5 * usual)
    assert sum(during) / len(during) <= (1.3 if measured else 1.5) * usual
    last = service.decisions[-1]
    assert last.terms.feedback == usual
    assert not last.feasible
    assert last.reason == "Infeasible"
    assert last.elsewhere_ms == pytest.approx(delay_ms, rel=0.2, abs=1)
    assert "come from elsewhere than the pods and their load" in last.message
    service.elsewhere_ms = 0.0
    assert service.run(minutes(0.25, 1000), **known).feasible, "one reading below is proof enough"
    service.run(minutes(60, 1000), **known)
    assert service.state.offset_ms == 0
    assert service.replicas == usual


def test_a_delay_that_leaves_room_is_made_up_for() -> None:
    service = Service(6)
    service.run(minutes(20, 1000))
    usual = service.replicas
    service.elsewhere_ms = 3.0
    service.run(minutes(40, 1000))
    assert service.decisions[-1].feasible
    assert predicted_p99(TABLE, 1000 / service.ready, 1.0, service.ready) + 3.0 <= SLO
    assert service.replicas <= math.ceil(1.6 * usual)


def test_what_would_make_up_for_a_delay_is_said_where_it_is_too_much() -> None:
    service = Service(6)
    service.run(minutes(20, 1000), service_scale=1.0)
    service.elsewhere_ms = 8.5
    last = service.run(minutes(28, 1000), service_scale=1.0)
    assert "replicas would make up for it, but would not take it away" in last.message


def test_a_rise_of_the_rate_is_answered_in_spite_of_a_delay_from_elsewhere() -> None:
    service = Service(6)
    service.elsewhere_ms = 60.0
    service.run(minutes(25, 1000), service_scale=1.0)
    assert not service.decisions[-1].feasible
    service.run(minutes(5, 2500), service_scale=1.0)
    assert SIZE.pods_for(2500) <= service.replicas <= 1.3 * SIZE.pods_for(2500 * 1.2)


def test_a_queue_that_grows_is_answered_in_spite_of_a_delay_from_elsewhere() -> None:
    service = Service(6)
    service.elsewhere_ms = 60.0
    service.run(minutes(25, 1000))
    usual = service.replicas
    for pending in (20_000.0, 40_000.0, 60_000.0):
        service.read(1000, pending=pending)
    assert service.replicas >= 1.5 * usual


def test_a_latency_that_is_remembered_for_two_minutes_does_not_hide_that_pods_helped() -> None:
    service = Service(5, slowdown=1.3)
    service.memory = 8
    service.run(minutes(60, 1000))
    after = service.decisions[-1]
    assert after.feasible
    assert predicted_p99(TABLE, 1000 / after.replicas, 1.0, after.replicas, 1.3) <= SLO


def test_a_queue_that_drains_is_no_evidence() -> None:
    service = Service(8)
    service.run(minutes(20, 1000))
    before = service.replicas
    for place in range(24):
        service.read(1000, p99_ms=400.0, pending=max(4000.0 - 200 * place, 0.0))
    assert service.state.correction == 1.0
    assert service.state.offset_ms == 0
    assert service.replicas <= before + 3


def test_pods_that_get_no_requests_say_nothing_about_where_latency_is_from() -> None:
    service = Service(4, Bounds(1, 12))
    service.run(minutes(20, 1000))
    # The first four keep all connections, whatever comes beside them.
    for _ in range(120):
        service.read(1000, p99_ms=45.0, busiest_rps=400.0)
    assert service.state.offset_ms == 0
    assert service.replicas == 12
    assert "one pod gets" in service.decisions[-1].message


def test_what_was_taken_for_a_delay_is_tested_again() -> None:
    service = Service(5)
    service.elsewhere_ms = 14.0
    service.run(minutes(25, 1000))
    assert not service.decisions[-1].feasible
    service.elsewhere_ms, service.slowdown = 0.0, 1.4
    service.run(minutes(150, 1000))
    assert service.decisions[-1].feasible
    assert predicted_p99(TABLE, 1000 / service.ready, 1.0, service.ready, 1.4) <= SLO


def test_a_p99_however_large_tries_a_few_pods_first() -> None:
    service = Service(10)
    service.run(minutes(20, 3000))
    before = service.replicas
    service.run(minutes(1, 3000), p99_ms=5000.0)
    assert before < service.replicas <= math.ceil(1.3 * before)


def test_a_maximum_below_the_need_is_said() -> None:
    decision = Service(3, Bounds(1, 3)).read(3000)
    assert decision.replicas == 3
    assert not decision.feasible
    assert decision.reason == "MaxReplicas"
    assert "maxReplicas is 3" in decision.message


ZERO: dict[str, tuple[int, float, bool]] = {
    "minReplicas 1, silent for an hour": (1, 60, False),
    "minReplicas 0, silent for five minutes": (0, 5, False),
    "minReplicas 0, silent for an hour": (0, 60, True),
}


@pytest.mark.parametrize(("least", "silent", "gone"), ZERO.values(), ids=ZERO.keys())
def test_zero_only_where_it_is_allowed_and_after_a_while(least: int, silent: float, gone: bool) -> None:
    service = Service(1, Bounds(least, 5))
    service.run(minutes(10, 5))
    last = service.run(minutes(silent, 0))
    assert (last.replicas == 0) == gone
    if gone:
        assert last.reason == "Idle"
        assert service.read(5).replicas == 1


def test_state_survives_being_written_down() -> None:
    service = Service(5)
    service.run(minutes(30, 1000))
    again = LawState.from_json(json.loads(json.dumps(service.state.to_json())))
    assert again == service.state
    service.run(minutes(1, 1000), p99_ms=500.0)
    assert service.state.raised is not None
    assert LawState.from_json(json.loads(json.dumps(service.state.to_json()))) == service.state
    assert LawState.from_json({**service.state.to_json(), "later": 1}) == service.state
    assert len(json.dumps(service.state.to_json())) < 20_000


NUMBER = st.one_of(st.none(), st.floats(), st.floats(0, 5000))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 4),
    st.integers(0, 20),
    st.lists(
        st.builds(
            Signals,
            now=st.one_of(st.floats(0, 1e6), st.floats()),
            rate_15s=NUMBER,
            rate_60s=NUMBER,
            replicas=st.integers(-1, 60),
            ready=st.integers(-1, 60),
            p99_ms=NUMBER,
            p99_age_seconds=st.floats(),
            late_share=NUMBER,
            pending=NUMBER,
            busiest_rps=NUMBER,
            ca2=NUMBER,
            service_scale=NUMBER,
            cold_start_seconds=st.floats(0, 600),
            complete=st.booleans(),
        ),
        max_size=8,
    ),
)
def test_no_reading_whatever_leaves_the_bounds(least: int, more: int, readings: list[Signals]) -> None:
    bounds, state = Bounds(least, least + more), LawState()
    for signals in readings:
        decision, state = decide(TABLE, SLO, bounds, signals, state)
        assert bounds.min_replicas <= decision.replicas <= bounds.max_replicas
        assert decision.message.endswith(".")


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 5000), st.floats(0, 5000))
def test_a_larger_rate_never_gets_fewer_replicas(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert Service(1).read(low, p99_ms=None).replicas <= Service(1).read(high, p99_ms=None).replicas


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(50, 3000), min_size=4, max_size=30))
def test_the_count_changes_direction_at_most_five_times_an_hour(rates: list[float]) -> None:
    service = Service(5)
    for rate in rates:
        service.run(minutes(3, rate))
    counts = service.counts()
    for start in range(0, len(counts), 40):
        assert turns(counts[start : start + 240]) <= 2 * LawSettings().turns_down_per_hour + 1
