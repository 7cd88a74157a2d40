"""The judge over a rollout of several steps.

What speaks for a rollback adds up; what speaks for going on begins anew with each step, because a weight that
was carried well says little about the next one. How far requests cling to each other is asked of all windows,
whatever step they fell into. As the judge's, all functions take arrays over many rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from seawall.canary import judge
from seawall.canary.judge import Evidence, Settings, State
from seawall.canary.window import Window

INNER_BETA = 0.2
"""Of the steps before the last one: passing them promotes nothing."""


class Course(NamedTuple):
    whole: State
    step: State


def begin(settings: Settings, shape: tuple[int, ...] = ()) -> Course:
    return Course(judge.begin(settings, shape), judge.begin(settings, shape))


def advance(course: Course, window: Window, settings: Settings, of_step: bool = True) -> Course:
    """`of_step`: the window lies in the step at hand, so that it may speak for going on."""
    whole = judge.advance(course.whole, window, settings)
    if whole is course.whole:
        return course
    return Course(whole, judge.advance(course.step, window, settings) if of_step else course.step)


def next_step(course: Course, settings: Settings) -> Course:
    return Course(course.whole, judge.begin(settings, np.shape(course.whole.requests)))


def weigh(course: Course, settings: Settings) -> tuple[Evidence, ...]:
    here = _near(course)
    return tuple(
        Evidence(all_of_it.rollback, of_step.promote, all_of_it.effect, all_of_it.breaching)
        for all_of_it, of_step in zip(
            judge.weigh(course.whole, settings), judge.weigh(here, settings), strict=True
        )
    )


def _near(course: Course) -> State:
    """The step's evidence with what the whole rollout knows of the stable arm."""
    trails = tuple(
        step._replace(
            dispersion=whole.dispersion,
            contrast=whole.contrast,
            stable_bad=whole.stable_bad,
            stable_total=whole.stable_total,
        )
        for whole, step in zip(course.whole.trails, course.step.trails, strict=True)
    )
    return course.step._replace(trails=trails)


def asked(course: Course, settings: Settings, latency: bool) -> list[bool]:
    """Which metrics must speak for going on; `latency`: pods of both arms can be equally loaded."""
    return [
        must and (latency or rule.metric != "latency")
        for rule, must in zip(settings.rules, judge.needed(course.step, settings), strict=True)
    ]


def outcome(weighed: Sequence[Evidence], must: Sequence[bool], settings: Settings, *, last: bool) -> Any:
    """OPEN, ROLLBACK, or PROMOTE where the step is passed."""
    beta = settings.beta if last else max(settings.beta, INNER_BETA)
    return judge.outcome(weighed, must, replace(settings, beta=beta))
