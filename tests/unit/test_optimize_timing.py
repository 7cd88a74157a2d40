"""Timing in rounds, by a clock of the test's own; and what is made of the figures."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from seawall.optimize import auto
from seawall.optimize.timing import ORIGINAL, TURN_MS, batch_sizes, in_rounds, is_narrow, timings
from seawall.optimize.triton_profile import Server, instance_count, overhead, queue_delay_ms
from seawall.optimize.types import BatchTiming, Profile


class Machine:
    """Whoever runs moves the clock; the machine gets slower by the second."""

    def __init__(self, slower: float = 0.0, jitter: float = 0.0) -> None:
        self.now = 0.0
        self.slower = slower
        self.jitter = jitter
        self.calls: list[tuple[str, int]] = []

    def clock(self) -> float:
        return self.now

    def runner(self, name: str, milliseconds: float):  # type: ignore[no-untyped-def]
        def run(size: int) -> float:
            self.calls.append((name, size))
            wobble = 1.0 + self.jitter * (len(self.calls) % 7)
            taken = milliseconds * size * wobble * (1.0 + self.slower * self.now)
            self.now += taken / 1000.0
            return taken

        return run


def test_ratios_hold_on_a_machine_that_gets_slower() -> None:
    machine = Machine(slower=0.2, jitter=0.1)
    runners = {ORIGINAL: machine.runner(ORIGINAL, 2.0), "int8": machine.runner("int8", 1.0)}
    measured = in_rounds(runners, (1, 8), 20.0, machine.clock)
    for row in timings(measured, "int8"):
        assert row.ratio_to_original == pytest.approx(0.5, abs=0.05)
    assert all(row.ratio_to_original is None for row in timings(measured, ORIGINAL))


def test_a_steady_machine_is_measured_no_longer_than_needed() -> None:
    machine = Machine()
    in_rounds({ORIGINAL: machine.runner(ORIGINAL, 0.1)}, (1,), 1000.0, machine.clock)
    assert machine.now < 1.0


def test_everything_is_measured_once_however_short_the_time() -> None:
    machine = Machine()
    runners = {name: machine.runner(name, 500.0) for name in (ORIGINAL, "int8")}
    measured = in_rounds(runners, (1, 32), 0.0, machine.clock)
    assert {name: sorted(sizes) for name, sizes in measured.items()} == {ORIGINAL: [1, 32], "int8": [1, 32]}


def test_candidates_take_turns() -> None:
    machine = Machine(jitter=0.5)
    runners = {name: machine.runner(name, TURN_MS) for name in ("a", "b")}
    in_rounds(runners, (1,), 1.0, machine.clock)
    after_warm_up = [name for name, _ in machine.calls[6:]]
    assert after_warm_up[:4] == ["a", "b", "a", "b"]


NARROW = {
    "too few": ([1.0] * 100, False),
    "steady": ([1.0, 1.01] * 300, True),
    "two speeds, half and half": ([1.0, 2.0] * 300, False),
}


@pytest.mark.parametrize(("times", "narrow"), NARROW.values(), ids=NARROW.keys())
def test_when_a_median_is_known_well_enough(times: Sequence[float], narrow: bool) -> None:
    assert is_narrow(times) is narrow


SIZES = {
    "powers of two": (8, True, (1, 2, 4, 8)),
    "and the largest": (12, True, (1, 2, 4, 8, 12)),
    "no batches wanted": (0, True, (1,)),
    "none taken": (8, False, (1,)),
}


@pytest.mark.parametrize(("most", "batched", "sizes"), SIZES.values(), ids=SIZES.keys())
def test_which_batch_sizes_are_measured(most: int, batched: bool, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(most, batched) == sizes


def profile(
    times: dict[int, float], ratio: float | None = None, overhead_ms: float = 0.0, tail: float = 1.0
) -> Profile:
    rows = tuple(BatchTiming(n, t, 0.0, t, t * tail, 500, ratio) for n, t in times.items())
    return Profile("cpu", rows, "triton", overhead_ms=overhead_ms)


DELAYS = {
    # profile, SLO -> delay
    "no SLO, no wait": (profile({1: 2.0, 8: 4.0}), None, 0.0),
    "batches bring nothing": (profile({1: 2.0, 8: 16.0}), 100.0, 0.0),
    "as long as one request takes": (profile({1: 2.0, 8: 4.0}), 100.0, 2.0),
    "half of what the SLO leaves": (profile({1: 2.0, 8: 4.0}), 10.0, 1.0),
    "overhead is part of the SLO": (profile({1: 2.0, 8: 4.0}, overhead_ms=1.0), 10.0, 0.5),
    "no room": (profile({1: 2.0, 8: 4.0}), 8.0, 0.0),
    "an SLO that cannot be met": (profile({1: 2.0, 8: 4.0}), 1.0, 0.0),
}


@pytest.mark.parametrize(("found", "slo", "delay"), DELAYS.values(), ids=DELAYS.keys())
def test_the_queue_delay_comes_from_the_slo(found: Profile, slo: float | None, delay: float) -> None:
    assert queue_delay_ms(found, slo) == delay


INSTANCES = {
    "as asked": (2, 1, 4, 2),
    "no more than cores": (4, 1, 2, 2),
    "with the cores each had": (4, 2, 4, 2),
    "at least one": (1, 8, 2, 1),
}


@pytest.mark.parametrize(("asked", "threads", "cores", "count"), INSTANCES.values(), ids=INSTANCES.keys())
def test_instances_fit_into_the_cores(asked: int, threads: int, cores: int, count: int) -> None:
    assert instance_count(asked, threads, cores) == count


def test_overhead_is_what_the_client_saw_beyond_the_server_at_the_smallest_batch() -> None:
    assert overhead([(1, 3.0, 2.0), (1, 4.0, 2.5), (1, 9.0, 2.0), (8, 99.0, 1.0)], 1) == 1.5


COSTS = {
    # profile, SLO -> cost per request and batch, against an original of 2 ms at 1 and 8 ms at 8
    "the largest batch, without an SLO": (profile({1: 1.0, 8: 4.0}, 0.5), None, (0.5, 8)),
    "a smaller one, with an SLO": (profile({1: 1.0, 8: 4.0}, 0.5), 5.0, (1.0, 1)),
    "none": (profile({1: 1.0, 8: 4.0}, 0.5), 1.0, (None, 1)),
    "the tail counts": (profile({1: 1.0, 8: 4.0}, 0.5, tail=4.0), 5.0, (1.0, 1)),
    "so does overhead": (profile({1: 1.0, 8: 4.0}, 0.5, overhead_ms=4.0), 5.0, (None, 1)),
    "a busy hour changes the times and not the ratio": (profile({1: 10.0, 8: 40.0}, 0.5), None, (0.5, 8)),
}


@pytest.mark.parametrize(("found", "slo", "cost"), COSTS.values(), ids=COSTS.keys())
def test_the_cost_of_a_preset(found: Profile, slo: float | None, cost: tuple[float | None, int]) -> None:
    assert auto.cheapest(found, profile({1: 2.0, 8: 8.0}), slo) == cost


@pytest.mark.parametrize("url", ["localhost:8001", "ftp://localhost", "grpc://"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="no address of a Triton"):
        Server(url)
