"""Queue delay, queue bound and instances, where the manifest says `auto`, from the same pod model.

A delay only pays where it lets fuller batches in without costing the SLO; behind a busy pod the batches
fill by themselves. So candidates are simulated and the one with the larger capacity wins, with a bias
towards the simpler setting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from seawall.sizing.capacity import REQUESTS, capacity_of
from seawall.sizing.profile import Dispatch, PodProfile

DELAYS = (0.0, 0.02, 0.05, 0.1)
"""Candidates, as shares of the SLO."""
WORTH = 1.05
"""A delay must carry this much more to be worth having; less is the noise of the simulation."""


@dataclass(frozen=True, slots=True)
class Batching:
    max_queue_delay_us: int
    max_queue_size: int
    instances: int
    capacity_rps: float
    """per pod, with these settings"""
    message: str


def queue_bound(profile: PodProfile, slo_ms: float, capacity_rps: float) -> int:
    """The longest queue whose last request can still be answered within the SLO, and one batch at least.

    lambda* times the time left after its own batch; but never shorter than what full batches empty in that
    time, or a burst that the pod could serve would be refused.
    """
    own = profile.service_time(profile.max_batch_size)
    left = max(slo_ms - own - profile.overhead_ms, 0.0)
    rate = max(capacity_rps, profile.limit_rps)
    return max(profile.instances * profile.max_batch_size, math.ceil(rate * left / 1000.0))


def choose(
    measured: Mapping[int, PodProfile],
    dispatch: Dispatch,
    slo_ms: float,
    seed: int = 0,
    requests: int = REQUESTS,
) -> Batching | None:
    """The best of the measured instance counts, each with its own profile; None where no SLO can be met."""
    best: tuple[float, PodProfile] | None = None
    for _, profile in sorted(measured.items()):
        for share in DELAYS:
            tried = replace(profile, max_queue_delay_ms=share * slo_ms)
            carried = capacity_of(tried, dispatch, slo_ms, seed, requests)
            if carried > 0 and (best is None or carried > best[0] * WORTH):
                best = carried, tried
    if best is None:
        return None
    carried, profile = best
    bound = queue_bound(profile, slo_ms, carried)
    delay = round(profile.max_queue_delay_ms * 1000)
    waits = f"waiting up to {delay} us fills batches" if delay else "batches fill without waiting"
    return Batching(
        max_queue_delay_us=delay,
        max_queue_size=bound,
        instances=profile.instances,
        capacity_rps=carried,
        message=f"{profile.instances} instances carry {carried:.0f} requests/s a pod; {waits};"
        f" a request behind {bound} others would be late.",
    )
