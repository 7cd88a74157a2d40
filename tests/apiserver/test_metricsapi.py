"""Kubernetes' own autoscaler and aggregator against the metrics API; the operator around it is left out.

The chart's objects are applied as they are rendered, except that the Service leads to this process: the
adapter has the rights that the chart gives it and no others. The pods of the Deployment are never run.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config
from seawall_cluster import binaries
from seawall_cluster.errors import ClusterError

from apiserver.operators import ROOT, Cluster, eventually, free_port, service
from seawall.adapters.kube import KubeCluster
from seawall.desired.hpa import build_hpa
from seawall.desired.names import Owner
from seawall.metricsapi.server import MetricsApi

pytestmark = pytest.mark.apiserver
PLACE, API = "seawall-system", "seawall-metrics-api"
GROUP = "custom.metrics.k8s.io"
REVISION = "5f7c9d"


class Adapter:
    """One replica in a thread of its own; `stop` and `start` as an operator's end and start."""

    def __init__(self, server: Any, kubeconfig: Path, port: int) -> None:
        self._server, self._kubeconfig, self.port = server, kubeconfig, port
        self.state: tuple[str, str] = ("Absent", "")
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is not None:
            return
        self.state, self._end = ("Absent", ""), threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),))
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._thread = None

    async def _run(self) -> None:
        config = Configuration()
        await load_kube_config(str(self._kubeconfig), client_configuration=config, persist_config=False)
        config.retries = None
        cluster = KubeCluster(ApiClient(config))
        api = MetricsApi(cluster, PLACE, API, "127.0.0.1", self.port, interval=1.0)
        task = asyncio.create_task(api.run(self._lookup, lambda: True, self._listing))
        try:
            while not self._end.is_set() and not task.done():
                self.state = api.state
                await asyncio.sleep(0.05)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await cluster.close()

    def _lookup(self, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return dict(self._server.api.read(f"{_path(namespace)}/{name}"))
        except ClusterError:
            return None

    def _listing(self, namespace: str) -> list[dict[str, Any]]:
        return list(self._server.api.read(_path(namespace))["items"])


def _path(namespace: str) -> str:
    return f"/apis/serving.seawall.dev/v1alpha1/namespaces/{namespace}/inferenceservices"


def chart(port: int) -> list[dict[str, Any]]:
    helm = binaries.ensure(["helm"])["helm"]
    command = [helm, "template", "seawall", ROOT / "charts/seawall", "-n", PLACE]
    text = subprocess.run(
        [*command, "-s", "templates/metricsapi.yaml"], capture_output=True, text=True, check=True
    ).stdout
    made = [manifest for manifest in yaml.safe_load_all(text) if manifest]
    for manifest in made:
        if manifest["kind"] == "Service":
            manifest["spec"] = {
                "type": "ExternalName",
                "externalName": "localhost",
                "ports": [{"port": port}],
            }
        if manifest["kind"] == "APIService":
            manifest["spec"]["service"]["port"] = port
    return made


@pytest.fixture(scope="module")
def controlled(controlled_apiserver: Any) -> Cluster:
    controlled_apiserver.kubectl("apply", "-f", str(ROOT / "crds"))
    controlled_apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return Cluster(controlled_apiserver)


@pytest.fixture(scope="module")
def objects(controlled: Cluster) -> Iterator[list[dict[str, Any]]]:
    controlled.namespace(PLACE)
    controlled.server.kubectl("create", "serviceaccount", "seawall", "-n", PLACE)
    made = chart(free_port())
    controlled.apply(*made)
    yield made
    controlled.server.kubectl("delete", "-f", "-", stdin=yaml.safe_dump_all(made))


@pytest.fixture(scope="module")
def replica(
    controlled: Cluster, objects: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Adapter]:
    server = controlled.server
    token = server.kubectl("create", "token", "seawall", "-n", PLACE, "--duration=1h").strip()
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    kubeconfig = tmp_path_factory.mktemp("adapter") / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    port = next(made["spec"]["ports"][0]["port"] for made in objects if made["kind"] == "Service")
    running = Adapter(server, kubeconfig, port)
    yield running
    running.stop()


@pytest.fixture
def adapter(replica: Adapter) -> Adapter:
    replica.start()
    eventually("the API server gets answers", lambda: replica.state == ("Ours", ""))
    return replica


@pytest.fixture
def namespace(controlled: Cluster) -> str:
    return controlled.namespace(f"m-{uuid.uuid4().hex[:8]}")


def say(cluster: Cluster, namespace: str, name: str, **scaling: Any) -> None:
    """The leader writes the status."""
    body = json.dumps({"status": {"scaling": {"revision": REVISION} | scaling}})
    cluster.server.kubectl(
        "patch", "swi", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", body
    )


def metric_path(namespace: str, name: str, version: str = "v1beta2") -> str:
    kind = "inferenceservices.serving.seawall.dev"
    return f"/apis/{GROUP}/{version}/namespaces/{namespace}/{kind}/{name}/slo-load"


def raw(cluster: Cluster, path: str) -> Any:
    return json.loads(cluster.server.kubectl("get", "--raw", path))


def deployment(name: str, namespace: str) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "server", "image": "example.test/triton:1"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
    }


