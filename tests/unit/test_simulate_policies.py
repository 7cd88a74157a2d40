"""The policies that are compared, and the study that compares them."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from seawall.simulate import study
from seawall.simulate.briefing import needed, tuned_rps
from seawall.simulate.frontier import explore
from seawall.simulate.offer import Offer, read_offer
from seawall.simulate.policies import BASELINES, Clairvoyant, Faro, Kpa, build
from seawall.simulate.production import Seawall
from seawall.simulate.report import frontier_json, study_json, study_table
from seawall.simulate.run import Scenario
from seawall.simulate.study import NAMES, Order, StudyError, brief, figure, run_study
from seawall.simulate.traces import Trace, read
from seawall.sizing.capacity import build_table
from seawall.sizing.law import decide
from seawall.sizing.profile import PodProfile, ProfileError

pytestmark = pytest.mark.long

SIZES = (1, 2, 4, 8)
NOTES = PodProfile(SIZES, tuple(6.0 + size for size in SIZES), (0.0,) * 4)
TRACES = Path(__file__).parents[3] / "shared" / "traces"
STEP = Trace("step", np.concatenate([np.full(300, 250.0), np.full(300, 800.0), np.full(300, 250.0)]), 1.0)


@pytest.fixture(autouse=True, scope="module")
def _coarse_tables():
    """A tenth of the requests: what is tested here is who uses the table for what."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "build_table", partial(build_table, requests=1_200))
        study._built.cache_clear()
        yield
    study._built.cache_clear()


def order(trace=STEP, **changes):
    return Order(trace, replace(NOTES, cold_start_seconds=30.0), 20.0, **changes)


class Seen:
    """What a policy looks at, made up."""

    def __init__(self, now=600.0, replicas=3, p99=None, rate=None, fresh=True, area=0.0, seconds=()):
        self.now, self.replicas, self.ready, self.starting = now, replicas, replicas, 0
        self.fresh, self.pods, self.live_request_seconds = fresh, [], area
        self._p99, self._rate, self._seconds = p99, rate, np.array(seconds)

    def p99_ms(self, window):
        return self._p99

    def rate(self, window):
        return self._rate

    def per_second(self, window):
        return self._seconds[-int(window) :]


def test_the_clairvoyant_orders_a_cold_start_ahead_and_lets_go_at_once():
    policy = Clairvoyant(brief(order()))
    few, many = policy.at(0.0), policy.at(400.0)
    assert few < many
    # Asked at 255 s and ready 30 s later, it decides for everything up to 300 s; at 260 s for more.
    assert (policy.at(255.0), policy.at(256.0)) == (few, many)
    assert (policy.at(599.0), policy.at(600.0)) == (many, few)


def test_what_is_needed_runs_at_nine_tenths():
    briefing = brief(order())
    for rate, pods in zip(STEP.rates[[0, 300]], needed(briefing)[[0, 300]], strict=True):
        assert rate <= 0.9 * pods * briefing.true.rps(pods)
        assert pods == 1 or rate > 0.9 * (pods - 1) * briefing.true.rps(pods - 1)


def test_after_a_drift_the_clairvoyant_needs_more():
    steady = Trace("t", np.full(900, 700.0), 1.0)
    counts = needed(brief(order(steady, scenario=Scenario(drift=0.25))))
    assert counts[0] < counts[-1]
    assert (counts[:225] == counts[0]).all()
    assert (counts[225:] == counts[-1]).all()


def test_the_policies_believe_the_profile_the_clairvoyant_the_pods():
    right, wrong = (brief(order(scenario=Scenario(profile_error=error))) for error in (0.0, 0.3))
    assert wrong.believed == right.believed
    assert needed(wrong).max() > needed(right).max()
    assert tuned_rps(wrong) == tuned_rps(right)


def test_the_maximum_is_twice_the_peak_unless_it_is_given():
    peak = int(needed(brief(order())).max())
    assert brief(order()).maximum == max(10, 2 * peak)
    assert brief(order(maximum=peak)).maximum == peak
    with pytest.raises(StudyError, match=f"up to {peak} pods .* more than the {peak - 1}"):
        brief(order(maximum=peak - 1))


