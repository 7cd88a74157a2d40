"""The HorizontalPodAutoscaler rule by rule: proposals of each metric type, stabilisation, rate limits, errors."""

import pytest

from seawall.simulate.hpa import HorizontalPodAutoscaler
from seawall.simulate.hpa_metrics import Metric, MetricUnavailable, Pod, Sample, Tolerances, milli, propose
from seawall.sizing.behavior import Behavior, History, Policy, Rules, normalise, parse_behavior

LOOSE = Tolerances()


def pods(count, **changes):
    return [Pod(f"p{n}", **changes) for n in range(count)]


def samples(*values, **named):
    return {f"p{n}": Sample(value) for n, value in enumerate(values)} | {
        name: Sample(value) for name, value in named.items()
    }


def external(total, target, kind="External"):
    return Metric(kind, "Value", target, None if total is None else [total])


def per_pod(total, target):
    return Metric("External", "AverageValue", target, [total])


def average(target, values):
    return Metric("Pods", "AverageValue", target, samples=values)


def cpu(target, values, **changes):
    return Metric("Resource", "Utilization", target, samples=values, cpu=True, **changes)


def test_a_quantity_becomes_thousandths_rounded_up():
    assert [milli(value) for value in (0.0001, 0.020, 1.5, 16.0)] == [1, 20, 1500, 16000]


VALUE = {
    "twice the target doubles": (external(40_000, 20_000), 3, pods(3), 6),
    "the ratio counts pods that run and are ready, not what the spec says": (
        external(40_000, 20_000),
        5,
        [*pods(3), Pod("late", ready=False)],
        6,
    ),
    "a pending pod does not count": (external(40_000, 20_000), 4, [*pods(3), Pod("new", "Pending")], 6),
    "exactly a tenth above is within tolerance": (external(22_000, 20_000), 3, pods(3), 3),
    "a hair more than a tenth above is not": (external(22_001, 20_000), 3, pods(3), 4),
    "exactly a tenth below is within tolerance": (external(18_000, 20_000), 10, pods(10), 10),
    "a hair more than a tenth below is not": (external(17_999, 20_000), 10, pods(10), 9),
    "within tolerance the spec stands, whatever is ready": (external(20_000, 20_000), 7, pods(2), 7),
    "several series of an external metric are summed": (
        Metric("External", "Value", 10_000, [10_000, 10_000, 10_000]),
        2,
        pods(2),
        6,
    ),
    "from zero the ratio alone counts, without tolerance": (external(1_050, 1_000), 0, [], 2),
    "from zero and no load stays zero": (external(0, 1_000), 0, [], 0),
    "no load proposes zero": (external(0, 20_000), 4, pods(4), 0),
    "an object metric behaves the same": (external(40_000, 20_000, "Object"), 3, pods(3), 6),
}


@pytest.mark.parametrize("case", VALUE)
def test_value(case):
    metric, spec, those, wanted = VALUE[case]
    assert propose(metric, spec, spec, those, LOOSE, 0.0) == wanted


PER_POD = {
    "the total over the target, whatever the pods are": (per_pod(900_000, 100_000), 3, 9),
    "rounded up": (per_pod(901_000, 100_000), 3, 10),
    "within a tenth of what the status says, the status stands": (per_pod(1_050_000, 100_000), 10, 10),
    "ten to eleven is lost to the tolerance": (per_pod(11_000, 1_000), 10, 10),
    "twenty to eighteen is lost to the tolerance": (per_pod(18_000, 1_000), 20, 20),
    "from status zero and no load: zero": (per_pod(0, 1_000), 0, 0),
    "from status zero and some load: its share": (per_pod(2_500, 1_000), 0, 3),
}


@pytest.mark.parametrize("case", PER_POD)
def test_average_value_of_external_metrics(case):
    metric, status, wanted = PER_POD[case]
    assert propose(metric, status, status, [], LOOSE, 0.0) == wanted


def test_spec_and_status_differ_while_pods_are_made():
    assert propose(per_pod(4_000, 1_000), 8, 4, [], LOOSE, 0.0) == 4