class Scaled:
    """A Deployment under an autoscaler that reads the load of a service."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = "echo") -> None:
        self.cluster, self.namespace, self.name = cluster, namespace, name
        cluster.apply(service(name, namespace))
        owner = Owner(name, namespace, (cluster.get("swi", name, namespace) or {})["metadata"]["uid"])
        at_once = {"scaleDown": {"stabilizationWindowSeconds": 0}}
        hpa = build_hpa(owner, REVISION, 1, 9, at_once)
        self.target = hpa["metadata"]["name"]
        cluster.apply(deployment(self.target, namespace), hpa)

    def says(self, **scaling: Any) -> None:
        say(self.cluster, self.namespace, self.name, **scaling)

    @property
    def replicas(self) -> int:
        live = self.cluster.get("deployment", self.target, self.namespace) or {}
        return int(live["spec"]["replicas"])

    def condition(self, type_: str) -> dict[str, Any]:
        live = self.cluster.get("hpa", self.target, self.namespace) or {}
        found = live.get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == type_), {})

    def holds_at(self, replicas: int, *, saying: str) -> str:
        """The autoscaler gives up for want of a metric, in words, and leaves the count alone."""

        def told() -> str:
            active = self.condition("ScalingActive")
            inactive = active.get("status") == "False" and active["reason"] == "FailedGetObjectMetric"
            return str(active["message"]) if inactive and saying in active["message"] else ""

        message = str(eventually(f"the autoscaler says {saying!r}", told))
        assert self.replicas == replicas
        return message


def test_the_autoscaler_makes_as_many_pods_as_the_load_says(
    adapter: Adapter, controlled: Cluster, namespace: str
) -> None:
    scaled = Scaled(controlled, namespace)
    for load, replicas in (("2.55", 3), ("4.00", 4), ("1.95", 2)):
        scaled.says(load=load)
        eventually(f"{replicas} for a load of {load}", lambda wanted=replicas: scaled.replicas == wanted)
    assert scaled.condition("ScalingActive")["status"] == "True"


def test_the_autoscaler_holds_while_there_is_no_load_and_goes_on_after_that(
    adapter: Adapter, controlled: Cluster, namespace: str
) -> None:
    scaled = Scaled(controlled, namespace)
    scaled.says(load="2.55")
    eventually("three pods", lambda: scaled.replicas == 3)
    scaled.says(load=None, message="No latency data for 300 s: the count stays.")
    reason = "there is no slo-load of inferenceservices.serving.seawall.dev echo: No latency data for 300 s"
    scaled.holds_at(3, saying=reason)
    scaled.says(load="1.20", revision="another")
    scaled.holds_at(3, saying="is of revision another, not of revision=5f7c9d")
    scaled.says(load="1.20")
    eventually("two pods", lambda: scaled.replicas == 2)


def test_the_autoscaler_holds_while_no_operator_answers_and_goes_on_after_that(
    adapter: Adapter, controlled: Cluster, namespace: str
) -> None:
    scaled = Scaled(controlled, namespace)
    scaled.says(load="2.55")
    eventually("three pods", lambda: scaled.replicas == 3)
    adapter.stop()
    scaled.says(load="1.00")
    scaled.holds_at(3, saying="the server is currently unable to handle the request")
    adapter.start()
    eventually("one pod", lambda: scaled.replicas == 1)


def test_the_api_server_publishes_the_group_in_both_versions(adapter: Adapter, controlled: Cluster) -> None:
    group = raw(controlled, f"/apis/{GROUP}")
    assert [version["version"] for version in group["versions"]] == ["v1beta2", "v1beta1"]
    assert group["preferredVersion"]["version"] == "v1beta2"
    for version in ("v1beta2", "v1beta1"):
        (resource,) = raw(controlled, f"/apis/{GROUP}/{version}")["resources"]
        assert resource["name"] == "inferenceservices.serving.seawall.dev/slo-load"


def test_namespaces_stay_while_no_operator_answers_and_go_after_that(
    adapter: Adapter, controlled: Cluster, namespace: str
) -> None:
    """Kubernetes' own rule for any aggregated API; the manual tells of it."""
    adapter.stop()
    for version in ("v1beta2", "v1beta1"):
        away = (
            "wait",
            "apiservice",
            f"{version}.{GROUP}",
            "--for=condition=Available=False",
            "--timeout=60s",
        )
        controlled.server.kubectl(*away)
    controlled.server.kubectl("delete", "namespace", namespace, "--wait=false")

    def told() -> bool:
        text = controlled.server.kubectl("get", "namespace", namespace, "-o", "json")
        found = json.loads(text)["status"].get("conditions", [])
        failed = next((c for c in found if c["type"] == "NamespaceDeletionDiscoveryFailure"), {})
        return failed.get("status") == "True" and GROUP in failed["message"]

    eventually("the namespace says what it waits for", told)
    adapter.start()
    absent = ("get", "namespace", namespace, "--ignore-not-found")
    eventually("the namespace is gone", lambda: not controlled.server.kubectl(*absent))


