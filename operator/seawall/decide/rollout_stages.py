"""From the first right answer to the promotion: quality, weights, what is judged, and what then.

What must not wait comes first in every look: a candidate without pods, a proven regression, somebody else's
hand on the routes. Only then a person's pause, and only then the step at hand.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

from seawall.decide.rollout_displace import climb, goal
from seawall.decide.rollout_moves import LOOK_SECONDS, held, pause, refuse, stay, waited, worse
from seawall.decide.rollout_plan import Choice, QualityStep, ShadowStep, WeightStep
from seawall.decide.rollout_pods import promotable, weighted
from seawall.decide.rollout_shadow import shadow
from seawall.decide.rollout_state import Phase, Rejection, RevisionState, RolloutState, Step, World
from seawall.decide.rollout_traffic import (
    FULL,
    ROUTE_LIMIT,
    capacity,
    carried,
    fought,
    stable_count,
    target_weight,
)
from seawall.decide.rollout_watch import switch
from seawall.decide.types import EventNote

LOST_LIMIT = timedelta(minutes=5)
"""How long a candidate may be without a single ready pod once it has had traffic."""
LOSSES = 3
"""How often it may lose its last ready pod under traffic, as one that crashes again and again does."""
ANSWERS_RETRY_SECONDS = 15.0
PASSING = frozenset({"CandidateNotReady", "CapacityReturns", "SpecRefused", "TrafficLeaves"})
"""Holds that are over as soon as the step at hand is looked at again."""


def begin(state: RolloutState, world: World, target: str, stable: str) -> Step:
    """The candidate has answered right: the first step of the plan."""
    if world.routes is not None and world.routes.most > 0:
        message = "The routes still send by the candidate's name what belongs to the stable revision"
        state = held(state, world, "TrafficLeaves", message)
        if waited(state, world) > ROUTE_LIMIT:
            return pause(state, world, stable, "RouteConflict", message)
        return replace(stay(state, world, stable), requeue_after=LOOK_SECONDS)
    # Where nothing serves there is nobody to compare with and no traffic to lose.
    first = 0 if stable_count(state, world) > 0 else len(world.plan.steps)
    return _enter(state, world, stable, first, f"Revision {target} answers right")


def walk(state: RolloutState, world: World, target: str, stable: str) -> Step:
    """One transition of the step at hand."""
    here = world.revisions.get(target)
    if here is None or here.available == 0:
        return _lost(state, world, here, stable)
    state = _replanned(_again(state, world), world)
    if world.look.verdict == "Rollback":
        gone = replace(state, weight=0, step_started_at=None)
        return worse(gone, world, stable, "Regression", world.look.message)
    conflict = fought(state, world, stable)
    if conflict is not None:
        return conflict
    if state.pause is not None or world.plan.paused:
        return stay(replace(state, phase=Phase.PAUSED), world, stable)
    state = replace(state, phase=phase_of(state, world))
    if state.phase is Phase.PROMOTING:
        return _promote(state, world, target, stable)
    step = world.plan.steps[state.step or 0]
    if isinstance(step, QualityStep):
        return _quality(state, world, step, target, stable)
    if isinstance(step, ShadowStep):
        told = shadow(state, world, step, stable)
        if isinstance(told, Step):
            return told
        return _over(replace(state, comparator=None), world, stable, told, step.pause)
    return _weigh(state, world, step, target, stable)


def phase_of(state: RolloutState, world: World) -> Phase:
    steps, index = world.plan.steps, state.step or 0
    if index >= len(steps) or world.plan.strategy == "Direct":
        return Phase.PROMOTING
    if isinstance(steps[index], ShadowStep):
        return Phase.SHADOW
    return Phase.QUALITY if isinstance(steps[index], QualityStep) else Phase.STEPPING


def _again(state: RolloutState, world: World) -> RolloutState:
    """What the step stood still for is over. The time of a pause counts for no step."""
    if state.hold is not None and state.hold.reason in PASSING:
        state = replace(state, hold=None)
    if state.phase is Phase.PAUSED and state.pause is None and not world.plan.paused:
        state = replace(state, hold=None, step_started_at=None)
    return state


def _replanned(state: RolloutState, world: World) -> RolloutState:
    """An edited plan goes on at the same step. One that has become shorter promotes nobody for that: its
    last step is gone through again, unless all steps had been passed before the edit."""
    count, before, index = len(world.plan.steps), state.steps, state.step or 0
    if before == count:
        return state
    state = replace(state, steps=count)
    if before is None or index < min(before, count):
        return state if index <= count else replace(state, step=max(0, count - 1), step_started_at=None)
    passed = index >= before > 0
    return replace(state, step=count if passed else max(0, count - 1), step_started_at=None)


def _enter(state: RolloutState, world: World, stable: str, index: int, why: str) -> Step:
    count = len(world.plan.steps)
    state = replace(state, step=index, steps=count, step_started_at=None, hold=None, pause=None)
    state = replace(state, phase=phase_of(state, world))
    what = f"step {index + 1} of {count}" if index < count else "promotion"
    note = EventNote("Normal", "StepAdvanced", f"{why}: {what} begins")
    return replace(stay(state, world, stable), events=(note,))


def _lost(state: RolloutState, world: World, here: RevisionState | None, stable: str) -> Step:
    """Nobody would answer: no weight at once, and a while for the pods to come back."""
    losses = state.losses + (1 if state.weight > 0 else 0)
    message = f"Revision {state.candidate} has no ready pod"
    state = replace(
        held(state, world, "CandidateNotReady", message),
        phase=Phase.PAUSED if state.pause is not None else phase_of(state, world),
        weight=0,
        step_started_at=None,
        losses=losses,
    )
    trouble = here.trouble if here else None
    hopeless = trouble is not None and trouble.permanent
    # The places that it has and does not use are missing to the stable revision.
    hopeless = hopeless or (state.displaced or 0) > 1
    if hopeless or losses >= LOSSES or waited(state, world) > LOST_LIMIT:
        reason = trouble.reason if trouble else "CandidateNotReady"
        often = f"It has lost its last ready pod under traffic {losses} times" if losses >= LOSSES else ""
        message = often or "It had no ready pod any more"
        said = f"{message}: {trouble.message}" if trouble else message
        return refuse(state, world, Rejection(state.candidate or "", reason, said), stable)
    return stay(state, world, stable)


def _quality(state: RolloutState, world: World, step: QualityStep, target: str, stable: str) -> Step:
    if state.weight != 0:  # of a plan that was edited: answers are compared without traffic
        return stay(replace(state, weight=0, step_started_at=None), world, stable)
    answers = world.answers if world.answers and world.answers.revision == target else None
    if answers is None:
        state = held(state, world, "AnswersCompared", "Both revisions answer the golden set")
        if waited(state, world) > timedelta(seconds=world.plan.progress_seconds):
            message = "The two revisions' answers could not be compared in time"
            return pause(state, world, stable, "QualityUnknown", message)
        return replace(stay(state, world, stable), compare=True, requeue_after=ANSWERS_RETRY_SECONDS)
    if answers.verdict == "Fail":
        return worse(state, world, stable, "AnswersDiffer", answers.message)
    if answers.verdict == "Unknown":
        return pause(state, world, stable, "QualityUnknown", answers.message)
    return _over(state, world, stable, answers.message, step.pause)


def _over(state: RolloutState, world: World, stable: str, why: str, waits: bool) -> Step:
    """The step is done with; where the plan says so, a person has the next word."""
    if waits:
        return pause(state, world, stable, "StepPassed", f"{why}; promote goes on to the next step")
    return _enter(state, world, stable, (state.step or 0) + 1, why)


def _weigh(state: RolloutState, world: World, step: WeightStep, target: str, stable: str) -> Step:
    waiting = _weighted(state, world, step, target, stable)
    if waiting is not None:
        return waiting
    if state.step_started_at is None:
        return stay(replace(state, step_started_at=world.now, hold=None), world, stable)
    return _judged(state, world, step, state.step_started_at, stable)


def _weighted(state: RolloutState, world: World, step: WeightStep, target: str, stable: str) -> Step | None:
    """None once the step's weight is in force."""
    if state.displaced is not None:
        return climb(state, world, stable, target, goal(step, state))
    if world.plan.by_pods:
        return weighted(state, world, step, target, stable)
    weight, pods = target_weight(step, state, world, max(1, stable_count(state, world)))
    if state.weight <= weight:
        waiting = capacity(state, world, stable, target, pods)
        if waiting is not None:
            return waiting
    if state.weight != weight:
        return stay(replace(state, weight=weight, step_started_at=None, hold=None), world, stable)
    return carried(state, world, stable, weight)