AVERAGE = {
    "the mean over the target": (average(1_000, samples(2_000, 2_000, 2_000)), 3, pods(3), 6),
    "the mean is cut to whole thousandths": (average(1_000, samples(1_100, 1_100, 1_102)), 3, pods(3), 3),
    "a pod that runs but is not ready counts as ready if it has a sample": (
        average(1_000, samples(4_000, 0)),
        2,
        [Pod("p0"), Pod("p1", ready=False)],
        4,
    ),
    "a missing pod is taken as idle when growing": (average(1_000, samples(3_000)), 2, pods(2), 3),
    "a missing pod is taken at target when shrinking": (average(1_000, samples(100)), 2, pods(2), 2),
    "and the smaller number follows when even that allows it": (
        average(1_000, samples(100, 100, 100)),
        4,
        pods(4),
        2,
    ),
    "missing pods that would turn growing into shrinking change nothing": (
        average(1_000, samples(1_500)),
        4,
        pods(4),
        4,
    ),
    "a pending pod is taken as idle when growing": (
        average(1_000, samples(3_000)),
        2,
        [Pod("p0"), Pod("new", "Pending")],
        3,
    ),
    "a pending pod is left out when shrinking": (
        average(1_000, samples(500, 500)),
        3,
        [*pods(2), Pod("new", "Pending")],
        1,
    ),
    "failed and leaving pods do not count, nor do their samples": (
        average(1_000, samples(2_000, 0, 0)),
        1,
        [Pod("p0"), Pod("p1", "Failed"), Pod("p2", deleting=True)],
        2,
    ),
    "the new count would be below the spec although load is high: the spec stands": (
        average(1_000, samples(1_300, 1_300)),
        9,
        [*pods(2), Pod("p9")],
        9,
    ),
    "within tolerance": (average(1_000, samples(1_100, 1_100)), 5, pods(2), 5),
}


@pytest.mark.parametrize("case", AVERAGE)
def test_averages_over_pods(case):
    metric, spec, those, wanted = AVERAGE[case]
    assert propose(metric, spec, spec, those, LOOSE, 0.0) == wanted


def half(**changes):
    return {"requests": {"main": 500}, **changes}


UTILIZATION = {
    "use over requests in percent": (cpu(50, samples(500, 500)), 2, pods(2, **half()), 4),
    "cut to whole percent: 55.9 is 55, and that is within a tenth of 50": (
        cpu(50, samples(559, 559)),
        2,
        pods(2),
        2,
    ),
    "56 percent is not": (cpu(50, samples(560, 560)), 2, pods(2), 3),
    "a missing pod counts as its whole request when shrinking": (cpu(80, samples(100)), 2, pods(2), 2),
    "or as the target where that is above its request": (cpu(120, samples(100)), 2, pods(2), 2),
    "and as nothing when growing": (cpu(50, samples(1_000)), 2, pods(2), 2),
    "a pod in its first five minutes that is not ready is left out when shrinking": (
        cpu(50, samples(200, 200)),
        2,
        [Pod("p0"), Pod("p1", ready=False, started=900.0, ready_changed=900.0)],
        1,
    ),
    "and counted as idle when growing": (
        cpu(50, samples(1_500, 1_500)),
        2,
        [Pod("p0"), Pod("p1", ready=False, started=900.0, ready_changed=900.0)],
        3,
    ),
    "a sample older than one window after getting ready is not believed": (
        cpu(50, {"p0": Sample(1_000, 1000.0), "p1": Sample(1_000, 1000.0, 30.0)}),
        2,
        [Pod("p0"), Pod("p1", started=900.0, ready_changed=980.0)],
        2,
    ),
    "an old pod that was never ready is left out": (
        cpu(50, samples(400, 400)),
        2,
        [Pod("p0"), Pod("p1", ready=False, started=0.0, ready_changed=10.0)],
        1,
    ),
    "an old pod that lost its readiness counts": (
        cpu(50, samples(1_000, 1_000)),
        2,
        [Pod("p0"), Pod("p1", ready=False, started=0.0, ready_changed=400.0)],
        4,
    ),
    "a pod without a ready condition is left out": (
        cpu(50, samples(400, 400)),
        2,
        [Pod("p0"), Pod("p1", ready=None)],
        1,
    ),
}


@pytest.mark.parametrize("case", UTILIZATION)
def test_utilization(case):
    metric, spec, those, wanted = UTILIZATION[case]
    assert propose(metric, spec, spec, those, LOOSE, 1000.0) == wanted


def test_a_container_s_utilization_looks_at_its_own_request():
    two = pods(2, requests={"main": 1_000, "proxy": 100})
    metric = Metric("ContainerResource", "Utilization", 50, samples=samples(100, 100), container="proxy")
    assert propose(metric, 2, 2, two, LOOSE, 0.0) == 4


