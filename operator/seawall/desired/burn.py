"""How fast an error budget may go before somebody is told: pairs of windows, after the chapter "Alerting on
SLOs" of Google's Site Reliability Workbook (2018).

A budget is what the promise allows over its window of W days. Spent evenly, it lasts just that long: rate 1.
The workbook wants a call where a fiftieth has gone within an hour or a twentieth within six, and a ticket
where a tenth has gone within one day or three. For thirty days those are its rates of 14.4, 6, 3 and 1; for
another window the shares stay and the rates follow.

Of a short window a tenth goes in a day although all is well. So a call means at least twice the even rate,
and a ticket more than none; what that leaves without sense is left out (`pairs`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Severity = Literal["critical", "warning"]
HOURS = 24
TOO_LATE = Decimal("0.5")
"""Half of the budget gone before anybody hears of it."""
LEAST: dict[Severity, int] = {"critical": 2, "warning": 1}
"""Rates below which nobody is told."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both must show the rate: the long window that it matters, the short one that it still goes on."""

    severity: Severity
    long: str
    short: str
    rate: Decimal
    """times the even one"""


LADDER: tuple[tuple[Severity, int, str, str, Decimal], ...] = (
    ("critical", 1, "1h", "5m", Decimal("0.02")),
    ("critical", 6, "6h", "30m", Decimal("0.05")),
    ("warning", 24, "1d", "2h", Decimal("0.1")),
    ("warning", 72, "3d", "6h", Decimal("0.1")),
)
"""severity, hours of the long window, both windows, share of the budget that goes in the long one"""
DAYS = frozenset({"1d", "3d"})
"""Windows that are computed seldom."""


def pairs(window_days: float) -> tuple[Pair, ...]:
    """For a budget over so many days, counted in whole ones."""
    return tuple(_pairs(Decimal(max(1, math.ceil(window_days)))))


def _pairs(days: Decimal) -> Iterator[Pair]:
    told: dict[Severity, Decimal] = {}
    for severity, hours, long, short, share in LADDER:
        even = Decimal(hours) / (days * HOURS)
        rate = max(share / even, Decimal(LEAST[severity]))
        # A longer window that asks for the same rate only says later what the shorter one has said.
        if rate * even >= TOO_LATE or rate >= told.get(severity, Decimal("Infinity")):
            continue
        told[severity] = rate
        yield Pair(severity, long, short, rate)
