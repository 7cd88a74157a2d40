"""What a rollout and its routes are refused for, and which command an annotation holds."""

from dataclasses import replace
from typing import Any

import pytest

from seawall.decide.acceptance import accept, command
from seawall.decide.rollout_state import Command
from seawall.decide.types import Capabilities
from support.town import Town, service

BOTH = Capabilities(gateway_api=True, grpc_routes=True)
HTTP_ONLY = Capabilities(gateway_api=True)
ROUTING = {"gateways": [{"name": "public"}]}
ROUTE = {"traffic": {"httpRoute": "r"}}
SHADOW = {"shadow": {"percent": 5, "duration": "1m"}}


def refused(cluster: Capabilities = BOTH, **spec: Any) -> list[tuple[str, str]]:
    found = accept(Town(service=service(**spec)).observed(capabilities=cluster))
    return [(refusal.reason, refusal.message) for refusal in found.refusals]


ACCEPTED: dict[str, dict[str, Any]] = {
    "no rollout at all": {},
    "a canary on routes of the operator's making": {"routing": ROUTING, "rollout": {"strategy": "Canary"}},
    "a canary on a route of the user's": {
        "rollout": {
            **ROUTE,
            "steps": [{"quality": {"goldenSet": {"configMapRef": "a"}}}, {"weight": 5, "pause": True}],
            "analysis": {"alpha": "0.02", "metrics": [{"name": "errors"}]},
            "failurePolicy": {"onNoData": "Pause"},
            "capacity": {"mode": "Surge", "maxSurgeReplicas": 1, "progressDeadline": "5m"},
            "rollbackWindow": "1h",
            "historyLimit": 3,
        }
    },
    "a shadow on routes of the operator's making": {"routing": ROUTING, "rollout": {"steps": [SHADOW]}},
    "a shadow of blue and green": {
        "routing": ROUTING,
        "rollout": {"strategy": "BlueGreen", "steps": [SHADOW]},
    },
    "blue and green without routes": {"rollout": {"strategy": "BlueGreen", "rollbackWindow": "1h"}},
    "the provider by its name": {"rollout": {"traffic": {"provider": "GatewayAPI"}}},
    "shares of pods": {
        "rollout": {
            "strategy": "Canary",
            "traffic": {"provider": "Replicas"},
            "steps": [{"quality": {"goldenSet": {"configMapRef": "a"}}}, {"weight": 25}, {"weight": 50}],
            "capacity": {"maxSurgeReplicas": 2},
        }
    },
    "shares of pods because they are asked for": {"rollout": {"traffic": {"provider": "Replicas"}}},
    "names for HTTP and gRPC": {
        "routing": {**ROUTING, "hostnames": ["a.example.com"], "grpcHostnames": ["grpc.a.example.com"]}
    },
    "a wildcard beside another domain": {
        "routing": {**ROUTING, "hostnames": ["*.example.com"], "grpcHostnames": ["grpc-example.com"]}
    },
    "a wildcard beside its own domain": {
        "routing": {**ROUTING, "hostnames": ["*.example.com"], "grpcHostnames": ["example.com"]}
    },
}


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_acted_on_is_accepted(spec: dict[str, Any]) -> None:
    assert refused(**spec) == []


NOT_THERE: dict[str, tuple[dict[str, Any], str, str]] = {
    "a golden set on a claim": (
        {**ROUTE, "steps": [{"quality": {"goldenSet": {"pvc": "golden"}}}]},
        "spec.rollout.steps[0].quality.goldenSet.pvc",
        "configMapRef",
    ),
    "Istio": ({"traffic": {"provider": "Istio"}}, "spec.rollout.traffic.provider Istio", "use GatewayAPI"),
    "Nginx": ({"traffic": {"provider": "Nginx"}}, "spec.rollout.traffic.provider Nginx", "use GatewayAPI"),
    "making room without a gateway": (
        {"traffic": {"provider": "Replicas"}, "capacity": {"mode": "Displace"}},
        "spec.rollout.capacity.mode Displace with traffic.provider Replicas",
        "use Surge",
    ),
    "making room at once": (
        {"capacity": {"mode": "Displace"}},
        "spec.rollout.capacity.mode Displace with strategy Direct",
        "use Canary",
    ),
    "making room for all pods": (
        {**ROUTE, "strategy": "BlueGreen", "capacity": {"mode": "Displace"}},
        "spec.rollout.capacity.mode Displace with strategy BlueGreen",
        "or Surge",
    ),
    "a canary without routes": ({"strategy": "Canary"}, "Canary without routes", "set spec.routing"),
}


