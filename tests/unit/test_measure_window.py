"""From samples to readings: rates, p99, and every doubt that must end in no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from seawall.measure.types import ArmSample, Counts, GatewaySample, Histogram, PodSample, Reading
from seawall.measure.window import Series
from seawall.sizing.calibration import BatchCount

INF = math.inf
EDGES = (9.0, 14.0, 19.0, 24.0, 39.0, INF)
SHARES = (0.5, 0.9, 0.995, 0.999, 1.0, 1.0)
T0 = 1_795_000_000.0
SLO = 20.0


def histogram(requests: float, shares: Iterable[float] = SHARES) -> Histogram:
    return Histogram(EDGES, tuple(math.floor(requests * share) for share in shares))


def pod(name: str, at: float, answered: float, failed: float = 0.0, **fields: object) -> PodSample:
    fields.setdefault("histogram", histogram(answered + failed))
    return PodSample(name, at, answered, failed, 0.0, **fields)  # type: ignore[arg-type]


def arm(at: float, *pods: PodSample, expected: Iterable[str] | None = None, **fields: object) -> ArmSample:
    names = frozenset(expected) if expected is not None else frozenset(p.pod for p in pods)
    return ArmSample(at, pods, names, **fields)  # type: ignore[arg-type]


def watched(
    seconds: float, rps: float, change: Callable[[PodSample], PodSample] = lambda p: p, names: str = "a"
) -> tuple[Series, float]:
    """Some pods at a steady rate each, looked at every five seconds."""
    series, at = Series(), T0
    while at <= T0 + seconds:
        series.add(arm(at, *(change(pod(name, at, 10_000 + rps * (at - T0))) for name in names)))
        at += 5
    return series, at - 5


def test_steady_traffic_is_read_as_it_is() -> None:
    series, now = watched(70, 40, names="ab")
    reading = series.reading(now, SLO)
    assert (reading.source, reading.trouble, reading.message, reading.complete) == ("Triton", None, "", True)
    assert reading.rate_15s == pytest.approx(80)
    assert reading.rate_60s == pytest.approx(80)
    # 99 % lies between the shares of the edges 14 and 19, which stand for 15 and 20 ms.
    assert (reading.p99_low_ms, reading.p99_high_ms) == (15, 20)
    assert reading.p99_ms == pytest.approx(15 + 5 * (0.99 - 0.9) / 0.095, abs=0.1)
    assert reading.late_share == pytest.approx(0.005, abs=1e-3)
    assert not reading.approximate
    assert reading.counts.total == pytest.approx(80 * 70)
    assert reading.counts.good == pytest.approx(80 * 70 * 0.995, abs=3)


def test_the_mark_moves_with_every_reading() -> None:
    series, now = watched(60, 40)
    assert series.reading(now, SLO).counts.total == pytest.approx(2400)
    assert series.reading(now, SLO).counts == Counts()
    series.add(arm(now + 5, pod("a", now + 5, 10_000 + 40 * 65)))
    assert series.reading(now + 5, SLO).counts.total == pytest.approx(200)


def test_no_traffic_is_a_rate_of_zero_and_no_p99() -> None:
    series, now = watched(60, 0)
    reading = series.reading(now, SLO)
    assert (reading.rate_15s, reading.rate_60s) == (0, 0)
    assert (reading.p99_ms, reading.late_share, reading.trouble) == (None, None, "NoTraffic")
    assert reading.counts == Counts()


def test_a_p99_of_few_requests_is_not_told() -> None:
    series, now = watched(60, 3)
    reading = series.reading(now, SLO)
    assert reading.trouble == "NotEnoughRequests"
    assert (reading.p99_ms, reading.late_share) == (None, None)
    assert reading.rate_60s == pytest.approx(3)
    assert reading.counts.total == pytest.approx(180)
    assert "200" in reading.message
    assert "180" in reading.message


def _bad(**fields: object) -> Callable[[PodSample], PodSample]:
    return lambda sample: replace(sample, **fields)  # type: ignore[arg-type]


UNBELIEVABLE = {
    "NaN": (_bad(answered=math.nan), "tells nan"),
    "infinite": (_bad(answered=INF), "tells inf"),
    "negative": (_bad(failed=-1.0), "tells -1"),
    "NaN waiting": (_bad(pending=math.nan), "tells nan"),
    "infinite summary": (_bad(summary_p99_ms=INF), "tells inf"),
    "no counters": (_bad(answered=None), "no counters"),
    "no time": (_bad(at=math.nan), "without their time"),
    "time ahead": (lambda p: replace(p, at=p.at + 60), "60 s ahead"),
    "empty histogram": (_bad(histogram=Histogram((), ())), "without its last edge"),
    "no last edge": (_bad(histogram=Histogram((9.0, 19.0), (1.0, 2.0))), "without its last edge"),
    "only the last edge": (_bad(histogram=Histogram((INF,), (9.0,))), "without edges"),
    "falling counts": (_bad(histogram=Histogram((9.0, 19.0, INF), (5.0, 4.0, 9.0))), "fall along"),
    "NaN in a bucket": (_bad(histogram=Histogram((9.0, INF), (math.nan, 9.0))), "no numbers"),
    "edges that fall": (_bad(histogram=Histogram((19.0, 9.0, INF), (1.0, 2.0, 3.0))), "do not rise"),
    "a problem of the scrape": (_bad(problem="tells a line that is no metric"), "no metric"),
}


@pytest.mark.parametrize("name", UNBELIEVABLE)
def test_what_cannot_be_believed_is_no_data(name: str) -> None:
    change, words = UNBELIEVABLE[name]
    series, now = watched(60, 40, change)
    reading = series.reading(now, SLO)
    _assert_nothing(reading, "MetricsInvalid")
    assert words in reading.message
    assert reading.message.startswith("Pod a ")


def _assert_nothing(reading: Reading, trouble: str) -> None:
    assert reading.trouble == trouble
    assert reading.p99_ms is None
    assert reading.late_share is None
    assert (reading.rate_15s, reading.rate_60s) == (None, None)
    assert reading.counts == Counts()
    assert not reading.complete


@pytest.mark.parametrize("name", UNBELIEVABLE)
def test_one_liar_spoils_the_p99_and_not_the_rate_of_the_others(name: str) -> None:
    change, words = UNBELIEVABLE[name]
    series, now = watched(60, 40, lambda p: change(p) if p.pod == "b" else p, names="abc")
    reading = series.reading(now, SLO)
    assert (reading.trouble, reading.p99_ms, reading.complete) == ("MetricsInvalid", None, False)
    assert words in reading.message
    assert reading.rate_60s == pytest.approx(80)


def test_a_pod_that_is_told_twice_is_not_added_up() -> None:
    series, at = Series(), T0
    while at <= T0 + 60:
        series.add(arm(at, pod("a", at, 40 * (at - T0)), pod("a", at - 1, 40 * (at - 1 - T0))))
        at += 5
    reading = series.reading(at - 5, SLO)
    _assert_nothing(reading, "MetricsInvalid")
    assert "twice" in reading.message


@pytest.mark.parametrize(
    ("answered", "failed", "seen", "fine"),
    [
        (2400, 0, 2400, True),
        (2400, 0, 2300, True),
        (2400, 300, 2400, True),
        (2400, 300, 2700, True),
        (2400, 0, 1200, False),
        (2400, 0, 4800, False),
        (2400, 0, 0, False),
    ],
)
def test_a_histogram_must_agree_with_the_counters(
    answered: float, failed: float, seen: float, fine: bool
) -> None:
    def change(sample: PodSample) -> PodSample:
        share = (sample.at - T0) / 60
        return replace(
            sample, answered=answered * share, failed=failed * share, histogram=histogram(seen * share)
        )

    series, now = watched(60, 40, change)
    reading = series.reading(now, SLO)
    if fine:
        assert reading.trouble is None
    else:
        assert (reading.trouble, reading.p99_ms, reading.counts) == ("MetricsInvalid", None, Counts())
        assert "histogram" in reading.message


def test_old_counters_are_no_p99() -> None:
    series, now = watched(60, 40)
    assert series.reading(now + 25, SLO).p99_ms is not None
    reading = series.reading(now + 31, SLO)
    _assert_nothing(reading, "MetricsStale")
    assert "31 s old" in reading.message


def test_a_source_that_repeats_an_old_sample_is_stale() -> None:
    series, now = watched(60, 40)
    series.reading(now, SLO)
    old = pod("a", now, 12_400)
    for later in range(5, 45, 5):
        series.add(arm(now + later, old))
    _assert_nothing(series.reading(now + 40, SLO), "MetricsStale")


def test_the_trouble_of_the_source_is_told_once_its_last_numbers_are_old() -> None:
    series, now = watched(60, 40)
    for later in range(5, 45, 5):
        series.add(
            arm(now + later, expected="a", trouble="MetricsUnavailable", message="Prometheus is away.")
        )
    soon = series.reading(now + 20, SLO)
    assert (soon.trouble, soon.complete) == (None, False)
    late = series.reading(now + 40, SLO)
    _assert_nothing(late, "MetricsUnavailable")
    assert late.message == "Prometheus is away."


def test_nothing_yet() -> None:
    _assert_nothing(Series().reading(T0, SLO), "NotStarted")
    _assert_nothing(Series().add(ArmSample(T0)).reading(T0, SLO), "NotStarted")
    once, now = watched(0, 40)
    _assert_nothing(once.reading(now, SLO), "NotStarted")
    _assert_nothing(Series().add(arm(T0, expected="ab")).reading(T0, SLO), "MetricsUnavailable")


def test_counters_only_have_no_p99() -> None:
    series, now = watched(60, 40, _bad(histogram=None))
    reading = series.reading(now, SLO)
    assert (reading.trouble, reading.p99_ms, reading.late_share) == ("P99Unavailable", None, None)
    assert reading.rate_60s == pytest.approx(40)
    assert reading.counts == Counts()


def test_a_silent_pod_makes_the_rest_incomplete_and_never_idle() -> None:
    series, at = Series(), T0
    while at <= T0 + 60:
        series.add(arm(at, pod("a", at, 0), expected="ab"))
        at += 5
    reading = series.reading(at - 5, SLO)
    assert (reading.trouble, reading.complete, reading.p99_ms) == ("MetricsUnavailable", False, None)
    busy, at = Series(), T0
    while at <= T0 + 60:
        busy.add(arm(at, pod("a", at, 40 * (at - T0)), expected="ab"))
        at += 5
    told = busy.reading(at - 5, SLO)
    assert (told.trouble, told.complete) == (None, False)
    assert told.p99_ms is not None


@pytest.mark.parametrize("known", [True, False], ids=["start known", "start unknown"])
def test_a_restarted_server_counts_from_zero(known: bool) -> None:
    def change(sample: PodSample) -> PodSample:
        since = T0 - 1000 if sample.at < T0 + 33 else T0 + 33
        answered = 40 * (sample.at - since)
        return pod("a", sample.at, answered, started=since if known else None)

    series, now = watched(70, 40, change)
    reading = series.reading(now, SLO)
    assert reading.trouble is None
    # Lost is what came between the last look and the restart: 3 s of 60.
    assert reading.rate_60s == pytest.approx(38)
    assert reading.rate_15s == pytest.approx(40)
    assert reading.counts.total == pytest.approx(40 * 67)


def test_counters_that_fall_without_a_restart_are_no_restart() -> None:
    def change(sample: PodSample) -> PodSample:
        answered = 40 * (sample.at - T0) + (5000 if sample.at < T0 + 65 else 0)
        return pod("a", sample.at, answered, started=T0 - 1000)

    series, now = watched(65, 40, change)
    reading = series.reading(now, SLO)
    assert (reading.trouble, reading.rate_60s) == ("MetricsInvalid", None)
    assert "fell" in reading.message


def test_a_bucket_that_falls_alone_is_a_contradiction() -> None:
    def change(sample: PodSample) -> PodSample:
        shares = (0.5, 0.9, 0.995, 0.999, 1, 1) if sample.at < T0 + 65 else (0.1, 0.9, 0.995, 0.999, 1, 1)
        return replace(sample, histogram=histogram(sample.answered or 0, shares))

    series, now = watched(65, 40, change)
    assert series.reading(now, SLO).trouble == "MetricsInvalid"


@pytest.mark.parametrize(
    ("started", "expected"),
    [(None, 0.0), (T0 + 52, 120.0), (T0 - 5000, 0.0)],
    ids=["unknown", "just now", "old"],
)
def test_a_new_pod_counts_from_zero_only_if_it_is_known_to_be_new(
    started: float | None, expected: float
) -> None:
    series, now = watched(50, 40)
    series.reading(now, SLO)
    at = now + 5
    series.add(arm(at, pod("a", at, 12_200), pod("b", at, 120, started=started)))
    reading = series.reading(at, SLO)
    assert reading.counts.total == pytest.approx(200 + expected)
    assert reading.complete is (expected > 0)


def test_scaling_up_leaves_the_rate_as_it_is() -> None:
    """One pod's 80 rps become 40 of each of two."""
    series, at = Series(), T0
    while at <= T0 + 75:
        if at <= T0 + 60:
            pods = [pod("a", at, 80 * (at - T0))]
        else:
            later = at - T0 - 60
            pods = [pod("a", at, 80 * 60 + 40 * later), pod("b", at, 40 * later, started=T0 + 60)]
        series.add(arm(at, *pods))
        at += 5
    reading = series.reading(at - 5, SLO)
    assert reading.rate_60s == pytest.approx(80)
    assert reading.rate_15s == pytest.approx(80)


