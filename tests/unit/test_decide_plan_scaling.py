"""The plan with assessments: whose count it is, which autoscaler there is, and what the status says."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from seawall.decide.types import Assessment, Budget, Capabilities, ObjectRef, WriteProblem
from seawall.measure.types import Reading
from seawall.sizing.state import Decision, Terms
from support.town import START, Town, service

OURS = Capabilities(metrics_api="Ours")
KEDA = Capabilities(keda=True, prometheus_url="http://p:9090")
MONITORED = Capabilities(prometheus_operator=True)
MODES: dict[str, tuple[dict[str, Any], Capabilities]] = {
    "Fixed": ({"mode": "Fixed", "replicas": 4}, OURS),
    "External": ({"mode": "External", "replicas": 4}, OURS),
    "HPA": ({"mode": "HPA", "minReplicas": 2, "maxReplicas": 9}, OURS),
    "KEDA": ({"mode": "KEDA", "minReplicas": 2, "maxReplicas": 9}, KEDA),
    "Direct": ({"mode": "Direct", "minReplicas": 2, "maxReplicas": 9}, OURS),
}


def town(mode: str = "Direct", **over: Any) -> Town:
    scaling, can = MODES[mode]
    return Town(service=service(scaling=scaling, **over), over={"capabilities": can})


def assessed(revision: str, replicas: int | None, mode: str = "Direct", **over: Any) -> dict[str, Assessment]:
    decision = None
    if replicas is not None:
        decision = Decision(
            replicas=replicas, reason=over.pop("reason", "Demand"), terms=Terms(replicas, 0, 0),
            load_ratio=0.8, demand_rps=812.34, capacity_rps=296.4, predicted_p99_ms=16.6,
            feasible=over.pop("feasible", True), message="enough for the demand",
        )  # fmt: skip
    read = over.pop("reading", Reading(0.0, "Triton", 800.0, 800.0, p99_ms=14.4, late_share=0.001))
    base: dict[str, Any] = {
        "revision": revision, "reading": read, "decision": decision, "load": 2.74, "profile": "Build",
        "mode": mode,
    }  # fmt: skip
    return {revision: Assessment(**(base | over))}


def kinds(town: Town) -> set[str]:
    return {kind for kind, _ in town.objects} & {"HorizontalPodAutoscaler", "ScaledObject"}


AUTOSCALER = {"HPA": {"HorizontalPodAutoscaler"}, "KEDA": {"ScaledObject"}}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_its_autoscaler_once_a_revision_serves_and_none_before(mode: str) -> None:
    here = town(mode)
    here.step()
    assert kinds(here) == set()
    revision = here.service["status"]["rollout"]["candidateRevision"]
    assert here.count(revision) == (4 if mode in ("Fixed", "External") else 2)
    here.make_ready(revision)
    here.answer()
    here.step()
    assert kinds(here) == AUTOSCALER.get(mode, set())
    assert here.service["status"]["scaling"]["mode"] == mode
    for kind in kinds(here):
        made = here.objects[kind, f"digits-{revision}"]
        assert made["spec"]["scaleTargetRef"]["name"] == f"digits-{revision}"


@pytest.mark.parametrize("mode", ["HPA", "KEDA"])
def test_under_an_autoscaler_the_count_is_nobodys_business_here(mode: str) -> None:
    here = town(mode)
    revision = here.installed()
    here.step()
    here.scale(f"digits-{revision}", 7)
    for replicas in (3, 9, None):
        made = here.step(assessments=assessed(revision, replicas, mode))
        assert made.scale == ()
    assert here.count(revision) == 7
    assert here.objects["PodDisruptionBudget", "digits"]["spec"]["maxUnavailable"] == 1


def test_the_disruption_budget_follows_the_live_count() -> None:
    here = Town(service=service(scaling={"mode": "HPA", "maxReplicas": 60}), over={"capabilities": OURS})
    revision = here.installed()
    here.scale(f"digits-{revision}", 42)
    here.step()
    assert here.objects["PodDisruptionBudget", "digits"]["spec"]["maxUnavailable"] == 4


def test_no_autoscaler_wakes_a_count_of_zero_so_the_operator_does() -> None:
    here = town("HPA")
    revision = here.installed()
    here.scale(f"digits-{revision}", 0)
    here.step()
    assert here.count(revision) == 2


DIRECT = {
    "up": (assessed("aa", 7), 7),
    "down": (assessed("aa", 3), 3),
    "not above the maximum": (assessed("aa", 99), 9),
    "not below the minimum": (assessed("aa", 1), 2),
    "nothing known": ({}, 5),
    "no table yet": (assessed("aa", None), 5),
    "no data never lowers": (assessed("aa", 3, reason="NoData"), 5),
    "no data may raise what was decided before": (assessed("aa", 6, reason="NoData"), 6),
    "a decision of another mode never lowers": (assessed("aa", 3, mode="HPA"), 5),
    "a decision made as a candidate never lowers": (assessed("aa", 3, mode=""), 5),
}


@pytest.mark.parametrize(("assessments", "expected"), DIRECT.values(), ids=DIRECT)
def test_mode_direct_writes_the_count(assessments: dict[str, Assessment], expected: int) -> None:
    here = town("Direct")
    revision = here.installed()
    here.step()
    here.scale(f"digits-{revision}", 5)
    mine = dict.fromkeys([revision], *assessments.values()) if assessments else {}
    made = here.step(assessments=mine)
    assert here.count(revision) == expected
    assert here.service["status"]["scaling"]["desiredReplicas"] == expected
    assert here.step(assessments=mine).scale == made.scale


@pytest.mark.parametrize("left", MODES)
@pytest.mark.parametrize("entered", ["HPA", "KEDA", "Direct"])
def test_a_change_of_mode_starts_from_the_live_count_and_leaves_one_autoscaler(
    left: str, entered: str
) -> None:
    here = town(left)
    revision = here.installed()
    here.step()
    here.scale(f"digits-{revision}", 6 if left in ("HPA", "KEDA") else here.count(revision))
    before = here.count(revision)
    scaling, can = MODES[entered]
    here.edit(scaling=scaling)
    here.over["capabilities"] = can
    for _ in range(2):
        here.step()
    assert here.count(revision) == before
    assert kinds(here) == AUTOSCALER.get(entered, set())
    # The figures of the mode that was left say nothing about the count of the new one.
    here.step(assessments=assessed(revision, 2, mode=left))
    assert here.count(revision) == before or left == entered == "Direct"


def test_from_an_autoscaler_to_fixed_the_autoscaler_goes_in_the_same_plan() -> None:
    here = town("HPA")
    revision = here.installed()
    here.step()
    here.edit(scaling={"mode": "Fixed", "replicas": 3})
    made = here.step()
    assert [ref.kind for ref in made.delete] == ["HorizontalPodAutoscaler"]
    assert [s.replicas for s in made.scale] == [3]
    assert here.count(revision) == 3


def test_a_foreign_autoscaler_and_a_spec_that_cannot_be_read_delete_nothing() -> None:
    here = town("HPA")
    revision = here.installed()
    here.step()
    foreign = copy.deepcopy(here.objects["HorizontalPodAutoscaler", f"digits-{revision}"])
    foreign["metadata"] |= {"name": "theirs", "ownerReferences": [{"uid": "somebody-else"}]}
    here.objects["HorizontalPodAutoscaler", "theirs"] = foreign
    here.step(assessments=assessed(revision, 3, "HPA"))
    before = here.service["status"]["scaling"]
    here.edit(slo={"p99": "20"})
    made = here.step()
    assert (made.delete, made.scale) == ((), ())
    assert here.condition("ScalingReady")[0] == "True"
    assert here.service["status"]["scaling"] == before


def coming(here: Town) -> tuple[str, str]:
    """A second revision beside one with six pods; both names."""
    old = here.installed()
    here.step()
    here.scale(f"digits-{old}", 6)
    here.make_ready(old)
    here.edit(model={"uri": "s3://models/digits-2.onnx", "format": "onnx", "maxBatchSize": 8})
    here.step()
    return old, str(here.service["status"]["rollout"]["candidateRevision"])


@pytest.mark.parametrize("mode", ["HPA", "KEDA", "Direct"])
def test_a_candidate_has_the_count_of_what_it_takes_over_and_no_autoscaler(mode: str) -> None:
    here = town(mode)
    old, new = coming(here)
    assert (here.count(old), here.count(new)) == (6, 6)
    assert {name for kind, name in here.objects if kind in kinds(here)} <= {f"digits-{old}"}
    here.scale(f"digits-{old}", 3)
    here.step()
    assert here.count(new) == 6  # pinned: it does not follow downwards


def test_a_candidate_with_a_profile_of_its_own_is_sized_by_it() -> None:
    here = town("Direct")
    old, new = coming(here)
    here.scale(f"digits-{new}", 2)
    here.step(assessments=assessed(old, 6) | assessed(new, 4, mode=""))
    assert here.count(new) == 4


def test_a_candidate_takes_over_only_with_all_of_its_pods_and_keeps_them() -> None:
    here = town("HPA")
    old, new = coming(here)
    here.make_ready(new)
    here.objects["Deployment", f"digits-{new}"]["status"]["availableReplicas"] = 5
    here.step()
    assert here.selected() == old
    here.make_ready(new)
    here.answer()
    assert here.selected() == new
    here.step()
    assert here.count(new) == 6
    names = {name for kind, name in here.objects if kind == "HorizontalPodAutoscaler"}
    assert names == {f"digits-{new}"}


def test_a_deployment_that_was_deleted_comes_back_as_large_as_it_was() -> None:
    here = town("Direct")
    revision = here.installed()
    here.step()
    here.step(assessments=assessed(revision, 7))
    del here.objects["Deployment", f"digits-{revision}"]
    here.step()
    assert here.count(revision) == 7


def test_a_rising_count_is_not_a_workload_that_is_not_ready() -> None:
    here = town("HPA")
    revision = here.installed()
    here.step()
    here.scale(f"digits-{revision}", 5)
    here.step()
    assert here.condition("WorkloadReady") == ("True", "Scaling")
    assert here.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(("available", "age"), [(1, 10), (2, 700)])
def test_a_real_deficit_is_told(available: int, age: int) -> None:
    here = town("HPA")
    revision = here.installed()
    here.step()
    here.scale(f"digits-{revision}", 5)
    here.objects["Deployment", f"digits-{revision}"]["status"]["availableReplicas"] = available
    made = (here.now - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = here.objects["Deployment", f"digits-{revision}"]["spec"]["template"]["metadata"]["labels"]
    here.objects["Pod", "late"] = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "late", "labels": labels, "creationTimestamp": made}, "status": {},
    }  # fmt: skip
    here.step()
    assert here.condition("WorkloadReady") == ("False", "Progressing")


MISSING = {
    "HPA, taken": (
        "HPA",
        Capabilities(metrics_api="Others", metrics_api_message="ns/theirs"),
        "MetricsApiTaken",
    ),
    "HPA, missing": ("HPA", Capabilities(), "MetricsApiMissing"),
    "KEDA, missing": ("KEDA", OURS, "KedaMissing"),
    "KEDA, nobody to ask": ("KEDA", Capabilities(keda=True), "PrometheusMissing"),
}


@pytest.mark.parametrize(("mode", "can", "reason"), MISSING.values(), ids=MISSING)
def test_a_mode_without_its_means_holds_the_count_and_says_so(
    mode: str, can: Capabilities, reason: str
) -> None:
    here = town(mode)
    revision = here.installed()
    here.step()
    here.scale(f"digits-{revision}", 5)
    here.over["capabilities"] = can
    made = here.step(assessments=assessed(revision, 3, mode))
    assert (here.count(revision), made.scale) == (5, ())
    assert here.condition("ScalingReady") == ("False", reason)
    assert here.condition("Ready") == ("True", "Serving")
    assert made.requeue_after is not None


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "PodMonitor"])
def test_an_autoscaler_that_is_refused_stops_no_rollout(kind: str) -> None:
    here = town("HPA")
    _, new = coming(here)
    here.make_ready(new)
    problem = WriteProblem(ObjectRef("x/v1", kind, "demo", "digits"), "Rejected", "quota exceeded")
    here.over["write_problems"] = (problem,)
    here.answer()
    assert here.service["status"]["rollout"]["stableRevision"] == new
    told = "ScalingReady" if kind == "HorizontalPodAutoscaler" else "LatencyMetricAvailable"
    assert "quota exceeded" in here.message(told)
    assert here.condition("WorkloadReady")[0] == "True"


def test_an_autoscaler_that_says_it_is_not_active_is_believed() -> None:
    here = town("HPA")
    revision = here.installed()
    here.step()
    live = here.objects["HorizontalPodAutoscaler", f"digits-{revision}"]
    why = {
        "type": "ScalingActive",
        "status": "False",
        "reason": "FailedGetObjectMetric",
        "message": "no such",
    }
    live["status"] = {"conditions": [why]}
    here.step(assessments=assessed(revision, 3, "HPA"))
    assert here.condition("ScalingReady") == ("False", "AutoscalerInactive")
    assert "FailedGetObjectMetric" in here.message("ScalingReady")


def test_monitors_are_made_where_they_are_served_and_go_with_the_service_of_them() -> None:
    here = town("Direct")
    here.over["capabilities"] = MONITORED
    here.installed()
    assert {k for k, _ in here.objects} >= {"PodMonitor", "PrometheusRule"}
    here.over["capabilities"] = Capabilities()
    here.step()
    assert not {k for k, _ in here.objects} & {"PodMonitor", "PrometheusRule"}


READINGS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, str]], dict[str, Any]]] = {
    "all is well": (
        {},
        {"ScalingReady": ("True", "Scaling"), "LatencyMetricAvailable": ("True", "Triton"),
         "SLOMet": ("True", "SLOMet"), "SLOFeasible": ("True", "Feasible")},
        {"p99": "14ms", "source": "Triton"},
    ),
    "too slow": (
        {"reading": Reading(0.0, "Gateway", 800.0, 800.0, p99_ms=31.0, late_share=0.09)},
        {"LatencyMetricAvailable": ("True", "Gateway"), "SLOMet": ("False", "SLOMissed")},
        {"p99": "31ms", "source": "Gateway"},
    ),
    "beyond the last bucket": (
        {"reading": Reading(0.0, "Triton", 8.0, 8.0, p99_ms=100.0, p99_low_ms=80.0, p99_high_ms=float("inf"))},
        {"SLOMet": ("False", "SLOMissed")},
        {"p99": ">80ms"},
    ),
    "nobody answers": (
        {"reading": Reading(0.0, trouble="MetricsUnavailable", message="2 pods do not answer"),
         "reason": "NoData"},
        {"ScalingReady": ("False", "Holding"), "LatencyMetricAvailable": ("False", "MetricsUnavailable"),
         "SLOMet": ("Unknown", "MetricsUnavailable")},
        {"p99": None},
    ),
    "nobody asks": (
        {"reading": Reading(0.0, "Triton", 0.0, 0.0, trouble="NoTraffic")},
        {"ScalingReady": ("True", "Scaling"), "LatencyMetricAvailable": ("Unknown", "NoTraffic"),
         "SLOMet": ("Unknown", "NoTraffic")},
        {"p99": None},
    ),
    "counters only": (
        {"reading": Reading(0.0, None, 80.0, 80.0, trouble="P99Unavailable")},
        {"LatencyMetricAvailable": ("False", "P99Unavailable")},
        {},
    ),
    "the service time is above the SLO": (
        {"reason": "Infeasible", "feasible": False},
        {"SLOFeasible": ("False", "ServiceTimeAboveSLO")},
        {},
    ),
    "maxReplicas are too few": (
        {"reason": "MaxReplicas", "feasible": False},
        {"SLOFeasible": ("False", "MaxReplicasTooLow")},
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("over", "conditions", "slo"), READINGS.values(), ids=READINGS)
def test_what_the_status_says_of_a_reading(
    over: dict[str, Any], conditions: dict[str, tuple[str, str]], slo: dict[str, Any]
) -> None:
    here = town("Direct")
    revision = here.installed()
    here.step()
    here.step(assessments=assessed(revision, 3, **over))
    assert {name: here.condition(name) for name in conditions} == conditions
    assert {key: here.service["status"]["slo"].get(key) for key in slo} == slo
    assert here.condition("Ready") == ("True", "Serving")


def test_a_model_without_a_profile_is_being_learned() -> None:
    here = town("Direct")
    revision = here.installed()
    here.step()
    here.step(assessments=assessed(revision, None, profile="None", load=None))
    assert here.condition("ScalingReady") == ("True", "LearningProfile")
    assert here.service["status"]["scaling"]["reason"] == "LearningProfile"


def test_an_objective_that_was_missed_is_met_again_only_clearly() -> None:
    here = town("Direct")
    revision = here.installed()
    seen = []
    for late in (0.009, 0.011, 0.009, 0.0085, 0.005, 0.009):
        read = Reading(0.0, "Triton", 800.0, 800.0, p99_ms=19.0, late_share=late)
        here.step(assessments=assessed(revision, 3, reading=read))
        seen.append(here.condition("SLOMet")[0])
    assert seen == ["True", "False", "False", "False", "True", "True"]


def test_figures_are_rounded_so_that_noise_writes_nothing() -> None:
    here = town("Direct")
    revision = here.installed()
    days = (("2026-10-31", 1000.4, 999.0, 1.0), ("2026-11-01", 5000.0, 4996.2, 0.0))
    budget = Budget(6000.4, 0.99934, 0.714, days)
    costs = {"cost_per_1k": 0.0031416, "joules_per_1k": 4.2222, "estimated": True}
    here.step(assessments=assessed(revision, 3, **costs), budget=budget)
    status = here.service["status"]
    assert status["slo"] == {
        "target": "20ms", "window": "30d", "p99": "14ms", "source": "Triton", "attainment": "99.93%",
        "errorBudgetRemaining": "71%", "since": "2026-10-31",
        "days": [{"day": "2026-10-31", "total": 1000, "good": 999, "failed": 1},
                 {"day": "2026-11-01", "total": 5000, "good": 4996, "failed": 0}],
    }  # fmt: skip
    assert status["scaling"] == {
        "mode": "Direct", "revision": revision, "desiredReplicas": 3, "demandRps": "812",
        "capacityRps": "296", "load": "2.74", "predictedP99": "17ms", "reason": "Demand",
        "message": "enough for the demand",
    }  # fmt: skip
    assert status["efficiency"] == {"costPer1k": "0.00314", "joulesPer1k": "4.22", "estimated": True}
    here.step(assessments=assessed(revision, 3, **costs), budget=budget)
    before = here.writes
    nearly = Reading(0.0, "Triton", 801.0, 800.2, p99_ms=14.3, late_share=0.0012)
    here.step(assessments=assessed(revision, 3, reading=nearly, **costs), budget=budget)
    assert here.writes == before


def test_a_new_leader_wipes_nothing_that_it_has_not_measured_yet() -> None:
    here = town("HPA")
    revision = here.installed()
    here.step()
    budget = Budget(6000.0, 0.9993, 0.71, (("2026-11-01", 6000.0, 5996.0, 0.0),))
    here.step(assessments=assessed(revision, 3, "HPA"), budget=budget)
    before = copy.deepcopy(here.service["status"])
    here.step()
    assert here.service["status"] == before
    here.step()
    assert here.service["status"] == before


def test_a_budget_that_is_overspent_reads_below_zero() -> None:
    here = town("Direct", slo={"p99": "20ms", "availability": "99.9%", "window": "7d"})
    revision = here.installed()
    days = (("2026-11-01", 100.0, 96.0, 0.0),)
    here.step(assessments=assessed(revision, 3), budget=Budget(100.0, 0.96, -3.0, days))
    assert here.service["status"]["slo"]["errorBudgetRemaining"] == "-300%"
    assert here.service["status"]["slo"]["window"] == "7d"


def test_a_first_revision_says_that_scaling_has_not_begun() -> None:
    here = town("HPA")
    here.step()
    for condition in ("ScalingReady", "LatencyMetricAvailable", "SLOMet", "SLOFeasible"):
        assert here.condition(condition) == ("Unknown", "NotStarted")
    assert here.now == START
