"""How far a count may move at once: the stabilisation windows and rate policies of autoscaling/v2.

The simulator's HorizontalPodAutoscaler and the operator's own scaling (mode Direct) obey the same words of a
user in the same way, because both ask here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from seawall.api.units import parse_quantity

DOWNSCALE_STABILIZATION_SECONDS = 300.0


@dataclass(frozen=True)
class Policy:
    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: float


@dataclass(frozen=True)
class Rules:
    """One direction of spec.behavior, with what the API server defaults filled in."""

    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"
    window_seconds: float = 0.0
    tolerance: float | None = None


DEFAULT_UP = Rules((Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DEFAULT_DOWN = Rules((Policy("Percent", 100, 15),), window_seconds=DOWNSCALE_STABILIZATION_SECONDS)


@dataclass(frozen=True)
class Behavior:
    up: Rules = DEFAULT_UP
    down: Rules = DEFAULT_DOWN


@dataclass
class History:
    """What one autoscaler remembers: proposals before stabilisation, and changes it made."""

    proposals: list[tuple[float, int]] = field(default_factory=list)
    added: list[tuple[float, int]] = field(default_factory=list)
    removed: list[tuple[float, int]] = field(default_factory=list)

    def copy(self) -> History:
        return History(list(self.proposals), list(self.added), list(self.removed))


def parse_behavior(block: Mapping[str, Any] | None) -> Behavior | None:
    """As the API server defaults it. None stays None: another code path runs then."""
    if block is None:
        return None
    return Behavior(
        _rules(block.get("scaleUp") or {}, DEFAULT_UP), _rules(block.get("scaleDown") or {}, DEFAULT_DOWN)
    )


def _rules(block: Mapping[str, Any], default: Rules) -> Rules:
    policies = tuple(
        Policy(p["type"], int(p["value"]), float(p["periodSeconds"])) for p in block.get("policies") or ()
    )
    window = block.get("stabilizationWindowSeconds")
    tolerance = block.get("tolerance")
    return Rules(
        policies or default.policies,
        block.get("selectPolicy") or "Max",
        default.window_seconds if window is None else float(window),
        None if tolerance is None else float(parse_quantity(tolerance)),
    )


def normalise(
    history: History, behavior: Behavior, now: float, current: int, desired: int, low: int, high: int
) -> int:
    """The path with a behavior block."""
    stable = _stabilised(history, behavior, now, current, desired)
    if stable > current:
        limit = max(current, _limit_up(history, behavior.up, now, current))
        return min(stable, high, limit)
    if stable < current:
        limit = min(current, _limit_down(history, behavior.down, now, current))
        return max(stable, low, limit)
    return stable


def record(history: History, now: float, before: int, after: int) -> None:
    """A change that was made; kept only where a behavior block will look at it."""
    if after > before:
        history.added.append((now, after - before))
    else:
        history.removed.append((now, before - after))
    oldest = now - 1800.0  # the longest period that the API admits
    history.added[:] = [event for event in history.added if event[0] > oldest]
    history.removed[:] = [event for event in history.removed if event[0] > oldest]


def _stabilised(history: History, behavior: Behavior, now: float, current: int, desired: int) -> int:
    up_cutoff, down_cutoff = now - behavior.up.window_seconds, now - behavior.down.window_seconds
    up = min([desired, *(count for at, count in history.proposals if at > up_cutoff)])
    down = max([desired, *(count for at, count in history.proposals if at > down_cutoff)])
    remember(history, now, desired, min(up_cutoff, down_cutoff))
    return min(max(current, up), down)


def remember(history: History, now: float, desired: int, cutoff: float) -> None:
    """One proposal more; those before the cutoff are forgotten."""
    history.proposals[:] = [entry for entry in history.proposals if entry[0] >= cutoff]
    history.proposals.append((now, desired))


def _limit_up(history: History, rules: Rules, now: float, current: int) -> int:
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        start = _start(history, policy, now, current)
        if policy.type == "Pods":
            limits.append(start + policy.value)
        else:
            limits.append(math.ceil(start * (1 + policy.value / 100)))
    return _selected(limits, smallest=rules.select == "Min")


def _limit_down(history: History, rules: Rules, now: float, current: int) -> int:
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        start = _start(history, policy, now, current)
        if policy.type == "Pods":
            limits.append(start - policy.value)
        else:
            limits.append(int(start * (1 - policy.value / 100)))
    return _selected(limits, smallest=rules.select != "Min")


def _selected(limits: Sequence[int], smallest: bool) -> int:
    return min(limits) if smallest else max(limits)


def _start(history: History, policy: Policy, now: float, current: int) -> int:
    cutoff = now - policy.period_seconds
    added = sum(count for at, count in history.added if at > cutoff)
    removed = sum(count for at, count in history.removed if at > cutoff)
    return current - added + removed
