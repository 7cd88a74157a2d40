"""A pod's measured service times, read from a profile file and refused where they cannot be trusted.

Every replica count rests on these few numbers, so a gap or a typing error in them must surface here as
one sentence and never as a plausible capacity.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Dispatch = Literal["random", "round-robin", "least-request", "p2c"]
DISPATCHES: tuple[Dispatch, ...] = get_args(Dispatch)
LARGEST_BATCH = 4096
LONGEST_MS = 600_000.0
FALLING_BY = 0.1
"""A larger batch may measure this much faster than a smaller one before it is an error and not noise."""


class ProfileError(ValueError):
    """Something in the profile that no capacity may be built on; the message is for whoever wrote it."""


@dataclass(frozen=True)
class PodProfile:
    sizes: tuple[int, ...]
    mean_ms: tuple[float, ...]
    std_ms: tuple[float, ...]
    instances: int = 1
    max_batch_size: int = 8
    max_queue_delay_ms: float = 0.0
    max_queue_size: int | None = None
    overhead_ms: float = 0.0
    cold_start_seconds: float = 60.0
    interpolated: tuple[str, ...] = ()
    """what was not measured, one sentence each"""

    @staticmethod
    def parse(document: Mapping[str, Any]) -> PodProfile:
        """The profile file of `seawall optimize`; refuses what it cannot read, says what it interpolates."""
        if not isinstance(document, Mapping):
            raise ProfileError("a profile is one JSON object")
        largest = _whole(document, "maxBatchSize", None, LARGEST_BATCH)
        points = _points(document.get("batches"))
        sizes = [size for size, _, _ in points]
        if sizes[-1] > largest:
            raise ProfileError(f"batches has size {sizes[-1]}, larger than maxBatchSize {largest}")
        queue = document.get("maxQueueSize")
        return PodProfile(
            sizes=tuple(sizes),
            mean_ms=tuple(mean for _, mean, _ in points),
            std_ms=tuple(std for _, _, std in points),
            instances=_whole(document, "instances", 1, 64),
            max_batch_size=largest,
            max_queue_delay_ms=_number(document, "maxQueueDelayMs", 0.0),
            max_queue_size=None if queue is None else _whole(document, "maxQueueSize", None, 1_000_000),
            overhead_ms=_number(document, "overheadMs", 0.0),
            cold_start_seconds=_number(document, "coldStartSeconds", 60.0),
            interpolated=_unmeasured(sizes, largest),
        )

    @cached_property
    def table_ms(self) -> NDArray[np.float64]:
        """Mean service time by batch size; index 0 is unused and 0."""
        wanted = np.arange(1, self.max_batch_size + 1)
        tau0, alpha = self.line
        mean = np.interp(wanted, self.sizes, self.mean_ms)
        beyond = wanted > self.sizes[-1]
        mean[beyond] = self.mean_ms[-1] + alpha * (wanted[beyond] - self.sizes[-1])
        if self.sizes[0] > 1:
            mean[: self.sizes[0] - 1] = np.maximum(
                tau0 + alpha * wanted[: self.sizes[0] - 1], self.mean_ms[0] / self.sizes[0]
            )
        return np.concatenate([[0.0], np.maximum.accumulate(mean)])

    @cached_property
    def deviation_ms(self) -> NDArray[np.float64]:
        """Standard deviation by batch size; the nearest measured size speaks for those outside the range."""
        wanted = np.arange(self.max_batch_size + 1)
        return np.asarray(np.interp(wanted, self.sizes, self.std_ms), dtype=np.float64)

    @cached_property
    def line(self) -> tuple[float, float]:
        """tau0 and alpha of s(b) = tau0 + alpha*b, both at least 0."""
        sizes, means = np.asarray(self.sizes, float), np.asarray(self.mean_ms, float)
        if len(sizes) == 1:
            return float(means[0]), 0.0
        spread = sizes - sizes.mean()
        alpha = max(0.0, float((spread * means).sum() / (spread**2).sum()))
        return max(0.0, float(means.mean() - alpha * sizes.mean())), alpha

    def service_time(self, batch: int) -> float:
        """Mean milliseconds that one batch of this size takes."""
        if not 1 <= batch <= self.max_batch_size:
            raise ProfileError(f"batch size {batch} is outside 1 to {self.max_batch_size}")
        return float(self.table_ms[batch])

    @property
    def limit_rps(self) -> float:
        """Requests per second that a pod can do at all, always in full batches."""
        return 1000.0 * self.instances * self.max_batch_size / self.service_time(self.max_batch_size)

    def scaled(self, factor: float) -> PodProfile:
        """The same pod with every service time multiplied: drift, a slower preset, a wrong profile."""
        if not (math.isfinite(factor) and factor > 0):
            raise ProfileError(f"a service time cannot be scaled by {factor}")
        return replace(
            self,
            mean_ms=tuple(m * factor for m in self.mean_ms),
            std_ms=tuple(s * factor for s in self.std_ms),
        )

    @cached_property
    def key(self) -> str:
        """Same digest, same pod model; the cold start is not part of it, it changes no latency."""
        return _key(self)


@lru_cache(4096)
def _key(profile: PodProfile) -> str:
    """Remembered by content too: the same learned profile is put together anew for every decision."""
    content = {k: v for k, v in asdict(profile).items() if k not in {"cold_start_seconds", "interpolated"}}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _points(batches: Any) -> list[tuple[int, float, float]]:
    if not isinstance(batches, Sequence) or isinstance(batches, str | bytes) or not batches:
        raise ProfileError("the profile has no batches: at least sizes 1 and maxBatchSize must be measured")
    points: list[tuple[int, float, float]] = []
    for index, entry in enumerate(batches):
        if not isinstance(entry, Mapping):
            raise ProfileError(f"batches[{index}] is not an object with size and meanMs")
        try:
            size = _whole(entry, "size", None, LARGEST_BATCH)
            mean, std = _number(entry, "meanMs", None), _number(entry, "stdMs", 0.0)
        except ProfileError as problem:
            raise ProfileError(f"batches[{index}]: {problem}") from None
        if mean == 0:
            raise ProfileError(f"batches[{index}]: meanMs is 0; no batch is served in no time")
        points.append((size, mean, std))
    for before, after in pairwise(points):
        if after[0] == before[0]:
            raise ProfileError(f"batches has size {after[0]} twice")
        if after[0] < before[0]:
            raise ProfileError(f"batches is not sorted by size: {after[0]} comes after {before[0]}")
        if after[1] < before[1] * (1 - FALLING_BY):
            raise ProfileError(
                f"batches: size {after[0]} takes {after[1]:g} ms and size {before[0]} takes {before[1]:g} ms;"
                " a larger batch cannot be that much faster, measure again"
            )
    return points


def _unmeasured(sizes: Sequence[int], largest: int) -> tuple[str, ...]:
    if sizes[0] != 1 and len(sizes) < 2:
        raise ProfileError("batches has neither size 1 nor two sizes to draw a line through")
    if sizes[-1] < largest and len(sizes) < 2:
        raise ProfileError(
            f"batches has size {sizes[-1]} alone; size {largest} (maxBatchSize) must be measured too"
        )
    if sizes[-1] * 2 < largest:
        raise ProfileError(
            f"the largest measured batch is {sizes[-1]}, less than half of maxBatchSize {largest};"
            " measure the larger ones or lower maxBatchSize"
        )
    said = []
    if sizes[0] != 1:
        said.append(f"sizes below {sizes[0]} are extended along the fitted line")
    if missing := sorted(set(range(sizes[0], sizes[-1])) - set(sizes)):
        said.append(f"{len(missing)} sizes between measured ones are interpolated, the first is {missing[0]}")
    if sizes[-1] < largest:
        said.append(f"sizes above {sizes[-1]} are extended along the fitted line")
    return tuple(said)


def _number(document: Mapping[str, Any], name: str, default: float | None) -> float:
    value = document.get(name, default)
    if value is None:
        raise ProfileError(f"{name} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        raise ProfileError(f"{name} is {value!r}, not a number")
    if value < 0:
        raise ProfileError(f"{name} is {value!r:.40}, below 0")
    if value > LONGEST_MS:
        raise ProfileError(f"{name} is {value!r:.40}, beyond anything a pod could take")
    return float(value)


def _whole(document: Mapping[str, Any], name: str, default: int | None, most: int) -> int:
    value = document.get(name, default)
    if value is None:
        raise ProfileError(f"{name} is missing")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ProfileError(f"{name} is {value!r}, not a whole number from 1 to {most}")
    return value
