"""A canary from the first answer to the end of its watch: transitions, commands, pauses, the plan's policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from seawall.decide.rollout_plan import Policy, RolloutPlan, ShadowStep, WeightStep
from seawall.decide.rollout_state import Look, Phase, RolloutState
from seawall.decide.types import PlatformUpdate
from support.rollout_cases import canary, watching
from support.rollout_sim import NO_GPU, OPEN, PASS, PLAN, WORSE, A, B, C, Pods, Sim

Wanted = Callable[[RolloutState], bool]


def at_step(index: int) -> Wanted:
    """The step's weight is in force."""
    return lambda s: s.step == index and s.step_started_at is not None


def in_phase(phase: Phase) -> Wanted:
    return lambda s: s.phase is phase


# phase, step, weight recorded, weight on the routes, pods pinned, in force, selected, candidate's Service
GOOD_PATH = [
    ("Starting", None, 0, 0, None, False, A, A),
    ("Quality", 0, 0, 0, None, False, A, B),
    ("Stepping", 1, 0, 0, None, False, A, B),
    ("Stepping", 1, 0, 0, 1, False, A, B),
    ("Stepping", 1, 20, 0, 1, False, A, B),
    ("Stepping", 1, 20, 20, 1, False, A, B),
    ("Stepping", 1, 20, 20, 1, True, A, B),
    ("Stepping", 2, 20, 20, 1, False, A, B),
    ("Stepping", 2, 20, 20, 4, False, A, B),
    ("Stepping", 2, 50, 20, 4, False, A, B),
    ("Stepping", 2, 50, 50, 4, False, A, B),
    ("Stepping", 2, 50, 50, 4, True, A, B),
    ("Promoting", 3, 50, 50, 4, False, A, B),
    ("Promoting", 3, 100, 50, 4, False, A, B),
    ("Promoting", 3, 100, 100, 4, False, A, B),
    ("Watching", None, 0, 100, None, False, B, B),
    ("Watching", None, 0, 0, None, False, B, B),
]


def test_the_good_path_look_by_look() -> None:
    sim = Sim.serving()
    sim.edit(B)
    seen = []
    for _ in GOOD_PATH:
        state = sim.look().state
        seen.append(
            (
                str(state.phase), state.step, state.weight, sim.weight, state.pods,
                state.step_started_at is not None, sim.selected, sim.trial,
            )
        )  # fmt: skip
    assert seen == GOOD_PATH
    assert sim.reasons() == ["RolloutStarted", *["StepAdvanced"] * 4, "Promoted"]
    assert set(sim.revisions) == {A, B}
    sim.wait(1801)
    sim.look()
    assert (sim.state.phase, sim.state.previous, sim.state.floor) == (Phase.IDLE, None, None)
    assert set(sim.revisions) == {B}
    assert [h["outcome"] for h in sim.state.history] == ["Promoted"]


def test_between_two_windows_a_look_writes_nothing() -> None:
    sim = canary(1)
    before = sim.status
    for _ in range(5):
        sim.wait(3)
        step = sim.look()
        assert (sim.status, step.events, step.requeue_after) == (before, (), None)


def test_a_shadow_step_has_its_time_and_no_weight() -> None:
    sim = Sim.serving(plan=replace(PLAN, steps=(ShadowStep(5, 60.0, 0.01), *PLAN.steps[1:])))
    sim.edit(B)
    sim.until(lambda s: s.phase is Phase.SHADOW and s.step_started_at is not None)
    assert sim.look().shadow
    assert (sim.weight, sim.trial) == (0, B)
    sim.wait(61)
    step = sim.look()
    assert (step.shadow, sim.state.phase, sim.state.step) == (False, Phase.STEPPING, 1)
    sim.until(in_phase(Phase.WATCHING))


def test_a_first_install_is_not_analysed() -> None:
    sim = Sim(selected=None)
    sim.until(in_phase(Phase.IDLE))
    assert (sim.state.stable, sim.weight, sim.reasons()) == (A, 0, ["Installed"])


def test_blue_green_compares_answers_and_switches_once() -> None:
    sim = Sim.serving(plan=replace(PLAN, strategy="BlueGreen", steps=PLAN.steps[:1]))
    sim.edit(B)
    sim.until(in_phase(Phase.WATCHING))
    assert (sim.selected, sim.weight, set(sim.revisions)) == (B, 0, {A, B})
    assert sim.revisions[B].replicas == 4


