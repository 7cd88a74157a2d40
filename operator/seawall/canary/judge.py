"""The judge: windows in, evidence and a verdict out, as often as one likes to look.

A candidate is bad in a metric when its share of bad requests is both above a floor (the budget of the SLO)
and at least `ratio_bad` times the stable arm's; it is sound when either is not so, by `ratio_ok`. Rolling
back a candidate that is sound in every metric happens with probability alpha at most, promoting one that is
bad in any with probability beta at most, at any number of looks. docs/judge.md derives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from seawall.canary import evidence
from seawall.canary.dispersion import Contrast, Dispersion, compare, correlation, observe
from seawall.canary.evidence import Floats
from seawall.canary.window import Arm, Metric, Window

Verdict = Literal["Promote", "Rollback", "Inconclusive", "NoData"]
OPEN, ROLLBACK, PROMOTE = 0, 1, 2
MEMORY = 0.8
"""What a window of the stable arm still counts for at the next one, when asked whether it breaches."""
BREACH_DEVIATIONS = 3.0
CAREFUL_Z, LENIENT_Z = 1.0, 0.1
"""Deviations by which the design effect's bound is above its estimate. Alpha is smaller than beta, and a
false alarm comes early, when little is known, while a pass comes late."""


@dataclass(frozen=True, slots=True)
class Rule:
    metric: Metric
    floor: float
    """share of requests that may be bad whatever the stable arm does"""
    ratio_ok: float
    ratio_bad: float
    alarm_share: float
    """of alpha"""
    by_ratio: float
    """of the evidence for a pass that is bet on the ratio; the rest on the level"""
    unknown_correlation: float
    """of two requests of one window, before it can be estimated"""
    first_correlation: float
    """the same for the candidate's first window: a storm is seen at first sight"""
    of: str = ""
    """tells metrics of one name apart"""


RULES = (
    Rule("latency", 0.01, 1.25, 2.0, 0.5, 0.97, 0.05, 0.05),
    Rule("errors", 0.005, 1.25, 3.0, 0.4, 0.07, 0.05, 0.02),
    Rule("disagreement", 0.01, 1.25, 2.0, 0.1, 0.1, 0.0, 0.0),
)
"""Answers of a golden set are compared one by one, so that a disagreement clings to no other."""


@dataclass(frozen=True, slots=True)
class Settings:
    alpha: float = 0.01
    beta: float = 0.05
    rules: tuple[Rule, ...] = RULES
    warmup_windows: int = 0
    """with requests to the candidate; their latency does not count, their errors do"""
    max_windows: int = 480
    load_mismatch: float = 0.25
    """requests per ready pod may differ by this much for latencies to be compared"""


class Trail(NamedTuple):
    """Of one metric; sums are of whole requests, discounted only when they are read."""

    up: Floats
    """bets that the ratio is above ratio_ok, [..., 16]"""
    down: Floats
    """bets that it is below ratio_bad"""
    bad: Floats
    """of the candidate, surely"""
    bad_strictly: Floats
    """of the candidate, at most: more where no bucket edge is at the SLO"""
    total: Floats
    windows: Floats
    pair_size: Floats
    """sum of the arms' harmonic mean sizes, twice the smaller one where they are far apart"""
    stable_bad: Floats
    stable_total: Floats
    """fading sums, for whether the stable arm keeps the SLO itself"""
    dispersion: Dispersion
    contrast: Contrast


class State(NamedTuple):
    trails: tuple[Trail, ...]
    windows: int
    """with requests to the candidate"""
    requests: Floats
    last_end: float
    mismatched: int


class Evidence(NamedTuple):
    rollback: Floats
    """ln E, to be held against ln(1/alpha)"""
    promote: Floats
    effect: Floats
    """the design effect that the candidate's requests are discounted by"""
    breaching: Any
    """the stable arm is above the floor itself"""