def _judged(state: RolloutState, world: World, step: WeightStep, started: datetime, stable: str) -> Step:
    look = world.look
    if look.trouble:
        return _blind(state, world, step, started, stable)
    if look.share_wrong:
        return _waiting(state, world, step, started, stable, "WeightNotHonoured", _unshared(state, world))
    if look.breaching:
        return _waiting(state, world, step, started, stable, "StableBreaching", look.message)
    if look.verdict == "Pass" and look.candidate_requests >= step.min_requests:
        return _over(replace(state, hold=None), world, stable, look.message, step.pause)
    if look.mismatched:
        message = "Pods of the two revisions are not equally loaded; their latencies cannot be compared"
        return _waiting(state, world, step, started, stable, "LoadMismatch", message)
    return _waiting(state, world, step, started, stable, "Analysing", look.message)


def _unshared(state: RolloutState, world: World) -> str:
    look = world.look
    share = f"{look.share:.1%}" if look.share is not None else "another share"
    if not world.plan.by_pods:
        return f"The candidate gets {share} of the requests, and its weight is {state.weight}%"
    due = f"{look.share_due:.1%}" if look.share_due is not None else f"{state.weight}%"
    return (
        f"The candidate has {due} of the ready pods and gets {share} of the requests: a connection that is"
        " kept open stays with its pod. Let gRPC clients balance over the headless Service (round_robin), or"
        " give Triton --grpc-max-connection-age; let HTTP clients connect anew; or let a gateway split them"
    )