def test_scaling_down_leaves_the_rate_as_it_is() -> None:
    series, at = Series(), T0
    while at <= T0 + 75:
        if at <= T0 + 60:
            pods = [pod(name, at, 40 * (at - T0)) for name in "ab"]
        else:
            pods = [pod("a", at, 40 * 60 + 80 * (at - T0 - 60))]
        series.add(arm(at, *pods))
        at += 5
    reading = series.reading(at - 5, SLO)
    assert reading.rate_60s == pytest.approx(80)
    assert reading.rate_15s == pytest.approx(80)
    assert reading.complete


def test_samples_out_of_order_change_nothing() -> None:
    """Two Prometheis behind one address, each with times of its own."""
    series, at = Series(), T0
    for step in range(25):
        at = T0 + 3 * step
        told = at if step % 2 == 0 else at - 4
        series.add(arm(at, pod("a", told, 1000 + 40 * (told - T0))))
    reading = series.reading(at, SLO)
    assert reading.trouble is None
    assert reading.rate_60s == pytest.approx(40)
    assert reading.counts.total == pytest.approx(40 * (at - T0))


def test_a_clock_that_was_put_back_is_followed_after_a_while() -> None:
    series, now = watched(60, 40)
    for step in range(1, 14):
        at = now - 3600 + 5 * step
        series.add(arm(at, pod("a", at, 12_400 + 200 * step)))
    reading = series.reading(at, SLO)
    assert reading.trouble is None
    assert reading.rate_60s == pytest.approx(40)


