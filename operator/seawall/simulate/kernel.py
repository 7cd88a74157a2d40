"""The inner loop: every request, every batch, one at a time, in machine code.

Pods share nothing but the dispatcher, so none is advanced before somebody looks at it: an arrival brings up
to date the pods among which it chooses, and nothing else. There is no event queue at all.
Arrays are taken out of the state once per call: each look through the tuple costs two atomic operations.
All times are seconds since the start of the run. A batch's outcome is known when it starts, and is recorded
then, under the time at which it will end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seawall.simulate.jit import compiled, compiled_inline
from seawall.simulate.layout import Floats, Ints, Setup, State, Words

__all__ = ["Floats", "Ints", "Setup", "State", "Words"]

RANDOM, ROUND_ROBIN, LEAST_REQUEST, P2C, PINNED = range(5)
DISPATCHES = {"random": RANDOM, "round-robin": ROUND_ROBIN, "least-request": LEAST_REQUEST, "p2c": P2C}

SCRAPE_SECONDS = 5.0
LINEAR_PER_SLO = 200
LINEAR_BINS = 10 * LINEAR_PER_SLO
LOG_STEP = 1.02
LOG_BINS = 700
FASTEST = 0.3  # of its mean: no batch is drawn faster
BINS = LINEAR_BINS + LOG_BINS
EPOCH_SECONDS = 12.0
EPOCHS = 16
"""Kept of a pod's own latencies: more than are read, since a batch is recorded when it starts."""

# Places in `tally` and in `total`.
FREE, TURN, REJECTED, UNSERVED, OFFERED, GOOD, OPENED = range(7)
ARRIVED, DEPARTED, LATENCY = range(3)


