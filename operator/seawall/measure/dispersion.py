"""How bursty the arrivals are: the index of dispersion of counts, which is 1 for Poisson.

Taken from the differences of neighbouring intervals, so that a slow rise or fall of the rate is not taken for
bursts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

KEPT = 60
FEWEST_PAIRS = 24
FEWEST_PER_INTERVAL = 5.0
UNEVEN = 0.2
"""Intervals may differ in length by this share."""


@dataclass(slots=True)
class Dispersion:
    """Intervals, None between two that do not follow each other."""

    steps: deque[tuple[float, float] | None] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, seconds: float, count: float) -> None:
        self.steps.append((seconds, count))

    def interrupt(self) -> None:
        if self.steps and self.steps[-1] is not None:
            self.steps.append(None)

    def index(self) -> float | None:
        known = sorted(step[0] for step in self.steps if step is not None)
        if len(known) <= FEWEST_PAIRS or known[0] <= 0:
            return None
        usual = known[len(known) // 2]
        scaled = [
            step[1] * usual / step[0] if step is not None and abs(step[0] / usual - 1) <= UNEVEN else None
            for step in self.steps
        ]
        counts = [count for count in scaled if count is not None]
        pairs = [
            (after - before) ** 2
            for before, after in zip(scaled, list(scaled)[1:], strict=False)
            if before is not None and after is not None
        ]
        if len(pairs) < FEWEST_PAIRS or not counts:
            return None
        mean = sum(counts) / len(counts)
        return sum(pairs) / (2 * len(pairs)) / mean if mean >= FEWEST_PER_INTERVAL else None
