"""What the observed p99 adds to counting requests: a correction of the load, never a count of replicas.

A raw p99 is not proportional to load: 20 % more latency may mean 60 % more load, or a spike two minutes
ago. Read back through the pod's curve it becomes a load, and only the part of it that the counted
requests do not explain is kept, after it was seen three times at a steady rate and an unchanged number of
pods. So a spike is not answered twice, and a slower model, a burstier client or a wrong profile is answered
in full, unless the pods that it brings turn out not to help: see proof.py.
"""

from __future__ import annotations

import math
from dataclasses import replace

from seawall.sizing import proof
from seawall.sizing.capacity import CapacityTable, load_of, predicted_p99, sizing
from seawall.sizing.forecast import forecast
from seawall.sizing.state import LawSettings, LawState, Level, Seen, Signals

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
MOST_WEIGHT = 40.0
ENOUGH = 0.95
"""Of the SLO: a p99 below it proves that these pods carry this load, so no correction may ask for more."""
READINGS = 3
READINGS_TO_RELAX = 8
ENOUGH_REQUESTS = 500.0
FUTILE_READINGS = 3
SMOOTHING = 0.2
MOST_WAIT_MS = 1e5
RESCALED = 0.01
"""A measured service time that moves by less leaves the evidence as it is."""
QUEUE_PER_POD = 3
"""Batches waiting per pod from which the queue counts as a backlog."""


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
    busiest = signals.busiest_rps if signals.busiest_rps is not None else 0.0
    hottest = busiest if counted <= busiest <= counted * ready else counted
    mean = (signals.rate_60s or 0.0) / ready
    imbalance = (
        max(busiest / mean, 1.0) if ready > 1 and mean > 0 and busiest <= mean * ready * STEADY else 1.0
    )
    queued = state.growing >= 2 or state.wait_ms >= proof.WAITING * slo_ms
    expected = predicted_p99(table, counted * state.correction, ca2, ready, scale)
    plain = predicted_p99(table, hottest * state.proven, ca2, ready, scale)
    load = load_of(table, p99_ms, slo_ms, ca2, ready, scale)
    most = sizing(table, slo_ms, 0.0, ca2, scale).rps(ready)
    as_load = load.ratio * most / counted if counted > 0 else 1.0
    as_speed = _weight_if_slower(table, slo_ms, p99_ms, counted, ca2, ready, scale)
    settled = steady and not queued and _as_long(state, signals, 2 * WINDOW_SECONDS)
    return Seen(
        load=load, counted=counted, hottest=hottest, ready=ready, expected_ms=expected, plain_ms=plain,
        weight=math.sqrt(as_load * as_speed), steady=steady and not _draining(state, signals),
        settled=settled, imbalance=imbalance, uneven=imbalance > proof.UNEVEN, queued=queued,
    )  # fmt: skip


def _as_long(state: LawState, signals: Signals, seconds: float) -> bool:
    """The same pods, and no long queue, for so long before the p99 was read."""
    start = signals.now - seconds - signals.p99_age_seconds
    inside = [entry for entry in state.recent if entry.at >= start - 15.0]
    same = all(entry.ready == signals.ready for entry in inside)
    return same and inside[0].at <= start and (state.drained_at is None or state.drained_at < start)


def _draining(state: LawState, signals: Signals) -> bool:
    """The p99 still tells of a queue that is becoming shorter: pods that are there already take it away."""
    past = signals.now - WINDOW_SECONDS - signals.p99_age_seconds
    return state.growing < 2 and state.drained_at is not None and state.drained_at > past


def _weight_if_slower(
    table: CapacityTable, slo_ms: float, p99_ms: float, counted: float, ca2: float, ready: int, scale: float
) -> float:
    """The same p99 explained by slower pods instead of more requests: capacity lost, as a factor.

    A hidden load moves the p99 along the curve, slowness moves the curve, and one latency cannot tell them
    apart. The first guess is always too small for the other case, this one too large, so their geometric
    mean is used: two corrections instead of four until a pod 40 % slower than its profile meets the SLO.
    """
    slower = proof.slowness(table, p99_ms, counted, ca2, ready, scale) * scale
    now, then = (sizing(table, slo_ms, 0.0, ca2, factor).rps(ready) for factor in (scale, slower))
    return now / then if then > 0 else MOST_WEIGHT


