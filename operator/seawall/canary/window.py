"""One window of a rollout: what both arms were asked and how they answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Count = float | NDArray[np.float64]
"""One number, or one of each of many rollouts at once."""
Metric = str
"""One of the built-in ones, or the name of a user's own."""
BUILT_IN = ("latency", "errors", "disagreement")


@dataclass(frozen=True, slots=True)
class Arm:
    """Counts within one window; never cumulative."""

    requests: Count = 0.0
    slow: Count = 0.0
    """above the SLO's bucket edge, or above the next higher one: these are late for sure"""
    errors: Count = 0.0
    compared: Count = 0.0
    """answers held against the right ones; of the stable arm: against its own, the noise floor"""
    disagreements: Count = 0.0
    ready_pods: int | None = None
    slow_at_most: Count | None = None
    """above the next lower edge, where no edge is at the SLO; a candidate must pass by this"""

    further: Mapping[Metric, tuple[Count, Count]] = field(default_factory=dict)
    """(bad, total) of metrics that are not built in"""

    def seen(self, metric: Metric, strict: bool = False) -> tuple[Count, Count]:
        """(bad, total)."""
        if metric == "latency":
            most = self.slow if self.slow_at_most is None else self.slow_at_most
            return (most if strict else self.slow), self.requests
        if metric == "errors":
            return self.errors, self.requests
        if metric == "disagreement":
            return self.disagreements, self.compared
        return self.further.get(metric, (0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Window:
    end: float
    """its id: a window is counted once, however often it is read"""
    stable: Arm
    candidate: Arm
    began: float | None = None
    """the earliest look at a counter that it is made from, where that is known"""
    timed: bool = True
    """latencies are known; the source may tell counters only"""
    warming: bool = False
    """the candidate has just got this load: its latencies do not count, its errors do"""
    untold: str = ""
    """why a metric that is not built in has no counts here"""

    def tells(self, metric: Metric) -> bool:
        if metric == "latency":
            return self.timed
        return metric in BUILT_IN or metric in self.stable.further
