"""Profiles: what is read, what is extended, what is refused and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.sizing.profile import PodProfile, ProfileError


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "accelerator": "nvidia-l4",
        "instances": 1,
        "maxBatchSize": 8,
        "maxQueueDelayMs": 0,
        "overheadMs": 0.5,
        "coldStartSeconds": 45,
        "batches": [{"size": b, "meanMs": 6.0 + b, "stdMs": 0.1} for b in (1, 2, 4, 8)],
    }
    return {**base, **changes}


def batches(*points: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"size": size, "meanMs": mean} for size, mean in points]


def test_a_whole_profile_is_read() -> None:
    profile = PodProfile.parse(document())
    assert profile.sizes == (1, 2, 4, 8)
    assert profile.cold_start_seconds == 45
    assert profile.line == pytest.approx((6.0, 1.0))
    assert profile.limit_rps == pytest.approx(1000 * 8 / 14)
    assert [profile.service_time(b) for b in range(1, 9)] == pytest.approx([6.0 + b for b in range(1, 9)])
    assert profile.interpolated == ("4 sizes between measured ones are interpolated, the first is 3",)


REFUSED = {
    "no batches at all": ({"batches": []}, "no batches"),
    "batches that are no list": ({"batches": {"1": 7}}, "no batches"),
    "a batch without its mean": ({"batches": [{"size": 1}]}, r"batches\[0\]: meanMs is missing"),
    "a negative time": ({"batches": batches((1, 7), (8, -1))}, r"batches\[1\]: meanMs is -1, below 0"),
    "no time at all": ({"batches": batches((1, 0))}, "served in no time"),
    "a time that is no number": ({"batches": batches((1, float("nan")))}, "not a number"),
    "a time written as text": ({"batches": batches((1, "7"))}, "'7', not a number"),
    "truth instead of a number": ({"overheadMs": True}, "overheadMs is True"),
    "an absurd time": ({"batches": batches((1, 1e12))}, "beyond anything"),
    "sizes out of order": ({"batches": batches((4, 10), (1, 7))}, "not sorted by size: 1 comes after 4"),
    "a size twice": ({"batches": batches((1, 7), (1, 8))}, "size 1 twice"),
    "half a batch": ({"batches": batches((1.5, 7))}, "not a whole number"),
    "a batch larger than the largest": ({"batches": batches((1, 7), (16, 22))}, "larger than maxBatchSize 8"),
    "only size 1 of 8": ({"batches": batches((1, 7))}, r"size 8 \(maxBatchSize\) must be measured"),
    "only size 8": ({"batches": batches((8, 14))}, "neither size 1 nor two sizes"),
    "nothing above a quarter": ({"batches": batches((1, 7), (2, 8))}, "less than half of maxBatchSize"),
    "a larger batch much faster": ({"batches": batches((1, 20), (8, 10))}, "cannot be that much faster"),
    "no largest batch": ({"maxBatchSize": None}, "maxBatchSize is missing"),
    "no instances": ({"instances": 0}, "instances is 0"),
    "a negative cold start": ({"coldStartSeconds": -1}, "coldStartSeconds is -1, below 0"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_profile_is_refused_with(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        PodProfile.parse(document(**changes))


EXTENDED = {
    "size 1 is missing": (batches((2, 8), (8, 14)), 1, 7.0, "below 2"),
    "the largest is missing": (batches((1, 7), (4, 10)), 8, 14.0, "above 4"),
    "one in between is missing": (batches((1, 7), (8, 14)), 5, 11.0, "between"),
}


@pytest.mark.parametrize(("points", "size", "expected", "said"), EXTENDED.values(), ids=EXTENDED.keys())
def test_what_was_not_measured_is_extended_and_said(
    points: list[dict[str, Any]], size: int, expected: float, said: str
) -> None:
    profile = PodProfile.parse(document(batches=points))
    assert profile.service_time(size) == pytest.approx(expected)
    assert any(said in sentence for sentence in profile.interpolated)


def test_a_slower_pod_is_another_profile_and_a_slower_start_is_not() -> None:
    profile = PodProfile.parse(document())
    assert profile.scaled(1.25).service_time(8) == pytest.approx(17.5)
    assert profile.scaled(1.25).key != profile.key
    assert PodProfile.parse(document(coldStartSeconds=90)).key == profile.key
    with pytest.raises(ProfileError, match="scaled by nan"):
        profile.scaled(float("nan"))


@pytest.mark.parametrize("size", [0, 9, -1])
def test_a_batch_outside_the_profile_has_no_time(size: int) -> None:
    with pytest.raises(ProfileError, match="outside 1 to 8"):
        PodProfile.parse(document()).service_time(size)


@given(
    st.dictionaries(
        st.sampled_from(
            ["instances", "maxBatchSize", "maxQueueDelayMs", "overheadMs", "batches", "maxQueueSize"]
        ),
        st.one_of(
            st.none(),
            st.floats(),
            st.integers(),
            st.text(max_size=3),
            st.lists(
                st.dictionaries(
                    st.sampled_from(["size", "meanMs", "stdMs"]), st.one_of(st.integers(-2, 9), st.floats())
                ),
                max_size=4,
            ),
        ),
    )
)
def test_any_document_is_read_or_refused_and_never_falls_with_batch_size(changes: dict[str, Any]) -> None:
    try:
        profile = PodProfile.parse(document(**changes))
    except ProfileError:
        return
    times = [profile.service_time(b) for b in range(1, profile.max_batch_size + 1)]
    assert times == sorted(times)
    assert times[0] > 0
