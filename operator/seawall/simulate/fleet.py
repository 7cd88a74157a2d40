"""The pods of one simulated service: they start, serve, drain and go, and somebody pays for all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seawall.simulate import kernel
from seawall.simulate.layout import Floats, Ints, Setup, State, Words
from seawall.sizing.profile import Dispatch, PodProfile

CANARY_SHARE = 0.1
FIRST_NODES = 4096
MOST_CONNECTIONS = 4096
SUMMARY_EPOCHS = 5
"""Triton's summaries forget a fifth of their minute at a time."""


@dataclass(frozen=True)
class World:
    """What the pods are really like, whatever the profile says that the policies are given."""

    profile: PodProfile
    slo_ms: float
    dispatch: Dispatch = "p2c"
    cold_start_seconds: float = 60.0
    drain_seconds: float = 5.0
    """between the last request that a pod is given and its end, at least"""
    canary_slower: float = 0.0
    """0.1: one pod in ten, and one at least, takes a tenth longer"""
    summaries: bool = False
    """latencies are told by every pod's own sliding p99 and not by a histogram"""
    connections: int | None = None
    """opened at the start, to random pods; each stays with its pod and carries one request at a time, and a
    new one is opened when all of them are taken; None: requests are dispatched one by one"""


@dataclass
class PodRecord:
    slot: int
    created: float
    ready_at: float
    state: Literal["starting", "ready", "leaving"]
    slow: bool
    leaves_at: float = math.inf


def bucket_bounds(slo_ms: float) -> tuple[float, ...]:
    """Edges in ms of the histogram that the policies see: fine around the SLO, coarse elsewhere."""
    below = [slo_ms * percent / 100 for percent in (10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)]
    above = [slo_ms * percent / 100 for percent in (105, 110, 115, 120, 135, 160, 200, 300, 500, 1000, 2500)]
    return (*below, slo_ms, *above)


def random_words(*seed: int) -> Words:
    """State of the kernel's generator; never zero, which it could not leave."""
    return np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1)


def setup_of(world: World, bounds_ms: Sequence[float]) -> Setup:
    profile = world.profile
    return Setup(
        mean=profile.table_ms / 1e3,
        std=profile.deviation_ms / 1e3,
        batch=profile.max_batch_size,
        instances=profile.instances,
        delay=profile.max_queue_delay_ms / 1e3,
        queue=profile.max_queue_size or 0,
        overhead=profile.overhead_ms / 1e3,
        slo=world.slo_ms / 1e3,
        dispatch=kernel.DISPATCHES[world.dispatch] if world.connections is None else kernel.PINNED,
        bucket=_bucket_of_bin(world.slo_ms, bounds_ms),
        own=int(world.summaries),
    )


def bin_edges_ms(slo_ms: float) -> Floats:
    """Upper edges of the fine bins."""
    width = slo_ms / kernel.LINEAR_PER_SLO
    linear = np.arange(1, kernel.LINEAR_BINS + 1) * width
    return np.concatenate([linear, linear[-1] * kernel.LOG_STEP ** np.arange(1, kernel.LOG_BINS + 1)])


def _bucket_of_bin(slo_ms: float, bounds_ms: Sequence[float]) -> Ints:
    return np.searchsorted(np.asarray(bounds_ms) * (1 + 1e-9), bin_edges_ms(slo_ms) * (1 - 1e-9))


