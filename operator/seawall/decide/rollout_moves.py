"""The few moves that every part of a rollout is made of: staying, leaving, refusing, pausing, taking over."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from seawall.decide.conditions import timestamp
from seawall.decide.rollout_state import AHEAD, Hold, Phase, Rejection, RolloutState, Step, World
from seawall.decide.types import EventNote

DRAIN = timedelta(seconds=15)
"""How long pods stay after their traffic has gone: proxies follow within a second or two, clients that keep
connections open need the rest."""
LEAVE_LIMIT = timedelta(minutes=5)
"""How long a candidate's pods wait for routes that still name its Service, which has long selected others."""
AWAY = frozenset({"CandidateNotReady", "SpecRefused"})
"""Holds during which the candidate is to get nothing."""
LOOK_SECONDS = 5.0
"""How soon a hold that the routes cause is looked at again: they are read, not watched."""


def not_ahead(state: RolloutState, now: datetime) -> RolloutState:
    """Without moments in the future, which a clock has left behind that was put back since."""
    names = ("started_at", "switched_at", "step_started_at")
    late: dict[str, Any] = {
        name: now for name in names if (at := getattr(state, name)) is not None and at > now + AHEAD
    }
    if state.hold is not None and state.hold.since > now + AHEAD:
        late["hold"] = replace(state.hold, since=now)
    return replace(state, **late) if late else state


def draining(state: RolloutState, world: World) -> tuple[frozenset[str], float | None]:
    """Revisions that are neither stable nor candidate but may still hold connections, and for how long."""
    if state.switched_at is None:
        return frozenset(), None
    remaining = (state.switched_at + DRAIN - world.now).total_seconds()
    if remaining <= 0:
        return frozenset(), None
    others = frozenset(world.revisions) - {state.stable, state.candidate, state.previous}
    return others, (remaining if others else None)


def kept(state: RolloutState, world: World, stable: str) -> frozenset[str]:
    others, _ = draining(state, world)
    return others | {name for name in (stable, state.candidate, state.previous) if name}


def stay(state: RolloutState, world: World, stable: str) -> Step:
    """What serves goes on, and nothing else happens."""
    _, seconds = draining(state, world)
    keep = kept(state, world, stable)
    return Step(state, stable, keep, requeue_after=seconds, trial=trial(state, stable))


def trial(state: RolloutState, stable: str) -> str:
    """What the candidate's Service selects: a candidate that has answered right, or else what serves
    anyway, so that a weight which somebody left on it, or which cannot be taken back, hurts nobody."""
    if state.candidate is None or state.step is None:
        return stable
    waits = state.hold is not None and state.hold.reason in AWAY
    away = state.phase in (Phase.ROLLING_BACK, Phase.PAUSED) or waits
    return stable if away and state.weight == 0 else state.candidate


def held(
    state: RolloutState, world: World, reason: str, message: str, kin: Set[str] = frozenset()
) -> RolloutState:
    """Waiting for this; since when it, or one of its kin, was first waited for."""
    before = state.hold
    known = before is not None and (before.reason == reason or {before.reason, reason} <= kin)
    since = before.since if before is not None and known else world.now
    return replace(state, hold=Hold(reason, message, since))


def short(state: RolloutState, world: World, stable: str, of: int) -> RolloutState | None:
    """Waiting for the stable revision's pods; None where as many as these are ready."""
    serving = world.revisions.get(stable)
    ready = serving.available if serving is not None else 0
    if ready >= of:
        return None
    message = f"Revision {stable} has {ready} of {of} pods ready; that is not the candidate's doing"
    return held(replace(state, step_started_at=None), world, "StableNotReady", message)


def waited(state: RolloutState, world: World) -> timedelta:
    """For how long the hold has been there."""
    return world.now - state.hold.since if state.hold is not None else timedelta()


def paused(state: RolloutState, world: World, reason: str, message: str) -> RolloutState:
    """Until a person says what is to be done."""
    state = replace(state, phase=Phase.PAUSED, hold=None)
    if state.pause is not None and state.pause.reason == reason:
        return state
    return replace(state, pause=Hold(reason, message, world.now))


def pause(state: RolloutState, world: World, stable: str, reason: str, message: str) -> Step:
    """The plan's or the machine's own pause; said once."""
    after = paused(state, world, reason, message)
    notes = (
        () if after.pause == state.pause else (EventNote("Warning", "RolloutPaused", f"{reason}: {message}"),)
    )
    return _with_notes(stay(after, world, stable), notes)


