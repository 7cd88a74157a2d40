"""The profile held against the running pods: service times from Triton's batch statistics.

Triton counts, for every batch size, how many batches ran and how many nanoseconds they took. The difference
of two readings is the service time now, for free. Small samples, one slow pod or a restart must not move the
capacity, so sizes are weighted by what they carry, outliers are cut, and changes are smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seawall.sizing.profile import PodProfile

SMOOTHING = 0.3
ALARM = 0.10
"""A service time this far from the profile's is a drift."""
FEWEST_BATCHES = 30
"""Of one size, in one difference, for its mean to count."""
LEAST_SCALE, MOST_SCALE = 0.2, 5.0
CUT = 3.0
"""Ratios further from the median than this many deviations are left out."""
TRUSTED = 0.5
WIDEST_MARGIN = 0.10
CONFIDENT_BATCHES = 2_000.0


@dataclass(frozen=True, slots=True)
class BatchCount:
    """Triton's counters of one batch size since the model was loaded."""

    size: int
    count: int
    nanoseconds: int
    """compute_input, compute_infer and compute_output together"""


@dataclass(frozen=True, slots=True)
class Calibration:
    scale: float = 1.0
    """service time now, as a multiple of the profile's: Signals.service_scale"""
    batches: float = 0.0
    """how many batches stand behind it, older ones counting less"""
    spread: float = 0.0
    """deviation of the last readings from the smoothed scale, relative"""
    drifted: bool = False
    message: str = ""

    @property
    def confidence(self) -> float:
        """0 without measurements, towards 1 with many that agree."""
        amount = self.batches / (self.batches + CONFIDENT_BATCHES)
        return amount / (1 + 10 * self.spread)

    @property
    def trusted(self) -> bool:
        """Enough batches agree for the measured service times to replace the profile's."""
        return self.confidence >= TRUSTED

    @property
    def margin(self) -> float:
        """Share of the SLO to keep free while the service time is not known well, and nothing once it is:
        LawSettings.margin."""
        return WIDEST_MARGIN * max(0.0, 1 - self.confidence / TRUSTED)


def difference(before: Sequence[BatchCount], after: Sequence[BatchCount]) -> list[BatchCount]:
    """What ran between two readings of one pod; a counter that fell was reset and counts from zero."""
    old = {entry.size: entry for entry in before}
    ran = []
    for entry in after:
        then = old.get(entry.size)
        reset = then is None or entry.count < then.count or entry.nanoseconds < then.nanoseconds
        count = entry.count if reset or then is None else entry.count - then.count
        spent = entry.nanoseconds if reset or then is None else entry.nanoseconds - then.nanoseconds
        if entry.size > 0 and count > 0 and spent > 0:
            ran.append(BatchCount(entry.size, count, spent))
    return ran


def measure(profile: PodProfile, pods: Mapping[str, Sequence[BatchCount]]) -> tuple[float, float] | None:
    """The factor between the profile and these differences, robustly, and the batches behind it.

    Every pod and batch size gives one ratio, weighted by its time; the weighted median decides, after
    ratios far from it are cut. None where too little ran.
    """
    ratios, weights, batches = [], [], 0
    for ran in pods.values():
        for entry in ran:
            if entry.count < FEWEST_BATCHES or not 1 <= entry.size <= profile.max_batch_size:
                continue
            mean = entry.nanoseconds / entry.count / 1e6
            ratios.append(mean / profile.service_time(entry.size))
            weights.append(float(entry.nanoseconds))
            batches += entry.count
    if not ratios:
        return None
    values, mass = np.asarray(ratios), np.asarray(weights)
    middle = _weighted_median(values, mass)
    deviation = max(1.4826 * _weighted_median(np.abs(values - middle), mass), 0.01 * middle)
    kept = np.abs(values - middle) <= CUT * deviation
    factor = float((values[kept] * mass[kept]).sum() / mass[kept].sum())
    return (factor, float(batches)) if LEAST_SCALE <= factor <= MOST_SCALE else None


def fit(ran: Sequence[BatchCount]) -> tuple[float, float] | None:
    """tau0 and alpha in ms of s(b) = tau0 + alpha*b by weighted least squares; None below two sizes."""
    used = [entry for entry in ran if entry.count >= FEWEST_BATCHES]
    if len({entry.size for entry in used}) < 2:
        return None
    size = np.asarray([entry.size for entry in used], float)
    mean = np.asarray([entry.nanoseconds / entry.count / 1e6 for entry in used])
    weight = np.asarray([entry.count for entry in used], float)
    for _ in range(3):
        total = weight.sum()
        centre, middle = (weight * size).sum() / total, (weight * mean).sum() / total
        alpha = (weight * (size - centre) * (mean - middle)).sum() / (weight * (size - centre) ** 2).sum()
        tau0 = middle - alpha * centre
        residual = np.abs(mean - tau0 - alpha * size)
        typical = max(float(np.median(residual)), 0.01 * middle)
        weight = np.asarray([entry.count for entry in used]) / np.maximum(1.0, residual / typical)
    alpha = max(float(alpha), 0.0)
    return max(float(middle - alpha * centre), 0.0), alpha


def update(state: Calibration, profile: PodProfile, pods: Mapping[str, Sequence[BatchCount]]) -> Calibration:
    """The calibration after one more set of differences, one per pod."""
    found = measure(profile, pods)
    if found is None:
        return state
    factor, batches = found
    first = state.batches == 0
    scale = factor if first else state.scale + SMOOTHING * (factor - state.scale)
    away = abs(factor / scale - 1)
    spread = away if first else state.spread + SMOOTHING * (away - state.spread)
    drifted = abs(scale - 1) > ALARM
    message = ""
    if drifted:
        direction = "slower" if scale > 1 else "faster"
        message = f"Batches run {abs(scale - 1):.0%} {direction} than the profile says: measure it again."
    return replace(
        state,
        scale=scale,
        batches=(1 - SMOOTHING) * state.batches + batches,
        spread=spread,
        drifted=drifted,
        message=message,
    )


def _weighted_median(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(reached, reached[-1] / 2))])


def overhead_ms(
    request_ms: float, queue_ms: float, compute_ms: float, gateway_ms: float = 0.0
) -> float | None:
    """What a request takes besides waiting and computing, from means; None where these contradict."""
    parts = (request_ms, queue_ms, compute_ms, gateway_ms)
    if not all(math.isfinite(part) and part >= 0 for part in parts) or request_ms < queue_ms + compute_ms:
        return None
    return request_ms - queue_ms - compute_ms + gateway_ms
