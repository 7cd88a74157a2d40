"""The error budget of a service, counted on from what its status remembers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from seawall.decide.arms import Arm
from seawall.decide.types import Budget
from seawall.measure.budget import Ledger


def tally(ledger: Ledger | None, found: Sequence[Arm], now: datetime) -> tuple[Ledger, Budget] | None:
    """With what the arms' newest readings have counted, those of a candidate too: its requests are the
    service's. `ledger` is what came out the last time; None after a start. None without arms."""
    if not found:
        return None
    days = found[0].window_days
    if ledger is None:
        ledger = Ledger(days).merge(found[0].remembered)
    elif ledger.window_days != days:
        ledger = Ledger(days).merge(ledger.days)
    today = now.astimezone(UTC).date().isoformat()
    for arm in found:
        if arm.reading is not None:
            ledger = ledger.add(arm.reading.counts, today)
    seen = ledger.view(today, found[0].availability)
    return ledger, Budget(seen.requests, seen.attainment, seen.remaining, ledger.days)
