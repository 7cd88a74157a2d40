"""The commit point of a rollout, and the time after it in which there is a way back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from seawall.decide.rollout_moves import (
    DRAIN,
    LOOK_SECONDS,
    fresh,
    held,
    kept,
    promoted,
    stay,
    waited,
    with_history,
)
from seawall.decide.rollout_state import Phase, RolloutState, Step, World
from seawall.decide.types import EventNote

WARM_PATIENCE = timedelta(minutes=1)
"""How long the way back waits for all pods of the revision that was kept warm, where only the spec asks for
it; a person's abort waits for one."""


def switch(state: RolloutState, world: World, target: str, stable: str, why: str) -> Step:
    """The commit point."""
    note = EventNote("Normal", "Promoted", f"{why} and takes over from {stable}")
    done = promoted(state, world, target)
    seconds = DRAIN.total_seconds() if done.previous is None else 1.0
    keep = kept(state, world, stable)
    return Step(done, target, keep, switches=True, requeue_after=seconds, events=(note,), trial=target)


def watch(state: RolloutState, world: World, stable: str) -> Step:
    """The old revision stays warm. What the routes still send by the candidate's name comes to the same
    pods, and goes back to the stable name."""
    state = replace(fresh(state), phase=Phase.WATCHING)
    remaining = _remaining(state, world)
    if remaining > 0:
        return replace(stay(state, world, stable), requeue_after=max(remaining, 1.0))
    done = replace(state, previous=None, floor=None, phase=Phase.IDLE, switched_at=None)
    return stay(done, world, stable)


def watched(state: RolloutState, world: World) -> RolloutState:
    """Without the old revision once its time is over, whatever else goes on."""
    if state.previous is None or _remaining(state, world) > 0:
        return state
    return replace(state, previous=None, floor=None, switched_at=None)


def _remaining(state: RolloutState, world: World) -> float:
    window = max(timedelta(seconds=world.plan.rollback_seconds), DRAIN)
    return ((state.switched_at or world.now) + window - world.now).total_seconds()


def taken_back(state: RolloutState, world: World) -> bool:
    """A person has said abort after the promotion. A later spec goes before it only where nothing is there
    to go back to."""
    rejected = state.rejected
    if state.previous is None or rejected is None or rejected.revision != state.stable:
        return False
    warm = world.revisions.get(state.previous)
    newer = world.build is None and world.target not in (None, state.stable, state.previous)
    return not newer or (warm is not None and warm.available > 0)


def go_back(state: RolloutState, world: World, previous: str, reason: str, message: str) -> Step:
    """To what served before, which is still warm: without an analysis, and in one switch."""
    warm = world.revisions.get(previous)
    stable = state.stable or previous
    waits = held(
        replace(fresh(state), phase=Phase.WATCHING, hold=state.hold),
        world,
        "PreviousNotReady",
        f"Revision {previous} is to serve again and not all of its pods are ready",
    )
    urgent = reason == "Aborted" or waited(waits, world) > WARM_PATIENCE
    if warm is None or warm.available == 0 or not (warm.ready or urgent):
        return replace(stay(waits, world, stable), requeue_after=LOOK_SECONDS)
    note = EventNote("Warning", "RolledBack", f"Revision {previous} serves again: {message}")
    done = went_back(state, world, previous, reason)
    keep = kept(done, world, previous) | {stable}
    return Step(done, previous, keep, switches=True, requeue_after=1.0, events=(note,), trial=previous)


def went_back(state: RolloutState, world: World, previous: str, reason: str = "") -> RolloutState:
    """As `promoted`, the other way round; `reason` is not given where a crash came between."""
    if not reason and state.rejected is not None and state.rejected.revision == state.stable:
        reason = state.rejected.reason
    done = replace(
        fresh(state),
        stable=previous,
        candidate=None,
        previous=None,
        phase=Phase.DRAINING,
        switched_at=world.now,
        started_at=None,
        floor=None,
    )
    return with_history(done, world, state.stable or "", "RolledBack", reason or None)


__all__ = ["go_back", "switch", "taken_back", "watch", "watched", "went_back"]
