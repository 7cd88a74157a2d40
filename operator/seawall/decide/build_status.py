"""The status of a ModelBuild, computed whole. One writer, one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from seawall.decide.build_result import Told
from seawall.decide.conditions import Condition, clipped, rendered, timestamp
from seawall.decide.types import Manifest, ObservedBuild, Progress

FINAL = ("Succeeded", "Refused", "Failed")
COMPLETE = "Complete"
LOG_LIMIT = 2048


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the build stands after this look."""

    phase: str
    reason: str
    message: str
    told: Told | None = None
    log_tail: str = ""
    progress: Progress | None = None

    def at(self, progress: Progress | None) -> Outcome:
        return replace(self, progress=progress)


def status_of_build(
    observed: ObservedBuild, outcome: Outcome, unused_since: str | None, attempts: int | None
) -> Manifest:
    meta = observed.build["metadata"]
    before = observed.build.get("status") or {}
    final = outcome.phase in FINAL
    generation = int(meta.get("generation", 1))
    complete = Condition(
        COMPLETE,
        outcome.phase == "Succeeded" if final else None,
        outcome.reason,
        outcome.message,
    )
    told = outcome.told
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "phase": outcome.phase,
        "progress": None if final else _progress(outcome, before),
        "conditions": rendered(
            [complete], before.get("conditions") or (), generation, observed.now, (COMPLETE,)
        ),
        "attempts": attempts or before.get("attempts"),
        "startedAt": _started(observed, before, observed.now),
        "finishedAt": timestamp(observed.now) if final else None,
        "result": told.result if told else None,
        "artifact": told.artifact if told else None,
        "versions": (told.versions or None) if told else None,
        "logTail": outcome.log_tail[-LOG_LIMIT:] or None,
        "unusedSince": unused_since,
    }
    return {k: v for k, v in status.items() if v is not None}


def _progress(outcome: Outcome, before: Manifest) -> dict[str, Any] | None:
    """The last one stays while nobody has told another."""
    progress = outcome.progress
    if progress is None:
        kept: dict[str, Any] | None = before.get("progress")
        return kept
    raw = {
        "stage": progress.stage,
        "percent": progress.percent,
        "message": clipped(progress.message) or None,
    }
    return {k: v for k, v in raw.items() if v is not None}


def _started(observed: ObservedBuild, before: Manifest, now: datetime) -> str | None:
    if before.get("startedAt"):
        return str(before["startedAt"])
    if observed.job is None:
        return None
    begun = (observed.job.get("status") or {}).get("startTime")
    return str(begun) if begun else timestamp(now)