def _with_notes(step: Step, notes: tuple[EventNote, ...]) -> Step:
    return replace(step, events=(*notes, *step.events))


def left(state: RolloutState, world: World) -> bool:
    """No route sends the candidate anything, and the gateways have taken that in, or have had their time."""
    routes = world.routes
    if routes is None or (routes.most == 0 and (routes.settled or bool(routes.problem))):
        return True
    leaving = state.hold is not None and state.hold.reason == "TrafficLeaves"
    return leaving and waited(state, world) > LEAVE_LIMIT


def leave(state: RolloutState, world: World, stable: str) -> Step:
    """Traffic first: the candidate keeps its pods until no route leads to it."""
    state = replace(state, weight=0, phase=Phase.ROLLING_BACK, step_started_at=None)
    why = f": {world.routes.message}" if world.routes is not None and world.routes.message else ""
    state = held(state, world, "TrafficLeaves", f"The candidate's traffic goes back first{why}")
    return replace(stay(state, world, stable), requeue_after=LOOK_SECONDS)


def fresh(state: RolloutState) -> RolloutState:
    """Nothing of any candidate's way is left."""
    return replace(
        state,
        step=None,
        steps=None,
        step_started_at=None,
        weight=0,
        pods=None,
        displaced=None,
        need=None,
        losses=0,
        conflicts=0,
        hold=None,
        pause=None,
        comparator=None,
        analysis=None,
    )


def refuse(state: RolloutState, world: World, rejection: Rejection, stable: str) -> Step:
    """The candidate is not to serve; it goes as soon as it has no traffic."""
    note = EventNote("Warning", "RolledBack", f"Revision {rejection.revision}: {rejection.message}")
    state = replace(state, rejected=rejection, pause=None, hold=None)
    if state.step is not None or not left(state, world):
        return _with_notes(leave(state, world, stable), (note,))
    gone = replace(dropped(state, world), phase=Phase.ROLLED_BACK)
    return _with_notes(stay(gone, world, stable), (note,))


def worse(state: RolloutState, world: World, stable: str, reason: str, message: str) -> Step:
    """It is proven: back, or a person's to look at, as the plan says."""
    if world.plan.policy.on_regression == "Pause":
        return pause(state, world, stable, reason, message)
    return refuse(state, world, Rejection(state.candidate or "", reason, message), stable)


def dropped(state: RolloutState, world: World) -> RolloutState:
    """The candidate's part is over. Its pods stay for the drain time where it may have had traffic."""
    name, rejected = state.candidate or "", state.rejected
    refused = rejected is not None and rejected.revision == name and rejected.reason != "Aborted"
    after = replace(
        fresh(state),
        candidate=None,
        started_at=None,
        floor=state.floor if state.displaced is not None else None,
        displaced=0 if state.displaced is not None else None,
        switched_at=world.now if state.step is not None else state.switched_at,
    )
    if rejected is not None and refused:
        return with_history(after, world, name, "Rejected", rejected.reason)
    return with_history(after, world, name, "Aborted")


def promoted(state: RolloutState, world: World, target: str) -> RolloutState:
    """`target` is the stable revision from now on; the one before stays warm where the plan says so."""
    old = world.revisions.get(state.stable or "")
    keeps = world.plan.strategy != "Direct" and world.plan.rollback_seconds > 0
    keeps = keeps and state.displaced is None  # its places are taken
    warm = state.stable if keeps and old is not None and old.replicas > 0 else None
    done = replace(
        fresh(state),
        stable=target,
        candidate=None,
        previous=warm,
        phase=Phase.WATCHING if warm else Phase.DRAINING,
        switched_at=world.now,
        started_at=None,
        rejected=None,
        floor=max(state.floor or 1, state.pods or 1) if warm else None,
    )
    return with_history(done, world, target, "Promoted" if state.stable else "Installed")


def with_history(
    state: RolloutState, world: World, revision: str, outcome: str, reason: str | None = None
) -> RolloutState:
    entry = {"revision": revision, "outcome": outcome, "finishedAt": timestamp(world.now)}
    if reason:
        entry["reason"] = reason
    return replace(state, history=(entry, *state.history)[: world.plan.history_limit])
