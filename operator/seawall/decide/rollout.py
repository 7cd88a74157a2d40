"""The Direct rollout as a pure state machine: which revisions exist, which one is served, what comes next.

The selector of the Service is the commit point. The new revision comes up beside the old one, answers a
synthetic inference, then the selector moves, and only after the drain time does the old one go. Whatever
step the operator dies at, the next run derives the same action from status and world.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from seawall.decide.conditions import timestamp
from seawall.decide.rollout_state import BuildWait, Phase, Rejection, RolloutState, Step, World
from seawall.decide.types import EventNote, PlatformUpdate, Verdict

DRAIN = timedelta(seconds=15)
"""How long the old pods stay after the switch: node proxies follow within a second or two, clients that keep
connections open need the rest."""
REVERIFY_SECONDS = 30.0
UNREACHABLE_RETRY_SECONDS = 2.0
UNREACHABLE_LIMIT = timedelta(minutes=10)
HISTORY_LIMIT = 5


def advance(previous: RolloutState, world: World) -> Step:
    """One transition at most. Pure; the caller acts and comes back."""
    state = _forget_if_retried(_resolved(previous, world), world)
    if world.build is not None:
        return _build(state, world, world.build)
    if world.target is None:
        return _hold(state, world)
    if state.stable is None:
        return _first(state, world, world.target)
    if world.target == state.stable:
        return _settled(state, world)
    return _update(state, world, world.target, state.stable)


def _resolved(state: RolloutState, world: World) -> RolloutState:
    """The stable revision as the world confirms it."""
    selected = world.selected if world.selected in world.revisions else None
    if not state.id and selected is not None and selected != world.target:
        return replace(state, stable=selected)  # status was lost: the Service knows what serves
    if state.candidate is not None and selected == state.candidate and state.stable is not None:
        # Died between moving the selector and writing it down: the move stands.
        return _promoted(state, world, state.candidate)
    if state.stable is not None and state.stable not in world.revisions and state.stable != world.target:
        return replace(state, stable=None)  # its Deployment is gone and nobody can render it again
    return state


def _forget_if_retried(state: RolloutState, world: World) -> RolloutState:
    if world.retry is None or world.retry == state.last_command:
        return state
    return replace(state, rejected=None, last_command=world.retry)


def _new_id(state: RolloutState, world: World, target: str) -> str:
    """<generation>-<revision>, and -2, -3 … when the same one is tried again: commands name one attempt."""
    base = f"{world.generation}-{target}"
    if state.id != base and not state.id.startswith(f"{base}-"):
        return base
    attempt = state.id.removeprefix(base).lstrip("-")
    return f"{base}-{int(attempt) + 1 if attempt.isdigit() else 2}"


def _draining(state: RolloutState, world: World) -> tuple[frozenset[str], float | None]:
    """Revisions that are neither stable nor candidate but may still hold connections, and for how long."""
    if state.switched_at is None:
        return frozenset(), None
    left = (state.switched_at + DRAIN - world.now).total_seconds()
    if left <= 0:
        return frozenset(), None
    others = frozenset(world.revisions) - {state.stable, state.candidate}
    return others, (left if others else None)


def _hold(state: RolloutState, world: World) -> Step:
    """The spec is refused: whatever serves goes on serving, nothing new starts, nothing is thrown away."""
    keep = frozenset(world.revisions)
    withheld = state.rejected is not None and state.rejected.revision == state.candidate
    first = state.candidate if state.candidate in world.revisions and not withheld else None
    return Step(state, state.stable or first, keep)


def _build(state: RolloutState, world: World, wait: BuildWait) -> Step:
    """What the spec asks for has to be built first: what serves goes on serving, and nothing new starts."""
    failed = wait is BuildWait.FAILED
    if state.stable is None:
        phase = Phase.IDLE if failed else Phase.BUILDING
        return _hold(replace(state, phase=phase, trigger="Spec"), world)
    if state.candidate is not None:  # of an earlier spec
        aborted = replace(state, candidate=None, started_at=None)
        state = _with_history(aborted, world, state.candidate, "Aborted")
    if failed:
        # A failed change of the platform holds its slot for a while, so that a bad image stops by itself.
        phase = Phase.ROLLED_BACK if world.platform_only else Phase.IDLE
        return _stay(replace(state, phase=phase), world, state.stable or "")
    if world.platform_only and not world.platform_slot:
        waiting = _stay(replace(state, phase=Phase.IDLE), world, state.stable or "")
        return replace(waiting, platform_update=PlatformUpdate.WAITING)
    trigger = "Platform" if world.platform_only else "Spec"
    step = _stay(replace(state, phase=Phase.BUILDING, trigger=trigger), world, state.stable or "")
    return replace(step, platform_update=PlatformUpdate.RUNNING) if world.platform_only else step


def _first(state: RolloutState, world: World, target: str) -> Step:
    """No revision has ever answered right: bring the wanted one up; there is nothing to fall back to."""
    rejected = state.rejected if state.rejected and state.rejected.revision == target else None
    fresh = state.candidate != target
    state = replace(
        state,
        id=_new_id(state, world, target) if fresh else state.id,
        candidate=target,
        trigger="Spec",
        started_at=world.now if fresh or state.started_at is None else state.started_at,
        rejected=rejected,
        phase=Phase.STARTING,
    )
    keep = frozenset({target})
    serving = None if rejected else target
    here = world.revisions.get(target)
    if here is None or not here.ready:
        return Step(state, serving, keep)
    answer = world.verification if world.verification and world.verification.revision == target else None
    state = replace(state, phase=Phase.VERIFYING)
    if answer is None:
        return Step(state, serving, keep, verify=target)
    if answer.verdict is Verdict.PASSED:
        done = replace(_promoted(state, world, target), switched_at=None, phase=Phase.IDLE, rejected=None)
        note = EventNote("Normal", "Installed", f"Revision {target} answers and is served")
        return Step(done, target, keep, events=(note,))
    if answer.verdict is Verdict.UNREACHABLE:
        return Step(state, serving, keep, requeue_after=UNREACHABLE_RETRY_SECONDS)
    refused = Rejection(target, "VerificationFailed", answer.message)
    notes = () if rejected else (EventNote("Warning", "VerificationFailed", answer.message),)
    return Step(replace(state, rejected=refused), None, keep, requeue_after=REVERIFY_SECONDS, events=notes)


def _settled(state: RolloutState, world: World) -> Step:
    """The spec asks for what is served. A candidate that is still about belongs to a reverted change."""
    notes: tuple[EventNote, ...] = ()
    if state.candidate is not None:
        notes = (EventNote("Normal", "RolloutAborted", f"The spec is back at revision {state.stable}"),)
        state = _with_history(
            replace(state, candidate=None, started_at=None), world, state.candidate, "Aborted"
        )
    draining, left = _draining(state, world)
    phase = Phase.DRAINING if left is not None else Phase.IDLE
    state = replace(state, phase=phase, switched_at=state.switched_at if left is not None else None)
    return Step(state, state.stable, draining | {state.stable or ""}, requeue_after=left, events=notes)


def _update(state: RolloutState, world: World, target: str, stable: str) -> Step:
    """Another revision is wanted while one serves."""
    started = target in world.revisions
    if state.rejected and state.rejected.revision == target:
        return _stay(replace(state, candidate=None, phase=Phase.ROLLED_BACK), world, stable)
    if world.paused and not started:
        return _stay(replace(state, candidate=None, phase=Phase.PAUSED), world, stable)
    if world.platform_only and not world.platform_slot and not started:
        idle = replace(state, candidate=None, phase=Phase.IDLE)
        return replace(_stay(idle, world, stable), platform_update=PlatformUpdate.WAITING)
    fresh = state.candidate != target
    state = replace(
        state,
        id=_new_id(state, world, target) if fresh else state.id,
        candidate=target,
        trigger="Platform" if world.platform_only else "Spec",
        started_at=world.now if fresh or state.started_at is None else state.started_at,
        phase=Phase.STARTING,
        rejected=None,
    )
    step = _progress(state, world, target, stable)
    if fresh:
        note = EventNote("Normal", "RolloutStarted", f"Revision {target} starts beside {stable}")
        step = replace(step, events=(note, *step.events))
    running = world.platform_only and step.state.candidate == target
    return replace(step, platform_update=PlatformUpdate.RUNNING) if running else step


def _stay(state: RolloutState, world: World, stable: str) -> Step:
    draining, left = _draining(state, world)
    return Step(state, stable, draining | {stable}, requeue_after=left)


def _progress(state: RolloutState, world: World, target: str, stable: str) -> Step:
    draining, left = _draining(state, world)
    keep = draining | {stable, target}
    here = world.revisions.get(target)
    trouble = here.trouble if here else None
    if trouble is not None and trouble.permanent:
        return _reject(state, world, Rejection(target, trouble.reason, trouble.message), stable)
    if here is not None and here.deadline_exceeded:
        reason = trouble.reason if trouble else "ProgressDeadlineExceeded"
        message = trouble.message if trouble else f"Revision {target} did not become ready in time"
        return _reject(state, world, Rejection(target, reason, message), stable)
    if here is None or not here.ready:
        return Step(state, stable, keep, requeue_after=left)
    if world.paused:
        return Step(replace(state, phase=Phase.PAUSED), stable, keep, requeue_after=left)
    state = replace(state, phase=Phase.VERIFYING)
    answer = world.verification if world.verification and world.verification.revision == target else None
    if answer is None:
        return Step(state, stable, keep, verify=target)
    if answer.verdict is Verdict.WRONG:
        return _reject(state, world, Rejection(target, "VerificationFailed", answer.message), stable)
    if answer.verdict is Verdict.UNREACHABLE:
        if state.started_at is not None and world.now - state.started_at > UNREACHABLE_LIMIT:
            return _reject(state, world, Rejection(target, "VerificationUnreachable", answer.message), stable)
        return Step(state, stable, keep, requeue_after=UNREACHABLE_RETRY_SECONDS)
    note = EventNote("Normal", "Promoted", f"Revision {target} answers right and takes over from {stable}")
    done = _promoted(state, world, target)
    seconds = DRAIN.total_seconds()
    return Step(done, target, keep, switches=True, requeue_after=seconds, events=(note,))


def _promoted(state: RolloutState, world: World, target: str) -> RolloutState:
    promoted = replace(
        state,
        stable=target,
        candidate=None,
        phase=Phase.DRAINING,
        switched_at=world.now,
        started_at=None,
        rejected=None,
    )
    return _with_history(promoted, world, target, "Promoted" if state.stable else "Installed")


def _reject(state: RolloutState, world: World, rejection: Rejection, stable: str) -> Step:
    note = EventNote("Warning", "RolledBack", f"Revision {rejection.revision}: {rejection.message}")
    rejected = _with_history(
        replace(state, candidate=None, phase=Phase.ROLLED_BACK, started_at=None, rejected=rejection),
        world,
        rejection.revision,
        "Rejected",
        rejection.reason,
    )
    step = _stay(rejected, world, stable)
    return replace(step, events=(note,))


def _with_history(
    state: RolloutState, world: World, revision: str, outcome: str, reason: str | None = None
) -> RolloutState:
    entry = {"revision": revision, "outcome": outcome, "finishedAt": timestamp(world.now)}
    if reason:
        entry["reason"] = reason
    return replace(state, history=(entry, *state.history)[:HISTORY_LIMIT])
