"""Recorded windows, well written and badly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seawall.canary.record import Unreadable, read

ARM = {"requests": 675, "slow": 6, "errors": 0, "compared": 0, "disagreements": 0, "readyPods": 9}


def line(candidate: Any = None, **others: Any) -> str:
    return json.dumps(
        {"windowEnd": 15, "stable": ARM, "candidate": ARM if candidate is None else candidate} | others
    )


def test_a_window_is_read_field_by_field():
    (window,) = read([line({"requests": 75, "slow": 2, "errors": 1}), "\n"])
    assert (window.end, window.stable.ready_pods) == (15, 9)
    candidate = window.candidate
    assert (candidate.requests, candidate.slow, candidate.errors, candidate.compared) == (75, 2, 1, 0)
    assert (candidate.ready_pods, candidate.slow_at_most) == (None, None)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("no JSON", "{", "line 2: not JSON"),
        ("nesting without end", "[" * 100_000, "line 2: not JSON"),
        ("a list", "[]", "line 2: a window is an object"),
        ("no end", json.dumps({"stable": ARM, "candidate": ARM}), "line 2: windowEnd: is missing"),
        ("no arm", json.dumps({"windowEnd": 1, "stable": ARM}), "line 2: candidate: an object"),
        ("no count", line({"requests": 1, "errors": 0}), "line 2: candidate.slow: is missing"),
        ("a text", line({**ARM, "slow": "6"}), 'line 2: candidate.slow: "6" is not a number'),
        ("true", line({**ARM, "errors": True}), "line 2: candidate.errors: true is not a number"),
        ("below 0", line({**ARM, "errors": -1}), "line 2: candidate.errors: -1 is not a count"),
        ("not a number", line({**ARM, "requests": float("nan")}), "line 2: candidate.requests: nan is not a count"),
        ("endless", line({**ARM, "requests": 10**400}), "is not a count"),
        ("more slow than asked", line({**ARM, "slow": 676}), "line 2: candidate.slow: 676 is more than requests, 675"),
        ("more errors than asked", line({**ARM, "errors": 676}), "candidate.errors: 676 is more than requests"),
        ("more disagreements than compared", line({**ARM, "disagreements": 1}), "candidate.disagreements: 1 is more than compared, 0"),
        ("half a pod", line({**ARM, "readyPods": 1.5}), "line 2: candidate.readyPods: 1.5 is not a whole number"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line_and_field(name, text, said):
    with pytest.raises(Unreadable) as raised:
        list(read([line(), text]))
    assert said in str(raised.value), name
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("name", "buckets", "slow", "at_most"),
    [
        ("an edge at the SLO", {"0.1": 600, "0.2": 670, "+Inf": 675}, 5, None),
        ("edges on both sides of it", {"0.1": 600, "0.25": 670, "+Inf": 675}, 5, 75),
        ("only lower edges", {"0.1": 600, "+Inf": 675}, 0, 75),
        ("only higher edges", {"0.25": 670}, 5, 675),
    ],
)
def test_slow_requests_are_bracketed_by_bucket_edges(name, buckets, slow, at_most):
    (window,) = read([line({"requests": 675, "errors": 0, "buckets": buckets})], 0.2)
    assert (window.candidate.slow, window.candidate.slow_at_most) == (slow, at_most), name
    assert window.stable.slow == 6, "an arm without buckets has its slow requests counted already"


@pytest.mark.parametrize(
    ("buckets", "said"),
    [
        ({}, "an object of upper edges"), ([1], "an object of upper edges"),
        ({"0.1": 9, "0.2": 8}, "must not fall"), ({"0.1": 676}, "nor exceed requests"),
        ({"fast": 1}, "'fast' is not an upper edge"), ({"-1": 1}, "'-1' is not an upper edge"),
    ],
)  # fmt: skip
def test_buckets_that_cannot_be_are_refused(buckets, said):
    with pytest.raises(Unreadable, match=r"line 1: candidate.buckets") as raised:
        list(read([line({"requests": 675, "errors": 0, "buckets": buckets})], 0.2))
    assert said in str(raised.value)
