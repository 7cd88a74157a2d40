"""The shadow step, transition by transition, and the objects that it needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.canary.shadow import Tally
from seawall.decide.children import revisions
from seawall.decide.rollout_plan import Policy, RolloutPlan, ShadowStep, WeightStep, plan_of
from seawall.decide.rollout_shadow import shadow
from seawall.decide.rollout_state import Phase, RevisionState, RolloutState, Routes, Shadow, Step, World
from seawall.decide.shadowing import copied, order_of, shadow_of, stays, tally_request
from seawall.decide.types import Capabilities, TallyRequest
from seawall.desired.comparator import ComparatorOrder, build_comparator
from seawall.desired.names import (
    HTTP_PORT,
    REVISION_LABEL,
    SERVICE_LABEL,
    Owner,
    candidate_name,
    shadow_name,
)
from seawall.desired.routes import build_http_route
from support.routes import HTTP_OWN
from support.town import START, Town, service

STEP = ShadowStep(5, 600.0, 0.01)
PLAN = RolloutPlan("Canary", (STEP, WeightStep(None)))
STATE = RolloutState(id="3-abc", phase=Phase.SHADOW, stable="old", candidate="new", step=0, steps=2)
BEGUN = replace(STATE, step_started_at=START, comparator="s1")
NOTHING_YET = Tally("s1", "3-abc/0")
ALIKE = Tally("s1", "3-abc/0", seen=20_000, compared=1000, doubled=500, repeats=True, metrics=("top1",))
APART = replace(ALIKE, differ=100, only_candidate=50)
NOISY = replace(ALIKE, repeats=False, noise=100, only_stable=100)
SILENT = replace(NOTHING_YET, seen=400, dropped=7, failed_candidate=3, remark="the candidate is busy")
KEPT = replace(NOTHING_YET, refusal="the candidate keeps state")
RUNS = Shadow(routed=True, there=True, copied=True)
SETTLED = Routes(0, 0, settled=True)


def seen(tally: Tally | None = ALIKE, **over: Any) -> Shadow:
    return replace(RUNS, tally=tally, **over)


def world(shadow_: Shadow, *, after: float = 0.0, routes: Routes | None = SETTLED, **plan: Any) -> World:
    ready = RevisionState(ready=True, available=1)
    return World(
        generation=3,
        now=START + timedelta(seconds=after),
        revisions={"old": ready, "new": ready},
        target="new",
        plan=replace(PLAN, **plan),
        routes=routes,
        shadow=shadow_,
    )


def decided(state: RolloutState, around: World, step: ShadowStep = STEP) -> Step | str:
    return shadow(state, around, step, "old")


GOES_ON: dict[str, tuple[RolloutState, World, str]] = {
    "the comparator first": (STATE, world(Shadow(routed=True)), "ComparatorStarts"),
    "then the filter": (STATE, world(Shadow(routed=True, there=True)), "RequestsNotCopied"),
    "which the gateway must have read": (
        STATE,
        world(seen(), routes=Routes(0, 0, settled=False)),
        "RequestsNotCopied",
    ),
    "a comparator that says nothing": (STATE, world(seen(None)), "ComparatorStarts"),
    "nothing has come yet": (BEGUN, world(seen(NOTHING_YET), after=60), "Shadowing"),
    "alike, and time is left": (BEGUN, world(seen(), after=599), "Shadowing"),
    "silent for a while": (BEGUN, world(seen(None), after=60), "ComparatorStarts"),
}


@pytest.mark.parametrize("case", GOES_ON)
def test_what_is_waited_for_while_requests_are_copied(case: str) -> None:
    state, around, reason = GOES_ON[case]
    step = decided(state, around)
    assert isinstance(step, Step)
    assert step.shadow
    assert step.state.hold is not None
    assert step.state.hold.reason == reason
    assert step.state.pause is None
    assert (step.state.weight, step.serving, step.trial) == (0, "old", "new")
    assert step.requeue_after is not None


def test_time_counts_from_the_first_counts() -> None:
    step = decided(STATE, world(seen(NOTHING_YET), after=90))
    assert isinstance(step, Step)
    assert step.state.step_started_at == START + timedelta(seconds=90)
    assert step.state.comparator == "s1"
    assert RolloutState.of(step.state.to_status()).comparator == "s1"


def test_agreement_passes_when_the_time_is_over() -> None:
    passed = decided(BEGUN, world(seen(), after=600))
    assert passed == "top1: 0 of 1000 answers to live requests differ; 1% may"


PAUSES: dict[str, tuple[RolloutState, World, str, str]] = {
    "too few were compared": (
        BEGUN, world(seen(SILENT), after=600), "ShadowUnknown",
        "400 requests came, 7 were dropped; the candidate is busy; about",
    ),
    "nothing came by HTTP": (
        BEGUN, world(seen(NOTHING_YET), after=600), "ShadowUnknown", "gRPC requests cannot be copied"
    ),
    "the counts were lost": (
        BEGUN, world(seen(replace(ALIKE, start="s2")), after=60), "ShadowUnknown", "has lost its counts"
    ),
    "a model that keeps state": (STATE, world(seen(KEPT)), "ShadowUnknown", "the candidate keeps state"),
    "a stable revision that does not repeat itself": (
        BEGUN, world(seen(NOISY), after=60), "ShadowUnknown", "not repeatable enough"
    ),
    "no route of ours": (STATE, world(seen(routed=False)), "ShadowUnknown", "spec.routing"),
    "nothing is routed at all": (STATE, world(seen(), routes=None), "ShadowUnknown", "spec.routing"),
    "proven, and a person decides": (
        BEGUN, world(seen(APART), after=60, policy=Policy(on_regression="Pause")), "AnswersDiffer", "100 of 1000"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PAUSES)
def test_what_a_person_has_to_decide(case: str) -> None:
    state, around, reason, words = PAUSES[case]
    step = decided(state, around)
    assert isinstance(step, Step)
    assert step.state.pause is not None
    assert step.state.pause.reason == reason
    assert words in step.state.pause.message
    assert not step.shadow, "a pause takes the comparator away"
    assert (step.state.weight, step.serving) == (0, "old")


@pytest.mark.parametrize("hold", ["ComparatorStarts", "RequestsNotCopied"])
def test_a_comparator_that_does_not_come_up_is_not_waited_for_for_ever(hold: str) -> None:
    around = Shadow(routed=True, there=hold == "RequestsNotCopied", trouble="quota exceeded")
    first = decided(STATE, world(around))
    assert isinstance(first, Step)
    late = decided(first.state, world(around, after=PLAN.progress_seconds + 1))
    assert isinstance(late, Step)
    assert late.state.pause is not None
    assert late.state.pause.reason == "ShadowUnknown"
    assert late.state.pause.message.endswith("quota exceeded")


@pytest.mark.parametrize("after", [15.0, 600.0])
def test_a_proven_disagreement_ends_it_at_once(after: float) -> None:
    step = decided(BEGUN, world(seen(APART), after=after))
    assert isinstance(step, Step)
    assert step.state.rejected is not None
    assert (step.state.rejected.revision, step.state.rejected.reason) == ("new", "AnswersDiffer")
    assert "100 of 1000 answers to live requests differ" in step.state.rejected.message
    assert not step.shadow


def test_a_route_in_trouble_is_told_as_everywhere() -> None:
    broken = Routes(None, 0, settled=False, problem="RouteNotFound", message="HTTPRoute digits is not there")
    step = decided(BEGUN, world(seen(copied=False), routes=broken, after=60))
    assert isinstance(step, Step)
    assert step.state.hold is not None
    assert step.state.hold.reason == "RouteNotFound"
    assert step.shadow


def test_traffic_of_an_edited_plan_goes_first() -> None:
    step = decided(replace(BEGUN, weight=20), world(seen(), after=60))
    assert isinstance(step, Step)
    assert (step.state.weight, step.shadow) == (0, False)


# What is planned of a spec.

ROUTING = {"gateways": [{"name": "public"}]}
SPECS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "the floor of disagreement": (
        {"steps": [{"shadow": {"percent": 5, "duration": "10m"}}]},
        [ShadowStep(5, 600.0, 0.01)],
    ),
    "its own, and a pause": (
        {"steps": [{"shadow": {"percent": 9, "duration": "1h", "maxDisagreement": "0.002"}, "pause": True}]},
        [ShadowStep(9, 3600.0, 0.002, pause=True)],
    ),
    "blue and green": (
        {"strategy": "BlueGreen", "steps": [{"shadow": {"percent": 1, "duration": "1m"}}]},
        [ShadowStep(1, 60.0, 0.01)],
    ),
    "a floor for all": (
        {
            "steps": [{"shadow": {"percent": 5, "duration": "1m"}}],
            "analysis": {"metrics": [{"name": "errors"}, {"name": "disagreement", "floor": "0.05"}]},
        },
        [ShadowStep(5, 60.0, 0.05)],
    ),
}


@pytest.mark.parametrize("case", SPECS)
def test_the_plan_of_a_spec(case: str) -> None:
    rollout, wanted = SPECS[case]
    spec = InferenceServiceSpec.model_validate(service(routing=ROUTING, rollout=rollout)["spec"])
    steps = plan_of(spec, 2).steps
    assert list(steps[: len(wanted)]) == wanted
    assert all(isinstance(step, WeightStep) for step in steps[len(wanted) :])


# Its objects.

OWNER = Owner("digits", "demo", "u1")
ORDER = ComparatorOrder("3-abc", 0, 5)
BUILT = {m["kind"]: m for m in build_comparator(OWNER, ORDER, "seawall:1")}
SHADOWING = Step(STATE, "old", frozenset({"old", "new"}), shadow=True)
ROUTED = Capabilities(gateway_api=True)


def spec_of() -> Any:
    return InferenceServiceSpec.model_validate(service(routing=ROUTING)["spec"])


def town(*, ready: bool = True, fed: bool = True, address: str = "10.9.0.1", **over: Any) -> Any:
    deployment = BUILT["Deployment"] | {
        "metadata": BUILT["Deployment"]["metadata"] | {"generation": 2},
        "status": {"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": int(ready)},
    }
    live = BUILT["Service"] | {"spec": BUILT["Service"]["spec"] | {"clusterIP": address}}
    routing = spec_of().routing
    made = Town(service=service(routing=ROUTING))
    made.objects = {("Deployment", "digits-shadow"): deployment, ("Service", "digits-shadow"): live}
    route = build_http_route(OWNER, routing, 0, copied=fed)
    return made.observed(**({"routes": [route], "capabilities": ROUTED} | over))


def test_the_pod_counts_nowhere_as_one_of_the_services_own() -> None:
    labels = BUILT["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert not {SERVICE_LABEL, REVISION_LABEL} & labels.keys()
    assert (
        BUILT["Service"]["spec"]["selector"]
        == labels
        == BUILT["Deployment"]["spec"]["selector"]["matchLabels"]
    )
    for made in BUILT.values():
        assert made["metadata"]["labels"][SERVICE_LABEL] == "digits"
        assert made["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert len(shadow_name("x" * 53)) <= len(candidate_name("x" * 53)) == 63


def test_the_pod_is_as_restricted_as_those_of_models() -> None:
    pod = BUILT["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"].keys() == {"memory"}


def test_it_does_not_stand_for_a_revision() -> None:
    assert revisions(town()) == {}


def test_the_filter_is_there_while_it_is_asked_for_and_never_before_the_pod() -> None:
    assert copied(town(), SHADOWING)
    assert not copied(town(ready=False), SHADOWING)
    assert not copied(town(), replace(SHADOWING, shadow=False))
    filters = build_http_route(OWNER, spec_of().routing, 0, copied=True)["spec"]["rules"][0]["filters"]
    backend = {"group": "", "kind": "Service", "name": "digits-shadow", "port": HTTP_PORT}
    assert filters == [{"type": "RequestMirror", "requestMirror": {"backendRef": backend}}]


def test_it_stays_as_long_as_a_route_may_lead_to_it() -> None:
    assert stays(town())
    assert not stays(town(fed=False))
    assert not stays(town(routes=[]))
    ref = replace(HTTP_OWN, namespace="demo")
    assert stays(town(routes=[], route_problems={ref: "may not be read"}))


def test_what_the_stage_is_shown() -> None:
    tally = replace(ALIKE, order="3-abc/0")
    shown = shadow_of(town(tally=tally), spec_of(), STATE, PLAN)
    assert shown == Shadow(routed=True, there=True, copied=True, tally=tally)
    assert shadow_of(town(tally=replace(tally, order="2-old/0")), spec_of(), STATE, PLAN).tally is None
    assert shadow_of(town(), spec_of(), replace(STATE, step=1), PLAN) == Shadow()
    assert order_of(replace(STATE, step=None), PLAN) is None


def test_whom_its_counts_are_asked_of() -> None:
    assert tally_request(town(), SHADOWING, PLAN) == TallyRequest("10.9.0.1:8000", "3-abc/0", 15.0)
    assert tally_request(town(address="fd00::9"), SHADOWING, PLAN) == TallyRequest(
        "[fd00::9]:8000", "3-abc/0", 15.0
    )
    assert tally_request(town(ready=False), SHADOWING, PLAN) is None
    assert tally_request(town(address=""), SHADOWING, PLAN) is None
    assert tally_request(town(), replace(SHADOWING, shadow=False), PLAN) is None