def test_a_revision_scaled_to_zero_has_no_traffic_to_split() -> None:
    sim = Sim.serving(replicas=0)
    sim.edit(B)
    sim.until(in_phase(Phase.DRAINING))
    assert "promotion begins" in dict(sim.events)["StepAdvanced"]


COMMANDS: dict[str, tuple[Callable[[], Sim], str, str, Callable[[Sim], bool]]] = {
    "skip leaves the step at hand out": (
        lambda: canary(1), "skip", "CommandAccepted",
        lambda s: s.state.step == 2 and s.state.step_started_at is None,
    ),
    "skip of the last step promotes": (
        lambda: canary(2), "skip", "CommandAccepted", lambda s: s.state.phase is Phase.PROMOTING
    ),
    "promote-full passes all steps": (
        lambda: canary(1), "promote-full", "CommandAccepted", lambda s: s.state.phase is Phase.PROMOTING
    ),
    "promote without a pause is refused": (
        lambda: canary(1), "promote", "CommandRejected", lambda s: s.state.step == 1
    ),
    "pause holds the weight": (
        lambda: canary(1), "pause", "CommandAccepted",
        lambda s: s.state.phase is Phase.PAUSED and s.state.weight == 20 and s.weight == 20,
    ),
    "resume without a pause is refused": (
        lambda: canary(1), "resume", "CommandRejected", lambda s: s.state.phase is Phase.STEPPING
    ),
    "abort takes the weight away in the same look": (
        lambda: canary(1), "abort", "CommandAccepted",
        lambda s: s.weight == 0 and s.state.phase is Phase.ROLLING_BACK and B in s.revisions,
    ),
    "retry of what is not rejected is refused": (
        lambda: canary(1), "retry", "CommandRejected", lambda s: s.state.step == 1
    ),
    "an unknown verb is answered": (
        lambda: canary(1), "explode", "CommandRejected", lambda s: s.state.step == 1
    ),
    "abort with nothing on its way is refused": (
        Sim.serving, "abort", "CommandRejected", lambda s: s.state.stable == A
    ),
    "pause with nothing on its way is refused": (
        Sim.serving, "pause", "CommandRejected", lambda s: s.state.pause is None
    ),
    "skip in the watch is refused": (
        watching, "skip", "CommandRejected", lambda s: s.state.phase is Phase.WATCHING
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_command(name: str) -> None:
    start, verb, reason, holds = COMMANDS[name]
    sim = start()
    sim.events.clear()
    sim.say(verb)
    sim.look()
    assert sim.reasons() == [reason]
    assert holds(sim)
    sim.look()
    assert reason not in sim.reasons()[1:]  # a word is acted on once


def test_a_command_for_another_rollout_is_answered_and_not_obeyed() -> None:
    sim = canary(1)
    sim.say("promote-full", rollout=f"1-{A}")
    sim.look()
    assert sim.events[-1][0] == "CommandRejected"
    assert f"2-{B}" in sim.events[-1][1]
    assert sim.state.step == 1


def test_the_same_word_twice_by_its_suffix() -> None:
    sim = canary(1)
    sim.say("skip", suffix=":1")
    sim.look()
    sim.until(at_step(2))
    sim.say("skip", suffix=":2")
    sim.look()
    assert sim.state.phase is Phase.PROMOTING


def test_abort_goes_over_promote_full() -> None:
    sim = canary(1)
    sim.say("promote-full")
    sim.until(lambda s: s.weight == 100)
    sim.look()
    assert sim.weight == 100
    sim.say("abort")
    sim.look()
    assert sim.weight == 0
    sim.until(in_phase(Phase.ROLLED_BACK))
    assert (sim.selected, sim.state.stable) == (A, A)
    assert sim.state.history[0]["outcome"] == "Aborted"
    sim.wait(20)
    sim.looks(3)
    assert (set(sim.revisions), sim.state.phase) == ({A}, Phase.ROLLED_BACK)


@pytest.mark.parametrize("killed_after", ["nothing", "Services", "routes", "deletions", "status"])
def test_abort_in_the_watch_is_the_instant_way_back(killed_after: str) -> None:
    """Also where the operator is killed between any two writes of any of its looks."""
    sim = watching()
    sim.say("abort")
    for _ in range(4):
        sim.look(killed_after)
    sim.looks(4)
    assert (sim.selected, sim.trial, sim.state.stable) == (A, A, A)
    assert sim.revisions[A].available == 4
    assert sim.state.rejected is not None
    assert (sim.state.rejected.revision, sim.state.rejected.reason) == (B, "Aborted")
    sim.wait(20)
    sim.looks(5)
    assert (set(sim.revisions), sim.state.phase) == ({A}, Phase.ROLLED_BACK)
    assert sim.state.history[0]["outcome"] == "RolledBack"


@pytest.mark.parametrize("build", [True, False], ids=["next spec being built", "next spec refused"])
def test_abort_in_the_watch_does_not_wait_for_the_next_spec(build: bool) -> None:
    sim = watching()
    sim.edit(None if not build else C)
    sim.build = None if not build else "Running"  # type: ignore[assignment]
    sim.look()
    sim.say("abort")
    sim.looks(3)
    assert sim.selected == A


def test_abort_in_the_watch_waits_for_a_pod_of_the_old_revision() -> None:
    sim = watching()
    sim.revisions[A] = Pods(4, 0, stuck=True)
    sim.say("abort")
    sim.looks(3)
    assert sim.state.hold is not None
    assert (sim.selected, sim.state.hold.reason) == (B, "PreviousNotReady")
    sim.revisions[A].available = 1
    sim.look()
    assert sim.selected == A


def test_abort_in_the_watch_with_nothing_left_to_go_back_to() -> None:
    sim = watching()
    sim.revisions[A] = Pods(4, 0, stuck=True)
    sim.say("abort")
    sim.looks(2)
    del sim.revisions[A]
    sim.looks(2)
    assert sim.reasons()[-1] == "NothingToGoBackTo"
    assert (sim.selected, sim.state.rejected) == (B, None)


def test_retry_begins_the_rejected_revision_again_with_an_id_of_its_own() -> None:
    sim = canary(1)
    sim.look_says = WORSE
    sim.until(in_phase(Phase.ROLLED_BACK))
    sim.look_says = PASS
    sim.looks(3)
    assert sim.state.phase is Phase.ROLLED_BACK
    sim.say("retry")
    sim.look()
    assert (sim.state.id, sim.state.candidate, sim.state.rejected) == (f"2-{B}-2", B, None)
    sim.until(in_phase(Phase.WATCHING))


def test_retry_while_traffic_is_still_going_back_is_refused() -> None:
    sim = canary(1)
    sim.instant = False
    sim.look_says = WORSE
    sim.look()
    sim.say("retry")
    sim.look()
    assert sim.events[-1][0] == "CommandRejected"
    assert "going back" in sim.events[-1][1]


# --- pauses


def test_a_gate_of_the_plan_waits_for_promote() -> None:
    gated = replace(PLAN, steps=(WeightStep(20, 1, 1800.0, pause=True), WeightStep(50, 1, 1800.0)))
    sim = Sim.serving(plan=gated)
    sim.edit(B)
    sim.until(in_phase(Phase.PAUSED))
    assert sim.state.pause is not None
    assert (sim.state.pause.reason, sim.weight) == ("StepPassed", 20)
    sim.wait(86400)
    sim.looks(3)
    assert sim.weight == 20
    sim.say("promote")
    sim.look()
    assert (sim.state.step, sim.state.pause) == (1, None)


def test_a_regression_at_a_gate_is_not_overlooked() -> None:
    sim = canary(1)
    sim.say("pause")
    sim.looks(2)
    sim.look_says = WORSE
    sim.look()
    assert (sim.weight, sim.state.phase) == (0, Phase.ROLLING_BACK)


def test_resume_gives_the_step_its_whole_time_again() -> None:
    sim = canary(1)
    sim.say("pause")
    sim.look()
    sim.wait(4000)
    sim.looks(2)
    sim.say("resume")
    sim.looks(3)
    assert (sim.state.phase, sim.state.step_started_at) == (Phase.STEPPING, sim.now)


def test_spec_paused_holds_during_the_steps_and_gives_the_time_back() -> None:
    sim = canary(1)
    sim.edit(B, paused=True)
    sim.looks(2)
    assert (sim.state.phase, sim.weight) == (Phase.PAUSED, 20)
    sim.wait(4000)
    sim.look()
    sim.edit(B, paused=False)
    sim.looks(2)
    assert (sim.state.phase, sim.state.step_started_at) == (Phase.STEPPING, sim.now)


def test_a_platform_change_gives_its_slot_back_while_it_is_paused() -> None:
    sim = Sim.serving(platform_only=True)
    sim.edit(B)
    assert sim.until(at_step(1)).platform_update is PlatformUpdate.RUNNING
    sim.platform_slot = False
    sim.say("pause")
    assert sim.look().platform_update is PlatformUpdate.NONE
    assert sim.look().platform_update is PlatformUpdate.NONE
    sim.say("resume")
    sim.look()
    assert sim.look().platform_update is PlatformUpdate.RUNNING


def test_a_person_goes_against_a_regression_once_and_its_evidence_is_forgotten() -> None:
    sim = canary(1, plan=replace(PLAN, policy=Policy(on_regression="Pause")))
    assert sim.status is not None
    sim.status["analysis"] = {"windows": "all of them"}
    sim.look_says = WORSE
    sim.look()
    assert sim.state.pause is not None
    assert (sim.state.pause.reason, sim.weight) == ("Regression", 0)
    sim.looks(3)
    assert sim.reasons().count("RolloutPaused") == 1
    assert sim.state.analysis is not None
    sim.say("resume")
    sim.look()
    assert (sim.state.pause, sim.state.analysis) == (None, None)
    sim.look_says = PASS
    sim.until(in_phase(Phase.WATCHING))


# --- the plan's policies

NO_DATA = Look(trouble="NoData", trouble_message="no request in 4 windows")
DOWN = Look(trouble="ProviderDown", trouble_message="Prometheus does not answer")
HOLDING = ("Stepping", 1, "hold")
POLICIES: dict[str, tuple[Policy, Look, float, tuple[str, int | None, str]]] = {
    "regression: roll back": (Policy(), WORSE, 0, ("RollingBack", 1, "Regression")),
    "regression: pause": (Policy(on_regression="Pause"), WORSE, 0, ("Paused", 1, "Regression")),
    "inconclusive: not before the time is up": (Policy(), OPEN, 1800, HOLDING),
    "inconclusive: pause": (Policy(), OPEN, 1801, ("Paused", 1, "Inconclusive")),
    "inconclusive: roll back": (
        Policy(on_inconclusive="Rollback"), OPEN, 1801, ("RollingBack", 1, "Inconclusive")
    ),
    "inconclusive: promote goes on to the next step": (
        Policy(on_inconclusive="Promote"), OPEN, 1801, ("Stepping", 2, "")
    ),
    "no data: hold": (Policy(), NO_DATA, 900, HOLDING),
    "no data: hold, then pause": (Policy(), NO_DATA, 901, ("Paused", 1, "NoData")),
    "no data: hold, then roll back": (
        Policy(on_timeout_then="Rollback"), NO_DATA, 901, ("RollingBack", 1, "NoData")
    ),
    "no data: hold, then promote": (Policy(on_timeout_then="Promote"), NO_DATA, 901, ("Stepping", 2, "")),
    "no data: pause": (Policy(on_no_data="Pause"), NO_DATA, 0, ("Paused", 1, "NoData")),
    "no data: roll back": (Policy(on_no_data="Rollback"), NO_DATA, 0, ("RollingBack", 1, "NoData")),
    "no data: promote": (Policy(on_no_data="Promote"), NO_DATA, 0, ("Stepping", 2, "")),
    "provider down: hold": (Policy(), DOWN, 600, HOLDING),
    "provider down: hold, then pause": (Policy(), DOWN, 601, ("Paused", 1, "ProviderDown")),
    "provider down: pause": (Policy(on_provider_down="Pause"), DOWN, 0, ("Paused", 1, "ProviderDown")),
    "provider down: roll back": (
        Policy(on_provider_down="Rollback"), DOWN, 0, ("RollingBack", 1, "ProviderDown")
    ),
    "too few requests are no pass": (Policy(), replace(PASS, candidate_requests=99.0), 0, HOLDING),
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_policy(name: str) -> None:
    policy, look, seconds, (phase, step, reason) = POLICIES[name]
    sim = canary(1, plan=replace(PLAN, policy=policy))
    sim.look_says = look
    sim.look()
    if seconds:
        sim.wait(seconds)
        sim.look()
    state = sim.state
    why = state.pause.reason if state.pause else state.rejected.reason if state.rejected else ""
    assert (str(state.phase), state.step) == (phase, step)
    assert why == (reason if reason != "hold" else "")
    if reason == "hold":
        assert state.hold is not None
        assert sim.weight == 20


def test_a_policy_that_promotes_still_asks_at_a_gate() -> None:
    plan = replace(PLAN, policy=Policy(on_no_data="Promote"), steps=(WeightStep(20, 1, 60.0, pause=True),))
    sim = canary(0, plan=plan)
    sim.look_says = NO_DATA
    sim.look()
    assert sim.state.pause is not None
    assert sim.state.pause.reason == "StepPassed"


# --- the plan edited on the way


def test_an_edit_to_fewer_steps_promotes_nobody() -> None:
    sim = canary(2)
    sim.edit(B, steps=PLAN.steps[:2])
    sim.looks(2)
    assert (sim.state.step, sim.state.phase) == (1, Phase.STEPPING)


def test_an_edit_while_promoting_takes_nothing_back() -> None:
    sim = canary(2)
    sim.look_says = PASS
    sim.until(in_phase(Phase.PROMOTING))
    sim.edit(B, steps=PLAN.steps[:1])
    sim.until(in_phase(Phase.WATCHING))


def test_an_edit_to_a_lower_weight_lowers_it_before_anything_else() -> None:
    sim = canary(2)
    sim.revisions[A].available = 1
    sim.revisions[A].stuck = True
    sim.edit(B, steps=(*PLAN.steps[:2], WeightStep(10, 1, 1800.0)))
    sim.look()
    assert sim.weight == 10


def test_strategy_changed_to_direct_switches_at_once() -> None:
    sim = canary(1)
    sim.edit(B, strategy="Direct", steps=())
    sim.until(in_phase(Phase.DRAINING))
    assert (sim.selected, sim.state.previous) == (B, None)
    sim.looks(2)
    assert sim.weight == 0


def test_a_third_step_is_gone_through_when_the_plan_grows() -> None:
    sim = canary(2)
    sim.edit(B, steps=(*PLAN.steps, WeightStep(75, 1, 1800.0)))
    sim.look_says = PASS
    sim.until(lambda s: s.step == 3)
    assert sim.state.phase is Phase.STEPPING


# --- capacity


def test_max_surge_smaller_than_the_promotion_needs_pauses_with_the_reason() -> None:
    sim = canary(1, plan=replace(PLAN, steps=PLAN.steps[:2], max_surge=2))
    sim.look_says = PASS
    sim.until(in_phase(Phase.PAUSED))
    assert sim.state.pause is not None
    assert (sim.state.pause.reason, sim.weight) == ("SurgeTooSmall", 20)
    assert "maxSurgeReplicas is 2" in sim.state.pause.message
    sim.edit(B, max_surge=4)
    sim.say("resume")
    sim.until(in_phase(Phase.WATCHING))


def test_the_candidate_follows_a_stable_count_that_rises() -> None:
    sim = canary(
        1, plan=replace(PLAN, steps=(WeightStep(20, 1, 1800.0), WeightStep(20, 1, 1800.0))), fixed=False
    )
    assert sim.state.pods == 1
    sim.replicas = 8
    sim.looks(4)
    assert (sim.state.pods, sim.weight) == (2, 20)


@pytest.mark.parametrize("fixed", [True, False], ids=["a person's count", "an autoscaler's"])
def test_a_stable_count_that_is_lowered_on_the_way(fixed: bool) -> None:
    """A person's word goes; an autoscaler finds the floor."""
    sim = canary(1, fixed=fixed)
    sim.replicas = 2
    sim.looks(3)
    assert sim.revisions[A].replicas == (2 if fixed else 4)
    assert sim.state.hold is not None
    assert sim.state.hold.reason == "Analysing"


def test_a_matched_weight_stays_while_the_stable_count_moves() -> None:
    sim = canary(1, fixed=False)
    sim.replicas = 8
    sim.looks(3)
    assert (sim.weight, sim.state.step_started_at is not None) == (20, True)


def test_pods_that_are_lost_on_the_way_restart_the_clock_of_the_step() -> None:
    sim = canary(2)
    sim.revisions[B] = Pods(4, 3, NO_GPU, stuck=True)
    sim.look()
    assert sim.state.hold is not None
    assert (sim.state.hold.reason, sim.weight) == ("CapacityUnavailable", 50)
    sim.wait(1201)
    sim.look()
    assert sim.state.pause is not None
    assert (sim.state.pause.reason, sim.weight) == ("CapacityUnavailable", 0)


def test_matched_is_never_nothing() -> None:
    sim = Sim.serving(replicas=300, plan=RolloutPlan(strategy="Canary", steps=(WeightStep(None, 1, 60.0),)))
    sim.edit(B)
    sim.until(at_step(0))
    assert sim.weight == 1
