"""The judge's guarantees and its speed, by chance: seeded, thousands of rollouts of two hours, a look every 15 s."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from seawall.canary.judge import PROMOTE, ROLLBACK, Settings
from support.rollout_streams import BAD, SOUND, Outcome, Stream, judge

pytestmark = pytest.mark.long
RUNS = 2000
SETTINGS = Settings()
Judged = dict[tuple[str, str], "Future[Outcome]"]


@pytest.fixture(scope="module")
def judged() -> Iterator[Judged]:
    context = multiprocessing.get_context("spawn")  # numpy's threads do not survive a fork
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), context) as pool:
        yield {
            (kind, stream.name): pool.submit(judge, stream, RUNS, 20_000 + number)
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


@pytest.mark.parametrize(
    ("name", "stream", "verdict", "median"),
    [
        ("sound", Stream(""), PROMOTE, 1_200),
        ("sound, with windows before", Stream("", before=40), PROMOTE, 1_200),
        ("three times as many slow", Stream("", ratio=3), ROLLBACK, 1_900),
        ("ten times as many, with windows before", Stream("", ratio=10, before=40), ROLLBACK, 200),
        ("a storm of errors", Stream("", errors=0.001, error_ratio=300), ROLLBACK, 80),
    ],
)
def test_independent_requests_are_judged_within(name, stream, verdict, median):
    outcome = judge(stream, 4000, 77)
    assert (outcome.verdict == verdict).mean() > 0.97, name
    assert np.median(outcome.requests) <= median, name


@pytest.mark.parametrize("before", [0, 40])
def test_a_storm_of_errors_ends_in_the_first_window(before):
    outcome = judge(Stream("", errors=0.001, error_ratio=300, before=before, windows=20), RUNS, 78)
    assert ((outcome.verdict == ROLLBACK) & (outcome.windows == 1)).mean() > 0.95


def test_clinging_requests_without_a_design_effect_would_break_the_promise(monkeypatch):
    """So that the tests above can fail."""
    monkeypatch.setattr("seawall.canary.judge.correlation", lambda *_: (np.zeros(()), np.ones((), bool)))
    outcome = judge(replace(BAD[2], windows=100), 500, 79)
    assert (outcome.verdict == PROMOTE).mean() > 2 * SETTINGS.beta
