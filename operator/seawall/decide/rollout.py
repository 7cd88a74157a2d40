"""The rollout as a pure state machine: which revisions exist, which one is served, what comes next.

The selector of the Service is the commit point. The new revision comes up beside the old one, answers a
synthetic inference, goes through the plan's steps (`rollout_stages`), then the selector moves. Whatever
moment the operator dies at, the next run derives the same action from status and world: a weight is raised
only after the status has it, and lowered at once.
"""

from __future__ import annotations

from dataclasses import replace

from seawall.decide import rollout_stages as stages
from seawall.decide.rollout_commands import obeyed
from seawall.decide.rollout_displace import governed, returned
from seawall.decide.rollout_moves import (
    DRAIN,
    draining,
    dropped,
    fresh,
    held,
    kept,
    leave,
    left,
    not_ahead,
    promoted,
    stay,
    trial,
)
from seawall.decide.rollout_pods import selecting
from seawall.decide.rollout_start import (
    REVERIFY_SECONDS,
    UNREACHABLE_LIMIT,
    UNREACHABLE_RETRY_SECONDS,
    bring_up,
)
from seawall.decide.rollout_state import BuildWait, Look, Phase, Rejection, RolloutState, Step, World
from seawall.decide.rollout_watch import go_back, taken_back, watch, watched, went_back
from seawall.decide.types import EventNote, PlatformUpdate, Verdict

__all__ = ["DRAIN", "UNREACHABLE_LIMIT", "advance"]


def advance(previous: RolloutState, world: World) -> Step:
    """One transition at most. Pure; the caller acts and comes back."""
    state = replace(_resolved(previous, world), observed=world.routes.weight if world.routes else None)
    state = returned(not_ahead(state, world.now), world)
    if state.displaced is not None and world.need is not None:
        state = replace(state, need=world.need)
    state, notes, verb = obeyed(state, world)
    step = replace(_told(state, world, verb), requeue_after=0.0) if verb else _next(state, world)
    step = governed(previous, step, world)
    step = _recorded_first(previous, replace(step, events=(*notes, *step.events)))
    return selecting(previous, step, world)


def _recorded_first(previous: RolloutState, step: Step) -> Step:
    """The routes carry what the status had before this look, or less: a crash between two writes moves no
    traffic that nobody wrote down. What was just recorded is acted on at once, in the next look. While the
    Service's selector moves, the routes stand still."""
    weight = previous.weight if step.switches else min(previous.weight, step.state.weight)
    step = replace(step, weight=weight, trial=step.trial or step.serving)
    changed = _remembered(step.state) != _remembered(previous)
    moving = step.state.step is not None or previous.step is not None
    return replace(step, requeue_after=0.0) if changed and moving and not step.switches else step


def _remembered(state: RolloutState) -> RolloutState:
    return replace(state, observed=None)


def _told(state: RolloutState, world: World, verb: str) -> Step:
    """A word that was obeyed is this look's transition: it is written down before anything follows from it,
    save that traffic goes back at once. What was measured under another step says nothing any more."""
    world = replace(world, look=Look(), answers=None)
    stable = state.stable
    if stable is not None and verb == "abort" and state.candidate is None:
        return stay(state, world, stable)
    unclear = world.target is None or world.build is not None
    if stable is None or unclear or verb == "retry":
        return _next(state, world)
    if verb == "abort":
        return leave(state, world, stable)
    if state.step is None:
        return _next(state, world)
    phase = Phase.PAUSED if state.pause is not None else stages.phase_of(state, world)
    return stay(replace(state, phase=phase), world, stable)


def _next(state: RolloutState, world: World) -> Step:
    if taken_back(state, world) and state.previous is not None and state.rejected is not None:
        return go_back(state, world, state.previous, state.rejected.reason, state.rejected.message)
    if world.build is not None:
        return _build(state, world, world.build)
    if world.target is None:
        return _hold(state, world)
    if state.stable is None:
        return _first(state, world, world.target)
    if world.target == state.stable:
        return _settled(state, world, state.stable)
    return _update(state, world, world.target, state.stable)


def _resolved(state: RolloutState, world: World) -> RolloutState:
    """The stable revision as the world confirms it."""
    selected = world.selected if world.selected in world.revisions else None
    if not state.id and selected is not None and selected != world.target:
        # The status was lost: the Service knows what serves. Who else has had traffic is not known any more.
        routed = world.routes is not None and world.routes.most > 0
        return replace(fresh(state), stable=selected, switched_at=world.now if routed else state.switched_at)
    if state.candidate is not None and selected == state.candidate and state.stable is not None:
        # Died between moving the selector and writing it down: the move stands.
        return promoted(state, world, state.candidate)
    if selected is not None and selected == state.previous and selected != state.stable:
        return went_back(state, world, selected)
    warm = world.revisions.get(state.previous or "")
    if state.previous is not None and (warm is None or warm.replicas == 0):
        state = replace(state, previous=None, floor=None)  # deleted or scaled to nothing by somebody
    if state.stable is not None and state.stable not in world.revisions and state.stable != world.target:
        return _bereft(state, world)
    return state


