"""How far requests depend on each other, from the very windows that are judged.

Requests that wait in one batch, or for one garbage collection, are late together: a hundred of them say less
than a hundred. How much less is the design effect, by which counts are divided (Kish 1965). Two estimates of
the correlation within a window bound it. The stable arm's successive windows tell soon, its windows being
large, but take a base rate that jumps for requests that cling together. The arms held against each other in
one window tell late, but what both share cancels out, and a candidate that clings more than the stable arm
shows. Each comes with an upper confidence bound that knows how uncertain a variance of clustered counts is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
FEWEST_PAIRS = 4
FEWEST_EVENTS = 6.0
FEWEST_CONTRASTS = 16
FEWEST_CANDIDATE_EVENTS = 12.0
ROUNDS = 2


class Dispersion(NamedTuple):
    """Sums over pairs of successive stable windows; arrays of one shape."""

    squares: Floats
    """of the differences of the two rates"""
    expected: Floats
    """what these would be for independent requests"""
    pairs: Floats
    events: Floats
    requests: Floats
    windows: Floats
    last_bad: Floats
    last_total: Floats

    @staticmethod
    def new(shape: tuple[int, ...] = ()) -> Dispersion:
        return Dispersion(*(np.zeros(shape) for _ in Dispersion._fields))


class Contrast(NamedTuple):
    """Sums over windows with both arms, of their rates weighted by what the pair holds."""

    candidate: Floats
    stable: Floats
    candidate_squares: Floats
    products: Floats
    stable_squares: Floats
    expected: Floats
    """variance for independent requests, by the ratio"""
    expected_squares: Floats
    size: Floats
    windows: Floats
    events: Floats
    """of the candidate"""

    @staticmethod
    def new(shape: tuple[int, ...] = ()) -> Contrast:
        return Contrast(*(np.zeros(shape) for _ in Contrast._fields))


def observe(state: Dispersion, bad: ArrayLike, total: ArrayLike) -> Dispersion:
    """After one more window of the stable arm; one without requests changes nothing."""
    x, n = np.asarray(bad, float), np.asarray(total, float)
    told = n > 0
    pair = told & (state.last_total > 0)
    n1, n0 = np.where(pair, n, 1.0), np.where(pair, state.last_total, 1.0)
    pooled = np.where(pair, (x + state.last_bad) / (n1 + n0), 0.0)
    square = np.where(pair, (x / n1 - state.last_bad / n0) ** 2, 0.0)
    weight = np.where(pair, 2.0 / (1.0 / n1 + 1.0 / n0), 0.0)
    """so that windows of different sizes count by what they hold"""
    return Dispersion(
        state.squares + weight * square,
        state.expected + weight * pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n0) * pair,
        state.pairs + pair,
        state.events + np.where(told, x, 0.0),
        state.requests + np.where(told, n, 0.0),
        state.windows + told,
        np.where(told, x, state.last_bad),
        np.where(told, n, state.last_total),
    )


def compare(state: Contrast, candidate: tuple[Any, Any], stable: tuple[Any, Any]) -> Contrast:
    """After one more window; one in which either arm had no request changes nothing."""
    (x, n), (y, m) = candidate, stable
    told = (n > 0) & (m > 0)
    n, m = np.where(told, n, 1.0), np.where(told, m, 1.0)
    half = np.where(told, n * m / (n + m), 0.0)
    """the variance of a difference of two rates is a rate over this"""
    a, b, expected = x / n, y / m, np.where(told, (x + y) / (n + m), 0.0)
    return Contrast(
        state.candidate + half * a,
        state.stable + half * b,
        state.candidate_squares + half * a * a,
        state.products + half * a * b,
        state.stable_squares + half * b * b,
        state.expected + expected,
        state.expected_squares + expected * expected,
        state.size + 2.0 * half,
        state.windows + told,
        state.events + np.where(told, x, 0.0),
    )


def correlation(stable: Dispersion, contrast: Contrast, z: float) -> tuple[Floats, Any]:
    """(upper bound, z deviations up, of the correlation of two requests of one window; where it is known)."""
    _, high, known = _alone(stable, z)
    pair_low, pair_high, compared = _against(contrast, z)
    bounded = np.maximum(np.minimum(high, pair_high), pair_low)
    icc = np.where(compared, np.where(known, bounded, pair_high), high)
    return np.clip(icc, 0.0, 1.0), known | compared


def _alone(state: Dispersion, z: float) -> tuple[Floats, Floats, Any]:
    known = (state.pairs >= FEWEST_PAIRS) & (state.events >= FEWEST_EVENTS) & (state.expected > 0)
    phi = np.where(known, state.squares, 1.0) / np.where(known, state.expected, 1.0)
    windows = np.maximum(state.windows, 1.0)
    pairs, events = np.where(known, state.pairs, 1.0), np.where(known, state.events / windows, 1.0)
    low, high = _bounds(phi, pairs * (2.0 / 3.0), events, z)
    size = np.maximum(state.requests / windows - 1.0, 1.0)
    return (low - 1.0) / size, (high - 1.0) / size, known


def _against(state: Contrast, z: float) -> tuple[Floats, Floats, Any]:
    known = (state.windows >= FEWEST_CONTRASTS) & (state.events >= FEWEST_CANDIDATE_EVENTS)
    known = known & (state.stable > 0)
    ratio = np.where(known, state.candidate, 1.0) / np.where(known, state.stable, 1.0)
    squares = state.candidate_squares - 2 * ratio * state.products + ratio**2 * state.stable_squares
    phi = np.where(known, squares, 1.0) / np.where(known, ratio * state.expected, 1.0)
    windows = np.where(known, state.windows, 1.0)
    even = np.where(known, state.expected**2 / np.where(known, state.expected_squares, 1.0), 1.0)
    events = np.where(known, state.events / windows, 1.0)
    low, high = _bounds(phi, np.maximum(even - 1.0, 1.0), events, z)
    size = np.maximum(np.where(known, state.size / windows, 2.0) - 1.0, 1.0)
    return (low - 1.0) / size, (high - 1.0) / size, known


def _bounds(phi: Floats, freedom: Floats, events: Floats, z: float) -> tuple[Floats, Floats]:
    """Of a variance over what independent requests would show.

    The square of a count that clusters varies more than chi-square does: by 6(phi-1)/events, the excess
    kurtosis of gamma-mixed counts, and by 1/(phi events), that of few.
    """
    upper = np.maximum(phi, 1.0)
    for _ in range(ROUNDS):
        heavy = 1.0 + 3.0 * (upper - 1.0) / events + 0.5 / (events * upper)
        left = np.maximum(freedom / heavy, 1.0)
        upper = np.maximum(phi * left / _chi_square(left, -z), 1.0)
    return phi * left / _chi_square(left, z), upper


def _chi_square(freedom: Floats, z: float) -> Floats:
    """Quantile by Wilson and Hilferty's cube root; within 3 % of it for two degrees and more."""
    part = 2.0 / (9.0 * freedom)
    return np.asarray(np.maximum(freedom * (1.0 - part + z * np.sqrt(part)) ** 3, 0.05), float)
