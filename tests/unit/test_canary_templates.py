"""A user's own metrics: their queries, what is a count and what is not, and the judge over them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seawall.canary import judge, session
from seawall.canary.counts import Counts, Told
from seawall.canary.judge import OPEN, PROMOTE, ROLLBACK, RULES, Settings
from seawall.canary.templates import Pair, Template, Uncounted, dealt, filled, further, grown, rule_of
from seawall.canary.window import Arm, Window

VALUES = {"namespace": "team", "name": "minilm", "stable": "aaaa1111", "candidate": "bbbb2222"}
FALLBACKS = Template("fallbacks", Pair('b{r="{{stable}}"}', "st"), Pair('b{r="{{candidate}}"}', "ct"))
WITH = Settings(rules=dealt([*RULES[:2], rule_of("fallbacks")]))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum(up)", "sum(up)"),
        ('sum(up{r="{{stable}}"})', 'sum(up{r="aaaa1111"})'),
        ("{{namespace}}/{{name}}/{{candidate}}{{candidate}}", "team/minilm/bbbb2222bbbb2222"),
        ("{{ stable }} {stable} {{Stable}} {{unknown}}", "{{ stable }} {stable} {{Stable}} {{unknown}}"),
    ],
)
def test_variables_stand_for_names(query: str, expected: str) -> None:
    assert filled(query, VALUES) == expected


@pytest.mark.parametrize(
    "value", ["", '"} or vector(1) #', "a b", "{{name}}", "A", "a\\", "a\n", "-a", "a.", ".*"]
)
def test_what_is_no_name_is_not_put_into_a_query(value: str) -> None:
    with pytest.raises(Uncounted, match=r"no stable that \{\{stable\}\} could stand for"):
        filled('sum(up{r="{{stable}}"})', VALUES | {"stable": value})
    assert filled("sum(up)", VALUES | {"stable": value}) == "sum(up)", "nobody asks for it"


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ((5, 100), (5, 100), (0, 0)),
        ((5, 100), (8, 150), (3, 50)),
        ((0, 0), (2, 2), (2, 2)),
        ((5, 100), (4, 150), "candidate.bad fell"),
        ((5, 100), (6, 99), "candidate.total fell"),
        ((5, 100), (0, 0), "candidate.bad fell"),
        ((5, 100), (9, 103), "candidate.bad grew by more than candidate.total"),
    ],
)
def test_two_ends_of_a_window_make_a_count(
    before: tuple[float, float], now: tuple[float, float], expected: tuple[float, float] | str
) -> None:
    pair = Pair("b", "t")
    ends = [dict(zip(("b", "t"), values, strict=True)) for values in (before, now)]
    if isinstance(expected, tuple):
        assert grown(*ends, pair, "candidate") == expected
    else:
        with pytest.raises(Uncounted, match=expected):
            grown(*ends, pair, "candidate")


def test_alpha_is_dealt_out_whole() -> None:
    rules = dealt([*RULES, *(rule_of(name) for name in "abcde")])
    assert sum(rule.alarm_share for rule in rules) == pytest.approx(1)
    assert rules[3].alarm_share == pytest.approx(0.4 / 3)
    assert further(rules) == list("abcde")
    assert further(RULES) == []


def window(end: float, bad: float | None = 0.0, stable_bad: float = 0.0, **fields: Any) -> Window:
    """`bad`: of 75 of the candidate; None: nobody knows."""
    told = ({}, {}) if bad is None else ({"fallbacks": (stable_bad, 675.0)}, {"fallbacks": (bad, 75.0)})
    stable = Arm(675.0, 6.0 + end / 15 % 3 - 1, 0.0, ready_pods=9, further=told[0])
    return Window(end, stable, Arm(75.0, 0.7, 0.0, ready_pods=1, further=told[1]), **fields)


def decided(windows: list[Window], settings: Settings = WITH) -> int:
    state = judge.begin(settings)
    for each in windows:
        state = judge.advance(state, each, settings)
    return int(judge.decide(state, settings))


@pytest.mark.parametrize(
    ("name", "bad", "expected"),
    [("none", 0.0, PROMOTE), ("four times the floor", 3.0, ROLLBACK), ("no counts", None, OPEN)],
)
def test_a_further_metric_is_judged_as_the_others(name: str, bad: float | None, expected: int) -> None:
    windows = [window(15.0 * n, bad, stable_bad=n % 2) for n in range(1, 81)]
    assert decided(windows) == expected, name
    assert decided(windows, Settings()) == PROMOTE, "without the template nobody asks for it"


def test_a_window_without_counts_is_none_of_the_metrics_and_one_of_the_others() -> None:
    known = [window(15.0 * n, 1.0) for n in range(1, 5)]
    state = judge.begin(WITH)
    for each in known:
        state = judge.advance(state, each, WITH)
    after = judge.advance(state, window(75.0, None), WITH)
    assert after.trails[2] is state.trails[2]
    assert after.trails[0].total > state.trails[0].total


def test_latency_without_a_source_leaves_errors_and_the_further_metric() -> None:
    rules = dealt([RULES[1], rule_of("fallbacks")])
    windows = [window(15.0 * n, stable_bad=n % 2, timed=False) for n in range(1, 61)]
    assert decided(windows, Settings(rules=rules)) == PROMOTE
    assert decided(windows) == OPEN, "where latency is asked for it must speak, too"


def by_chance(ratio: float, runs: int) -> tuple[float, float]:
    """Shares of rollouts that were rolled back and promoted, of a metric whose base rate is .8 %."""
    chance, settings = np.random.default_rng(11), WITH
    state, outcome = judge.begin(settings, (runs,)), np.zeros(runs, int)

    def arm(requests: int, share: float) -> Arm:
        late, bad = (chance.binomial(requests, p, runs).astype(float) for p in (0.01, share))
        return Arm(np.full(runs, float(requests)), late, np.zeros(runs),
                   further={"fallbacks": (bad, np.full(runs, float(requests)))})  # fmt: skip

    for number in range(1, 71):
        live = number > 20
        candidate = arm(250, 0.008 * ratio) if live else Arm(np.zeros(runs), np.zeros(runs), np.zeros(runs))
        state = judge.advance(state, Window(15.0 * number, arm(650, 0.008), candidate), settings)
        outcome = np.where(outcome == OPEN, judge.decide(state, settings), outcome)
    return float(np.mean(outcome == ROLLBACK)), float(np.mean(outcome == PROMOTE))


def test_both_promises_hold_with_a_further_metric() -> None:
    runs = 300
    back, on = by_chance(1.0, runs)
    assert back <= WITH.alpha + 3 * np.sqrt(0.01 * 0.99 / runs)
    assert on >= 0.9
    back, on = by_chance(2.0, runs)
    assert on <= WITH.beta + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert back >= 0.5


def test_evidence_is_kept_by_name_and_begins_anew_with_other_queries() -> None:
    first, other = (
        Settings(rules=dealt([*RULES, rule_of("fallbacks", of)])) for of in (FALLBACKS.digest, "other")
    )
    place = session.Place("3-abc", step=1, weight=10, since=0.0)
    read = session.read(None, [window(15.0 * n, 1.0) for n in range(2, 9)], place, first)
    assert read is not None
    kept = session.keep(read, read.said(first), first)
    shown = {each["metric"]: each for each in kept["metrics"]}
    assert shown["fallbacks"]["candidateRequests"] == 75 * 7
    again = session.restore(kept, "3-abc", first)
    assert again is not None
    assert session.keep(again, again.said(first), first) == kept
    assert session.restore(kept, "3-abc", other) is None
    assert session.restore(kept, "3-abc", Settings()) is None


def followed() -> Counts:
    counts = Counts()
    counts.follow([FALLBACKS], VALUES, 15.0, [window(15.0, None)])
    return counts


def test_windows_are_public_once_they_were_asked_about() -> None:
    counts = followed()
    closed = [window(15.0 * n, None) for n in range(1, 5)]
    closed[1] = replace(closed[1], candidate=Arm(ready_pods=0))
    assert [w.end for w in counts.due(closed)] == [45, 60], (
        "older ones, and those without a candidate, are not"
    )
    assert [w.end for w in counts.completed(closed)] == [15, 30]
    counts.learn(closed[2], Told({"fallbacks": (1.0, 9.0)}, {"fallbacks": (0.0, 2.0)}))
    public = counts.completed(closed)
    assert [w.end for w in public] == [15, 30, 45]
    assert public[2].candidate.seen("fallbacks") == (0.0, 2.0)
    counts.learn(closed[3], Told(untold="nobody answered"))
    last = counts.completed(closed)[3]
    assert (last.untold, last.tells("fallbacks"), last.tells("errors")) == ("nobody answered", False, True)
    counts.completed(closed[3:])
    assert set(counts.told) == {60}, "what is not public any more is forgotten"


def test_other_revisions_or_queries_are_asked_from_now_on() -> None:
    counts, closed = followed(), [window(15.0 * n, None) for n in range(1, 5)]
    before = counts.questions
    counts.follow([FALLBACKS], VALUES, 15.0, closed)
    assert (counts.questions, len(counts.due(closed))) == (before, 3)
    counts.follow([FALLBACKS], VALUES | {"candidate": "cccc"}, 15.0, closed)
    assert counts.due(closed) == []
    assert [w.end for w in counts.due([*closed, window(75.0, None)])] == [75]
    counts.follow([], VALUES, 15.0, closed)
    assert counts.completed([*closed, window(75.0, None)])[-1].end == 75
