"""When a smaller number may replace a larger one. A larger one is never delayed.

A scale-up costs money, a scale-down that comes too early costs the SLO one cold start later; and a count
that swings makes everything that watches it useless. So going down is rationed: a start of a descent spends
one of a few turns an hour, and within a descent the count falls by at most a fifth a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from seawall.sizing.state import LawSettings, LawState, Signals

HOUR = 3600.0


def govern(
    wanted: int,
    current: int,
    fits: Callable[[int], bool],
    signals: Signals,
    state: LawState,
    settings: LawSettings,
) -> tuple[int, LawState]:
    """The replicas to ask for now, between `wanted` and `current`."""
    now = signals.now
    turns = tuple(t for t in state.turns if now - t < HOUR)
    state = replace(state, turns=turns)
    if wanted == current:
        return current, _remember(state, current)
    if wanted > current:
        return wanted, _remember(replace(state, direction=1), wanted)
    settled = state.since is not None and now - state.since >= settings.settle_seconds
    spent = state.direction >= 0 and len(turns) >= settings.turns_down_per_hour
    if not signals.complete or not settled or spent:
        return current, _remember(state, current)
    target = max(wanted, _lowest_step(state, current, now, settings))
    while target < current and not fits(target):
        target += 1
    if target >= current:
        return current, _remember(state, current)
    if state.direction >= 0:
        state = replace(state, turns=(*turns, now))
    return target, _remember(replace(state, direction=-1), target)


def _lowest_step(state: LawState, current: int, now: float, settings: LawSettings) -> int:
    """A minute's descent starts from the most there was in that minute."""
    most = max([current, *(e.replicas for e in state.recent[:-1] if e.at > now - 60)])
    return most - max(1, math.floor(most * settings.fall_per_minute))


def _remember(state: LawState, replicas: int) -> LawState:
    if not state.recent:
        return state
    return replace(state, recent=(*state.recent[:-1], replace(state.recent[-1], replicas=replicas)))