UNAVAILABLE = {
    "the API failed": (external(None, 20_000), pods(2)),
    "an empty external list": (Metric("External", "AverageValue", 1_000, []), pods(2)),
    "no sample of any pod": (average(1_000, {}), pods(2)),
    "samples of unready pods alone": (average(1_000, samples(500)), [Pod("p0", "Pending")]),
    "no pods": (average(1_000, samples(500)), []),
    "no pods to multiply the ratio with": (external(40_000, 20_000), []),
    "a container without a request": (cpu(50, samples(100)), pods(1, requests={"main": None})),
    "a missing container": (cpu(50, samples(100), container="proxy"), pods(1)),
    "samples of unknown pods alone": (cpu(50, samples(stranger=100)), pods(1)),
}


@pytest.mark.parametrize("case", UNAVAILABLE)
def test_metrics_that_say_nothing(case):
    metric, those = UNAVAILABLE[case]
    with pytest.raises(MetricUnavailable):
        propose(metric, 2, 2, those, LOOSE, 0.0)


def scaler(minimum=1, maximum=20, behavior=None):
    return HorizontalPodAutoscaler(minimum, maximum, parse_behavior(behavior))


HIGH, LOW, BROKEN = external(90_000, 20_000), external(2_000, 20_000), external(None, 20_000)
SEVERAL = {
    "the largest proposal wins": ([LOW, HIGH], 4, "metric", 8),
    "all broken: nothing changes": ([BROKEN, BROKEN], 4, "FailedGetMetrics", 4),
    "one broken and the other would shrink: nothing changes": ([BROKEN, LOW], 4, "FailedGetMetrics", 4),
    "one broken and the other would grow: it grows": ([BROKEN, HIGH], 4, "metric", 8),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_metrics(case):
    metrics, spec, reason, wanted = SEVERAL[case]
    outcome = scaler().reconcile(0.0, spec, pods(spec), metrics)
    assert (outcome.replicas, outcome.reason) == (wanted, reason)


BOUNDS = {
    "zero replicas and a minimum above: scaling is off": (0, 1, "ScalingDisabled", 0),
    "above the maximum: down to it, without a look at metrics": (30, 1, "above maxReplicas", 20),
    "below the minimum: up to it, without a look at metrics": (1, 3, "below minReplicas", 3),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_bounds_come_first(case):
    spec, minimum, reason, wanted = BOUNDS[case]
    outcome = scaler(minimum).reconcile(0.0, spec, [], [BROKEN])
    assert (outcome.replicas, outcome.reason) == (wanted, reason)


def test_pods_that_another_autoscaler_selects_too_are_left_alone():
    outcome = scaler().reconcile(0.0, 4, pods(4), [HIGH], ambiguous=True)
    assert (outcome.replicas, outcome.reason) == (4, "AmbiguousSelector")


def test_without_a_behavior_block_three_become_six_with_an_empty_one_seven():
    assert scaler(behavior=None).reconcile(0.0, 3, pods(3), [HIGH]).replicas == 6
    assert scaler(behavior={}).reconcile(0.0, 3, pods(3), [HIGH]).replicas == 7


def test_without_a_behavior_block_one_may_become_four():
    assert scaler().reconcile(0.0, 1, pods(1), [external(900_000, 20_000)]).replicas == 4


def test_tolerance_fields_replace_the_default_in_their_direction():
    behavior = {"scaleUp": {"tolerance": 0}, "scaleDown": {"tolerance": 0.3}}
    assert scaler(behavior=behavior).reconcile(0.0, 10, pods(10), [per_pod(11_000, 1_000)]).replicas == 11
    assert scaler(behavior=behavior).reconcile(0.0, 10, pods(10), [per_pod(7_500, 1_000)]).replicas == 10


def replay(hpa, proposals, start, spec=4, step=15.0):
    """One external AverageValue proposal per sync; the replicas after each."""
    seen, now = [], start
    for proposal in proposals:
        spec = hpa.reconcile(now, spec, [], [per_pod(proposal * 1_000, 1_000)]).replicas
        seen.append(spec)
        now += step
    return seen


@pytest.mark.parametrize("behavior", [None, {}], ids=["no block", "empty block"])
def test_shrinking_waits_until_every_proposal_of_five_minutes_is_smaller(behavior):
    seen = replay(scaler(behavior=behavior), [2] * 23, 0.0)
    assert seen[:20] == [4] * 20
    # The first round remembers the count it found. Exactly 300 s old, it still counts without a block.
    assert seen[20] == (4 if behavior is None else 2)
    assert seen[21:] == [2, 2]


def test_one_peak_holds_for_five_minutes_more():
    seen = replay(scaler(behavior={}), [4] * 20 + [6] + [2] * 21, 0.0)
    assert seen[20:40] == [6] * 20
    assert seen[41] == 2


def test_growing_waits_for_the_smallest_proposal_of_its_own_window():
    hpa = scaler(behavior={"scaleUp": {"stabilizationWindowSeconds": 30}})
    # 4 is what was found; then the smallest of the last half minute is taken, its edge left out.
    assert replay(hpa, [8, 6, 8, 8], 0.0) == [4, 4, 6, 8]


def test_what_is_remembered_is_the_proposal_before_any_limit():
    hpa = scaler(behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}})
    assert hpa.reconcile(0.0, 4, [], [per_pod(9_000, 1_000)]).replicas == 5
    # Somebody sets 8 by hand: the 9 of before still holds it there, the 5 that came of it would not.
    assert hpa.reconcile(15.0, 8, [], [per_pod(2_000, 1_000)]).replicas == 8