def begin(settings: Settings, shape: tuple[int, ...] = ()) -> State:
    bets, none = np.zeros((*shape, evidence.POINTS)), np.zeros(shape)
    trail = Trail(
        bets, bets, none, none, none, none, none, none, none, Dispersion.new(shape), Contrast.new(shape)
    )
    return State(tuple(trail for _ in settings.rules), 0, none, -np.inf, 0)


def advance(state: State, window: Window, settings: Settings) -> State:
    """After one more window. One that was counted already, or is older than the last, changes nothing."""
    if window.end <= state.last_end:
        return state
    asked = np.asarray(window.candidate.requests, float)
    live = bool(np.any(asked > 0) or np.any(np.asarray(window.candidate.compared) > 0))
    counted = state.windows + live
    mismatch = _mismatch(window, settings)
    warming = window.warming or (live and counted <= settings.warmup_windows)
    trails = tuple(
        _step(trail, rule, window, not (rule.metric == "latency" and (warming or mismatch)))
        for trail, rule in zip(state.trails, settings.rules, strict=True)
    )
    return State(trails, counted, state.requests + asked, window.end, state.mismatched + mismatch)


def _mismatch(window: Window, settings: Settings) -> bool:
    """Latencies of pods under different load cannot be compared; without a request to the stable arm nothing
    is compared, and the level alone speaks."""
    arms = (window.stable, window.candidate)
    if any(arm.ready_pods is None or arm.ready_pods <= 0 for arm in arms):
        return False
    stable, candidate = (float(np.mean(arm.requests)) / float(arm.ready_pods or 1) for arm in arms)
    return min(stable, candidate) > 0 and unlike(stable, candidate, settings)


def unlike(one: float, other: float, settings: Settings) -> bool:
    """Two loads, in requests of one pod."""
    return abs(one - other) > settings.load_mismatch * max(one, other)


def _step(trail: Trail, rule: Rule, window: Window, comparable: bool) -> Trail:
    if not window.tells(rule.metric):
        return trail
    stable, candidate = _pair(window.stable, rule), _pair(window.candidate, rule)
    trail = trail._replace(
        dispersion=observe(trail.dispersion, *stable),
        stable_bad=MEMORY * trail.stable_bad + stable[0],
        stable_total=MEMORY * trail.stable_total + stable[1],
    )
    if not comparable:
        return trail
    bound = np.where(breaches(trail, rule), rule.ratio_bad, rule.ratio_ok)
    total = candidate[1] + stable[1]
    size = 2.0 * candidate[1] * stable[1] / np.maximum(total, 1.0)
    strictly = _pair(window.candidate, rule, strict=True), _pair(window.stable, rule, strict=True)
    return trail._replace(
        up=evidence.ratio_step(trail.up, candidate, stable, bound, "above"),
        down=evidence.ratio_step(trail.down, *strictly, rule.ratio_bad, "below"),
        bad=trail.bad + candidate[0],
        bad_strictly=trail.bad_strictly + strictly[0][0],
        total=trail.total + candidate[1],
        windows=trail.windows + (candidate[1] > 0),
        pair_size=trail.pair_size + size,
        contrast=compare(trail.contrast, candidate, stable),
    )


def _pair(arm: Arm, rule: Rule, strict: bool = False) -> tuple[Floats, Floats]:
    bad, total = arm.seen(rule.metric, strict)
    return np.asarray(bad, float), np.asarray(total, float)


def breaches(trail: Trail, rule: Rule) -> Any:
    """Whether the stable arm's last few windows are clearly above the floor."""
    total = np.maximum(trail.stable_total, 1.0)
    spread = np.sqrt(total * rule.floor * (1.0 - rule.floor))
    return trail.stable_bad - total * rule.floor > BREACH_DEVIATIONS * spread


def weigh(state: State, settings: Settings) -> tuple[Evidence, ...]:
    """What each metric says so far."""
    careful, lenient = _effects(state, settings, CAREFUL_Z), _effects(state, settings, LENIENT_Z)
    return tuple(
        Evidence(_worse(trail, rule, *one), _sound(trail, rule, *other), one[0], breaches(trail, rule))
        for trail, rule, one, other in zip(state.trails, settings.rules, careful, lenient, strict=True)
    )