@pytest.mark.parametrize(("rollout", "field", "instead"), NOT_THERE.values(), ids=NOT_THERE)
def test_what_is_not_there_is_refused_with_what_to_do_instead(
    rollout: dict[str, Any], field: str, instead: str
) -> None:
    ((reason, message),) = refused(rollout=rollout)
    assert reason == "NotImplemented"
    assert f"{field} is not acted on by this version of Seawall; " in message
    assert instead in message


CONTRADICTED: dict[str, tuple[dict[str, Any], str]] = {
    "beside routes of the operator's making": (
        {"routing": ROUTING, "rollout": {"traffic": {"provider": "Replicas"}}}, "leave out spec.routing",
    ),
    "beside a route of the user's": (
        {"rollout": {"traffic": {"provider": "Replicas", "httpRoute": "r"}}}, "leave out spec.routing",
    ),
    "where nothing is split": (
        {"rollout": {"strategy": "BlueGreen", "traffic": {"provider": "Replicas"}}}, "strategy BlueGreen does not",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "words"), CONTRADICTED.values(), ids=CONTRADICTED)
def test_shares_of_pods_contradict(spec: dict[str, Any], words: str) -> None:
    ((reason, message),) = refused(**spec)
    assert (reason, words in message) == ("ProviderContradicted", True)


SHADOWS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "in a named route": ({"rollout": {**ROUTE, "steps": [SHADOW]}}, ["set spec.routing"]),
    "without routes": ({"rollout": {"strategy": "BlueGreen", "steps": [SHADOW]}}, ["set spec.routing"]),
    "of a model that keeps state": (
        {"config": {"sequence_batching": {}}, "routing": ROUTING},
        ["spec.model.config.sequence_batching"],
    ),
    "of a model that answers on streams": (
        {"config": {"model_transaction_policy": {"decoupled": True}}, "routing": ROUTING},
        ["model_transaction_policy.decoupled"],
    ),
    "of one that says it does not": (
        {"config": {"model_transaction_policy": {"decoupled": False}}, "routing": ROUTING},
        [],
    ),
    "whatever the policy is": ({"config": {"model_transaction_policy": "x"}, "routing": ROUTING}, []),
}


@pytest.mark.parametrize(("asked", "words"), SHADOWS.values(), ids=SHADOWS)
def test_a_shadow_needs_a_route_of_ours_and_a_model_without_state(
    asked: dict[str, Any], words: list[str]
) -> None:
    config = asked.get("config")
    spec: dict[str, Any] = {"rollout": {"steps": [{"weight": 5}, SHADOW]}} | {
        name: value for name, value in asked.items() if name != "config"
    }
    if config is not None:
        spec["model"] = {"uri": "s3://models/digits.onnx", "config": config}
    found = refused(**spec)
    assert [reason for reason, _ in found] == ["ShadowNotSupported"] * len(words)
    for word, (_, message) in zip(words, found, strict=True):
        assert word in message
        assert message.startswith("spec.rollout.steps[")