REFUSED = {
    "an SLO below the service time": (replace(order(), slo_ms=6.0), "the profile's pods have a p99 of"),
    "pods slower than the profile says": (
        order(scenario=Scenario(profile_error=2.0)),
        "the pods as they are have a p99 of",
    ),
    "a drift beyond the SLO": (order(scenario=Scenario(drift=2.0)), "the pods after the drift have a p99 of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_number_of_pods_can_do_is_refused(case):
    given, sentence = REFUSED[case]
    with pytest.raises(StudyError, match=sentence):
        brief(given)


def test_the_raw_p99_autoscaler_follows_the_ratio():
    policy = build("hpa-p99-80", brief(order()))
    assert policy.replicas(Seen(p99=17.0)) == 3, "within a tenth of 16 ms"
    assert policy.replicas(Seen(p99=None)) == 3, "no data, no change"
    assert policy.replicas(Seen(p99=40.0, fresh=False)) == 3, "stale data, no change"


def test_the_rate_autoscaler_counts_no_pods():
    briefing = brief(order())
    policy = build("rps-tuned", briefing)
    assert policy.replicas(Seen(rate=5 * tuned_rps(briefing))) == 5
    high, low = build("rps-high", briefing), build("rps-low", briefing)
    assert high.replicas(Seen(rate=5 * tuned_rps(briefing))) == math.ceil(5 / 1.3)
    assert low.replicas(Seen(rate=4 * tuned_rps(briefing))) == math.ceil(4 / 0.7)


def test_kpa_panics_on_a_burst_and_does_not_shrink_for_a_minute():
    policy = Kpa(brief(order()), target=2.0)
    area, counts = 0.0, []
    for tick in range(1, 71):
        area += 2.0 * (20.0 if 30 < tick <= 34 else 4.0)
        counts.append(policy.replicas(Seen(now=2.0 * tick, replicas=counts[-1] if counts else 2, area=area)))
    assert counts[28] == 2
    assert max(counts) == 10
    assert counts[33:60] == [10] * 27
    assert counts[-1] < 10


def test_faro_knows_no_batching_and_adds_one_when_late():
    policy = Faro(brief(order(maximum=20)))
    planned = policy.replicas(Seen(seconds=[300.0] * 300))
    # 300 a second of 7 ms each are 2.1 servers' work; M/D/c wants some more.
    assert 3 <= planned <= 5
    late = [policy.replicas(Seen(now=600.0 + 10 * n, replicas=planned, p99=25.0)) for n in (1, 2, 3)]
    assert late == [planned, planned, planned + 1]


def test_seawall_is_the_production_law_and_nothing_else(monkeypatch):
    calls = []

    def spy(table, slo_ms, bounds, signals, state, settings):
        calls.append((slo_ms, bounds, signals, state, settings))
        return decide(table, slo_ms, bounds, signals, state, settings)

    monkeypatch.setattr("seawall.simulate.production.decide", spy)
    run_study(order(margin=0.1), ["seawall"])
    assert len(calls) == 60
    slo_ms, bounds, signals, _, settings = calls[30]
    assert (slo_ms, bounds.min_replicas, settings.margin) == (20.0, 1, 0.1)
    assert signals.now == 31 * 15.0
    assert signals.rate_15s == pytest.approx(800.0, rel=0.1)
    assert signals.service_scale == pytest.approx(1.0, abs=0.01), "measured from the batches"
    assert calls[31][3] == decide(brief(order()).table, *calls[30])[1], "its own state comes back to it"


def test_during_an_outage_the_law_is_told_that_nothing_is_known():
    seawall = Seawall(brief(order()))
    signals = []
    real = seawall.signals
    seawall.signals = lambda view: signals.append(real(view)) or signals[-1]
    given = order(scenario=Scenario(outage=(300.0, 120.0)))
    world = study.World(given.profile, 20.0)
    found = study.simulate(STEP, world, seawall, given.scenario, 2, 0)
    blind = [one for one in signals if one.rate_15s is None]
    assert [one.now for one in blind] == [315.0 + 15 * n for n in range(7)]
    counts = [count for at, count in found.decisions if 300 < at < 420]
    assert not counts, "held"


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_runs_and_serves_a_steady_load(name):
    found = run_study(order(Trace("t", np.full(300, 300.0), 1.0)), [name]).policies[name]
    assert 1 <= found.max_replicas <= 10
    assert found.replica_hours.mean == pytest.approx(found.replica_hours.mean)
    assert found.attainment.mean > (0.0 if name == "cpu-duty" else 0.9)


def test_the_names_are_those_of_the_command_line():
    assert ("seawall", *BASELINES) == NAMES
    with pytest.raises(KeyError):
        build("guess", brief(order()))


def test_cost_and_energy_follow_from_price_and_power():
    given = order(price_per_hour=2.0, idle_watts=30.0, peak_watts=70.0)
    found = run_study(given, ["static-peak"])
    result, run = found.policies["static-peak"], found.policies["static-peak"].first
    assert result.cost_per_1k.mean == pytest.approx(1000 * 2.0 * run.replica_hours / run.requests)
    joules = run.replica_hours * 3600 * 30.0 + run.busy_seconds * 40.0
    assert result.joules_per_1k.mean == pytest.approx(1000 * joules / run.requests)


def test_several_seeds_give_an_interval_and_one_gives_none():
    assert figure([3.0]) == study.Figure(3.0)
    found = figure([1.0, 2.0, 3.0])
    # Student's t for two degrees of freedom is 4.303.
    assert found.mean == 2.0
    assert found.high - 2.0 == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert figure([1.0, math.inf]).low is None


def test_the_json_has_the_agreed_shape():
    found = study_json(run_study(order(seeds=(0, 1), price_per_hour=1.0), ["seawall"]), "20ms")
    assert set(found) == {"slo", "requests", "policies"}
    policy = found["policies"]["seawall"]
    assert set(policy) == {
        "attainment", "violatingMinutes", "p99Ms", "replicaHours", "replicaHoursVsClairvoyant",
        "directionChangesPerHour", "costPer1k", "joulesPer1k", "interval",
    }  # fmt: skip
    assert policy["joulesPer1k"] is None
    low, high = policy["interval"]["attainment"]
    assert low <= policy["attainment"] <= high
    json.dumps(found, allow_nan=False)


def test_refused_requests_make_the_p99_null_and_never():
    given = order(Trace("t", np.full(420, 300.0), 1.0).with_burst(40.0, 360.0, 20.0))
    flooded = replace(given, profile=replace(given.profile, max_queue_size=1))
    found = run_study(flooded, ["rps-tuned"])
    assert study_json(found, "20ms")["policies"]["rps-tuned"]["p99Ms"] is None
    assert "never" in study_table(found)


def test_the_frontier_marks_what_nothing_else_beats():
    fast = Offer("fast", replace(NOTES, cold_start_seconds=30.0), 1.0, 30.0, 70.0)
    dear = replace(fast, name="dear", price_per_hour=3.0, idle_watts=90.0, peak_watts=200.0)
    slow = replace(fast, name="slow", profile=fast.profile.scaled(4.0))
    found = explore(order(), [fast, dear, slow])
    assert [(point.offer, point.margin) for point in found.points] == [
        (name, margin) for name in ("fast", "dear") for margin in (0.0, 0.1, 0.2)
    ]
    assert not any(point.best for point in found.points if point.offer == "dear")
    assert any(point.best for point in found.points if point.offer == "fast")
    hours = [point.result.replica_hours.mean for point in found.points[:3]]
    assert hours == sorted(hours), "a margin costs pods"
    assert [name for name, _ in found.refused] == [f"slow, margin {m}%" for m in (0, 10, 20)]
    json.dumps(frontier_json(found, "20ms"), allow_nan=False)


OFFERS = {
    "negative power": ({"power": {"idleWatts": -1, "peakWatts": 5}}, "idleWatts is -1"),
    "half of the power": ({"power": {"idleWatts": 1}}, "power needs both"),
    "power the wrong way round": ({"power": {"idleWatts": 9, "peakWatts": 5}}, "is greater than peakWatts"),
    "power as a number": ({"power": 9}, "power is not an object"),
    "a price in words": ({"pricePerHour": "cheap"}, "pricePerHour is 'cheap'"),
    "no batches": ({"batches": []}, "p.json: the profile has no batches"),
}
DOCUMENT = {"accelerator": "nvidia-l4", "preset": "int8", "maxBatchSize": 2,
            "batches": [{"size": 1, "meanMs": 7.0, "stdMs": 0.2}, {"size": 2, "meanMs": 8.0}]}  # fmt: skip


@pytest.mark.parametrize("case", OFFERS)
def test_profiles_that_are_refused(case, tmp_path):
    changes, sentence = OFFERS[case]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(DOCUMENT | changes))
    with pytest.raises(ProfileError, match=sentence):
        read_offer(path)


def test_a_profile_with_money_and_power(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(DOCUMENT | {"pricePerHour": 0.7, "power": {"idleWatts": 30, "peakWatts": 72}}))
    offer = read_offer(path)
    assert (offer.name, offer.price_per_hour, offer.idle_watts, offer.peak_watts) == (
        "nvidia-l4 int8", 0.7, 30.0, 72.0,
    )  # fmt: skip
    path.write_text(json.dumps({key: value for key, value in DOCUMENT.items() if key[0] not in "ap"}))
    assert (read_offer(path).name, read_offer(path).price_per_hour) == ("p", None)


@pytest.mark.skipif(not TRACES.is_dir(), reason="the public traces are not here")
def test_the_public_traces_are_read():
    conv = read(TRACES / "AzureLLMInferenceTrace_conv_2023.csv")
    code = read(TRACES / "AzureLLMInferenceTrace_code_2023.csv")
    assert (len(conv.times), len(code.times)) == (19366, 8819)
    assert code.rates.max() == 67
    job = read(TRACES / "faro_10jobs_6h_per_minute.jsonl", series="serve-cluster7")
    assert job.seconds == 6 * 3600


@pytest.mark.skipif(not TRACES.is_dir(), reason="the public traces are not here")
def test_on_a_public_trace_seawall_keeps_the_slo_near_the_clairvoyant():
    job = read(TRACES / "faro_10jobs_6h_per_minute.jsonl", series="serve-cluster0").scaled_to(300.0)
    hour = replace(job, rates=job.rates[:60])
    found = run_study(Order(hour, NOTES, 20.0), ["seawall"]).policies["seawall"]
    assert found.attainment.mean >= 0.998
    assert found.versus_clairvoyant.mean <= 1.25
