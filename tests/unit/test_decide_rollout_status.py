"""RolloutHealthy in words: what a stranger reads at each point of a rollout, and what they are told to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seawall.decide.conditions import Condition
from seawall.decide.diagnose import Trouble
from seawall.decide.rollout_state import Hold, Phase, Rejection, RolloutState
from seawall.decide.rollout_status import HOLDS, ORDINARY, PAUSES, REASONS, condition_of
from support.rollout_sim import OPEN, PLAN, START, WORSE, A, B, Look, Pods, Sim


def said(sim: Sim, **over: object) -> Condition:
    return condition_of(sim.state, sim.plan, name="digits", target=sim.target, **over)  # type: ignore[arg-type]


def canary() -> Sim:
    sim = Sim.serving()
    sim.edit(B)
    sim.until(lambda s: s.step == 1)
    sim.look_says = OPEN
    sim.until(lambda s: s.step_started_at is not None)
    sim.look()
    return sim


def after(act: Callable[[Sim], object], looks: int = 1) -> Sim:
    sim = canary()
    act(sim)
    sim.looks(looks)
    return sim


def watching() -> Sim:
    sim = Sim.serving()
    sim.edit(B)
    sim.until(lambda s: s.phase is Phase.WATCHING)
    return sim


def gated() -> Sim:
    sim = after(lambda s: s.edit(B, steps=(PLAN.steps[0], PLAN.steps[1].__class__(20, 1, 60.0, pause=True))))
    sim.look_says = Look("Pass", "sound", candidate_requests=9.0)
    sim.look()
    return sim


def told(look: Look) -> Callable[[Sim], None]:
    return lambda sim: setattr(sim, "look_says", look)


CASES: dict[str, tuple[Callable[[], Sim], bool | None, str, str]] = {
    "nothing to do": (Sim.serving, True, "Idle", f"Revision {A} is the stable one"),
    "a step under way": (
        canary, True, "Stepping",
        f"Revision {B} beside {A}, step 2 of 3, 20% of the traffic; too early to say",
    ),
    "a person paused": (
        lambda: after(lambda s: s.say("pause")), True, "Paused",
        "A person said pause; resume goes on, step 2 of 3, 20% of the traffic; say resume:"
        " `seawall rollout VERB digits`",
    ),
    "the spec paused": (
        lambda: after(lambda s: s.edit(B, paused=True)), True, "Paused",
        "spec.rollout.paused holds the new revision, step 2 of 3, 20% of the traffic",
    ),
    "a gate of the plan": (
        gated, True, "StepPassed",
        "sound; promote goes on to the next step, step 2 of 2, 20% of the traffic; say promote:"
        " `seawall rollout VERB digits`",
    ),
    "the time of a step is up": (
        lambda: after(lambda s: s.wait(1801)), False, "Inconclusive",
        "Time is up: too early to say, step 2 of 3, 20% of the traffic; say resume for another turn, promote"
        " to go on, or abort: `seawall rollout VERB digits`",
    ),
    "the stable revision has lost a pod": (
        lambda: after(lambda s: s.revisions.update({A: Pods(4, 3, stuck=True)})), False, "StableNotReady",
        f"Revision {A} has 3 of 4 pods ready; that is not the candidate's doing. It is at step 2 of 3, 20% of"
        " the traffic",
    ),
    "the provider is down": (
        lambda: after(told(Look(trouble="ProviderDown", trouble_message="Prometheus does not answer"))),
        False, "ProviderDown", "Prometheus does not answer. It is at step 2 of 3, 20% of the traffic",
    ),
    "a regression whose traffic goes back": (
        lambda: after(told(WORSE)), False, "Regression",
        f"Revision {B} was rejected: latency: 5 times as many requests over 20ms; its traffic goes back to {A}",
    ),
    "a regression": (
        lambda: after(told(WORSE), 3), False, "Regression",
        f"Revision {B} was rejected: latency: 5 times as many requests over 20ms; revision {A} goes on serving."
        " `seawall rollout retry digits` tries it again",
    ),
    "the watch": (
        watching, True, "Watching",
        f"Revision {B} serves; {A} is kept warm until 2026-11-01T12:30:00Z, and `seawall rollout abort digits`"
        " or its spec brings it back at once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_words(name: str) -> None:
    start, status, reason, message = CASES[name]
    assert said(start()) == Condition("RolloutHealthy", status, reason, message)


def test_trouble_of_a_candidate_that_comes_up() -> None:
    sim = Sim.serving(instant=False)
    sim.edit(B)
    sim.looks(2)
    found = said(sim, trouble=Trouble("ModelReady", "ModelNotFound", "404"))
    assert found == Condition("RolloutHealthy", False, "ModelNotFound", "404")


def test_a_change_of_the_platform_that_waits() -> None:
    assert said(Sim.serving(), waits=True).reason == "PlatformUpdateWaiting"


def test_nothing_has_ever_run() -> None:
    found = condition_of(RolloutState(), PLAN, name="digits", target=None, nothing="No revision exists")
    assert found == Condition("RolloutHealthy", None, "NotStarted", "No revision exists")


def test_the_way_back_that_waits_for_pods() -> None:
    state = RolloutState(
        stable=B, previous=A, phase=Phase.WATCHING, rejected=Rejection(B, "Aborted", "A person said abort"),
        hold=Hold("PreviousNotReady", "not all of its pods are ready", START),
    )  # fmt: skip
    found = condition_of(state, PLAN, name="digits", target=B)
    assert (found.status, found.reason) == (False, "Aborted")
    assert found.message.endswith(f"{A} comes back; not all of its pods are ready")


def test_every_hold_and_pause_is_a_reason_of_the_condition() -> None:
    assert HOLDS | PAUSES | ORDINARY <= REASONS
