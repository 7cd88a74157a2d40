"""A canary whose routes do not do as written, or whose status somebody else has written."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from seawall.decide.rollout import advance
from seawall.decide.rollout_state import Phase, RolloutState
from support.rollout_cases import canary, hold, pause
from support.rollout_sim import (
    PASS,
    WORSE,
    A,
    B,
    C,
    Route,
    Sim,
)

# --- routes


def broken(sim: Sim, **how: Any) -> None:
    assert sim.routes is not None
    for name, value in how.items():
        setattr(sim.routes[1], name, value)


ROUTES: dict[str, tuple[Callable[[Sim], None], str]] = {
    "not accepted": (lambda s: broken(s, problem="RouteNotAccepted", settled=False), "RouteNotAccepted"),
    "references not resolved": (
        lambda s: broken(s, problem="RouteRefsNotResolved", settled=False), "RouteRefsNotResolved"
    ),
    "observedGeneration lags": (lambda s: broken(s, settled=False), "WeightNotInForce"),
    "the GRPCRoute takes no weight while the HTTPRoute does": (
        lambda s: broken(s, weight=0, deaf=True), "RouteConflict"
    ),
    "deleted mid-run": (lambda s: broken(s, present=False), "RouteNotFound"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUTES)
def test_route_problem_holds_then_pauses_with_no_weight(name: str) -> None:
    harm, reason = ROUTES[name]
    sim = canary()
    harm(sim)
    sim.look_says = PASS
    sim.looks(2)
    assert (hold(sim), pause(sim)) == (reason if reason != "RouteConflict" else "WeightNotInForce", "")
    assert sim.state.step_started_at is None  # nothing is counted meanwhile
    sim.wait(301)
    sim.look()
    assert (pause(sim), sim.weight, sim.state.rejected) == (reason, 0, None)
    sim.routes = [Route(), Route()]
    sim.say("resume")
    sim.until(lambda s: s.phase is Phase.WATCHING)


def test_rollback_lowers_every_route_that_can_be_lowered() -> None:
    sim = canary()
    broken(sim, deaf=True)
    sim.look_says = WORSE
    sim.looks(5)
    assert sim.routes is not None
    assert [r.weight for r in sim.routes] == [0, 20]
    assert B in sim.revisions  # the other one still leads to it
    broken(sim, deaf=False)
    sim.until(lambda s: s.phase is Phase.ROLLED_BACK)
    assert sim.weight == 0


def test_routes_that_can_never_be_lowered_do_not_keep_a_bad_candidate_in_traffic() -> None:
    sim = canary()
    for route in sim.routes or ():
        route.deaf = True
    sim.look_says = WORSE
    sim.look()
    assert (sim.weight, sim.trial, B in sim.revisions) == (20, A, True)
    sim.wait(301)
    sim.looks(2)
    sim.wait(20)
    sim.looks(2)
    assert (sim.state.phase, set(sim.revisions)) == (Phase.ROLLED_BACK, {A})


def test_a_weight_that_somebody_insists_on_before_the_first_step_pauses() -> None:
    sim = Sim.serving()
    sim.edit(B)
    sim.look()
    sim.routes = [Route(weight=30, deaf=True), Route(weight=30, deaf=True)]
    sim.looks(2)
    assert (hold(sim), sim.trial, sim.state.step) == ("TrafficLeaves", A, None)
    sim.wait(301)
    sim.look()
    assert pause(sim) == "RouteConflict"
    sim.routes = [Route(), Route()]
    sim.say("resume")
    sim.until(lambda s: s.phase is Phase.WATCHING)


def reset_by_others(sim: Sim) -> None:
    for route in sim.routes or ():
        route.weight = 0


def test_weights_reset_by_others_are_written_again_and_a_repeated_fight_pauses() -> None:
    sim = canary()
    for fight in (1, 2):
        reset_by_others(sim)
        sim.look()
        assert (sim.weight, hold(sim), sim.state.conflicts) == (20, "WeightNotInForce", fight)
        sim.until(lambda s: s.step_started_at is not None)
        sim.wait(180)
    reset_by_others(sim)
    sim.look()
    assert (pause(sim), sim.weight, sim.state.phase) == ("RouteConflict", 0, Phase.PAUSED)
    sim.say("resume")
    sim.look()
    assert sim.state.conflicts == 0


def test_our_own_changes_of_the_weight_are_no_fight() -> None:
    sim = Sim.serving(instant=False)
    sim.edit(B)
    for number in range(200):
        sim.look("routes" if number % 3 == 0 else None)
        for pods in sim.revisions.values():
            pods.stuck = False
            pods.settle()
        for route in sim.routes or ():
            route.settled = True
        sim.wait(1)
    assert (sim.selected, "RolloutPaused" in sim.reasons()) == (B, False)


def test_a_weight_that_somebody_left_on_a_route_hurts_nobody() -> None:
    sim = Sim.serving()
    sim.routes = [Route(weight=70), Route(weight=70)]
    sim.look()
    assert (sim.weight, sim.trial) == (0, A)


def test_routes_taken_out_of_the_spec_mid_run() -> None:
    sim = canary()
    sim.routes = None
    sim.looks(2)
    assert hold(sim) == "NotRouted"
    sim.wait(301)
    sim.look()
    assert pause(sim) == "NotRouted"


# --- a status that nobody knows

GOOD = {
    "id": f"2-{B}", "phase": "Stepping", "stableRevision": A, "candidateRevision": B, "step": 1, "steps": 3,
    "stepStartedAt": "2026-11-01T12:00:00Z", "desiredWeight": 20, "observedWeight": 20,
    "candidateReplicas": 1, "frozenReplicas": 4, "startedAt": "2026-11-01T11:00:00Z",
    "hold": {"reason": "Analysing", "message": "m", "since": "2026-11-01T12:00:00Z"},
    "lastRejected": {"revision": C, "reason": "Regression", "message": "m"},
    "history": [{"revision": A, "outcome": "Installed", "finishedAt": "2026-11-01T10:00:00Z"}],
}  # fmt: skip
GARBAGE = [
    None,
    "",
    "what",
    -1,
    10**12,
    True,
    [],
    [1],
    {},
    {"revision": 3},
    "2026-99-99T00:00:00Z",
    "2026-11-01",
]


@pytest.mark.parametrize("name", GOOD)
def test_garbage_in_any_field_of_the_status_is_no_exception_and_no_jump(name: str) -> None:
    for value in GARBAGE:
        sim = canary()
        assert sim.routes is not None
        sim.status = copy.deepcopy(GOOD) | {name: value}
        before = sim.state.weight
        sim.looks(3)
        assert 0 <= sim.weight <= 100
        assert sim.weight <= max(before, 20)
        assert sim.selected in sim.revisions
        RolloutState.of(sim.status).to_status()


def test_a_phase_of_another_version_means_no_traffic_until_all_is_derived_again() -> None:
    sim = canary()
    sim.status = copy.deepcopy(GOOD) | {"phase": "Shadowing", "shadow": {"percent": 5}}
    sim.look()
    assert (sim.weight, sim.state.step, sim.selected, sim.state.candidate) == (0, None, A, B)
    sim.look_says = PASS
    sim.until(lambda s: s.phase is Phase.WATCHING)


@pytest.mark.parametrize("status", [{"rollout": 3}, {"id": 5}, {"step": "two", "desiredWeight": "all"}])
def test_a_status_of_another_shape_is_no_exception(status: dict[str, Any]) -> None:
    sim = canary()
    step = advance(RolloutState.of(status), sim.world())
    assert (step.weight, step.serving) == (0, A)


def test_no_status_at_all_is_an_empty_one() -> None:
    assert RolloutState.of(None) == RolloutState.of({}) == RolloutState()
    assert RolloutState.of("nonsense") == RolloutState()  # type: ignore[arg-type]


def test_steps_of_the_plan_are_not_read_beyond_their_end() -> None:
    sim = canary()
    sim.status = copy.deepcopy(GOOD) | {"step": 99}
    del sim.status["steps"]
    sim.looks(3)
    assert (sim.state.step, sim.state.phase) == (2, Phase.STEPPING)
