"""What one revision's assessments remember, and how a reading becomes part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from seawall.decide.arms import Arm
from seawall.measure.types import Reading
from seawall.sizing.behavior import History
from seawall.sizing.calibration import BatchCount, Calibration, update
from seawall.sizing.learned import Learned, Seen, absorb, relearn
from seawall.sizing.profile import PodProfile
from seawall.sizing.state import LawState

CALIBRATE_SECONDS = 60.0
LEARNED_OVERHEAD_MS = 0.5
STARTS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Memory:
    """What one revision's assessments remember, in the leader's memory only."""

    law: LawState = field(default_factory=LawState)
    calibration: Calibration = field(default_factory=Calibration)
    calibrated_at: float | None = None
    calibrated_for: str = ""
    """key of the profile that the calibration is of"""
    ran: Mapping[str, tuple[BatchCount, ...]] = field(default_factory=dict)
    """since the last calibration, by pod"""
    seen: Seen = field(default_factory=dict)
    learned: Learned | None = None
    starts: Mapping[str, float] = field(default_factory=dict)
    driver: tuple[str, str] = ("", "")
    """mode and role: where they change, the law goes on from the live count, and watches it for a while"""
    history: History = field(default_factory=History)
    asked: tuple[float, int, int] | None = None
    """the last change that mode Direct wanted: when, from and to"""
    load: float | None = None
    loaded_at: float | None = None
    request_seconds: float | None = None
    """of a device, per request, as last measured"""


def profile_of(arm: Arm, memory: Memory) -> tuple[PodProfile | None, Literal["Build", "Measured", "None"]]:
    """The profile that the arm's table is to be made from, and where it is from."""
    if arm.profile is not None:
        return arm.profile, arm.profile_from
    if memory.learned is None:
        return None, "None"
    queue = replace(
        memory.learned.profile,
        max_queue_delay_ms=arm.max_queue_delay_ms,
        max_queue_size=arm.max_queue_size,
    )
    return queue, "Measured"


def observed(now: float, arm: Arm, memory: Memory) -> Memory:
    """Starts and batches taken in, and a new driver noticed."""
    starts = dict(memory.starts)
    for pod, seconds in arm.starts.items():
        starts[pod] = min(seconds, starts.get(pod, seconds))  # readiness that went and came looks longer
    driver = (arm.mode, arm.role)
    if memory.driver != driver:
        changed = memory.driver != ("", "")
        law = replace(memory.law, target=arm.replicas, direction=0, since=now) if changed else memory.law
        memory = replace(memory, driver=driver, law=law, history=History(), asked=None)
    ran = arm.reading.batches if arm.reading is not None else {}
    seen, learned = memory.seen, memory.learned
    if ran and arm.profile is None:
        seen = absorb(seen, ran)
        learned = relearn(learned, seen, arm.max_batch_size, arm.instances, LEARNED_OVERHEAD_MS)
    if memory.load is None and memory.loaded_at is None and arm.published is not None:
        memory = replace(memory, load=arm.published, loaded_at=now)
    return replace(
        memory,
        starts=dict(list(starts.items())[-STARTS_KEPT:]),
        seen=seen,
        learned=learned,
        ran=_joined(memory.ran, ran),
    )


def _joined(
    before: Mapping[str, tuple[BatchCount, ...]], ran: Mapping[str, tuple[BatchCount, ...]]
) -> dict[str, tuple[BatchCount, ...]]:
    joined = dict(before)
    for pod, entries in ran.items():
        sums = {e.size: e for e in joined.get(pod, ())}
        for e in entries:
            old = sums.get(e.size, BatchCount(e.size, 0, 0))
            sums[e.size] = BatchCount(e.size, old.count + e.count, old.nanoseconds + e.nanoseconds)
        joined[pod] = tuple(sums.values())
    return joined


def calibrated(now: float, memory: Memory, profile: PodProfile | None, reading: Reading | None) -> Memory:
    if profile is None:
        return replace(memory, ran={})
    if reading is None:
        return memory
    if memory.calibrated_for != profile.key:
        # Of another profile: its factor says nothing of this one.
        fresh = memory.calibrated_for != ""
        memory = replace(memory, calibrated_for=profile.key, calibrated_at=now)
        return replace(memory, calibration=Calibration(), ran={}) if fresh else memory
    if memory.calibrated_at is not None and now - memory.calibrated_at < CALIBRATE_SECONDS:
        return memory
    ran = [entry for pod in memory.ran.values() for entry in pod]
    requests = sum(e.size * e.count for e in ran)
    seconds = sum(e.nanoseconds for e in ran) / 1e9
    return replace(
        memory,
        calibration=update(memory.calibration, profile, memory.ran),
        calibrated_at=now,
        ran={},
        request_seconds=seconds / requests if requests else memory.request_seconds,
    )


def service_scale(memory: Memory) -> float | None:
    return memory.calibration.scale if memory.calibration.trusted else None


def cold_start(arm: Arm, memory: Memory) -> float:
    """p90 of what pods have shown."""
    if not memory.starts:
        return arm.cold_start_seconds
    return float(np.quantile(list(memory.starts.values()), 0.9, method="higher"))
