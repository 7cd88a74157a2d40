"""Windows cut from counters: exact where everything was heard, and none at all where anything was not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from seawall.canary.cutter import KEPT_WINDOWS, Cutter
from seawall.canary.window import Arm, Window
from seawall.measure.types import ArmSample, GatewaySample, Histogram, PodSample
from seawall.measure.window import Series

INF = math.inf
T0 = 1_795_000_005.0
"""a multiple of fifteen"""
SLO = 20.0
POD_EDGES = (9.0, 19.0, 39.0, INF)
"""Triton's: the second stands for 20 ms"""
GATEWAY_EDGES = (10.0, 20.0, 40.0, INF)
TEN = 10.0

PodChange = Callable[[PodSample], PodSample | None]
ArmChange = Callable[[ArmSample], ArmSample | None]


@dataclass
class Rates:
    """Of one arm, each second; `slow` and `failed` are among the requests, apart from each other."""

    requests: float = 10.0
    slow: float = 1.0
    failed: float = 0.0
    refused: float = 0.0
    seen: float | None = None
    """in the histogram; what was answered if None"""


@dataclass
class Side:
    """One arm as a source shows it; changes are made to its samples while `when` holds."""

    rates: Rates = field(default_factory=Rates)
    pods: tuple[str, ...] = ("a",)
    gateway: Rates | None = None
    pod_edges: tuple[float, ...] = POD_EDGES
    gateway_edges: tuple[float, ...] = GATEWAY_EDGES
    before: float = 1000.0
    """seconds for which it had been counting when it was first looked at"""
    pod: PodChange = lambda sample: sample
    arm: ArmChange = lambda sample: sample
    when: Callable[[float], bool] = lambda _second: True
    from_: float = -INF
    """second of the first look"""
    scraped_every: float = 1.0
    """what is looked at in between is what the last scrape has found"""

    def sample(self, second: float) -> ArmSample | None:
        now, second = second, math.floor(second / self.scraped_every) * self.scraped_every
        counted = self.before + second
        pods = [
            _pod(name, T0 + second, counted, self.rates, len(self.pods), self.pod_edges) for name in self.pods
        ]
        gateway = None
        if self.gateway is not None:
            gateway = _gateway("g", T0 + second, counted, self.gateway, self.gateway_edges)
        told = tuple(pods)
        if self.when(second):
            told = tuple(changed for pod in pods if (changed := self.pod(pod)) is not None)
        sample = ArmSample(T0 + now, told, frozenset(self.pods), gateway)
        return self.arm(sample) if self.when(second) else sample


def _pod(
    name: str, at: float, counted: float, rates: Rates, pods: int, edges: tuple[float, ...]
) -> PodSample:
    total, slow, failed = (
        math.floor(counted * rate / pods) for rate in (rates.requests, rates.slow, rates.failed)
    )
    return PodSample(name, at, total - failed, failed, 0.0, _histogram(edges, total - failed, slow, 19.0))


def _gateway(name: str, at: float, counted: float, rates: Rates, edges: tuple[float, ...]) -> GatewaySample:
    total, slow, failed, refused = (
        math.floor(counted * rate) for rate in (rates.requests, rates.slow, rates.failed, rates.refused)
    )
    seen = total - failed - refused if rates.seen is None else math.floor(counted * rates.seen)
    histogram = _histogram(edges, seen, slow, 20.0) if seen else Histogram((), ())
    return GatewaySample(at, histogram, failed, total, refused, name)


def _histogram(edges: tuple[float, ...], seen: float, slow: float, slo_edge: float) -> Histogram:
    """The slow ones lie just above the SLO's edge, the others in the first bucket."""
    return Histogram(edges, tuple(seen if edge > slo_edge else seen - slow for edge in edges))


