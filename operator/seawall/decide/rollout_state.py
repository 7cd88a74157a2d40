"""What a rollout remembers, sees and does: the words that the state machine of `rollout` is written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from seawall.canary.shadow import Tally
from seawall.decide import rollout_values as values
from seawall.decide.conditions import timestamp
from seawall.decide.diagnose import Trouble
from seawall.decide.rollout_plan import RolloutPlan
from seawall.decide.types import EventNote, PlatformUpdate, Verification

AHEAD = timedelta(minutes=1)
"""A moment on record that is further in the future was written before the clock was put back."""


class Phase(StrEnum):
    IDLE = "Idle"
    BUILDING = "Building"
    STARTING = "Starting"
    VERIFYING = "Verifying"
    QUALITY = "Quality"
    SHADOW = "Shadow"
    STEPPING = "Stepping"
    PROMOTING = "Promoting"
    WATCHING = "Watching"
    DRAINING = "Draining"
    PAUSED = "Paused"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"


@dataclass(frozen=True, slots=True)
class Rejection:
    revision: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a rollout does not go on, and since when."""

    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What status.rollout remembers between two reconciles."""

    id: str = ""
    phase: Phase = Phase.IDLE
    stable: str | None = None
    candidate: str | None = None
    previous: str | None = None
    """what served before the last promotion, kept warm until the rollback window ends"""
    trigger: str = "Spec"
    """Spec or Platform: who asked for the candidate"""
    started_at: datetime | None = None
    switched_at: datetime | None = None
    step: int | None = None
    """index into the plan's steps; their number: promoting. None: not verified yet"""
    steps: int | None = None
    """how many steps the plan had at the last look: tells an edited plan from one that is done"""
    step_started_at: datetime | None = None
    """since when the step's weight is in force; None whenever it is not"""
    weight: int = 0
    """percent of the routed traffic meant for the candidate; routes never get more than is recorded here"""
    observed: int | None = None
    """percent that the routes carry"""
    pods: int | None = None
    """of the candidate, as pinned for the step"""
    floor: int | None = None
    """pods that the stable revision keeps at least until the rollback window ends; where pods are displaced,
    those that both revisions have together"""
    displaced: int | None = None
    """of these, pods that the stable revision has given; None: the candidate's come beside them"""
    need: int | None = None
    """pods that the stable revision needs for all of the traffic, as known while pods are displaced"""
    losses: int = 0
    """times that the candidate had traffic and lost its last ready pod"""
    conflicts: int = 0
    """times that a weight in force was found changed by somebody else"""
    hold: Hold | None = None
    """what is waited for; it ends by itself"""
    pause: Hold | None = None
    """waits for a person"""
    rejected: Rejection | None = None
    last_command: str | None = None
    build: str | None = None
    """the ModelBuild that the wanted revision is, or will be, made from"""
    comparator: str | None = None
    """of a shadow step: the start of the comparator whose counts are judged"""
    analysis: Mapping[str, Any] | None = None
    """the judge's evidence, as canary.session keeps it"""
    history: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, status: Mapping[str, Any] | None) -> RolloutState:
        """From status.rollout. Of a phase that another version wrote only the roles of the revisions and
        the refusals count: all else is derived again, with no traffic for the candidate."""
        raw = values.fields(status)
        phase = values.text(raw.get("phase"))
        state = cls(
            id=values.text(raw.get("id")) or "",
            phase=Phase(phase) if phase in set(Phase) else Phase.IDLE,
            stable=values.text(raw.get("stableRevision")),
            candidate=values.text(raw.get("candidateRevision")),
            previous=values.text(raw.get("previousRevision")),
            trigger=values.text(raw.get("trigger")) or "Spec",
            started_at=values.moment(raw.get("startedAt")),
            switched_at=values.moment(raw.get("switchedAt")),
            step=values.count(raw.get("step")) if phase in set(Phase) else None,
            steps=values.count(raw.get("steps")),
            step_started_at=values.moment(raw.get("stepStartedAt")),
            weight=values.count(raw.get("desiredWeight"), 100) or 0,
            observed=values.count(raw.get("observedWeight"), 100),
            pods=values.count(raw.get("candidateReplicas")),
            floor=values.count(raw.get("frozenReplicas")),
            displaced=values.count(raw.get("displacedReplicas")),
            need=values.count(raw.get("neededReplicas")),
            losses=values.count(raw.get("losses")) or 0,
            conflicts=values.count(raw.get("conflicts")) or 0,
            hold=_hold(raw.get("hold")),
            pause=_hold(raw.get("pause")),
            rejected=_rejection(raw.get("lastRejected")),
            last_command=values.text(raw.get("lastCommand")),
            build=values.text(raw.get("build")),
            comparator=values.text(raw.get("comparator")),
            analysis=values.fields(raw.get("analysis")) or None,
            history=values.entries(raw.get("history")),
        )
        return _consistent(state)

    def to_status(self) -> dict[str, Any]:
        raw: dict[str, Any] = {
            "id": self.id,
            "phase": str(self.phase),
            "stableRevision": self.stable,
            "candidateRevision": self.candidate,
            "previousRevision": self.previous,
            "trigger": self.trigger if self.candidate or self.phase is Phase.BUILDING else None,
            "build": self.build,
            "startedAt": timestamp(self.started_at) if self.started_at else None,
            "switchedAt": timestamp(self.switched_at) if self.switched_at else None,
            "step": self.step,
            "steps": self.steps if self.step is not None else None,
            "stepStartedAt": timestamp(self.step_started_at) if self.step_started_at else None,
            "desiredWeight": self.weight if self.step is not None else None,
            "observedWeight": self.observed if self.step is not None or self.observed else None,
            "candidateReplicas": self.pods,
            "frozenReplicas": self.floor,
            "displacedReplicas": self.displaced,
            "neededReplicas": self.need,
            "losses": self.losses or None,
            "conflicts": self.conflicts or None,
            "hold": _held(self.hold),
            "pause": _held(self.pause),
            "lastRejected": asdict(self.rejected) if self.rejected else None,
            "lastCommand": self.last_command,
            "comparator": self.comparator if self.step_started_at else None,
            "analysis": dict(self.analysis) if self.analysis else None,
            "history": [dict(h) for h in self.history] or None,
        }
        return {k: v for k, v in raw.items() if v not in (None, "")}


