"""What a tighter or looser promise costs: every offer at several margins, and which of them nobody beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from seawall.simulate.offer import Offer
from seawall.simulate.study import Order, PolicyResult, StudyError, run_study

MARGINS = (0.0, 0.1, 0.2)


@dataclass(frozen=True)
class Point:
    offer: str
    margin: float
    result: PolicyResult
    best: bool = False
    """no other point is at least as good in lateness, money and energy, and better in one"""


@dataclass(frozen=True)
class Frontier:
    points: list[Point]
    refused: list[tuple[str, str]]
    """offers that cannot meet the SLO, and why"""
    requests: int


def explore(
    order: Order, offers: Sequence[Offer], progress: Callable[[str, float], None] | None = None
) -> Frontier:
    points: list[Point] = []
    refused: list[tuple[str, str]] = []
    total, requests = len(offers) * len(MARGINS), 0
    for number, offer in enumerate(offers):
        for place, margin in enumerate(MARGINS):
            done = number * len(MARGINS) + place

            def share(name: str, part: float, done: int = done, offer: Offer = offer) -> None:
                if progress is not None:
                    progress(f"{offer.name}, {name}", (done + part) / total)

            try:
                found = run_study(priced(order, offer, margin), ["seawall"], share)
            except StudyError as problem:
                refused.append((f"{offer.name}, margin {margin:.0%}", str(problem)))
                continue
            requests += found.requests
            points.append(Point(offer.name, margin, found.policies["seawall"]))
    return Frontier([replace(point, best=_unbeaten(point, points)) for point in points], refused, requests)


def priced(order: Order, offer: Offer, margin: float = 0.0) -> Order:
    return replace(
        order,
        profile=offer.profile,
        margin=margin,
        price_per_hour=offer.price_per_hour,
        idle_watts=offer.idle_watts,
        peak_watts=offer.peak_watts,
    )


def _unbeaten(point: Point, points: Sequence[Point]) -> bool:
    mine = _costs(point.result)
    for other in points:
        theirs = _costs(other.result)
        if len(theirs) != len(mine):
            continue
        if all(t <= m for t, m in zip(theirs, mine, strict=True)) and theirs != mine:
            return False
    return True


def _costs(result: PolicyResult) -> tuple[float, ...]:
    """Less is better in each; replica-hours stand in where there is no price."""
    money = result.cost_per_1k or result.replica_hours
    energy = () if result.joules_per_1k is None else (result.joules_per_1k.mean,)
    return (1.0 - result.attainment.mean, money.mean, *energy)
