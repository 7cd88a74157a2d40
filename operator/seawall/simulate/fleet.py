"""The pods of one simulated service: they start, serve, drain and go, and somebody pays for all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seawall.simulate import kernel
from seawall.simulate.kernel import Floats, Setup, State, Words
from seawall.sizing.profile import Dispatch, PodProfile

CANARY_SHARE = 0.1
FIRST_NODES = 4096


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
        dispatch=kernel.DISPATCHES[world.dispatch],
        bucket=_bucket_of_bin(world.slo_ms, bounds_ms),
    )


def bin_edges_ms(slo_ms: float) -> Floats:
    """Upper edges of the fine bins."""
    width = slo_ms / kernel.LINEAR_PER_SLO
    linear = np.arange(1, kernel.LINEAR_BINS + 1) * width
    return np.concatenate([linear, linear[-1] * kernel.LOG_STEP ** np.arange(1, kernel.LOG_BINS + 1)])


def _bucket_of_bin(slo_ms: float, bounds_ms: Sequence[float]) -> kernel.Ints:
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
        self.pods.append(PodRecord(slot, now, ready_at, "starting", slow))

    def _is_slow(self) -> bool:
        alive = [pod for pod in self.pods if pod.state != "leaving"]
        wanted = max(1, math.floor(CANARY_SHARE * (len(alive) + 1)))
        return self.world.canary_slower > 0 and sum(pod.slow for pod in alive) < wanted

    def _empty(self, seconds: float, slots: int, seed: int) -> State:
        scrapes = int(seconds / kernel.SCRAPE_SECONDS) + 2
        minutes = int(seconds / 60.0) + 2
        size, instances = self.setup.batch + 1, self.setup.instances
        return State(
            words=random_words(seed, 1),
            tally=np.zeros(6, np.int64),
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
        self.state = self.state._replace(arrival=arrival, after=after)

    def _more_slots(self) -> None:
        old = self.state
        count = len(old.first)

        def longer(name: str, fill: float) -> object:
            array = getattr(old, name)
            return np.concatenate([array, np.full_like(array, fill)])

        fills = {"first": 0, "last": 0, "waiting": 0, "outstanding": 0, "idle": self.setup.instances}
        grown = {name: longer(name, fill) for name, fill in fills.items()}
        grown |= {"due": longer("due", np.inf), "until": longer("until", 0), "held": longer("held", 0)}
        self.state = old._replace(**grown, slow=np.concatenate([old.slow, np.ones(count)]))  # type: ignore[arg-type]
