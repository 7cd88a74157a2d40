"""Whether a raise of the correction helped: what one latency cannot tell, the next load tells.

A p99 above the model's means heavier requests, slower pods, or a delay on which no pod has any influence: the
network, a gateway, a neighbour on the node. At one load they look alike. At another they part: of load and
slowness the model says what is left of them once each pod gets less, a delay from elsewhere stays whole. So
what nothing else speaks for is first tried with a few more pods, and only what helped is carried on.
"""

from __future__ import annotations

import math
from dataclasses import replace

from seawall.sizing.capacity import CapacityTable, Sizing, load_of, predicted_p99, sizing
from seawall.sizing.state import LawSettings, LawState, Raise, Seen, Signals

TRIAL = 1.3
"""Times what is proven, and one pod more than there are at least: so much is tried without proof."""
CLOSE, ROOM = 1.15, 1.6
"""A p99 this close above the SLO may be within reach of so many times the pods, whatever its reason: that
much is tried, and kept where the SLO holds with it."""
APART = 0.1
"""Of the p99 before: how far the two explanations must lie apart before a reading is held against them."""
SLOWED, SLOWING_SECONDS = 2.5, 120.0
"""So much may be tried for so long after batches were last measured slower than before: smoothing holds back
most of what they say, and the p99 is right about it sooner."""
LIGHTER = 0.97
"""Of the load per pod before: at almost the same one nothing can be learnt."""
READINGS = 3
PROVEN_SECONDS = 600.0
"""For so long after pods have helped, the whole of what is missing may be added at once."""
WAITING = 0.5
"""Of the SLO: a mean wait in the pods' own queues from which the load needs no further proof."""
UNEVEN = 1.3
"""The busiest pod over the mean. Then connections decide who gets what, and no comparison says anything."""
FORGOTTEN_SECONDS = 900.0
"""After this and two cold starts an undecided trial may be begun anew."""
RETRY_SECONDS = 1800.0
MOST_DOUBLINGS = 2
"""A delay from elsewhere is put to the test again after half an hour, an hour, two, and two again."""
WORTH_MENTION = 0.02
"""Of the SLO: a smaller delay is none."""
MOST_SLOWER = 4.0
FASTEST = 0.5
BEYOND = 3.0
"""Times the p99 before: an explanation that promises more is taken to promise this."""


def allowance(
    state: LawState,
    seen: Seen,
    size: Sizing,
    demand: float,
    signals: Signals,
    settings: LawSettings,
    close: bool,
) -> float:
    """The largest correction that may be believed now. `close`: the p99 is hardly above the SLO."""
    helped = state.proven_at is not None and signals.now - state.proven_at < PROVEN_SECONDS
    if seen.uneven or seen.queued or helped:
        return settings.most_correction
    if state.offset_ms > 0 and state.retry_at is not None and signals.now < state.retry_at:
        return state.correction
    slowing = state.slowed_at is not None and signals.now - state.slowed_at < SLOWING_SECONDS
    least = min(SLOWED, settings.most_correction) if slowing else 1.0
    if state.raised is not None:
        return max(state.raised.limit, least)
    more = signals.ready + 1
    one = more * size.rps(more) / demand if demand > 0 else 1.0
    trial = ROOM if close else TRIAL
    return min(max(trial * state.proven, one, least), settings.most_correction)


def begun(state: LawState, seen: Seen, p99_ms: float, limit: float, signals: Signals) -> LawState:
    """A raise is made: what it is to be held against."""
    if state.raised is not None or seen.uneven:
        return state
    now = Raise(signals.now, seen.hottest, p99_ms, max(signals.ready, 1), state.scale, limit)
    return replace(state, raised=now, verdict=0, undecided=0)


def judged(
    state: LawState, seen: Seen, p99_ms: float, slo_ms: float, table: CapacityTable, signals: Signals
) -> LawState:
    """What this reading says about the last raise; three of them in agreement decide."""
    before = state.raised
    if before is None:
        return state
    if signals.now - before.at > FORGOTTEN_SECONDS + 2 * signals.cold_start_seconds:
        return replace(state, raised=None, verdict=0)
    lighter = seen.hottest < LIGHTER * before.counted
    if seen.uneven or (not lighter and seen.hottest * LIGHTER < before.counted):
        return replace(state, verdict=0, undecided=0)
    measured = signals.service_scale is not None
    share = _explained_by_load(before, seen, p99_ms, slo_ms, table, state, measured)
    verdict = 0
    if share is not None and share >= 0.5:
        verdict = max(state.verdict, 0) + 1
    elif share is not None and seen.settled and p99_ms > slo_ms:
        verdict = min(state.verdict, 0) - 1
    open_ = share is None and lighter and seen.settled and p99_ms > slo_ms
    state = replace(state, verdict=verdict, undecided=state.undecided + 1 if open_ else 0)
    if verdict >= READINGS:
        return replace(state, proven=state.correction, proven_at=signals.now, raised=None, verdict=0)
    if verdict <= -READINGS:
        return set_apart(state, seen, p99_ms, signals)
    if state.undecided >= READINGS:
        return replace(state, raised=replace(before, limit=TRIAL * before.limit), undecided=0)
    return state


