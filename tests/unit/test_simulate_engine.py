"""The pods, request by request: batching, queues, dispatch, life of a pod, what is observed of all that."""

import numpy as np
import pytest

from seawall.simulate import kernel
from seawall.simulate.fleet import Fleet, World, bin_edges_ms
from seawall.simulate.observe import Gauges, View, quantile
from seawall.simulate.run import Scenario, direction_changes, simulate
from seawall.simulate.traces import Trace
from seawall.sizing.profile import DISPATCHES, PodProfile
from seawall.sizing.queueing import wait_mmc

pytestmark = pytest.mark.long

SIZES = (1, 2, 4, 8)
NOTES = PodProfile(SIZES, tuple(6.0 + size for size in SIZES), (0.0,) * 4)
"""s(b) = 6 + b ms, batches of up to 8"""


def profile(**changes):
    given = {"sizes": (1, 2), "mean_ms": (10.0, 16.0), "std_ms": (0.0, 0.0), "max_batch_size": 2}
    return PodProfile(**(given | changes))


def fleet(pod=None, pods=1, slo_ms=20.0, seconds=100.0, **world):
    return Fleet(World(pod or profile(), slo_ms, **world), seconds, pods, seed=0)


def latencies(fleet):
    """Lower edges in ms of the fine bins that were hit, as often as they were."""
    edges = np.concatenate([[0.0], bin_edges_ms(fleet.world.slo_ms)])
    return np.repeat(edges[:-1], fleet.state.histogram)


