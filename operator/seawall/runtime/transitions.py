"""Conditions that turn, as Events: what a person learns from `kubectl describe` without having watched.

Only of conditions that nothing else reports: rollouts, builds and pods have Events of their own. Turning bad
is a Warning, getting well again is Normal, and a condition that stays as it is says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seawall.decide.types import EventNote

TOLD = ("SpecAccepted", "LatencyMetricAvailable", "SLOFeasible", "SLOMet")


def turned(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Iterator[EventNote]:
    """From one status of a service to the next."""
    past, present = _conditions(before), _conditions(after)
    for name in TOLD:
        was, now = past.get(name, {}).get("status"), present.get(name, {})
        if now.get("status") == "False" and was != "False":
            yield EventNote("Warning", now["reason"], now.get("message") or name)
        elif now.get("status") == "True" and was == "False":
            yield EventNote("Normal", now["reason"], now.get("message") or name)


def _conditions(status: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {c["type"]: c for c in (status or {}).get("conditions") or ()}
