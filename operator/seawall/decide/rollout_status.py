"""RolloutHealthy: what a rollout is at, or why it does not go on, in words that a stranger can act on.

False: somebody has to look, because a revision was refused or something is in the way. What a person has
asked for, and what every rollout waits for now and then, is True.
"""

from __future__ import annotations

from datetime import timedelta

from seawall.decide.conditions import Condition, timestamp
from seawall.decide.diagnose import FETCH_REASONS, Trouble
from seawall.decide.rollout_plan import RolloutPlan
from seawall.decide.rollout_state import Hold, Phase, RolloutState
from seawall.decide.rollout_traffic import ROUTE_REASONS
from seawall.decide.situation import Situation
from seawall.decide.types import PlatformUpdate

TYPE = "RolloutHealthy"
ORDINARY = frozenset(
    {
        "Analysing",
        "AnswersCompared",
        "ComparatorStarts",
        "RequestsNotCopied",
        "Shadowing",
        "TrafficLeaves",
        "WeightNotInForce",
    }
)
"""Holds that belong to a rollout that goes well."""
HOLDS = (
    frozenset(
        {
            "CapacityUnavailable",
            "CapacityReturns",
            "StableNotReady",
            "CandidateNotReady",
            "PreviousNotReady",
            "SpecRefused",
            "WeightNotHonoured",
            "StableBreaching",
            "LoadMismatch",
            "NoData",
            "ProviderDown",
            "NoLatency",
        }
    )
    | ROUTE_REASONS
)
ASKED = frozenset({"PausedByCommand", "StepPassed"})
"""Pauses that somebody has asked for."""
PAUSES = (
    HOLDS
    | ASKED
    | {
        "SurgeTooSmall",
        "QualityUnknown",
        "ShadowUnknown",
        "AnswersDiffer",
        "Regression",
        "Inconclusive",
    }
)
TROUBLES = FETCH_REASONS | {
    "Evicted",
    "ImagePullFailed",
    "ContainerConfigError",
    "Unschedulable",
    "OOMKilled",
    "ServerRefusedModel",
    "CrashLooping",
    "PodsRefused",
    "ProgressDeadlineExceeded",
}
REJECTIONS = PAUSES | TROUBLES | {"VerificationFailed", "VerificationUnreachable", "Aborted"}
REASONS = (
    frozenset(str(phase) for phase in Phase) | ORDINARY | REJECTIONS | {"PlatformUpdateWaiting", "NotStarted"}
)
"""Every reason that this condition can have."""
WHAT_NEXT = {
    "StepPassed": "say promote",
    "PausedByCommand": "say resume",
    "Regression": "say abort to give it up, or resume to have it judged anew",
    "AnswersDiffer": "say abort to give it up, or promote if the other answers are wanted",
    "Inconclusive": "say resume for another turn, promote to go on, or abort",
}
OTHERWISE = "when that is put right say resume; or promote, or abort"


def rollout_condition(now: Situation) -> Condition:
    return condition_of(
        now.rollout,
        now.rolling,
        name=str(now.observed.service["metadata"]["name"]),
        target=now.target,
        waits=now.step.platform_update is PlatformUpdate.WAITING,
        trouble=now.trouble,
        nothing=f"No revision exists; see {'SpecAccepted' if now.awaited is None else 'ModelReady'}",
    )


def condition_of(
    state: RolloutState,
    plan: RolloutPlan,
    *,
    name: str,
    target: str | None,
    waits: bool = False,
    trouble: Trouble | None = None,
    nothing: str = "",
) -> Condition:
    """`waits`: for a platform slot. `trouble`: of the revision that the spec asks for."""
    if state.rejected is not None and state.rejected.revision == target:
        return _rejected(state, name)
    if waits:
        message = "A change of the platform waits for its turn; such changes reach a few services at a time"
        return Condition(TYPE, True, "PlatformUpdateWaiting", message)
    if state.pause is not None and state.candidate is not None:
        return _paused(state, state.pause, name)
    if state.phase is Phase.PAUSED:
        return Condition(TYPE, True, "Paused", f"spec.rollout.paused holds the new revision{_where(state)}")
    if state.hold is not None and state.hold.reason not in ORDINARY:
        ends = "" if state.hold.message.endswith(".") else "."
        return Condition(
            TYPE, False, state.hold.reason, f"{state.hold.message}{ends}{_sentence(_where(state))}"
        )
    if trouble is not None and state.candidate is not None:
        return Condition(TYPE, False, trouble.reason, trouble.message)
    return _at_work(state, plan, name, nothing)


def _rejected(state: RolloutState, name: str) -> Condition:
    rejected = state.rejected
    if rejected is None:
        raise ValueError("nothing is rejected")
    said = f"Revision {rejected.revision} was rejected: {rejected.message}"
    if rejected.revision == state.stable:
        waits = f"; {state.hold.message}" if state.hold is not None else ""
        return Condition(TYPE, False, rejected.reason, f"{said}; {state.previous} comes back{waits}")
    if state.stable is None:
        return Condition(TYPE, False, rejected.reason, said)
    if state.candidate is not None:
        return Condition(TYPE, False, rejected.reason, f"{said}; its traffic goes back to {state.stable}")
    kept = f"revision {state.stable} goes on serving. `seawall rollout retry {name}` tries it again"
    return Condition(TYPE, False, rejected.reason, f"{said}; {kept}")


def _paused(state: RolloutState, pause: Hold, name: str) -> Condition:
    what = WHAT_NEXT.get(pause.reason, OTHERWISE)
    message = f"{pause.message}{_where(state)}; {what}: `seawall rollout VERB {name}`"
    by_hand = pause.reason == "PausedByCommand"
    return Condition(TYPE, pause.reason in ASKED, "Paused" if by_hand else pause.reason, message)


def _at_work(state: RolloutState, plan: RolloutPlan, name: str, nothing: str) -> Condition:
    phase, candidate, stable = str(state.phase), state.candidate, state.stable
    if candidate is not None and stable is None:
        return Condition(TYPE, True, phase, f"Revision {candidate} is coming up")
    if candidate is not None and state.step is None:
        return Condition(TYPE, True, phase, f"Revision {candidate} is coming up beside {stable}")
    if candidate is not None:
        waits = f"; {state.hold.message}" if state.hold is not None and state.hold.message else ""
        return Condition(TYPE, True, phase, f"Revision {candidate} beside {stable}{_where(state)}{waits}")
    if stable is None:
        return Condition(TYPE, None, "NotStarted", nothing)
    if state.phase is Phase.WATCHING and state.switched_at is not None:
        ends = timestamp(state.switched_at + timedelta(seconds=plan.rollback_seconds))
        message = (
            f"Revision {stable} serves; {state.previous} is kept warm until {ends}, and"
            f" `seawall rollout abort {name}` or its spec brings it back at once"
        )
        return Condition(TYPE, True, phase, message)
    return Condition(TYPE, True, phase, f"Revision {stable} is the stable one")


def _where(state: RolloutState) -> str:
    """How far it is, where it has got beyond its first answer."""
    if state.step is None or state.steps is None:
        return ""
    at = f"step {state.step + 1} of {state.steps}" if state.step < state.steps else "promotion"
    return f", {at}, {state.weight}% of the traffic"


def _sentence(where: str) -> str:
    return f" It is at {where[2:]}" if where else ""


__all__ = ["REASONS", "condition_of", "rollout_condition"]
