"""Whether two revisions answer alike: bounds against an independent library, and every verdict by its figures."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seawall.canary.agreement import Accuracy, Counts, Demands, judge, lower, one_sided, upper

pytestmark = pytest.mark.long

USUAL = Demands(most=0.01, alpha=0.01, beta=0.05)


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([1e-6, 0.005, 0.01, 0.05, 0.5]))
def test_bounds_are_those_of_the_beta_distribution(samples, share, level):
    count = round(share * samples)
    low = stats.beta.ppf(level, count, samples - count + 1) if count else 0.0
    high = stats.beta.isf(level, count + 1, samples - count) if count < samples else 1.0
    assert lower(count, samples, level) == pytest.approx(low, rel=1e-6, abs=1e-12)
    assert upper(count, samples, level) == pytest.approx(high, rel=1e-6, abs=1e-12)


@given(st.integers(0, 400), st.integers(0, 400))
def test_uneven_pairs_are_a_binomial_tail(more, fewer):
    wanted = stats.binom.cdf(fewer, more + fewer, 0.5) if more + fewer else 1.0
    assert one_sided(more, fewer) == pytest.approx(min(1.0, wanted), rel=1e-9)


def test_a_published_interval():
    # 3 of 10 at 95 %, two sides: 0.0667 to 0.6525
    assert (round(lower(3, 10, 0.025), 4), round(upper(3, 10, 0.025), 4)) == (0.0667, 0.6525)


def counts(differ, samples, noise=0, both=0, *, repeats=True, accuracy=None):
    """`both`: of the inputs that differ, those that are noise too."""
    return Counts(samples, differ, noise, differ - both, noise - both, repeats, accuracy)


VERDICTS = {
    "nothing differs and there are enough": (
        counts(0, 299), USUAL, "Pass", "0 of 299 answers differ, which shows 1% at most; 1% may",
    ),
    "nothing differs and there are too few": (
        counts(0, 100), USUAL, "Unknown",
        "0 of 100 answers differ, which shows 3% at most; 299 samples show 1%",
    ),
    "one too few": (counts(0, 298), USUAL, "Unknown", "299 samples show 1%"),
    "a few differ, of many": (counts(4, 1000), USUAL, "Pass", "4 of 1000 answers differ, which shows 0.91% at most"),
    "a few more are open": (counts(8, 1000), USUAL, "Unknown", "about .* such samples show 1%$"),
    "too many, not surely": (counts(15, 1000), USUAL, "Unknown", "about .* such samples show more than 1%$"),
    "right on the edge": (counts(10, 1000), USUAL, "Unknown", "10000 such samples would not tell it from 1%"),
    "too many": (counts(30, 1000), USUAL, "Fail", "30 of 1000 answers differ, which shows 1.9% at least; 1% may"),
    "everything differs": (counts(20, 20), USUAL, "Fail", "20 of 20 answers differ"),
    "everything of next to nothing differs": (counts(1, 1), Demands(0.01, 0.001, 0.05), "Unknown", "1 of 1 answers"),
    "as much as is allowed": (counts(60, 100), Demands(0.8, 0.01, 0.05), "Pass", "80% may"),
    "none may and none does": (counts(0, 40), Demands(0.0, 0.01, 0.05), "Pass", "0 of 40 answers differ; none may"),
    "none may and one does": (counts(1, 40), Demands(0.0, 0.01, 0.05), "Fail", "1 of 40 answers differ"),
    "none may, and who differs may be noise": (
        counts(1, 40, repeats=False), Demands(0.0, 0.01, 0.05), "Unknown", "none may",
    ),
    "all may": (counts(40, 40), Demands(1.0, 0.01, 0.05), "Pass", "100% may"),
    "the stable revision's own noise is above the floor": (
        counts(50, 1000, 45, 5, repeats=False), USUAL, "Unknown",
        "the stable revision itself answers 45 of 1000 inputs otherwise the second time, and 1% may",
    ),
    "noise that explains what differs": (
        counts(22, 1000, 15, 0, repeats=False), USUAL, "Unknown", r"the stable revision's own: 15\)",
    ),
    "more than noise explains": (counts(90, 1000, 12, 4, repeats=False), USUAL, "Fail", "90 of 1000"),
    "noise within the floor does no harm": (counts(3, 1000, 3, 1, repeats=False), USUAL, "Pass", "own: 3"),
    "a few of a few, from a model that may be random": (
        counts(5, 50, repeats=False), USUAL, "Unknown", "5 of 50",
    ),
    "the same from a plain graph": (counts(5, 50), USUAL, "Fail", "5 of 50"),
    "a graph that did not repeat itself is not a plain one": (
        counts(5, 50, 1, 1), USUAL, "Unknown", "5 of 50",
    ),
    "less accurate beyond chance, though within the floor": (
        counts(60, 1000, accuracy=Accuracy(960, 920, 45, 5)), Demands(0.1, 0.01, 0.05), "Fail",
        r"less accurate beyond chance: 60 of 1000 answers differ; 92.0% are right and were 96.0% before \(45 lost, 5 won\)",
    ),
    "less accurate by chance": (
        counts(60, 1000, accuracy=Accuracy(960, 955, 25, 20)), Demands(0.1, 0.01, 0.05), "Pass",
        r"95.5% are right and were 96.0% before \(25 lost, 20 won\)",
    ),
    "more accurate, and too different all the same": (
        counts(100, 1000, accuracy=Accuracy(900, 990, 2, 92)), USUAL, "Fail", "99.0% are right and were 90.0%",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "demands", "verdict", "words"), VERDICTS.values(), ids=VERDICTS.keys())
def test_verdicts(found, demands, verdict, words):
    said, message = judge(found, demands)
    assert said == verdict, message
    assert re.search(words, message), message
    assert "\n" not in message


@cache
def judged(found):
    return judge(found, USUAL)[0]


RUNS = 2000


def verdicts(rng, samples, noise, change):
    """A model whose every answer is noise with one probability, and a candidate that changed some others."""
    said = []
    for _ in range(RUNS):
        first, second, theirs = rng.random((3, samples)) < noise
        changed = rng.random(samples) < change
        # two noisy answers differ from one another as they do from the usual one
        differ, own = first | theirs | changed, first | second
        accounted = int((differ & own).sum())
        said.append(judged(counts(int(differ.sum()), samples, int(own.sum()), accounted, repeats=noise == 0)))
    return {word: said.count(word) / RUNS for word in ("Pass", "Fail", "Unknown")}


CHANCES = {
    "few samples, all alike": (30, 0.0, 0.0),
    "the floor itself": (300, 0.0, 0.01),
    "noise within the floor": (300, 0.003, 0.0),
    "noise at the floor": (300, 0.005, 0.0),
    "noise above the floor": (300, 0.05, 0.0),
    "much noise on few samples": (20, 0.1, 0.0),
    "nothing but noise": (40, 0.5, 0.0),
}


@pytest.mark.parametrize(("samples", "noise", "change"), CHANCES.values(), ids=CHANCES.keys())
def test_a_candidate_within_the_floor_fails_as_rarely_as_alpha_says(samples, noise, change):
    said = verdicts(np.random.default_rng(samples), samples, noise, change)
    assert said["Fail"] <= stats.binom.ppf(0.9999, RUNS, USUAL.alpha) / RUNS


@pytest.mark.parametrize("change", [0.0101, 0.02, 0.05])
@pytest.mark.parametrize("samples", [50, 300, 1000])
def test_a_candidate_beyond_the_floor_passes_as_rarely_as_beta_says(samples, change):
    said = verdicts(np.random.default_rng(samples), samples, 0.0, change)
    assert said["Pass"] <= stats.binom.ppf(0.9999, RUNS, USUAL.beta) / RUNS


def test_power_is_what_it_can_be():
    rng = np.random.default_rng(1)
    assert verdicts(rng, 300, 0.0, 0.0)["Pass"] == 1.0
    assert verdicts(rng, 1000, 0.0, 0.002)["Pass"] > 0.9
    assert verdicts(rng, 300, 0.0, 0.1)["Fail"] > 0.99
    assert verdicts(rng, 300, 0.002, 0.1)["Fail"] > 0.95
