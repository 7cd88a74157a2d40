"""One window of a rollout: what both arms were asked and how they answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Count = float | NDArray[np.float64]
"""One number, or one of each of many rollouts at once."""
Metric = Literal["latency", "errors", "disagreement"]


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

    def seen(self, metric: Metric, strict: bool = False) -> tuple[Count, Count]:
        """(bad, total)."""
        if metric == "latency":
            most = self.slow if self.slow_at_most is None else self.slow_at_most
            return (most if strict else self.slow), self.requests
        if metric == "errors":
            return self.errors, self.requests
        return self.disagreements, self.compared


@dataclass(frozen=True, slots=True)
class Window:
    end: float
    """its id: a window is counted once, however often it is read"""
    stable: Arm
    candidate: Arm
