"""A candidate in the places of stable pods: when one is given, what it carries, and how it comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seawall.decide.rollout_displace import carries, goal, most, share
from seawall.decide.rollout_plan import RolloutPlan, WeightStep
from seawall.decide.rollout_state import Phase, RolloutState
from support.rollout_cases import hold, pause, rejected
from support.rollout_sim import NO_GPU, OPEN, PASS, WORSE, A, B, C, Pods, Sim

STEPS = (WeightStep(None, 100, 1800.0), WeightStep(50, 100, 1800.0))
PLAN = RolloutPlan(strategy="Canary", steps=STEPS, displace=True, progress_seconds=300.0)


def cramped(replicas: int = 6, need: int | None = 3, **over: Any) -> Sim:
    sim = Sim.serving(plan=PLAN, replicas=replicas, need=need, **over)
    sim.edit(B)
    return sim


def at(pods: int, **over: Any) -> Sim:
    """So many of the candidate's pods have traffic, on the way to the promotion."""
    sim = cramped(**over)
    sim.until(lambda s: s.pods == pods and s.weight == share(pods, sim.state.floor or 0), limit=80)
    sim.look()
    assert sim.weight == sim.state.weight
    return sim


GOALS = {
    "matched is one of all": (None, 6, (16, 1)),
    "half": (50, 6, (50, 3)),
    "the nearest share that is not above": (40, 6, (33, 2)),
    "one pod at least": (5, 6, (16, 1)),
    "one stable pod is left": (99, 6, (83, 5)),
    "all of the traffic": (100, 6, (100, 5)),
    "one of two": (None, 2, (50, 1)),
    "whole percents of many": (None, 60, (3, 2)),
    "of more than a hundred": (None, 250, (1, 3)),
    "one percent of many": (1, 60, (3, 2)),
}


@pytest.mark.parametrize(("percent", "total", "wanted"), GOALS.values(), ids=GOALS)
def test_a_step_is_a_share_of_the_pods(percent: int | None, total: int, wanted: tuple[int, int]) -> None:
    assert goal(WeightStep(percent), RolloutState(floor=total)) == wanted


@pytest.mark.parametrize("need", range(1, 13))
def test_what_so_many_pods_carry_needs_no_more_of_them(need: int) -> None:
    for ready in range(need + 2):
        assert carries(need, most(need, ready)) <= ready
        assert most(need, ready) == 100 or carries(need, most(need, ready) + 1) > ready


@pytest.mark.parametrize(("replicas", "need"), [(2, 1), (4, 2), (5, 3), (6, 3), (6, 4), (8, 2), (20, 15)])
def test_all_places_change_hands_and_one_stable_pod_stays_to_the_end(replicas: int, need: int) -> None:
    sim = cramped(replicas, need)
    sim.until(lambda s: s.stable == B, limit=300)
    assert [h["outcome"] for h in sim.state.history] == ["Promoted"]
    assert (sim.state.previous, sim.state.displaced, sim.state.floor) == (None, None, None)
    sim.until(lambda s: s.phase is Phase.IDLE, seconds=5)
    assert {name: pods.replicas for name, pods in sim.revisions.items()} == {B: replicas}


NOT_BEGUN = {
    "the only pod": (1, 1), "all are needed": (4, 4), "more than there are": (4, 9), "nobody knows": (4, None),
}  # fmt: skip


@pytest.mark.parametrize(("replicas", "need"), NOT_BEGUN.values(), ids=NOT_BEGUN)
def test_nothing_begins_where_no_pod_can_be_spared(replicas: int, need: int | None) -> None:
    sim = cramped(replicas, need)
    sim.looks(3)
    assert (hold(sim), set(sim.revisions), sim.revisions[A].replicas) == (
        "CapacityUnavailable",
        {A},
        replicas,
    )
    sim.wait(301)
    sim.look()
    assert (pause(sim), set(sim.revisions), sim.state.rejected) == ("CapacityUnavailable", {A}, None)
    sim.say("abort")
    sim.looks(4)
    assert (sim.revisions[A].replicas, rejected(sim)) == (replicas, (B, "Aborted"))


def test_a_stable_revision_that_lacks_pods_gives_none() -> None:
    sim = cramped()
    sim.revisions[A] = Pods(6, 5, stuck=True)
    sim.looks(3)
    assert (hold(sim), sim.state.displaced, set(sim.revisions)) == ("StableNotReady", 0, {A})


def test_demand_that_rises_stops_the_way_up_and_pauses() -> None:
    sim = at(2)
    sim.need = 6
    sim.look()
    sim.until(lambda s: s.hold is not None and s.hold.reason == "CapacityUnavailable")
    assert "none can make room" in (sim.state.hold.message if sim.state.hold else "")
    assert (sim.revisions[A].replicas, sim.revisions[B].replicas) == (4, 2)
    sim.wait(301)
    sim.look()
    assert (pause(sim), sim.weight) == ("CapacityUnavailable", 33)
    sim.need = 3
    sim.say("resume")
    sim.until(lambda s: s.stable == B, limit=80)


