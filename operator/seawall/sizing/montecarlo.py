"""A serving pod under random arrivals, many copies at once, as numpy arrays.

No closed form knows dynamic batching behind power-of-two dispatch, so the latency is simulated request
by request. One lane is one independent group of pods; a step gives every lane its next request, so the
Python loop runs over requests and numpy over lanes. A pod is brought up to date only when a request
looks at it: nothing that happened between could have depended on anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seawall.sizing.profile import Dispatch, PodProfile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
QUEUE = 128
"""A longer queue per pod is already far beyond any SLO: such requests count as never answered."""
SLOWEST = 0.3
"""A batch is never drawn faster than this share of its mean."""


@dataclass
class _Fleet:
    """All pods of all lanes, flat: pod p of a lane with `width` pods is at lane*width+p."""

    profile: PodProfile
    times: Floats
    width: int
    rng: np.random.Generator
    answers: Floats = field(init=False)
    free_at: Floats = field(init=False)
    running: Ints = field(init=False)
    head: Ints = field(init=False)
    tail: Ints = field(init=False)
    ring: Ints = field(init=False)

    def __post_init__(self) -> None:
        pods = self.times.shape[1] * self.width
        self.answers = np.full(self.times.shape, np.inf)
        self.free_at = np.zeros((pods, self.profile.instances))
        self.running = np.zeros((pods, self.profile.instances), dtype=np.int64)
        self.head, self.tail = np.zeros(pods, dtype=np.int64), np.zeros(pods, dtype=np.int64)
        self.ring = np.zeros((pods, QUEUE), dtype=np.int64)
        self.bound = min(QUEUE, self.profile.max_queue_size or QUEUE)

    def advance(self, pods: Ints, lanes: Ints, now: Floats) -> None:
        """Starts every batch of these pods that was due by now."""
        largest, delay = self.profile.max_batch_size, self.profile.max_queue_delay_ms
        waiting = self.tail[pods] > self.head[pods]
        pods, lanes, now = pods[waiting], lanes[waiting], now[waiting]
        while len(pods):
            head, queued = self.head[pods], self.tail[pods] - self.head[pods]
            oldest = self.times[self.ring[pods, head % QUEUE], lanes]
            start = oldest + delay
            if delay > 0:
                full = queued >= largest
                filler = self.ring[pods[full], (head[full] + largest - 1) % QUEUE]
                start[full] = np.minimum(start[full], self.times[filler, lanes[full]])
            free = self.free_at[pods]
            instance = free.argmin(axis=1)
            start = np.maximum(start, np.take_along_axis(free, instance[:, None], 1)[:, 0])
            due = start <= now
            if not due.any():
                return
            pods, lanes, now, start = pods[due], lanes[due], now[due], start[due]
            batch = np.minimum(queued[due], largest)
            self._serve(pods, lanes, instance[due], start, batch)
            more = self.tail[pods] > self.head[pods]
            pods, lanes, now = pods[more], lanes[more], now[more]

    def _serve(self, pods: Ints, lanes: Ints, instance: Ints, start: Floats, batch: Ints) -> None:
        mean, deviation = self.profile.table_ms[batch], self.profile.deviation_ms[batch]
        took = np.maximum(SLOWEST * mean, mean + deviation * self.rng.standard_normal(len(mean)))
        end = start + took
        places = np.arange(int(batch.max(initial=1)))
        inside = places < batch[:, None]
        requests = self.ring[pods[:, None], (self.head[pods][:, None] + places) % QUEUE][inside]
        lane = np.broadcast_to(lanes[:, None], inside.shape)[inside]
        ends = np.broadcast_to(end[:, None], inside.shape)[inside]
        self.answers[requests, lane] = ends - self.times[requests, lane]
        self.head[pods] += batch
        self.free_at[pods, instance] = end
        self.running[pods, instance] = batch

    def outstanding(self, pods: Ints, now: Floats) -> Ints:
        busy = self.running[pods] * (self.free_at[pods] > now[..., None])
        load: Ints = self.tail[pods] - self.head[pods] + busy.sum(axis=-1)
        return load

    def push(self, pods: Ints, request: int) -> None:
        room = pods[self.tail[pods] - self.head[pods] < self.bound]
        self.ring[room, self.tail[room] % QUEUE] = request
        self.tail[room] += 1


def simulate_pod(
    profile: PodProfile,
    rate_rps: Floats,
    ca2: Floats,
    dispatch: Dispatch,
    pods: int,
    requests: int,
    rng: np.random.Generator,
    *,
    copies: int = 1,
) -> Floats:
    """Latencies in ms, one row per pair of (rate per pod, ca2); a request never answered is inf.

    `requests` counts those measured per row, over all copies; every copy warms up first.
    """
    rate = np.repeat(np.asarray(rate_rps, float), copies)
    shape = 1.0 / np.repeat(np.asarray(ca2, float), copies)
    each = -(-requests // copies)
    warm, rest = 40 * pods, 2 * profile.max_batch_size * pods
    steps, lanes = warm + each + rest, len(rate)
    gaps = rng.standard_gamma(np.broadcast_to(shape, (steps, lanes))) / shape
    times = np.cumsum(gaps * (1000.0 / (rate * pods)), axis=0)
    fleet = _Fleet(profile, times, pods, rng)
    lane = np.arange(lanes)
    for step in range(steps):
        fleet.push(_choose(fleet, dispatch, step, lane, times[step]), step)
    everyone = np.arange(lanes * pods)
    fleet.advance(everyone, everyone // pods, np.full(lanes * pods, np.inf))
    measured = fleet.answers[warm : warm + each]
    return measured.T.reshape(len(rate_rps), -1) + profile.overhead_ms


def _choose(fleet: _Fleet, dispatch: Dispatch, step: int, lane: Ints, now: Floats) -> Ints:
    """Which pod of its lane each request goes to, brought up to date."""
    width = fleet.width
    if dispatch == "least-request" and width > 1:
        pods = lane[:, None] * width + np.arange(width)
    elif dispatch == "p2c" and width > 1:
        first = fleet.rng.integers(width, size=len(lane))
        other = (first + fleet.rng.integers(1, width, size=len(lane))) % width
        pods = lane[:, None] * width + np.stack([first, other], axis=1)
    elif dispatch == "round-robin":
        pods = (lane * width + step % width)[:, None]
    else:
        pods = (lane * width + fleet.rng.integers(width, size=len(lane)))[:, None]
    seen = pods.shape[1]
    when = np.repeat(now, seen)
    fleet.advance(pods.reshape(-1), np.repeat(lane, seen), when)
    if seen == 1:
        return pods[:, 0]
    load = fleet.outstanding(pods.reshape(-1), when).reshape(pods.shape)
    tie = fleet.rng.random(load.shape)
    best = (load + tie).argmin(axis=1)
    chosen: Ints = np.take_along_axis(pods, best[:, None], 1)[:, 0]
    return chosen