@dataclass
class Scene:
    stable: Side = field(default_factory=Side)
    candidate: Side | None = field(default_factory=lambda: Side(Rates(2, 0.2, 0), ("c",)))
    seconds: float = 15.0
    slo_ms: float = SLO
    cutter: Cutter = field(init=False)
    stable_series: Series | None = field(default_factory=Series)
    candidate_series: Series | None = None
    second: float = 0.0

    def __post_init__(self) -> None:
        self.cutter = Cutter(self.seconds)

    def run(self, until: float, step: float = 5.0) -> tuple[Window, ...]:
        while self.second <= until:
            self.look(self.second)
            self.second += step
        return tuple(self.cutter.closed)

    def look(self, second: float) -> bool:
        self.cutter.follow("s", "c" if self.candidate is not None else "")
        if self.stable_series is not None:
            _hear(self.stable_series, self.stable, second)
        if self.candidate is not None and second >= self.candidate.from_:
            self.candidate_series = self.candidate_series or Series()
            _hear(self.candidate_series, self.candidate, second)
        return self.cutter.cut(T0 + second, self.stable_series, self.candidate_series, self.slo_ms)


def _hear(series: Series, side: Side, second: float) -> None:
    sample = side.sample(second)
    if sample is not None:
        series.add(sample)


def ends(windows: Iterable[Window]) -> list[float]:
    return [window.end - T0 for window in windows]


def counts(arm: Arm) -> tuple[float, float, float]:
    return float(arm.requests), float(arm.slow), float(arm.errors)


def test_steady_traffic_is_cut_at_multiples_of_the_length() -> None:
    windows = Scene().run(95)
    assert ends(windows) == [30, 45, 60, 75, 90]
    for window in windows:
        assert window.end % 15 == 0
        assert counts(window.stable) == (150, 15, 0)
        assert counts(window.candidate) == (30, 3, 0)
        assert (window.stable.ready_pods, window.candidate.ready_pods) == (1, 1)
        assert (window.began, window.timed, window.warming) == (window.end - 15, True, False)
        assert window.stable.slow_at_most is None


def test_a_window_is_closed_once_both_arms_were_heard_at_its_end_or_later() -> None:
    scene = Scene()
    scene.run(25)
    assert ends(scene.cutter.closed) == []
    assert scene.look(30)
    assert ends(scene.cutter.closed) == [30]
    assert not scene.look(35)
    assert isinstance(scene.candidate, Side)
    scene.candidate.arm, scene.stable.arm = (lambda _sample: None), (lambda sample: sample)
    assert not scene.look(47)
    scene.candidate.arm = lambda sample: sample
    assert scene.look(52)
    assert ends(scene.cutter.closed) == [30, 45]


def test_looks_that_miss_the_edges_cut_where_they_are_and_lose_nothing() -> None:
    scene, chance = Scene(), random.Random(5)  # noqa: S311
    second = 0.0
    while second < 400:
        scene.look(second)
        second += chance.uniform(3, 9)
    windows = list(scene.cutter.closed)
    assert len(windows) > 20
    began = windows[0].began or 0.0
    last = max(at for at in (w.began or 0.0 for w in windows))
    counted = sum(float(w.stable.requests) for w in windows[:-1])
    assert counted == pytest.approx(10 * (last - began), abs=len(windows) + 100)
    assert all(w.began is not None and w.end - 15 - 9 <= w.began <= w.end - 15 for w in windows)


@pytest.mark.parametrize("seconds", [1.0, 7.5, 60.0, 300.0])
def test_every_length_of_window_counts_every_request_once(seconds: float) -> None:
    scene = Scene(seconds=seconds)
    windows = scene.run(1300)
    assert len(windows) == min(KEPT_WINDOWS, len(windows))
    assert len(windows) >= 3
    assert all(
        after - before == seconds for before, after in zip(ends(windows), ends(windows)[1:], strict=False)
    )
    span = windows[-1].end - windows[0].end
    counted = sum(float(window.stable.requests) for window in windows[1:])
    assert counted == pytest.approx(10 * span, abs=50)


