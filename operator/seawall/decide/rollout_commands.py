"""What a person says to a rollout, by annotation; each word is acted on once and always answered.

A command names the rollout that it is meant for, so that a word that comes too late cannot reach the next
one. `abort` may be said at any moment and undoes whatever was said before.
"""

from __future__ import annotations

from dataclasses import replace

from seawall.decide.rollout_moves import paused
from seawall.decide.rollout_state import Rejection, RolloutState, World
from seawall.decide.types import EventNote

VERBS = ("promote", "promote-full", "skip", "pause", "resume", "abort", "retry")
FORWARD = frozenset({"promote", "promote-full", "skip"})


def obeyed(state: RolloutState, world: World) -> tuple[RolloutState, tuple[EventNote, ...], str]:
    """The state as the command wants it and the verb that was acted on, or the state as it was and an Event
    that says why not."""
    command = world.command
    if command is None or command.text == state.last_command:
        return state, (), ""
    told = replace(state, last_command=command.text)
    why = _wrong(command.verb, command.rollout, state) or refusal(command.verb, state, len(world.plan.steps))
    if command.verb == "retry" and not why:
        why = _not_wanted(state, world)
    if why:
        return told, (EventNote("Warning", "CommandRejected", f"{command.text}: {why}"),), ""
    note = EventNote("Normal", "CommandAccepted", command.text)
    return _acted(told, world, command.verb), (note,), command.verb


def _wrong(verb: str, rollout: str, state: RolloutState) -> str:
    if verb not in VERBS:
        return f"{verb or 'nothing'} is no verb; use one of {', '.join(VERBS)}"
    if rollout != state.id:
        return f"it is meant for another rollout; the one at hand is {state.id or 'none'}"
    return ""


def _not_wanted(state: RolloutState, world: World) -> str:
    rejected = state.rejected.revision if state.rejected else None
    if world.target in (None, rejected):
        return ""
    return f"the spec asks for revision {world.target}, and {rejected} is the one that was rejected"


def refusal(verb: str, state: RolloutState, steps: int) -> str:
    """Why this verb would not be acted on now; empty where it would. `steps`: how many the plan has."""
    if verb == "retry":
        return _no_retry(state)
    if verb == "abort":
        return _no_abort(state)
    if state.candidate is None or _is_rejected(state, state.candidate):
        return "nothing is on its way"
    if verb == "pause":
        return f"it is paused already: {state.pause.reason}" if state.pause is not None else ""
    if verb == "resume":
        return "" if state.pause is not None else "it is not paused by a command or by the plan"
    if state.step is None:
        return "the candidate has not answered yet, and before that no traffic moves"
    if state.pause is not None:
        return ""
    if state.step >= steps:
        return "it is being promoted already"
    return "nothing waits for a person; skip leaves the step at hand out" if verb == "promote" else ""


def _is_rejected(state: RolloutState, revision: str | None) -> bool:
    return state.rejected is not None and state.rejected.revision == revision


def _no_retry(state: RolloutState) -> str:
    if state.rejected is None:
        return "no revision is rejected"
    if _is_rejected(state, state.stable) or (state.candidate is not None and state.stable is not None):
        return "its traffic is still going back; say it again in a moment"
    return ""


def _no_abort(state: RolloutState) -> str:
    if state.stable is None:
        return "no other revision has ever answered right, so there is nothing to go back to"
    if state.candidate is not None:
        return "it is being rolled back already" if _is_rejected(state, state.candidate) else ""
    if state.previous is None:
        return "nothing is on its way, and no earlier revision is kept warm"
    return "it is being rolled back already" if _is_rejected(state, state.stable) else ""


def _acted(state: RolloutState, world: World, verb: str) -> RolloutState:
    if verb == "retry":
        return replace(state, rejected=None)
    if verb == "abort":
        rejection = Rejection(state.candidate or state.stable or "", "Aborted", "A person said abort")
        return replace(state, rejected=rejection, pause=None, hold=None)
    if verb == "pause":
        return paused(state, world, "PausedByCommand", "A person said pause; resume goes on")
    return _onward(state, world, verb)


def _onward(state: RolloutState, world: World, verb: str) -> RolloutState:
    """On with the step at hand, from its beginning, or with a later one. Evidence that a person has seen
    and gone against does not count again."""
    last, index, steps = len(world.plan.steps), state.step, state.steps
    if index is not None and verb in FORWARD:
        steps, index = last, last if verb == "promote-full" else min(index + 1, last)
    seen = state.pause is not None and state.pause.reason == "Regression"
    return replace(
        state,
        step=index,
        steps=steps,
        step_started_at=None,
        started_at=world.now if index is None else state.started_at,
        pause=None,
        hold=None,
        losses=0,
        conflicts=0,
        comparator=None,
        analysis=None if seen else state.analysis,
    )


__all__ = ["FORWARD", "VERBS", "obeyed", "refusal"]
