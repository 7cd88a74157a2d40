"""What the newest windows say of a candidate: for the status, for the state machine, and in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from seawall.canary.judge import RULES, Settings
from seawall.canary.templates import dealt, rule_of
from seawall.canary.window import Arm, Window
from seawall.decide.analysis import analysed
from seawall.decide.rollout_plan import QualityStep, RolloutPlan, WeightStep
from seawall.decide.rollout_state import Look, Phase, RolloutState
from seawall.decide.types import Windows

START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
T0 = START.timestamp()
SOUND, BAD, FAILING = Arm(75, 0.7, 0, ready_pods=1), Arm(75, 8, 0, ready_pods=1), Arm(75, 1, 40, ready_pods=1)
STABLE = Arm(675, 6, 1, ready_pods=9)
PLAN = RolloutPlan(
    strategy="Canary",
    steps=(
        QualityStep("golden", None, None, 0.01),
        WeightStep(10, 300, 1200.0),
        WeightStep(50, 300, 1200.0),
    ),
    warmup_seconds=0.0,
    warmup_requests=0,
)
STATE = RolloutState(
    id="3-abc", phase=Phase.STEPPING, stable="old", candidate="abc", step=1, step_started_at=START,
    weight=10, pods=1, floor=9,
)  # fmt: skip


def cut(
    count: int, candidate: Arm = SOUND, first: int = 2, stable: Arm = STABLE, **fields: Any
) -> tuple[Window, ...]:
    """The first of these begins a second or more after the step."""
    return tuple(
        Window(
            T0 + 15 * (first + i), replace(stable, slow=float(stable.slow) + i % 3 - 1), candidate, **fields
        )
        for i in range(count)
    )


def later(windows: Sequence[Window]) -> datetime:
    return datetime.fromtimestamp(windows[-1].end + 8, UTC) if windows else START + timedelta(seconds=20)


def look(
    windows: Sequence[Window], state: RolloutState = STATE, plan: RolloutPlan = PLAN, **public: Any
) -> tuple[Any, Look]:
    return analysed(state, plan, Windows(tuple(windows), **public), later(windows))


OUTSIDE = {
    "nothing on its way": (RolloutState(id="3-abc", stable="old"), PLAN),
    "not verified yet": (replace(STATE, step=None, step_started_at=None), PLAN),
    "answers are compared": (replace(STATE, step=0), PLAN),
    "no candidate": (replace(STATE, candidate=None), PLAN),
    "a plan that switches at once": (STATE, replace(PLAN, strategy="Direct", steps=())),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside_steps_there_is_no_evidence_and_nothing_to_say(name: str) -> None:
    state, plan = OUTSIDE[name]
    assert look(cut(40, FAILING), state, plan) == (None, Look())


def test_before_the_first_window_there_is_nothing_to_keep() -> None:
    kept, found = look(())
    assert kept is None
    assert found == Look(message="No window has been counted yet")


@pytest.mark.parametrize(
    ("name", "windows", "verdict"),
    [
        ("alike", cut(60), "Pass"),
        ("too little to tell", cut(3), "Open"),
        ("late ones", cut(60, BAD), "Rollback"),
        ("a storm of errors, in its first window", cut(1, FAILING), "Rollback"),
        ("a storm before the step", cut(9, FAILING, first=-20), "Open"),
    ],
)
def test_the_verdict_on(name: str, windows: tuple[Window, ...], verdict: str) -> None:
    _, found = look(windows)
    assert found.verdict == verdict, name
    assert found.trouble == ""


def test_errors_that_are_proven_are_told_from_latencies() -> None:
    assert [look(cut(60, how))[1].failing for how in (BAD, FAILING)] == [False, True]
    assert not look(cut(3, FAILING, first=-20))[1].failing


def test_the_figures_are_told_in_words() -> None:
    kept, found = look(cut(40, BAD))
    assert "latency: 10.7% of 3 000 requests late, 0.9% on the stable revision; evidence" in found.message
    assert "of 4.6 for rollback" in found.message
    assert "errors: 0.00% of 3 000 requests failed, 0.1% on the stable revision" in found.message
    assert "of 1.6 for going on" in found.message
    assert "not known yet" not in found.message
    assert "not known yet" in look(cut(2))[1].message
    last = replace(STATE, step=2, weight=50, analysis=kept)
    assert "of 3.0 for going on" in look(cut(42), last)[1].message


def test_what_is_kept_is_read_again_and_two_looks_write_nothing_new() -> None:
    windows = cut(30)
    kept, found = look(windows)
    state = replace(STATE, analysis=json.loads(json.dumps(kept)))
    again, same = look(windows, state)
    assert (again, same) == (kept, found)
    shorter, _ = look(windows[25:], state)
    assert shorter == kept
    in_pieces: Any = None
    for number in range(1, 31):
        in_pieces, last = look(windows[max(0, number - 3) : number], replace(STATE, analysis=in_pieces))
    assert in_pieces == kept
    assert last == found


@pytest.mark.parametrize("kept", ["x", 3, {"kept": 1}, {"windowEnd": 5, "metrics": [], "kept": ["3-abc"]}])
def test_evidence_that_cannot_be_read_begins_anew(kept: Any) -> None:
    assert look(cut(30), replace(STATE, analysis=kept)) == look(cut(30))


def test_another_rollout_begins_anew() -> None:
    kept, _ = look(cut(60, BAD))
    other = replace(
        STATE, id="4-def", candidate="def", analysis=kept, step_started_at=START + timedelta(seconds=900)
    )
    found = look(cut(70, BAD)[:60], other)
    assert found[1].verdict == "Open"
    assert found[1].candidate_requests == 0


def test_a_step_counts_its_own_requests_and_a_rollback_all_of_them() -> None:
    kept, first = look(cut(40))
    assert first.candidate_requests == 40 * 75
    begins = START + timedelta(seconds=15 * 43)
    second = replace(STATE, step=2, weight=50, step_started_at=begins, analysis=kept)
    even = cut(5, Arm(375, 3, 0, ready_pods=9), first=45, stable=Arm(375, 3, 0, ready_pods=9))
    kept, found = look(even, second)
    assert (found.verdict, found.candidate_requests) == ("Open", 5 * 375)
    assert found.share == pytest.approx(0.5)
    assert kept["step"] == 2
    assert kept["metrics"][0]["candidateRequests"] == 40 * 75 + 5 * 375


def test_between_steps_nothing_is_passed_and_a_storm_is_still_seen() -> None:
    kept, found = look(cut(60))
    assert found.verdict == "Pass"
    moving = replace(STATE, step=2, step_started_at=None, analysis=kept)
    quiet = look(cut(3, first=62), moving)[1]
    assert (quiet.verdict, quiet.candidate_requests, quiet.share) == ("Open", 0, None)
    assert look(cut(3, FAILING, first=62), moving)[1].verdict == "Rollback"


def test_while_it_is_promoted_a_storm_is_still_seen() -> None:
    kept, _ = look(cut(60))
    promoting = replace(STATE, step=3, phase=Phase.PROMOTING, step_started_at=None, analysis=kept, weight=50)
    assert look(cut(3, first=62), promoting)[1].verdict == "Open"
    kept, found = look(cut(3, FAILING, first=62), promoting)
    assert found.verdict == "Rollback"
    assert look((), replace(promoting, analysis=kept))[1].verdict == "Rollback"


UNEVEN = replace(PLAN, steps=(WeightStep(10, 300, 1200.0), WeightStep(50, 300, 1200.0)))


def test_an_inner_step_whose_weight_loads_pods_unlike_is_passed_by_errors_alone() -> None:
    crowded = cut(70, replace(SOUND, ready_pods=1), stable=replace(STABLE, ready_pods=2))
    inner = replace(STATE, step=0)
    found = look(crowded, inner, UNEVEN)[1]
    assert (found.verdict, found.mismatched) == ("Pass", False)
    assert "latency: nothing to compare yet" in found.message
    last = look(crowded, replace(STATE, step=1), replace(UNEVEN, steps=UNEVEN.steps[:1] * 2))[1]
    assert (last.verdict, last.mismatched) == ("Open", True)


def test_where_pods_are_not_known_the_planned_ones_tell_the_load() -> None:
    bare = cut(70, replace(SOUND, ready_pods=None), stable=replace(STABLE, ready_pods=None))
    slow = [replace(w, timed=False) for w in bare]
    inner = replace(STATE, step=0)
    assert look(slow, inner, UNEVEN)[1].verdict == "Open"
    assert look(slow, replace(inner, floor=3), UNEVEN)[1].verdict == "Pass"


def test_a_stable_revision_that_breaches_is_told_and_nothing_is_passed() -> None:
    both = cut(60, Arm(75, 7, 0, ready_pods=1), stable=Arm(675, 63, 1, ready_pods=9))
    found = look(both)[1]
    assert (found.verdict, found.breaching) == ("Open", True)


def test_a_share_that_is_not_the_weight_is_told() -> None:
    found = look(cut(10), replace(STATE, weight=30, analysis=None))[1]
    assert found.share_wrong
    assert found.share == pytest.approx(0.1)
    assert not look(cut(10))[1].share_wrong


def test_a_clock_that_is_put_back_skips_no_window_and_counts_none_twice() -> None:
    """An hour: what was counted stays, and the next failures are found at once, not an hour later."""
    kept, before = look(cut(12))
    back = timedelta(hours=1)
    state = replace(STATE, analysis=kept, step_started_at=START - back)
    moment = later(cut(12)) - back
    noticed, stale = analysed(state, PLAN, Windows(cut(12)), moment)  # and the scaler has not yet
    assert (stale.verdict, stale.candidate_requests) == ("Open", before.candidate_requests)
    after = [replace(w, end=w.end - back.total_seconds()) for w in cut(3, FAILING, first=15)]
    state = replace(state, analysis=noticed)
    kept, found = analysed(state, PLAN, Windows(tuple(after)), later(after))
    assert (found.verdict, found.failing) == ("Rollback", True)
    assert found.candidate_requests == before.candidate_requests + 3 * 75
    assert analysed(replace(state, analysis=kept), PLAN, Windows(tuple(after)), later(after))[0] == kept


def test_a_clock_that_leaps_ahead_passes_nobody_and_rolls_nobody_back() -> None:
    """The same windows say the same; the hour in between, in which nobody measured, is no part of the step."""
    kept, before = look(cut(6))
    state, late = replace(STATE, analysis=kept), 3600.0
    following = cut(3, first=9)
    after = [replace(w, end=w.end + late) for w in following]
    found = analysed(state, PLAN, Windows((*cut(6), *after)), later(after))[1]
    assert found == analysed(state, PLAN, Windows((*cut(6), *following)), later(following))[1]
    assert (found.verdict, found.trouble, found.seconds) == ("Open", "", 9 * 15.0)
    silent = analysed(state, PLAN, Windows(cut(6)), later(cut(6)) + timedelta(seconds=late))[1]
    assert (silent.verdict, silent.trouble) == ("Open", "ProviderDown")
    assert silent.candidate_requests == before.candidate_requests


BY_PODS = replace(PLAN, by_pods=True)


def test_where_pods_split_the_share_is_that_of_the_ready_pods() -> None:
    found = look(cut(10), replace(STATE, weight=30), BY_PODS)[1]
    assert (found.share_wrong, found.share_due) == (False, pytest.approx(0.1))
    stuck = look(cut(10, replace(SOUND, requests=30)), STATE, BY_PODS)[1]
    assert (stuck.share_wrong, stuck.share_due) == (True, pytest.approx(0.1))
    assert stuck.share == pytest.approx(30 / 705)


def test_where_pods_split_a_count_that_moves_leaves_latency_in_the_judgement() -> None:
    """More stable pods at the same weight on record: the loads are alike as before."""
    crowded = cut(70, replace(SOUND, requests=25), stable=replace(STABLE, requests=725, ready_pods=29))
    assert look(crowded, replace(STATE, step=1, weight=25), BY_PODS)[1].mismatched is False
    assert "latency: nothing" not in look(crowded, replace(STATE, weight=25), BY_PODS)[1].message


def test_servers_without_histograms_leave_nothing_to_compare_where_pods_split() -> None:
    blind = cut(10, timed=False)
    found = look(blind, STATE, BY_PODS, trouble="NoLatency", message="counters only")[1]
    assert found.trouble == "NoLatency"
    assert "Triton 26.01 or later" in found.trouble_message
    errors = replace(BY_PODS, settings=Settings(rules=(RULES[1],)))
    assert look(blind, STATE, errors, trouble="NoLatency", message="counters only")[1].trouble == ""


def test_latency_does_not_count_while_it_warms_up() -> None:
    warm = replace(PLAN, warmup_seconds=600.0)
    assert look(cut(30, BAD), plan=warm)[1].verdict == "Open"
    assert look(cut(30, FAILING), plan=warm)[1].verdict == "Rollback"
    assert look(cut(30, BAD), plan=replace(PLAN, warmup_requests=10_000))[1].verdict == "Open"


QUIET = replace(SOUND, requests=0, slow=0)
TROUBLES = [
    ("none", cut(9), {}, PLAN, ""),
    ("Prometheus down", cut(9), {"trouble": "ProviderDown", "message": "Prometheus is away."}, PLAN, "ProviderDown"),
    ("no request for a minute", cut(4, QUIET), {}, PLAN, "NoData"),
    ("no request for less", cut(3, QUIET), {}, PLAN, ""),
    ("down and no request", cut(9, QUIET), {"trouble": "ProviderDown", "message": "x"}, PLAN, "ProviderDown"),
    ("counters only", cut(9, timed=False), {"trouble": "NoLatency", "message": "x"}, PLAN, "NoLatency"),
    ("counters only, and errors are judged", cut(9, timed=False), {"trouble": "NoLatency", "message": "x"},
     replace(PLAN, settings=Settings(rules=RULES[1:2])), ""),
    ("a request a minute ago", (*cut(4, QUIET), *cut(1, first=6)), {}, PLAN, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "windows", "public", "plan", "trouble"), TROUBLES, ids=[t[0] for t in TROUBLES]
)
def test_why_the_last_windows_say_nothing(
    name: str, windows: tuple[Window, ...], public: dict[str, Any], plan: RolloutPlan, trouble: str
) -> None:
    found = look(windows, plan=plan, **public)[1]
    assert found.trouble == trouble
    assert bool(found.trouble_message) == bool(trouble)


def test_windows_that_stop_coming_are_a_trouble_of_the_source() -> None:
    windows = cut(9)
    stopped = analysed(STATE, PLAN, Windows(windows), later(windows) + timedelta(minutes=4))[1]
    assert stopped.trouble == "ProviderDown"
    assert analysed(STATE, PLAN, Windows(windows), later(windows) + timedelta(minutes=2))[1].trouble == ""


def test_judged_by_errors_alone_a_candidate_passes_without_latencies() -> None:
    plan = replace(PLAN, settings=Settings(rules=RULES[1:2]))
    found = look(cut(70, timed=False), plan=plan, trouble="NoLatency", message="counters only")[1]
    assert found.verdict == "Pass"
    assert "latency" not in found.message


OWN = replace(PLAN, settings=Settings(rules=dealt([*RULES, rule_of("fallbacks")])))
UNTOLD = "The template fallbacks has no data: candidate.bad: the query returns 3 series; sum them"


def told(windows: Sequence[Window], bad: float = 0.0) -> tuple[Window, ...]:
    """With counts of a template: of the candidate's 75, and of the stable revision's 675."""
    return tuple(
        replace(
            window,
            stable=replace(window.stable, further={"fallbacks": (number % 3, 675.0)}),
            candidate=replace(window.candidate, further={"fallbacks": (bad, 75.0)}),
        )
        for number, window in enumerate(windows)
    )


def untold(windows: Sequence[Window]) -> tuple[Window, ...]:
    return tuple(replace(window, untold=UNTOLD) for window in windows)


@pytest.mark.parametrize(
    ("name", "windows", "plan", "expected"),
    [
        ("no bad ones", told(cut(70)), OWN, ("Pass", "")),
        ("four in a hundred", told(cut(70), 3), OWN, ("Rollback", "")),
        ("never any counts", untold(cut(70)), OWN, ("Open", UNTOLD)),
        ("never any counts, of a plan that asks for none", untold(cut(70)), PLAN, ("Pass", "")),
        ("the last window has none", (*told(cut(69)), *untold(cut(1, first=71))), OWN, ("Pass", "")),
        ("the last two have none", (*told(cut(68)), *untold(cut(2, first=70))), OWN, ("Pass", UNTOLD)),
        ("no latency, either", untold(cut(70, timed=False)), OWN, ("Open", UNTOLD)),
        ("late ones, and no counts", untold(cut(70, BAD)), OWN, ("Rollback", UNTOLD)),
    ],
)
def test_a_template_must_pass_and_without_counts_it_does_not(
    name: str, windows: tuple[Window, ...], plan: RolloutPlan, expected: tuple[str, str]
) -> None:
    found = look(windows, plan=plan)[1]
    assert (found.verdict, found.trouble_message) == expected, name
    assert found.trouble == ("ProviderDown" if expected[1] else "")


def test_nobody_asking_is_told_before_a_template_without_counts() -> None:
    assert look(untold(cut(9, QUIET)), plan=OWN)[1].trouble == "NoData"


def test_a_template_is_told_in_words_and_kept_with_the_others() -> None:
    kept, found = look(told(cut(40), 0.75), plan=OWN)
    assert "fallbacks: 1.0% of 3 000 bad, 0.1% on the stable revision; evidence" in found.message
    assert [each["metric"] for each in kept["metrics"]] == ["latency", "errors", "fallbacks"]
    again, same = look(told(cut(40), 0.75), replace(STATE, analysis=json.loads(json.dumps(kept))), OWN)
    assert (again, same) == (kept, found)
