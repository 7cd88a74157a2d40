"""The routes of a service as the API server is asked for them."""

from __future__ import annotations

import pytest

from seawall.api.v1alpha1 import RoutingSpec
from seawall.desired.canonical import stamped
from seawall.desired.names import Owner, candidate_name
from seawall.desired.routes import build_grpc_route, build_http_route
from seawall.desired.service import build_candidate_service, build_service

OWNER = Owner("digits", "ns", "uid-digits")


def routing(**more: list[str] | None) -> RoutingSpec:
    gateways = [{"name": "public", "namespace": "infra"}, {"name": "inner"}]
    return RoutingSpec.model_validate({"gateways": gateways, **more})


PARENTS = [
    {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "public"},
    {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "inner"},
]


def test_an_http_route_says_everything_that_the_server_would_fill_in() -> None:
    route = build_http_route(OWNER, routing(hostnames=["digits.example.com"]), 10)
    assert (route["apiVersion"], route["kind"]) == ("gateway.networking.k8s.io/v1", "HTTPRoute")
    assert route["metadata"]["ownerReferences"] == [OWNER.reference()]
    assert route["metadata"]["labels"]["serving.seawall.dev/inferenceservice"] == "digits"
    assert route["spec"] == {
        "parentRefs": PARENTS,
        "hostnames": ["digits.example.com"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [
                    {"group": "", "kind": "Service", "name": "digits", "port": 8000, "weight": 90},
                    {"group": "", "kind": "Service", "name": "digits-candidate", "port": 8000, "weight": 10},
                ],
            }
        ],
    }


def test_a_grpc_route_matches_everything_by_matching_nothing() -> None:
    route = build_grpc_route(OWNER, routing(grpcHostnames=["grpc.example.com"]), 25)
    (rule,) = route["spec"]["rules"]
    assert route["kind"] == "GRPCRoute"
    assert set(rule) == {"backendRefs"}
    assert route["spec"]["hostnames"] == ["grpc.example.com"]
    assert [(ref["name"], ref["port"], ref["weight"]) for ref in rule["backendRefs"]] == [
        ("digits", 8001, 75),
        ("digits-candidate", 8001, 25),
    ]


@pytest.mark.parametrize("weight", [0, 100])
def test_both_backends_stay_at_every_weight(weight: int) -> None:
    refs = build_http_route(OWNER, routing(), weight)["spec"]["rules"][0]["backendRefs"]
    assert [ref["weight"] for ref in refs] == [100 - weight, weight]


@pytest.mark.parametrize("hostnames", [None, []])
def test_without_host_names_there_is_no_such_field(hostnames: list[str] | None) -> None:
    assert "hostnames" not in build_http_route(OWNER, routing(hostnames=hostnames), 0)["spec"]


def test_a_weight_is_part_of_what_was_applied() -> None:
    one, other = (build_http_route(OWNER, routing(), weight) for weight in (0, 1))
    assert one["metadata"]["annotations"] != other["metadata"]["annotations"]
    assert stamped(one) == one


def test_the_candidates_service_differs_in_name_and_revision_alone() -> None:
    stable, candidate = build_service(OWNER, "aaa"), build_candidate_service(OWNER, "bbb")
    assert candidate["metadata"]["name"] == candidate_name("digits") == "digits-candidate"
    assert candidate["spec"]["selector"] == stable["spec"]["selector"] | {
        "serving.seawall.dev/revision": "bbb"
    }
    assert candidate["spec"]["ports"] == stable["spec"]["ports"]
    assert candidate["metadata"]["labels"] == stable["metadata"]["labels"]
