"""Recorded rollouts made up by chance: requests that cling together, base rates that wander, error storms.

The judge takes arrays over thousands of rollouts, so that what is measured here is the code that judges one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seawall.canary.judge import OPEN, Settings, advance, begin, decide
from seawall.canary.window import Arm, Window

Floats = NDArray[np.float64]
Base = Callable[[int, np.random.Generator, int], Floats]
SECONDS = 15


def steady(level: float) -> Base:
    return partial(_steady, level)


def _steady(level: float, _window: int, _chance: np.random.Generator, runs: int) -> Floats:
    return np.full(runs, level)


def drifting(level: float) -> Base:
    """Between 0.37 and 2.7 times the level, within the hour."""
    return partial(_drifting, level)


def _drifting(level: float, window: int, _chance: np.random.Generator, runs: int) -> Floats:
    return np.full(runs, level * np.exp(np.sin(window / 40)))


def jumping(_window: int, chance: np.random.Generator, runs: int) -> Floats:
    """One window in ten at ten per cent, the others at .2 or 2."""
    rates = np.where(chance.random(runs) < 0.5, 0.002, 0.02)
    return np.where(chance.random(runs) < 0.1, 0.1, rates)


ORDINARY = steady(0.01)


@dataclass(frozen=True)
class Stream:
    """One kind of rollout; ratios are the candidate's over the stable arm's."""

    name: str
    rate: float = 50.0
    share: float = 0.1
    base: Base = ORDINARY
    ratio: float = 1.0
    correlation: float = 0.0
    errors: float = 0.0
    error_ratio: float = 1.0
    before: int = 0
    """windows recorded before the candidate had any request"""
    windows: int = 480


def windows(stream: Stream, runs: int, seed: int) -> Iterator[Window]:
    chance = np.random.default_rng(seed)
    none = np.zeros(runs)
    for index in range(-stream.before, stream.windows):
        base = stream.base(index, chance, runs)
        expected = stream.rate * SECONDS
        n = chance.poisson(expected * (1 - stream.share), runs).astype(float)
        m = chance.poisson(expected * stream.share, runs).astype(float) if index >= 0 else none

        def bad(total: Floats, level: Any) -> Floats:
            return _bad(total, np.broadcast_to(level, (runs,)), stream.correlation, chance)

        stable = Arm(n, bad(n, base), bad(n, stream.errors))
        errors = min(stream.errors * stream.error_ratio, 0.95)
        candidate = Arm(m, bad(m, np.minimum(base * stream.ratio, 0.95)), bad(m, errors))
        yield Window((index + 1) * SECONDS, stable, candidate)


def _bad(total: Floats, level: Floats, correlation: float, chance: np.random.Generator) -> Floats:
    """Beta-binomial: requests of one window share a rate that is drawn anew for each window and arm."""
    if correlation > 0:
        spread = 1 / correlation - 1
        inside = np.clip(level, 1e-9, 1 - 1e-9)
        level = np.where(level > 0, chance.beta(inside * spread, (1 - inside) * spread), 0.0)
    return chance.binomial(total.astype(int), level).astype(float)


@dataclass(frozen=True)
class Outcome:
    verdict: NDArray[np.int64]
    requests: Floats
    """of the candidate at the verdict"""
    windows: Floats


def judge(stream: Stream, runs: int, seed: int, settings: Settings | None = None) -> Outcome:
    """Looks at every rollout after every window and stops it at the first verdict."""
    rules = settings or Settings()
    verdict, requests, when = np.zeros(runs, int), np.full(runs, np.inf), np.full(runs, np.inf)
    left, state = np.arange(runs), begin(rules, (runs,))
    for window in windows(stream, runs, seed):
        state = advance(state, pick(window, left), rules)
        told = decide(state, rules)
        ended = told != OPEN
        at = left[ended]
        verdict[at], requests[at], when[at] = told[ended], state.requests[ended], window.end / SECONDS
        if ended.any():
            left, state = left[~ended], pick(state, ~ended)
        if not left.size:
            break
    return Outcome(verdict, requests, when)


def pick(value: Any, which: Any) -> Any:
    """The chosen rollouts of an array, or of whatever holds arrays."""
    if isinstance(value, np.ndarray):
        return value[which] if value.ndim else value
    if isinstance(value, tuple):
        inner = [pick(each, which) for each in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    if isinstance(value, Arm):
        return Arm(*(pick(getattr(value, name), which) for name in Arm.__dataclass_fields__))
    if isinstance(value, Window):
        return Window(value.end, pick(value.stable, which), pick(value.candidate, which))
    return value


def _kinds() -> Iterator[Stream]:
    """Alike in both arms."""
    for rate, share, correlation in (
        (50, 0.1, 0.0), (50, 0.1, 0.01), (50, 0.1, 0.05), (50, 0.5, 0.05), (3, 0.25, 0.0), (3, 0.25, 0.05),
        (500, 0.1, 0.0), (500, 0.1, 0.01), (500, 0.1, 0.05),
    ):  # fmt: skip
        yield Stream(f"{rate} rps, share {share}, icc {correlation}", rate, share, correlation=correlation)
    for base, name in ((drifting(0.01), "drifting"), (jumping, "jumping")):
        for correlation in (0.0, 0.01, 0.05):
            yield Stream(f"{name} base, icc {correlation}", 50.0, 0.25, base, correlation=correlation)
    yield Stream("40 windows before, icc 0.05", correlation=0.05, before=40)


SOUND = (
    *_kinds(),
    *(
        Stream(f"{rate} rps, errors {level}, icc {icc}", rate, correlation=icc, errors=level)
        for rate, level, icc in ((50, 0.004, 0.0), (50, 0.004, 0.05), (50, 0.02, 0.05), (500, 0.004, 0.05))
    ),
)
BAD = (
    *(replace(stream, ratio=2.0) for stream in _kinds()),
    *(
        Stream(f"three times the errors, icc {icc}", errors=0.002, error_ratio=3, correlation=icc)
        for icc in (0.0, 0.01, 0.05)
    ),
)
"""At twice the slow requests: 2 %, where 1 % is the floor. At three times the errors: .6 %, floor .5."""
