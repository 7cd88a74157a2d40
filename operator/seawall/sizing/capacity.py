"""The capacity of pods at an SLO: a Monte-Carlo table, read forwards (rate to p99) and backwards.

The table has a third axis besides rate and variability: the number of pods. Behind power-of-two or
least-request dispatch a pod in a group of eight carries almost half more at the same p99 than a pod
alone, so one number per pod oversizes large groups and breaks small ones.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seawall.sizing.montecarlo import simulate_pod
from seawall.sizing.profile import DISPATCHES, Dispatch, PodProfile, ProfileError

Floats = NDArray[np.float64]
LOADS = (0.02, 0.08, 0.15, 0.23, 0.31, 0.38, 0.44, 0.49, 0.54, 0.59, 0.65, 0.72, 0.8, 0.88, 0.96)
"""Rates of the table, as shares of what a pod can do at all."""
CA2 = (1.0, 2.0, 4.0)
PODS = (1, 2, 4, 8, 16)
REFERENCE_PODS = 4
REQUESTS = 26_000
COPIES = 64
"""Independent groups per point; fewer where a group is large, since each must warm up."""
QUANTILE = 0.99
Clipped = Literal["no", "low", "high"]


@dataclass(frozen=True, eq=False)
class CapacityTable:
    key: str
    slo_ms: float
    overhead_ms: float
    limit_rps: float
    """per pod, in full batches"""
    batch: int
    """requests in all full batches of a pod's instances"""
    pods: tuple[int, ...]
    ca2: tuple[float, ...]
    rates: tuple[float, ...]
    """per pod"""
    p99_ms: Floats
    """[pods, ca2, rates]; not falling along rates and ca2, not rising along pods"""
    late: Floats
    """share of requests slower than slo_ms, same shape"""

    @cached_property
    def log_pods(self) -> Floats:
        logs: Floats = np.log(np.asarray(self.pods, float))
        return logs

    @cached_property
    def steps(self) -> tuple[float, ...]:
        """The same for a search without numpy."""
        return tuple(self.log_pods.tolist())


@dataclass(frozen=True)
class LoadRatio:
    """A latency read backwards: 1 is a pod exactly at its capacity."""

    ratio: float
    clipped: Clipped
    """low: faster than any load explains, so the load is at most this; high: slower than the table reaches"""


@dataclass(frozen=True)
class Sizing:
    """Capacity per pod at one SLO, by number of pods."""

    log_pods: tuple[float, ...]
    per_pod: tuple[float, ...]

    @property
    def feasible(self) -> bool:
        return self.per_pod[-1] > 0

    def rps(self, pods: float) -> float:
        """lambda*: what each of so many pods carries within the SLO."""
        return float(np.interp(math.log(max(pods, 1.0)), self.log_pods, self.per_pod))

    def pods_for(self, demand_rps: float) -> int:
        """The fewest pods (at least 1) that carry the demand within the SLO."""
        if not self.feasible:
            raise ValueError("no number of pods meets an SLO below the service time")
        least = max(1, math.ceil(demand_rps / self.per_pod[-1] - 1e-9))
        while least * self.rps(least) < demand_rps * (1 - 1e-9):
            least += 1
        return least


