"""A profile learned from batch statistics: what it takes over, what it assumes, and when it is made anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.sizing.calibration import BatchCount
from seawall.sizing.learned import MOST_REMEMBERED, absorb, fitted, learned_profile, relearn
from seawall.sizing.profile import PodProfile


def ms(count: int, each: float) -> tuple[float, float]:
    return (float(count), count * each * 1e6)


LEARNED = {
    "what was seen is taken as it is": ({1: ms(500, 7), 4: ms(100, 10)}, 4, {1: 7, 4: 10}),
    "between two sizes it is a line": ({1: ms(500, 7), 5: ms(100, 11)}, 5, {3: 9}),
    "beyond the largest the line holds once": ({1: ms(500, 7), 4: ms(100, 10)}, 8, {8: 14, 6: 12}),
    "and then there is no gain": ({1: ms(500, 7), 4: ms(100, 10)}, 32, {8: 14, 16: 28, 32: 56}),
    "nor a line steeper than no gain": ({1: ms(500, 7), 2: ms(100, 40)}, 4, {4: 80}),
    "one size alone": ({1: ms(300, 6)}, 4, {1: 6, 2: 12, 4: 24}),
    "below the smallest nothing is faster": ({4: ms(300, 10)}, 8, {1: 10, 3: 10, 8: 20}),
    "a size seen only a few times is left out": ({1: ms(300, 6), 2: ms(3, 90)}, 2, {2: 12}),
    "a larger batch is never faster": ({1: ms(300, 6), 2: ms(300, 5)}, 2, {2: 6}),
    "no largest batch given": ({1: ms(300, 6), 3: ms(300, 9)}, None, {3: 9}),
}


@pytest.mark.parametrize(("seen", "most", "expected"), LEARNED.values(), ids=LEARNED)
def test_a_learned_profile(
    seen: dict[int, tuple[float, float]], most: int | None, expected: dict[int, float]
) -> None:
    profile = learned_profile(seen, most, 1, 0.5)
    assert profile is not None
    assert {size: profile.service_time(size) for size in expected} == pytest.approx(expected)


@pytest.mark.parametrize("seen", [{}, {1: ms(199, 7)}, {size: ms(9, 7) for size in range(1, 64)}])
def test_too_few_batches_are_no_profile(seen: dict[int, tuple[float, float]]) -> None:
    assert learned_profile(seen, 64, 1, 0.5) is None


@given(
    st.dictionaries(st.integers(1, 40), st.tuples(st.integers(1, 9000), st.floats(0.01, 500)), max_size=8),
    st.none() | st.integers(1, 64),
)
def test_any_statistics_make_a_usable_profile_or_none(
    raw: dict[int, tuple[int, float]], most: int | None
) -> None:
    profile = learned_profile({size: ms(*each) for size, each in raw.items()}, most, 1, 0.5)
    if profile is None:
        return
    times = [profile.service_time(size) for size in range(1, profile.max_batch_size + 1)]
    assert times == sorted(times)
    assert times[0] > 0
    assert profile.limit_rps > 0


def test_what_ran_is_summed_over_pods_and_the_old_fades() -> None:
    ran = {"a": [BatchCount(1, 100, 700)], "b": [BatchCount(1, 100, 900), BatchCount(2, 5, 50)]}
    assert absorb({1: (10.0, 70.0)}, ran) == {1: (210.0, 1670.0), 2: (5.0, 50.0)}
    many = {"a": [BatchCount(1, MOST_REMEMBERED, 10**9)]}
    assert absorb(absorb({}, many), many)[1][0] == MOST_REMEMBERED
    assert absorb({}, {"a": [BatchCount(0, 5, 5), BatchCount(1, 0, 5), BatchCount(2, 5, 0)]}) == {}


SEEN = {1: ms(2000, 7), 4: ms(2000, 10)}
RELEARN = {
    "the same again": ({1: ms(4000, 7), 4: ms(4000, 10)}, False),
    "all a third slower is drift, not shape": ({1: ms(4000, 9.3), 4: ms(4000, 13.3)}, False),
    "one size moved by a quarter": ({1: ms(4000, 7), 4: ms(4000, 15)}, True),
    "a new size in weight": (SEEN | {8: ms(500, 19)}, True),
    "a new size, seen a few times": (SEEN | {8: ms(12, 19)}, False),
}


@pytest.mark.parametrize(("seen", "anew"), RELEARN.values(), ids=RELEARN)
def test_a_new_table_is_made_only_for_what_changes_the_answer(
    seen: dict[int, tuple[float, float]], anew: bool
) -> None:
    first = relearn(None, SEEN, 8, 1, 0.5)
    assert first is not None
    again = relearn(first, seen, 8, 1, 0.5)
    assert again is not None
    assert (again.profile.key != first.profile.key) == anew


MEASURED = PodProfile((1, 4, 8), (7.0, 10.0, 14.0), (0.1, 0.1, 0.1), max_batch_size=8)
FITTED = {
    "as it is": (8, {1: 7, 8: 14}),
    "no largest batch given": (None, {8: 14}),
    "a smaller largest batch": (6, {4: 10, 6: 12}),
    "a larger one gains nothing more": (16, {8: 14, 16: 28}),
    "no batches at all": (0, {1: 7}),
}


@pytest.mark.parametrize(("most", "expected"), FITTED.values(), ids=FITTED)
def test_a_measured_profile_as_the_pod_runs_it(most: int | None, expected: dict[int, float]) -> None:
    made = fitted(MEASURED, most, 2, 0.5, 16)
    assert {size: made.service_time(size) for size in expected} == pytest.approx(expected)
    assert (made.instances, made.max_queue_delay_ms, made.max_queue_size) == (2, 0.5, 16)
    assert made.max_batch_size == max(expected)