def _consistent(state: RolloutState) -> RolloutState:
    """Without what contradicts itself, as no look ever leaves it behind."""
    candidate = state.candidate if state.candidate != state.stable else None
    previous = state.previous if candidate is None and state.previous != state.stable else None
    within = state.step is not None and (state.steps is None or state.step <= state.steps)
    if state.displaced is not None and (state.floor is None or state.displaced >= state.floor):
        state = replace(state, displaced=None, need=None)
    if candidate is None and state.displaced is not None:
        state = replace(state, displaced=0)
    if candidate is not None and within:
        return replace(state, previous=previous)
    return replace(
        state, candidate=candidate, previous=previous, step=None, steps=None, step_started_at=None,
        weight=0, pods=None, comparator=None, analysis=None, losses=0, conflicts=0,
    )  # fmt: skip


def _hold(raw: Any) -> Hold | None:
    found = values.fields(raw)
    since, reason = values.moment(found.get("since")), values.text(found.get("reason"))
    return Hold(reason, values.text(found.get("message")) or "", since) if since and reason else None


def _rejection(raw: Any) -> Rejection | None:
    found = values.fields(raw)
    revision, reason = values.text(found.get("revision")), values.text(found.get("reason"))
    if revision is None or reason is None:
        return None
    return Rejection(revision, reason, values.text(found.get("message")) or "")


def _held(hold: Hold | None) -> dict[str, str] | None:
    if hold is None:
        return None
    return {"reason": hold.reason, "message": hold.message, "since": timestamp(hold.since)}


@dataclass(frozen=True, slots=True)
class RevisionState:
    """One revision's Deployment as the world shows it."""

    ready: bool
    """all wanted pods of the current template are available"""
    deadline_exceeded: bool = False
    trouble: Trouble | None = None
    available: int = 0
    """pods that take requests"""
    replicas: int = 1
    """spec.replicas"""


