"""A profile for a pod that nobody has measured: learned from what its own batches take.

Triton counts batches and their time by size while it serves. What was seen is taken as it is, sizes between
two that were seen lie on the line between them. The line through all of them is believed for one doubling
beyond the largest, and after that no gain from batching is assumed: a batch twice as large takes twice as
long. So a learned profile errs towards more pods, but not so far that larger batches never come to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seawall.sizing.calibration import BatchCount
from seawall.sizing.profile import LARGEST_BATCH, PodProfile

FEWEST_BATCHES = 200
"""Over all sizes, before anything is built on them."""
FEWEST_OF_A_SIZE = 10
ASSUMED_SPREAD = 0.1
"""Standard deviation of a service time as a share of its mean: Triton tells sums, not spreads."""
MOST_REMEMBERED = 50_000
"""Batches; beyond that all are halved, so that what is new counts."""
WEIGHT = 0.01
"""Share of all batches from which a size that was not seen before is worth a new profile."""
MOVED = 0.15

Seen = Mapping[int, tuple[float, float]]
"""size -> (batches, nanoseconds)"""


def absorb(seen: Seen, pods: Mapping[str, Sequence[BatchCount]]) -> dict[int, tuple[float, float]]:
    """What is known with one more set of differences, one per pod."""
    known = dict(seen)
    for ran in pods.values():
        for entry in ran:
            if entry.count > 0 and entry.nanoseconds > 0 and 1 <= entry.size <= LARGEST_BATCH:
                count, spent = known.get(entry.size, (0.0, 0.0))
                known[entry.size] = (count + entry.count, spent + entry.nanoseconds)
    if sum(count for count, _ in known.values()) > MOST_REMEMBERED:
        known = {size: (count / 2, spent / 2) for size, (count, spent) in known.items()}
    return known


def learned_profile(
    batches: Seen, max_batch_size: int | None, instances: int, overhead_ms: float
) -> PodProfile | None:
    """None until enough has run. Without a largest batch given, the largest one seen is the largest."""
    counted = {
        size: (count, spent)
        for size, (count, spent) in sorted(batches.items())
        if count >= FEWEST_OF_A_SIZE and (max_batch_size is None or size <= max(max_batch_size, 1))
    }
    if sum(count for count, _ in counted.values()) < FEWEST_BATCHES:
        return None
    sizes = list(counted)
    # A larger batch that looks faster is noise: the profile may not promise it.
    mean = np.maximum.accumulate([spent / count / 1e6 for count, spent in counted.values()]).tolist()
    if sizes[0] > 1:  # nothing smaller was seen, so nothing smaller is assumed to be faster
        sizes, mean = [1, *sizes], [mean[0], *mean]
    largest = max_batch_size or sizes[-1]
    if sizes[-1] < largest and len(counted) > 1:
        doubled = min(2 * sizes[-1], largest)
        sizes, mean = [*sizes, doubled], [*mean, _on_the_line(counted, doubled, mean[-1])]
    if sizes[-1] < largest:
        sizes, mean = [*sizes, largest], [*mean, mean[-1] * largest / sizes[-1]]
    return PodProfile(
        sizes=tuple(sizes),
        mean_ms=tuple(mean),
        std_ms=tuple(ASSUMED_SPREAD * m for m in mean),
        instances=instances,
        max_batch_size=largest,
        overhead_ms=overhead_ms,
    )


def _on_the_line(counted: Seen, size: int, least: float) -> float:
    """Milliseconds of a batch of this size by the line through the sizes that were seen, by their weight."""
    at = np.asarray(list(counted), float)
    count, spent = np.asarray(list(counted.values()), float).T
    mean = spent / count / 1e6
    centre, middle = np.average(at, weights=count), np.average(mean, weights=count)
    slope = float((count * (at - centre) * (mean - middle)).sum() / (count * (at - centre) ** 2).sum())
    proportional = mean[-1] * size / at[-1]
    return float(min(max(middle + slope * (size - centre), least), max(proportional, least)))


@dataclass(frozen=True, slots=True)
class Learned:
    """A profile, and the sizes that it was learned from."""

    profile: PodProfile
    sizes: frozenset[int]


def relearn(
    before: Learned | None, seen: Seen, max_batch_size: int | None, instances: int, overhead_ms: float
) -> Learned | None:
    """A new profile is a new capacity table, seconds of work: only what changes the answer makes one."""
    profile = learned_profile(seen, max_batch_size, instances, overhead_ms)
    if profile is None:
        return before
    total = sum(count for count, _ in seen.values())
    heavy = frozenset(
        size for size, (count, _) in seen.items() if count >= max(FEWEST_OF_A_SIZE, WEIGHT * total)
    )
    if before is None or heavy - before.sizes or _moved(before.profile, profile, heavy):
        known = heavy | (before.sizes if before is not None else frozenset())
        return Learned(profile, known)
    same = before.profile.instances == profile.instances and before.profile.overhead_ms == overhead_ms
    return before if same else replace(before, profile=profile)


def _moved(old: PodProfile, new: PodProfile, sizes: frozenset[int]) -> bool:
    """By shape: what all sizes have in common is drift, and calibration follows that without a new table."""
    if old.max_batch_size != new.max_batch_size:
        return True
    ratios = [new.service_time(b) / old.service_time(b) for b in sizes if b <= new.max_batch_size]
    middle = float(np.median(ratios)) if ratios else 1.0
    return any(abs(ratio / middle - 1) > MOVED for ratio in ratios)


def fitted(
    profile: PodProfile,
    max_batch_size: int | None,
    instances: int,
    max_queue_delay_ms: float,
    max_queue_size: int | None,
) -> PodProfile:
    """A measured profile as this pod runs it: with its own largest batch, instances and queue."""
    sizes, mean, std = profile.sizes, profile.mean_ms, profile.std_ms
    largest = max(max_batch_size, 1) if max_batch_size is not None else profile.max_batch_size
    if largest > profile.max_batch_size:  # not measured: no gain is assumed there
        last = profile.service_time(profile.max_batch_size) * largest / profile.max_batch_size
        mean_last = profile.service_time(profile.max_batch_size)
        if sizes[-1] < profile.max_batch_size:
            sizes, mean, std = (*sizes, profile.max_batch_size), (*mean, mean_last), (*std, std[-1])
        sizes, mean, std = (*sizes, largest), (*mean, last), (*std, std[-1])
    elif largest < sizes[-1]:
        kept = [i for i, size in enumerate(sizes) if size < largest]
        sizes = (*(sizes[i] for i in kept), largest)
        mean = (*(mean[i] for i in kept), profile.service_time(largest))
        std = (*(std[i] for i in kept), float(profile.deviation_ms[largest]))
    return replace(
        profile,
        sizes=sizes,
        mean_ms=mean,
        std_ms=std,
        instances=instances,
        max_batch_size=largest,
        max_queue_delay_ms=max_queue_delay_ms,
        max_queue_size=max_queue_size,
    )