class Fleet:
    """Serves arrivals with as many pods as it is told to have."""

    def __init__(self, world: World, seconds: float, replicas: int, seed: int) -> None:
        self.world = world
        self.bounds_ms = bucket_bounds(world.slo_ms)
        self.setup = setup_of(world, self.bounds_ms)
        self.seconds = seconds
        self.now = 0.0
        self.spec = replicas
        self.pods: list[PodRecord] = []
        self.pod_seconds = 0.0
        self._ready = np.zeros(0, np.int64)
        self.state = self._empty(seconds, max(16, 2 * replicas), seed)
        for _ in range(replicas):
            self._create(0.0, 0.0)
        self._promote()
        if world.connections and replicas:
            opened = min(world.connections, MOST_CONNECTIONS)
            self.state.pod_of[:opened] = np.random.default_rng([seed, 2]).choice(self._ready, opened)
            self.state.tally[kernel.OPENED] = opened

    def hinder(self, milliseconds: float) -> None:
        """From now on every request takes so much longer, and no pod knows of it."""
        overhead = (self.world.profile.overhead_ms + milliseconds) / 1e3
        if overhead != self.setup.overhead:
            self.setup = self.setup._replace(overhead=overhead)

    def scale(self, replicas: int) -> None:
        """As a ReplicaSet does: pods that are not ready go first, then the youngest."""
        staying = [pod for pod in self.pods if pod.state != "leaving"]
        for _ in range(replicas - len(staying)):
            self._create(self.now, self.now + self.world.cold_start_seconds)
        staying.sort(key=lambda pod: (pod.state == "ready", -pod.created))
        for pod in staying[: max(0, len(staying) - replicas)]:
            if pod.state == "starting":
                self.pods.remove(pod)
            else:
                pod.state, pod.leaves_at = "leaving", self.now + self.world.drain_seconds
                self.state.pod_of[self.state.pod_of == pod.slot] = -1
        self.spec = replicas
        self._promote()

    def run(self, arrivals: Floats, until: float, drift: float = 1.0) -> None:
        """Arrivals in [now, until), sorted; no pod may become ready strictly between (see next_change)."""
        self._room_for(len(arrivals))
        self.pod_seconds += len(self.pods) * (until - self.now)
        kernel.serve(self.setup, self.state, self._ready, arrivals, until, drift)
        self.now = until
        self._promote(drift)

    def next_change(self) -> float:
        return min((pod.ready_at for pod in self.pods if pod.state == "starting"), default=math.inf)

    def waiting(self) -> int:
        return int(self.state.waiting.sum())

    def inside(self) -> int:
        """Requests waiting or being worked on."""
        return int(self.state.outstanding.sum())

    def request_seconds(self) -> float:
        """Integral of `inside` since the start: mean concurrency is a difference of this over time."""
        total = self.state.total
        return float(total[kernel.DEPARTED] - total[kernel.ARRIVED] + self.inside() * self.now)

    def ready(self) -> int:
        return len(self._ready)

    def served(self, first: int, last: int) -> Ints:
        """Answers of each ready pod between two scrapes."""
        return np.asarray(self.state.served[self._ready, first:last].sum(axis=1))

    def summary_p99_ms(self) -> float | None:
        """The slowest ready pod's own p99, over the 48 to 60 s that a summary remembers."""
        newest = int(self.now / kernel.EPOCH_SECONDS)
        slowest = None
        for slot in self._ready:
            epochs = self.state.epoch[slot]
            kept = (epochs > newest - SUMMARY_EPOCHS) & (epochs <= newest)
            counts = np.cumsum(self.state.summary[slot, kept].sum(axis=0))
            if counts[-1] > 0:
                place = int(np.searchsorted(counts, 0.99 * counts[-1], side="left"))
                p99 = float(bin_edges_ms(self.world.slo_ms)[place])
                slowest = p99 if slowest is None else max(slowest, p99)
        return slowest

    def starting(self) -> int:
        return sum(1 for pod in self.pods if pod.state == "starting")

    def _promote(self, drift: float = 1.0) -> None:
        for pod in list(self.pods):
            if pod.state == "starting" and pod.ready_at <= self.now:
                pod.state = "ready"
            elif pod.state == "leaving":
                kernel.drain(self.setup, self.state, pod.slot, self.now, drift)
                if pod.leaves_at <= self.now and self.state.outstanding[pod.slot] == 0:
                    self.pods.remove(pod)
        self._ready = np.array([pod.slot for pod in self.pods if pod.state == "ready"], np.int64)

    def _create(self, now: float, ready_at: float) -> None:
        taken = {pod.slot for pod in self.pods}
        slot = next((n for n in range(len(self.state.first)) if n not in taken), None)
        if slot is None:
            slot = len(self.state.first)
            self._more_slots()
        slow = self._is_slow()
        self.state.slow[slot] = 1.0 + (self.world.canary_slower if slow else 0.0)
        self.state.epoch[slot] = -1
        self.pods.append(PodRecord(slot, now, ready_at, "starting", slow))

    def _is_slow(self) -> bool:
        alive = [pod for pod in self.pods if pod.state != "leaving"]
        wanted = max(1, math.floor(CANARY_SHARE * (len(alive) + 1)))
        return self.world.canary_slower > 0 and sum(pod.slow for pod in alive) < wanted

    def _empty(self, seconds: float, slots: int, seed: int) -> State:
        scrapes = int(seconds / kernel.SCRAPE_SECONDS) + 2
        minutes = int(seconds / 60.0) + 2
        size, instances = self.setup.batch + 1, self.setup.instances
        epochs, bins = (kernel.EPOCHS, kernel.BINS) if self.world.summaries else (1, 1)
        return State(
            words=random_words(seed, 1),
            tally=np.zeros(7, np.int64),
            total=np.zeros(3),
            arrival=np.zeros(FIRST_NODES),
            after=np.arange(1, FIRST_NODES + 1, dtype=np.int64),
            first=np.zeros(slots, np.int64),
            last=np.zeros(slots, np.int64),
            waiting=np.zeros(slots, np.int64),
            outstanding=np.zeros(slots, np.int64),
            idle=np.full(slots, instances, np.int64),
            due=np.full(slots, np.inf),
            until=np.zeros((slots, instances)),
            held=np.zeros((slots, instances), np.int64),
            slow=np.ones(slots),
            histogram=np.zeros(kernel.BINS, np.int64),
            scraped=np.zeros((scrapes, len(self.bounds_ms) + 1), np.int64),
            ended=np.zeros(scrapes, np.int64),
            busy=np.zeros(scrapes),
            offered=np.zeros(int(seconds) + 2, np.int64),
            refused=np.zeros(int(seconds) + 2, np.int64),
            batches=np.zeros((scrapes, size), np.int64),
            batch_seconds=np.zeros((scrapes, size)),
            minute=np.zeros(minutes, np.int64),
            minute_good=np.zeros(minutes, np.int64),
            served=np.zeros((slots, scrapes), np.int64),
            summary=np.zeros((slots, epochs, bins), np.int64),
            epoch=np.full((slots, epochs), -1, np.int64),
            connection=np.full(FIRST_NODES, -1, np.int64),
            pod_of=np.full(MOST_CONNECTIONS, -1, np.int64),
            idle_at=np.zeros(MOST_CONNECTIONS),
        )

    def _room_for(self, arrivals: int) -> None:
        """Every waiting request has a node; the free ones are a list of their own."""
        nodes = len(self.state.arrival)
        needed = self.waiting() + arrivals + 1
        if needed < nodes:
            return
        more = max(needed, 2 * nodes) - nodes
        after = np.concatenate([self.state.after, np.arange(nodes + 1, nodes + more + 1, dtype=np.int64)])
        after[-1] = self.state.tally[kernel.FREE]
        self.state.tally[kernel.FREE] = nodes
        arrival = np.concatenate([self.state.arrival, np.zeros(more)])
        connection = np.concatenate([self.state.connection, np.full(more, -1, np.int64)])
        self.state = self.state._replace(arrival=arrival, after=after, connection=connection)

    def _more_slots(self) -> None:
        old = self.state
        count = len(old.first)

        def longer(name: str, fill: float) -> object:
            array = getattr(old, name)
            return np.concatenate([array, np.full_like(array, fill)])

        fills = {"first": 0, "last": 0, "waiting": 0, "outstanding": 0, "idle": self.setup.instances}
        grown = {name: longer(name, fill) for name, fill in fills.items()}
        fills = {"until": 0, "held": 0, "served": 0, "summary": 0, "epoch": -1}
        grown |= {name: longer(name, fill) for name, fill in fills.items()} | {"due": longer("due", np.inf)}
        self.state = old._replace(**grown, slow=np.concatenate([old.slow, np.ones(count)]))  # type: ignore[arg-type]
