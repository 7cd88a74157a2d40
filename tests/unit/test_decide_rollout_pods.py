"""Rollouts without a gateway: which share so many pods are, what the Services select, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from seawall.decide.children import selected_revision, selection
from seawall.decide.rollout_plan import Policy, WeightStep
from seawall.decide.rollout_pods import nearest, seen, share
from seawall.decide.rollout_state import Phase, RolloutState
from seawall.decide.rollout_status import condition_of
from seawall.decide.types import Observed
from seawall.desired import names
from seawall.desired.names import Owner
from seawall.desired.service import build_headless_service, build_service
from support.rollout_cases import canary, hold, pause, rejected
from support.rollout_sim import CRASHING, NO_GPU, OPEN, PASS, PLAN, START, WORSE, A, B, C, Pods, Sim
from support.town import PLATFORM

BY_PODS = replace(PLAN, by_pods=True)


def at(index: int = 1, **over: Any) -> Sim:
    """B at this step of a plan without a gateway, its share in force and the judge undecided."""
    return canary(index, **{"plan": BY_PODS, "routes": None} | over)


NEAREST = {
    # percent asked, stable pods, most, pods
    "half is as many": (50, 4, 4, 4),
    "a quarter beside three": (25, 3, 3, 1),
    "one percent is one pod": (1, 4, 4, 1),
    "ten of twenty": (10, 20, 20, 2),
    "the nearer of two": (40, 4, 4, 3),
    "half beside one": (50, 1, 1, 1),
    "no more than there is room for": (50, 8, 3, 3),
}


@pytest.mark.parametrize(("percent", "beside", "most", "pods"), NEAREST.values(), ids=NEAREST)
def test_so_many_pods_have_the_nearest_share(percent: int, beside: int, most: int, pods: int) -> None:
    assert nearest(percent, beside, most) == pods


@pytest.mark.parametrize(
    ("pods", "beside", "percent"), [(1, 3, 25), (1, 6, 14), (4, 4, 50), (1, 1000, 1), (9, 0, 99), (2, 1, 67)]
)
def test_the_weight_on_record_is_the_true_share(pods: int, beside: int, percent: int) -> None:
    assert share(pods, beside) == percent


SEEN = {
    "stable alone": ({"both": False, "candidate": 1, "stable": 4}, 0, 0, ""),
    "both": ({"both": True, "candidate": 1, "stable": 4}, 20, 20, ""),
    "both, and none of the candidate's is ready": ({"both": True, "candidate": 0, "stable": 4}, 0, 1, ""),
    "both, and none of the stable one's is": ({"both": True, "candidate": 2, "stable": 0}, 99, 99, ""),
    "one Service does, the other does not": ({"both": None, "candidate": 1, "stable": 4}, None, 20, ""),
    "somebody else's pods": (
        {"both": True, "candidate": 1, "stable": 4, "others": C}, 20, 20, "OtherRevisions",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "weight", "most", "problem"), SEEN.values(), ids=SEEN)
def test_what_the_services_show(given: dict[str, Any], weight: int | None, most: int, problem: str) -> None:
    routes = seen(**given)
    assert (routes.weight, routes.most, routes.problem) == (weight, most, problem)


def pod(revision: str | None, phase: str = "Running", **meta: Any) -> dict[str, Any]:
    labels = {names.SERVICE_LABEL: "digits"} | ({names.REVISION_LABEL: revision} if revision else {})
    return {"metadata": {"name": "one", "labels": labels} | meta, "status": {"phase": phase}}


PODS = {
    "of the two": ([pod(A), pod(B)], ""),
    "of a third": ([pod(A), pod(B), pod(C)], "OtherRevisions"),
    "of a third that is going": ([pod(C, deletionTimestamp="2026-01-01T00:00:00Z")], ""),
    "of a third that has ended": ([pod(C, "Failed"), pod(C, "Succeeded")], ""),
    "of none that is known": ([pod(None)], "OtherRevisions"),
}


@pytest.mark.parametrize(("pods", "problem"), PODS.values(), ids=PODS)
@pytest.mark.parametrize("step", [None, 1])
def test_whose_pods_the_services_would_select(
    pods: list[dict[str, Any]], problem: str, step: int | None
) -> None:
    """Before there is a weight nobody asks."""
    owner = Owner("digits", "ns", "uid-digits")
    live = [make(owner, A, both=True) for make in (build_service, build_headless_service)]
    service = {"metadata": {"name": "digits", "namespace": "ns", "uid": "uid-digits"}}
    observed = Observed(service, PLATFORM, START, services=live, pods=pods)
    routes = selection(observed, {}, RolloutState(stable=A, candidate=B, step=step))
    assert (routes.problem, routes.most) == (problem if step is not None else "", 1)
    assert selected_revision(observed) == A


def test_services_that_do_not_agree_carry_nothing() -> None:
    owner = Owner("digits", "ns", "uid-digits")
    live = [build_service(owner, A, both=True), build_headless_service(owner, A)]
    service = {"metadata": {"name": "digits", "namespace": "ns", "uid": "uid-digits"}}
    routes = selection(
        Observed(service, PLATFORM, START, services=live), {}, RolloutState(stable=A, candidate=B, step=1)
    )
    assert (routes.weight, routes.carry(20), routes.carry(0)) == (None, False, False)


# phase, step, weight recorded, share of the pods, pods recorded, pods there, in force, both selected
GOOD_PATH = [
    ("Starting", None, 0, 0, None, 1, False, False),
    ("Quality", 0, 0, 0, None, 1, False, False),
    ("Stepping", 1, 0, 0, None, 1, False, False),
    ("Stepping", 1, 0, 0, 1, 1, False, False),
    ("Stepping", 1, 20, 0, 1, 1, False, False),
    ("Stepping", 1, 20, 20, 1, 1, False, True),
    ("Stepping", 1, 20, 20, 1, 1, True, True),
    ("Stepping", 2, 20, 20, 1, 1, False, True),
    ("Stepping", 2, 50, 20, 4, 1, False, True),
    ("Stepping", 2, 50, 50, 4, 4, False, True),
    ("Stepping", 2, 50, 50, 4, 4, True, True),
    ("Promoting", 3, 50, 50, 4, 4, False, True),
    ("Watching", None, 0, 0, None, 4, False, False),
]


def test_the_good_path_look_by_look() -> None:
    sim = Sim.serving(plan=BY_PODS, routes=None)
    sim.edit(B)
    path = []
    for _ in GOOD_PATH:
        state = sim.look().state
        path.append(
            (
                str(state.phase), state.step, state.weight, sim.weight, state.pods,
                sim.revisions[B].replicas, state.step_started_at is not None, sim.both,
            )
        )  # fmt: skip
    assert path == GOOD_PATH
    assert (sim.selected, set(sim.revisions), sim.revisions[A].replicas) == (B, {A, B}, 4)
    sim.look()
    sim.say("abort")
    sim.looks(2)
    assert (sim.selected, sim.both, sim.state.stable) == (A, False, A)


def test_between_two_windows_a_look_writes_nothing() -> None:
    sim = at(1)
    before = sim.status
    for _ in range(5):
        sim.wait(3)
        step = sim.look()
        assert (sim.status, step.events, step.requeue_after) == (before, (), None)


def test_the_status_says_the_true_share_while_the_stable_count_moves() -> None:
    """The step goes on: what is compared is what the pods of the same windows were asked."""
    sim = at(1)
    started = sim.state.step_started_at
    sim.revisions[A] = Pods(9, 9)
    sim.replicas = 9
    sim.look()
    assert (sim.state.weight, sim.state.observed, sim.state.step_started_at) == (20, 10, started)
    sim.look_says = PASS
    sim.until(lambda s: s.step == 2 and s.step_started_at is not None)
    assert (sim.state.weight, sim.state.pods, sim.state.observed) == (50, 9, 50)


def candidate_dies(sim: Sim) -> None:
    sim.revisions[B].stuck, sim.revisions[B].available, sim.revisions[B].trouble = True, 0, CRASHING


def stable_loses_a_pod(sim: Sim) -> None:
    sim.revisions[A].stuck, sim.revisions[A].available = True, 3


def turned_away(sim: Sim) -> None:
    sim.both = False


def a_stranger(sim: Sim) -> None:
    sim.revisions[C] = Pods(1, 1)


def is_worse(sim: Sim) -> None:
    sim.look_says = WORSE


def is_gone(sim: Sim) -> None:
    sim.plan = replace(sim.plan, by_pods=False, strategy="BlueGreen", steps=PLAN.steps[:1])


def refused(sim: Sim) -> None:
    sim.target = None


FAULTS: dict[str, tuple[Callable[[Sim], None], bool, int, str]] = {
    # what happens; one look later: both selected, weight on record, reason of the hold
    "the candidate has no ready pod": (candidate_dies, False, 0, "CandidateNotReady"),
    "the stable revision has lost a pod": (stable_loses_a_pod, True, 20, "StableNotReady"),
    "somebody has written the selectors": (turned_away, True, 20, "WeightNotInForce"),
    "somebody else's pods are there": (a_stranger, False, 20, "OtherRevisions"),
    "it is worse": (is_worse, False, 0, "TrafficLeaves"),
    "the spec is refused": (refused, False, 0, "SpecRefused"),
}


@pytest.mark.parametrize(("happens", "both", "weight", "reason"), FAULTS.values(), ids=FAULTS)
def test_one_look_after_a_fault(happens: Callable[[Sim], None], both: bool, weight: int, reason: str) -> None:
    sim = at(1)
    happens(sim)
    sim.look()
    assert (sim.both, sim.state.weight, hold(sim)) == (both, weight, reason)
    assert sim.selected == A


def test_who_does_not_split_by_pods_any_more_selects_one_revision_at_once() -> None:
    sim = at(1)
    is_gone(sim)
    sim.look()
    assert (sim.both, sim.selected) == (False, A)


def test_a_rejected_candidate_drains_before_its_pods_go() -> None:
    sim = at(1)
    is_worse(sim)
    sim.look()
    assert (sim.both, B in sim.revisions, rejected(sim)) == (False, True, (B, "Regression"))
    sim.look()
    assert (sim.state.candidate, B in sim.revisions) == (None, True)
    sim.wait(16)
    sim.look()
    assert (set(sim.revisions), sim.state.phase) == ({A}, Phase.ROLLED_BACK)


def test_selectors_that_somebody_writes_again_and_again_are_left_to_a_person() -> None:
    sim = at(1)
    for _ in range(3):
        turned_away(sim)
        sim.looks(3)
    assert (pause(sim), sim.both, sim.state.weight) == ("RouteConflict", False, 0)
    assert "selectors of the Services" in sim.state.pause.message  # type: ignore[union-attr]


def test_further_pods_wait_until_they_are_on_record() -> None:
    """They would have traffic as soon as they are ready."""
    sim = at(1)
    sim.look_says = PASS
    sim.until(lambda s: s.step == 2 and s.pods == 4)
    assert (sim.state.weight, sim.revisions[B].replicas, sim.both) == (50, 1, True)
    sim.look()
    assert sim.revisions[B].replicas == 4


def test_pods_that_nobody_has_room_for_end_in_a_pause_without_traffic() -> None:
    sim = at(1)
    sim.look_says = PASS
    sim.until(lambda s: s.step == 2 and s.pods == 4)
    sim.revisions[B].stuck, sim.revisions[B].trouble = True, NO_GPU
    sim.look()
    assert (hold(sim), sim.both, sim.state.step_started_at) == ("CapacityUnavailable", True, None)
    sim.wait(PLAN.progress_seconds + 1)
    sim.looks(2)
    assert (pause(sim), sim.both, sim.state.weight) == ("CapacityUnavailable", False, 0)


def test_more_pods_than_the_surge_are_asked_of_a_person() -> None:
    sim = Sim.serving(plan=replace(BY_PODS, max_surge=2), routes=None)
    sim.edit(B)
    sim.until(lambda s: s.pause is not None)
    assert (pause(sim), sim.state.step, sim.state.weight, sim.revisions[B].replicas) == (
        "SurgeTooSmall",
        2,
        20,
        1,
    )
    assert "maxSurgeReplicas is 2" in sim.state.pause.message  # type: ignore[union-attr]


UNSHARED = replace(PASS, share=0.02, share_due=0.2, share_wrong=True)


def test_clients_that_keep_to_their_pods_let_nobody_pass() -> None:
    sim = at(1)
    sim.look_says = UNSHARED
    sim.look()
    assert (hold(sim), sim.state.step) == ("WeightNotHonoured", 1)
    said = condition_of(sim.state, sim.plan, name="digits", target=B)
    for words in (
        "20.0% of the ready pods and gets 2.0%",
        "headless Service",
        "--grpc-max-connection-age",
        "gateway",
    ):
        assert words in said.message
    assert (said.status, said.reason) == (False, "WeightNotHonoured")
    sim.wait(1801)
    sim.look()
    assert (pause(sim), sim.state.weight) == ("WeightNotHonoured", 20)


def test_without_latencies_the_plan_says_what_then() -> None:
    sim = at(1, plan=replace(BY_PODS, policy=Policy(provider_down_seconds=60.0)))
    sim.look_says = replace(OPEN, trouble="NoLatency", trouble_message="needs Triton 26.01")
    sim.look()
    assert (hold(sim), sim.both) == ("NoLatency", True)
    sim.wait(61)
    sim.look()
    assert pause(sim) == "NoLatency"


def test_a_lost_status_leaves_the_stable_revision_where_it_is() -> None:
    sim = at(1)
    sim.status = None
    step = sim.look()
    assert (sim.state.stable, sim.both, sim.selected) == (A, False, A)
    assert {A, B} <= step.keep


def test_another_spec_has_the_services_for_itself_first() -> None:
    sim = at(2)
    sim.edit(C)
    sim.look()
    assert (sim.both, sim.selected, C in sim.revisions) == (False, A, False)
    sim.look_says = PASS
    sim.until(lambda s: s.candidate == C and s.step == 1 and s.weight > 0, seconds=1)
    sim.look()
    assert (hold(sim), sim.both, B in sim.revisions) == ("OtherRevisions", False, True)  # B drains still
    sim.until(lambda s: s.phase is Phase.WATCHING, seconds=5)
    assert (sim.selected, sim.both) == (C, False)


def test_a_killed_operator_widens_nothing_that_is_not_on_record() -> None:
    sim = Sim.serving(plan=BY_PODS, routes=None)
    sim.edit(B)
    sim.until(lambda s: s.step == 1 and s.pods == 1)
    for _ in range(3):
        sim.look(killed_after="deletions")
        assert (sim.both, sim.state.weight) == (False, 0)
    sim.looks(2)
    assert (sim.both, sim.state.weight) == (True, 20)


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_jumps_ends_nothing_by_itself(seconds: int) -> None:
    sim = at(
        1,
        plan=replace(BY_PODS, steps=(WeightStep(None, 100, 7200.0), WeightStep(50, 100, 7200.0))),
    )
    sim.now += timedelta(seconds=seconds)
    sim.look()
    assert (sim.both, sim.state.step, pause(sim), rejected(sim)) == (True, 1, "", ("", ""))