@pytest.mark.parametrize("every", [10.0, 15.0, 30.0])
def test_a_prometheus_that_scrapes_seldom_loses_no_request(every: float) -> None:
    scene = Scene()
    for side in (scene.stable, scene.candidate):
        assert side is not None
        side.scraped_every = every
    windows = scene.run(400)
    assert ends(windows)[-1] >= 345
    assert all(after - before == 15 for before, after in zip(ends(windows), ends(windows)[1:], strict=False))
    counted = sum(float(window.stable.requests) for window in windows)
    assert counted == pytest.approx(150 * len(windows), abs=10 * every)
    assert all(float(window.candidate.requests) * 5 == float(window.stable.requests) for window in windows)
    assert scene.cutter.trouble == ""


def _bad(**fields: object) -> PodChange:
    return lambda sample: replace(sample, **fields)  # type: ignore[arg-type]


def _twice(sample: ArmSample) -> ArmSample:
    return replace(sample, pods=(*sample.pods, *sample.pods))


def _away(sample: ArmSample) -> ArmSample:
    return ArmSample(sample.at, (), sample.expected, None, "MetricsUnavailable", "Prometheus is away.")


def _repeats(sample: ArmSample) -> ArmSample:
    return replace(sample, pods=tuple(replace(pod, at=T0 + 55) for pod in sample.pods))


FAULTS: dict[str, tuple[str, object, str]] = {
    "NaN": ("pod", _bad(answered=math.nan), "tells nan"),
    "negative": ("pod", _bad(failed=-1.0), "tells -1"),
    "no counters": ("pod", _bad(answered=None), "no counters"),
    "a clock that is ahead": ("pod", lambda pod: replace(pod, at=pod.at + 60), "ahead"),
    "falling buckets": ("pod", _bad(histogram=Histogram((9.0, 19.0, INF), (5.0, 4.0, 9.0))), "fall along"),
    "unreadable": ("pod", _bad(problem="tells a line that is no metric"), "no metric"),
    "told twice": ("arm", _twice, "told twice"),
    "a pod that is silent": ("pod", lambda _pod: None, "not heard"),
    "an old sample again and again": ("arm", _repeats, "not heard"),
    "Prometheus down": ("arm", _away, "Prometheus is away."),
    "a histogram unlike the counters": (
        "pod", lambda pod: replace(pod, answered=(pod.answered or 0) * 2), "histogram",
    ),
}  # fmt: skip


@pytest.mark.parametrize("of", ["stable", "candidate"])
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_believed_closes_no_window_and_is_told(name: str, of: str) -> None:
    what, change, words = FAULTS[name]
    scene = Scene()
    side = getattr(scene, of)
    setattr(side, what, change)
    side.when = lambda second: 60 < second < 200
    scene.run(195)
    assert set(ends(scene.cutter.closed)) <= {30, 45, 60}
    assert scene.cutter.trouble == "ProviderDown"
    assert words in scene.cutter.message
    scene.run(300)
    assert scene.cutter.trouble == ""
    assert ends(scene.cutter.closed)[-2:] == [285, 300]
    for window in scene.cutter.closed:
        assert counts(window.stable) == (150, 15, 0)
        assert counts(window.candidate) == (30, 3, 0)


@pytest.mark.parametrize(
    "name", ["NaN", "told twice", "a pod that is silent", "Prometheus down", "unreadable"]
)
def test_what_is_wrong_for_a_moment_costs_nothing(name: str) -> None:
    what, change, _ = FAULTS[name]
    scene = Scene()
    setattr(scene.stable, what, change)
    scene.stable.when = lambda second: second in (60, 65)
    windows = scene.run(150)
    assert ends(windows) == [30, 45, 60, 75, 90, 105, 120, 135, 150]
    assert sum(float(window.stable.requests) for window in windows) == 9 * 150
    assert scene.cutter.trouble == ""


def test_after_a_gap_windows_begin_anew() -> None:
    scene = Scene()
    scene.stable.arm = lambda _sample: None
    scene.stable.when = lambda second: 60 < second < 120
    windows = scene.run(180)
    assert ends(windows) == [30, 45, 60, 135, 150, 165, 180]
    assert all(counts(window.stable) == (150, 15, 0) for window in windows)


