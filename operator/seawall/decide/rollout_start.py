"""The candidate before it has had any traffic: up, ready, answering right."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from seawall.decide.rollout_displace import room
from seawall.decide.rollout_moves import draining, held, kept, pause, refuse
from seawall.decide.rollout_stages import begin
from seawall.decide.rollout_state import Phase, Rejection, RevisionState, RolloutState, Step, World
from seawall.decide.rollout_watch import switch
from seawall.decide.types import Verdict, Verification

REVERIFY_SECONDS = 30.0
UNREACHABLE_RETRY_SECONDS = 2.0
UNREACHABLE_LIMIT = timedelta(minutes=10)
CLUSTERS = frozenset({"Unschedulable", "PodsRefused"})
"""Troubles of a pod that are the cluster's and not the candidate's."""


def bring_up(state: RolloutState, world: World, target: str, stable: str) -> Step:
    state = replace(state, phase=Phase.STARTING)
    waiting = room(state, world, stable) if state.displaced is not None else None
    if waiting is not None:
        return waiting
    here = world.revisions.get(target)
    trouble = here.trouble if here else None
    if trouble is not None and trouble.permanent:
        return refuse(state, world, Rejection(target, trouble.reason, trouble.message), stable)
    if here is None or not here.ready:
        return _not_ready(state, world, here, stable)
    if state.hold is not None and state.hold.reason == "CapacityUnavailable":
        state = replace(state, hold=None)
    if world.plan.paused or state.pause is not None:
        return _waits(replace(state, phase=Phase.PAUSED), world, stable)
    answer = world.verification if world.verification and world.verification.revision == target else None
    return _answered(replace(state, phase=Phase.VERIFYING), world, answer, stable)


def _waits(state: RolloutState, world: World, stable: str, at_most: float | None = None) -> Step:
    _, seconds = draining(state, world)
    times = [t for t in (seconds, at_most) if t is not None]
    return Step(state, stable, kept(state, world, stable), requeue_after=min(times) if times else None)


def _not_ready(state: RolloutState, world: World, here: RevisionState | None, stable: str) -> Step:
    if state.pause is not None:
        return _waits(replace(state, phase=Phase.PAUSED), world, stable)
    if here is None:
        return _waits(state, world, stable)
    if world.plan.strategy == "Direct":
        return (
            _refused(state, world, here, stable) if here.deadline_exceeded else _waits(state, world, stable)
        )
    return _stepwise(state, world, here, stable)


def _stepwise(state: RolloutState, world: World, here: RevisionState, stable: str) -> Step:
    """The plan's own deadline; where it is the cluster that has no room, nobody is rejected for that."""
    lacks = here.trouble if here.trouble is not None and here.trouble.reason in CLUSTERS else None
    ends = (state.started_at or world.now) + timedelta(seconds=world.plan.progress_seconds)
    remaining = (ends - world.now).total_seconds()
    if remaining < 0:
        if lacks is not None:
            return pause(state, world, stable, "CapacityUnavailable", lacks.message)
        return _refused(state, world, here, stable)
    if lacks is not None:
        state = held(state, world, "CapacityUnavailable", lacks.message)
    else:
        state = replace(state, hold=None)
    return _waits(state, world, stable, remaining + 1.0)


def _refused(state: RolloutState, world: World, here: RevisionState, stable: str) -> Step:
    trouble, target = here.trouble, state.candidate or ""
    reason = trouble.reason if trouble else "ProgressDeadlineExceeded"
    message = trouble.message if trouble else f"Revision {target} did not become ready in time"
    return refuse(state, world, Rejection(target, reason, message), stable)


def _answered(state: RolloutState, world: World, answer: Verification | None, stable: str) -> Step:
    target, keep = state.candidate or "", kept(state, world, stable)
    if answer is None:
        return Step(state, stable, keep, verify=target)
    if answer.verdict is Verdict.WRONG:
        return refuse(state, world, Rejection(target, "VerificationFailed", answer.message), stable)
    if answer.verdict is Verdict.UNREACHABLE:
        seconds = 0.0 if world.plan.strategy == "Direct" else world.plan.progress_seconds
        limit = max(UNREACHABLE_LIMIT, timedelta(seconds=seconds))
        if state.started_at is not None and world.now - state.started_at > limit:
            return refuse(state, world, Rejection(target, "VerificationUnreachable", answer.message), stable)
        return Step(state, stable, keep, requeue_after=UNREACHABLE_RETRY_SECONDS)
    if world.plan.strategy == "Direct" and state.displaced is None:
        return switch(state, world, target, stable, f"Revision {target} answers right")
    return begin(state, world, target, stable)


__all__ = ["REVERIFY_SECONDS", "UNREACHABLE_LIMIT", "UNREACHABLE_RETRY_SECONDS", "bring_up"]