def test_a_long_gap_is_no_window_but_its_requests_count() -> None:
    series, now = watched(60, 40)
    series.reading(now, SLO)
    at = now + 300
    series.add(arm(at, pod("a", at, 12_400 + 40 * 300)))
    reading = series.reading(at, SLO)
    assert (reading.trouble, reading.rate_60s) == ("NotStarted", None)
    assert reading.counts.total == pytest.approx(12_000)


@pytest.mark.parametrize("fast", [True, False], ids=["fast failures", "failures that are in no histogram"])
def test_failures_never_improve_anything(fast: bool) -> None:
    """A tenth fails at once; of the others 2 % are late."""
    late = (0.5, 0.9, 0.98, 0.99, 1.0, 1.0)

    def change(sample: PodSample) -> PodSample:
        answered = 40 * (sample.at - T0)
        failed = answered / 9 if sample.at > T0 else 0.0
        counts = [math.floor(answered * s + (failed if fast else 0)) for s in late]
        return replace(sample, answered=answered, failed=failed, histogram=Histogram(EDGES, tuple(counts)))

    series, now = watched(60, 40, change)
    reading = series.reading(now, SLO)
    healthy, _ = watched(60, 40, lambda p: replace(p, histogram=histogram((p.answered or 0), late)))
    p99 = healthy.reading(now, SLO).p99_ms
    assert reading.p99_ms is not None
    assert p99 is not None
    assert reading.p99_ms >= p99 - 0.1
    assert reading.late_share is not None
    assert reading.late_share >= 0.1 + 0.9 * 0.02 - 1e-3
    counts = reading.counts
    assert counts.failed == pytest.approx(counts.total / 10)
    assert counts.good <= counts.total * 0.9 * 0.98 + 1


