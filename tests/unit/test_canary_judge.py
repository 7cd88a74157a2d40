"""What the judge does with windows of every kind."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from seawall.canary import judge
from seawall.canary.judge import OPEN, PROMOTE, ROLLBACK, Settings, advance, begin, decide, weigh
from seawall.canary.kept import LENGTH, keep, restore
from seawall.canary.replay import replay
from seawall.canary.window import Arm, Window

SETTINGS = Settings()
STABLE = Arm(675, 6, 1, ready_pods=9)
SOUND = Arm(75, 1, 0, ready_pods=1)


def course(candidate: Arm, count: int, stable: Arm = STABLE, before: int = 0) -> list[Window]:
    quiet = [Window(15 * (index + 1), _wobbling(stable, index), Arm()) for index in range(before)]
    return quiet + [
        Window(15 * (before + index + 1), _wobbling(stable, index), _wobbling(candidate, index))
        for index in range(count)
    ]


def _wobbling(arm: Arm, index: int) -> Arm:
    """Counts that are not all alike, as they never are."""
    return replace(arm, slow=max(0.0, arm.slow + (-2, 1, 2, -1)[index % 4] * (arm.slow > 3)))


@pytest.mark.parametrize(
    ("name", "windows", "verdict"),
    [
        ("alike", course(Arm(75, 0.7, 0), 60), "Promote"),
        ("five times as many slow ones", course(Arm(75, 4, 0), 60), "Rollback"),
        ("errors", course(Arm(75, 1, 5), 60), "Rollback"),
        ("a storm of errors, in its first window", course(Arm(75, 0, 24), 1), "Rollback"),
        ("a storm of errors with no request to the stable arm", course(Arm(75, 0, 40), 3, Arm()), "Rollback"),
        ("right and fast but other answers", course(Arm(75, 0.7, 0, 75, 4), 60), "Rollback"),
        ("right and fast, answers alike", course(Arm(75, 0.7, 0, 75, 0), 60), "Promote"),
        ("answers of which too few were compared", course(Arm(75, 0.7, 0, 2, 0), 60), "Inconclusive"),
        ("half as many again, below the floor", course(Arm(75, 0.6, 0), 400, Arm(675, 3.6, 1)), "Promote"),
        ("all requests to the candidate, while the stable pods stand by", course(Arm(750, 0, 0, ready_pods=9), 60, Arm(ready_pods=9)), "Promote"),
        ("no request to the candidate", course(Arm(), 60), "NoData"),
        ("no window", [], "NoData"),
        ("too little to tell", course(SOUND, 2), "Inconclusive"),
        ("no request to the stable arm, and the candidate within the floor", course(Arm(75, 0, 0), 60, Arm()), "Promote"),
    ],
)  # fmt: skip
def test_the_verdict_on(name, windows, verdict):
    assert replay(windows, SETTINGS).verdict == verdict, name


def test_a_window_read_again_or_late_changes_nothing():
    windows = course(Arm(75, 4, 0), 3)
    again = replay([windows[0], windows[0], windows[1], windows[0], windows[2], windows[2]], SETTINGS)
    assert again.repeated == 3
    assert again.looks == replay(windows, SETTINGS).looks


def test_after_the_most_windows_nothing_more_is_looked_at():
    report = replay(course(Arm(75, 1.5, 0), 40), replace(SETTINGS, max_windows=7))
    assert (report.verdict, report.windows, len(report.looks)) == ("Inconclusive", 7, 7)


def test_windows_before_the_rollout_do_not_count_but_tell_how_requests_cling():
    early, late = (replay(course(Arm(75, 8, 0), 40, before=before), SETTINGS) for before in (0, 40))
    assert late.verdict == early.verdict == "Rollback"
    assert late.candidate_requests < early.candidate_requests
    assert late.seconds == 15 * late.windows


def test_latency_under_unlike_load_does_not_count_but_errors_do():
    crowded = Arm(150, 20, 0, ready_pods=1)
    slow = replay(course(crowded, 30), SETTINGS)
    assert slow.verdict == "Inconclusive"
    assert all(look.mismatched for look in slow.looks)
    assert replay(course(replace(crowded, errors=60), 30), SETTINGS).verdict == "Rollback"


@pytest.mark.parametrize("pods", [(None, 1), (9, None), (0, 1)])
def test_load_is_not_compared_where_pods_are_not_known(pods):
    stable, candidate = replace(STABLE, ready_pods=pods[0]), Arm(150, 20, 0, ready_pods=pods[1])
    assert replay(course(candidate, 30, stable), SETTINGS).verdict == "Rollback"


def test_the_warm_up_spares_latency_and_never_errors():
    settings = replace(SETTINGS, warmup_windows=10)
    cold = course(Arm(75, 30, 0), 10)
    assert replay(cold, settings).verdict == "Inconclusive"
    assert replay(cold, SETTINGS).verdict == "Rollback"
    assert replay(course(Arm(75, 30, 24), 1), settings).verdict == "Rollback"
    warmed = cold + [replace(w, end=w.end + 150) for w in course(Arm(75, 0.7, 0), 60)]
    assert replay(warmed, settings).verdict == "Promote"


def test_nothing_is_promoted_nor_blamed_while_both_arms_breach():
    both = course(Arm(75, 7.5, 0), 200, Arm(675, 67, 1))
    report = replay(both, SETTINGS)
    assert report.verdict == "Inconclusive"
    assert report.looks[-1].metrics["latency"].breaching
    assert report.looks[-1].metrics["latency"].promote > -np.log(SETTINGS.beta), (
        "but for the breach it would pass"
    )


def test_a_candidate_must_pass_by_the_lower_edge_and_fail_by_the_higher():
    between = course(replace(Arm(75, 0.7, 0), slow_at_most=6.0), 100)
    assert replay(between, SETTINGS).verdict == "Inconclusive"
    assert replay(course(replace(Arm(75, 5.0, 0), slow_at_most=6.0), 100), SETTINGS).verdict == "Rollback"


def test_windows_without_requests_leave_the_evidence_as_it_is():
    state = begin(SETTINGS)
    for window in course(Arm(75, 3, 1), 12):
        state = advance(state, window, SETTINGS)
    later = advance(state, Window(10_000, Arm(), Arm()), SETTINGS)
    assert [said.rollback for said in weigh(later, SETTINGS)] == [
        said.rollback for said in weigh(state, SETTINGS)
    ]
    assert later.windows == state.windows


def test_many_rollouts_at_once_are_judged_as_each_alone():
    slow = np.array([1.0, 8.0, 0.0])
    together = begin(SETTINGS, (3,))
    alone = [begin(SETTINGS) for _ in slow]
    for index in range(30):
        stable = Arm(675, 6 + index % 3, 1)
        window = Window(
            index,
            Arm(np.full(3, 675.0), np.full(3, stable.slow), np.ones(3)),
            Arm(np.full(3, 75.0), slow, np.zeros(3)),
        )
        together = advance(together, window, SETTINGS)
        alone = [
            advance(state, Window(index, stable, Arm(75, x, 0)), SETTINGS)
            for state, x in zip(alone, slow, strict=True)
        ]
        assert decide(together, SETTINGS).tolist() == [int(decide(state, SETTINGS)) for state in alone]


def test_a_trail_survives_being_written_down():
    state = begin(SETTINGS)
    for window in course(Arm(75, 2, 0, 20, 1), 40, before=5):
        state = advance(state, window, SETTINGS)
        kept = tuple(restore(keep(trail)) for trail in state.trails)
        again = state._replace(trails=kept)
        for one, other in zip(weigh(state, SETTINGS), weigh(again, SETTINGS), strict=True):
            assert one.rollback == pytest.approx(other.rollback, abs=1e-4)
            assert one.promote == pytest.approx(other.promote, abs=1e-4)
    assert sum(len(text) + 3 for trail in kept for text in keep(trail)) < 3000, "it lives in a status"


@pytest.mark.parametrize("kept", [[], ["0"] * (LENGTH - 1), ["nan"] * LENGTH, ["x"] * LENGTH])
def test_what_was_not_written_by_keep_is_refused(kept):
    with pytest.raises(ValueError, match=r"number|convert"):
        restore(kept)


def test_evidence_for_a_rollback_grows_with_what_is_bad():
    told = []
    for slow in (0, 2, 4, 8, 16):
        state = begin(SETTINGS)
        for window in course(Arm(75, slow, 0), 10):
            state = advance(state, window, SETTINGS)
        told.append(float(weigh(state, SETTINGS)[0].rollback))
    assert all(one < other for one, other in pairwise(told))


def test_the_first_verdict_is_the_verdict():
    turned = course(Arm(75, 0, 24), 1) + [replace(w, end=w.end + 15) for w in course(Arm(75, 0.7, 0), 300)]
    assert replay(turned, SETTINGS).verdict == "Rollback"
    assert [judge.final(begin(SETTINGS), outcome) for outcome in (OPEN, ROLLBACK, PROMOTE)] == [
        "NoData",
        "Rollback",
        "Promote",
    ]