class BuildWait(StrEnum):
    RUNNING = "Running"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Routes:
    """What the routes of the service show, all of them together."""

    weight: int | None
    """percent of the candidate; None where they differ, or none of them can be read"""
    most: int = 0
    """the highest of any"""
    settled: bool = False
    """each of them is accepted and resolved by all its parents at the generation that was read"""
    problem: str = ""
    """a reason in CamelCase: RouteNotFound, RouteNotAccepted, RouteRefsNotResolved, RouteWeightsTooSmall"""
    message: str = ""
    by_pods: bool = False
    """no routes: the Services select the pods of one revision, or of both; `weight` is the share of the ready
    pods then, and nobody can set it but by counts"""

    def carry(self, weight: int) -> bool:
        """What was written is there."""
        if self.by_pods:
            return self.weight is not None and (self.most > 0) == (weight > 0)
        return self.weight == weight


@dataclass(frozen=True, slots=True)
class Look:
    """What the analysis says after the newest windows."""

    verdict: Literal["Open", "Rollback", "Pass"] = "Open"
    """Pass: of this step, so that the next one may begin"""
    message: str = ""
    """the figures behind it, in a sentence"""
    failing: bool = False
    """of what is proven, the candidate's errors: its traffic has nothing to lose elsewhere"""
    candidate_requests: float = 0.0
    """counted in this step"""
    seconds: float | None = None
    """of this step, that windows tell of; None: nobody measures"""
    breaching: bool = False
    """the stable revision misses its own objective"""
    mismatched: bool = False
    """pods of the two revisions are not equally loaded"""
    share: float | None = None
    """of the requests since the weight is in force that the candidate got, where there were enough to say"""
    share_due: float | None = None
    """that it was meant to get"""
    share_wrong: bool = False
    """beyond what chance explains"""
    trouble: Literal["", "NoData", "ProviderDown", "NoLatency"] = ""
    """why the last windows say nothing"""
    trouble_message: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one quality step: both revisions on the same recorded inputs."""

    revision: str
    """the candidate's"""
    verdict: Literal["Pass", "Fail", "Unknown"]
    """Unknown: the golden set, or a server, did not let them be compared"""
    message: str


@dataclass(frozen=True, slots=True)
class Shadow:
    """Of a shadow step: what stands between a live request and its comparison."""

    routed: bool = False
    """there is a route of ours that can copy requests"""
    there: bool = False
    """the comparator's pod is ready"""
    copied: bool = False
    """the live route copies requests to it"""
    tally: Tally | None = None
    """of the step at hand"""
    trouble: str = ""
    """why its pod does not come up"""


@dataclass(frozen=True, slots=True)
class Command:
    """The annotation that a person wrote: a verb, and the rollout that it is meant for."""

    verb: str
    rollout: str
    text: str


@dataclass(frozen=True, slots=True)
class World:
    generation: int
    now: datetime
    revisions: Mapping[str, RevisionState]
    target: str | None
    """the revision that the spec asks for; None while the spec is refused"""
    platform_only: bool = False
    """target differs from the stable one only by what the platform decides"""
    platform_slot: bool = True
    build: BuildWait | None = None
    """the revision that the spec asks for has to be built first"""
    selected: str | None = None
    """the revision that the live Service selects"""
    verification: Verification | None = None
    command: Command | None = None
    plan: RolloutPlan = field(default_factory=RolloutPlan)
    full: int = 1
    """pods that the candidate needs for all of the traffic"""
    need: int | None = None
    """pods that the stable revision needs for all of the traffic; None: nobody knows"""
    routes: Routes | None = None
    """None: nothing is routed, clients come through the Service"""
    look: Look = Look()
    answers: Answers | None = None
    """of the quality step at hand, once both have answered"""
    shadow: Shadow = Shadow()


@dataclass(frozen=True, slots=True)
class Step:
    state: RolloutState
    serving: str | None
    """the revision that the Services select; None withholds traffic from everything"""
    keep: frozenset[str]
    """revisions whose Deployments shall exist"""
    verify: str | None = None
    compare: bool = False
    """the golden set of the step at hand is to be put to stable and candidate"""
    shadow: bool = False
    """live requests are to be copied to a comparator"""
    switches: bool = False
    requeue_after: float | None = None
    events: tuple[EventNote, ...] = field(default=())
    platform_update: PlatformUpdate = PlatformUpdate.NONE
    weight: int = 0
    """percent of the candidate, as the routes are to carry it now: never more than was recorded before"""
    trial: str | None = None
    """the revision that the candidate's Service selects"""
    both: bool = False
    """the Services select the candidate's pods, too"""
    pods: int | None = None
    """of the candidate, where fewer are to be made now than the state asks for: those that Services select
    are weight, and wait until they are recorded"""