def test_only_failures() -> None:
    series, now = watched(
        60,
        40,
        lambda p: replace(p, answered=0.0, failed=40 * (p.at - T0), histogram=histogram(40 * (p.at - T0))),
    )
    reading = series.reading(now, SLO)
    assert (reading.trouble, reading.p99_ms, reading.late_share) == ("NotEnoughRequests", None, 1.0)
    assert reading.counts.good == 0
    assert reading.rate_60s == pytest.approx(40)


def test_pods_with_different_edges_are_joined_where_they_agree() -> None:
    def change(sample: PodSample) -> PodSample:
        if sample.pod == "a":
            return sample
        n = sample.answered or 0
        return replace(
            sample, histogram=Histogram((14.0, 19.0, 59.0, INF), (n // 2, math.floor(n * 0.995), n, n))
        )

    series, now = watched(60, 40, change, names="ab")
    reading = series.reading(now, SLO)
    assert (reading.p99_low_ms, reading.p99_high_ms) == (15, 20)
    assert reading.late_share == pytest.approx(0.005, abs=1e-3)


def test_without_an_edge_at_the_slo_less_is_called_good() -> None:
    series, now = watched(60, 40)
    reading = series.reading(now, 22.0)
    assert reading.approximate
    assert reading.late_share == pytest.approx(0.005, abs=1e-3)
    assert "faster than 20 ms" in reading.message
    blind = series.reading(now, 5.0)
    assert (blind.late_share, blind.approximate) == (None, True)
    assert blind.p99_ms is not None
    assert "no request can be called good" in blind.message


def test_above_all_edges_the_p99_has_no_upper_end() -> None:
    series, now = watched(
        60, 40, lambda p: replace(p, histogram=histogram(p.answered or 0, (0, 0, 0, 0, 0.5, 1)))
    )
    reading = series.reading(now, SLO)
    assert (reading.p99_ms, reading.p99_low_ms, reading.p99_high_ms) == (40, 40, INF)


def test_of_summaries_the_slowest_pod_counts_and_no_share_is_invented() -> None:
    series, now = watched(
        60, 40, lambda p: replace(p, histogram=None, summary_p99_ms={"a": 12.0, "b": 17.5}[p.pod]), names="ab"
    )
    reading = series.reading(now, SLO)
    assert (reading.source, reading.trouble, reading.approximate) == ("TritonSummary", None, True)
    assert (reading.p99_ms, reading.p99_low_ms, reading.p99_high_ms) == (17.5, None, None)
    assert reading.late_share is None
    assert reading.counts == Counts()


def test_a_summary_that_went_empty_under_traffic_is_no_p99() -> None:
    series, now = watched(
        60,
        40,
        lambda p: replace(p, histogram=None, summary_p99_ms=12.0 if p.pod == "a" else None),
        names="ab",
    )
    reading = series.reading(now, SLO)
    assert (reading.trouble, reading.p99_ms) == ("P99Unavailable", None)
    assert "Pod b" in reading.message


def _gateway(at: float, requests: float, **fields: object) -> GatewaySample:
    edges = (10.0, 15.0, 20.0, 25.0, 40.0, INF)
    counts = tuple(math.floor(requests * share) for share in SHARES)
    values = {"failed": 0.0, "ended": requests, **fields}
    return GatewaySample(at, Histogram(edges, counts), **values)  # type: ignore[arg-type]


def _behind_gateway(
    seconds: float, make: Callable[[float, float], GatewaySample | None], pod_rps: float = 40
) -> tuple[Series, float]:
    series, at = Series(), T0
    while at <= T0 + seconds:
        series.add(arm(at, pod("a", at, pod_rps * (at - T0)), gateway=make(at, 50 * (at - T0))))
        at += 5
    return series, at - 5


def test_the_gateway_counts_where_there_is_one() -> None:
    series, now = _behind_gateway(60, _gateway)
    reading = series.reading(now, SLO)
    assert (reading.source, reading.trouble, reading.approximate) == ("Gateway", None, False)
    assert (reading.p99_low_ms, reading.p99_high_ms) == (15, 20)
    assert reading.rate_60s == pytest.approx(50)
    assert reading.counts.total == pytest.approx(3000)
    assert reading.counts.good == pytest.approx(3000 * 0.995, abs=2)


def test_failures_that_no_server_saw_and_a_clients_own_mistakes() -> None:
    """Of 50 rps, 5 found no server at all and 10 were bad requests, answered at once."""

    def make(at: float, requests: float) -> GatewaySample:
        counts = tuple(math.floor(requests * (0.2 + 0.7 * share)) for share in SHARES)
        edges = (10.0, 15.0, 20.0, 25.0, 40.0, INF)
        return GatewaySample(at, Histogram(edges, counts), requests * 0.1, requests, requests * 0.2)

    series, now = _behind_gateway(60, make)
    reading = series.reading(now, SLO)
    assert reading.counts.total == pytest.approx(3000 * 0.8)
    assert reading.counts.failed == pytest.approx(300)
    assert reading.counts.good <= 3000 * 0.7 * 0.995
    assert reading.late_share is not None
    assert reading.late_share >= 300 / 2400
    assert reading.rate_60s == pytest.approx(50)


def test_gateway_instances_restart_one_by_one() -> None:
    def make(at: float, requests: float) -> GatewaySample:
        before = at < T0 + 33
        second = requests if before else 50 * (at - T0 - 33)
        parts = (_gateway(at, requests, instance="one"), _gateway(at, second, instance="two"))
        return GatewaySample(at, Histogram((), ()), 0.0, parts=parts)

    series, now = _behind_gateway(60, make)
    assert series.reading(now, SLO).rate_60s == pytest.approx(50 + 50 * 57 / 60)


def test_a_gateway_that_finds_no_server_at_all() -> None:
    """Envoy has no histogram then."""
    series, now = _behind_gateway(60, lambda at, n: GatewaySample(at, Histogram((), ()), n, n), pod_rps=0)
    reading = series.reading(now, SLO)
    assert (reading.source, reading.trouble, reading.late_share) == ("Gateway", "NotEnoughRequests", 1.0)
    assert "3000 of 3000 failed" in reading.message
    assert reading.counts == Counts(3000, 0, 3000)


GATEWAY_FAULTS = {
    "twice": (
        lambda at, n: GatewaySample(at, Histogram((), ()), 0.0, parts=(_gateway(at, n), _gateway(at, n))),
        "twice",
    ),
    "NaN": (lambda at, n: _gateway(at, n, failed=math.nan), "nan"),
    "falling": (lambda at, n: replace(_gateway(at, n), histogram=Histogram((9.0, INF), (3.0, 2.0))), "fall"),
    "ahead": (lambda at, n: _gateway(at + 99, n), "ahead"),
}


@pytest.mark.parametrize("name", GATEWAY_FAULTS)
def test_a_gateway_that_cannot_be_believed_is_not_replaced_silently(name: str) -> None:
    make, words = GATEWAY_FAULTS[name]
    series, now = _behind_gateway(60, make)
    reading = series.reading(now, SLO)
    assert (reading.source, reading.trouble, reading.p99_ms) == ("Gateway", "MetricsInvalid", None)
    assert words in reading.message
    assert reading.counts == Counts()


def test_a_gateway_that_went_silent_is_waited_for() -> None:
    series, now = _behind_gateway(60, lambda at, n: _gateway(at, n) if at <= T0 + 20 else None)
    reading = series.reading(now, SLO)
    assert (reading.source, reading.trouble, reading.p99_ms) == ("Gateway", "MetricsUnavailable", None)
    assert reading.counts.total == pytest.approx(50 * 20), "what it told before"
    assert reading.rate_60s == pytest.approx(40)
    series, now = _behind_gateway(400, lambda at, n: _gateway(at, n) if at <= T0 + 20 else None)
    assert series.reading(now, SLO).source == "Triton"


def test_traffic_beside_an_idle_gateway_is_measured_at_the_servers() -> None:
    series, now = _behind_gateway(60, lambda at, _: _gateway(at, 0))
    reading = series.reading(now, SLO)
    assert (reading.source, reading.trouble) == ("Triton", None)
    series, now = _behind_gateway(60, lambda at, _: _gateway(at, 0), pod_rps=0)
    assert series.reading(now, SLO).trouble == "NoTraffic"


@pytest.mark.parametrize(("bursty", "low", "high"), [(False, 0.6, 1.6), (True, 4.0, 20.0)])
def test_bursts_are_told_from_poisson(bursty: bool, low: float, high: float) -> None:
    rng = np.random.default_rng(5)
    series, total, at = Series(), 0.0, T0
    for _ in range(61):
        series.add(arm(at, pod("a", at, total)))
        at += 5
        # A gamma-distributed rate of every interval makes a negative binomial count.
        total += rng.poisson(200 * rng.gamma(20, 1 / 20) if bursty else 200)
    found = series.reading(at - 5, SLO).ca2
    assert found is not None
    assert low < found < high


def test_no_dispersion_from_few_intervals_or_few_requests() -> None:
    assert watched(60, 40)[0].reading(T0 + 60, SLO).ca2 is None
    assert watched(300, 0.5)[0].reading(T0 + 300, SLO).ca2 is None


UNEVEN = {
    "one pod gets five times the other's": (70.0, {"a": 10.0, "b": 50.0}, 50.0),
    "alike": (70.0, {"a": 30.0, "b": 30.0}, 30.0),
    "watched for too short a time to say": (30.0, {"a": 10.0, "b": 50.0}, None),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_what_the_busiest_pod_gets(name: str) -> None:
    seconds, rates, expected = UNEVEN[name]
    series, at = Series(), T0
    while at <= T0 + seconds:
        series.add(arm(at, *(pod(of, at, 10_000 + rps * (at - T0)) for of, rps in rates.items())))
        at += 5
    assert series.reading(at - 5, SLO).busiest_rps == pytest.approx(expected)


def test_waiting_requests_batches_and_joules() -> None:
    def change(sample: PodSample) -> PodSample:
        steps = int(sample.at - T0) // 5
        batches = (
            BatchCount(1, 100 * steps, 100 * steps * 7_000_000),
            BatchCount(4, steps, steps * 9_000_000),
        )
        return replace(sample, pending=3.0, batches=batches, joules=80 * (sample.at - T0))

    series, now = watched(60, 40, change, names="ab")
    reading = series.reading(now, SLO)
    assert reading.pending == 6
    assert reading.batches["a"] == (BatchCount(1, 1200, 8_400_000_000), BatchCount(4, 12, 108_000_000))
    assert reading.joules_per_request == pytest.approx(2.0)
    again = series.reading(now, SLO)
    assert (dict(again.batches), again.joules_per_request) == ({}, None)


def test_a_pod_with_two_restarts_between_readings_gives_no_negative_joules() -> None:
    series = Series()
    for at, joules, answered in ((0, 5000.0, 100.0), (5, 5100.0, 150.0), (10, 10.0, 5.0), (15, 30.0, 15.0)):
        series.add(arm(T0 + at, pod("a", T0 + at, answered, joules=joules)))
    assert series.reading(T0 + 15, SLO).joules_per_request == pytest.approx(2.0)


def test_memory_is_bounded_by_the_pods_of_the_last_minutes() -> None:
    series = Series()
    for step in range(400):
        at = T0 + 5 * step
        series.add(arm(at, pod(f"pod-{step // 4}", at, step, batches=(), joules=1.0)))
    kept = series._kept
    assert len(kept.pods) < 12
    assert len(kept.told) < 12
    assert len(kept.meter.batches) < 12
    assert max(len(track.points) for track in kept.pods.values()) < 20
