"""From readings to assessments: what is published, what is remembered, and that nothing unknown removes a pod."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.decide.scaling import Arm, Memory, assess, assess_all, profile_of
from seawall.decide.types import Assessment
from seawall.measure.types import Reading
from seawall.sizing.calibration import BatchCount
from seawall.sizing.capacity import CapacityTable, build_table, predicted_p99
from seawall.sizing.profile import PodProfile
from seawall.sizing.state import Bounds

PROFILE = PodProfile((1, 8), (7.0, 14.0), (0.1, 0.1), max_batch_size=8)
SLO = 40.0


@cache
def table() -> CapacityTable:
    return build_table(PROFILE, "random", SLO, requests=1500)


def arm(**over: Any) -> Arm:
    base = Arm(
        namespace="demo", service="digits", revision="aa", slo_ms=SLO, mode="Direct", bounds=Bounds(1, 50),
        table=table(), profile=PROFILE, profile_from="Build", replicas=4, ready=4, max_batch_size=8,
    )  # fmt: skip
    return replace(base, **over)


def reading(at: float, rps: float | None = 400.0, **over: Any) -> Reading:
    base = Reading(at=at, source="Triton", rate_15s=rps, rate_60s=rps, p99_ms=20.0, late_share=0.0)
    return replace(base, **over)


def silent(at: float) -> Reading:
    return Reading(at=at, trouble="MetricsUnavailable", message="nobody answers")


class Service:
    """One revision over time; its count obeys at once, as Direct does."""

    def __init__(self, **over: Any) -> None:
        self.arm, self.memory, self.now = arm(**over), Memory(), 1000.0
        self.last: Assessment | None = None

    def run(self, seconds: float, rps: float | None = 400.0, obey: bool = True, **over: Any) -> Assessment:
        for _ in range(max(1, round(seconds / 15))):
            self.now += 15
            read = silent(self.now) if rps is None else reading(self.now, rps, **(self.latency(rps) | over))
            self.last, self.memory = assess(self.now, replace(self.arm, reading=read), self.memory)
            if obey and self.last.decision is not None:
                count = self.last.decision.replicas
                self.arm = replace(self.arm, replicas=count, ready=count)
        assert self.last is not None
        return self.last

    def latency(self, rps: float) -> dict[str, Any]:
        """As pods that keep to their profile show it; what is overloaded shows whatever it shows."""
        p99 = predicted_p99(table(), rps / max(self.arm.ready, 1), pods=max(self.arm.ready, 1))
        return {"p99_ms": p99 if math.isfinite(p99) else 500.0, "late_share": 0.0 if p99 <= SLO else 0.2}

    @property
    def count(self) -> int:
        return self.arm.replicas


def test_more_load_gets_more_pods_at_once_and_less_load_fewer_pods_later() -> None:
    service = Service()
    service.run(600, 400)
    quiet = service.count
    service.run(300, 1600)
    busy = service.count
    assert busy > quiet
    service.run(15, 400)
    assert service.count == busy
    service.run(3600, 400)
    assert service.count < busy


def test_the_published_load_makes_an_autoscaler_arrive_at_the_laws_number() -> None:
    service = Service()
    for rps in (50, 900, 1700, 1200, 300, 2500, 10):
        for _ in range(20):
            made = service.run(15, rps)
            assert made.decision is not None
            assert made.load is not None
            assert math.ceil(made.load) == made.decision.replicas


def test_without_data_the_count_and_the_load_stand_and_then_nothing_is_said() -> None:
    service = Service()
    before = service.run(900, 1200)
    held = service.run(285, None)
    assert held.decision is not None
    assert before.decision is not None
    assert (held.decision.reason, held.decision.replicas) == ("NoData", before.decision.replicas)
    assert held.load == before.load
    assert service.run(30, None).load is None
    assert service.count == before.decision.replicas
    assert service.run(15, 1200).load is not None


def test_counters_that_are_old_are_no_demand() -> None:
    service = Service()
    service.run(900, 1200)
    before = service.count
    made, _ = assess(
        service.now + 60, replace(service.arm, reading=reading(service.now, 1.0)), service.memory
    )
    assert made.decision is not None
    assert (made.decision.reason, made.decision.replicas) == ("NoData", before)


def test_a_new_leader_goes_on_with_the_load_that_the_status_shows() -> None:
    service = Service(published=7.31, replicas=8, ready=8)
    first = service.run(15, None)
    assert (first.load, service.count) == (7.31, 8)
    assert service.run(240, 400).decision.replicas >= 8  # type: ignore[union-attr]
    late = Service(published=7.31, replicas=8, ready=8)
    assert late.run(330, None).load is None


def test_until_there_is_a_table_the_assessment_holds() -> None:
    service = Service(table=None, published=3.5)
    made = service.run(60, 400)
    assert (made.decision, made.load, made.profile) == (None, 3.5, "Build")


@pytest.mark.parametrize("mode", ["Fixed", "HPA", "KEDA"])
def test_a_change_of_mode_goes_on_from_the_live_count(mode: Any) -> None:
    service = Service(mode=mode, replicas=12, ready=12)
    service.run(1800, 100, obey=False)
    service.arm = replace(service.arm, mode="Direct")
    service.run(285, 100)
    assert service.count == 12
    service.run(1800, 100)
    assert service.count < 12


BEHAVIOR = {
    "one pod a minute": (
        {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        [2, 2, 2, 2, 3, 3, 3, 3, 4],
    ),
    "never up": ({"scaleUp": {"selectPolicy": "Disabled"}}, [1] * 9),
    "only after a minute of need": (
        {"scaleUp": {"stabilizationWindowSeconds": 60, "policies": [
            {"type": "Pods", "value": 100, "periodSeconds": 15}]}},
        [1, 1, 1],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("behavior", "counts"), BEHAVIOR.values(), ids=BEHAVIOR)
def test_mode_direct_obeys_a_users_behavior(behavior: dict[str, Any], counts: list[int]) -> None:
    service = Service(behavior=behavior, replicas=1, ready=1)
    service.run(15, 20)
    seen = []
    for _ in counts:
        made = service.run(15, 3000)
        seen.append(service.count)
    assert seen == counts
    assert made.decision is not None
    assert "spec.scaling.behavior allows" in made.decision.message
    assert made.load is not None
    assert math.ceil(made.load) > made.decision.replicas  # an autoscaler would apply the behavior itself


def test_a_behavior_of_the_user_is_not_obeyed_twice_where_an_autoscaler_obeys_it() -> None:
    behavior = {"scaleUp": {"selectPolicy": "Disabled"}}
    service = Service(mode="HPA", behavior=behavior, replicas=1, ready=1)
    made = service.run(15, 3000)
    assert made.decision is not None
    assert made.decision.replicas > 1


def batches(count: int, factor: float = 1.0) -> dict[str, tuple[BatchCount, ...]]:
    sizes = (1, 2, 4, 8)
    return {
        "p": tuple(BatchCount(b, count, round(count * factor * PROFILE.service_time(b) * 1e6)) for b in sizes)
    }


def test_service_times_that_many_batches_show_replace_the_profiles() -> None:
    slow, quick = Service(), Service()
    slower = slow.run(900, 1600, batches=batches(500, 1.3))
    as_told = quick.run(900, 1600, batches=batches(500))
    assert slower.decision is not None
    assert as_told.decision is not None
    assert slower.decision.replicas > as_told.decision.replicas
    assert "slower than the profile says" in slower.drift
    assert as_told.drift == ""


def test_doubt_keeps_a_margin_that_confirmation_takes_away() -> None:
    service = Service()
    assert service.memory.calibration.margin == pytest.approx(0.1)
    service.run(900, 1600, batches=batches(500))
    assert service.memory.calibration.margin == 0


def test_a_margin_never_makes_an_slo_look_as_if_it_could_not_be_met() -> None:
    floor = float(table().p99_ms[0, 0, 0])
    made = Service(slo_ms=floor * 1.03).run(60, 20)
    assert made.decision is not None
    assert made.decision.feasible


def test_a_model_that_nobody_measured_is_learned_from_its_batches() -> None:
    service = Service(profile=None, profile_from="None", table=None)
    assert service.run(15, 400).profile == "None"
    assert profile_of(service.arm, service.memory) == (None, "None")
    assert service.run(60, 400, batches=batches(40)).profile == "Measured"
    profile, source = profile_of(replace(service.arm, max_queue_delay_ms=0.5), service.memory)
    assert profile is not None
    assert (source, profile.max_queue_delay_ms) == ("Measured", 0.5)
    assert profile.service_time(8) == pytest.approx(14.0)


def test_the_cold_start_is_the_slow_tenth_of_what_pods_have_shown() -> None:
    starts = {f"p{i}": float(10 + i) for i in range(20)}
    _, memory = assess(1000.0, arm(starts=starts, reading=reading(1000.0)), Memory())
    assert max(memory.starts.values()) == 29.0
    _, later = assess(1015.0, arm(starts={"p1": 900.0, "p99": 40.0}, reading=reading(1015.0)), memory)
    assert later.starts["p1"] == 11.0  # a pod that was unready for a while has not started slowly
    assert later.starts["p99"] == 40.0


def test_a_candidate_is_made_for_what_the_stable_revision_carries() -> None:
    stable, candidate = arm(reading=reading(1000.0, 1600)), arm(revision="bb", role="Candidate", replicas=1)
    made, kept = assess_all(1000.0, [candidate, stable], {})
    assert set(kept) == {"aa", "bb"}
    serving, coming = made["aa"].decision, made["bb"].decision
    assert serving is not None
    assert coming is not None
    assert coming.demand_rps == serving.demand_rps
    assert coming.replicas == serving.terms.feed_forward
    assert (made["bb"].load, made["bb"].mode) == (None, "")
    alone, _ = assess_all(1000.0, [candidate], {})
    assert alone["bb"].decision is None


COSTS = {
    "money": ({"price_per_hour": 0.72, "replicas": 5}, {}, (0.0025, None, False)),
    "no price": ({}, {}, (None, None, False)),
    "nobody asked": ({"price_per_hour": 0.72, "idle_watts": 30.0, "peak_watts": 70.0}, {"rps": 0.0},
                     (None, None, False)),
    "a meter of its own": ({"owns_device": True, "idle_watts": 1.0, "peak_watts": 2.0},
                           {"joules_per_request": 0.02}, (None, 20.0, False)),
    "a meter that others share": ({"idle_watts": 30.0, "peak_watts": 70.0}, {"joules_per_request": 0.02},
                                  (None, 1000 * 4 * (30 + 40 * 0.7) / 400, True)),
    "half a power model": ({"idle_watts": 30.0}, {}, (None, None, False)),
}  # fmt: skip


@pytest.mark.parametrize(("over", "read", "expected"), COSTS.values(), ids=COSTS)
def test_what_a_thousand_requests_cost(
    over: dict[str, Any], read: dict[str, Any], expected: tuple[float | None, float | None, bool]
) -> None:
    made, _ = assess(1000.0, arm(reading=reading(1000.0, **read), **over), Memory())
    assert (made.cost_per_1k, made.joules_per_1k) == pytest.approx(expected[:2])
    assert made.estimated is expected[2]


NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 3000)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans(), st.integers(0, 60)),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["Direct", "HPA", "KEDA", "Fixed", "External"]),
)
def test_no_reading_makes_a_number_that_is_none(readings: list[Any], mode: Any) -> None:
    memory, now, least = Memory(), 1000.0, 0
    for rate, p99, late, pending, ca2, complete, replicas in readings:
        now += 15
        read = Reading(now, "Triton", rate, rate, p99, late_share=late, pending=pending, ca2=ca2,
                       complete=complete)  # fmt: skip
        made, memory = assess(now, arm(mode=mode, replicas=replicas, ready=replicas, reading=read), memory)
        assert made.decision is not None
        assert 1 <= made.decision.replicas <= 50
        assert made.load is None or math.ceil(made.load) <= made.decision.replicas
        if made.decision.reason == "NoData":
            assert made.decision.replicas >= least
        least = made.decision.replicas