def _effects(state: State, settings: Settings, z: float) -> list[tuple[Floats, Floats]]:
    """By which each metric's counts are discounted: the candidate's alone, and both arms' together."""
    known = [correlation(trail.dispersion, trail.contrast, z) for trail in state.trails]
    largest = np.maximum.reduce([np.where(is_known, icc, 0.0) for icc, is_known in known])
    anywhere = np.logical_or.reduce([is_known for _, is_known in known])
    effects = []
    for trail, rule, (icc, is_known) in zip(state.trails, settings.rules, known, strict=True):
        # What is known of the other metrics' clinging speaks for one that has hardly had a bad request.
        guess = np.where(trail.windows > 1, rule.unknown_correlation, rule.first_correlation)
        other = np.where(anywhere & (guess > 0), largest, guess)
        found, windows = np.where(is_known, icc, other), np.maximum(trail.windows, 1.0)
        sizes = (trail.total / windows, trail.pair_size / windows)
        alone, paired = (1.0 + found * np.maximum(size - 1.0, 0.0) for size in sizes)
        effects.append((alone, paired))
    return effects


def correlation_known(state: State) -> bool:
    """Whether any metric has told enough to estimate how far requests cling together."""
    return any(bool(np.any(correlation(t.dispersion, t.contrast, 0.0)[1])) for t in state.trails)


def _worse(trail: Trail, rule: Rule, alone: Floats, paired: Floats) -> Floats:
    bad, good = trail.bad / alone, (trail.total - trail.bad) / alone
    level = evidence.level_evidence(bad, good, rule.floor, "above", evidence.CAUGHT)
    ratio = evidence.ratio_evidence(trail.up / paired[..., None], evidence.CAUGHT)
    # Where there is nothing of the stable arm to compare with, the level alone speaks.
    lonely = (trail.pair_size == 0) & (trail.windows > 0)
    worse = np.where(lonely, level, evidence.both(ratio, level))
    return np.asarray(worse + np.log(rule.alarm_share), float)


def _sound(trail: Trail, rule: Rule, alone: Floats, paired: Floats) -> Floats:
    bad, good = trail.bad_strictly / alone, (trail.total - trail.bad_strictly) / alone
    level = evidence.level_evidence(bad, good, rule.floor, "below", evidence.CLEAN)
    ratio = evidence.ratio_evidence(trail.down / paired[..., None], evidence.HEALTHY)
    return evidence.either(ratio, level, rule.by_ratio)


def needed(state: State, settings: Settings) -> list[bool]:
    """Which metrics must speak for a promotion: answers only where any were compared."""
    return [
        rule.metric != "disagreement" or bool(np.any(trail.windows > 0))
        for trail, rule in zip(state.trails, settings.rules, strict=True)
    ]


def decide(state: State, settings: Settings) -> Any:
    """OPEN, ROLLBACK or PROMOTE; of as many rollouts as the state holds."""
    return outcome(weigh(state, settings), needed(state, settings), settings)


def outcome(weighed: Sequence[Evidence], asked: Sequence[bool], settings: Settings) -> Any:
    """`asked`: which metrics must speak for a promotion; every one may speak for a rollback."""
    told = [each for each, must in zip(weighed, asked, strict=True) if must]
    sound = np.all([each.promote >= -np.log(settings.beta) for each in told], axis=0)
    steady = ~np.any([each.breaching for each in told], axis=0)
    return np.where(alarm(weighed, settings), ROLLBACK, np.where(sound & steady, PROMOTE, OPEN))


def alarm(weighed: Sequence[Evidence], settings: Settings) -> Any:
    return np.logaddexp.reduce([each.rollback for each in weighed]) >= -np.log(settings.alpha)


def final(state: State, outcome: int) -> Verdict:
    """What is said when no further window comes."""
    if outcome != OPEN:
        return "Rollback" if outcome == ROLLBACK else "Promote"
    return "Inconclusive" if state.windows > 0 else "NoData"