def rules(*policies, select="Max", window=0.0):
    return Rules(tuple(Policy(*policy) for policy in policies), select, window)


UP = {
    "pods": (rules(("Pods", 3, 60)), [], 10, 30, 13),
    "percent, rounded up": (rules(("Percent", 15, 60)), [], 10, 30, 12),
    "the largest of several": (rules(("Pods", 3, 60), ("Percent", 100, 60)), [], 10, 30, 20),
    "the smallest of several": (rules(("Pods", 3, 60), ("Percent", 100, 60), select="Min"), [], 10, 30, 13),
    "disabled": (rules(("Pods", 3, 60), select="Disabled"), [], 10, 30, 10),
    "what was added within the period counts": (rules(("Pods", 3, 60)), [(-30.0, 2)], 10, 30, 11),
    "what was added before does not": (rules(("Pods", 3, 60)), [(-60.0, 2)], 10, 30, 13),
    "what was removed gives room back": (rules(("Pods", 3, 60)), [(-30.0, -2)], 10, 30, 15),
    "more than allowed was added already: it stays": (rules(("Pods", 3, 60)), [(-30.0, 5)], 10, 30, 10),
    "never beyond the maximum": (rules(("Percent", 1000, 60)), [], 10, 90, 50),
}


@pytest.mark.parametrize("case", UP)
def test_limits_upwards(case):
    up, events, current, desired, wanted = UP[case]
    assert normalise(history(events), Behavior(up=up), 0.0, current, desired, 1, 50) == wanted


DOWN = {
    "pods": (rules(("Pods", 3, 60)), [], 10, 1, 7),
    "percent, cut: 85 % of 10 is 8": (rules(("Percent", 15, 60)), [], 10, 1, 8),
    "the largest change of several": (rules(("Pods", 1, 60), ("Percent", 50, 60)), [], 10, 1, 5),
    "the smallest change of several": (
        rules(("Pods", 1, 60), ("Percent", 50, 60), select="Min"),
        [],
        10,
        1,
        9,
    ),
    "disabled": (rules(("Pods", 3, 60), select="Disabled"), [], 10, 1, 10),
    "what was removed within the period counts": (rules(("Pods", 3, 60)), [(-30.0, -2)], 10, 1, 9),
    "what was added within it too": (rules(("Pods", 3, 60)), [(-30.0, 2)], 10, 1, 5),
    "never below the minimum": (rules(("Percent", 100, 60)), [], 10, 0, 2),
}


@pytest.mark.parametrize("case", DOWN)
def test_limits_downwards(case):
    down, events, current, desired, wanted = DOWN[case]
    assert normalise(history(events), Behavior(down=down), 0.0, current, desired, 2, 50) == wanted


def history(events):
    return History(
        added=[(at, count) for at, count in events if count > 0],
        removed=[(at, -count) for at, count in events if count < 0],
    )


def test_only_real_changes_fill_the_period():
    hpa = scaler(behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}})
    assert replay(hpa, [20] * 6, 0.0) == [6, 6, 6, 6, 8, 8]
