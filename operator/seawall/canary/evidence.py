"""Evidence that may be looked at as often as one likes: two tests by betting, one of a ratio, one of a level.

Each is an e-process: under its null hypothesis its expectation never exceeds 1, whenever one stops, so that
it reaches 1/alpha with probability alpha at most (Ville's inequality). The ratio test conditions on the
number of bad requests in both arms together, in which the rate that they share cancels out, however it
drifts (Turner, Ly and Grünwald 2024; Lindon and Malek 2022). All functions take arrays over their leading
axes, so that a simulation of thousands of rollouts runs the very code that judges one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Side = Literal["above", "below"]
POINTS = 16
WORSE: Floats = np.geomspace(1.15, 100.0, POINTS)
"""How many times the bound is bet on: a storm of errors is a hundred times what it should be."""
BETTER: Floats = 1.0 / np.geomspace(1.15, 10.0, POINTS)


def _near(factors: Floats, centre: float, width: float, share: float) -> Floats:
    """A prior with most of its mass around one factor; the rest is spread evenly over all."""
    bell = np.exp(-0.5 * (np.log(factors / centre) / width) ** 2)
    weights: Floats = share * bell / bell.sum() + (1 - share) / POINTS
    return weights


def ratio_step(
    bets: Floats, candidate: tuple[Any, Any], stable: tuple[Any, Any], bound: ArrayLike, side: Side
) -> Floats:
    """The 16 bets after one window; each arm is (bad, total), fractional where requests count for less.

    Nothing changes where one arm had no request or neither had a bad one.
    """
    (bad, n), (stable_bad, stable_n) = (
        tuple(np.asarray(v, float)[..., None] for v in a) for a in (candidate, stable)
    )
    null = np.asarray(bound, float)[..., None]
    factors = WORSE if side == "above" else BETTER
    told = (n > 0) & (stable_n > 0)
    safe_n, safe_stable = np.where(told, n, 1.0), np.where(told, stable_n, 1.0)

    def logs(rho: Any) -> tuple[Floats, Floats]:
        total = np.log(safe_stable + safe_n * rho)
        return np.log(safe_n * rho) - total, np.log(safe_stable) - total

    (up, down), (up_null, down_null) = logs(null * factors), logs(null)
    gain = bad * (up - up_null) + stable_bad * (down - down_null)
    return np.asarray(bets + np.where(told, gain, 0.0), float)


def ratio_evidence(bets: Floats, prior: Floats) -> Floats:
    """ln E."""
    return _log_sum(bets + np.log(prior))


def level_evidence(bad: ArrayLike, good: ArrayLike, bound: float, side: Side, prior: Floats) -> Floats:
    """ln E that the share of bad requests is beyond the bound, from all of them so far."""
    s, f = np.asarray(bad, float)[..., None], np.asarray(good, float)[..., None]
    levels = bound * (WORSE if side == "above" else BETTER)
    usable = levels < 1.0
    weights, levels = prior[usable] / prior[usable].sum(), levels[usable]
    gains = s * np.log(levels / bound) + f * (np.log1p(-levels) - np.log1p(-bound))
    return _log_sum(gains + np.log(weights))


def both(one: Floats, other: Floats) -> Floats:
    """ln E that neither null holds: the smaller one, an e-process for their union."""
    return np.minimum(one, other)


def either(one: Floats, other: Floats, share: float) -> Floats:
    """ln E that not both nulls hold: a mean, an e-process for their intersection."""
    return np.asarray(np.logaddexp(one + np.log(share), other + np.log(1.0 - share)), float)


def _log_sum(values: Floats) -> Floats:
    most = values.max(axis=-1, keepdims=True)
    most = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - most).sum(axis=-1)) + most[..., 0], float)


CAUGHT: NDArray[np.float64] = _near(WORSE, 2.4, 0.5, 0.5)
"""Prior of the bets on a worse candidate: most that are worse are a few times worse."""
HEALTHY: NDArray[np.float64] = _near(BETTER, 1 / 2.4, 0.15, 0.95)
"""Prior of the bets on a sound one: it is like the stable arm, at half the ratio that is bad."""
CLEAN: NDArray[np.float64] = _near(BETTER, 1 / 6, 0.3, 0.9)
"""Prior of the bets on a low level: a candidate without a fault is far below a floor."""
