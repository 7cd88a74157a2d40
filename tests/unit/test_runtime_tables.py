"""Capacity tables are made once each, beside the event loop, and forgotten in order of use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from seawall.runtime.tables import Tables
from seawall.sizing.capacity import CapacityTable, build_table
from seawall.sizing.profile import Dispatch, PodProfile, ProfileError


def profile(milliseconds: float = 5.0) -> PodProfile:
    return PodProfile(sizes=(1,), mean_ms=(milliseconds,), std_ms=(0.1,), max_batch_size=1)


TABLE = build_table(profile(), "random", 20.0, requests=200)


class Maker:
    """Makes tables when the gate is open, and counts them."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[str] = set()
        self.fault: Exception | None = None

    def __call__(self, made_of: PodProfile, dispatch: Dispatch, slo_ms: float) -> CapacityTable:
        self.gate.wait(10)
        self.threads.add(threading.current_thread().name)
        self.made.append((made_of.key, dispatch, slo_ms))
        if self.fault is not None:
            raise self.fault
        return TABLE


@pytest.fixture
def maker() -> Maker:
    return Maker()


def finished(tables: Tables, ask: Callable[[], CapacityTable | None]) -> CapacityTable | None:
    """The answer once nothing is being made any more."""
    ask()
    for making in list(tables._making.values()):
        making.exception(10)
    return ask()


def test_a_table_is_asked_for_and_there_the_next_time(maker: Maker) -> None:
    tables = Tables(maker)
    maker.gate.clear()
    assert tables.get(profile(), "random", 20.0) is None
    assert tables.get(profile(), "random", 20.0) is None
    maker.gate.set()
    assert finished(tables, lambda: tables.get(profile(), "random", 20.0)) is TABLE
    assert len(maker.made) == 1
    assert maker.threads.isdisjoint({threading.main_thread().name})


def test_what_differs_in_profile_dispatch_or_slo_has_a_table_of_its_own(maker: Maker) -> None:
    tables = Tables(maker)
    asked: list[tuple[PodProfile, Dispatch, float]] = [
        (profile(5.0), "random", 20.0),
        (profile(6.0), "random", 20.0),
        (profile(5.0), "p2c", 20.0),
        (profile(5.0), "random", 30.0),
        (profile(5.0), "random", 20.0),
    ]
    for made_of, dispatch, slo in asked:
        finished(tables, partial(tables.get, made_of, dispatch, slo))
    assert len(maker.made) == len(tables) == 4


def test_the_one_that_nobody_asked_for_longest_is_forgotten(maker: Maker) -> None:
    tables = Tables(maker, kept=2)
    for milliseconds in (1.0, 2.0, 1.0, 3.0, 1.0):
        asked = partial(tables.get, profile(milliseconds), "random", 20.0)
        finished(tables, asked)
    assert [key for key, _, _ in maker.made] == [profile(ms).key for ms in (1.0, 2.0, 3.0)]
    assert len(tables) == 2


def test_a_table_that_cannot_be_made_is_told_once_and_not_tried_for_ever(
    maker: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    tables = Tables(maker)
    maker.fault = ProfileError("no such dispatch")
    for _ in range(3):
        assert finished(tables, lambda: tables.get(profile(), "random", 20.0)) is None
    assert len(maker.made) == 1
    assert [r.message for r in caplog.records if "no such dispatch" in r.message] != []
    maker.fault = None
    assert finished(tables, lambda: tables.get(profile(9.0), "random", 20.0)) is TABLE


@pytest.mark.long
def test_the_law_gets_the_very_table_that_sizing_makes() -> None:
    quick = partial(build_table, requests=200)
    tables = Tables(quick)
    found = finished(tables, lambda: tables.get(profile(), "random", 20.0))
    assert found is not None
    assert found.key == TABLE.key
    assert (found.p99_ms == TABLE.p99_ms).all()
    tables.close()
