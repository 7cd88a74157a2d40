"""The demand that pods ordered now will meet when they are ready, with a margin earned by past errors.

A minute's rate differs from the last one's by 4 % in one service and by 50 % in another, so no fixed margin
is right for both. Here every forecast is compared with what came, and the margin is the smallest one under
which the last hour's errors would have cost no more than the error budget allows: little budget left, wider
margin. A service whose demand is steady pays nothing for another one's bursts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray

from seawall.sizing.capacity import CapacityTable, Sizing, late_share
from seawall.sizing.state import Forecast, LawSettings, LawState, Level, Signals

PRIOR = np.array([NormalDist().inv_cdf((i + 0.5) / 30) for i in range(30)])
STEPS = 0.01
NEGLIGIBLE_RPS = 0.5
"""Rates are never taken as smaller in a ratio: one request a minute is not infinitely more than none."""
PEAKS_KEPT = 190
MISSING = -9.0
LEVELS_KEPT = 240


def observe(
    state: LawState, signals: Signals, level: float, long_rate: float, settings: LawSettings
) -> LawState:
    """The new reading, remembered; `base` and `envelope` are the forecast that follows from it."""
    last = state.recent[-1] if state.recent else None
    passed = signals.now - last.at if last else settings.sync_seconds
    share = 1 - math.exp(-max(passed, 0.0) / settings.smooth_seconds)
    smooth = level if state.smooth is None else state.smooth + share * (long_rate - state.smooth)
    horizon = settings.hold_seconds + signals.cold_start_seconds + 120.0
    kept = [entry for entry in state.recent if entry.at > signals.now - horizon][-LEVELS_KEPT:]
    window = [entry for entry in kept if entry.at > signals.now - settings.hold_seconds]
    envelope = max([level, *(entry.level for entry in window)])
    base = max([smooth, *(entry.smooth for entry in window)])
    state = _count_minute(state, signals.now, level)
    lead = signals.cold_start_seconds + settings.sync_seconds
    base = max(base, recurring(state.peaks, lead, settings))
    new = Level(signals.now, level, smooth, signals.ready, base, envelope)
    return replace(state, smooth=smooth, recent=(*kept, new), since=state.since or signals.now)


def _count_minute(state: LawState, now: float, level: float) -> LawState:
    minute = int(now // 60)
    if state.minute is None or not 0 <= minute - state.minute <= PEAKS_KEPT:
        return replace(state, minute=minute, peaks=(level,))
    if minute == state.minute:
        return replace(state, peaks=(*state.peaks[:-1], max(state.peaks[-1], level)))
    gap = (state.peaks[-1],) * (minute - state.minute - 1)
    return replace(state, minute=minute, peaks=(*state.peaks, *gap, level)[-PEAKS_KEPT:])


def recurring(peaks: tuple[float, ...], lead_seconds: float, settings: LawSettings) -> float:
    """The rate of a rise that came back three times running at the same distance and is due again; else 0.

    Jobs started by the clock do this; a reaction would come when such a minute is over.
    """
    now, lead = len(peaks) - 1, math.ceil(lead_seconds / 60)
    best = 0.0
    for period in settings.recurrence_minutes:
        if period <= lead + 1:
            continue
        rises = []
        for before in (1, 2, 3):
            start = now + 1 - before * period
            if start < 7:
                break
            usual = median(peaks[start - 7 : start])
            rises.append(max(peaks[start : start + lead + 1]) / max(usual, NEGLIGIBLE_RPS))
        if len(rises) == 3:
            best = max(best, min(rises))
    return best * median(peaks[-7:]) if best >= settings.recurrence else 0.0


def learn(
    state: LawState,
    before: LawState,
    signals: Signals,
    violated: tuple[float, float],
    table: CapacityTable,
    size: Sizing,
    settings: LawSettings,
) -> LawState:
    """Once a minute: how wrong was the forecast that the ready pods were ordered by, and what did it cost?"""
    if state.headroom is not None and before.minute == state.minute:
        return state
    errors, outcomes = state.errors, state.outcomes
    made = signals.now - signals.cold_start_seconds - settings.sync_seconds
    then = next((entry for entry in reversed(state.recent) if entry.at <= made), None)
    if then is not None and then.at > made - 60:
        came = max(entry.level for entry in state.recent if entry.at > signals.now - 60)
        error = _log_ratio(came, then.base), _log_ratio(then.envelope, then.base)
        errors = (*errors, error)[-settings.errors_kept :]
        outcomes = (*outcomes, violated)[-settings.errors_kept :]
    state = replace(state, errors=errors, outcomes=outcomes)
    return replace(state, headroom=_headroom(state, signals, table, size, settings))


def forecast(state: LawState) -> Forecast:
    last = state.recent[-1]
    demand = max(last.base * math.exp(state.headroom or 0.0), last.envelope)
    return Forecast(demand, last.base, last.envelope, last.base > max(last.smooth, last.envelope))


def _headroom(
    state: LawState, signals: Signals, table: CapacityTable, size: Sizing, settings: LawSettings
) -> float:
    """The smallest margin whose expected cost, over the errors seen, fits what is left of the budget."""
    left = _budget_left(state, settings)
    late_allowed = settings.strict_late + left * (settings.lean_late - settings.strict_late)
    violated_allowed = settings.strict_violation + left * (
        settings.lean_violation - settings.strict_violation
    )
    known = len(state.errors)
    noise = 1.0 / (15.0 * max(state.recent[-1].level, NEGLIGIBLE_RPS))
    spread = math.sqrt(settings.doubt**2 + noise)
    weight = np.concatenate([np.ones(known), np.full(len(PRIOR), max(0.1, 1 - known / 60))])
    weight /= weight.sum()
    seen = np.asarray(state.errors, float).reshape(-1, 2)
    error = np.concatenate([seen[:, 0], spread * PRIOR])
    covered = np.concatenate([seen[:, 1], np.full(len(PRIOR), MISSING)])
    margins = np.arange(-0.1, settings.most_headroom + STEPS / 2, STEPS)
    above = error[None, :] - np.maximum(margins[:, None], covered[None, :])
    late = (_late_by_excess(above, table, size) * weight).sum(axis=1)
    violated = ((above > 0) * weight).sum(axis=1)
    fits = (late <= late_allowed) & (violated <= violated_allowed)
    return max(0.0, float(margins[int(fits.argmax())] if fits.any() else margins[-1]))


def _budget_left(state: LawState, settings: LawSettings) -> float:
    """1 while nothing of the error budget is used, 0 when all of it is; fewer than an hour counts as one."""
    kept = max(settings.errors_kept, len(state.outcomes))
    late = sum(late for late, _ in state.outcomes) / kept
    violated = sum(violated for _, violated in state.outcomes) / kept
    left = min(1 - late / settings.late_budget, 1 - violated / settings.violation_budget)
    return min(max(left, 0.0), 1.0)


def _late_by_excess(excess: NDArray[np.float64], table: CapacityTable, size: Sizing) -> NDArray[np.float64]:
    """Share of late requests when the load is exp(excess) times the capacity."""
    grid = np.arange(-0.3, 0.9, 0.05)
    most = size.rps(4)
    late = [late_share(table, most * math.exp(x)) if most else 1.0 for x in grid]
    shares: NDArray[np.float64] = np.interp(excess, grid, late)
    return shares


def _log_ratio(one: float, other: float) -> float:
    return math.log(max(one, NEGLIGIBLE_RPS) / max(other, NEGLIGIBLE_RPS))
