"""A recorded rollout through the judge, window by window, up to its verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from seawall.canary import judge
from seawall.canary.judge import Settings, State, Verdict
from seawall.canary.window import Arm, Metric, Window


@dataclass(frozen=True, slots=True)
class Told:
    """What one metric said after a window; logarithms of evidence."""

    rollback: float
    promote: float
    effect: float
    breaching: bool


@dataclass(frozen=True, slots=True)
class Look:
    end: float
    stable: Arm
    candidate: Arm
    metrics: dict[Metric, Told]
    mismatched: bool


@dataclass(frozen=True, slots=True)
class Report:
    verdict: Verdict
    looks: tuple[Look, ...]
    """one for each window that counted"""
    windows: int
    """with requests to the candidate"""
    candidate_requests: float
    seconds: float
    """from the beginning of the candidate's first window to the verdict"""
    repeated: int
    """windows that had been counted already, or were older than the last"""
    ratios: dict[Metric, float | None]
    """the candidate's share of bad requests over the stable arm's, in the same windows"""
    effect_known: bool
    """the design effect was estimated, not assumed"""
    needed: tuple[Metric, ...]


def replay(windows: Iterable[Window], settings: Settings) -> Report:
    state, outcome, repeated = judge.begin(settings), judge.OPEN, 0
    looks: list[Look] = []
    for window in windows:
        after = judge.advance(state, window, settings)
        if after is state:
            repeated += 1
            continue
        mismatched, state = after.mismatched > state.mismatched, after
        looks.append(_look(window, state, settings, mismatched))
        outcome = int(judge.decide(state, settings))
        if outcome != judge.OPEN or state.windows >= settings.max_windows:
            break
    return Report(
        verdict=judge.final(state, outcome),
        looks=tuple(looks),
        windows=state.windows,
        candidate_requests=float(state.requests),
        seconds=_seconds(looks),
        repeated=repeated,
        ratios={rule.metric: _ratio(looks, rule.metric) for rule in settings.rules},
        effect_known=judge.correlation_known(state),
        needed=tuple(
            rule.metric
            for rule, must in zip(settings.rules, judge.needed(state, settings), strict=True)
            if must
        ),
    )


def _look(window: Window, state: State, settings: Settings, mismatched: bool) -> Look:
    told = {
        rule.metric: Told(float(said.rollback), float(said.promote), float(said.effect), bool(said.breaching))
        for rule, said in zip(settings.rules, judge.weigh(state, settings), strict=True)
    }
    return Look(window.end, window.stable, window.candidate, told, mismatched)


def _asked(arm: Arm) -> bool:
    return bool(np.any(np.asarray(arm.requests) > 0) or np.any(np.asarray(arm.compared) > 0))


def _seconds(looks: list[Look]) -> float:
    first = next((index for index, look in enumerate(looks) if _asked(look.candidate)), None)
    if first is None or len(looks) < 2:
        return 0.0
    ends = [look.end for look in looks]
    length = float(np.median(np.diff(ends)))
    return ends[-1] - ends[first] + length


def _ratio(looks: list[Look], metric: Metric) -> float | None:
    sums = np.zeros(4)
    for look in looks:
        counts = (*look.candidate.seen(metric), *look.stable.seen(metric))
        if counts[1] and counts[3]:
            sums += np.asarray(counts, float)
    bad, total, stable_bad, stable_total = sums
    return float(bad / total / (stable_bad / stable_total)) if stable_bad > 0 else None