CASES = {
    "alone: one service time": (profile(), [0.0], [10]),
    "the second waits for the first": (profile(), [0.0, 0.004], [10, 16]),
    "two that wait go together": (profile(), [0.0, 0.001, 0.002], [10, 24, 25]),
    "a batch holds no more than its most": (profile(), [0.0, 0.001, 0.002, 0.003], [10, 24, 25, 33]),
    "overhead is added to every latency": (profile(overhead_ms=3.0), [0.0, 0.004], [13, 19]),
    "two instances serve side by side": (profile(instances=2), [0.0, 0.004], [10, 10]),
    "a delay waits for company": (profile(max_queue_delay_ms=5.0), [0.0, 0.003], [16, 19]),
    "a delay that nobody comes within": (profile(max_queue_delay_ms=5.0), [0.0], [15]),
    "a full batch does not wait for the delay": (profile(max_queue_delay_ms=5.0), [0.0, 0.001], [16, 17]),
    "an expired delay at a busy pod starts with it": (
        profile(max_queue_delay_ms=2.0),
        [0.0, 0.005],
        [12, 17],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_batching(case):
    pod, arrivals, wanted = CASES[case]
    served = fleet(pod)
    served.run(np.array(arrivals), 5.0)
    assert latencies(served) == pytest.approx(sorted(wanted), abs=0.15)


def test_a_full_queue_refuses_and_says_so():
    served = fleet(profile(max_queue_size=1))
    served.run(np.array([0.0, 0.001, 0.002, 0.003]), 5.0)
    assert served.state.tally[kernel.REJECTED] == 2
    assert len(latencies(served)) == 2
    assert served.state.refused[0] == 2


def test_without_a_ready_pod_everything_is_refused():
    served = fleet(pods=1)
    served.scale(0)
    served.run(np.array([0.1, 0.2]), 1.0)
    assert served.state.tally[kernel.UNSERVED] == 2


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_every_request_is_counted_once_and_none_is_lost(dispatch):
    served = fleet(NOTES, pods=5, dispatch=dispatch)
    rng = np.random.default_rng(1)
    at = np.sort(rng.uniform(0, 50, 60_000))
    for second in range(60):
        served.run(at[(at >= second) & (at < second + 1)], second + 1.0)
    state = served.state
    assert state.tally[kernel.OFFERED] == state.histogram.sum() == state.minute.sum() == 60_000
    assert state.scraped.sum() == state.ended.sum() == state.offered.sum() == 60_000
    assert (state.batches * np.arange(9)).sum() == 60_000
    assert served.inside() == 0


def test_an_overload_grows_the_queue_without_losing_its_order():
    served = fleet(profile(), pods=1, seconds=200.0)
    at = np.arange(0, 100, 0.002)  # 500 a second into a pod that can do 125
    for second in range(200):
        served.run(at[(at >= second) & (at < second + 1)], second + 1.0)
    done = int(served.state.histogram.sum())
    assert done == pytest.approx(200 * 125, rel=0.01)
    assert served.waiting() + done == pytest.approx(len(at), abs=2)
    # First come, first served: whoever leaves at 200 s came at a quarter of that.
    assert latencies(served).max() == pytest.approx(150_000, rel=0.02)


def steady(pod, dispatch, pods, per_pod, seconds=240):
    """Mean and p99 in ms at one rate."""
    trace = Trace("steady", np.full(seconds, per_pod * pods), 1.0)
    world = World(pod, 20.0, dispatch)
    found = simulate(trace, world, Fixed(pods), Scenario(), pods, seed=5)
    return found.p99_ms, found


class Fixed:
    name, sync = "fixed", 15.0

    def __init__(self, *counts):
        self.counts, self.seen = list(counts), []

    def replicas(self, view):
        self.seen.append(view)
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]


# Published for this pod: p99 is 20 ms at these rates per pod.
KNOWN = {"random": (222.0, 6), "p2c": (296.0, 3), "least-request": (312.0, 5), "round-robin": (325.0, 5)}


@pytest.mark.parametrize("dispatch", KNOWN)
def test_the_capacity_at_20_ms_is_the_known_one(dispatch):
    rate, pods = KNOWN[dispatch]
    p99, _ = steady(NOTES, dispatch, pods, rate)
    assert p99 == pytest.approx(20.0, rel=0.03)


def test_dispatch_orders_the_tails():
    tails = [steady(NOTES, dispatch, 6, 250.0)[0] for dispatch in ("random", "p2c", "round-robin")]
    assert tails == sorted(tails, reverse=True)


def test_waiting_without_batching_is_that_of_md1():
    pod = profile(sizes=(1,), mean_ms=(10.0,), std_ms=(0.0,), max_batch_size=1)
    trace = Trace("t", np.full(1900, 60.0), 1.0)
    found = simulate(trace, World(pod, 20.0, "random"), Fixed(1), Scenario(), 1, seed=1)
    # M/D/1 waits half as long as M/M/1.
    assert found.mean_ms == pytest.approx(10.0 + 0.5 * 1000.0 * wait_mmc(60.0, 0.010, 1), rel=0.03)


def test_more_pods_are_served_only_after_their_cold_start():
    served = fleet(cold_start_seconds=60.0)
    served.scale(3)
    assert (served.ready(), served.starting(), served.next_change()) == (1, 2, 60.0)
    served.run(np.empty(0), 60.0)
    assert (served.ready(), served.starting()) == (3, 0)


def test_pods_that_start_go_first_then_the_youngest():
    served = fleet(pods=2, cold_start_seconds=10.0)
    served.run(np.empty(0), 5.0)
    served.scale(3)
    served.run(np.empty(0), 15.0)
    served.scale(5)
    served.scale(2)
    kept = [(pod.created, pod.state) for pod in served.pods]
    assert kept == [(0.0, "ready"), (0.0, "ready"), (5.0, "leaving")]


def test_a_leaving_pod_finishes_its_work_and_gets_no_more():
    served = fleet(pods=2, dispatch="round-robin", drain_seconds=5.0)
    served.run(np.array([0.999, 0.9991, 0.9992, 0.9993]), 1.0)
    served.scale(1)
    served.run(np.array([1.5]), 2.0)
    assert served.state.histogram.sum() == 5
    assert sorted(pod.state for pod in served.pods) == ["leaving", "ready"]
    served.run(np.empty(0), 6.0)
    assert [pod.state for pod in served.pods] == ["ready"]


def test_a_pod_is_paid_for_from_its_creation_to_its_end():
    served = fleet(pods=1, cold_start_seconds=60.0, drain_seconds=5.0)
    served.scale(2)
    served.run(np.empty(0), 60.0)
    served.run(np.empty(0), 70.0)
    served.scale(1)
    served.run(np.empty(0), 75.0)
    served.run(np.empty(0), 80.0)
    assert served.pod_seconds == 80.0 + 75.0


def test_one_canary_in_ten_is_slower():
    served = fleet(pods=20, canary_slower=0.1)
    assert sorted(served.state.slow[:20]) == [1.0] * 18 + [1.1] * 2
    assert sorted(fleet(pods=3, canary_slower=0.1).state.slow[:3]) == [1.0, 1.0, 1.1]
    assert set(fleet(pods=20).state.slow) == {1.0}


def test_drift_begins_after_a_quarter_of_the_trace():
    drift = Scenario(drift=0.25)
    assert [drift.drift_at(now, 400.0) for now in (0.0, 99.0, 100.0, 399.0)] == [1.0, 1.0, 1.25, 1.25]
    trace = Trace("t", np.full(400, 1.0), 1.0)
    slow = simulate(trace, World(profile(), 20.0), Fixed(1), drift, 1, seed=0)
    assert slow.p99_ms > 12.0
    assert slow.attainment > 0.9


def test_a_wrong_profile_is_wrong_about_the_pods():
    assert Scenario(profile_error=0.3).truth(NOTES).mean_ms == pytest.approx((9.1, 10.4, 13.0, 18.2))


def test_what_is_known_is_five_seconds_old():
    policy = Fixed(1)
    simulate(Trace("t", np.full(60, 10.0), 1.0), World(profile(), 20.0), policy, Scenario(), 1, seed=0)
    assert [(view.now, view.scrapes * 5.0) for view in policy.seen] == [
        (15.0, 10.0), (30.0, 25.0), (45.0, 40.0), (60.0, 55.0),
    ]  # fmt: skip
    assert all(view.fresh for view in policy.seen)


def test_during_an_outage_the_metrics_only_grow_older():
    policy = Fixed(1)
    scenario = Scenario(outage=(30.0, 60.0))
    simulate(Trace("t", np.full(120, 10.0), 1.0), World(profile(), 20.0), policy, scenario, 1, seed=0)
    assert [round(view.age) for view in policy.seen] == [5, 5, 20, 35, 50, 5, 5, 5]
    assert [view.fresh for view in policy.seen] == [True, True, False, False, False, True, True, True]


def test_a_view_measures_what_happened():
    served, gauges = fleet(profile(), pods=2, dispatch="round-robin"), Gauges()
    for scrape in range(4):
        at = scrape * 5.0 + np.arange(0, 5, 0.1)
        served.run(at, scrape * 5.0 + 5.0)
        gauges.write(served)
    view = View(served, gauges, 20.0, 4)
    assert view.rate(10.0) == pytest.approx(10.0)
    assert view.duty(10.0) == pytest.approx(0.05)
    assert view.concurrency(10.0) == pytest.approx(0.1, rel=0.01)
    assert view.late_share() == 0.0
    assert view.batches(10.0)[0].tolist() == [0, 100, 0]
    assert 8.0 < view.p99_ms() <= 12.0, "the bucket around 10 ms"


QUANTILES = {
    "nothing counted is no data": ([0, 0, 0], None),
    "straight within the bucket": ([100, 0, 0], 9.9),
    "within the second": ([0, 100, 0], 19.9),
    "beyond all bounds: the last bound": ([0, 0, 5], 20.0),
}


@pytest.mark.parametrize("case", QUANTILES)
def test_the_scraped_p99_is_that_of_a_histogram(case):
    counts, wanted = QUANTILES[case]
    found = quantile((10.0, 20.0), np.array(counts), 0.99)
    assert found == (None if wanted is None else pytest.approx(wanted))


TURNS = {
    "only up": ([1, 2, 3], 0),
    "up and down": ([1, 3, 2], 1),
    "staying between does not count": ([1, 3, 3, 2, 2, 4], 2),
    "nothing": ([4], 0),
}


@pytest.mark.parametrize("case", TURNS)
def test_direction_changes(case):
    counts, wanted = TURNS[case]
    assert direction_changes(counts) == wanted


def test_a_violated_minute_is_one_with_more_than_a_hundredth_late():
    rates = np.concatenate([np.full(60, 5.0), np.full(60, 200.0), np.full(60, 0.0), np.full(60, 5.0)])
    trace, world = Trace("t", rates, 1.0), World(profile(), 60.0)
    found = simulate(trace, world, Fixed(1), Scenario(), 1, seed=0)
    # The backlog of the second minute is served in the third, and counts for the minute it came in;
    # the third has no requests, so it is no minute at all.
    assert found.course.violating == [1]
    assert found.violating_minutes == pytest.approx(1 / 3)


def test_the_same_seed_gives_the_same_run():
    runs = [steady(NOTES, "p2c", 3, 200.0, 30)[1] for _ in range(2)]
    assert runs[0].p99_ms == runs[1].p99_ms
    assert runs[0].attainment == runs[1].attainment


def test_a_delay_from_elsewhere_is_in_every_latency_and_in_no_batch():
    trace, world = Trace("t", np.full(240, 20.0), 1.0), World(profile(), 60.0)
    plain, hindered = (
        simulate(trace, world, Fixed(1), Scenario(elsewhere=elsewhere), 1, seed=0)
        for elsewhere in (None, (100.0, 120.0))
    )
    assert hindered.busy_seconds == pytest.approx(plain.busy_seconds)
    assert hindered.mean_ms == pytest.approx(plain.mean_ms + 50.0, rel=0.05)
    assert plain.attainment > 0.99
    assert hindered.course.violating == [2, 3]


def told(at, seconds, **world):
    """The p99 of the policies, every five seconds, of a service that is slow for its first ten."""
    served, gauges, seen = fleet(slo_ms=100.0, dispatch="round-robin", **world), Gauges(), []
    for scrape in range(seconds // 5):
        start = 5.0 * scrape
        served.hinder(200.0 if start < 10 else 0.0)
        served.run(at[(at >= start) & (at < start + 5)], start + 5.0)
        gauges.write(served)
        seen.append(View(served, gauges, start + 5.0, scrape + 1).p99_ms(60.0))
    return seen


def test_a_summary_is_the_slowest_pods_and_remembers_about_a_minute():
    at = np.arange(0, 100, 0.05)
    seen = told(at, 100, pods=2, summaries=True)
    # Twelve seconds are forgotten at a time: what came before 12 s goes at 60 s.
    assert [value for value in seen[:11] if value < 200] == []
    assert [value for value in seen[12:] if value > 30] == []
    assert told(at, 100, pods=2)[-1] <= 20.0, "the histogram's bucket"


def test_no_summary_tells_how_many_were_late():
    served, gauges = fleet(pods=1, summaries=True), Gauges()
    served.run(np.arange(0, 5, 0.1), 5.0)
    gauges.write(served)
    view = View(served, gauges, 5.0, 1)
    assert view.late_share() is None
    assert view.p99_ms() == pytest.approx(10.0, abs=0.2)


def test_a_pod_without_requests_has_no_summary():
    served, gauges = fleet(pods=2, summaries=True), Gauges()
    served.run(np.empty(0), 5.0)
    gauges.write(served)
    assert View(served, gauges, 5.0, 1).p99_ms() is None


def by_pod(served):
    return served.served(0, 40).tolist()


def test_connections_stay_with_their_pods():
    served = fleet(pods=1, dispatch="random", connections=4, cold_start_seconds=0.0, seconds=200.0)
    served.scale(3)
    served.run(np.arange(0, 50, 0.2), 60.0)
    assert by_pod(served) == [250, 0, 0]
    assert served.state.tally[kernel.OPENED] == 4


def test_a_connection_more_is_opened_when_all_are_taken():
    served = fleet(pods=1, dispatch="random", connections=1, cold_start_seconds=0.0, seconds=200.0)
    served.scale(4)
    served.run(np.repeat(np.arange(0.0, 50.0), 8), 60.0)
    assert served.state.tally[kernel.OPENED] == 8
    assert sum(by_pod(served)) == 400
    assert min(by_pod(served)) >= 0
    assert max(by_pod(served)) < 400


def test_the_connections_of_a_leaving_pod_go_elsewhere():
    served = fleet(pods=2, dispatch="random", connections=8, seconds=200.0)
    served.run(np.arange(0, 10, 0.1), 10.0)
    assert set(served.state.pod_of[:8]) == {0, 1}
    served.scale(1)
    gone = next(pod.slot for pod in served.pods if pod.state == "leaving")
    served.run(np.arange(10, 20, 0.1), 20.0)
    assert not (served.state.pod_of == gone).any()
    assert served.state.histogram.sum() == 200


def test_the_busiest_pod_is_known():
    served, gauges = fleet(pods=1, dispatch="random", connections=4, cold_start_seconds=0.0), Gauges()
    served.scale(4)
    for scrape in range(12):
        served.run(scrape * 5.0 + np.arange(0, 5, 0.2), scrape * 5.0 + 5.0)
        gauges.write(served)
    assert View(served, gauges, 60.0, 12).busiest_rps() == pytest.approx(5.0)
