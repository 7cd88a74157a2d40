"""How many replicas, and why: the one function that the operator and the simulator both call.

Three terms, the largest wins: feed-forward from the forecast demand, the same corrected by the observed
p99, and what a backlog needs to drain. Up at once; down only when the smaller number still meets the SLO,
when it was not needed for a while, and at most a few times an hour. Without data the last number stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from seawall.sizing import feedback, govern, proof
from seawall.sizing.capacity import CapacityTable, Sizing, late_share, predicted_p99, sizing
from seawall.sizing.forecast import forecast, learn, observe
from seawall.sizing.state import Bounds, Decision, LawSettings, LawState, Seen, Signals, Terms
from seawall.sizing.words import Story, count, describe

MOST_RPS = 1e9
MOST_MS = 1e7
LEAST_MS = 1e-3
PACED = 1.0
"""The variability that pods are sized for: Poisson. What can be counted is the dispersion over seconds, and a
rate that changes from minute to minute raises it to 100 without a pod carrying less: sizing by it cost 40 %
on public traces. Arrivals that come in clumps show in the p99 and are answered by its correction."""
AIM = 0.98
"""Of the SLO, with such a delay."""
STABLE_SHARE = 0.7
"""Where no number of pods meets the SLO, this share of what a pod can do at all keeps its queue short."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """The signals after cleaning."""

    level: float
    short: float
    long: float
    p99_ms: float | None
    pending: float | None
    late: float | None
    scale: float


@dataclass(frozen=True, slots=True)
class _View:
    """One reading through the eyes of the model."""

    table: CapacityTable
    slo_ms: float
    reading: _Reading
    size: Sizing
    seen: Seen | None
    """without a usable p99 there is none"""


def decide(
    table: CapacityTable,
    slo_ms: float,
    bounds: Bounds,
    signals: Signals,
    state: LawState,
    settings: LawSettings | None = None,
) -> tuple[Decision, LawState]:
    """The replicas for one service now, and what to remember; nothing else is read or kept."""
    settings = settings or LawSettings()
    reading = _clean(signals, state, settings)
    if reading is None:
        return _hold(bounds, signals, state)
    blind = (
        state.since is not None and signals.now - (state.p99_seen or state.since) > settings.settle_seconds
    )
    margin = max(settings.margin, settings.blind_margin if blind else 0.0)
    size = sizing(table, slo_ms, margin, PACED, reading.scale)
    before = state
    state = feedback.rescale(state, table, slo_ms, PACED, reading.scale, signals)
    state = observe(state, signals, reading.level, reading.short, settings)
    state = feedback.backlog(state, reading.pending, reading.level, signals, table.batch)
    state, seen = _consider_p99(state, signals, reading, table, slo_ms, settings)
    violated = _outcome(state, signals, reading, table, slo_ms, size)
    state = learn(state, before, signals, violated, table, size, settings)
    if reading.level > 0:
        state = replace(state, busy_at=signals.now)
    view = _View(table, slo_ms, reading, size, seen)
    return _settle(bounds, signals, state, settings, view)


def _clean(signals: Signals, state: LawState, settings: LawSettings) -> _Reading | None:
    """None where the demand is unknown; any other number that makes no sense is merely left out."""
    rates = [
        r for r in (_sane(signals.rate_15s, MOST_RPS), _sane(signals.rate_60s, MOST_RPS)) if r is not None
    ]
    if len(rates) < 2 or not math.isfinite(signals.now) or signals.replicas < 0 or signals.ready < 0:
        return None
    fresh = 0 <= signals.p99_age_seconds <= settings.stale_seconds
    p99 = _sane(signals.p99_ms, MOST_MS) if fresh else None
    scale = _sane(signals.service_scale, 20.0)
    return _Reading(
        level=max(rates),
        short=rates[0],
        long=rates[1],
        p99_ms=p99 or None,
        pending=_sane(signals.pending, MOST_RPS),
        late=_sane(signals.late_share, 1.0) if fresh else None,
        scale=max(scale, 0.05) if scale else state.scale,
    )


def _sane(value: float | None, most: float) -> float | None:
    return value if value is not None and 0 <= value <= most else None


def _hold(bounds: Bounds, signals: Signals, state: LawState) -> tuple[Decision, LawState]:
    """Never fewer than were decided last, whatever went silent."""
    held = max(state.target if state.target is not None else signals.replicas, 0)
    replicas = min(max(held, bounds.min_replicas), bounds.max_replicas)
    message = f"The request rate is unknown, so {count(replicas)} stay as they are."
    terms = Terms(replicas, replicas, replicas)
    decision = Decision(replicas, "NoData", terms, None, None, None, None, True, message)
    return decision, replace(state, target=replicas)


def _consider_p99(
    state: LawState,
    signals: Signals,
    reading: _Reading,
    table: CapacityTable,
    slo_ms: float,
    settings: LawSettings,
) -> tuple[LawState, Seen | None]:
    if reading.p99_ms is None or signals.ready == 0:
        return replace(state, evidence=()), None
    floor = _floor(table, reading)
    state = proof.bounded(state, reading.p99_ms, slo_ms, floor, signals)
    p99 = max(reading.p99_ms - state.offset_ms, LEAST_MS)
    seen = feedback.look(state, signals, p99, table, slo_ms, PACED, reading.scale)
    state = feedback.correct(state, seen, p99, slo_ms, table, signals, settings)
    return replace(state, p99_seen=signals.now), seen


def _floor(table: CapacityTable, reading: _Reading) -> float:
    return predicted_p99(table, 0.0, PACED, max(table.pods), reading.scale)


def _elsewhere(state: LawState, reading: _Reading, slo_ms: float) -> float:
    """The delay that keeps the p99 above the SLO, if one does."""
    return state.offset_ms if reading.p99_ms is None or reading.p99_ms > slo_ms else 0.0


def _outcome(
    state: LawState, signals: Signals, reading: _Reading, table: CapacityTable, slo_ms: float, size: Sizing
) -> tuple[float, float]:
    """Share of late requests in the last minute and whether it was violated; modelled where not observed."""
    ready = max(signals.ready, 1)
    most = size.rps(ready)
    ratio = reading.long * state.correction / (ready * most) if most > 0 else math.inf
    nominal = sizing(table, slo_ms, 0.0, PACED).rps(ready)
    late = late_share(table, ratio * nominal, PACED, ready) if math.isfinite(ratio) else 1.0
    violated = ratio > 1 if reading.p99_ms is None else reading.p99_ms > slo_ms
    if _elsewhere(state, reading, slo_ms) > 0:  # room for errors of the forecast would not shorten it
        return late, float(ratio > 1)
    if reading.late is not None:
        late, violated = reading.late, reading.late > 0.01
    return late, float(violated)


def _settle(
    bounds: Bounds, signals: Signals, state: LawState, settings: LawSettings, view: _View
) -> tuple[Decision, LawState]:
    """From the terms to a number within the bounds, and to the sentence that explains it."""
    table, size, reading, seen = view.table, view.size, view.reading, view.seen
    late = reading.p99_ms is not None and reading.p99_ms > view.slo_ms
    expected = forecast(state, settings)
    terms, enough = _terms(expected.demand, state, view, settings)
    made_up = enough is not None and enough <= terms.feedback
    elsewhere = 0.0 if made_up else _elsewhere(state, reading, view.slo_ms)
    wanted = max(terms.feed_forward, terms.feedback, terms.backlog)
    idle = state.busy_at is None or signals.now - state.busy_at > settings.idle_seconds
    if bounds.min_replicas == 0 and idle and reading.level == 0 and signals.complete:
        wanted = 0
    within = min(max(wanted, bounds.min_replicas), bounds.max_replicas)
    current = state.target if state.target is not None else signals.replicas
    rate = reading.level * state.correction

    def fits(replicas: int) -> bool:
        return replicas == 0 or (not size.feasible) or rate <= replicas * size.rps(replicas) * (1 + 1e-9)

    replicas, state = govern.govern(within, current, fits, signals, state, settings)
    replicas = min(max(replicas, bounds.min_replicas), bounds.max_replicas)
    p99 = _predict(table, rate, replicas, reading, state.offset_ms)
    feasible = size.feasible and elsewhere == 0 and wanted <= bounds.max_replicas
    story = Story(
        slo_ms=view.slo_ms, current=current, replicas=replicas, wanted=wanted, terms=terms, bounds=bounds,
        demand_rps=expected.demand, rate_rps=reading.level, capacity_rps=size.rps(max(replicas, 1)),
        recurring=expected.recurring, correction=state.correction, pending=state.pending,
        floor_ms=_floor(table, reading), p99_ms=reading.p99_ms, elsewhere_ms=elsewhere,
        enough=enough, reachable=size.feasible,
        uneven=seen.imbalance if seen is not None and seen.uneven and late else None,
    )  # fmt: skip
    reason, message = describe(story)
    decision = Decision(
        replicas=replicas, reason=reason, terms=terms, load_ratio=seen.load.ratio if seen else None,
        demand_rps=expected.demand, capacity_rps=size.rps(max(replicas, 1)), predicted_p99_ms=p99,
        feasible=feasible, message=message, elsewhere_ms=elsewhere,
    )  # fmt: skip
    return decision, replace(state, target=replicas)


def _made_up_for(demand: float, state: LawState, view: _View) -> int | None:
    """Pods fast enough for the SLO to hold in spite of a delay from elsewhere; None where there are none."""
    aim = AIM * view.slo_ms - state.offset_ms
    size = sizing(view.table, aim, 0.0, PACED, view.reading.scale)
    return size.pods_for(demand) if size.feasible else None


def _terms(demand: float, state: LawState, view: _View, settings: LawSettings) -> tuple[Terms, int | None]:
    """And the pods that would make up for a delay from elsewhere, which are had where they cost little."""
    size, reading = view.size, view.reading
    if not size.feasible:
        steady = view.table.limit_rps / reading.scale * STABLE_SHARE
        pods = max(1, math.ceil(demand / steady))
        return Terms(pods, pods, pods), None
    ahead = size.pods_for(demand)
    corrected = size.pods_for(demand * state.correction)
    enough = _made_up_for(demand * state.correction, state, view) if state.offset_ms > 0 else None
    if enough is not None and corrected < enough <= max(proof.ROOM * corrected, corrected + 1):
        corrected = enough
    behind = 0
    if state.growing >= 2:
        now = size.pods_for(reading.level * state.correction)
        behind = now + math.ceil(state.pending / (size.rps(now) * settings.drain_seconds))
    return Terms(ahead, corrected, behind), enough


def _predict(
    table: CapacityTable, rate: float, replicas: int, reading: _Reading, offset_ms: float
) -> float | None:
    if replicas == 0:
        return None
    return offset_ms + predicted_p99(table, rate / replicas, PACED, replicas, reading.scale)