def _blind(state: RolloutState, world: World, step: WeightStep, started: datetime, stable: str) -> Step:
    """The last windows say nothing, which is neither a failed check nor a pass."""
    policy, why, message = world.plan.policy, world.look.trouble, world.look.trouble_message
    state = held(state, world, why, message)
    choice, seconds = policy.on_provider_down, policy.provider_down_seconds
    if why == "NoData":
        choice, seconds = policy.on_no_data, policy.no_data_seconds
    if choice == "Hold":
        here = min(waited(state, world), world.now - started)
        if here <= timedelta(seconds=seconds):
            return stay(state, world, stable)
        choice, message = policy.on_timeout_then, f"Time is up: {message}"
    return _chosen(choice, state, world, step, stable, why, message)


def _waiting(
    state: RolloutState,
    world: World,
    step: WeightStep,
    started: datetime,
    stable: str,
    reason: str,
    message: str,
) -> Step:
    # Time in which nobody measured, as while the operator was away, or a clock's own leap, tells of nothing.
    known = world.look.seconds if world.look.seconds is not None else math.inf
    if min((world.now - started).total_seconds(), known) <= step.max_seconds:
        return stay(held(state, world, reason, message), world, stable)
    said = reason if reason != "Analysing" else "Inconclusive"
    # What is not the candidate's doing promotes and rejects nobody.
    choice = world.plan.policy.on_inconclusive if said == "Inconclusive" else "Pause"
    return _chosen(choice, state, world, step, stable, said, f"Time is up: {message}")


def _chosen(
    choice: Choice,
    state: RolloutState,
    world: World,
    step: WeightStep,
    stable: str,
    reason: str,
    message: str,
) -> Step:
    if choice == "Rollback":
        return refuse(state, world, Rejection(state.candidate or "", reason, message), stable)
    if choice == "Promote":
        return _over(state, world, stable, f"{reason}, and the plan says Promote", step.pause)
    return pause(state, world, stable, reason, message)


def _promote(state: RolloutState, world: World, target: str, stable: str) -> Step:
    """Pods for all of the traffic, then all of the traffic, then the role."""
    if state.displaced is not None:
        waiting = climb(state, world, stable, target, (FULL, max(1, (state.floor or 1) - 1)))
        return waiting or switch(state, world, target, stable, f"Revision {target} has passed")
    if world.plan.by_pods:
        waiting = promotable(state, world, target, stable)
        return waiting or switch(state, world, target, stable, f"Revision {target} has passed")
    waiting = capacity(state, world, stable, target, max(1, world.full))
    if waiting is not None:
        return waiting
    if world.routes is not None and world.plan.strategy == "Canary":
        if state.weight != FULL:
            return stay(replace(state, weight=FULL, hold=None), world, stable)
        waiting = carried(state, world, stable, FULL)
        if waiting is not None:
            return waiting
    return switch(state, world, target, stable, f"Revision {target} has passed")


__all__ = ["begin", "phase_of", "walk"]
