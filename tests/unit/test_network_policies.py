"""Who reaches what, as the NetworkPolicies say that Seawall makes; and that the reading of them is right.

Nothing here enforces a policy: that is the network plugin's. The reading is tested by itself first, with one
case for each sentence of the documentation of networking.k8s.io/v1.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from seawall.desired import names
from seawall.desired.comparator import ComparatorOrder, build_comparator
from seawall.desired.names import Owner
from seawall.desired.shared import Reach, build_network_policy, build_shared_of_builds
from seawall.settings import Settings
from support.netpol import End, Node, Outside, Pod, Town
from unit.test_chart import HELM, of_kind, rendered

NAMESPACES = {"a": {"team": "x"}, "b": {"team": "y"}, "monitoring": {}, "gateway": {}, "seawall-system": {}}
DB = Pod("a", {"app": "db", "tier": "data"}, "10.244.0.5", {"sql": (5432, "TCP"), "dns": (53, "UDP")})
WEB, OTHER = Pod("a", {"app": "web"}, "10.244.0.6"), Pod("b", {"app": "web"}, "10.244.1.7")
STRANGER = Outside("192.0.2.7")


def policy(namespace: str = "a", selector: Any = None, **spec: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": namespace}
    return {"metadata": meta, "spec": {"podSelector": selector or {}, **spec}}


def ingress(*rules: Any, selector: Any = None, namespace: str = "a") -> dict[str, Any]:
    return policy(namespace, selector, policyTypes=["Ingress"], ingress=list(rules))


def egress(*rules: Any, selector: Any = None) -> dict[str, Any]:
    return policy("a", selector, policyTypes=["Egress"], egress=list(rules))


def label(key: str, value: str) -> dict[str, Any]:
    return {"matchLabels": {key: value}}


def expression(operator: str, key: str, *values: str) -> dict[str, Any]:
    asked = {"key": key, "operator": operator} | ({"values": list(values)} if values else {})
    return {"matchExpressions": [asked]}


TEAM_Y, IS_WEB = label("team", "y"), label("app", "web")
BLOCK = {"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]}}
# policies, source, target, port, protocol, whether it passes
SEMANTICS: dict[str, tuple[list[Any], End, End, int, str, bool]] = {
    "a pod that no policy selects is open": ([], OTHER, DB, 5432, "TCP", True),
    "a policy of another namespace does not select": ([ingress(namespace="b")], WEB, DB, 5432, "TCP", True),
    "a policy for other pods does not select": ([ingress(selector=IS_WEB)], WEB, DB, 5432, "TCP", True),
    "selected without a rule: nothing comes in": ([ingress()], WEB, DB, 5432, "TCP", False),
    "an empty rule allows everything": ([ingress({})], STRANGER, DB, 1, "UDP", True),
    "an empty list of peers is everybody": ([ingress({"from": []})], STRANGER, DB, 5432, "TCP", True),
    "an ingress policy leaves egress alone": ([ingress(selector=IS_WEB)], WEB, DB, 5432, "TCP", True),
    "a pod selector is for the policy's namespace": (
        [ingress({"from": [{"podSelector": IS_WEB}]})], OTHER, DB, 5432, "TCP", False,
    ),
    "and selects in it": ([ingress({"from": [{"podSelector": IS_WEB}]})], WEB, DB, 5432, "TCP", True),
    "a namespace selector takes all its pods": (
        [ingress({"from": [{"namespaceSelector": TEAM_Y}]})], OTHER, DB, 5432, "TCP", True,
    ),
    "and no others": ([ingress({"from": [{"namespaceSelector": TEAM_Y}]})], WEB, DB, 5432, "TCP", False),
    "an empty namespace selector takes all namespaces": (
        [ingress({"from": [{"namespaceSelector": {}}]})], OTHER, DB, 5432, "TCP", True,
    ),
    "but nothing that is no pod": (
        [ingress({"from": [{"namespaceSelector": {}}]})], STRANGER, DB, 5432, "TCP", False,
    ),
    "both selectors in one peer must hold": (
        [ingress({"from": [{"namespaceSelector": TEAM_Y, "podSelector": label("app", "db")}]})],
        OTHER, DB, 5432, "TCP", False,
    ),
    "of two peers one is enough": (
        [ingress({"from": [{"namespaceSelector": TEAM_Y}, {"podSelector": label("app", "db")}]})],
        OTHER, DB, 5432, "TCP", True,
    ),
    "a namespace has its name for a label": (
        [ingress({"from": [{"namespaceSelector": label("kubernetes.io/metadata.name", "b")}]})],
        OTHER, DB, 5432, "TCP", True,
    ),
    "a block of addresses": ([ingress({"from": [BLOCK]})], WEB, DB, 5432, "TCP", True),
    "without its exceptions": ([ingress({"from": [BLOCK]})], OTHER, DB, 5432, "TCP", False),
    "and an address outside": ([ingress({"from": [BLOCK]})], STRANGER, DB, 5432, "TCP", False),
    "a port": ([ingress({"ports": [{"port": 5432}]})], WEB, DB, 5432, "TCP", True),
    "another port": ([ingress({"ports": [{"port": 5433}]})], WEB, DB, 5432, "TCP", False),
    "a port is TCP unless it says otherwise": ([ingress({"ports": [{"port": 53}]})], WEB, DB, 53, "UDP", False),
    "a port of UDP": ([ingress({"ports": [{"port": 53, "protocol": "UDP"}]})], WEB, DB, 53, "UDP", True),
    "a protocol alone is all its ports": ([ingress({"ports": [{"protocol": "UDP"}]})], WEB, DB, 9, "UDP", True),
    "a range": ([ingress({"ports": [{"port": 5000, "endPort": 6000}]})], WEB, DB, 5432, "TCP", True),
    "past the range": ([ingress({"ports": [{"port": 5000, "endPort": 6000}]})], WEB, DB, 6001, "TCP", False),
    "a port by its container's name": ([ingress({"ports": [{"port": "sql"}]})], WEB, DB, 5432, "TCP", True),
    "a name that the pod does not have": ([ingress({"ports": [{"port": "http"}]})], WEB, DB, 5432, "TCP", False),
    "peers and ports of one rule must both fit": (
        [ingress({"from": [{"podSelector": IS_WEB}], "ports": [{"port": 1}]})], WEB, DB, 5432, "TCP", False,
    ),
    "policies add up": ([ingress(), ingress({"ports": [{"port": 5432}]})], WEB, DB, 5432, "TCP", True),
    "rules add up": ([ingress({"ports": [{"port": 1}]}, {"ports": [{"port": 5432}]})], WEB, DB, 5432, "TCP", True),
    "egress is held where the source is": ([egress(selector=IS_WEB)], WEB, DB, 5432, "TCP", False),
    "egress to a peer": ([egress({"to": [{"podSelector": label("app", "db")}]})], WEB, DB, 5432, "TCP", True),
    "egress to an address outside": (
        [egress({"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]})], WEB, STRANGER, 443, "TCP", True,
    ),
    "both ends must agree": (
        [egress({}, selector=IS_WEB), ingress(selector=label("app", "db"))], WEB, DB, 5432, "TCP", False,
    ),
    "without policyTypes it is about ingress": ([policy()], WEB, DB, 5432, "TCP", False),
    "and about egress where it has such rules": (
        [policy(selector=IS_WEB, ingress=[{}], egress=[{"ports": [{"port": 1}]}])], WEB, DB, 5432, "TCP", False,
    ),
    "the node reaches its pods": ([ingress()], Node(), DB, 5432, "TCP", True),
    "a pod reaches itself": ([ingress(), egress()], DB, DB, 5432, "TCP", True),
    "In": ([ingress(selector=expression("In", "app", "db", "x"))], WEB, DB, 5432, "TCP", False),
    "NotIn": ([ingress(selector=expression("NotIn", "app", "web"))], WEB, DB, 5432, "TCP", False),
    "NotIn takes what has no such label": ([ingress(selector=expression("NotIn", "no", "x"))], WEB, DB, 1, "TCP", False),
    "Exists": ([ingress(selector=expression("Exists", "tier"))], WEB, DB, 5432, "TCP", False),
    "DoesNotExist": ([ingress(selector=expression("DoesNotExist", "tier"))], WEB, DB, 5432, "TCP", True),
}  # fmt: skip


@pytest.mark.parametrize("case", SEMANTICS)
def test_the_reading_of_policies(case: str) -> None:
    policies, source, target, port, protocol, passes = SEMANTICS[case]
    assert Town(NAMESPACES, policies).reaches(source, target, port, protocol) is passes


OWNER = Owner("digits", "a", "u")
MODEL = Pod("a", names.revision_labels(OWNER, "abc"), "10.244.0.20")
COMPARATOR = Pod("a", names.comparator_labels(OWNER), "10.244.0.21")
BUILD = Pod("a", names.build_labels("digits-int8"), "10.244.0.22")
OPERATOR = Pod(
    "seawall-system",
    names.OPERATOR_LABELS | {"app.kubernetes.io/instance": "seawall"},
    "10.244.0.30",
    {"http": (8080, "TCP"), "metrics": (9090, "TCP"), "metrics-api": (6443, "TCP")},
)
PROMETHEUS = Pod("monitoring", {"app.kubernetes.io/name": "prometheus"}, "10.244.0.40")
ENVOY = Pod("gateway", {"app": "envoy"}, "10.244.0.50")
EVERYBODY = (WEB, OTHER, OPERATOR, PROMETHEUS, ENVOY, COMPARATOR, STRANGER)
FROM = {
    "inference": ({"namespaceSelector": label("kubernetes.io/metadata.name", "gateway")},),
    "metrics": (
        {
            "namespaceSelector": label("kubernetes.io/metadata.name", "monitoring"),
            "podSelector": label("app.kubernetes.io/name", "prometheus"),
        },
    ),
}
SERVED = (8000, 8001)


def town(reach: Reach) -> Town:
    _, builds = build_shared_of_builds("a")
    return Town(NAMESPACES, [build_network_policy("a", reach), builds])


def entering(asked: Town, target: Pod, port: int) -> set[End]:
    return {end for end in EVERYBODY if asked.reaches(end, target, port)}


def test_as_it_comes_anybody_infers_and_reads_metrics_and_nothing_else() -> None:
    for pod in (MODEL, COMPARATOR):
        others = set(EVERYBODY) | {pod}
        for port in (*SERVED, 8002):
            assert entering(town(Reach()), pod, port) | {pod} == others
        for port in (22, 8003, 8085, 9090):
            assert entering(town(Reach()), pod, port) - {pod} == set()


def test_only_the_progress_of_a_build_is_to_be_had() -> None:
    assert entering(town(Reach()), BUILD, names.PROGRESS_PORT) == set(EVERYBODY)
    for port in (*SERVED, 8002):
        assert entering(town(Reach()), BUILD, port) == set(), "the server that measures is for its pod"


def test_only_whom_the_administrator_names_infers_and_only_prometheus_reads_metrics() -> None:
    narrow = town(Reach(FROM["inference"], FROM["metrics"], "seawall-system"))
    for port in SERVED:
        assert entering(narrow, MODEL, port) == {ENVOY, OPERATOR, COMPARATOR}
        assert entering(narrow, COMPARATOR, port) == {ENVOY, OPERATOR, COMPARATOR}
    assert entering(narrow, MODEL, 8002) == {PROMETHEUS, OPERATOR}
    assert entering(narrow, MODEL, 8003) == set()
    assert narrow.reaches(Node(), MODEL, 8000), "the kubelet's probes"


def test_one_list_leaves_the_other_open() -> None:
    metrics_alone = town(Reach((), FROM["metrics"], "seawall-system"))
    assert entering(metrics_alone, MODEL, 8000) == set(EVERYBODY)
    assert entering(metrics_alone, MODEL, 8002) == {PROMETHEUS, OPERATOR}
    inference_alone = town(Reach(FROM["inference"], (), "seawall-system"))
    assert entering(inference_alone, MODEL, 8002) == set(EVERYBODY)
    assert WEB not in entering(inference_alone, MODEL, 8000)


def test_who_only_wears_the_operators_labels_elsewhere_is_not_it() -> None:
    narrow = town(Reach(FROM["inference"], FROM["metrics"], "seawall-system"))
    assert not narrow.reaches(Pod("b", names.OPERATOR_LABELS), MODEL, 8000)
    assert not narrow.reaches(Pod("b", names.comparator_labels(OWNER)), MODEL, 8000)


def test_the_comparators_pods_are_those_that_are_let_in() -> None:
    made, _ = build_comparator(OWNER, ComparatorOrder("abc", 1, 10), "seawall:1")
    assert made["spec"]["template"]["metadata"]["labels"] == dict(COMPARATOR.labels)


def test_the_settings_reach_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAWALL_INFERENCE_FROM", '[{"namespaceSelector":{"matchLabels":{"team":"y"}}}]')
    monkeypatch.setenv("SEAWALL_NAMESPACE", "seawall-system")
    asked = town(Settings().platform.reach)
    assert entering(asked, MODEL, 8000) == {OTHER, OPERATOR, COMPARATOR}


@pytest.mark.parametrize("peers", ["[{}]", '[{"cidr":"10.0.0.0/8"}]', '["gateway"]', '{"podSelector":{}}'])
def test_what_is_no_peer_is_refused(peers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAWALL_INFERENCE_FROM", peers)
    with pytest.raises(ValueError, match=r"(?i)inference.?from"):
        Settings()


needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not built yet")
API_SERVER = Outside("192.0.2.1")
PEERS = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name"


def chart(**values: str) -> Town:
    given = {name.replace("__", "."): value for name, value in values.items()}
    policies = of_kind(rendered({"networkPolicy.enabled": "true"} | given), "NetworkPolicy")
    return Town(NAMESPACES, policies)


@needs_helm
def test_the_operator_is_reached_for_probes_metrics_and_the_metrics_api() -> None:
    asked = chart()
    others = set(EVERYBODY)
    for port in (8080, 9090, 6443):
        assert entering(asked, OPERATOR, port) | {OPERATOR} == others
    for port in (22, 8000, 8443, 10250):
        assert entering(asked, OPERATOR, port) == {OPERATOR}
    assert asked.reaches(OPERATOR, STRANGER, 25), "egress is open until it is asked for"


@needs_helm
def test_the_metrics_api_is_closed_where_it_is_not_served() -> None:
    assert entering(chart(metricsAPI__enabled="false"), OPERATOR, 6443) == {OPERATOR}


@needs_helm
def test_the_operators_metrics_are_for_whom_the_administrator_names() -> None:
    asked = chart(**{PEERS: "monitoring"})
    assert entering(asked, OPERATOR, 9090) == {OPERATOR, PROMETHEUS}
    assert WEB in entering(asked, OPERATOR, 8080)


@needs_helm
def test_with_egress_bounded_the_operator_still_reaches_what_it_works_with() -> None:
    url = {"metrics.prometheusUrl": "http://prometheus.monitoring:9095/p"}
    asked = chart(networkPolicy__egress__enabled="true", **url)
    dns = Pod("kube-system", {"k8s-app": "kube-dns"})
    needed = [
        (dns, 53, "UDP"), (dns, 53, "TCP"), (API_SERVER, 443, "TCP"), (API_SERVER, 6443, "TCP"),
        (MODEL, 8000, "TCP"), (MODEL, 8001, "TCP"), (MODEL, 8002, "TCP"), (COMPARATOR, 8000, "TCP"),
        (BUILD, 8085, "TCP"), (PROMETHEUS, 9095, "TCP"),
    ]  # fmt: skip
    for target, port, protocol in needed:
        assert asked.reaches(OPERATOR, target, port, protocol), (target, port)
    for end, port in ((STRANGER, 25), (STRANGER, 80), (WEB, 8000), (DB, 5432), (MODEL, 22)):
        assert not asked.reaches(OPERATOR, end, port), (end, port)


@needs_helm
@pytest.mark.parametrize(
    ("url", "port"),
    [("http://p.monitoring", 80), ("https://p.example.test/api", 443), ("http://p.monitoring:9090", 9090)],
)
def test_prometheus_is_reached_on_the_port_of_its_address(url: str, port: int) -> None:
    asked = chart(networkPolicy__egress__enabled="true", **{"metrics.prometheusUrl": url})
    assert asked.reaches(OPERATOR, PROMETHEUS, port)


@needs_helm
def test_more_egress_is_taken_as_it_is() -> None:
    more = {"networkPolicy.egress.more[0].ports[0].port": "3128"}
    assert chart(networkPolicy__egress__enabled="true", **more).reaches(OPERATOR, STRANGER, 3128)


@needs_helm
def test_the_chart_hands_its_peers_to_the_operator() -> None:
    (deployment,) = of_kind(rendered({PEERS: "monitoring"}), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    reach = Settings(metrics_from=json.loads(env["SEAWALL_METRICS_FROM"])).platform.reach
    assert reach.metrics[0]["namespaceSelector"] == label("kubernetes.io/metadata.name", "monitoring")
    assert "SEAWALL_INFERENCE_FROM" not in env
