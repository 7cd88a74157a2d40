"""Whether anybody still needs a build, and when it may go.

The artefact in the store stays when its ModelBuild goes: a later one of the same name finds it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from seawall.decide.conditions import parse_timestamp, timestamp
from seawall.decide.types import ObservedBuild

JUST_MADE = timedelta(seconds=60)
"""A service makes its build before it writes down that it wants it."""


@dataclass(frozen=True, slots=True)
class Use:
    since: str | None = None
    """when the last user went; None while there is one"""
    expired: bool = False
    again_after: float | None = None


def use_of(observed: ObservedBuild) -> Use:
    if observed.in_use:
        return Use()
    before = _moment((observed.build.get("status") or {}).get("unusedSince"))
    if before is None:
        made = _moment(observed.build["metadata"].get("creationTimestamp")) or observed.now
        if observed.now - made < JUST_MADE:
            return Use(again_after=JUST_MADE.total_seconds())
        return Use(timestamp(observed.now), again_after=observed.settings.retention_seconds)
    left = (before - observed.now).total_seconds() + observed.settings.retention_seconds
    return Use(timestamp(before), expired=left <= 0, again_after=max(left, 0.0))


def _moment(text: object) -> datetime | None:
    return parse_timestamp(text) if isinstance(text, str) else None