def _restarted(second: float, known: bool) -> Callable[[ArmSample], ArmSample]:
    """The first pod's server started at that second and counts from zero."""

    def change(sample: ArmSample) -> ArmSample:
        pod = _pod("a", sample.at, sample.at - T0 - second, Rates(), 1, POD_EDGES)
        return replace(sample, pods=(replace(pod, started=T0 + second if known else None),))

    return change


@pytest.mark.parametrize("known", [True, False])
def test_the_window_of_a_restart_is_left_out(known: bool) -> None:
    scene = Scene()
    scene.stable.arm = _restarted(68, known)
    scene.stable.when = lambda second: second > 68
    windows = scene.run(125)
    assert ends(windows) == [30, 45, 60, 90, 105, 120]
    assert all(counts(window.stable)[0] == pytest.approx(150, abs=1) for window in windows)
    assert scene.cutter.trouble == ""


def test_the_window_of_another_layout_is_left_out() -> None:
    scene = Scene()
    wide = Side(pod_edges=(4.0, *POD_EDGES))
    scene.stable.arm = lambda sample: wide.sample(sample.at - T0) or sample
    scene.stable.when = lambda second: second > 68
    assert ends(scene.run(125)) == [30, 45, 60, 90, 105, 120]


def _joined_by(name: str, second: float, started: float | None) -> ArmChange:
    def change(sample: ArmSample) -> ArmSample:
        pod = _pod(name, sample.at, sample.at - T0 - second, Rates(4, 0, 0), 1, POD_EDGES)
        pods = (*sample.pods, replace(pod, started=started))
        return replace(sample, pods=pods, expected=sample.expected | {name})

    return change


def test_a_pod_that_has_just_started_is_counted_from_zero() -> None:
    scene = Scene()
    scene.stable.arm = _joined_by("b", 63, T0 + 63)
    scene.stable.when = lambda second: second >= 63
    windows = scene.run(95)
    assert ends(windows) == [30, 45, 60, 75, 90]
    assert float(windows[3].stable.requests) == 150 + 4 * 12
    assert [window.stable.ready_pods for window in windows] == [1, 1, 1, 2, 2]


def test_the_window_in_which_a_pod_comes_from_nowhere_is_left_out() -> None:
    scene = Scene()
    scene.stable.arm = _joined_by("b", -500, None)
    scene.stable.when = lambda second: second >= 63
    assert ends(scene.run(95)) == [30, 45, 60, 90]


@pytest.mark.parametrize(("came", "out"), [(-500, {75}), (62, {75})])
def test_the_window_in_which_a_pod_leaves_is_left_out(came: float, out: set[float]) -> None:
    scene = Scene()
    scene.stable.arm = _joined_by("b", came, T0 + came)
    scene.stable.when = lambda second: came <= second < 72
    windows = scene.run(125)
    assert set(ends(windows)) == {30, 45, 60, 75, 90, 105, 120} - out


@pytest.mark.parametrize("summary", [None, 12.0])
def test_without_a_histogram_errors_are_counted_and_latency_is_not(summary: float | None) -> None:
    scene = Scene(Side(Rates(10, 0, 1)))
    for side in (scene.stable, scene.candidate):
        assert side is not None
        side.pod = _bad(histogram=None, summary_p99_ms=summary)
    windows = scene.run(60)
    assert counts(windows[-1].stable) == (150, 0, 15)
    assert not windows[-1].timed
    assert scene.cutter.trouble == "NoLatency"
    assert "counters" in scene.cutter.message


def test_of_summaries_and_histograms_together_no_latency_is_told() -> None:
    scene = Scene()
    assert scene.candidate is not None
    scene.candidate.pod = _bad(histogram=None)
    assert not scene.run(60)[-1].timed


EDGES = {
    "at the SLO": ((9.0, 19.0, 39.0, INF), (9.0, 19.0, 39.0, INF), SLO, (15, None)),
    "the SLO between two": ((9.0, 29.0, INF), (9.0, 29.0, INF), SLO, (0, 15)),
    "the SLO above all": ((9.0, 14.0, INF), (9.0, 14.0, INF), SLO, (0, 15)),
    "the SLO below all": ((29.0, 39.0, INF), (29.0, 39.0, INF), SLO, (0, 150)),
    "other edges of the candidate": ((9.0, 19.0, 39.0, INF), (9.0, 39.0, INF), SLO, (0, 15)),
    "no edge in common": ((9.0, 39.0, INF), (19.0, 29.0, INF), SLO, (0, 150)),
}


