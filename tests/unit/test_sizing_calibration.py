"""Service times from batch statistics: what moves the scale, and what must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.sizing.calibration import BatchCount, Calibration, difference, fit, measure, overhead_ms, update
from seawall.sizing.profile import PodProfile

PROFILE = PodProfile((1, 8), (7.0, 14.0), (0.0, 0.0))


def ran(factor: float = 1.0, count: int = 1000, sizes: tuple[int, ...] = (1, 2, 3, 4)) -> list[BatchCount]:
    return [BatchCount(b, count, round(count * factor * PROFILE.service_time(b) * 1e6)) for b in sizes]


DIFFERENCES = {
    "ordinary": ([BatchCount(1, 10, 100)], [BatchCount(1, 15, 180)], [BatchCount(1, 5, 80)]),
    "a size that is new": ([], [BatchCount(2, 5, 50)], [BatchCount(2, 5, 50)]),
    "a restart": ([BatchCount(1, 100, 1000)], [BatchCount(1, 3, 30)], [BatchCount(1, 3, 30)]),
    "nothing ran": ([BatchCount(1, 10, 100)], [BatchCount(1, 10, 100)], []),
    "time without batches": ([BatchCount(1, 10, 100)], [BatchCount(1, 10, 150)], []),
}


@pytest.mark.parametrize(("before", "after", "expected"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_the_difference_of_two_readings(
    before: list[BatchCount], after: list[BatchCount], expected: list[BatchCount]
) -> None:
    assert difference(before, after) == expected


@given(st.floats(0.5, 3.0))
def test_the_scale_is_found(factor: float) -> None:
    found = measure(PROFILE, {"a": ran(factor), "b": ran(factor)})
    assert found is not None
    assert found[0] == pytest.approx(factor, rel=1e-3)


def test_one_slow_pod_of_five_does_not_move_the_scale() -> None:
    pods = {f"pod-{i}": ran() for i in range(4)} | {"slow": ran(3.0)}
    found = measure(PROFILE, pods)
    assert found is not None
    assert found[0] == pytest.approx(1.0, abs=0.01)


IGNORED = {
    "too few batches": [BatchCount(1, 5, 500_000_000)],
    "a size that the model has not": [BatchCount(99, 1000, 10**9)],
    "an absurd time": [BatchCount(1, 1000, 10**18)],
    "nothing": [],
}


@pytest.mark.parametrize("entries", IGNORED.values(), ids=IGNORED.keys())
def test_what_proves_nothing_changes_nothing(entries: list[BatchCount]) -> None:
    before = Calibration(scale=1.1, batches=500)
    assert update(before, PROFILE, {"a": entries}) == before


def test_a_drift_is_followed_smoothly_and_said() -> None:
    state = Calibration()
    for _ in range(5):
        state = update(state, PROFILE, {"a": ran(1.0)})
    assert not state.drifted
    step = update(state, PROFILE, {"a": ran(1.25)})
    assert 1.0 < step.scale < 1.25
    for _ in range(15):
        state = update(state, PROFILE, {"a": ran(1.25)})
    assert state.scale == pytest.approx(1.25, rel=0.01)
    assert state.drifted
    assert state.message == "Batches run 25% slower than the profile says: measure it again."


def test_a_faster_pod_is_a_drift_too() -> None:
    state = update(Calibration(), PROFILE, {"a": ran(0.7)})
    assert state.drifted
    assert "30% faster" in state.message


def test_confidence_grows_with_agreeing_measurements_and_narrows_the_margin() -> None:
    fresh, calm, shaky = Calibration(), Calibration(), Calibration()
    for index in range(10):
        calm = update(calm, PROFILE, {"a": ran(1.0)})
        shaky = update(shaky, PROFILE, {"a": ran(1.0 if index % 2 else 1.4)})
    assert fresh.confidence == 0
    assert fresh.confidence < shaky.confidence < calm.confidence <= 1
    assert fresh.margin > shaky.margin > calm.margin == 0
    assert calm.trusted


def test_the_line_is_fitted_through_the_sizes_against_an_outlier() -> None:
    entries = ran(1.0, sizes=(1, 2, 3, 4, 5, 6))
    entries.append(BatchCount(8, 40, 40 * 60_000_000))
    line = fit(entries)
    assert line is not None
    assert line == pytest.approx((6.0, 1.0), rel=0.1)
    assert fit(ran(sizes=(3,))) is None


OVERHEADS = {
    "what is left": ((10.0, 2.0, 7.0, 0.5), 1.5),
    "parts larger than the whole": ((10.0, 6.0, 7.0, 0.0), None),
    "not a number": ((float("nan"), 1.0, 1.0, 0.0), None),
    "negative": ((10.0, -1.0, 1.0, 0.0), None),
}


@pytest.mark.parametrize(("parts", "expected"), OVERHEADS.values(), ids=OVERHEADS.keys())
def test_the_overhead(parts: tuple[float, float, float, float], expected: float | None) -> None:
    assert overhead_ms(*parts) == expected
