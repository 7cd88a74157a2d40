"""What a scrape of the operator shows of services and builds."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from seawall.decide.types import Key
from seawall.runtime.figures import service_figures
from seawall.runtime.telemetry import ArmFigures, Telemetry

KEY, OTHER = Key("vision", "digits"), Key("vision", "words")
STATUS: dict[str, Any] = {
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Serving"},
        {"type": "SpecAccepted", "status": "True", "reason": "Accepted"},
        {"type": "SLOMet", "status": "False", "reason": "SLOMissed"},
        {"type": "SLOFeasible", "status": "Unknown", "reason": "NotStarted"},
    ],
    "slo": {
        "target": "20ms",
        "days": [
            {"day": "2026-11-20", "total": 900, "good": 890, "failed": 1},
            {"day": "2026-11-21", "total": 100, "good": 100, "failed": 0},
        ],
    },
    "scaling": {"mode": "HPA", "desiredReplicas": 3, "reason": "Demand"},
    "rollout": {
        "id": "r7", "phase": "Stepping", "stableRevision": "a1", "candidateRevision": "b2",
        "step": 1, "steps": 4, "desiredWeight": 20, "observedWeight": 20,
    },
}  # fmt: skip


def changed(**rollout: Any) -> dict[str, Any]:
    return STATUS | {"rollout": STATUS["rollout"] | rollout}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def told(telemetry: Telemetry, name: str) -> dict[tuple[str, ...], float]:
    """As a scrape reads it: by the values of the labels, in the order of their names."""
    text = generate_latest(telemetry.registry).decode()
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"seawall_{name}"
    }


def scraped(status: dict[str, Any], name: str, spec: dict[str, Any] | None = None) -> Any:
    telemetry = Telemetry(Clock())
    telemetry.service(KEY, service_figures(status, spec or {}, 20))
    return told(telemetry, name)


WHOSE = ("digits", "vision")
SEEN: dict[str, tuple[dict[str, Any], str, dict[tuple[str, ...], float]]] = {
    "conditions, as numbers": (
        STATUS,
        "condition",
        {(*WHOSE, "Ready"): 1, (*WHOSE, "SLOMet"): 0, (*WHOSE, "SLOFeasible"): -1},
    ),
    "why they are not true": (
        STATUS,
        "condition_reason",
        {("digits", "vision", "SLOMissed", "SLOMet"): 1, ("digits", "vision", "NotStarted", "SLOFeasible"): 1},
    ),
    "why the count is what it is": (
        STATUS, "scaling_reason", {("digits", "vision", "Demand", "a1"): 1},
    ),
    "requests behind the budget": (STATUS, "slo_requests", {("digits", "vision", "a1"): 1000}),
    "nothing is counted yet": (STATUS | {"slo": {"target": "20ms"}}, "slo_requests", {}),
    "the most pods": (STATUS, "max_replicas", {("digits", "vision", "a1"): 20}),
    "a fixed count has none": (
        STATUS | {"scaling": {"mode": "Fixed", "desiredReplicas": 3}}, "max_replicas", {},
    ),
    "the phase": (STATUS, "rollout_phase", {("digits", "vision", "Stepping", "b2"): 1}),
    "the phase without a candidate is the stable one's": (
        changed(phase="Watching", candidateRevision=None),
        "rollout_phase",
        {("digits", "vision", "Watching", "a1"): 1},
    ),
    "no rollout": (changed(phase="Idle"), "rollout_phase", {}),
    "no rollout, no progress": (changed(phase="Idle"), "rollout_progress_timestamp_seconds", {}),
    "steps passed": (STATUS, "rollout_step", {("digits", "vision", "b2"): 1}),
    "steps in all": (STATUS, "rollout_steps", {("digits", "vision", "b2"): 4}),
    "no step": (changed(step=None), "rollout_step", {}),
    "progress is counted from the first look": (STATUS, "rollout_progress_timestamp_seconds", {WHOSE: 1000}),
    "a pause says itself since when": (
        changed(phase="Paused", pause={"reason": "Regression", "since": "2026-11-21T10:00:00Z"}),
        "rollout_progress_timestamp_seconds",
        {WHOSE: 1795255200},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "name", "expected"), SEEN.values(), ids=SEEN)
def test_of_a_status_is_told(
    status: dict[str, Any], name: str, expected: dict[tuple[str, ...], float]
) -> None:
    assert scraped(status, name) == expected


def test_the_most_pods_are_the_specs_where_it_says_so() -> None:
    assert scraped(STATUS, "max_replicas", {"scaling": {"maxReplicas": 8}}) == {("digits", "vision", "a1"): 8}


MOVES: dict[str, tuple[dict[str, Any], float]] = {
    "the same look again": ({}, 1000),
    "more evidence is no progress": ({"analysis": {"metrics": []}, "observedWeight": 19}, 1000),
    "the next step": ({"step": 2}, 1600),
    "another phase": ({"phase": "Promoting"}, 1600),
    "more weight": ({"desiredWeight": 50}, 1600),
    "more pods": ({"candidateReplicas": 3}, 1600),
    "another rollout": ({"id": "r8"}, 1600),
}


@pytest.mark.parametrize(("change", "expected"), MOVES.values(), ids=MOVES)
def test_when_a_rollout_last_got_on(change: dict[str, Any], expected: float) -> None:
    clock = Clock()
    telemetry = Telemetry(clock)
    telemetry.service(KEY, service_figures(STATUS, {}, 20))
    clock.now = 1600
    telemetry.service(KEY, service_figures(changed(**change), {}, 20))
    assert told(telemetry, "rollout_progress_timestamp_seconds") == {WHOSE: expected}


def test_a_service_that_is_gone_is_told_no_more_and_begins_anew() -> None:
    clock = Clock()
    telemetry = Telemetry(clock)
    for key in (KEY, OTHER):
        telemetry.service(key, service_figures(STATUS, {}, 20))
    telemetry.forget_service(KEY)
    assert told(telemetry, "rollout_progress_timestamp_seconds") == {("words", "vision"): 1000}
    assert set(told(telemetry, "condition")) == {
        ("words", "vision", t) for t in ("Ready", "SLOMet", "SLOFeasible")
    }
    clock.now = 1600
    telemetry.service(KEY, service_figures(STATUS, {}, 20))
    assert told(telemetry, "rollout_progress_timestamp_seconds")[WHOSE] == 1600


def test_a_replica_that_never_led_tells_of_no_service() -> None:
    text = generate_latest(Telemetry().registry).decode()
    assert "inferenceservice=" not in text
    assert "modelbuild=" not in text
    assert "\nseawall_leader 0.0" in text


def test_builds_that_somebody_uses_are_told_one_by_one() -> None:
    telemetry = Telemetry()
    used, unused = Key("vision", "b1", "ModelBuild"), Key("vision", "b2", "ModelBuild")
    telemetry.build(used, "Running", used=True)
    telemetry.build(used, "Failed", used=True)
    telemetry.build(unused, "Failed", used=True)
    telemetry.build(unused, "Failed", used=False)
    assert told(telemetry, "build_phase") == {("b1", "vision", "Failed"): 1}
    assert told(telemetry, "builds")["Failed",] == 2
    telemetry.forget_build(used)
    assert told(telemetry, "build_phase") == {}
    assert told(telemetry, "builds")["Failed",] == 1


def test_a_thousand_services_are_a_thousand_times_as_many_series() -> None:
    def series(services: int) -> int:
        telemetry = Telemetry()
        for number in range(services):
            key = Key("vision", f"s{number}")
            quiet = changed(phase="Idle", candidateRevision=None, step=None)
            telemetry.service(key, service_figures(quiet, {}, 20))
            telemetry.arms[key, "a1"] = ArmFigures(*(1.0,) * 10)
        return sum(len(family.samples) for family in telemetry.registry.collect())

    assert (series(11) - series(1)) / 10 == 20, "2 of 7 conditions are not true here, 3 are given"
