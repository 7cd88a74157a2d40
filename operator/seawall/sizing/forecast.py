"""The demand that pods ordered now will meet when they are ready, by the rule that would have served best.

A minute's rate differs from the last one's by 4 % in one service and by 50 % in another, one falls back after
every rise and the next one rises again a quarter of an hour later; so no fixed margin and no fixed memory is
right for all. Here a few dozen simple rules, each a memory and a margin, size the service on paper all the
time: whole pods, that start late. The cheapest of those that would have kept the SLO is followed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from seawall.sizing.capacity import CapacityTable, Sizing
from seawall.sizing.lateness import late_at, pods_of
from seawall.sizing.state import Forecast, LawSettings, LawState, Level, Signals

Floats = NDArray[np.float64]
MARGINS: Floats = np.linspace(-0.1, 0.45, 12)
"""Logarithms. Below 0 because whole pods have room to spare, and after a spike all of it is room."""
NEGLIGIBLE_RPS = 0.5
"""Rates are never taken as smaller in a ratio: one request a minute is not infinitely more than none."""
PEAKS_KEPT = 190
LEVELS_KEPT = 240
VIOLATION = 0.01
"""Share of late requests from which a minute's p99 was above the SLO."""
DIGITS = 7
"""Sums are remembered this exactly; a state is written down in full."""


@dataclass(frozen=True, slots=True)
class _Paper:
    """What each rule would have attained and cost in the minute that ended."""

    late: Floats
    violated: Floats
    pods: Floats


def observe(state: LawState, signals: Signals, level: float, short: float, settings: LawSettings) -> LawState:
    """The new reading, remembered, with the largest rates of the rules' memories."""
    horizon = settings.holds_seconds[0] + signals.cold_start_seconds + 120.0
    since = signals.now - horizon
    kept = [entry for entry in state.recent if since < entry.at < signals.now][-LEVELS_KEPT:]
    state = _count_minute(state, signals.now, level)
    lead = signals.cold_start_seconds + settings.sync_seconds
    again = recurring(state.peaks, lead, settings)
    start = signals.now - settings.holds_seconds[0]
    shortest = max([level, *(entry.level for entry in kept if entry.at > start)])
    longer = (max(state.peaks[-1 - round(hold / 60) :]) for hold in settings.holds_seconds[1:])
    seen = [max(high, shortest) for high in (shortest, *longer)]
    highs = tuple(max(high, again) for high in seen)
    new = Level(signals.now, level, short, signals.ready, highs, again > max(seen))
    return replace(state, recent=(*kept, new), since=state.since or signals.now)


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
    outcome: tuple[float, float],
    table: CapacityTable,
    size: Sizing,
    settings: LawSettings,
) -> LawState:
    """Once a minute: what came of the last one, what each rule would have made of it, and whom to follow."""
    if state.rule is not None and before.minute == state.minute:
        return state
    if not size.feasible:
        return replace(state, rule=state.rule or 0)
    keep = math.exp(-1 / settings.memory_minutes)
    if state.rule is not None:
        late, violated, minutes = state.spent
        spent = (keep * late + outcome[0], keep * violated + outcome[1], keep * minutes + 1)
        state = replace(state, spent=spent)
    found = _on_paper(state, signals, table, size, settings)
    if found is not None:
        sums = _sums(state, settings) * keep + np.stack([found.late, found.violated, found.pods])
        rounded = tuple(tuple(float(f"{value:.{DIGITS}g}") for value in row) for row in sums)
        state = replace(state, trials=rounded, tried=keep * state.tried + 1)
    return replace(state, rule=_best(state, settings))


def forecast(state: LawState, settings: LawSettings) -> Forecast:
    last = state.recent[-1]
    hold, margin = divmod(state.rule or 0, len(MARGINS))
    base = last.highs[hold]
    headroom = float(MARGINS[margin])
    demand = max(base * math.exp(headroom), last.level)
    return Forecast(demand, base, settings.holds_seconds[hold], headroom, last.recurring)


def _sums(state: LawState, settings: LawSettings) -> Floats:
    shape = (3, len(settings.holds_seconds) * len(MARGINS))
    sums = np.asarray(state.trials, float)
    return sums if sums.shape == shape else np.zeros(shape)


def _on_paper(
    state: LawState, signals: Signals, table: CapacityTable, size: Sizing, settings: LawSettings
) -> _Paper | None:
    """The last minute as every rule would have met it; None while nothing is remembered that far back.

    What is counted now was offered a reading ago, to the pods ordered a cold start before that and not
    given back since.
    """
    entries = state.recent
    at = np.array([entry.at for entry in entries])
    lead = signals.cold_start_seconds + settings.sync_seconds
    minute = np.flatnonzero(at > signals.now - 60.0)
    if not len(minute) or at[0] > at[minute[0]] - lead + settings.sync_seconds:
        return None
    highs = np.array([entry.highs for entry in entries])
    levels = np.array([entry.level for entry in entries])
    demand = highs[:, :, None] * np.exp(MARGINS)[None, None, :]
    demand = np.maximum(demand.reshape(len(entries), -1), levels[:, None])
    first = int(np.searchsorted(at, at[minute[0]] - lead - 1.0))
    pods = np.zeros(demand.shape)
    pods[first:] = pods_of(size, demand[first:] * state.correction)
    offered = np.array([entries[place].short for place in minute])
    late = np.empty((len(minute), demand.shape[1]))
    for row, place in enumerate(minute):
        start = int(np.searchsorted(at, at[place] - lead - 1.0))
        end = max(int(np.searchsorted(at, at[place] - settings.sync_seconds + 1.0)), start + 1)
        ready = pods[start:end].min(axis=0)
        late[row] = late_at(table, size, offered[row] * state.correction, ready)
    total = max(float(offered.sum()), 1e-9)
    share = (late * offered[:, None]).sum(axis=0) / total
    return _Paper(share, (share > VIOLATION).astype(float), pods[minute].mean(axis=0))


def _best(state: LawState, settings: LawSettings) -> int:
    """The cheapest rule whose risk fits what is left of the budget; the safest where none fits.

    What even the safest rule would have lost is held against none of them: room that would not have helped
    is not worth its price.
    """
    left = _budget_left(state, settings)
    allowed_late = settings.strict_late + left * (settings.lean_late - settings.strict_late)
    allowed = settings.strict_violation + left * (settings.lean_violation - settings.strict_violation)
    late, violated, pods = _sums(state, settings)
    margins = np.tile(MARGINS, len(settings.holds_seconds))
    doubt = settings.doubt * np.exp(-np.maximum(margins, 0.0) / settings.doubt_margin)
    weight = state.tried + settings.doubt_minutes
    late = (late + settings.doubt_minutes * doubt * settings.doubt_late) / weight
    violated = (violated + settings.doubt_minutes * doubt) / weight
    fits = (late <= allowed_late + late.min()) & (violated <= allowed + violated.min())
    # Of two that cost the same, the safer one.
    price = pods / state.tried - 1e-3 * margins if state.tried else margins
    if not fits.any():
        return int(np.argmin(late / allowed_late + violated / allowed))
    return int(np.flatnonzero(fits)[np.argmin(price[fits])])


def _budget_left(state: LawState, settings: LawSettings) -> float:
    """1 while nothing of the error budget is used, 0 when all of it is; fewer than an hour counts as one."""
    late, violated, minutes = state.spent
    kept = max(60.0, minutes)
    left = min(1 - late / kept / settings.late_budget, 1 - violated / kept / settings.violation_budget)
    return min(max(left, 0.0), 1.0)