def test_a_pod_that_finds_no_room_holds_and_pauses_with_what_is_there() -> None:
    sim = at(1)
    sim.instant = False
    sim.until(lambda s: s.pods == 2)
    sim.revisions[B].stuck, sim.revisions[B].trouble = True, NO_GPU
    sim.looks(2)
    assert (hold(sim), sim.weight) == ("CapacityUnavailable", 16)
    sim.wait(301)
    sim.look()
    assert (pause(sim), sim.weight, sim.revisions[A].replicas) == ("CapacityUnavailable", 16, 4)


WAYS = {
    "abort": lambda sim: sim.say("abort"),
    "the old spec": lambda sim: sim.edit(A),
    "another spec": lambda sim: sim.edit(C),
    "a regression in latency": lambda sim: setattr(sim, "look_says", WORSE),
    "a spec that is refused": lambda sim: sim.edit(None),
}


@pytest.mark.parametrize("name", WAYS)
def test_on_the_way_back_the_stable_revision_always_carries_what_it_has(name: str) -> None:
    sim = at(4)
    sim.look_says = OPEN
    WAYS[name](sim)
    sim.instant = False
    for _ in range(80):
        sim.look()
        sim.wait(5)
        assert sim.revisions[A].available >= carries(3, 100 - sim.weight)
        for pods in sim.revisions.values():
            pods.available = min(pods.available + 1, pods.replicas)
        for route in sim.routes or ():
            route.settled = True
        if sim.weight == 0:
            break
    assert (sim.weight, sim.selected) == (0, A)
    sim.instant = True
    if name == "a spec that is refused":
        return
    sim.until(lambda s: s.displaced is None or s.candidate == C, seconds=5)
    assert B not in sim.revisions or sim.state.candidate != B


def test_errors_and_lost_pods_take_all_of_the_traffic_away_at_once() -> None:
    sim = at(4)
    sim.look_says = replace(WORSE, failing=True)
    sim.look()
    assert (sim.weight, rejected(sim)) == (0, (B, "Regression"))
    sim = at(4)
    sim.revisions[B].available, sim.revisions[B].stuck = 0, True
    sim.look()
    assert (sim.weight, rejected(sim)) == (0, (B, "CandidateNotReady"))
    sim.until(lambda s: s.displaced is None, seconds=5)
    assert sim.revisions[A].replicas == 6


def test_one_pod_that_is_lost_may_come_back_because_the_others_carry_all() -> None:
    sim = at(1)
    sim.revisions[B].available, sim.revisions[B].stuck = 0, True
    sim.looks(2)
    assert (sim.weight, hold(sim), sim.state.rejected) == (0, "CandidateNotReady", None)
    sim.revisions[B].stuck = False
    sim.revisions[B].settle()
    sim.until(lambda s: s.weight == 16)


def test_stable_pods_that_do_not_come_back_end_the_patience() -> None:
    sim = at(4)
    sim.instant = False
    for pods in sim.revisions.values():
        pods.stuck = True
    sim.say("abort")
    for _ in range(10):
        sim.look()
        for route in sim.routes or ():
            route.settled = True
    assert (sim.weight, hold(sim)) == (34, "CapacityReturns")
    sim.wait(301)
    sim.looks(2)
    assert sim.weight == 0


def test_a_regression_that_only_pauses_gives_traffic_and_places_back_all_the_same() -> None:
    sim = at(4)
    sim.plan = replace(sim.plan, policy=replace(sim.plan.policy, on_regression="Pause"))
    sim.look_says = WORSE
    sim.until(lambda s: s.weight == 0)
    assert (pause(sim), sim.state.rejected) == ("Regression", None)
    assert sim.revisions[A].replicas >= 3


def test_a_new_candidate_waits_for_the_places_of_the_one_before() -> None:
    sim = at(4)
    sim.edit(C)
    sim.until(lambda s: s.candidate is None)
    sim.instant = False
    sim.revisions[A].stuck, sim.revisions[A].available = True, 4
    sim.looks(3)
    assert (hold(sim), C in sim.revisions) == ("StableNotReady", False)
    sim.revisions[A].stuck, sim.instant = False, True
    sim.until(lambda s: s.candidate == C and s.floor == 6)


def test_a_count_that_never_comes_back_is_not_insisted_on_for_ever() -> None:
    sim = at(4)
    sim.look_says = replace(WORSE, failing=True)
    sim.until(lambda s: s.candidate is None)
    sim.revisions[A] = Pods(6, 4, stuck=True)
    sim.instant = False
    sim.looks(3)
    assert (sim.state.displaced, sim.state.floor) == (0, 6)
    sim.wait(301)
    sim.looks(2)
    assert (sim.state.displaced, sim.state.floor) == (None, None)


def test_what_was_begun_stays_so_when_the_mode_is_edited() -> None:
    sim = at(2)
    sim.plan = replace(sim.plan, displace=False)
    sim.until(lambda s: s.stable == B, limit=80)
    sim = at(2)
    sim.plan = replace(sim.plan, strategy="Direct", steps=())
    sim.look_says = PASS
    sim.until(lambda s: s.stable == B, limit=80)
    assert sim.revisions[B].replicas >= 5