@pytest.mark.parametrize("name", EDGES)
def test_late_is_what_lies_above_an_edge_that_both_arms_have(name: str) -> None:
    stable, candidate, slo, expected = EDGES[name]
    scene = Scene(Side(pod_edges=stable), Side(Rates(2, 0.2, 0), ("c",), pod_edges=candidate), slo_ms=slo)
    window = scene.run(60)[-1]
    assert (window.stable.slow, window.stable.slow_at_most) == expected


def gateways(stable: Rates, candidate: Rates | None, pods: Rates | None = None) -> Scene:
    quiet = pods or Rates(0, 0, 0)
    return Scene(Side(quiet, gateway=stable), Side(quiet, ("c",), gateway=candidate))


def test_the_gateway_is_asked_where_it_is_heard() -> None:
    scene = gateways(Rates(100, 2, 1, 3), Rates(10, 1, 0.2, 0), Rates(200, 50, 9))
    windows = scene.run(60)
    assert ends(windows) == [30, 45, 60]
    assert counts(windows[-1].stable) == (15 * 97, 30, 15)
    assert counts(windows[-1].candidate) == (150, 15, 3)


def test_a_candidate_that_only_fails_has_errors_and_no_late_ones() -> None:
    scene = gateways(Rates(100, 2, 0), Rates(10, 0, 10))
    window = scene.run(60)[-1]
    assert counts(window.candidate) == (150, 0, 150)
    assert window.timed


def test_late_ones_are_never_more_than_were_answered() -> None:
    scene = gateways(Rates(100, 2, 0), Rates(10, 8, 4, 0, 10))
    window = scene.run(60)[-1]
    assert counts(window.candidate) == (150, 90, 60)


def test_a_candidate_that_a_gateway_has_not_told_of_had_no_request_there() -> None:
    scene = gateways(Rates(100, 2, 0), None)
    windows = scene.run(60)
    assert ends(windows) == [30, 45, 60]
    assert counts(windows[-1].candidate) == (0, 0, 0)
    assert scene.candidate is not None
    scene.candidate.gateway, scene.candidate.before = Rates(10, 1, 0), -63.0
    windows = scene.run(95)
    assert ends(windows) == [30, 45, 60, 75, 90]
    assert counts(windows[-2].candidate) == (120, 12, 0), "from its first request on"
    assert counts(windows[-1].candidate) == (150, 15, 0)


def test_what_an_earlier_candidate_counted_by_the_same_name_is_not_this_ones() -> None:
    scene = gateways(Rates(100, 2, 0), Rates(10, 1, 0))
    assert scene.candidate is not None
    scene.candidate.from_ = 62
    windows = scene.run(125)
    told = [window for window in windows if window.candidate.ready_pods]
    assert ends(told) == [90, 105, 120]
    assert all(counts(window.candidate) == (150, 15, 0) for window in told)


def _no_gateway(sample: ArmSample) -> ArmSample:
    return replace(sample, gateway=None)


def test_a_gateway_that_falls_silent_is_missed_before_the_pods_are_asked() -> None:
    scene = gateways(Rates(100, 2, 0), Rates(10, 1, 0), Rates(100, 1, 0))
    for side in (scene.stable, scene.candidate):
        assert side is not None
        side.arm, side.when = _no_gateway, lambda second: second > 60
    scene.run(200)
    assert ends(scene.cutter.closed) == [30, 45, 60]
    assert scene.cutter.trouble == "ProviderDown"
    scene.run(450)
    assert scene.cutter.trouble == ""
    assert counts(scene.cutter.closed[-1].stable) == (1500, 15, 0)


