"""Pods and weights of a rollout's step: how many, whether they are there, whether the routes do as written.

Capacity goes before weight on the way up, and weight before capacity on the way down. Every hold says what it
waits for; none of them fails a candidate for somebody else's trouble.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from seawall.decide.rollout_moves import held, pause, short, stay, waited
from seawall.decide.rollout_plan import WeightStep
from seawall.decide.rollout_state import RolloutState, Routes, Step, World

ROUTE_LIMIT = timedelta(minutes=5)
"""How long a route may take to be what was written."""
CONFLICT_LIMIT = 3
"""How often a weight in force may be changed by somebody else before a person is asked."""
ROUTE_REASONS = frozenset(
    {
        "WeightNotInForce",
        "RouteConflict",
        "NotRouted",
        "RouteNotFound",
        "RouteNotAccepted",
        "RouteRefsNotResolved",
        "RouteUnreadable",
        "RouteWithoutBackend",
        "RouteAmbiguous",
        "RouteWeightsTooSmall",
        "NameConflict",
        "GatewayAPIAbsent",
        "OtherRevisions",
    }
)
UNSPLIT = frozenset({"RouteWeightsTooSmall", "RouteAmbiguous"})
"""Of these, those under which all of the traffic comes to what serves: only a rollout cannot go on."""
FULL = 100


def target_weight(step: WeightStep, state: RolloutState, world: World, stable_pods: int) -> tuple[int, int]:
    """(percent, pods of the candidate): so many that pods of both revisions are equally loaded."""
    if step.percent is None:
        pods = max(1, min(pinned(state, world), stable_pods))
        if state.step_started_at is not None:
            return state.weight, pods  # a count that moves beside it must not begin the step anew
        return max(1, round(FULL * pods / (pods + stable_pods))), pods
    return step.percent, pods_for(step.percent, stable_pods, world)


def pods_for(percent: int, stable_pods: int, world: World) -> int:
    full = max(1, world.full)
    if percent >= FULL:
        return full
    return max(1, min(math.ceil(stable_pods * percent / (FULL - percent)), full))


def pinned(state: RolloutState, world: World) -> int:
    """Pods of the candidate that are there by an earlier look's word."""
    here = world.revisions.get(state.candidate or "")
    return min(state.pods or 0, here.replicas) if here is not None else 0


def stable_count(state: RolloutState, world: World) -> int:
    """Pods that the stable revision is meant to have."""
    here = world.revisions.get(state.stable or "")
    return here.replicas if here is not None else state.floor or 1


def capacity(
    state: RolloutState, world: World, stable: str, target: str, pods: int, weight: int | None = None
) -> Step | None:
    """None once there are pods enough for the weight, on both sides. What has answered is not taken away
    again on the way up, so that the number only grows. `weight`: to be recorded with the number, where the
    one is the other."""
    pods = max(pods, pinned(state, world))
    surge = world.plan.max_surge
    if surge is not None and pods > max(surge, pinned(state, world)):
        message = (
            f"{pods} pods of revision {target} are needed beside the stable ones, and"
            f" spec.rollout.capacity.maxSurgeReplicas is {surge}; raise it and resume, or abort"
        )
        return pause(state, world, stable, "SurgeTooSmall", message)
    if state.pods != pods:
        weight = state.weight if weight is None else weight
        return stay(replace(state, pods=pods, weight=weight, step_started_at=None), world, stable)
    # A person may lower the stable count at any time; what is asked for then is what counts.
    lacking = short(state, world, stable, min(state.floor or 1, stable_count(state, world)))
    if lacking is not None:
        return stay(lacking, world, stable)
    here = world.revisions[target]
    if here.available >= pods:
        return None
    message = f"Revision {target} has {here.available} of {pods} pods ready that its weight needs"
    if here.trouble is not None:
        message += f": {here.trouble.message}"
    state = held(replace(state, step_started_at=None), world, "CapacityUnavailable", message)
    if waited(state, world) <= timedelta(seconds=world.plan.progress_seconds):
        return stay(state, world, stable)
    carries = pods_for(state.weight, max(1, stable_count(state, world)), world) <= here.available
    state = state if carries else replace(state, weight=0)
    return pause(state, world, stable, "CapacityUnavailable", message)


def carried(state: RolloutState, world: World, stable: str, weight: int) -> Step | None:
    """None once every route carries the weight, as far as the control plane can tell."""
    routes = world.routes
    if routes is None:
        reason = "NotRouted"
        message = (
            "Nothing splits the traffic: neither spec.routing nor a route of spec.rollout.traffic is there"
        )
    elif routes.carry(weight) and routes.settled and not routes.problem:
        return None
    else:
        reason = routes.problem or "WeightNotInForce"
        who = "Services" if routes.by_pods else "routes"
        message = routes.message or f"The {who} do not carry {weight}% yet"
    before = state.hold.reason if state.hold is not None else ""
    state = held(replace(state, step_started_at=None), world, reason, message, ROUTE_REASONS)
    if waited(state, world) <= ROUTE_LIMIT:
        return stay(state, world, stable)
    settled = routes is not None and routes.settled and not routes.problem
    if settled and before in ROUTE_REASONS:
        reason, message = "RouteConflict", _conflict(routes, f"Not {weight}% in five minutes")
    return pause(replace(state, weight=0), world, stable, reason, message)


def fought(state: RolloutState, world: World, stable: str) -> Step | None:
    """A weight that was in force is not any more, and it was not this operator who changed it."""
    routes = world.routes
    if state.step_started_at is None or routes is None or routes.problem or routes.carry(state.weight):
        return None
    state = replace(state, conflicts=state.conflicts + 1, step_started_at=None)
    if state.conflicts >= CONFLICT_LIMIT:
        often = f"That has happened {state.conflicts} times in this rollout"
        return pause(replace(state, weight=0), world, stable, "RouteConflict", _conflict(routes, often))
    what = "the Services' selectors" if routes.by_pods else "the routes' weights"
    message = f"Somebody has changed {what}; {state.weight}% is written again"
    return stay(held(state, world, "WeightNotInForce", message), world, stable)


def _conflict(routes: Routes | None, what: str) -> str:
    if routes is not None and routes.by_pods:
        return f"Somebody else writes the selectors of the Services. {what}. Find out who, then resume"
    return (
        f"Somebody else sets the routes' weights, as a pipeline does that applies a whole route. {what}."
        " Leave the weights out of what it applies, then resume"
    )


__all__ = [
    "CONFLICT_LIMIT",
    "FULL",
    "ROUTE_LIMIT",
    "ROUTE_REASONS",
    "UNSPLIT",
    "capacity",
    "carried",
    "fought",
    "pods_for",
    "stable_count",
    "target_weight",
]