GATEWAYS: dict[str, tuple[Capabilities, dict[str, Any], list[str]]] = {
    "routing where there is no gateway": (Capabilities(), {"routing": ROUTING}, ["spec.routing needs"]),
    "a named HTTPRoute where there is none": (
        Capabilities(grpc_routes=True),
        {"rollout": ROUTE},
        ["spec.rollout.traffic.httpRoute needs"],
    ),
    "a named GRPCRoute where there are only HTTPRoutes": (
        HTTP_ONLY,
        {"rollout": {"traffic": {"grpcRoute": "g"}}},
        ["spec.rollout.traffic.grpcRoute needs"],
    ),
    "names for gRPC where there are only HTTPRoutes": (
        HTTP_ONLY,
        {"routing": {**ROUTING, "hostnames": ["a.b"], "grpcHostnames": ["c.b"]}},
        ["spec.routing.grpcHostnames needs"],
    ),
    "names for HTTP where there are only HTTPRoutes": (
        HTTP_ONLY,
        {"routing": {**ROUTING, "hostnames": ["a.b"]}},
        [],
    ),
    "no routes where there is no gateway": (Capabilities(), {"rollout": {"strategy": "BlueGreen"}}, []),
}


@pytest.mark.parametrize(("cluster", "spec", "words"), GATEWAYS.values(), ids=GATEWAYS)
def test_routes_need_a_cluster_that_serves_them(
    cluster: Capabilities, spec: dict[str, Any], words: list[str]
) -> None:
    found = refused(cluster, **spec)
    assert [reason for reason, _ in found] == ["GatewayAPIMissing"] * len(words)
    assert all(word in message for word, (_, message) in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("http", "grpc"),
    [
        ("a.example.com", "a.example.com"),
        ("*.example.com", "grpc.example.com"),
        ("a.example.com", "*.example.com"),
        ("*.example.com", "*.grpc.example.com"),
    ],
)
def test_one_name_cannot_be_for_http_and_grpc(http: str, grpc: str) -> None:
    ((reason, message),) = refused(routing={**ROUTING, "hostnames": ["x.y", http], "grpcHostnames": [grpc]})
    assert reason == "HostnamesOverlap"
    assert http in message
    assert grpc in message


def test_a_canary_needs_a_metric_that_live_requests_show() -> None:
    metrics = {"analysis": {"metrics": [{"name": "disagreement"}]}}
    assert [reason for reason, _ in refused(rollout={**ROUTE, **metrics})] == ["NothingToJudge"]
    assert refused(rollout={"strategy": "BlueGreen", **metrics}) == []


TEMPLATE = {
    "name": "fallbacks",
    "stable": {"bad": "b{{stable}}", "total": "t{{stable}}"},
    "candidate": {"bad": "b{{candidate}}", "total": "t{{candidate}}"},
}


def test_templates_need_a_prometheus_and_are_something_to_judge_by() -> None:
    asked = {**ROUTE, "analysis": {"metrics": [{"name": "disagreement"}], "templates": [TEMPLATE]}}
    assert refused(replace(BOTH, prometheus_url="http://p:9090"), rollout=asked) == []
    ((reason, message),) = refused(rollout=asked)
    assert reason == "PrometheusMissing"
    assert "metrics.prometheusUrl" in message


COMMANDS = {
    "nothing": (None, None),
    "an empty text": (" ", None),
    "a command": ("promote@3-0a1b2c3d", Command("promote", "3-0a1b2c3d", "promote@3-0a1b2c3d")),
    "of a second attempt": ("retry@3-0a1b2c3d-2", Command("retry", "3-0a1b2c3d-2", "retry@3-0a1b2c3d-2")),
    "said again": ("pause@3-0a1b2c3d:2", Command("pause", "3-0a1b2c3d", "pause@3-0a1b2c3d:2")),
    "spaces around it": (" skip@3-0a \n", Command("skip", "3-0a", "skip@3-0a")),
    "no rollout": ("abort", Command("abort", "", "abort")),
    "no verb": ("@3-0a", Command("", "3-0a", "@3-0a")),
    "a novel": ("x" * 5000, Command("x" * 200, "", "x" * 200)),
}


@pytest.mark.parametrize(("text", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_command(text: str | None, expected: Command | None) -> None:
    asked = service()
    if text is not None:
        asked["metadata"]["annotations"]["serving.seawall.dev/rollout-command"] = text
    assert command(asked) == expected


def test_a_service_without_annotations_has_no_command() -> None:
    asked = service()
    del asked["metadata"]["annotations"]
    assert command(asked) is None
