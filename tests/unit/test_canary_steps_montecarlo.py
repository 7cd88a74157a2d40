"""The judge's guarantees over a rollout of two steps, each look through what a status keeps."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from seawall.canary import session
from seawall.canary.judge import OPEN, PROMOTE, ROLLBACK, Settings, needed
from seawall.canary.session import Place
from support.rollout_steps import SHARES, judge_steps
from support.rollout_streams import Outcome, Stream, drifting, jumping, pick, windows

pytestmark = pytest.mark.long
RUNS = 500
HOUR = 240
SETTINGS = Settings()
ALIKE = (
    Stream("50 rps"),
    Stream("50 rps, icc 0.05", correlation=0.05),
    Stream("500 rps, icc 0.05", 500, correlation=0.05),
    Stream("drifting base, icc 0.01", base=drifting(0.01), correlation=0.01),
    Stream("jumping base, icc 0.05", base=jumping, correlation=0.05),
    Stream("40 windows before, icc 0.05", correlation=0.05, before=40),
)
SOUND = (*ALIKE, Stream("errors 0.02, icc 0.05", errors=0.02, correlation=0.05))
BAD = (
    *(replace(stream, ratio=2.0) for stream in ALIKE),
    Stream("three times the errors, icc 0.01", errors=0.002, error_ratio=3, correlation=0.01),
)
Judged = dict[tuple[str, str], "Future[Outcome]"]


@pytest.fixture(scope="module")
def judged() -> Iterator[Judged]:
    context = multiprocessing.get_context("spawn")  # numpy's threads do not survive a fork
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), context) as pool:
        yield {
            (kind, stream.name): pool.submit(
                judge_steps, replace(stream, windows=HOUR), RUNS, 50_000 + number, SETTINGS
            )
            for kind, streams in (("sound", SOUND), ("bad", BAD))
            for number, stream in enumerate(streams)
        }


def most(probability: float) -> int:
    """So many of RUNS happen with that probability, once in a thousand times."""
    return int(stats.binom.ppf(0.999, RUNS, probability))


@pytest.mark.parametrize("name", [stream.name for stream in SOUND])
def test_a_sound_candidate_is_rarely_rolled_back(judged, name):
    verdicts = judged["sound", name].result().verdict
    assert (verdicts == ROLLBACK).sum() <= most(SETTINGS.alpha)


@pytest.mark.parametrize("name", [stream.name for stream in BAD])
def test_a_bad_candidate_is_rarely_promoted(judged, name):
    verdicts = judged["bad", name].result().verdict
    assert (verdicts == PROMOTE).sum() <= most(SETTINGS.beta)


def test_a_sound_candidate_gets_through_both_steps_in_minutes(judged):
    outcome = judged["sound", "50 rps"].result()
    assert (outcome.verdict == PROMOTE).mean() > 0.97
    assert np.median(outcome.windows) < 40


def _alone(stream: Stream, run: int, runs: int, seed: int) -> tuple[int, float]:
    """One of these rollouts by the session itself, through text at every look: (verdict, windows)."""
    known = [
        [
            replace(pick(window, run), end=window.end + 10_000.0)
            for window in windows(replace(stream, share=share), runs, seed)
        ]
        for share in SHARES
    ]
    origin = 10_000.0
    place = Place("1-abc", 0, round(100 * SHARES[0]), origin)
    found, step, moving, kept = None, 0, False, None
    for number in range(1 - stream.before, stream.windows + 1):
        window = known[step][number + stream.before - 1]
        found = session.restore(json.loads(kept), "1-abc", SETTINGS) if kept else None
        here = replace(place, step=step, weight=round(100 * SHARES[step]), since=None if moving else origin)
        found = session.read(found, [window], here if kept or number > 0 else place, SETTINGS)
        assert found is not None
        said = found.said(SETTINGS)
        kept = json.dumps(session.keep(found, said, SETTINGS))
        if number <= 0:
            continue
        must = needed(found.course.step, SETTINGS)
        outcome = found.outcome(said, must, SETTINGS, last=step == 1)
        if outcome == ROLLBACK or (outcome == PROMOTE and step == 1 and not moving):
            return outcome, number
        if moving:
            step, moving, origin = 1, False, window.end
        elif outcome == PROMOTE:
            moving = True
    return OPEN, np.inf


@pytest.mark.parametrize(
    "stream",
    [
        Stream("alike", windows=60),
        Stream("clinging, windows before", correlation=0.02, before=20, windows=60),
        Stream("twice", ratio=2, windows=60),
        Stream("five times", ratio=5, windows=60),
        Stream("errors", errors=0.002, error_ratio=6, correlation=0.01, windows=60),
    ],
    ids=lambda stream: stream.name,
)
def test_many_rollouts_at_once_go_as_each_of_them_by_the_session(stream):
    runs, seed = 6, 91
    together = judge_steps(stream, runs, seed, SETTINGS)
    for run in range(0, runs, 2):
        assert (together.verdict[run], together.windows[run]) == _alone(stream, run, runs, seed)