@compiled_inline
def _draw(words: Any) -> Any:
    """Uniform in [0, 1): xorshift64*."""
    x = words[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    words[0] = x
    return np.float64((x * np.uint64(2685821657736338717)) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def poisson(words: Any, rates: Any, step: float, start: float, end: float, out: Any) -> int:
    """Arrival times in [start, end) at rates that are constant within each step. Returns how many.

    Stops early, with len(out), where `out` is too short.
    """
    n = 0
    now = start
    while now < end:
        index = min(int(now / step + 1e-9), len(rates) - 1)
        edge = min(end, (index + 1) * step)
        if index == len(rates) - 1:
            edge = end
        rate = rates[index]
        if rate > 0.0:
            at = now - math.log(1.0 - _draw(words)) / rate
            while at < edge:
                if n == len(out):
                    return n
                out[n] = at
                n += 1
                at -= math.log(1.0 - _draw(words)) / rate
        now = edge
    return n


@compiled_inline
def _bin(latency: float, slo: float) -> int:
    linear = latency * (LINEAR_PER_SLO / slo)
    if linear < LINEAR_BINS:
        return int(linear)
    place = LINEAR_BINS + int(math.log(linear / LINEAR_BINS) / math.log(LOG_STEP))
    return min(place, BINS - 1)


@compiled_inline
def _turn(state: State, pod: int, epoch: int) -> int:
    """Where this epoch of a pod's own latencies is kept; what was there is too old."""
    turn = epoch % EPOCHS
    if state.epoch[pod, turn] != epoch:
        state.epoch[pod, turn] = epoch
        state.summary[pod, turn, :] = 0
    return turn


@compiled_inline
def _start(setup: Setup, state: State, pod: int, now: float, drift: float) -> None:
    """An idle instance takes a batch."""
    batch, bucket, mean = setup.batch, setup.bucket, setup.mean
    overhead, slo, std, after = setup.overhead, setup.slo, setup.std, state.after
    arrival, batches, batch_seconds = state.arrival, state.batches, state.batch_seconds
    busy, ended, first, served = state.busy, state.ended, state.first, state.served
    held, histogram, idle = state.held, state.histogram, state.idle
    minute_good, scraped, slow = state.minute_good, state.scraped, state.slow
    tally, total, until = state.tally, state.total, state.until
    waiting, words, connection = state.waiting, state.words, state.connection
    idle_at, summary = state.idle_at, state.summary
    pinned, own, place = setup.dispatch == PINNED, setup.own > 0, 0
    while held[pod, place] > 0:
        place += 1
    size = min(waiting[pod], batch)
    seconds = mean[size]
    if std[size] > 0.0:
        radius = math.sqrt(-2.0 * math.log(1.0 - _draw(words)))
        seconds += std[size] * radius * math.cos(2.0 * math.pi * _draw(words))
        seconds = max(seconds, FASTEST * mean[size])
    seconds *= drift * slow[pod]
    end = now + seconds
    scrape = min(int(end / SCRAPE_SECONDS), len(ended) - 1)
    turn = _turn(state, pod, int(end / EPOCH_SECONDS)) if own else 0
    node = first[pod]
    for _ in range(size):
        came = arrival[node]
        latency = end - came + overhead
        place_in = _bin(latency, slo)
        histogram[place_in] += 1
        scraped[scrape, bucket[place_in]] += 1
        total[LATENCY] += latency
        if own:
            summary[pod, turn, place_in] += 1
        if pinned and connection[node] >= 0:
            idle_at[connection[node]] = end + overhead
        if latency <= slo:
            tally[GOOD] += 1
            minute_good[int(came / 60.0)] += 1
        following = after[node]
        after[node], tally[FREE] = tally[FREE], node
        node = following
    first[pod] = node
    waiting[pod] -= size
    ended[scrape] += size
    served[pod, scrape] += size
    busy[scrape] += seconds
    batches[scrape, size] += 1
    batch_seconds[scrape, size] += seconds
    until[pod, place] = end
    held[pod, place] = size
    idle[pod] -= 1


@compiled_inline
def _next(setup: Setup, state: State, pod: int) -> float:
    delay, instances = setup.delay, setup.instances
    arrival, first, held = state.arrival, state.first, state.held
    idle, until, waiting = state.idle, state.until, state.waiting
    due = np.inf
    for place in range(instances):
        if held[pod, place] > 0:
            due = min(due, until[pod, place])
    if idle[pod] > 0 and waiting[pod] > 0:
        due = min(due, arrival[first[pod]] + delay)
    return due


@compiled_inline
def _advance(setup: Setup, state: State, pod: int, now: float, drift: float) -> None:
    """All that happens in one pod up to `now`."""
    instances = setup.instances
    due, held, idle = state.due, state.held, state.idle
    outstanding, total, until = state.outstanding, state.total, state.until
    while due[pod] <= now:
        at = due[pod]
        for place in range(instances):
            if held[pod, place] > 0 and until[pod, place] <= at:
                outstanding[pod] -= held[pod, place]
                total[DEPARTED] += held[pod, place] * until[pod, place]
                held[pod, place] = 0
                idle[pod] += 1
        while idle[pod] > 0 and _ripe(setup, state, pod, at):
            _start(setup, state, pod, at, drift)
        due[pod] = _next(setup, state, pod)


@compiled_inline
def _ripe(setup: Setup, state: State, pod: int, now: float) -> bool:
    batch, delay = setup.batch, setup.delay
    arrival, first, waiting = state.arrival, state.first, state.waiting
    if waiting[pod] == 0:
        return False
    if waiting[pod] >= batch or delay <= 0.0:
        return True
    return bool(arrival[first[pod]] + delay <= now)


@compiled_inline
def _choose(setup: Setup, state: State, ready: Any, now: float, drift: float) -> int:
    """The least loaded of those that the dispatcher looks at, each brought up to date first."""
    dispatch, words, tally = setup.dispatch, state.words, state.tally
    due, outstanding = state.due, state.outstanding
    pods = len(ready)
    first_place, other_place, seen = 0, 0, 1
    if dispatch in (RANDOM, P2C, PINNED):
        first_place = int(_draw(words) * pods)
        if dispatch == P2C and pods > 1:
            seen = 2
            other_place = int(_draw(words) * (pods - 1))
            if other_place >= first_place:
                other_place += 1
    else:
        # Ties go on in turn: the first pod of the list must not be everybody's favourite.
        first_place = (tally[TURN] + 1) % pods
        tally[TURN] = first_place
        if dispatch == LEAST_REQUEST:
            seen = pods
    chosen, least = np.int64(-1), np.int64(2**62)
    for step in range(seen):
        place = first_place + step
        if step == 1 and dispatch == P2C:
            place = other_place
        elif place >= pods:
            place -= pods
        pod = ready[place]
        if due[pod] <= now:
            _advance(setup, state, pod, now, drift)
        if outstanding[pod] < least:
            chosen, least = pod, outstanding[pod]
    return int(chosen)


@compiled_inline
def _connection(setup: Setup, state: State, ready: Any, now: float, drift: float) -> int:
    """An open connection that is idle, any of them; where there is none a new one, to any ready pod.

    -1 where no more can be opened: that request comes alone.
    """
    words, tally, due = state.words, state.tally, state.due
    pod_of, idle_at = state.pod_of, state.idle_at
    for pod in ready:
        if due[pod] <= now:
            _advance(setup, state, pod, now, drift)
    opened = tally[OPENED]
    free = np.int64(-1)
    start = int(_draw(words) * opened)
    for step in range(opened):
        place = start + step
        if place >= opened:
            place -= opened
        if idle_at[place] <= now:
            if pod_of[place] >= 0:
                return int(place)
            free = np.int64(place)
    if free < 0:
        if opened == len(pod_of):
            return -1
        free = np.int64(opened)
        tally[OPENED] = opened + 1
    pod_of[free] = ready[int(_draw(words) * len(ready))]
    return int(free)


@compiled
def serve(setup: Setup, state: State, ready: Any, arrivals: Any, end: float, drift: float) -> None:
    """These arrivals, in order, and everything in the ready pods up to `end`."""
    queue = setup.queue
    after, arrival, due = state.after, state.arrival, state.due
    first, idle, last = state.first, state.idle, state.last
    minute, offered, outstanding = state.minute, state.offered, state.outstanding
    refused, tally, total = state.refused, state.tally, state.total
    waiting, connection = state.waiting, state.connection
    pinned = setup.dispatch == PINNED
    for came in arrivals:
        minute[int(came / 60.0)] += 1
        offered[int(came)] += 1
        tally[OFFERED] += 1
        if len(ready) == 0:
            tally[UNSERVED] += 1
            refused[int(came)] += 1
            continue
        line = -1
        if pinned:
            line = _connection(setup, state, ready, came, drift)
        pod = state.pod_of[line] if line >= 0 else _choose(setup, state, ready, came, drift)
        if queue > 0 and waiting[pod] >= queue and idle[pod] == 0:
            tally[REJECTED] += 1
            refused[int(came)] += 1
            continue
        node = tally[FREE]
        tally[FREE] = after[node]
        arrival[node] = came
        if pinned:
            connection[node] = line
            if line >= 0:
                state.idle_at[line] = np.inf
        if waiting[pod] == 0:
            first[pod] = node
        else:
            after[last[pod]] = node
        last[pod] = node
        waiting[pod] += 1
        outstanding[pod] += 1
        total[ARRIVED] += came
        if idle[pod] > 0:
            if _ripe(setup, state, pod, came):
                _start(setup, state, pod, came, drift)
            due[pod] = _next(setup, state, pod)
    for pod in ready:
        if due[pod] <= end:
            _advance(setup, state, pod, end, drift)


@compiled
def drain(setup: Setup, state: State, pod: int, now: float, drift: float) -> None:
    """All that happens up to `now` in a pod that gets no more requests."""
    _advance(setup, state, pod, now, drift)