def rescale(
    state: LawState, table: CapacityTable, slo_ms: float, ca2: float, scale: float, signals: Signals
) -> LawState:
    """A slowness that is now measured must not be answered by the correction as well."""
    if scale == state.scale:
        return state
    old, new = (sizing(table, slo_ms, 0.0, ca2, s).rps(max(signals.ready, 1)) for s in (state.scale, scale))
    known = old / new if old > new > 0 else 1.0
    if abs(scale / state.scale - 1) >= RESCALED:
        state = replace(state, evidence=())
    if scale >= state.scale * (1 + RESCALED):
        state = replace(state, slowed_at=signals.now)
    correction, proven = (max(1.0, value / known) for value in (state.correction, state.proven))
    return replace(state, scale=scale, correction=correction, proven=proven)


def correct(
    state: LawState,
    seen: Seen,
    p99_ms: float,
    slo_ms: float,
    table: CapacityTable,
    signals: Signals,
    settings: LawSettings,
) -> LawState:
    """The correction after this reading; a delay from elsewhere is set apart and not corrected for."""
    size = sizing(table, slo_ms, 0.0, 1.0, state.scale)
    most = size.rps(max(signals.ready, 1))
    share = seen.counted / most if most > 0 else 0.0
    idle = seen.steady and p99_ms > slo_ms and seen.hottest < TELLING_LOAD * most
    state = replace(state, futile=state.futile + 1 if idle else 0)
    if not seen.steady:
        return replace(state, evidence=())
    if state.futile >= FUTILE_READINGS:
        return proof.set_apart(state, seen, p99_ms, signals)
    state = proof.relaxed(state, seen, p99_ms, slo_ms, READINGS_TO_RELAX)
    state = proof.judged(state, seen, p99_ms, slo_ms, table, signals)
    if share < TELLING_LOAD and p99_ms <= slo_ms:
        return state
    evidence = (*state.evidence, _found(state, seen, p99_ms, slo_ms, share, settings))[-READINGS_TO_RELAX:]
    state = replace(state, evidence=evidence)
    if len(evidence) >= READINGS and (least := min(evidence[-READINGS:])) > state.correction:
        demand = forecast(state, settings).demand
        close = p99_ms <= proof.CLOSE * slo_ms
        limit = proof.allowance(state, seen, size, demand, signals, settings, close)
        if min(least, limit) > state.correction:
            state = proof.begun(state, seen, p99_ms, limit, signals)
            return replace(state, correction=min(least, limit), evidence=())
    if len(evidence) == READINGS_TO_RELAX and (largest := max(evidence)) < state.correction:
        correction = max(largest, 0.9 * state.correction)
        return replace(state, correction=correction, proven=min(state.proven, correction), evidence=())
    return state


def _found(
    state: LawState, seen: Seen, p99_ms: float, slo_ms: float, share: float, settings: LawSettings
) -> float:
    """The correction that this reading alone asks for."""
    explained = seen.expected_ms / UNEXPLAINED <= p99_ms <= seen.expected_ms * UNEXPLAINED
    found = state.correction if explained else seen.weight
    if p99_ms <= ENOUGH * slo_ms:
        found = min(found, ENOUGH / share)
    if p99_ms < TELLING_P99 * slo_ms:
        found = min(found, state.correction)
    return min(max(found, 1.0), settings.most_correction)


def backlog(
    state: LawState, pending: float | None, level: float, signals: Signals, table_batch: float
) -> LawState:
    """Counts for how many readings running the queue has been both long and growing."""
    if pending is None:
        return replace(state, pending=0.0, growing=0, wait_ms=0.0)
    least = QUEUE_PER_POD * table_batch * max(signals.ready, 1)
    long = pending > least
    growing = state.growing + 1 if long and pending > state.pending else (1 if long else 0)
    drained = state.pending > least and pending < state.pending
    waited = 1000.0 * pending / level if level > 0 else 0.0
    return replace(
        state,
        pending=pending,
        growing=growing,
        drained_at=signals.now if drained else state.drained_at,
        wait_ms=state.wait_ms + SMOOTHING * (min(waited, MOST_WAIT_MS) - state.wait_ms),
    )


def _window(state: LawState, signals: Signals) -> list[Level]:
    """Readings that the p99's requests were served under, with the one before, oldest first."""
    start = signals.now - WINDOW_SECONDS - signals.p99_age_seconds - 15.0
    inside = [entry for entry in state.recent if entry.at >= start]
    return inside or [state.recent[-1]]
