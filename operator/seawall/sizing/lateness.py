"""A pod's curve for many cases at once: how many pods, and how late, for the rules that size on paper."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seawall.sizing.capacity import CapacityTable, Sizing, late_share, sizing

Floats = NDArray[np.float64]
LOADS: Floats = np.geomspace(0.5, 3.0, 48)
"""Loads of the curve, as shares of the capacity at the SLO."""


def pods_of(size: Sizing, demand: Floats) -> Floats:
    """Sizing.pods_for of every number in an array."""
    most = max(1, round(np.exp(size.log_pods[-1])))
    counts = np.arange(1, most + 1)
    carried = counts * np.interp(np.log(counts), size.log_pods, size.per_pod)
    few = 1 + np.searchsorted(carried, demand * (1 - 1e-9))
    many = np.ceil(demand / size.per_pod[-1] - 1e-9)
    fewest: Floats = np.where(few <= most, few, np.maximum(many, most)).astype(float)
    return fewest


def late_at(table: CapacityTable, size: Sizing, rate: float | Floats, ready: Floats) -> Floats:
    """Share of late requests when so many pods, of this capacity each, get this rate together."""
    curves = _curves(table)
    each = np.interp(np.log(np.maximum(ready, 1.0)), size.log_pods, size.per_pod)
    load = rate / np.maximum(ready * each, 1e-9)
    row = np.rint(np.interp(np.log(np.maximum(ready, 1.0)), table.log_pods, np.arange(len(curves))))
    place = np.interp(load, LOADS, np.arange(len(LOADS)))
    low = np.minimum(place.astype(int), len(LOADS) - 2)
    part = place - low
    chosen = row.astype(int)
    late: Floats = curves[chosen, low] * (1 - part) + curves[chosen, low + 1] * part
    return late


@lru_cache(maxsize=256)
def _curves(table: CapacityTable) -> Floats:
    """Late share by load, one row for each number of pods in the table."""
    size = sizing(table, table.slo_ms)
    return np.array(
        [[late_share(table, load * size.rps(pods), 1.0, pods) for load in LOADS] for pods in table.pods]
    )
