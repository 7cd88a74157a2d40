"""A rollout without pods beside the stable ones: the candidate's take the places of the stable revision's.

What both have together stays what the stable revision had at the start. On the way up a place is given only
where the pods that are left carry what is still sent to them, and the weight follows the candidate's ready
pods. On the way down the weight goes back as far as the stable revision's ready pods carry it, then a place,
and so on; at once where the candidate fails requests or has no pod. One stable pod is left until the role
changes: to the Service of the stable name it is all that there is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from seawall.decide.rollout_moves import LOOK_SECONDS, held, pause, short, stay, trial, waited
from seawall.decide.rollout_plan import WeightStep
from seawall.decide.rollout_state import Hold, Phase, RolloutState, Step, World
from seawall.decide.rollout_traffic import FULL, ROUTE_REASONS, carried

NO_ROOM = "CapacityUnavailable"
ALIKE = 80
"""Percent of the others' load, at least: beyond a quarter latencies are not compared."""
RETREATS = ROUTE_REASONS | {"Regression"}
"""Pauses in which the candidate is to get nothing."""


def carries(pods: int, percent: int) -> int:
    """Pods for this share of the traffic, of those that all of it needs."""
    return math.ceil(pods * percent / FULL)


def most(pods: int, ready: int) -> int:
    """Percent of the traffic that so many ready pods carry."""
    return min(FULL, ready * FULL // max(1, pods))


def share(pods: int, total: int) -> int:
    return FULL * pods // total


def fewest(total: int) -> int:
    """Pods whose share in whole percents leaves each nearly as busy as the others: one, save of many."""
    return next((pods for pods in range(1, total) if share(pods, total) * total >= ALIKE * pods), 1)


def goal(step: WeightStep, state: RolloutState) -> tuple[int, int]:
    """(percent, pods of the candidate) of a step: the share of the pods that is nearest, and not above."""
    total = state.floor or 1
    if step.percent is not None and step.percent >= FULL:
        return FULL, total - 1
    pods = max(fewest(total), total * (step.percent or 0) // FULL)
    return max(1, share(pods, total)), pods


def room(state: RolloutState, world: World, stable: str) -> Step | None:
    """None once there is a place for the candidate's first pod, which is made only then."""
    total, serving = state.floor or 1, world.revisions.get(stable)
    there = serving.replicas if serving is not None else 0
    if state.candidate in world.revisions or (state.displaced and there <= total - state.displaced):
        return None
    if state.pause is not None or world.plan.paused:
        return _unmade(replace(state, phase=Phase.PAUSED), world, stable)
    if state.displaced:
        why = f"Revision {stable} has {there} pods still, and one of {total} places is to become free"
        return _unmade(state, world, stable, why)
    lacking = short(state, world, stable, total)
    if lacking is not None:
        return _unmade(lacking, world, stable)
    need = needed(state, world)
    if need > total - 1:
        why = f"All {total} pods of revision {stable} are needed, so that none can make room for a candidate"
        return _unmade(state, world, stable, why)
    return _unmade(replace(state, displaced=1, hold=None), world, stable)


def _unmade(state: RolloutState, world: World, stable: str, why: str = "") -> Step:
    """Without a Deployment of the candidate."""
    keep = {state.candidate or ""}
    if why:
        state = held(state, world, NO_ROOM, why)
        if waited(state, world) > timedelta(seconds=world.plan.progress_seconds):
            step = pause(state, world, stable, NO_ROOM, why)
            return replace(step, keep=step.keep - keep)
    step = stay(state, world, stable)
    again = LOOK_SECONDS if state.displaced or state.hold is not None else step.requeue_after
    return replace(step, keep=step.keep - keep, requeue_after=again)


def needed(state: RolloutState, world: World) -> int:
    """Pods that the stable revision needs for all of the traffic; all that there are where nobody knows."""
    return max(1, world.need if world.need is not None else state.floor or 1)


def climb(state: RolloutState, world: World, stable: str, target: str, aim: tuple[int, int]) -> Step | None:
    """None once the candidate has these pods and this weight is in force; one move at a time until then."""
    weight, pods = aim[0], state.pods or 1
    wanted, total = max(aim[1], pods), state.floor or 1
    here = world.revisions[target]
    lacking = short(state, world, stable, total - (state.displaced or 0))
    if lacking is not None:
        return stay(lacking, world, stable)
    if state.pods != pods:
        return stay(replace(state, pods=pods, step_started_at=None), world, stable)
    if here.available < pods:
        message = f"Revision {target} has {here.available} of {pods} pods ready"
        message += f": {here.trouble.message}" if here.trouble is not None else ""
        return _short(state, world, stable, message)
    now = weight if pods >= wanted else max(state.weight, min(weight, share(pods, total)))
    if state.weight < now and carries(world.full, now) > pods:
        message = f"Revision {target} needs {carries(world.full, now)} pods for {now}%, and has {pods}"
        return _short(state, world, stable, message)
    if state.weight != now:
        return stay(replace(state, weight=now, step_started_at=None, hold=None), world, stable)
    waiting = carried(state, world, stable, now)
    if waiting is not None or pods >= wanted:
        return waiting
    return _another(replace(state, step_started_at=None), world, stable, weight)


def _another(state: RolloutState, world: World, stable: str, weight: int) -> Step:
    """A place of the stable revision's, then a pod in it."""
    total, pods, given = state.floor or 1, state.pods or 1, state.displaced or 0
    there = world.revisions[stable].replicas if stable in world.revisions else 0
    if given > pods:
        if there <= total - given:
            return stay(replace(state, pods=pods + 1, hold=None), world, stable)
        return _short(state, world, stable, f"Revision {stable} has {there} pods still, not {total - given}")
    need, after = needed(state, world), total - given - 1
    if carries(need, FULL - state.weight) <= after:
        return stay(replace(state, displaced=given + 1, hold=None), world, stable)
    more = min(weight, most(max(need, world.full), pods))  # its pods may carry more than their share
    if more > state.weight and carries(need, FULL - more) <= after:
        return stay(replace(state, weight=more, hold=None), world, stable)
    message = (
        f"Revision {stable} needs {carries(need, FULL - state.weight)} of its {after + 1} pods for"
        f" {FULL - state.weight}% of the traffic, so that none can make room"
    )
    return _short(state, world, stable, message)


def _short(state: RolloutState, world: World, stable: str, message: str) -> Step:
    state = held(replace(state, step_started_at=None), world, NO_ROOM, message)
    if waited(state, world) <= timedelta(seconds=world.plan.progress_seconds):
        return stay(state, world, stable)
    return pause(state, world, stable, NO_ROOM, message)


def governed(previous: RolloutState, step: Step, world: World) -> Step:
    """What a look has decided, with the traffic going back no faster than the stable revision can take it."""
    state, stable = step.state, step.state.stable
    if state.displaced == 0 and state.candidate is not None:  # it has no place yet
        step = replace(step, keep=step.keep - {state.candidate})
    same = (previous.stable, previous.candidate) == (stable, state.candidate)
    if previous.displaced is None or state.displaced is None or state.candidate is None or not same:
        return step
    intended = 0 if state.pause is not None and state.pause.reason in RETREATS else state.weight
    if stable is None or step.switches or intended >= previous.weight:
        return step
    serving = world.revisions.get(stable)
    ready = serving.available if serving is not None else 0
    least = max(intended, min(previous.weight, FULL - most(needed(state, world), ready)))
    if least > intended and not _at_once(previous, state, world):
        step = _back(previous.hold, replace(step, state=replace(state, weight=least)), world, ready)
    else:
        step = replace(step, state=replace(state, weight=intended))
    return replace(step, trial=trial(step.state, stable))


def _at_once(previous: RolloutState, state: RolloutState, world: World) -> bool:
    here = world.revisions.get(state.candidate or "")
    late = previous.hold is not None and previous.hold.reason == "CapacityReturns"
    late = late and waited(previous, world) > timedelta(seconds=world.plan.progress_seconds)
    alone = (state.pods or 1) <= 1 and (state.displaced or 0) <= 1
    return world.look.failing or here is None or here.available == 0 or late or alone


def _back(before: Hold | None, step: Step, world: World, ready: int) -> Step:
    """Weight, a pod of the candidate's, its place, and again."""
    state, routes = step.state, world.routes
    total, pods, given = state.floor or 1, state.pods or 1, state.displaced or 0
    message = (
        f"{state.weight}% of the traffic waits for pods of revision {state.stable}: {ready} are ready, and"
        f" {needed(state, world)} are needed for all of it"
    )
    here = world.revisions[state.candidate or ""]
    in_force = routes is not None and routes.weight == state.weight and routes.settled
    if in_force and here.replicas <= pods:
        if given > pods:
            state = replace(state, displaced=pods)
        elif ready >= total - given and pods > 1:
            state = replace(state, pods=max(1, min(carries(world.full, state.weight), pods - 1)))
        elif ready >= total - given:
            state = replace(state, displaced=1, pods=1)
    state = held(replace(state, hold=before, step_started_at=None), world, "CapacityReturns", message)
    return replace(step, state=state, requeue_after=LOOK_SECONDS)


def returning(state: RolloutState, world: World) -> bool:
    """The candidate is gone, and the stable revision has not all of its pods again; for so long at most as
    they may take to start. One that never had traffic leaves nothing to wait for."""
    if state.displaced is None or state.candidate is not None or state.switched_at is None:
        return False
    if world.now - state.switched_at > timedelta(seconds=world.plan.progress_seconds):
        return False
    serving = world.revisions.get(state.stable or "")
    return serving is not None and serving.available < (state.floor or 1)


def returned(state: RolloutState, world: World) -> RolloutState:
    """Without what was displaced, once the stable revision has it again."""
    if state.displaced is None or state.candidate is not None or returning(state, world):
        return state
    return replace(state, displaced=None, need=None, floor=None)


__all__ = ["carries", "climb", "goal", "governed", "needed", "returned", "returning", "room"]
