"""Weights without a gateway: the Services select the pods of both revisions, and a share is a share of pods.

A weight and a number of pods are one thing here. The candidate's pods are ready before the Services select
them; from then on every further pod is weight, and is made only after the status has it. Which pods are ready
nobody has to tell the Services, so that a pod that dies is out by itself.
"""

from __future__ import annotations

from dataclasses import replace

from seawall.decide.rollout_moves import stay
from seawall.decide.rollout_plan import WeightStep
from seawall.decide.rollout_state import RolloutState, Routes, Step, World
from seawall.decide.rollout_traffic import FULL, capacity, carried, pinned, stable_count


def share(pods: int, beside: int) -> int:
    """Percent of the requests that so many pods get; as a weight it is neither nothing nor all of them."""
    return min(max(round(FULL * pods / max(1, pods + beside)), 1), FULL - 1)


def nearest(percent: int, beside: int, most: int) -> int:
    """So many pods have the share that is nearest, one at least."""
    return min(range(1, max(1, most) + 1), key=lambda pods: abs(pods / (pods + beside) - percent / FULL))


def aim(step: WeightStep, state: RolloutState, world: World) -> tuple[int, int]:
    """(percent, pods of the candidate) of a step. What moves beside it afterwards does not begin it anew."""
    if state.step_started_at is not None and state.weight:
        return state.weight, max(state.pods or 1, pinned(state, world))
    beside = max(1, stable_count(state, world))
    most = max(beside, world.full)
    pods = max(1 if step.percent is None else nearest(step.percent, beside, most), pinned(state, world))
    return share(pods, beside), pods


def weighted(state: RolloutState, world: World, step: WeightStep, target: str, stable: str) -> Step | None:
    """None once the step's share is in force."""
    weight, pods = aim(step, state, world)
    waiting = grown(state, world, stable, target, weight, pods)
    if waiting is not None:
        return waiting
    if state.weight != weight:
        return stay(replace(state, weight=weight, step_started_at=None, hold=None), world, stable)
    return carried(state, world, stable, weight)


def grown(state: RolloutState, world: World, stable: str, target: str, weight: int, pods: int) -> Step | None:
    """None once there are so many; where they have traffic, their weight is recorded with their number."""
    return capacity(state, world, stable, target, pods, weight if state.weight else None)


def promotable(state: RolloutState, world: World, target: str, stable: str) -> Step | None:
    """None once there are pods for all of the traffic; the Services then select no others."""
    pods = max(1, world.full, pinned(state, world))
    beside = max(1, stable_count(state, world))
    return grown(state, world, stable, target, share(pods, beside), pods)


def selecting(previous: RolloutState, step: Step, world: World) -> Step:
    """The Services select both revisions as long as there is a weight on record, and nobody else's pods would
    be among them; they find no more of the candidate's pods than had been recorded with it."""
    state, routes = step.state, world.routes
    both = (
        world.plan.by_pods
        and routes is not None
        and not routes.problem
        and step.weight > 0
        and not step.switches
        and state.candidate in world.revisions
        and step.serving == state.stable
    )
    if not both:
        return step
    ahead = (state.pods or 1) > (previous.pods or 1)
    return replace(step, both=True, pods=previous.pods or 1 if ahead else None)


def seen(*, both: bool | None, candidate: int, stable: int, others: str = "") -> Routes:
    """What the Services show. `both`: they select both revisions, and None where they do not agree; counts
    are of ready pods; `others`: a further revision that has pods."""
    percent = share(candidate, stable) if candidate else 0
    message = (
        f"Pods of revision {others} are there, too, and Services that select both revisions would select them"
    )
    return Routes(
        weight=None if both is None else percent if both else 0,
        most=0 if both is False else max(1, percent),
        settled=True,
        problem="OtherRevisions" if others else "",
        message=message if others else "",
        by_pods=True,
    )


__all__ = ["aim", "nearest", "promotable", "seen", "selecting", "share", "weighted"]
