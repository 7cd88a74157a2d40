"""The objective over days: what was asked, what was good, what failed. Kept in the resource's status.

Days are UTC. A window of more than thirty days is kept in spans of several days, so that the status stays
small whatever is asked for. What nobody measured is missing on both sides: gaps are neither good nor bad.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from seawall.measure.types import Counts

Day = tuple[str, float, float, float]
MOST_ENTRIES = 32
SPANS_IN_WINDOW = 30
LATE_ALLOWED = 0.01
"""p99 means that one request in a hundred may be late."""
MOST_COUNT = 1e15


@dataclass(frozen=True, slots=True)
class Standing:
    requests: float
    attainment: float | None
    """share of requests within the SLO; None without any"""
    remaining: float | None
    """of the error budget; negative when overspent"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """(day, total, good, failed), oldest first, one per span of `span_days`."""

    window_days: float = 30.0
    days: tuple[Day, ...] = ()

    @property
    def span_days(self) -> int:
        return max(1, math.ceil(self.window_days / SPANS_IN_WINDOW))

    def add(self, counts: Counts, day: str) -> Ledger:
        """With these requests too; entries that left the window are gone."""
        numbers = (counts.total, counts.good, counts.failed)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            return self
        known = self._summed(self.days, [(day, *numbers)] if counts.total > 0 else [])
        return replace(self, days=self._bounded(known, date.fromisoformat(day)))

    def merge(self, other: Iterable[Day]) -> Ledger:
        """With what somebody else remembers: of a day, the entry that knows of more requests.

        Merging the same twice changes nothing, so a status that is read back late does no harm.
        """
        known = {entry[0]: entry for entry in self.days}
        for entry in self._summed((), [e for e in other if _sound(e)]).values():
            before = known.get(entry[0])
            known[entry[0]] = entry if before is None else max(before, entry, key=_knowledge)
        return replace(self, days=self._bounded(known))

    def view(self, today: str, availability: float | None = None) -> Standing:
        """The window that ends today; `availability` as a share, such as 0.999."""
        kept = self._bounded({e[0]: e for e in self.days}, date.fromisoformat(today))
        total, good = sum(entry[1] for entry in kept), sum(entry[2] for entry in kept)
        failed = sum(entry[3] for entry in kept)
        if total <= 0:
            return Standing(0.0, None, None)
        remaining = 1 - (total - good) / (LATE_ALLOWED * total)
        if availability is not None and availability < 1:
            remaining = min(remaining, 1 - failed / ((1 - availability) * total))
        return Standing(total, good / total, remaining)

    def documents(self) -> list[dict[str, str | int]]:
        """As the status keeps them; read by `parse`."""
        return [
            {"day": day, "total": round(total), "good": round(good), "failed": round(failed)}
            for day, total, good, failed in self.days
        ]

    def _summed(self, days: Iterable[Day], more: Iterable[Day]) -> dict[str, Day]:
        known = {entry[0]: entry for entry in days}
        for day, total, good, failed in more:
            key = self._key(date.fromisoformat(day))
            _, *old = known.get(key, (key, 0.0, 0.0, 0.0))
            known[key] = (key, old[0] + total, old[1] + min(good, total), old[2] + min(failed, total))
        return known

    def _key(self, day: date) -> str:
        return date.fromordinal(day.toordinal() - day.toordinal() % self.span_days).isoformat()

    def _bounded(self, known: dict[str, Day], today: date | None = None) -> tuple[Day, ...]:
        """What lies in the window at least partly; never more than MOST_ENTRIES."""
        kept = sorted(known)
        if today is not None:
            before = today - timedelta(days=math.ceil(self.window_days) + self.span_days)
            kept = [day for day in kept if before < date.fromisoformat(day) <= today]
        return tuple(known[day] for day in kept[-MOST_ENTRIES:])


def parse(documents: Iterable[object]) -> tuple[Day, ...]:
    """What `documents` wrote. Anything else in between was written by somebody else and says nothing."""
    found: list[Day] = []
    for document in documents:
        if not isinstance(document, Mapping):
            continue
        day, *numbers = (document.get(key) for key in ("day", "total", "good", "failed"))
        counts = [float(n) for n in numbers if isinstance(n, int | float) and not isinstance(n, bool)]
        if isinstance(day, str) and len(counts) == 3:
            found.append((day, counts[0], counts[1], counts[2]))
    return tuple(entry for entry in found if _sound(entry))


def _knowledge(entry: Day) -> tuple[float, float, float]:
    return entry[1], -entry[2], entry[3]


def _sound(entry: Day) -> bool:
    day, total, good, failed = entry
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return all(0 <= number <= MOST_COUNT for number in (total, good, failed)) and good + failed <= total + 1
