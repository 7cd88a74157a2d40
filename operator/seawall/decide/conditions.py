"""Conditions: one way to set them, with a transition time that moves only when the status does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TYPES = (
    "Ready",
    "SpecAccepted",
    "ModelReady",
    "WorkloadReady",
    "RouteReady",
    "ScalingReady",
    "LatencyMetricAvailable",
    "SLOFeasible",
    "SLOMet",
    "RolloutHealthy",
)
"""In the order in which they are shown."""

MESSAGE_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: bool | None
    """None is Unknown"""
    reason: str
    message: str


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """The reverse of `timestamp`. Raises ValueError."""
    return datetime.fromisoformat(text)


def rendered(
    conditions: Iterable[Condition],
    previous: Sequence[Mapping[str, Any]],
    generation: int,
    now: datetime,
    order: Sequence[str] = TYPES,
) -> list[dict[str, Any]]:
    """The conditions as status carries them; lastTransitionTime is kept while the status stays the same."""
    before = {str(c.get("type")): c for c in previous}
    given = {c.type: c for c in conditions}
    result = []
    for name in order:
        condition = given.get(name)
        if condition is None:
            continue
        status = {True: "True", False: "False", None: "Unknown"}[condition.status]
        old = before.get(name, {})
        unchanged = old.get("status") == status and old.get("lastTransitionTime")
        result.append(
            {
                "type": name,
                "status": status,
                "reason": condition.reason,
                "message": clipped(condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if unchanged else timestamp(now),
            }
        )
    return result


def clipped(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def kept(name: str, before: Mapping[str, Any] | None, reason: str, message: str) -> Condition:
    """As it was written last; Unknown, for this reason, where it never was."""
    if before is None or before.get("reason") == reason:
        return Condition(name, None, reason, message)
    status = {"True": True, "False": False}.get(str(before.get("status")))
    return Condition(name, status, str(before.get("reason") or reason), str(before.get("message") or ""))