def build_table(
    profile: PodProfile, dispatch: Dispatch, slo_ms: float, seed: int = 0, requests: int = REQUESTS
) -> CapacityTable:
    """Simulates every point of the table: a second or two of one core. Same arguments, same table."""
    if not (math.isfinite(slo_ms) and slo_ms > 0):
        raise ProfileError(f"an SLO of {slo_ms} ms is no latency")
    if dispatch not in DISPATCHES:
        raise ProfileError(f"dispatch is {dispatch!r}, not one of {', '.join(DISPATCHES)}")
    rates = np.asarray(LOADS) * profile.limit_rps
    shape = (len(PODS), len(CA2), len(LOADS))
    p99, late = np.empty(shape), np.empty(shape)
    rows_rate, rows_ca2 = np.tile(rates, len(CA2)), np.repeat(CA2, len(LOADS))
    for index, pods in enumerate(PODS):
        rng = np.random.default_rng([seed, index])
        copies = max(8, COPIES // pods)
        found = simulate_pod(
            profile, rows_rate, rows_ca2, dispatch, pods, requests=requests, rng=rng, copies=copies
        )
        p99[index] = np.quantile(found, QUANTILE, axis=1, method="higher").reshape(shape[1:])
        late[index] = (found > slo_ms).mean(axis=1).reshape(shape[1:])
    return CapacityTable(
        key=f"{profile.key}-{dispatch}-{slo_ms:g}-{seed}-{requests}",
        slo_ms=slo_ms,
        overhead_ms=profile.overhead_ms,
        limit_rps=profile.limit_rps,
        batch=profile.max_batch_size * profile.instances,
        pods=PODS,
        ca2=CA2,
        rates=tuple(rates.tolist()),
        p99_ms=_ordered(p99),
        late=_ordered(late),
    )


def capacity_of(
    profile: PodProfile, dispatch: Dispatch, slo_ms: float, seed: int = 0, requests: int = REQUESTS
) -> float:
    """lambda* of each pod in a group of the usual size under Poisson arrivals, without a whole table."""
    rates = np.asarray(LOADS) * profile.limit_rps
    copies, rng = max(8, COPIES // REFERENCE_PODS), np.random.default_rng([seed, REFERENCE_PODS])
    poisson = np.ones(len(rates))
    found = simulate_pod(
        profile, rates, poisson, dispatch, REFERENCE_PODS, requests=requests, rng=rng, copies=copies
    )
    p99 = np.maximum.accumulate(np.quantile(found, QUANTILE, axis=1, method="higher"))
    return _inverse(p99, rates.tolist(), slo_ms)


def predicted_p99(
    table: CapacityTable, rate: float, ca2: float = 1.0, pods: float = REFERENCE_PODS, scale: float = 1.0
) -> float:
    """p99 in ms when each pod receives `rate`; inf from the stability limit on. `scale`: see `_scaled`."""
    if not rate >= 0:
        raise ValueError(f"a rate of {rate} per second is no rate")
    if rate * scale >= table.limit_rps:
        return math.inf
    unscaled = _along_rates(_row(table, table.p99_ms, ca2, pods), table, rate * scale)
    return table.overhead_ms + scale * (unscaled - table.overhead_ms)


def late_share(table: CapacityTable, rate: float, ca2: float = 1.0, pods: float = REFERENCE_PODS) -> float:
    """Share of requests slower than the table's SLO; 1 from the stability limit on."""
    if rate >= table.limit_rps:
        return 1.0
    row = _row(table, table.late, ca2, pods)
    return float(np.interp(rate, [*table.rates, table.limit_rps], [*row, 1.0]))


def sizing(
    table: CapacityTable, slo_ms: float, margin: float = 0.0, ca2: float = 1.0, scale: float = 1.0
) -> Sizing:
    """Capacity by number of pods. A pod that is `scale` times slower: g(r) becomes scale*g(scale*r)."""
    target = table.overhead_ms + (slo_ms * (1 - margin) - table.overhead_ms) / scale
    rows = (_row(table, table.p99_ms, ca2, pods) for pods in table.pods)
    each = [_inverse(row, table.rates, target) / scale for row in rows]
    return Sizing(tuple(table.log_pods.tolist()), tuple(np.maximum.accumulate(each).tolist()))


def capacity(
    table: CapacityTable, slo_ms: float, margin: float = 0.0, ca2: float = 1.0, pods: float = REFERENCE_PODS
) -> float:
    """lambda*: requests per second per pod whose p99 is at most slo*(1-margin); 0 where none is."""
    return sizing(table, slo_ms, margin, ca2).rps(pods)


def load_of(
    table: CapacityTable,
    p99_ms: float,
    slo_ms: float,
    ca2: float = 1.0,
    pods: float = REFERENCE_PODS,
    scale: float = 1.0,
) -> LoadRatio:
    """The load that explains a latency, as a share of capacity: the signal that is proportional to load."""
    most = sizing(table, slo_ms, 0.0, ca2, scale).rps(pods)
    row = _row(table, table.p99_ms, ca2, pods)
    target = table.overhead_ms + (p99_ms - table.overhead_ms) / scale
    if most <= 0:
        return LoadRatio(math.inf, "high")
    finite = row[np.isfinite(row)]
    if target <= row[0]:
        return LoadRatio(table.rates[0] / scale / most, "low")
    if not len(finite) or target >= finite[-1]:
        return LoadRatio(table.rates[max(len(finite) - 1, 0)] / scale / most, "high")
    return LoadRatio(_inverse(row, table.rates, target) / scale / most, "no")


def _row(table: CapacityTable, values: Floats, ca2: float, pods: float) -> Floats:
    """The curve over rates for this variability and number of pods, between the measured ones."""
    low, part = _place(table.steps, math.log(max(pods, 1.0)))
    first, share = _place(table.ca2, ca2)
    block = _between(values[low], values[low + 1], part)
    return _between(block[first], block[first + 1], share)


def _place(points: tuple[float, ...], value: float) -> tuple[int, float]:
    """Between which two points a value lies, and where; the outermost two for what lies outside of all.

    As numpy.interp would say it, at a tenth of its price for so few points: a decision asks dozens of times.
    """
    low = min(max(bisect_right(points, value) - 1, 0), len(points) - 2)
    part = (value - points[low]) / (points[low + 1] - points[low])
    return low, min(max(part, 0.0), 1.0)


def _between(one: Floats, other: Floats, share: float) -> Floats:
    if share in (0.0, 1.0):  # 0 times an infinite p99 would be no number
        return other if share else one
    return one * (1 - share) + other * share


def _along_rates(row: Floats, table: CapacityTable, rate: float) -> float:
    stable = np.isfinite(row)
    known = np.asarray(table.rates)[stable]
    if not len(known) or rate > known[-1]:
        return math.inf
    return float(np.interp(rate, known, row[stable]))


def _inverse(row: Floats, rates: Sequence[float], target: float) -> float:
    """The largest rate whose p99 is at most target; 0 if even the smallest is slower."""
    if not row[0] <= target:
        return 0.0
    last = int(np.searchsorted(row, target, side="right")) - 1
    if last == len(row) - 1 or not math.isfinite(row[last + 1]):
        return rates[last]
    part = (target - row[last]) / (row[last + 1] - row[last])
    return rates[last] + float(part) * (rates[last + 1] - rates[last])


def _ordered(values: Floats) -> Floats:
    """Takes out what only the finite sample put in: more load is never faster, more pods never slower."""
    values = np.minimum.accumulate(values, axis=0)
    return np.maximum.accumulate(np.maximum.accumulate(values, axis=2), axis=1)
