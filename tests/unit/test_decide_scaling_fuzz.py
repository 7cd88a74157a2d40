"""Whatever is measured, planned and switched: no crash, no count outside the bounds, no pod lost to ignorance."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seawall.api.v1alpha1 import InferenceService
from seawall.decide.actuator import bounds_of, choose
from seawall.decide.types import Assessment, Budget, Capabilities
from seawall.measure.types import Reading, Source, Trouble
from seawall.sizing.state import Decision, Reason, Terms
from support.fuzz import EXAMPLES
from support.town import Town, service

FIGURES = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 5000)
READINGS = st.none() | st.builds(
    Reading,
    at=st.just(0.0),
    source=st.none() | st.sampled_from(get_args(Source)),
    rate_15s=FIGURES,
    rate_60s=FIGURES,
    p99_ms=FIGURES,
    p99_low_ms=FIGURES,
    p99_high_ms=FIGURES,
    late_share=FIGURES,
    trouble=st.none() | st.sampled_from(get_args(Trouble)),
    message=st.text(max_size=9),
)
DECISIONS = st.none() | st.builds(
    Decision,
    replicas=st.integers(0, 40),
    reason=st.sampled_from(get_args(Reason)),
    terms=st.just(Terms(1, 1, 1)),
    load_ratio=FIGURES,
    demand_rps=FIGURES,
    capacity_rps=FIGURES,
    predicted_p99_ms=FIGURES,
    feasible=st.booleans(),
    message=st.text(max_size=9),
)
ASSESSMENTS = st.none() | st.builds(
    Assessment,
    revision=st.just("of no account"),
    reading=READINGS,
    decision=DECISIONS,
    load=FIGURES,
    profile=st.sampled_from(["Build", "Measured", "None"]),
    cost_per_1k=FIGURES,
    joules_per_1k=FIGURES,
    estimated=st.booleans(),
    mode=st.sampled_from(["", "Direct", "HPA", "KEDA", "Fixed"]),
)
CAPABILITIES = st.builds(
    Capabilities,
    keda=st.booleans(),
    prometheus_operator=st.booleans(),
    metrics_api=st.sampled_from(["Ours", "Others", "Absent"]),
    prometheus_url=st.sampled_from(["", "http://p:9090"]),
    hpa_tolerance=st.booleans(),
)
BUDGETS = st.none() | st.builds(
    Budget,
    requests=st.floats(0, 1e9),
    attainment=st.none() | st.floats(0, 1),
    remaining=st.none() | st.floats(-1e6, 1),
    days=st.lists(st.just(("2026-11-01", 10.0, 9.0, 1.0)), max_size=2).map(tuple),
)
SCALINGS = st.fixed_dictionaries(
    {"mode": st.sampled_from(["Auto", "HPA", "KEDA", "Direct"])},
    optional={"minReplicas": st.integers(1, 4), "maxReplicas": st.integers(4, 12)},
)
TURNS = st.fixed_dictionaries(
    {
        "do": st.sampled_from(["wait", "mode", "model", "ready", "answer", "scaler", "capabilities"]),
        "scaling": SCALINGS,
        "can": CAPABILITIES,
        "stable": ASSESSMENTS,
        "candidate": ASSESSMENTS,
        "budget": BUDGETS,
        "count": st.integers(0, 15),
        "minutes": st.integers(0, 10),
    }
)


def act(town: Town, turn: dict[str, Any], number: int) -> None:
    rollout = town.service["status"]["rollout"]
    match turn["do"]:
        case "mode":
            town.edit(scaling=turn["scaling"])
        case "model":
            town.edit(model={"uri": f"s3://m/{number % 3}.onnx", "format": "onnx"})
        case "capabilities":
            town.over["capabilities"] = turn["can"]
        case "ready":
            for name in town.deployments():
                town.make_ready(name.removeprefix("digits-"))
        case "scaler" if {k for k, _ in town.objects} & {"HorizontalPodAutoscaler", "ScaledObject"}:
            if f"digits-{rollout.get('stableRevision')}" in town.deployments():
                town.scale(f"digits-{rollout['stableRevision']}", turn["count"])
    town.now += timedelta(minutes=turn["minutes"])


def check(town: Town, turn: dict[str, Any], before: dict[str, int], over: dict[str, Any]) -> None:
    spec = InferenceService.model_validate(town.service).spec
    previous = town.service["status"]
    mode = choose(spec, town.over["capabilities"], previous, town.now).mode
    limits = bounds_of(spec, mode)
    made = town.step(**over)
    rollout = town.service["status"]["rollout"]
    for scale in made.scale:
        assert limits.min_replicas <= scale.replicas <= limits.max_replicas
        was, revision = before.get(scale.ref.name), scale.ref.name.removeprefix("digits-")
        if was is None or scale.replicas >= min(was, limits.max_replicas):
            continue
        known = over["assessments"].get(revision)
        assert revision == rollout["stableRevision"]
        assert known is not None
        assert known.decision is not None
        assert known.decision.reason != "NoData"
        assert (known.mode, previous["scaling"]["mode"], mode) == ("Direct", "Direct", "Direct")
    InferenceService.model_validate(town.service)
    writes = town.writes
    again = town.step(**over)
    assert again.scale == made.scale
    assert again.delete == ()
    settled = town.writes
    town.step(**over)
    assert town.writes == settled <= writes + 1


@settings(max_examples=EXAMPLES // 6, deadline=None, suppress_health_check=list(HealthCheck))
@given(scaling=SCALINGS, can=CAPABILITIES, turns=st.lists(TURNS, max_size=6))
def test_nothing_that_is_measured_or_switched_loses_a_pod_or_the_plan_its_mind(
    scaling: dict[str, Any], can: Capabilities, turns: list[dict[str, Any]]
) -> None:
    town = Town(service=service(scaling=scaling), over={"capabilities": can})
    town.installed()
    for number, turn in enumerate(turns):
        act(town, turn, number)
        rollout = town.service["status"]["rollout"]
        named = {
            rollout.get("stableRevision"): turn["stable"],
            rollout.get("candidateRevision"): turn["candidate"],
        }
        known = {name: found for name, found in named.items() if name and found}
        over: dict[str, Any] = {"assessments": known, "budget": turn["budget"]}
        before = {name: town.count(name.removeprefix("digits-")) for name in town.deployments()}
        if turn["do"] == "answer":
            asked = town.step(**over)
            if asked.verify is not None:
                town.answer()
            continue
        if town.step(**over).verify is not None:
            town.answer()
            continue
        check(town, turn, before, over)
