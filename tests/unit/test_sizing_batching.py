"""Delay, queue bound and instances from the pod model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seawall.sizing.batching import choose, queue_bound
from seawall.sizing.profile import PodProfile

pytestmark = pytest.mark.long

PROFILE = PodProfile((1, 8), (7.0, 14.0), (0.0, 0.0))

BOUNDS = {
    "room for what full batches empty in the time left": (60.0, 27),
    "no time left: one full batch": (14.0, 8),
    "an slo below the service time: one full batch": (5.0, 8),
}


@pytest.mark.parametrize(("slo_ms", "expected"), BOUNDS.values(), ids=BOUNDS.keys())
def test_the_queue_bound(slo_ms: float, expected: int) -> None:
    assert queue_bound(PROFILE, slo_ms, 300) == expected


def test_two_instances_are_chosen_where_they_carry_more() -> None:
    same_speed = replace(PROFILE, instances=2)
    contended = same_speed.scaled(1.9)
    better = choose({1: PROFILE, 2: same_speed}, "random", 20.0, requests=4_000)
    worse = choose({1: PROFILE, 2: contended}, "random", 20.0, requests=4_000)
    assert better is not None
    assert worse is not None
    assert (better.instances, worse.instances) == (2, 1)
    assert better.capacity_rps > worse.capacity_rps
    assert better.max_queue_size >= 16


def test_a_pod_whose_batches_cost_by_the_request_does_not_wait() -> None:
    found = choose({1: PROFILE}, "random", 20.0, requests=4_000)
    assert found is not None
    assert found.max_queue_delay_us == 0
    assert "fill without waiting" in found.message


def test_an_slo_that_cannot_be_met_has_no_batching() -> None:
    assert choose({1: PROFILE}, "random", 6.0, requests=1_000) is None
