"""Disagreement over live requests: the verdict from counts that may be looked at at any moment."""

from __future__ import annotations

import numpy as np
import pytest

from seawall.canary.agreement import Demands
from seawall.canary.shadow import Tally, judge, needed

ONE_PERCENT = Demands(0.01, 0.01, 0.05)


def graph(compared: int, differ: int) -> Tally:
    """Counts of a stable revision that always repeats itself."""
    half = compared // 2
    return Tally(
        "s", "3-abc/1", seen=compared, compared=compared, differ=differ, doubled=half,
        only_candidate=min(differ // 2, half), repeats=True, metrics=("top1",),
    )  # fmt: skip


def noisy(compared: int, differ: int, noise: int, only_candidate: int, only_stable: int) -> Tally:
    return Tally(
        "s", "3-abc/1", seen=compared, compared=compared, differ=differ, doubled=compared, noise=noise,
        only_candidate=only_candidate, only_stable=only_stable,
    )  # fmt: skip


VERDICTS: dict[str, tuple[Tally, Demands, str, str]] = {
    "nothing yet": (graph(0, 0), ONE_PERCENT, "Open", "0 of 0 answers to live requests differ"),
    "too few": (graph(100, 0), ONE_PERCENT, "Open", "top1: 0 of 100"),
    "enough without a difference": (graph(600, 0), ONE_PERCENT, "Pass", "1% may"),
    "as many as may be": (graph(2000, 20), ONE_PERCENT, "Open", "20 of 2000"),
    "half as many over a long time": (graph(10_000, 40), ONE_PERCENT, "Pass", "40 of 10000"),
    "a tenth": (graph(150, 15), ONE_PERCENT, "Fail", "15 of 150"),
    "all of the first": (graph(8, 8), ONE_PERCENT, "Fail", "8 of 8"),
    "one of one": (graph(1, 1), ONE_PERCENT, "Open", "1 of 1"),
    "a tenth may": (graph(150, 15), Demands(0.1, 0.01, 0.05), "Open", "10% may"),
    "the stable revision's own noise": (
        noisy(1000, 100, 5, 98, 3), ONE_PERCENT, "Fail", "the stable revision's own: 5 of 1000"
    ),
    "noise that explains it": (noisy(2000, 60, 0, 0, 0), ONE_PERCENT, "Open", "60 of 2000"),
    "more noise than may differ": (
        noisy(1000, 100, 100, 50, 50), ONE_PERCENT, "Unknown", "not repeatable enough to compare with"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict(case: str) -> None:
    tally, demands, verdict, words = VERDICTS[case]
    found, message = judge(tally, demands)
    assert (found, words in message) == (verdict, True), message


def test_what_got_no_answer_is_told() -> None:
    tally = Tally("s", "o", seen=9, compared=5, failed_candidate=3, failed_stable=1)
    _, message = judge(tally, ONE_PERCENT)
    assert "no answer of the candidate to 3; no answer of the stable revision to 1" in message


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (graph(0, 0), "such requests show 1%"),
        (graph(100, 0), "such requests show 1%"),
        (graph(100, 3), "such requests show more than 1%"),
        (graph(1000, 10), "100000 such requests would not tell it from 1%"),
    ],
)
def test_how_many_would_settle_it(tally: Tally, words: str) -> None:
    assert words in needed(tally, ONE_PERCENT)


def test_so_many_requests_do_settle_it() -> None:
    count = int(needed(graph(0, 0), ONE_PERCENT).split()[1])
    assert judge(graph(count, 0), ONE_PERCENT)[0] == "Pass"
    assert judge(graph(count // 2, 0), ONE_PERCENT)[0] == "Open"


@pytest.mark.long
@pytest.mark.parametrize(
    ("rate", "never", "at_most"), [(0.01, "Fail", 0.01), (0.0095, "Fail", 0.01), (0.0101, "Pass", 0.05)]
)
def test_looking_at_every_moment_errs_no_more_often_than_promised(
    rate: float, never: str, at_most: float
) -> None:
    random, runs, wrong = np.random.default_rng(7), 300, 0
    for _ in range(runs):
        bad = np.cumsum(random.random(2000) < rate)
        wrong += any(judge(graph(n, int(bad[n - 1])), ONE_PERCENT)[0] == never for n in range(50, 2001, 50))
    allowed = at_most * runs
    assert wrong <= allowed + 2.4 * np.sqrt(allowed)