def _bereft(state: RolloutState, world: World) -> RolloutState:
    """The stable revision's Deployment is gone and nobody can render it again. A candidate that has answered
    right takes its place."""
    candidate, rejected = state.candidate, state.rejected
    refused = rejected is not None and rejected.revision == candidate
    if candidate in world.revisions and candidate is not None and state.step is not None and not refused:
        return promoted(state, world, candidate)
    return replace(state, stable=None)


def _new_id(state: RolloutState, world: World, target: str) -> str:
    """<generation>-<revision>, and -2, -3 … when the same one is tried again: commands name one attempt."""
    base = f"{world.generation}-{target}"
    if state.id != base and not state.id.startswith(f"{base}-"):
        return base
    attempt = state.id.removeprefix(base).lstrip("-")
    return f"{base}-{int(attempt) + 1 if attempt.isdigit() else 2}"


def _hold(state: RolloutState, world: World) -> Step:
    """The spec is refused: whatever serves goes on serving, nothing new starts, nothing is thrown away.
    Traffic stays on the stable revision."""
    if state.step is not None:
        message = "The spec is refused, so that the candidate gets no traffic; see SpecAccepted"
        state = held(replace(state, weight=0, step_started_at=None), world, "SpecRefused", message)
    withheld = state.rejected is not None and state.rejected.revision == state.candidate
    first = state.candidate if state.candidate in world.revisions and not withheld else None
    keep, serving = frozenset(world.revisions), state.stable or first
    return Step(state, serving, keep, trial=trial(state, state.stable) if state.stable else serving)


def _build(state: RolloutState, world: World, wait: BuildWait) -> Step:
    """What the spec asks for has to be built first: what serves goes on serving, and nothing new starts."""
    failed = wait is BuildWait.FAILED
    if state.stable is None:
        phase = Phase.IDLE if failed else Phase.BUILDING
        return _hold(replace(state, phase=phase, trigger="Spec"), world)
    stable, state = state.stable, watched(state, world)
    if state.candidate is not None:  # of an earlier spec
        if not left(state, world):
            return leave(state, world, stable)
        state = dropped(state, world)
    if failed:
        # A failed change of the platform holds its slot for a while, so that a bad image stops by itself.
        phase = Phase.ROLLED_BACK if world.platform_only else Phase.IDLE
        return stay(replace(state, phase=phase), world, stable)
    if world.platform_only and not world.platform_slot:
        waiting = stay(replace(state, phase=Phase.IDLE), world, stable)
        return replace(waiting, platform_update=PlatformUpdate.WAITING)
    trigger = "Platform" if world.platform_only else "Spec"
    step = stay(replace(state, phase=Phase.BUILDING, trigger=trigger), world, stable)
    return replace(step, platform_update=PlatformUpdate.RUNNING) if world.platform_only else step


def _first(state: RolloutState, world: World, target: str) -> Step:
    """No revision has ever answered right: bring the wanted one up; there is nothing to fall back to."""
    rejected = state.rejected if state.rejected and state.rejected.revision == target else None
    new = state.candidate != target
    state = replace(
        fresh(state),
        id=_new_id(state, world, target) if new else state.id,
        candidate=target,
        previous=None,
        trigger="Spec",
        started_at=world.now if new or state.started_at is None else state.started_at,
        rejected=rejected,
        phase=Phase.STARTING,
    )
    keep = frozenset({target})
    serving = None if rejected else target
    here = world.revisions.get(target)
    if rejected is not None and rejected.reason != "VerificationFailed":
        # It had been judged beside one that is gone now; a right answer is no answer to that.
        return Step(replace(state, phase=Phase.ROLLED_BACK), serving, keep)
    if here is None or not here.ready:
        return Step(state, serving, keep)
    answer = world.verification if world.verification and world.verification.revision == target else None
    state = replace(state, phase=Phase.VERIFYING)
    if answer is None:
        return Step(state, serving, keep, verify=target)
    if answer.verdict is Verdict.PASSED:
        done = replace(promoted(state, world, target), switched_at=None, phase=Phase.IDLE, rejected=None)
        note = EventNote("Normal", "Installed", f"Revision {target} answers and is served")
        return Step(done, target, keep, events=(note,))
    if answer.verdict is Verdict.UNREACHABLE:
        return Step(state, serving, keep, requeue_after=UNREACHABLE_RETRY_SECONDS)
    refused = Rejection(target, "VerificationFailed", answer.message)
    notes = () if rejected else (EventNote("Warning", "VerificationFailed", answer.message),)
    return Step(replace(state, rejected=refused), None, keep, requeue_after=REVERIFY_SECONDS, events=notes)