def test_a_gateway_that_nobody_goes_through_leaves_the_word_to_the_pods() -> None:
    scene = gateways(Rates(0, 0, 0), Rates(0, 0, 0), Rates(10, 1, 0))
    window = scene.run(60)[-1]
    assert counts(window.stable) == counts(window.candidate) == (150, 15, 0)


def test_a_gateway_restart_is_left_out() -> None:
    def reset(sample: ArmSample) -> ArmSample:
        gateway = _gateway("g", sample.at, sample.at - T0 - 68, Rates(100, 2, 0), GATEWAY_EDGES)
        return replace(sample, gateway=gateway)

    scene = gateways(Rates(100, 2, 0), Rates(10, 1, 0))
    scene.stable.arm, scene.stable.when = reset, lambda second: second > 68
    windows = scene.run(125)
    assert ends(windows) == [30, 45, 60, 90, 105, 120]
    assert all(counts(window.stable)[0] == 1500 for window in windows)


def test_an_edge_that_envoy_only_guesses_is_not_used() -> None:
    edges = (100.0, 125.0, 250.0, INF)
    scene = gateways(Rates(100, 2, 0), Rates(10, 1, 0))
    for side in (scene.stable, scene.candidate):
        assert side is not None
        side.gateway_edges = edges
    scene.slo_ms = 125.0
    window = scene.run(60)[-1]
    assert window.stable.slow_at_most is not None
    scene = replace(scene, slo_ms=250.0, stable_series=Series(), candidate_series=None, second=0.0)
    assert scene.run(60)[-1].stable.slow_at_most is None


def test_without_a_candidate_the_stable_arm_has_windows_of_its_own() -> None:
    scene = Scene(candidate=None)
    windows = scene.run(1200)
    assert len(windows) == KEPT_WINDOWS
    assert all(window.candidate == Arm(ready_pods=0) for window in windows)


def test_the_window_in_which_a_candidate_comes_or_leaves_is_left_out() -> None:
    scene = Scene()
    assert scene.candidate is not None
    scene.candidate.from_ = 62
    assert scene.run(110)[2].candidate == Arm(ready_pods=0)
    assert not {75, 90} & {end for end in ends(scene.cutter.closed) if end == 75}
    assert counts(scene.cutter.closed[-1].candidate) == (30, 3, 0)
    scene.candidate.from_, scene.candidate_series = 10_000, None
    scene.run(170)
    assert scene.cutter.closed[-1].candidate == Arm(ready_pods=0)
    assert 120 not in ends(scene.cutter.closed)


def test_another_candidate_inherits_the_stable_arms_windows_alone() -> None:
    scene = Scene()
    scene.run(95)
    scene.cutter.follow("s", "another")
    assert [window.candidate for window in scene.cutter.closed] == [Arm(ready_pods=0)] * 5
    assert [counts(window.stable) for window in scene.cutter.closed] == [(150, 15, 0)] * 5


def test_another_stable_revision_begins_without_any() -> None:
    scene = Scene()
    scene.run(95)
    scene.cutter.follow("c", "")
    assert not scene.cutter.closed
    assert scene.cutter.trouble == ""


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_is_set_stops_nothing_for_long(jump: float) -> None:
    scene = Scene()
    scene.run(95)
    scene.stable.before += abs(jump) * 2
    assert scene.candidate is not None
    scene.candidate.before += abs(jump) * 2
    scene.second += jump
    windows = scene.run(scene.second + 300)
    named = ends(windows)
    assert named == sorted(set(named)), "no two windows have the same name"
    assert scene.second - 30 < named[-1] <= scene.second
    assert len([end for end in named if end > scene.second - 300]) >= 15
    assert counts(windows[-1].stable) == (150, 15, 0)


def test_a_stable_arm_without_pods_is_no_trouble() -> None:
    scene = Scene()
    scene.stable.arm = _away
    scene.stable.when = lambda second: second > 60
    scene.run(195)
    assert scene.cutter.trouble == "ProviderDown"
    scene.stable_series = None
    scene.look(200)
    assert (scene.cutter.trouble, scene.cutter.message) == ("", "")
