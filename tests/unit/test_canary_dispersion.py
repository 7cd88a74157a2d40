"""The design effect: found where requests cling together, near 1 where they do not, blind to what both arms share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seawall.canary.dispersion import Contrast, Dispersion, _chi_square, compare, correlation, observe
from support.rollout_streams import ORDINARY, Stream, jumping, windows

RUNS = 200


def estimated(stream: Stream, z: float) -> tuple[np.ndarray, np.ndarray]:
    stable, contrast = Dispersion.new((RUNS,)), Contrast.new((RUNS,))
    for window in windows(stream, RUNS, seed=3):
        arms = (window.candidate.seen("latency"), window.stable.seen("latency"))
        stable, contrast = observe(stable, *arms[1]), compare(contrast, *arms)
    return correlation(stable, contrast, z)


@pytest.mark.parametrize(
    ("name", "stream", "low", "high"),
    [
        ("independent requests", Stream("", windows=40), 0.0, 0.001),
        ("a correlation of .01", Stream("", correlation=0.01, windows=120), 0.008, 0.025),
        ("a correlation of .05", Stream("", correlation=0.05, windows=240), 0.04, 0.14),
        (
            "a base rate that jumps, shared by both arms",
            Stream("", base=jumping, share=0.25, windows=60),
            0.0,
            0.004,
        ),
    ],
)
def test_the_median_bound_is_at_the_correlation_or_moderately_above(name, stream, low, high):
    icc, known = estimated(stream, 1.0)
    assert known.all(), name
    assert low <= np.median(icc) <= high, name


def test_the_stable_arm_alone_takes_jumps_for_clinging():
    alone, _ = estimated(Stream("", base=jumping, share=0.0, windows=60), 0.0)
    assert np.median(alone) > 0.01


def test_a_candidate_that_clings_more_than_the_stable_arm_shows():
    chance = np.random.default_rng(1)
    stable, contrast = Dispersion.new((RUNS,)), Contrast.new((RUNS,))
    n, m = np.full(RUNS, 700.0), np.full(RUNS, 300.0)
    for _ in range(100):
        level = chance.beta(0.01 * 19, 0.99 * 19, RUNS)
        arms = (chance.binomial(300, level), m), (chance.binomial(700, 0.01, RUNS), n)
        stable, contrast = observe(stable, *arms[1]), compare(contrast, *arms)
    icc, _ = correlation(stable, contrast, 1.0)
    assert np.median(icc) > 0.003


def test_few_windows_or_few_events_are_not_known():
    told = Dispersion.new()
    for _ in range(4):
        told = observe(told, 5, 500)
    assert not correlation(told, Contrast.new(), 1.0)[1]
    told = observe(told, 5, 500)
    assert correlation(told, Contrast.new(), 1.0)[1]
    quiet = Dispersion.new()
    for _ in range(40):
        quiet = observe(quiet, 0, 500)
    assert not correlation(quiet, Contrast.new(), 1.0)[1], "no bad request says nothing of how they cling"


def test_the_bound_comes_down_as_windows_are_seen():
    bounds = [
        np.median(estimated(Stream("", base=ORDINARY, windows=count), 1.0)[0]) for count in (8, 30, 240)
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < 0.2 * bounds[0]


def test_an_empty_window_changes_nothing():
    told = observe(observe(Dispersion.new(), 3, 300), 5, 400)
    assert observe(told, 0, 0) == told
    compared = compare(Contrast.new(), (1.0, 50.0), (3.0, 300.0))
    assert compare(compared, (0.0, 0.0), (3.0, 300.0)) == compared


@pytest.mark.parametrize("freedom", [2.0, 5.0, 26.0, 300.0])
@pytest.mark.parametrize("z", [-1.0, 1.0])
def test_the_cube_root_is_near_the_chi_square_quantile(freedom, z):
    wanted = stats.chi2.ppf(stats.norm.cdf(z), freedom)
    assert _chi_square(np.asarray(freedom), z) == pytest.approx(wanted, rel=0.06)
