"""What the observed p99 adds to counting requests: a correction of the load, never a count of replicas.

A raw p99 is not proportional to load: 20 % more latency may mean 60 % more load, or a spike two minutes
ago. Read back through the pod's curve it becomes a load, and only the part of it that the counted
requests do not explain is kept, after it was seen three times at a steady rate and an unchanged number of
pods. So a spike is not answered twice, and a slower model, a burstier client or a wrong profile is answered
in full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from seawall.sizing.capacity import CapacityTable, LoadRatio, Sizing, load_of, predicted_p99, sizing
from seawall.sizing.state import LawSettings, LawState, Level, Signals

WINDOW_SECONDS = 60.0
UNEXPLAINED = 1.04
"""A p99 within this factor of the model's is explained by the model."""
STEADY = 1.3
"""Largest over smallest rate within the window for a p99 to belong to one load."""
TELLING_LOAD = 0.25
"""Below this share of capacity the curve is flat, and a latency says nothing about load."""
TELLING_P99 = 0.9
"""Of the SLO: a lower p99 raises no correction. Nothing is at stake yet, and a histogram's buckets are wide
there: what is read out of them is off by more than what `UNEXPLAINED` allows."""
MOST_SLOWER = 4.0
MOST_WEIGHT = 40.0
ENOUGH = 0.95
"""Of the SLO: a p99 below it proves that these pods carry this load, so no correction may ask for more."""
READINGS = 3
READINGS_TO_RELAX = 8
ENOUGH_REQUESTS = 500.0
QUEUE_PER_POD = 3
"""Batches waiting per pod from which the queue counts as a backlog."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The observed p99 beside what the model says about the same minute."""

    load: LoadRatio
    counted: float
    """requests per second and ready pod, at their highest in the window"""
    expected_ms: float
    weight: float
    """how much heavier the counted load must be to explain the p99; 1 is exactly as counted"""
    steady: bool


def look(
    state: LawState,
    signals: Signals,
    p99_ms: float,
    table: CapacityTable,
    slo_ms: float,
    ca2: float,
    scale: float,
) -> Seen:
    window = _window(state, signals)
    ready = max(1, min(entry.ready for entry in window))
    highest, lowest = (f(entry.level for entry in window) for f in (max, min))
    counted = highest / ready
    steady = (
        ready == max(entry.ready for entry in window)
        and highest <= STEADY * lowest
        and lowest * WINDOW_SECONDS >= ENOUGH_REQUESTS
        and window[0].at <= signals.now - WINDOW_SECONDS - signals.p99_age_seconds
    )
    expected = predicted_p99(table, counted * state.correction, ca2, ready, scale)
    load = load_of(table, p99_ms, slo_ms, ca2, ready, scale)
    most = sizing(table, slo_ms, 0.0, ca2, scale).rps(ready)
    as_load = load.ratio * most / counted if counted > 0 else 1.0
    as_speed = _weight_if_slower(table, slo_ms, p99_ms, counted, ca2, ready, scale)
    return Seen(load, counted, expected, math.sqrt(as_load * as_speed), steady)


def _weight_if_slower(
    table: CapacityTable, slo_ms: float, p99_ms: float, counted: float, ca2: float, ready: int, scale: float
) -> float:
    """The same p99 explained by slower pods instead of more requests: capacity lost, as a factor.

    A hidden load moves the p99 along the curve, slowness moves the curve, and one latency cannot tell them
    apart. The first guess is always too small for the other case, this one too large, so their geometric
    mean is used: two corrections instead of four until a pod 40 % slower than its profile meets the SLO.
    """
    low, high = 0.5 * scale, MOST_SLOWER * scale
    for _ in range(20):
        middle = math.sqrt(low * high)
        if predicted_p99(table, counted, ca2, ready, middle) < p99_ms:
            low = middle
        else:
            high = middle
    now, then = (sizing(table, slo_ms, 0.0, ca2, factor).rps(ready) for factor in (scale, low))
    return now / then if then > 0 else MOST_WEIGHT


def rescale(
    state: LawState, table: CapacityTable, slo_ms: float, ca2: float, scale: float, ready: int
) -> LawState:
    """A slowness that is now measured must not be answered by the correction as well."""
    if scale == state.scale:
        return state
    old, new = (sizing(table, slo_ms, 0.0, ca2, s).rps(max(ready, 1)) for s in (state.scale, scale))
    known = old / new if old > new > 0 else 1.0
    return replace(state, scale=scale, correction=max(1.0, state.correction / known), evidence=())


def correct(
    state: LawState, seen: Seen, p99_ms: float, slo_ms: float, size: Sizing, settings: LawSettings, ready: int
) -> LawState:
    """The correction after this reading; futile counts readings that no number of pods could improve."""
    most = size.rps(max(ready, 1))
    share = seen.counted / most if most > 0 else 0.0
    above = p99_ms > slo_ms and seen.steady and share < TELLING_LOAD
    state = replace(state, futile=state.futile + 1 if above else 0)
    if not seen.steady:
        return replace(state, evidence=())
    if share < TELLING_LOAD and p99_ms <= slo_ms:
        return state
    explained = seen.expected_ms / UNEXPLAINED <= p99_ms <= seen.expected_ms * UNEXPLAINED
    found = state.correction if explained else seen.weight
    if p99_ms <= ENOUGH * slo_ms:
        found = min(found, ENOUGH / share)
    if p99_ms < TELLING_P99 * slo_ms:
        found = min(found, state.correction)
    found = min(max(found, 1.0), settings.most_correction)
    evidence = (*state.evidence, found)[-READINGS_TO_RELAX:]
    state = replace(state, evidence=evidence)
    if len(evidence) >= READINGS and (least := min(evidence[-READINGS:])) > state.correction:
        return replace(state, correction=least, evidence=())
    if len(evidence) == READINGS_TO_RELAX and (largest := max(evidence)) < state.correction:
        return replace(state, correction=max(largest, 0.9 * state.correction), evidence=())
    return state


def backlog(state: LawState, pending: float | None, ready: int, table_batch: float) -> LawState:
    """Counts for how many readings running the queue has been both long and growing."""
    if pending is None:
        return replace(state, pending=0.0, growing=0)
    long = pending > QUEUE_PER_POD * table_batch * max(ready, 1)
    growing = state.growing + 1 if long and pending > state.pending else (1 if long else 0)
    return replace(state, pending=pending, growing=growing)


def _window(state: LawState, signals: Signals) -> list[Level]:
    """Readings that the p99's requests were served under, with the one before, oldest first."""
    start = signals.now - WINDOW_SECONDS - signals.p99_age_seconds - 15.0
    inside = [entry for entry in state.recent if entry.at >= start]
    return inside or [state.recent[-1]]