def _explained_by_load(
    before: Raise,
    seen: Seen,
    p99_ms: float,
    slo_ms: float,
    table: CapacityTable,
    state: LawState,
    measured: bool,
) -> float | None:
    """1 where the p99 went as load would have it go, or slowness where that is not `measured` and known; 0
    where a delay from elsewhere would."""
    pods, scale = seen.ready, state.scale

    def plain(counted: float, ready: int, factor: float) -> float:
        return predicted_p99(table, counted * state.proven, 1.0, ready, factor)

    then, now = plain(before.counted, before.ready, before.scale), plain(seen.hottest, pods, scale)
    elsewhere = before.p99_ms - then + now
    if not math.isfinite(elsewhere) or then >= before.p99_ms:
        return None
    most = sizing(table, slo_ms, 0.0, 1.0, before.scale).rps(before.ready)
    load = load_of(table, before.p99_ms, slo_ms, 1.0, before.ready, before.scale)
    weight = load.ratio * most / before.counted if before.counted > 0 else 1.0
    promised = predicted_p99(table, weight * seen.hottest, 1.0, pods, scale)
    slower = slowness(table, before.p99_ms, before.counted, 1.0, before.ready, before.scale)
    if not measured and slower < 0.99 * MOST_SLOWER:
        promised = max(promised, predicted_p99(table, seen.hottest, 1.0, pods, slower * scale))
    promised = min(promised, BEYOND * before.p99_ms)
    if abs(elsewhere - promised) < APART * before.p99_ms:
        return None
    return (elsewhere - p99_ms) / (elsewhere - promised)


def slowness(
    table: CapacityTable, p99_ms: float, counted: float, ca2: float, ready: int, scale: float
) -> float:
    """How many times slower pods would explain this p99 at this load."""
    low, high = FASTEST, MOST_SLOWER
    for _ in range(20):
        middle = math.sqrt(low * high)
        if predicted_p99(table, counted, ca2, ready, middle * scale) < p99_ms:
            low = middle
        else:
            high = middle
    return low


def set_apart(state: LawState, seen: Seen, p99_ms: float, signals: Signals) -> LawState:
    """What the model does not explain is from elsewhere, for now; pods are counted as before the raise."""
    if not math.isfinite(seen.plain_ms):
        return replace(state, raised=None, verdict=0, futile=0)
    wait = RETRY_SECONDS * 2 ** min(state.retries, MOST_DOUBLINGS)
    return replace(
        state,
        offset_ms=state.offset_ms + max(p99_ms - seen.plain_ms, 0.0),
        correction=state.proven,
        retry_at=signals.now + wait,
        retries=state.retries + 1,
        raised=None,
        verdict=0,
        evidence=(),
        excess=(),
        futile=0,
    )


def bounded(state: LawState, p99_ms: float, slo_ms: float, floor_ms: float, signals: Signals) -> LawState:
    """No delay is longer than what a request takes beyond an idle pod's time; and it is tested again."""
    if state.offset_ms == 0:
        return state
    offset = min(state.offset_ms, max(p99_ms - floor_ms, 0.0))
    if offset < WORTH_MENTION * slo_ms:
        return replace(state, offset_ms=0.0, retry_at=None, retries=0, excess=())
    if state.retry_at is not None and signals.now >= state.retry_at and p99_ms > slo_ms:
        return replace(state, offset_ms=0.0, excess=(), evidence=(), raised=None)
    return replace(state, offset_ms=offset)


def relaxed(state: LawState, seen: Seen, p99_ms: float, slo_ms: float, readings: int) -> LawState:
    """The delay shrinks to the most that the last readings say; at once where the SLO holds."""
    if state.offset_ms == 0:
        return state
    if state.offset_ms + p99_ms <= slo_ms:
        readings = 1
    excess = (*state.excess, state.offset_ms + p99_ms - seen.plain_ms)[-readings:]
    if len(excess) == readings and max(excess) < state.offset_ms:
        return replace(state, offset_ms=max(*excess, 0.0), excess=())
    return replace(state, excess=excess)
