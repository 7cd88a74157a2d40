"""Thousands of rollouts of two steps at once, as canary.session reads one: a share of a tenth, then half.

A step is passed at some look; while the weight is changed one window is counted that speaks for nobody's going
on; then the second step begins. After every look each number is rounded as a status keeps it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from seawall.canary import course as courses
from seawall.canary.course import Course
from seawall.canary.judge import OPEN, PROMOTE, ROLLBACK, Settings
from seawall.canary.window import Arm, Window
from support.rollout_streams import Outcome, Stream, pick, windows

LAST = 1
MOVING = -1
SHARES = (0.1, 0.5)


def judge_steps(stream: Stream, runs: int, seed: int, rules: Settings) -> Outcome:
    """`windows` of the outcome: of both steps together."""
    verdict, requests, when = np.zeros(runs, int), np.full(runs, np.inf), np.full(runs, np.inf)
    left, step = np.arange(runs), np.zeros(runs, int)
    course = courses.begin(rules, (runs,))
    weights = (windows(replace(stream, share=share), runs, seed) for share in SHARES)
    for number, (tenth, half) in enumerate(zip(*weights, strict=True), 1 - stream.before):
        window = pick(_chosen(step == LAST, half, tenth), left)
        if number <= 0:
            course = rounded(courses.advance(course, window, rules, False))
            continue
        here, moving = step[left], step[left] == MOVING
        after = courses.advance(course, window, rules)
        if moving.any():
            passing = courses.advance(course, replace(window, warming=True), rules, False)
            after = _chosen(moving, passing, after)
        course = rounded(after)
        told = _told(course, rules, here)
        passed, ended = told == PROMOTE, (told == ROLLBACK) | ((told == PROMOTE) & (here == LAST))
        step[left[moving]] = LAST
        onward = passed & (here == 0)
        step[left[onward]] = MOVING
        if onward.any():
            course = _chosen(onward, courses.next_step(course, rules), course)
        at = left[ended]
        verdict[at], when[at] = told[ended], number
        requests[at] = course.whole.requests[ended]
        if ended.any():
            left, course = left[~ended], pick(course, ~ended)
        if not left.size:
            break
    return Outcome(verdict, requests, when)


def _told(course: Course, rules: Settings, step: Any) -> Any:
    weighed, must = courses.weigh(course, rules), courses.asked(course, rules, True)
    inner, last = (courses.outcome(weighed, must, rules, last=which) for which in (False, True))
    told = np.where(step == LAST, last, inner)
    return np.where((step == MOVING) & (told == PROMOTE), OPEN, told)


def rounded(value: Any) -> Any:
    """Every number as nine digits of it say."""
    if isinstance(value, np.ndarray):
        with np.errstate(divide="ignore"):
            unit = 10.0 ** (np.floor(np.log10(np.abs(value))) - 8)
        return np.where(value == 0, value, np.round(value / np.where(value == 0, 1, unit)) * unit)
    if isinstance(value, tuple):
        inner = [rounded(each) for each in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    return value


def _chosen(which: Any, one: Any, other: Any) -> Any:
    """Of each rollout the one or the other."""
    if isinstance(one, np.ndarray):
        return np.where(which[:, None] if one.ndim > 1 else which, one, other)
    if isinstance(one, Arm):
        return Arm(
            *(_chosen(which, getattr(one, n), getattr(other, n)) for n in ("requests", "slow", "errors"))
        )
    if isinstance(one, Window):
        return Window(
            one.end, _chosen(which, one.stable, other.stable), _chosen(which, one.candidate, other.candidate)
        )
    if isinstance(one, tuple):
        inner = [_chosen(which, a, b) for a, b in zip(one, other, strict=True)]
        return type(one)(*inner) if hasattr(one, "_fields") else tuple(inner)
    return one
