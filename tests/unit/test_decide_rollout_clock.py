"""A clock that jumps by an hour in the middle of a rollout: it passes nobody and rolls nobody back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from seawall.decide.rollout_plan import Policy
from support.rollout_cases import canary, hold, pause, rejected
from support.rollout_sim import OPEN, PASS, PLAN, Sim, replace

HOUR = 3600
HASTY = replace(PLAN, policy=Policy(on_inconclusive="Promote", on_timeout_then="Rollback"))
STRICT = replace(PLAN, policy=Policy(on_inconclusive="Rollback", on_timeout_then="Rollback"))
MEASURED = replace(OPEN, seconds=60.0)
"""For a minute of the step."""


@pytest.mark.parametrize("by_pods", [False, True])
@pytest.mark.parametrize("plan", [HASTY, STRICT], ids=["hasty", "strict"])
@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_the_analysis_goes_on(seconds: int, plan: Any, by_pods: bool) -> None:
    routes = {"routes": None} if by_pods else {}
    sim = canary(1, plan=replace(plan, by_pods=by_pods), **routes)
    weight = sim.state.weight
    sim.look_says = MEASURED
    sim.look()
    sim.now += timedelta(seconds=seconds)
    for _ in range(5):
        sim.look()
        sim.wait(5)
    assert (sim.state.step, sim.state.weight, pause(sim), rejected(sim)) == (1, weight, "", ("", ""))
    sim.look_says = replace(PASS, seconds=75.0)
    sim.look()
    assert sim.state.step == 2


def test_time_that_was_measured_ends_a_step_as_before() -> None:
    sim = canary(1, plan=STRICT)
    sim.look_says = replace(OPEN, seconds=1801.0)
    sim.wait(1790)
    sim.look()
    assert hold(sim) == "Analysing"
    sim.wait(20)
    sim.look()
    assert rejected(sim) == ("bbbbbbbb", "Inconclusive")


def moments(sim: Sim) -> list[Any]:
    state = sim.state
    since = state.hold.since if state.hold is not None else None
    return [m for m in (state.started_at, state.step_started_at, since) if m is not None]


def test_a_clock_that_is_put_back_leaves_no_moment_in_the_future() -> None:
    """It would stop every limit, and the step's windows, until the clock comes there again."""
    sim = canary(1)
    assert len(moments(sim)) == 3
    sim.now -= timedelta(seconds=HOUR)
    sim.look()
    assert max(moments(sim)) <= sim.now
    assert sim.state.step_started_at == sim.now
    before = sim.status
    sim.look()
    assert sim.status == before


def test_a_clock_that_is_a_little_behind_the_last_operators_changes_nothing() -> None:
    sim = canary(1)
    before = sim.status
    sim.now -= timedelta(seconds=30)
    sim.look()
    assert sim.status == before