def test_a_person_may_ask_as_well(adapter: Adapter, controlled: Cluster, namespace: str) -> None:
    for name, load in (("echo", "2.55"), ("other", "0.40")):
        controlled.apply(service(name, namespace))
        say(controlled, namespace, name, load=load)
    controlled.apply(service("quiet", namespace))
    for version in ("v1beta2", "v1beta1"):
        (item,) = raw(controlled, metric_path(namespace, "echo", version))["items"]
        assert item["value"] == "2550m"
    everyone = raw(controlled, metric_path(namespace, "*"))["items"]
    assert [item["describedObject"]["name"] for item in everyone] == ["echo", "other"]
    with pytest.raises(ClusterError, match='"nobody" not found'):
        raw(controlled, metric_path(namespace, "nobody"))


def test_rights_are_the_api_servers_business(adapter: Adapter, controlled: Cluster, namespace: str) -> None:
    controlled.apply(service("echo", namespace))
    say(controlled, namespace, "echo", load="2.55")
    kubectl, user = controlled.server.kubectl, f"reader-{namespace}"
    with pytest.raises(ClusterError, match="Forbidden"):
        kubectl("get", "--raw", metric_path(namespace, "echo"), f"--as={user}")
    resource = f"inferenceservices.serving.seawall.dev/slo-load.{GROUP}"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "loads", "namespace": namespace},
        "rules": [
            {"apiGroups": [GROUP], "resources": [resource.removesuffix(f".{GROUP}")], "verbs": ["get"]}
        ],
    }
    controlled.apply(role)
    kubectl("create", "rolebinding", "loads", "-n", namespace, "--role=loads", f"--user={user}")

    def granted() -> bool:
        try:
            return "2550m" in kubectl("get", "--raw", metric_path(namespace, "echo"), f"--as={user}")
        except ClusterError:
            return False  # the authoriser has not seen the Role yet

    eventually("the right takes effect", granted)


