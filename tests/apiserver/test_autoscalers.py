"""Autoscalers and monitors as a real API server takes them, with KEDA's and Prometheus' own definitions."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config
from seawall_cluster import binaries, modules
from seawall_cluster.errors import ClusterError

from apiserver.operators import ROOT, Cluster, eventually
from seawall.adapters.discovery import Served, discover
from seawall.desired import names
from seawall.desired.canonical import covers
from seawall.desired.hpa import build_hpa
from seawall.desired.monitoring import Promise, build_pod_monitor, build_prometheus_rule
from seawall.desired.names import Owner
from seawall.desired.scaledobject import build_scaled_object
from support.chart import HELM, rendered

pytestmark = pytest.mark.apiserver
EXAMPLES = ROOT / "examples/prometheus"
OPERATOR = {"app.kubernetes.io/name": "seawall", "app.kubernetes.io/component": "operator"}
URL = "http://prometheus.monitoring.svc:9090"
PAUSED = {"autoscaling.keda.sh/paused-replicas": "4"}
BEHAVIOR = {
    "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 30}], "tolerance": "0.05"},
    "scaleDown": {"stabilizationWindowSeconds": 600, "selectPolicy": "Min"},
}


def found_by(cluster: Cluster) -> Served:
    async def ask() -> Served:
        config = Configuration()
        kubeconfig = str(cluster.server.kubeconfig_for("plain-user"))
        await load_kube_config(kubeconfig, client_configuration=config, persist_config=False)
        config.retries = None
        client = ApiClient(config)
        try:
            return await discover(client)
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> Iterator[Served]:
    """What was served before they came."""
    files = [str(path) for name in ("keda", "monitoring") for path in modules.crds(name)]
    chosen = [argument for file in files for argument in ("-f", file)]
    before = found_by(cluster)
    cluster.server.kubectl("apply", "--server-side", *chosen)
    cluster.server.kubectl("wait", "--for=condition=Established", *chosen, "--timeout=30s")
    yield before
    cluster.server.kubectl("delete", "--wait=true", *chosen)
    eventually("they are gone again", lambda: found_by(cluster) == before)


@pytest.fixture
def owner(namespace: str) -> Owner:
    return Owner("digits", namespace, str(uuid.uuid4()))


def applied(cluster: Cluster, made: dict[str, Any]) -> dict[str, Any]:
    """As the operator does, and with unknown fields refused rather than dropped."""
    answer = cluster.server.kubectl(
        *("apply", "--server-side", "--field-manager=seawall", "--force-conflicts", "--validate=strict"),
        *("-o", "json", "-f", "-"),
        stdin=yaml.safe_dump(made),
    )
    live: dict[str, Any] = yaml.safe_load(answer)
    return live


def steady(cluster: Cluster, made: dict[str, Any]) -> dict[str, Any]:
    """Applied twice: the second time changes nothing, and nothing that was asked for is missing."""
    live = applied(cluster, made)
    assert covers(live, made)
    again = applied(cluster, made)
    assert again["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
    assert again["metadata"].get("generation") == live["metadata"].get("generation")
    return live


@pytest.mark.parametrize("behavior", [None, BEHAVIOR], ids=["our behavior", "a user's behavior"])
def test_an_autoscaler_stays_as_it_was_applied(
    cluster: Cluster, owner: Owner, behavior: dict[str, Any] | None
) -> None:
    live = steady(cluster, build_hpa(owner, "abc12", 1, 20, behavior))
    rules = live["spec"]["behavior"]
    assert rules["scaleDown"]["tolerance"] == "0"
    assert rules["scaleUp"]["tolerance"] == ("0" if behavior is None else "50m")
    if behavior:
        assert rules["scaleDown"]["stabilizationWindowSeconds"] == 600
        assert rules["scaleDown"]["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def test_an_autoscaler_forgets_a_behavior_that_is_taken_back(cluster: Cluster, owner: Owner) -> None:
    applied(cluster, build_hpa(owner, "abc12", 1, 20, BEHAVIOR))
    live = steady(cluster, build_hpa(owner, "abc12", 1, 20, None))
    assert live["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 0
    assert live["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Max"
    assert live["spec"]["behavior"]["scaleUp"]["tolerance"] == "0"


@pytest.mark.parametrize(
    ("behavior", "complaint"),
    [
        ({"scaleUp": {"tolerance": "much"}}, "quantities must match"),
        ({"scaleUp": {"stabilizationWindowSeconds": 4000}}, "must be less than or equal to 3600"),
        ({"sideways": {"selectPolicy": "Max"}}, "sideways"),
        ({"scaleUp": "fast"}, "scaleUp"),
    ],
)
def test_an_autoscaler_with_nonsense_is_refused_in_the_servers_own_words(
    cluster: Cluster, owner: Owner, behavior: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ClusterError, match=complaint):
        applied(cluster, build_hpa(owner, "abc12", 1, 20, behavior))


@pytest.mark.parametrize("behavior", [None, BEHAVIOR], ids=["our behavior", "a user's behavior"])
def test_keda_takes_a_scaled_object_and_keeps_it(
    cluster: Cluster, definitions: Served, owner: Owner, behavior: dict[str, Any] | None
) -> None:
    live = steady(cluster, build_scaled_object(owner, "abc12", 1, 20, behavior, URL, {}))
    kept = live["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert kept["scaleDown"]["tolerance"] == "0"


def test_a_pause_comes_and_goes_with_the_services_annotation(
    cluster: Cluster, definitions: Served, owner: Owner
) -> None:
    def annotations(given: dict[str, str]) -> dict[str, str]:
        made = build_scaled_object(owner, "abc12", 1, 20, None, URL, given)
        found: dict[str, str] = steady(cluster, made)["metadata"]["annotations"]
        return {key: value for key, value in found.items() if key.startswith("autoscaling.keda.sh/")}

    assert annotations({}) == {}
    assert annotations(PAUSED | {"team": "vision"}) == PAUSED
    assert annotations({"team": "vision"}) == {}


@pytest.mark.parametrize("availability", [None, "99.9%"])
def test_the_prometheus_operator_takes_monitors_and_rules_and_keeps_them(
    cluster: Cluster, definitions: Served, owner: Owner, availability: str | None
) -> None:
    steady(cluster, build_pod_monitor(owner))
    steady(cluster, build_prometheus_rule(owner, Promise(0.02, availability)))


def test_rules_follow_the_slo_and_leave_none_behind(
    cluster: Cluster, definitions: Served, owner: Owner
) -> None:
    promise = Promise(0.02, "99.9%")
    with_availability = applied(cluster, build_prometheus_rule(owner, promise))
    without = steady(
        cluster, build_prometheus_rule(owner, replace(promise, slo_seconds=0.05, availability=None))
    )
    assert (objectives(with_availability), objectives(without)) == ({"latency", "availability"}, {"latency"})
    of_a_day = steady(
        cluster, build_prometheus_rule(owner, replace(promise, slo_seconds=0.05, window_days=1))
    )
    name = f"seawall-{owner.name}"
    assert [group["name"] for group in of_a_day["spec"]["groups"]] == [name, f"{name}-budget"]
    assert "19([.]0)?" not in str(without["spec"])


def objectives(live: dict[str, Any]) -> set[str]:
    rules = [rule for group in live["spec"]["groups"] for rule in group["rules"]]
    return {rule["labels"]["objective"] for rule in rules if "objective" in rule.get("labels", {})}


@pytest.mark.skipif(HELM is None, reason="helm is not built yet")
def test_the_prometheus_operator_takes_what_the_chart_makes_for_it(
    cluster: Cluster, definitions: Served, namespace: str
) -> None:
    asked = {"prometheus.podMonitor.enabled": "true", "prometheus.rules.enabled": "true"}
    kinds = ("PodMonitor", "PrometheusRule")
    made = [each for each in rendered(asked) if each["kind"] in kinds]
    assert {each["kind"] for each in made} == set(kinds)
    for each in made:
        each["metadata"]["namespace"] = namespace
        steady(cluster, each)


def test_the_prometheus_operator_takes_the_example(
    cluster: Cluster, definitions: Served, namespace: str
) -> None:
    made, *_ = yaml.safe_load_all((EXAMPLES / "operator.yaml").read_text())
    made["metadata"]["namespace"] = namespace
    steady(cluster, made)


@pytest.mark.skipif(
    binaries.find("promtool") is None,
    reason="promtool is not in the cache (tools/cluster up --with prometheus makes it)",
)
def test_a_plain_prometheus_finds_the_pods_under_the_same_labels(
    cluster: Cluster, owner: Owner, tmp_path: Path
) -> None:
    # Otherwise a controller makes it, and none runs here.
    cluster.server.kubectl("create", "serviceaccount", "default", "-n", owner.namespace)
    running(cluster, owner.namespace, "digits-1", names.revision_labels(owner, "abc12"), 8002, "10.244.0.7")
    running(cluster, owner.namespace, "seawall-1", OPERATOR, 9090, "10.244.0.8")
    running(cluster, owner.namespace, "stranger", {"app": "web"}, 9090, "10.244.0.9")
    config = yaml.safe_load((EXAMPLES / "scrape.yaml").read_text())
    for job in config["scrape_configs"]:
        job["kubernetes_sd_configs"][0]["kubeconfig_file"] = str(cluster.server.kubeconfig)
    path = tmp_path / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    common = {"instance": "10.244.0.7:8002", "job": "seawall-models", "namespace": owner.namespace}
    named = {"pod": "digits-1", "inferenceservice": "digits", "revision": "abc12"}
    assert targets(path, "seawall-models", owner.namespace) == [common | named]
    assert targets(path, "seawall", owner.namespace) == [
        {"instance": "10.244.0.8:9090", "job": "seawall", "pod": "seawall-1"}
    ]


def running(
    cluster: Cluster, namespace: str, name: str, labels: dict[str, str], port: int, address: str
) -> None:
    """A pod that says of itself that it runs; there is no node that would know better."""
    ports = [{"name": "http", "containerPort": 8000}, {"name": "metrics", "containerPort": port}]
    container = {"name": "server", "image": "example.test/server:1", "ports": ports}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"containers": [container], "automountServiceAccountToken": False},
        }
    )
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    cluster.server.kubectl(
        *("patch", "pod", name, "-n", namespace, "--subresource=status"),
        *("-p", json.dumps({"status": status})),
    )


def targets(config: Path, job: str, namespace: str) -> list[dict[str, str]]:
    """The labels under which a job's targets in this namespace would be scraped."""
    program = str(binaries.ensure(["promtool"])["promtool"])
    said = subprocess.run(
        [program, "check", "service-discovery", "--timeout=3s", str(config), job],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = json.loads(said)
    return [
        {key: value for key, value in entry["labels"].items() if not key.startswith("__")}
        for entry in found
        if entry["discoveredLabels"]["__meta_kubernetes_namespace"] == namespace and entry.get("labels")
    ]


def test_what_is_served_is_found_by_anyone_who_may_log_in(cluster: Cluster, definitions: Served) -> None:
    assert definitions == Served(keda=False, prometheus_operator=False, tolerance=True)
    everything = Served(keda=True, prometheus_operator=True, tolerance=True)
    eventually("both are found", lambda: found_by(cluster) == everything)