def _settled(state: RolloutState, world: World, stable: str) -> Step:
    """The spec asks for what is served. A candidate that is still about belongs to a reverted change."""
    notes: tuple[EventNote, ...] = ()
    if state.candidate is not None:
        if not left(state, world):
            return leave(state, world, stable)
        notes = (EventNote("Normal", "RolloutAborted", f"The spec is back at revision {stable}"),)
        state = dropped(state, world)
    if state.previous is not None:
        step = watch(state, world, stable)
        return replace(step, events=(*notes, *step.events))
    if state.rejected is not None and state.rejected.revision == stable:
        message = f"No pod of an earlier revision is left, so {stable} goes on serving"
        notes = (*notes, EventNote("Warning", "NothingToGoBackTo", message))
        state = replace(state, rejected=None)
    _, seconds = draining(state, world)
    state = replace(
        fresh(state),
        phase=Phase.DRAINING if seconds is not None else Phase.IDLE,
        floor=state.floor if state.displaced is not None else None,
        displaced=state.displaced,
        switched_at=state.switched_at if seconds is not None or state.displaced is not None else None,
    )
    return Step(state, stable, kept(state, world, stable), requeue_after=seconds, events=notes)


def _update(state: RolloutState, world: World, target: str, stable: str) -> Step:
    """Another revision is wanted while one serves."""
    if target == state.previous:
        return go_back(state, world, target, "SpecReverted", "the spec is back at it")
    state = watched(state, world)
    other = state.candidate not in (None, target)
    if other and not left(state, world):
        return leave(state, world, stable)  # of an earlier spec: without traffic before the next one starts
    if other:
        state = dropped(state, world)
    if state.rejected and state.rejected.revision == target:
        return _rejected(state, world, target, stable)
    if state.candidate is None and state.displaced is not None:
        message = f"Revision {stable} gets the pods back that it had given"
        waits = held(replace(state, phase=Phase.DRAINING), world, "StableNotReady", message)
        return stay(waits, world, stable)
    started = target in world.revisions or state.step is not None
    if not started and world.plan.paused:
        return stay(replace(fresh(state), candidate=None, phase=Phase.PAUSED), world, stable)
    if not started and world.platform_only and not world.platform_slot:
        idle = replace(fresh(state), candidate=None, phase=Phase.IDLE)
        return replace(stay(idle, world, stable), platform_update=PlatformUpdate.WAITING)
    return _onward(state, world, target, stable)


def _onward(state: RolloutState, world: World, target: str, stable: str) -> Step:
    """The candidate is, or becomes, the revision that the spec asks for."""
    new = state.candidate != target
    here = world.revisions.get(stable)
    floor = max(1, here.replicas) if here is not None and (new or state.floor is None) else state.floor
    state = replace(
        replace(fresh(state), displaced=_displaces(world, stable)) if new else state,
        id=_new_id(state, world, target) if new else state.id,
        candidate=target,
        previous=None,
        trigger="Platform" if world.platform_only else "Spec",
        started_at=world.now if new or state.started_at is None else state.started_at,
        floor=floor,
        rejected=None,
    )
    if state.step is not None:
        step = stages.walk(state, world, target, stable)
    else:
        step = bring_up(state, world, target, stable)
    if new:
        note = EventNote("Normal", "RolloutStarted", f"Revision {target} starts beside {stable}")
        step = replace(step, events=(note, *step.events))
    # One that waits for a person is nobody's turn: others go on meanwhile.
    running = world.platform_only and step.state.candidate == target and step.state.phase is not Phase.PAUSED
    return replace(step, platform_update=PlatformUpdate.RUNNING) if running else step


def _displaces(world: World, stable: str) -> int | None:
    """Where nothing serves there is nothing to take a place from, and nothing to lose."""
    here = world.revisions.get(stable)
    return 0 if world.plan.displace and here is not None and here.replicas > 0 else None


def _rejected(state: RolloutState, world: World, target: str, stable: str) -> Step:
    """It stays rejected until it is changed or tried again; what it had of the traffic goes first."""
    if state.candidate == target:
        if not left(state, world):
            return leave(state, world, stable)
        state = dropped(state, world)
    return stay(replace(state, phase=Phase.ROLLED_BACK), world, stable)