def test_a_clusters_administrator_is_nobody_at_the_door(adapter: Adapter, controlled: Cluster) -> None:
    secret = controlled.get("secret", API, PLACE) or {}
    context = ssl.create_default_context(cadata=base64.b64decode(secret["data"]["ca.crt"]).decode())
    admin = controlled.server.plane.admin
    context.load_cert_chain(str(admin.cert), str(admin.key))

    async def ask() -> bytes:
        name = f"{API}.{PLACE}.svc"
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", adapter.port, ssl=context, server_hostname=name
        )
        # In TLS 1.3 the client learns of the refusal late: by an alert, or by the connection's end.
        try:
            writer.write(b"GET /apis HTTP/1.1\r\nHost: x\r\nX-Remote-User: system:admin\r\n\r\n")
            return await reader.read()
        except (ssl.SSLError, ConnectionResetError):
            return b""

    assert asyncio.run(ask()) == b""


def test_a_deleted_secret_is_made_anew_and_the_api_comes_back(
    adapter: Adapter, controlled: Cluster, namespace: str
) -> None:
    controlled.apply(service("echo", namespace))
    say(controlled, namespace, "echo", load="2.55")
    before = controlled.get("secret", API, PLACE) or {}
    controlled.server.kubectl("delete", "secret", API, "-n", PLACE)

    def anew() -> bool:
        live = controlled.get("secret", API, PLACE) or {}
        return bool(live.get("data")) and live["data"] != before["data"]

    eventually("another certificate", anew)

    def answers() -> bool:
        try:
            return bool(raw(controlled, metric_path(namespace, "echo"))["items"])
        except ClusterError:
            return False

    eventually("an answer under the new authority", answers)


def test_an_apiservice_of_somebody_else_is_reported_and_left_alone(
    adapter: Adapter, controlled: Cluster, objects: list[dict[str, Any]]
) -> None:
    ours = [made for made in objects if made["kind"] == "APIService"]
    theirs = {"name": "prometheus-adapter", "namespace": "monitoring", "port": 443}
    foreign = ours[0] | {"spec": ours[0]["spec"] | {"service": theirs}}
    name = foreign["metadata"]["name"]
    kubectl = controlled.server.kubectl
    kubectl("delete", "apiservice", name)
    controlled.apply(foreign)
    message = f"APIService {name} belongs to Service monitoring/prometheus-adapter"
    eventually("it is noticed", lambda: adapter.state == ("Others", message))
    assert "caBundle" not in json.loads(kubectl("get", "apiservice", name, "-o", "json"))["spec"]
    kubectl("delete", "apiservice", name)
    controlled.apply(*ours)
    eventually("the way back", lambda: adapter.state == ("Ours", ""))


def test_applying_the_chart_again_leaves_the_operators_fields_alone(
    adapter: Adapter, controlled: Cluster, objects: list[dict[str, Any]]
) -> None:
    kubectl = controlled.server.kubectl
    filled = [made for made in objects if made["kind"] in ("APIService", "Secret")]
    kubectl("apply", "--server-side", "--field-manager=helm", "--force-conflicts", "-f", "-",
            stdin=yaml.safe_dump_all(filled))  # fmt: skip
    names = [made["metadata"]["name"] for made in filled if made["kind"] == "APIService"]
    for name in names:
        assert json.loads(kubectl("get", "apiservice", name, "-o", "json"))["spec"]["caBundle"]
    assert (controlled.get("secret", API, PLACE) or {})["data"]
