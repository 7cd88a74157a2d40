"""Which layers to leave in higher precision: as few as reach the floor, found within a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seawall.optimize.types import Proof


@dataclass(frozen=True, slots=True)
class Attempt:
    excluded: tuple[str, ...]
    proof: Proof


def fewest_excluded(
    attempt: Callable[[tuple[str, ...]], Attempt],
    ranked: Callable[[], Sequence[str]],
    count: int,
    seconds: float,
    clock: Callable[[], float],
) -> Attempt:
    """Doubles the number of excluded layers, worst first, until the proof passes, then halves the gap.

    Returns the passing attempt with the fewest, or the best failing one. At most half of the layers are
    excluded: beyond that the preset is a name without a matter. An attempt is begun only while time is left.
    """
    end = clock() + seconds
    best = attempt(())
    if best.proof.passed:
        return best
    order: Sequence[str] = ()
    failed, size = 0, 1
    while size <= count // 2 and clock() < end:
        order = order or ranked()
        tried = attempt(tuple(order[:size]))
        if tried.proof.passed:
            return _narrowed(attempt, order, failed, tried, end, clock)
        best = max(best, tried, key=_merit)
        failed, size = size, size * 2
    return best


def _narrowed(
    attempt: Callable[[tuple[str, ...]], Attempt],
    order: Sequence[str],
    failed: int,
    passing: Attempt,
    end: float,
    clock: Callable[[], float],
) -> Attempt:
    while len(passing.excluded) - failed > 1 and clock() < end:
        middle = (len(passing.excluded) + failed) // 2
        tried = attempt(tuple(order[:middle]))
        if tried.proof.passed:
            passing = tried
        else:
            failed = middle
    return passing


def _merit(attempt: Attempt) -> float:
    proof = attempt.proof
    return -proof.value if proof.metric == "relative-error" else proof.value
