"""The alerts that the chart ships: each fires when it should and is silent when it should, says promtool."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from seawall.decide.conditions import TYPES
from seawall.decide.types import Key
from seawall.desired.alerts import RUNBOOK
from seawall.desired.monitoring import Promise, rule_groups
from seawall.desired.names import Owner
from seawall.runtime.figures import CONDITIONS, ArmFigures, service_figures
from seawall.runtime.telemetry import Telemetry
from support.promtool import checked, examined, firing, labelled, needs_promtool

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "runbooks"
GROUPS: list[dict[str, Any]] = yaml.safe_load((ROOT / "charts/seawall/files/rules.yaml").read_text())[
    "groups"
]
OWN = rule_groups(Owner("digits", "vision", "u-1"), Promise(0.02, "99.9%"))

WHOSE = {"namespace": "vision", "inferenceservice": "digits"}
REVISION = {**WHOSE, "revision": "r1"}
BUILD = {"namespace": "vision", "modelbuild": "digits-1a2b"}
TARGET = {"namespace": "seawall-system", "job": "seawall"}
LEADS, WAITS = ({**TARGET, "instance": name, "pod": name} for name in ("a", "b"))

Series = dict[str, str]


def told(name: str, values: str, labels: dict[str, str] = REVISION, by: dict[str, str] = LEADS) -> Series:
    """As Prometheus stores a series of the operator's: its own labels win over the target's."""
    return {labelled(f"seawall_{name}", {**by, **labels}): values}


def condition(kind: str, values: str) -> Series:
    return told("condition", values, {**WHOSE, "type": kind})


def since(values: str) -> Series:
    return told("rollout_progress_timestamp_seconds", values, WHOSE)


def phase(name: str) -> Series:
    return told("rollout_phase", "1x600", {**REVISION, "phase": name})


def own(name: str, values: str, by: dict[str, str] = LEADS, **labels: str) -> Series:
    return {labelled(f"seawall_{name}", {**by, **labels}): values}


def pods(up: str, number: int) -> Series:
    job = {"job": "vision/digits"}
    return {labelled("up", {**REVISION, **job, "instance": f"p{n}"}): up for n in range(number)}


READY = told("ready_replicas", "2x60")
FEW = {labelled("seawall:rps:60s", REVISION): "2x60"}
MANY = {labelled("seawall:rps:60s", REVISION): "100x60"}
LEADING, STANDBY = own("leader", "1x60"), own("leader", "0x60", WAITS)

Case = tuple[str, Series, str, bool]
CASES: dict[str, Case] = {
    "no pod takes requests": (
        "SeawallNotServing", condition("Ready", "0x60") | told("desired_replicas", "2x60"), "20m", True,
    ),
    "the leader has changed meanwhile": (
        "SeawallNotServing",
        condition("Ready", "0x15 _x50") | told("desired_replicas", "2x15 _x50")
        | told("condition", "_x16 0x40", {**WHOSE, "type": "Ready"}, WAITS)
        | told("desired_replicas", "_x16 2x40", by=WAITS),
        "20m", True,
    ),
    "not for a quarter of an hour": (
        "SeawallNotServing", condition("Ready", "0x10 1x50") | told("desired_replicas", "2x60"), "20m", False,
    ),
    "it shall have no pods": (
        "SeawallNotServing", condition("Ready", "0x60") | told("desired_replicas", "0x60"), "20m", False,
    ),
    "its model is being built": (
        "SeawallNotServing",
        condition("Ready", "0x60") | told("desired_replicas", "2x60")
        | told("condition_reason", "1x60", {**WHOSE, "type": "Ready", "reason": "Building"}),
        "20m", False,
    ),
    "more was missed than promised": (
        "SeawallErrorBudgetExhausted",
        told("slo_error_budget_remaining_ratio", "-0.2x60") | told("slo_requests", "5000x60"), "10m", True,
    ),
    "some of the budget is left": (
        "SeawallErrorBudgetExhausted",
        told("slo_error_budget_remaining_ratio", "0.01x60") | told("slo_requests", "5000x60"), "10m", False,
    ),
    "one late request of fifty": (
        "SeawallErrorBudgetExhausted",
        told("slo_error_budget_remaining_ratio", "-1x60") | told("slo_requests", "50x60"), "10m", False,
    ),
    "busy and not measured": ("SeawallLatencyUnmeasured", READY | MANY, "20m", True),
    "busy and measured": ("SeawallLatencyUnmeasured", READY | MANY | told("p99_seconds", "0.01x60"), "20m", False),
    "two requests a second make no p99": ("SeawallLatencyUnmeasured", READY | FEW, "20m", False),
    "the pods do not tell at all": ("SeawallLatencyUnmeasured", READY, "20m", True),
    "nothing runs": ("SeawallLatencyUnmeasured", told("ready_replicas", "0x60") | MANY, "20m", False),
    "the operator does not tell": ("SeawallLatencyUnmeasured", MANY, "20m", False),
    "no count would do": ("SeawallSLOInfeasible", condition("SLOFeasible", "0x60"), "20m", True),
    "some count does": ("SeawallSLOInfeasible", condition("SLOFeasible", "1x60"), "20m", False),
    "nobody knows yet": ("SeawallSLOInfeasible", condition("SLOFeasible", "-1x60"), "20m", False),
    "as many as it may, and late": (
        "SeawallAtMaxReplicas",
        told("desired_replicas", "8x60") | told("max_replicas", "8x60") | condition("SLOMet", "0x60"), "15m", True,
    ),
    "as many as it may, and in time": (
        "SeawallAtMaxReplicas",
        told("desired_replicas", "8x60") | told("max_replicas", "8x60") | condition("SLOMet", "1x60"), "15m", False,
    ),
    "late, and it still grows": (
        "SeawallAtMaxReplicas",
        told("desired_replicas", "7x60") | told("max_replicas", "8x60") | condition("SLOMet", "0x60"), "15m", False,
    ),
    "a fixed count has no most": (
        "SeawallAtMaxReplicas", told("desired_replicas", "8x60") | condition("SLOMet", "0x60"), "15m", False,
    ),
    "nobody scales": ("SeawallScalingBlocked", condition("ScalingReady", "0x60"), "15m", True),
    "somebody scales": ("SeawallScalingBlocked", condition("ScalingReady", "1x60"), "15m", False),
    "scaling has not begun": ("SeawallScalingBlocked", condition("ScalingReady", "-1x60"), "15m", False),
    "in trouble and paused for an hour": (
        "SeawallRolloutWaiting",
        since("0x600") | phase("Paused") | condition("RolloutHealthy", "0x600"), "70m", True,
    ),
    "paused as was asked": (
        "SeawallRolloutWaiting",
        since("0x600") | phase("Paused") | condition("RolloutHealthy", "1x600"), "70m", False,
    ),
    "paused as was asked, and forgotten": (
        "SeawallRolloutWaiting",
        since("-90000x600") | phase("Paused") | condition("RolloutHealthy", "1x600"), "70m", True,
    ),
    "in trouble and not paused": (
        "SeawallRolloutWaiting",
        since("0x600") | phase("Stepping") | condition("RolloutHealthy", "0x600"), "70m", False,
    ),
    "a build has failed": (
        "SeawallBuildFailing", told("build_phase", "1x60", {**BUILD, "phase": "Failed"}), "5m", True,
    ),
    "a build was refused": (
        "SeawallBuildFailing", told("build_phase", "1x60", {**BUILD, "phase": "Refused"}), "5m", True,
    ),
    "a build is made": (
        "SeawallBuildFailing", told("build_phase", "1x60", {**BUILD, "phase": "Succeeded"}), "5m", False,
    ),
    "a build does not begin": (
        "SeawallBuildWaiting", told("build_phase", "1x200", {**BUILD, "phase": "Pending"}), "130m", True,
    ),
    "a build has begun after an hour": (
        "SeawallBuildWaiting",
        told("build_phase", "1x60 _x100", {**BUILD, "phase": "Pending"})
        | told("build_phase", "_x61 1x100", {**BUILD, "phase": "Running"}),
        "130m", False,
    ),
    "one of two pods does not answer": (
        "SeawallModelPodsNotScraped", READY | pods("1x60", 1) | {"up{other=\"1\"}": "0x60"}, "15m", True,
    ),
    "no target at all": ("SeawallModelPodsNotScraped", READY, "15m", True),
    "targets that fail": ("SeawallModelPodsNotScraped", READY | pods("0x60", 2), "15m", True),
    "both answer": ("SeawallModelPodsNotScraped", READY | pods("1x60", 2), "15m", False),
    "one more starts": ("SeawallModelPodsNotScraped", READY | pods("1x60", 3), "15m", False),
    "nobody is heard": ("SeawallOperatorAbsent", {"up": "0x60"}, "10m", True),
    "somebody is heard, leader or not": ("SeawallOperatorAbsent", STANDBY, "10m", False),
    "two replicas and none leads": (
        "SeawallNotLeading", own("leader", "0x60") | STANDBY, "5m", True,
    ),
    "one of them leads": ("SeawallNotLeading", LEADING | STANDBY, "5m", False),
    "the Lease goes from one to the other": (
        "SeawallNotLeading", own("leader", "1x3 0x50") | own("leader", "0x4 1x50", WAITS), "8m", False,
    ),
    "no rounds": ("SeawallScalingStalled", LEADING | own("scaling_seconds_count", "7x60"), "15m", True),
    "a round every five seconds": (
        "SeawallScalingStalled", LEADING | own("scaling_seconds_count", "0+12x60"), "15m", False,
    ),
    "a standby has none": (
        "SeawallScalingStalled",
        LEADING | own("scaling_seconds_count", "0+12x60") | STANDBY | own("scaling_seconds_count", "0x60", WAITS),
        "15m", False,
    ),
    "one service fails again and again": (
        "SeawallReconcileErrors", own("reconcile_total", "0+0.3x60", result="error"), "50m", True,
    ),
    "two errors and then no more": (
        "SeawallReconcileErrors", own("reconcile_total", "0 1 2x60", result="error"), "50m", False,
    ),
    "others have gone well": (
        "SeawallReconcileErrors", own("reconcile_total", "0+100x60", result="ok"), "50m", False,
    ),
    "the queue does not move": (
        "SeawallQueueBackingUp", LEADING | own("queue_oldest_seconds", "45x60"), "20m", True,
    ),
    "the queue moves": (
        "SeawallQueueBackingUp", LEADING | own("queue_oldest_seconds", "0.2 45 0.1x60"), "20m", False,
    ),
    "nobody works on a standby's queue": (
        "SeawallQueueBackingUp",
        LEADING | own("queue_oldest_seconds", "0x60") | STANDBY | own("queue_oldest_seconds", "0+60x60", WAITS),
        "20m", False,
    ),
    "a tenth of the calls fails": (
        "SeawallApiCallsFailing",
        own("api_calls_total", "0+90x60", code="200") | own("api_calls_total", "0+10x60", code="503"), "25m", True,
    ),
    "the server is not there": (
        "SeawallApiCallsFailing", own("api_calls_total", "0+10x60", code="none"), "25m", True,
    ),
    "one call of a hundred": (
        "SeawallApiCallsFailing",
        own("api_calls_total", "0+99x60", code="200") | own("api_calls_total", "0+1x60", code="429"), "25m", False,
    ),
    "conflicts are part of the work": (
        "SeawallApiCallsFailing", own("api_calls_total", "0+10x60", code="409"), "25m", False,
    ),
}  # fmt: skip


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_the_alert(name: str, tmp_path: Path) -> None:
    alert, series, at, fires = CASES[name]
    lines = [{"series": labels, "values": values} for labels, values in series.items()]
    asked = firing(alert, [], [{}] * fires, at)
    examined(tmp_path, GROUPS, {"input_series": lines, "promql_expr_test": [asked]}, "1m", "30s")


@needs_promtool
def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    checked(tmp_path, GROUPS)


def alerts(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in alerts(GROUPS)}))
def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(alert: str) -> None:
    assert {fires for name, _, _, fires in CASES.values() if name == alert} == {True, False}


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    known = {rule["alert"] for rule in alerts(GROUPS + OWN)}
    assert {page.stem for page in PAGES.glob("*.md")} - {"index"} == known


HEADINGS = ["## What clients feel", "## Look at", "## Do", "## False alarm"]


@pytest.mark.parametrize("page", sorted(PAGES.glob("Seawall*.md")), ids=lambda page: page.stem)
def test_a_page_says_what_somebody_needs_who_was_woken_by_it(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0] == f"# {page.stem}"
    assert [line for line in lines if line.startswith("## ")] == HEADINGS
    for heading in HEADINGS:
        text = lines[lines.index(heading) + 1 :]
        until = next((n for n, line in enumerate(text) if line.startswith("## ")), len(text))
        assert any(line.strip() for line in text[:until]), heading


@pytest.mark.parametrize("rule", alerts(GROUPS + OWN), ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_its_page_and_says_how_bad_it_is(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert annotations["runbook_url"] == RUNBOOK.replace("{alert}", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert annotations["summary"]
    assert annotations["description"]


def test_the_alerts_ask_for_conditions_that_are_told() -> None:
    asked = set(re.findall(r'type="(\w+)"', yaml.safe_dump(GROUPS, width=10_000)))
    assert asked <= set(CONDITIONS) <= set(TYPES)
    assert asked


def exported() -> dict[str, set[str]]:
    """Labels of each series that the operator can show."""
    telemetry, key = Telemetry(), Key("vision", "digits")
    rollout = {
        "phase": "Stepping", "stableRevision": "a", "candidateRevision": "b", "step": 0, "steps": 2,
        "observedWeight": 10, "analysis": {"metrics": [{"metric": "latency", "logEPass": "1"}]},
    }  # fmt: skip
    status = {
        "rollout": rollout,
        "conditions": [{"type": name, "status": "False", "reason": "X"} for name in CONDITIONS],
        "slo": {"target": "20ms", "days": [{"day": "2026-11-21", "total": 1, "good": 1, "failed": 0}]},
        "scaling": {"mode": "HPA", "desiredReplicas": 1, "reason": "Demand"},
    }
    telemetry.service(key, service_figures(status, {}, 20))
    telemetry.arms[key, "a"] = ArmFigures(*(1.0,) * len(fields(ArmFigures)))
    telemetry.build(Key("vision", "b", "ModelBuild"), "Failed", used=True)
    telemetry.reconciles.labels("error").inc()
    telemetry.call("get", "leases", "200")
    samples = [sample for family in telemetry.registry.collect() for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def test_the_alerts_ask_for_series_and_labels_that_the_operator_has() -> None:
    known, asked = exported(), set()
    for rule in [rule for group in GROUPS + OWN for rule in group["rules"]]:
        for name, matchers in re.findall(r"(seawall_[a-z0-9_]+)(?:[{]([^}]*)[}])?", rule["expr"]):
            labels = set(re.findall(r"([a-z_]+)(?:=~|=|!=)", matchers))
            assert name in known, rule
            assert labels <= known[name], rule
            asked.add(name)
    assert len(asked) > 12
