"""Whether the candidate gets the share of the requests that it is meant to get.

A gateway sends each request by chance, so that the share strays as a coin does. Where a Service chooses a pod
for each connection, all requests of a connection stray together: how far they do is seen in how far the
windows' shares lie about their own mean, not about the share that is meant, so that clients who have settled
on one pod for good are told from clients who come and go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

FEWEST = 200
"""Requests of both revisions, before anything is said."""
DEVIATIONS, SLACK = 4.0, 0.02
"""A share of the requests beyond both of these is no chance."""
TOLERATED = 0.25
"""Of the share that is meant, where pods are chosen: beyond it pods are not equally loaded, either."""
FEW_WINDOWS, NOT_KNOWN = 8, 4.0
"""The design effect that is taken at least while so few windows have been seen."""


@dataclass(frozen=True, slots=True)
class Share:
    """Sums over a step's windows."""

    asked: float = 0.0
    """requests of both revisions"""
    got: float = 0.0
    """of these, the candidate's"""
    meant: float = 0.0
    """of these, those that the candidate was meant to get"""
    spread: float = 0.0
    """the variance of `got`, were each request sent by chance"""
    scatter: float = 0.0
    """squares of the windows' deviations, each in units of its own variance"""
    windows: float = 0.0
    """that had requests, and two revisions to choose from"""

    def seen(self, stable: float, candidate: float, part: float) -> Share:
        """With one more window; `part`: of the requests, that the candidate was meant to get."""
        everybody = stable + candidate
        spread = everybody * part * (1 - part)
        after = replace(
            self,
            asked=self.asked + everybody,
            got=self.got + candidate,
            meant=self.meant + everybody * part,
            spread=self.spread + spread,
        )
        if spread > 0:
            scatter = self.scatter + (candidate - everybody * part) ** 2 / spread
            after = replace(after, scatter=scatter, windows=self.windows + 1)
        return Share(*(float(f"{value:.9g}") for value in astuple(after)))

    def told(self) -> float | None:
        """None where requests are too few to say."""
        return self.got / self.asked if self.asked >= FEWEST else None

    def due(self) -> float | None:
        """The share that is meant, on the average of the same windows."""
        return self.meant / self.asked if self.asked >= FEWEST else None

    def wrong(self, *, by_pods: bool = False) -> bool:
        """`by_pods`: connections are spread over pods, not requests over weights."""
        if self.asked < FEWEST:
            return False
        slack = min(SLACK, TOLERATED * self.meant / self.asked) if by_pods else SLACK
        effect = self.effect() if by_pods else 1.0
        deviation = math.sqrt(self.spread * effect) / self.asked
        return abs(self.got - self.meant) / self.asked > DEVIATIONS * deviation + slack

    def effect(self) -> float:
        """By how much the variance is more than that of requests sent one by one."""
        off = self.got - self.meant
        about_mean = self.scatter - (off * off / self.spread if self.spread > 0 else 0.0)
        found = about_mean / (self.windows - 1) if self.windows > 1 else 0.0
        return max(found, 1.0 if self.windows >= FEW_WINDOWS else NOT_KNOWN)

    def kept(self) -> tuple[float, ...]:
        return astuple(self)

    @classmethod
    def restored(cls, numbers: Sequence[float]) -> Share:
        """ValueError where they are no sums."""
        if min(numbers) < 0:
            raise ValueError("a sum is less than nothing")
        return cls(*(float(number) for number in numbers))


LENGTH = len(fields(Share))

__all__ = ["LENGTH", "Share"]
