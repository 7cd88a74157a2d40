"""The error budget over days: what is added, kept, merged and read back."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.measure.budget import MOST_ENTRIES, Ledger, parse
from seawall.measure.types import Counts

TODAY = date(2026, 5, 31)


def day(ago: int) -> str:
    return (TODAY - timedelta(days=ago)).isoformat()


def test_attainment_and_what_is_left() -> None:
    ledger = Ledger().add(Counts(50_000, 49_800, 10), day(1)).add(Counts(50_000, 49_900, 20), day(0))
    view = ledger.view(day(0))
    assert view.requests == 100_000
    assert view.attainment == pytest.approx(0.997)
    assert view.remaining == pytest.approx(1 - 300 / 1000)
    assert ledger.view(day(0), 0.9999).remaining == pytest.approx(1 - 30 / 10)


@pytest.mark.parametrize(
    ("counts", "availability", "remaining"),
    [
        (Counts(1000, 1000, 0), None, 1.0),
        (Counts(1000, 990, 0), None, 0.0),
        (Counts(1000, 900, 0), None, -9.0),
        (Counts(1000, 995, 5), 0.99, 0.5),
        (Counts(1000, 995, 5), 0.999, -4.0),
        (Counts(1000, 1000, 0), 1.0, 1.0),
    ],
)
def test_the_smaller_of_both_objectives(counts: Counts, availability: float | None, remaining: float) -> None:
    assert Ledger().add(counts, day(0)).view(day(0), availability).remaining == pytest.approx(remaining)


def test_without_requests_nothing_is_known() -> None:
    for ledger in (Ledger(), Ledger().add(Counts(), day(0))):
        assert ledger.view(day(0)).attainment is None
        assert ledger.view(day(0)).remaining is None


def test_a_day_without_requests_leaves_no_trace() -> None:
    assert Ledger().add(Counts(), "2026-11-01").days == ()


def test_a_window_forgets() -> None:
    ledger = Ledger(7.0)
    for ago in range(20, -1, -1):
        ledger = ledger.add(Counts(100, 100 if ago < 10 else 0, 0), day(ago))
    view = ledger.view(day(0))
    assert view.requests == 800, "seven days back from any hour touch eight dates"
    assert view.attainment == 1.0
    assert ledger.view((TODAY + timedelta(days=30)).isoformat()).attainment is None


@pytest.mark.parametrize("window", [0.04, 0.5, 1, 7, 30, 31, 45, 90, 99, 416.6])
def test_the_status_stays_small_and_the_window_whole(window: float) -> None:
    ledger = Ledger(window)
    for ago in range(600, -1, -1):
        ledger = ledger.add(Counts(100, 99, 1), day(ago))
    assert len(ledger.days) <= MOST_ENTRIES
    covered = ledger.view(day(0)).requests / 100
    assert window <= covered <= window + 2 * ledger.span_days + 1


@pytest.mark.parametrize("bad", [Counts(math.nan, 0, 0), Counts(-1, 0, 0), Counts(5, math.inf, 0)])
def test_no_nonsense_is_added(bad: Counts) -> None:
    assert Ledger().add(bad, day(0)) == Ledger()


def test_the_status_is_read_back() -> None:
    ledger = Ledger().add(Counts(50_000, 49_800, 10), day(1)).add(Counts(7, 7, 0), day(0))
    documents = ledger.documents()
    assert documents[0] == {"day": day(1), "total": 50_000, "good": 49_800, "failed": 10}
    assert Ledger().merge(parse(documents)) == ledger
    assert ledger.merge(parse(documents)) == ledger


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "2026-05-01",
        {},
        {"day": "yesterday", "total": 1, "good": 1, "failed": 0},
        {"day": "2026-02-30", "total": 1, "good": 1, "failed": 0},
        {"day": "2026-05-01", "total": "1", "good": 1, "failed": 0},
        {"day": "2026-05-01", "total": True, "good": True, "failed": False},
        {"day": "2026-05-01", "total": 1, "good": 9, "failed": 0},
        {"day": "2026-05-01", "total": -1, "good": 0, "failed": 0},
        {"day": "2026-05-01", "total": math.nan, "good": 0, "failed": 0},
        {"day": "2026-05-01", "total": 1e300, "good": 0, "failed": 0},
    ],
)
def test_what_others_wrote_into_the_status_counts_for_nothing(entry: object) -> None:
    good = {"day": day(0), "total": 5, "good": 5, "failed": 0}
    assert parse([entry, good]) == ((day(0), 5.0, 5.0, 0.0),)


def test_a_day_from_the_future_takes_nothing_away() -> None:
    ledger = Ledger().merge(parse([{"day": "2099-01-01", "total": 9, "good": 9, "failed": 0}]))
    ledger = ledger.merge([(day(1), 100.0, 99.0, 0.0)])
    assert ledger.view(day(0)).requests == 100
    assert [entry[0] for entry in ledger.add(Counts(1, 1, 0), day(0)).days] == [day(1), day(0)]


ENTRIES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 10_000), st.integers(0, 10_000)).map(
        lambda e: (day(e[0]), float(max(e[1:])), float(min(e[1:])), 0.0)
    ),
    max_size=40,
)


@given(ENTRIES, ENTRIES, st.sampled_from([1.0, 30.0, 90.0]))
def test_merging_is_in_any_order_and_any_number_of_times(
    first: list[tuple[str, float, float, float]], second: list[tuple[str, float, float, float]], window: float
) -> None:
    one, two = Ledger(window).merge(first), Ledger(window).merge(second)
    both = one.merge(two.days)
    assert both == two.merge(one.days)
    assert both == both.merge(one.days).merge(two.days)
    assert list(both.days) == sorted(both.days)
