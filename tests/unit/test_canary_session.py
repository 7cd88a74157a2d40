"""Evidence over the steps of a rollout, as it is written down and read back."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.canary import session
from seawall.canary.judge import OPEN, PROMOTE, ROLLBACK, RULES, Settings, needed, weigh
from seawall.canary.replay import replay
from seawall.canary.session import Place, Session
from seawall.canary.window import Arm, Window
from support.rollout_streams import Stream, pick, windows

pytestmark = pytest.mark.long

SETTINGS = Settings()
HERE = Place("1-abc", 0, 10, 0.0)
STABLE = Arm(675, 6, 1, ready_pods=9)
WORDS = {OPEN: "Inconclusive", ROLLBACK: "Rollback", PROMOTE: "Promote"}
Windows = Sequence[Window]


def recorded(stream: Stream, seed: int = 1) -> list[Window]:
    """Of one rollout; ids begin above zero."""
    made = (pick(window, 0) for window in windows(stream, 1, seed))
    return [replace(w, end=w.end + 10_000.0, began=None) for w in made]


SOUND = Arm(75, 0.7, 0, ready_pods=1)


def steady(count: int, candidate: Arm = SOUND, first: float = 15.0) -> list[Window]:
    return [Window(first + 15 * i, replace(STABLE, slow=5 + i % 3), candidate) for i in range(count)]


def kept_of(found: Session, rules: Settings = SETTINGS) -> dict[str, Any]:
    return session.keep(found, found.said(rules), rules)


def through_the_status(found: Session | None, rules: Settings = SETTINGS) -> Session | None:
    """As text, and back."""
    if found is None or not math.isfinite(found.end):
        return found
    again = session.restore(json.loads(json.dumps(kept_of(found, rules))), found.id, rules)
    assert again is not None
    return again


def everything(found: Session, last: bool = True) -> int:
    return found.outcome(found.said(SETTINGS), needed(found.course.step, SETTINGS), SETTINGS, last=last)


STREAMS = (
    Stream("alike"),
    Stream("alike, windows before", before=40),
    Stream("five times", ratio=5),
    Stream("five times, windows before", ratio=5, before=40),
    Stream("ten times, clinging", ratio=10, correlation=0.05),
    Stream("errors", errors=0.002, error_ratio=10),
    Stream("a storm", errors=0.001, error_ratio=300),
    Stream("twice", ratio=2),
)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_a_rollout_of_one_step_ends_as_its_replay_does(stream: Stream) -> None:
    known = recorded(replace(stream, windows=80))
    report = replay(known, SETTINGS)
    place = replace(HERE, since=10_000.0 + 15 * 0)
    found: Session | None = None
    for number, window in enumerate(known):
        found = through_the_status(session.read(found, known[: number + 1], place, SETTINGS))
        if found is None or found.end != window.end:
            continue
        outcome = everything(found)
        if outcome != OPEN:
            break
    assert found is not None
    assert WORDS[outcome] == report.verdict
    assert found.end == report.looks[-1].end
    told = found.said(SETTINGS)
    for said in told:
        look = report.looks[-1].metrics[said.metric]
        assert float(said.evidence.rollback) == pytest.approx(look.rollback, abs=1e-4)
        assert float(said.evidence.promote) == pytest.approx(look.promote, abs=1e-4)
    assert found.requests == report.candidate_requests


def test_a_window_is_counted_once_however_it_is_read() -> None:
    known = steady(12)
    at_once = session.read(None, known, HERE, SETTINGS)
    twice = session.read(at_once, [*known[3:], *known[:5]], HERE, SETTINGS)
    assert at_once is not None
    assert twice is not None
    assert kept_of(twice) == kept_of(at_once)


def test_windows_cut_by_another_length_that_overlap_do_not_count() -> None:
    found = session.read(None, steady(3), HERE, SETTINGS)
    longer = replace(HERE, seconds=40.0)
    overlapping = [Window(80.0, STABLE, Arm(75, 1, 0))]
    assert found is not None
    again = session.read(found, overlapping, longer, SETTINGS)
    assert again is not None
    assert again.end == 45.0
    later = session.read(found, [Window(120.0, STABLE, Arm(75, 1, 0))], longer, SETTINGS)
    assert later is not None
    assert later.end == 120.0


@pytest.mark.parametrize("cuts", [(), (20,), (1, 2, 3, 17, 30), tuple(range(40))])
def test_who_reads_the_same_windows_comes_to_the_same_evidence(cuts: tuple[int, ...]) -> None:
    known = recorded(Stream("", ratio=1.5, correlation=0.02, errors=0.003, windows=40, before=10))
    place = replace(HERE, since=10_000.0, warmup_seconds=45, warmup_requests=100)
    found: Session | None = None
    for cut in (*cuts, len(known)):
        found = through_the_status(session.read(found, known[:cut], place, SETTINGS))
    at_once = session.read(None, known, place, SETTINGS)
    assert found is not None
    assert at_once is not None
    assert kept_of(found) == kept_of(at_once)


def test_nothing_is_counted_before_the_first_weight_is_in_force() -> None:
    assert session.read(None, steady(5), replace(HERE, since=None), SETTINGS) is None


def test_windows_from_before_the_first_weight_tell_of_the_stable_arm_alone() -> None:
    bad = Arm(75, 60, 60, ready_pods=1)
    known = steady(20, bad)
    found = session.read(None, known, replace(HERE, since=296.0), SETTINGS)
    assert found is not None
    assert (found.requests, float(found.course.whole.requests)) == (0, 0)
    assert float(found.course.whole.trails[0].dispersion.windows) == 20
    assert everything(found) == OPEN
    straddling = session.read(
        found, [Window(315.0, STABLE, bad, began=295.0)], replace(HERE, since=296.0), SETTINGS
    )
    assert straddling is not None
    assert everything(straddling) == OPEN
    inside = session.read(
        found, [Window(315.0, STABLE, bad, began=300.0)], replace(HERE, since=296.0), SETTINGS
    )
    assert inside is not None
    assert everything(inside) == ROLLBACK


def _weights(*weights: tuple[int, float | None]) -> list[Place]:
    return [replace(HERE, step=i, weight=weight, since=since) for i, (weight, since) in enumerate(weights)]


def test_what_speaks_for_going_on_begins_anew_with_a_step_and_the_rest_adds_up() -> None:
    first, second = _weights((10, 0.0), (50, 901.0))
    found = session.read(None, steady(58), first, SETTINGS)
    assert found is not None
    assert everything(found) == PROMOTE
    before = found.said(SETTINGS)
    turned = session.read(found, (), second, SETTINGS)
    assert turned is not None
    assert (turned.requests, turned.share.asked, turned.step, turned.weight) == (0, 0, 1, 50)
    assert everything(turned) == OPEN
    after = turned.said(SETTINGS)
    assert [s.evidence.rollback for s in after] == [s.evidence.rollback for s in before]
    assert [s.evidence.effect for s in after] == [s.evidence.effect for s in before]
    assert max(float(s.evidence.promote) for s in after) < 1
    even = [Window(915.0 + 15 * i, Arm(375, 3, 0), Arm(375, 3, 0)) for i in range(60)]
    again = session.read(turned, even, second, SETTINGS)
    assert again is not None
    assert everything(again) == PROMOTE
    assert again.requests == 59 * 375, "the first of them began before the weight was in force"


def test_between_two_steps_errors_count_for_a_rollback_and_nothing_for_going_on() -> None:
    first, moving = _weights((10, 0.0), (50, None))
    found = session.read(None, steady(20), first, SETTINGS)
    assert found is not None
    slow = session.read(found, steady(5, Arm(300, 200, 0), 315.0), moving, SETTINGS)
    failing = session.read(found, steady(5, Arm(300, 0, 200), 315.0), moving, SETTINGS)
    assert slow is not None
    assert failing is not None
    assert (slow.requests, everything(slow)) == (found.requests, everything(found))
    assert everything(failing) == ROLLBACK


def test_the_same_step_with_another_weight_begins_anew() -> None:
    found = session.read(None, steady(20), HERE, SETTINGS)
    edited = session.read(found, (), replace(HERE, weight=20, since=300.0), SETTINGS)
    assert edited is not None
    assert (edited.requests, edited.weight) == (0, 20)


@pytest.mark.parametrize(
    "place", [replace(HERE, warmup_seconds=400.0), replace(HERE, warmup_requests=2000.0)]
)
def test_while_it_warms_up_latency_does_not_count_and_errors_do(place: Place) -> None:
    cold = session.read(None, steady(20, Arm(75, 40, 0)), place, SETTINGS)
    assert cold is not None
    assert everything(cold) == OPEN
    assert cold.requests == 20 * 75
    failing = session.read(None, steady(20, Arm(75, 40, 30)), place, SETTINGS)
    assert failing is not None
    assert everything(failing) == ROLLBACK
    at_once = session.read(None, steady(20, Arm(75, 40, 0)), HERE, SETTINGS)
    assert at_once is not None
    assert everything(at_once) == ROLLBACK
    warm = session.read(cold, steady(40, Arm(75, 40, 0), 420.0), place, SETTINGS)
    assert warm is not None
    assert everything(warm) == ROLLBACK


def test_the_first_alarm_stands_whatever_comes_after_it() -> None:
    turned = [*steady(1, Arm(75, 0, 40)), *steady(40, Arm(75, 0, 0), 30.0)]
    at_once = session.read(None, turned, HERE, SETTINGS)
    assert at_once is not None
    assert everything(at_once) == ROLLBACK
    restored = through_the_status(at_once)
    assert restored is not None
    assert restored.alarmed


def test_latency_need_not_speak_where_it_is_not_asked() -> None:
    uneven = steady(60, Arm(10, 0, 0, ready_pods=1))
    found = session.read(None, uneven, HERE, SETTINGS)
    assert found is not None
    assert found.uneven
    once = session.read(None, [*steady(9), *steady(1, Arm(10, 0, 0, ready_pods=1), 150.0)], HERE, SETTINGS)
    assert once is not None
    assert not once.uneven, "that may be chance"
    assert found.outcome(found.said(SETTINGS), [True, True, False], SETTINGS, last=False) == OPEN
    assert found.outcome(found.said(SETTINGS), [False, True, False], SETTINGS, last=False) == PROMOTE


def test_an_inner_step_is_passed_on_less_evidence_than_the_last() -> None:
    known = steady(90)
    ends = {}
    for last in (False, True):
        found: Session | None = None
        for number in range(len(known)):
            found = session.read(found, known[: number + 1], HERE, SETTINGS)
            assert found is not None
            if everything(found, last=last) == PROMOTE:
                ends[last] = found.end
                break
    assert ends[False] < ends[True]


def test_a_step_without_a_request_is_not_passed_although_nothing_is_asked() -> None:
    found = session.read(None, steady(5, Arm(0, 0, 0, ready_pods=1)), HERE, SETTINGS)
    assert found is not None
    assert found.outcome(found.said(SETTINGS), [False, False, False], SETTINGS, last=False) == OPEN
    assert found.quiet == 5


SHARES = [
    ("as it should be", 10, 75, 675, 0.1, False),
    ("a little more", 10, 87, 663, 0.116, False),
    ("twice", 10, 150, 600, 0.2, True),
    ("none of it", 10, 0, 750, 0.0, True),
    ("all of it", 50, 750, 0, 1.0, True),
    ("everything, and everything is meant", 100, 750, 0, 1.0, False),
    ("too few to say", 10, 3, 0, None, False),
]


@pytest.mark.parametrize(("name", "weight", "candidate", "stable", "share", "wrong"), SHARES)
def test_the_share_of_the_requests(
    name: str, weight: int, candidate: int, stable: int, share: float | None, wrong: bool
) -> None:
    known = [Window(15.0 + 15 * i, Arm(stable), Arm(candidate)) for i in range(4)]
    found = session.read(None, known, replace(HERE, weight=weight), SETTINGS)
    assert found is not None
    assert found.share.told() == (pytest.approx(share, abs=1e-3) if share is not None else None), name
    assert found.share.wrong() == wrong, name


def test_windows_in_which_the_candidate_had_no_pod_are_not_of_the_step() -> None:
    known = [Window(15.0 + 15 * i, STABLE, Arm(ready_pods=0)) for i in range(9)]
    found = session.read(None, known, HERE, SETTINGS)
    assert found is not None
    assert (found.quiet, found.share.asked, found.share.wrong()) == (0, 0, False)


def test_what_is_kept_is_small_and_readable() -> None:
    found = session.read(None, steady(30), replace(HERE, since=14.0), SETTINGS)
    assert found is not None
    kept = kept_of(found)
    assert (kept["windowEnd"], kept["step"]) == (450, 0)
    assert kept["share"] == "10.0%"
    assert float(kept["designEffect"]) >= 1
    latency, errors = kept["metrics"]
    assert (latency["metric"], errors["metric"]) == ("latency", "errors")
    assert latency["candidateRequests"] == 29 * 75
    assert latency["stableRequests"] == 29 * 675
    assert float(latency["ratio"]) == pytest.approx(0.7 / 75 / (6 / 675), rel=0.05)
    assert all(len(each["kept"]) <= 128 for each in kept["metrics"])
    assert len(kept["kept"]) <= 128
    assert len(json.dumps(kept)) < 4000
    texts = [*kept["kept"], *(text for each in kept["metrics"] for text in each["kept"])]
    assert all(isinstance(text, str) for text in texts)


counts = st.integers(0, 400)
arms = st.builds(
    lambda n, slow, failed, pods: Arm(n, min(n, slow), min(n, failed), ready_pods=pods),
    counts, counts, counts, st.none() | st.integers(0, 5),
)  # fmt: skip
streams = st.lists(st.tuples(arms, arms, st.booleans(), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(streams, st.integers(0, 100), st.floats(0, 100), st.integers(0, 11))
def test_what_is_kept_comes_back_the_same(
    stream: list[tuple[Arm, Arm, bool, bool]], weight: int, warmup: float, turn: int
) -> None:
    known = [
        Window(15.0 * (i + 1), stable, candidate, timed=timed, warming=warming)
        for i, (stable, candidate, timed, warming) in enumerate(stream)
    ]
    place = replace(HERE, weight=weight, warmup_seconds=warmup)
    found = session.read(None, known[:turn], place, SETTINGS)
    found = session.read(found, known, replace(place, step=1), SETTINGS)
    assert found is not None
    kept = kept_of(found)
    again = session.restore(json.loads(json.dumps(kept)), HERE.id, SETTINGS)
    assert again is not None
    assert kept_of(again) == kept
    more = [Window(1000.0, STABLE, Arm(75, 2, 1))]
    one, other = (session.read(each, more, replace(place, step=1), SETTINGS) for each in (found, again))
    assert one is not None
    assert other is not None
    assert kept_of(one) == kept_of(other)


def _without(field: str) -> Any:
    return lambda kept: kept.pop(field)


def _first(text: object) -> Any:
    return lambda kept: kept["metrics"][0]["kept"].__setitem__(0, text)


GARBAGE = {
    "no sums": _without("kept"),
    "no metrics": _without("metrics"),
    "metrics that are none": lambda kept: kept.update(metrics="latency"),
    "a metric without numbers": lambda kept: kept["metrics"][0].pop("kept"),
    "one metric missing": lambda kept: kept["metrics"].pop(0),
    "a number missing": lambda kept: kept["metrics"][0]["kept"].pop(),
    "a word": _first("much"),
    "NaN": _first("nan"),
    "infinity": _first("inf"),
    "nothing": _first(None),
    "a number beyond all": _first("1e300"),
    "a negative sum": lambda kept: kept["metrics"][0]["kept"].__setitem__(40, "-3"),
    "a weight beyond all": lambda kept: kept["kept"].__setitem__(8, "900"),
    "a share of less than nothing": lambda kept: kept["kept"].__setitem__(-1, "-1"),
    "sums that are a text": lambda kept: kept.update(kept="1-abc"),
    "another rollout": lambda kept: kept["kept"].__setitem__(0, "2-def"),
    "other bounds": lambda kept: kept["kept"].__setitem__(1, "latency:0.02:1.25:2"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_was_not_kept_so_begins_anew(name: str) -> None:
    found = session.read(None, steady(10), HERE, SETTINGS)
    assert found is not None
    kept = copy.deepcopy(kept_of(found))
    assert session.restore(kept, HERE.id, SETTINGS) is not None
    GARBAGE[name](kept)
    assert session.restore(kept, HERE.id, SETTINGS) is None


@pytest.mark.parametrize("kept", [None, [], "", 3, {}, {"kept": {}}, {"kept": ["1-abc"], "metrics": {}}])
def test_what_is_no_mapping_begins_anew(kept: object) -> None:
    assert session.restore(kept, HERE.id, SETTINGS) is None


@pytest.mark.parametrize("change", ["id", "bounds"])
def test_another_rollout_and_other_bounds_begin_anew(change: str) -> None:
    found = session.read(None, steady(10), HERE, SETTINGS)
    assert found is not None
    kept = kept_of(found)
    if change == "id":
        assert session.restore(kept, "1-abc-2", SETTINGS) is None
        again = session.read(found, (), replace(HERE, id="1-abc-2", since=500.0), SETTINGS)
        assert again is not None
        assert (again.requests, again.origin) == (0, 500)
    else:
        other = Settings(rules=(replace(RULES[0], ratio_bad=3.0), *RULES[1:]))
        assert session.restore(kept, HERE.id, other) is None


def test_rules_for_errors_alone_need_no_latency() -> None:
    alone = Settings(rules=(RULES[1],))
    known = [replace(window, timed=False) for window in steady(60, Arm(75, 0, 0))]
    found = session.read(None, known, HERE, alone)
    assert found is not None
    assert found.outcome(found.said(alone), [True], alone, last=True) == PROMOTE
    assert through_the_status(found, alone) is not None


def test_latencies_that_are_not_known_leave_that_trail_as_it_is() -> None:
    known = [replace(window, timed=False) for window in steady(10)]
    found = session.read(None, known, HERE, SETTINGS)
    assert found is not None
    latency, errors, _ = found.course.whole.trails
    assert float(latency.dispersion.windows) == float(latency.total) == 0
    assert float(errors.total) == 750
    assert np.isfinite([said.rollback for said in weigh(found.course.whole, SETTINGS)]).all()
