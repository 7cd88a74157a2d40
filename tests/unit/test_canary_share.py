"""The candidate's share of the requests: what is chance, what connections do, and what is no chance at all."""

from __future__ import annotations

import numpy as np
import pytest

from seawall.canary.share import Share

pytestmark = pytest.mark.long

WINDOWS = 12


def after(pairs: list[tuple[float, float]], part: float = 0.25) -> Share:
    """`pairs`: requests of the stable revision and of the candidate."""
    share = Share()
    for stable, candidate in pairs:
        share = share.seen(stable, candidate, part)
    return share


TABLE = {
    # requests of both arms in each window, by pods or by weights, wrong
    "as it should be": ([(300, 100)] * WINDOWS, True, False),
    "nothing at all": ([(0, 0)] * WINDOWS, True, False),
    "too few to say": ([(60, 0)] * 3, True, False),
    "no request of the candidate's": ([(400, 0)] * WINDOWS, True, True),
    "clients that stay where they are": ([(340, 60)] * WINDOWS, True, True),
    "all with the candidate": ([(0, 400)] * WINDOWS, True, True),
    "clients that come and go together": ([(400, 0), (380, 20), (20, 380), (400, 0)] * 3, True, False),
    "the same, where a gateway splits": ([(400, 0), (380, 20), (40, 360), (400, 0)] * 3, False, False),
    "a little less, where a gateway splits": ([(308, 92)] * WINDOWS, False, False),
}


@pytest.mark.parametrize(("pairs", "by_pods", "wrong"), TABLE.values(), ids=TABLE)
def test_a_share_that_is_no_chance(pairs: list[tuple[float, float]], by_pods: bool, wrong: bool) -> None:
    assert after(pairs).wrong(by_pods=by_pods) is wrong


def test_the_share_is_that_of_each_window() -> None:
    """A pod more of the stable revision's changes what is meant, and nothing is wrong with that."""
    grown = after([(300, 100)] * 6)
    for _ in range(6):
        grown = grown.seen(600, 100, 1 / 7)
    assert not grown.wrong(by_pods=True)
    assert grown.due() == pytest.approx(1200 / 6600)
    assert grown.told() == pytest.approx(1200 / 6600)


def test_a_promotion_has_nothing_to_choose_between() -> None:
    assert not after([(0, 400)] * WINDOWS, part=1.0).wrong(by_pods=True)


@pytest.mark.parametrize("by_pods", [False, True])
@pytest.mark.parametrize("part", [0.05, 0.25, 0.5])
def test_requests_that_are_sent_by_chance_are_no_fault(part: float, by_pods: bool) -> None:
    chance = np.random.default_rng(7)
    found = 0
    for _ in range(300):
        share = Share()
        for candidate in chance.binomial(400, part, size=40):
            share = share.seen(400.0 - candidate, float(candidate), part)
            found += share.wrong(by_pods=by_pods)
    assert found == 0


def test_connections_of_some_minutes_are_told_from_connections_for_good() -> None:
    """Twenty of them choose a pod of four at random: anew every four windows, or once for all."""
    chance = np.random.default_rng(11)

    def lives(renewed: int) -> tuple[int, int]:
        off = wrong = 0
        for _ in range(200):
            share, of_candidate = Share(), 0
            for number in range(60):
                if number % renewed == 0:
                    of_candidate = int(chance.binomial(20, 0.25))
                candidate = float(chance.binomial(400, of_candidate / 20))
                share = share.seen(400 - candidate, candidate, 0.25)
            wrong += share.wrong(by_pods=True)
            off += abs((share.told() or 0.0) - 0.25) > 0.06
        return off, wrong

    assert lives(4)[1] < 10
    off, wrong = lives(1000)
    assert off > 50
    assert wrong >= off
    assert wrong > 0.6 * 200


def test_what_is_kept_comes_back() -> None:
    share = after([(300, 90), (310, 120)])
    assert Share.restored([float(text) for text in (f"{value:.9g}" for value in share.kept())]) == share
    with pytest.raises(ValueError, match="less than nothing"):
        Share.restored([-1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
