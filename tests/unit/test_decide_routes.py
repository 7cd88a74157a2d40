"""What routes show of a rollout, and what is written to them: tables, no cluster."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.rollout_state import Routes
from seawall.decide.route_parents import heard
from seawall.decide.route_weights import rules_of
from seawall.decide.routes import (
    own_routes,
    route_deletions,
    route_manifests,
    route_patches,
    routes_of,
    routes_to_read,
)
from seawall.decide.types import Capabilities, ObjectRef, Observed
from seawall.desired.inputs import Platform
from seawall.desired.names import Owner
from support.fakecluster import operate
from support.routes import API, GRPC_OWN, HTTP_OWN, answered, applied, digits, parent, ref, route

OWNER = Owner("digits", "ns", "uid-digits")
SERVED = Capabilities(gateway_api=True, grpc_routes=True)
ROUTING = {"gateways": [{"name": "public", "namespace": "infra"}]}
GRPC_ROUTING = ROUTING | {"hostnames": ["a.example.com"], "grpcHostnames": ["b.example.com"]}
NAMED = {"traffic": {"httpRoute": "theirs"}}
THEIRS = ObjectRef(API, "HTTPRoute", "ns", "theirs")
STABLE, CANDIDATE = ref("digits"), ref("digits-candidate")


def seen(*routes: dict[str, Any], capabilities: Capabilities = SERVED, **more: Any) -> Observed:
    return Observed(
        service=digits(),
        platform=Platform("operator:1"),
        now=datetime(2026, 1, 1, tzinfo=UTC),
        routes=routes,
        capabilities=capabilities,
        **more,
    )


def spec_of(**more: Any) -> InferenceServiceSpec:
    return InferenceServiceSpec.model_validate(digits()["spec"] | more)


def own(weight: int, routing: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    made = own_routes(OWNER, spec_of(routing=routing or ROUTING), weight)
    return [answered(applied(manifest)) for manifest in made]


def found(observed: Observed, **spec: Any) -> Routes:
    made = routes_of(observed, spec_of(**spec))
    assert made is not None
    return made


def theirs(*rules: list[dict[str, Any]]) -> dict[str, Any]:
    return answered(route("theirs", *rules))


# What they show.


def test_a_service_without_routes_shows_none() -> None:
    assert routes_of(seen(*own(0)), spec_of()) is None
    assert routes_of(seen(), spec_of(rollout={"strategy": "Direct"})) is None


SHARES: dict[str, tuple[list[list[dict[str, Any]]], int | None, int]] = {
    "the service alone carries nothing to the candidate": ([[STABLE(1)]], 0, 0),
    "a tenth": ([[STABLE(90), CANDIDATE(10)]], 10, 10),
    "a tenth in other words": ([[STABLE(9), CANDIDATE(1)]], 10, 10),
    "everything": ([[STABLE(0), CANDIDATE(100)]], 100, 100),
    "of our part, whatever others have": ([[STABLE(75), CANDIDATE(25), ref("else")(900)]], 25, 25),
    "nothing of nothing": ([[STABLE(0), CANDIDATE(0)]], 0, 0),
    "little is not nothing": ([[STABLE(9990), CANDIDATE(10)]], 1, 1),
    "almost all is not all": ([[STABLE(10), CANDIDATE(9990)]], 99, 99),
    "rules that agree": ([[STABLE(90), CANDIDATE(10)], [STABLE(180), CANDIDATE(20)]], 10, 10),
    "rules that differ": ([[STABLE(90), CANDIDATE(10)], [STABLE(1)]], None, 10),
    "a rule of others": ([[STABLE(90), CANDIDATE(10)], [ref("else")(1)], []], 10, 10),
    "a rule with the candidate alone is its author's": ([[STABLE(1)], [CANDIDATE(1)]], 0, 0),
    "no weights written down": ([[{"name": "digits", "port": 8000}]], 0, 0),
    "another namespace's Service is another": ([[STABLE(1), CANDIDATE(9) | {"namespace": "b"}]], 0, 0),
    "our namespace may be spelt out": ([[STABLE(1), CANDIDATE(1) | {"namespace": "ns"}]], 50, 50),
    "another kind of that name is another": ([[STABLE(1), CANDIDATE(9) | {"kind": "Pool"}]], 0, 0),
}


@pytest.mark.parametrize("case", SHARES)
def test_the_share_that_a_route_carries(case: str) -> None:
    rules, weight, most = SHARES[case]
    routes = found(seen(theirs(*rules)), rollout=NAMED)
    assert (routes.weight, routes.most) == (weight, most)


def test_two_routes_are_told_together() -> None:
    http, grpc = own(10, GRPC_ROUTING)
    spec = {"routing": GRPC_ROUTING}
    assert found(seen(http, grpc), **spec) == Routes(weight=10, most=10, settled=True)
    lowered = own(0, GRPC_ROUTING)[1]
    apart = found(seen(http, lowered), **spec)
    assert (apart.weight, apart.most, apart.settled) == (None, 10, True)
    alone = found(seen(http), **spec)
    assert (alone.weight, alone.settled, alone.problem) == (10, False, "RouteNotFound")


def test_a_route_of_ours_and_a_named_one_count_both() -> None:
    (http,) = own(10)
    routes = found(seen(http, theirs([STABLE(1)])), routing=ROUTING, rollout=NAMED)
    assert (routes.weight, routes.most) == (None, 10)


PROBLEMS: dict[str, tuple[Observed, dict[str, Any], str, str]] = {
    "our route is not there yet": (
        seen(),
        {"routing": ROUTING},
        "RouteNotFound",
        "HTTPRoute digits does not",
    ),
    "the named route is not there": (seen(), {"rollout": NAMED}, "RouteNotFound", "theirs does not exist in"),
    "our route's name is taken": (
        seen(answered(route("digits", [STABLE(1)]))),
        {"routing": ROUTING},
        "NameConflict",
        "belongs to somebody else",
    ),
    "nothing is served": (
        seen(capabilities=Capabilities()),
        {"routing": ROUTING},
        "GatewayAPIAbsent",
        "serves no HTTPRoutes",
    ),
    "GRPCRoutes are not served": (
        seen(own(0, GRPC_ROUTING)[0], capabilities=Capabilities(gateway_api=True)),
        {"routing": GRPC_ROUTING},
        "GatewayAPIAbsent",
        "serves no GRPCRoutes",
    ),
    "it may not be read": (
        seen(route_problems={THEIRS: "HTTPRoute theirs may not be read: forbidden"}),
        {"rollout": NAMED},
        "RouteUnreadable",
        "forbidden",
    ),
    "it leads elsewhere": (
        seen(theirs([ref("else")(1)])),
        {"rollout": NAMED},
        "RouteWithoutBackend",
        "names Service digits",
    ),
    "our weight is too small beside others": (
        seen(theirs([STABLE(9), CANDIDATE(1), ref("else")(90)])),
        {"rollout": NAMED},
        "RouteWeightsTooSmall",
        "has the weight 10 beside other backends in rule 1 of HTTPRoute theirs",
    ),
    "we are named twice": (
        seen(theirs([STABLE(90), STABLE(10)])),
        {"rollout": NAMED},
        "RouteAmbiguous",
        "named once in rule 1",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_keeps_a_route_from_splitting_is_said_in_words(case: str) -> None:
    observed, spec, problem, words = PROBLEMS[case]
    routes = found(observed, **spec)
    assert (routes.problem, routes.settled) == (problem, False)
    assert words in routes.message


# What Gateways say.

ACCEPTED = {"Accepted": "True", "ResolvedRefs": "True"}
HEARD: dict[str, tuple[list[dict[str, Any]], bool, str, str]] = {
    "nobody": ([], False, "", "has not said anything"),
    "both conditions at this generation": ([parent("public", 3, ACCEPTED)], True, "", ""),
    "of an earlier generation": ([parent("public", 2, ACCEPTED)], False, "", "at generation 3 yet"),
    "only one of the two": ([parent("public", 3, {"Accepted": "True"})], False, "", "not taken in"),
    "undecided": ([parent("public", 3, ACCEPTED | {"Accepted": "Unknown"})], False, "", "not taken in"),
    "not accepted": (
        [parent("public", 3, ACCEPTED | {"Accepted": "False"})],
        False,
        "RouteNotAccepted",
        "Gateway infra/public does not accept HTTPRoute digits: Told: in its own words",
    ),
    "an earlier refusal is history": (
        [parent("public", 2, ACCEPTED | {"Accepted": "False"})],
        False,
        "",
        "not taken in",
    ),
    "a Service is missing": (
        [parent("public", 3, ACCEPTED | {"ResolvedRefs": "False"})],
        False,
        "RouteRefsNotResolved",
        "cannot resolve the backends of HTTPRoute digits",
    ),
    "one of two refuses": (
        [parent("public", 3, ACCEPTED), parent("public", 3, ACCEPTED | {"Accepted": "False"}, "other.io")],
        False,
        "RouteNotAccepted",
        "does not accept",
    ),
}


@pytest.mark.parametrize("every", [True, False], ids=["ours", "somebody's"])
@pytest.mark.parametrize("case", HEARD)
def test_what_gateways_say(case: str, every: bool) -> None:
    parents, settled, problem, words = HEARD[case]
    (live,) = own(0)
    live["metadata"]["generation"] = 3
    live["status"] = {"parents": parents}
    said = heard(live, every=every)
    assert (said.settled, said.problem) == (settled, problem)
    assert words in said.message


def test_each_gateway_of_ours_must_speak_and_a_stranger_does_not_count() -> None:
    two = {"gateways": [{"name": "public", "namespace": "infra"}, {"name": "inner"}]}
    live = applied(own_routes(OWNER, spec_of(routing=two), 0)[0])
    one, other = parent("public", 1, ACCEPTED), parent("inner", 1, ACCEPTED, namespace=None)
    left = parent("former", 1, ACCEPTED | {"Accepted": "False"})
    told = []
    for parents in ([], [left], [one], [one, left], [one, other], [one, other, left]):
        live["status"] = {"parents": parents}
        told.append(heard(live, every=True).settled)
    assert told == [False, False, False, False, True, True]
    live["status"] = {"parents": [one]}
    assert "Gateway ns/inner" in heard(live, every=True).message
    assert heard(live, every=False).settled


# What is written.


def test_a_route_of_ours_is_applied_until_it_stands_and_then_no_more() -> None:
    spec = spec_of(routing=GRPC_ROUTING)
    made = route_manifests(seen(), OWNER, spec, 10)
    assert [m["kind"] for m in made] == ["HTTPRoute", "GRPCRoute"]
    live = [applied(manifest) for manifest in made]
    assert route_manifests(seen(*live), OWNER, spec, 10) == ()
    raised = route_manifests(seen(*live), OWNER, spec, 25)
    assert [m["kind"] for m in raised] == ["HTTPRoute", "GRPCRoute"]


def change(path: str, value: Any) -> Any:
    def changed(live: dict[str, Any]) -> None:
        *way, last = path.split(".")
        at: Any = live
        for part in way:
            at = at[part]
        at[last] = value

    return changed


def edited(live: dict[str, Any]) -> None:
    """As the server notes it when somebody else writes spec.rules."""
    live["spec"]["rules"][0]["backendRefs"][1]["weight"] = 50
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].pop("f:rules")


def defaulted(live: dict[str, Any]) -> None:
    live["spec"]["rules"][0]["backendRefs"][0]["aNewDefault"] = {}


CHANGES = {
    "nothing has happened": (lambda live: None, False),
    "a later version fills in one more default": (defaulted, False),
    "somebody has set weights": (edited, True),
    "a label is somebody's": (
        lambda live: live["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:labels"].clear(),
        True,
    ),
    "the record of what was applied is gone": (change("metadata.annotations", {}), True),
    "it is on its way out": (change("metadata.deletionTimestamp", "2026-01-01T00:00:00Z"), False),
    "it is an earlier service's": (change("metadata.ownerReferences", []), False),
    "it is somebody else's": (
        change("metadata.ownerReferences", [{"controller": True, "uid": "other", "kind": "Shop"}]),
        True,
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_route_of_ours_is_set_back_where_somebody_has_changed_it(case: str) -> None:
    damage, again = CHANGES[case]
    (live,) = own(10)
    damage(live)
    assert bool(route_manifests(seen(live), OWNER, spec_of(routing=ROUTING), 10)) is again


@pytest.mark.parametrize(
    "observed",
    [
        pytest.param(seen(capabilities=Capabilities()), id="not served"),
        pytest.param(seen(route_problems={HTTP_OWN: "forbidden"}), id="not readable"),
    ],
)
def test_nothing_is_written_blindly(observed: Observed) -> None:
    assert route_manifests(observed, OWNER, spec_of(routing=ROUTING), 0) == ()


SPLITS: dict[str, tuple[list[dict[str, Any]], int, list[int]]] = {
    "a lone backend is left as it is": ([STABLE(1)], 0, [1]),
    "the candidate is appended": ([STABLE(1)], 10, [90, 10]),
    "both are set": ([STABLE(90), CANDIDATE(10)], 25, [75, 25]),
    "the right ratio is right in other words": ([STABLE(9), CANDIDATE(1)], 10, [9, 1]),
    "back to nothing": ([STABLE(75), CANDIDATE(25)], 0, [100, 0]),
    "all of it": ([CANDIDATE(25), STABLE(75)], 100, [100, 0]),
    "from nothing at all": ([STABLE(0), CANDIDATE(0)], 0, [100, 0]),
    "beside others the sum stays": ([ref("else")(50), STABLE(150)], 10, [50, 135, 15]),
    "beside others the sum stays on the way back": (
        [ref("else")(50), STABLE(135), CANDIDATE(15)],
        0,
        [50, 150, 0],
    ),
    "percents of an odd sum are rounded": ([ref("else")(1), STABLE(101)], 5, [1, 96, 5]),
    "too small beside others: nothing is raised": ([ref("else")(5), STABLE(5)], 10, [5, 5]),
    "too small beside others: what was raised comes back": (
        [ref("else")(5), STABLE(4), CANDIDATE(1)],
        10,
        [5, 5, 0],
    ),
    "named twice: nothing is raised": ([STABLE(60), STABLE(40)], 10, [60, 40]),
    "named twice: what was raised comes back": ([STABLE(60), STABLE(30), CANDIDATE(10)], 10, [70, 30, 0]),
    "the candidate named twice gets nothing": ([STABLE(80), CANDIDATE(10), CANDIDATE(10)], 10, [100, 0, 0]),
}


@pytest.mark.parametrize("case", SPLITS)
def test_the_weights_that_a_route_of_somebodys_gets(case: str) -> None:
    refs, percent, weights = SPLITS[case]
    live = theirs(refs)
    after = patched(live, percent)
    assert [r["weight"] for r in after["spec"]["rules"][0]["backendRefs"]] == weights
    assert route_patches(seen(after), spec_of(rollout=NAMED), percent) == ()
    names = [r["name"] for r in after["spec"]["rules"][0]["backendRefs"]]
    assert names[: len(refs)] == [r["name"] for r in refs]


def patched(live: dict[str, Any], percent: int) -> dict[str, Any]:
    after = copy.deepcopy(live)
    for patch in route_patches(seen(live), spec_of(rollout=NAMED), percent):
        assert patch.ref == THEIRS
        for operation in patch.operations:
            operate(after, operation)
    return after


@pytest.mark.parametrize("percent", range(0, 101, 7))
@pytest.mark.parametrize("refs", [[STABLE(1)], [STABLE(107), ref("else")(13)], [STABLE(40), CANDIDATE(60)]])
def test_what_is_written_is_what_is_read_afterwards(refs: list[dict[str, Any]], percent: int) -> None:
    routes = found(seen(patched(theirs(refs), percent)), rollout=NAMED)
    assert (routes.weight, routes.most) == (percent, percent)


def test_a_patch_changes_our_numbers_and_nothing_else() -> None:
    special = STABLE(100) | {"filters": [{"type": "RequestHeaderModifier"}]}
    live = theirs([special, ref("else")(20)], [ref("else")(1)], [STABLE(1)])
    (patch,) = route_patches(seen(live), spec_of(rollout=NAMED), 10)
    assert patch.resource_version == live["metadata"]["resourceVersion"]
    assert patch.operations == (
        {"op": "test", "path": "/metadata/resourceVersion", "value": patch.resource_version},
        {"op": "add", "path": "/spec/rules/0/backendRefs/0/weight", "value": 90},
        {
            "op": "add",
            "path": "/spec/rules/0/backendRefs/-",
            "value": special | {"name": "digits-candidate", "weight": 10},
        },
        {"op": "add", "path": "/spec/rules/2/backendRefs/0/weight", "value": 90},
        {"op": "add", "path": "/spec/rules/2/backendRefs/-", "value": CANDIDATE(10)},
    )


def test_a_route_that_goes_or_leads_elsewhere_is_left_alone() -> None:
    going = theirs([STABLE(1)])
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for live in (going, theirs([ref("else")(1)])):
        assert route_patches(seen(live), spec_of(rollout=NAMED), 10) == ()


def test_a_route_named_like_ours_is_ours_where_we_make_one() -> None:
    (live,) = own(0)
    spec = spec_of(routing=ROUTING, rollout={"traffic": {"httpRoute": "digits"}})
    assert route_patches(seen(live), spec, 10) == ()
    assert len(route_manifests(seen(live), OWNER, spec, 10)) == 1


# What goes, and what is looked for.


def test_routes_of_ours_go_when_they_are_not_asked_for_any_more() -> None:
    live = own(0, GRPC_ROUTING)
    observed = seen(*live, theirs([STABLE(1)]))
    uids = [m["metadata"]["uid"] for m in live]
    gone = route_deletions(observed, OWNER, spec_of())
    assert [(r.kind, r.name, r.uid) for r in gone] == [
        ("HTTPRoute", "digits", uids[0]),
        ("GRPCRoute", "digits-grpc", uids[1]),
    ]
    without_grpc = route_deletions(observed, OWNER, spec_of(routing=ROUTING))
    assert [r.kind for r in without_grpc] == ["GRPCRoute"]
    assert route_deletions(observed, OWNER, spec_of(routing=GRPC_ROUTING)) == ()


@pytest.mark.parametrize("case", ["it is somebody else's", "it is on its way out"])
def test_nothing_else_goes(case: str) -> None:
    (live,) = own(0)
    CHANGES[case][0](live)
    assert route_deletions(seen(live), OWNER, spec_of()) == ()


MARK = [{"metadata": {"name": "digits-candidate"}}]
READ: dict[str, tuple[dict[str, Any], list[Any], Capabilities, list[ObjectRef]]] = {
    "nothing for a service without routes": ({}, [{"metadata": {"name": "digits"}}], SERVED, []),
    "our own": ({"routing": ROUTING}, [], SERVED, [GRPC_OWN, HTTP_OWN]),
    "the named one": ({"rollout": NAMED}, [], SERVED, [THEIRS]),
    "what an earlier spec may have left": ({}, MARK, SERVED, [GRPC_OWN, HTTP_OWN]),
    "all of it": ({"rollout": NAMED}, MARK, SERVED, [GRPC_OWN, HTTP_OWN, THEIRS]),
    "nothing that is not served": ({"routing": ROUTING}, MARK, Capabilities(gateway_api=True), [HTTP_OWN]),
}


@pytest.mark.parametrize("case", READ)
def test_which_routes_are_looked_for(case: str) -> None:
    spec, services, capabilities, refs = READ[case]
    assert routes_to_read(digits(), spec_of(**spec), services, capabilities) == tuple(refs)


def test_a_rule_without_backends_is_no_rule_of_ours() -> None:
    live = theirs([STABLE(1)])
    live["spec"]["rules"] = [{"filters": [{"type": "RequestRedirect"}]}, *live["spec"]["rules"]]
    (rule,) = rules_of(live, "digits")
    assert rule.index == 1
