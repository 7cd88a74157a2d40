"""The bets: their expectation under the null is at most 1, and they agree with SciPy's likelihoods."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seawall.canary import evidence
from seawall.canary.evidence import BETTER, CAUGHT, CLEAN, HEALTHY, POINTS, WORSE

NONE = np.zeros(POINTS)


@pytest.mark.parametrize("prior", [CAUGHT, HEALTHY, CLEAN])
def test_a_prior_spends_everything_and_leaves_no_alternative_out(prior):
    assert prior.sum() == pytest.approx(1)
    assert (prior > 0).all()


@pytest.mark.parametrize(
    ("side", "factors", "bound", "n_c", "n_s", "total"),
    [
        ("above", WORSE, 1.25, 75, 675, 8),
        ("below", BETTER, 2.0, 75, 675, 8),
        ("below", BETTER, 3.0, 300, 300, 5),
    ],
)
def test_the_ratio_test_is_the_likelihood_ratio_of_binomials(side, factors, bound, n_c, n_s, total):
    share = lambda rho: n_c * rho / (n_s + n_c * rho)  # noqa: E731 - a formula
    for bad in range(total + 1):
        bets = evidence.ratio_step(NONE, (bad, n_c), (total - bad, n_s), bound, side)
        wanted = stats.binom.logpmf(bad, total, share(bound * factors)) - stats.binom.logpmf(
            bad, total, share(bound)
        )
        assert bets == pytest.approx(wanted)


@pytest.mark.parametrize(("side", "bound", "prior"), [("above", 1.25, CAUGHT), ("below", 2.0, HEALTHY)])
@pytest.mark.parametrize("worse_by", [1.0, 1.5])
def test_expected_evidence_of_a_ratio_is_at_most_one_under_its_null(side, bound, prior, worse_by):
    n_c, n_s, total = 75, 675, 12
    rho = bound / worse_by if side == "above" else bound * worse_by
    outcomes = np.arange(total + 1)
    bets = np.array([evidence.ratio_step(NONE, (x, n_c), (total - x, n_s), bound, side) for x in outcomes])
    chances = stats.binom.pmf(outcomes, total, n_c * rho / (n_s + n_c * rho))
    mean = float((chances * np.exp(evidence.ratio_evidence(bets, prior))).sum())
    assert mean == pytest.approx(1) if worse_by == 1 else mean < 1


@pytest.mark.parametrize(("side", "prior"), [("above", CAUGHT), ("below", CLEAN)])
@pytest.mark.parametrize("away", [1.0, 1.3])
def test_expected_evidence_of_a_level_is_at_most_one_under_its_null(side, prior, away):
    n, bound = 400, 0.01
    level = bound / away if side == "above" else bound * away
    bad = np.arange(n + 1)
    told = evidence.level_evidence(bad, n - bad, bound, side, prior)
    mean = float(np.exp(stats.binom.logpmf(bad, n, level) + told).sum())
    assert mean == pytest.approx(1) if away == 1 else mean < 1


@pytest.mark.parametrize(
    ("name", "candidate", "stable"),
    [
        ("no request to the candidate", (0, 0), (3, 600)),
        ("none to the stable arm", (3, 60), (0, 0)),
        ("no bad one", (0, 60), (0, 600)),
    ],
)
def test_windows_that_tell_nothing_of_the_ratio_change_nothing(name, candidate, stable):
    before = np.linspace(-1, 1, POINTS)
    assert evidence.ratio_step(before, candidate, stable, 1.25, "above") == pytest.approx(before), name


def test_levels_that_no_rate_can_have_are_not_bet_on():
    assert np.isfinite(evidence.level_evidence(3, 2, 0.4, "above", CAUGHT))


def test_combinations_are_the_smaller_one_and_the_mean():
    one, other = np.array([0.0, 2.0]), np.array([1.0, -50.0])
    assert evidence.both(one, other).tolist() == [0.0, -50.0]
    assert np.exp(evidence.either(one, other, 0.25)) == pytest.approx(
        0.25 * np.exp(one) + 0.75 * np.exp(other)
    )
