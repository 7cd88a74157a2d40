"""The HorizontalPodAutoscaler's older path, which an object without a behavior block takes."""

from __future__ import annotations

from seawall.sizing.behavior import DOWNSCALE_STABILIZATION_SECONDS, History, remember


def normalise_plain(history: History, now: float, current: int, desired: int, low: int, high: int) -> int:
    """The path without a behavior block: at most double (or 4), down by the largest proposal of 300 s."""
    cutoff = now - DOWNSCALE_STABILIZATION_SECONDS
    stable = max([desired, *(count for at, count in history.proposals if at >= cutoff)])
    remember(history, now, desired, cutoff)
    return max(low, min(stable, high, max(2 * current, 4)))
