"""The shadow step: copies of live requests are answered by both revisions, and clients see nothing of it.

The comparator comes first and then the filter of the route that feeds it; the filter goes before it. Its
counts are judged at every look: a proven disagreement ends the rollout at once, agreement counts at the end
of the time. What is neither, or was lost, is a person's to decide. A pause takes the comparator away, and
after it counting begins at nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from seawall.canary.agreement import Demands
from seawall.canary.shadow import Tally, judge, needed
from seawall.decide.rollout_moves import LOOK_SECONDS, held, pause, stay, waited, worse
from seawall.decide.rollout_plan import ShadowStep
from seawall.decide.rollout_state import RolloutState, Step, World
from seawall.decide.rollout_traffic import carried

STARTING = frozenset({"ComparatorStarts", "RequestsNotCopied"})


def shadow(state: RolloutState, world: World, step: ShadowStep, stable: str) -> Step | str:
    """One transition; in words why the step is passed, once it is."""
    if state.weight != 0:  # of a plan that was edited: answers are compared without traffic
        return stay(replace(state, weight=0, step_started_at=None), world, stable)
    seen = world.shadow
    if world.routes is None or not seen.routed:
        message = "Nothing copies requests: a shadow step needs the HTTPRoute that spec.routing makes"
        return pause(state, world, stable, "ShadowUnknown", message)
    if not seen.there:
        return _starts(state, world, stable, "ComparatorStarts", "The comparator's pod is not ready")
    if not seen.copied or not world.routes.settled:
        waiting = carried(state, world, stable, 0) if world.routes.problem else None
        if waiting is not None:
            return replace(waiting, shadow=waiting.state.pause is None)
        message = "The route does not copy requests to the comparator yet"
        return _starts(state, world, stable, "RequestsNotCopied", message)
    if seen.tally is None:
        return _starts(state, world, stable, "ComparatorStarts", "The comparator does not tell its counts")
    if seen.tally.refusal:
        return pause(state, world, stable, "ShadowUnknown", f"Nothing is compared: {seen.tally.refusal}")
    if state.step_started_at is None:
        begun = replace(state, step_started_at=world.now, comparator=seen.tally.start, hold=None)
        return _goes_on(begun, world, stable)
    if seen.tally.start != state.comparator:
        message = "The comparator was started anew and has lost its counts; resume begins the step again"
        return pause(state, world, stable, "ShadowUnknown", message)
    return _judged(state, world, step, seen.tally, state.step_started_at, stable)


def _judged(
    state: RolloutState,
    world: World,
    step: ShadowStep,
    tally: Tally,
    started: datetime,
    stable: str,
) -> Step | str:
    settings = world.plan.settings
    demands = Demands(step.max_disagreement, settings.alpha, settings.beta)
    verdict, message = judge(tally, demands)
    if verdict == "Fail":
        return worse(state, world, stable, "AnswersDiffer", message)
    if verdict == "Unknown":
        return pause(state, world, stable, "ShadowUnknown", message)
    if world.now - started < timedelta(seconds=step.duration_seconds):
        return _goes_on(held(state, world, "Shadowing", message), world, stable)
    if verdict == "Pass":
        return message
    return pause(state, world, stable, "ShadowUnknown", f"Time is up: {message}; {_lacking(tally, demands)}")


def _lacking(tally: Tally, demands: Demands) -> str:
    if not tally.seen:
        return "no request came by the HTTPRoute, and gRPC requests cannot be copied"
    told = f"{tally.seen} requests came"
    for count, what in ((tally.dropped, "dropped"), (tally.skipped, "not comparable")):
        told += f", {count} were {what}" if count else ""
    remark = f"; {tally.remark}" if tally.remark else ""
    return f"{told}{remark}; {needed(tally, demands)}"


def _starts(state: RolloutState, world: World, stable: str, reason: str, message: str) -> Step:
    state = held(state, world, reason, message, STARTING)
    if waited(state, world) > timedelta(seconds=world.plan.progress_seconds):
        trouble = f"{message}: {world.shadow.trouble}" if world.shadow.trouble else message
        return pause(state, world, stable, "ShadowUnknown", f"Time is up: {trouble}")
    return _goes_on(state, world, stable)


def _goes_on(state: RolloutState, world: World, stable: str) -> Step:
    step = stay(state, world, stable)
    soon = min(LOOK_SECONDS, step.requeue_after) if step.requeue_after is not None else LOOK_SECONDS
    return replace(step, shadow=True, requeue_after=soon)
