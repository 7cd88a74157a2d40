"""What a rollout remembers, sees and does: the words that the state machine of `rollout` is written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from seawall.decide.conditions import parse_timestamp, timestamp
from seawall.decide.diagnose import Trouble
from seawall.decide.types import EventNote, PlatformUpdate, Verification


class Phase(StrEnum):
    IDLE = "Idle"
    BUILDING = "Building"
    STARTING = "Starting"
    VERIFYING = "Verifying"
    DRAINING = "Draining"
    PAUSED = "Paused"
    ROLLED_BACK = "RolledBack"


@dataclass(frozen=True, slots=True)
class Rejection:
    revision: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What status.rollout remembers between two reconciles."""

    id: str = ""
    phase: Phase = Phase.IDLE
    stable: str | None = None
    candidate: str | None = None
    trigger: str = "Spec"
    """Spec or Platform: who asked for the candidate"""
    started_at: datetime | None = None
    switched_at: datetime | None = None
    rejected: Rejection | None = None
    last_command: str | None = None
    build: str | None = None
    """the ModelBuild that the wanted revision is, or will be, made from"""
    history: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, status: Mapping[str, Any] | None) -> RolloutState:
        """From status.rollout. A phase that another version wrote counts as Idle: all is derived again."""
        raw = status or {}
        phase = raw.get("phase")
        rejected = raw.get("lastRejected")
        return cls(
            id=str(raw.get("id", "")),
            phase=Phase(phase) if phase in set(Phase) else Phase.IDLE,
            stable=raw.get("stableRevision"),
            candidate=raw.get("candidateRevision"),
            trigger=str(raw.get("trigger", "Spec")),
            started_at=_moment(raw.get("startedAt")),
            switched_at=_moment(raw.get("switchedAt")),
            rejected=Rejection(rejected["revision"], rejected["reason"], rejected.get("message", ""))
            if rejected
            else None,
            last_command=raw.get("lastCommand"),
            build=raw.get("build"),
            history=tuple(raw.get("history") or ()),
        )

    def to_status(self) -> dict[str, Any]:
        raw: dict[str, Any] = {
            "id": self.id,
            "phase": str(self.phase),
            "stableRevision": self.stable,
            "candidateRevision": self.candidate,
            "trigger": self.trigger if self.candidate or self.phase is Phase.BUILDING else None,
            "build": self.build,
            "startedAt": timestamp(self.started_at) if self.started_at else None,
            "switchedAt": timestamp(self.switched_at) if self.switched_at else None,
            "lastRejected": {
                "revision": self.rejected.revision,
                "reason": self.rejected.reason,
                "message": self.rejected.message,
            }
            if self.rejected
            else None,
            "lastCommand": self.last_command,
            "history": [dict(h) for h in self.history] or None,
        }
        return {k: v for k, v in raw.items() if v not in (None, "")}


def _moment(text: Any) -> datetime | None:
    return parse_timestamp(text) if isinstance(text, str) else None


@dataclass(frozen=True, slots=True)
class RevisionState:
    """One revision's Deployment as the world shows it."""

    ready: bool
    """all wanted pods of the current template are available"""
    deadline_exceeded: bool = False
    trouble: Trouble | None = None


class BuildWait(StrEnum):
    RUNNING = "Running"
    FAILED = "Failed"


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
    paused: bool = False
    retry: str | None = None
    """a retry command as given, if it names the rollout at hand"""


@dataclass(frozen=True, slots=True)
class Step:
    state: RolloutState
    serving: str | None
    """the revision that the Services select; None withholds traffic from everything"""
    keep: frozenset[str]
    """revisions whose Deployments shall exist"""
    verify: str | None = None
    switches: bool = False
    requeue_after: float | None = None
    events: tuple[EventNote, ...] = field(default=())
    platform_update: PlatformUpdate = PlatformUpdate.NONE
