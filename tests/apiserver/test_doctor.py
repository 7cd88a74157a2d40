"""`seawall doctor` against a real API server: bare, furnished with the chart's own objects, and seen by somebody
who may look at little."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from seawall_cluster import binaries, modules

from apiserver.operators import CLASS, ROOT, Cluster, service
from seawall.api import crd
from support.apiserver import ApiServer, api_server

pytestmark = pytest.mark.apiserver
PLACE = "seawall-system"
NOW = "2099-01-01T00:00:00.000000Z"
"""A Lease renewed later than any run of this test is a fresh one."""


class Doctor:
    def __init__(self, server: ApiServer) -> None:
        self.server = server

    def __call__(self, *words: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = self.server.environment()
        environment |= {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}
        command = [sys.executable, "-m", "seawall", "doctor", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def findings(self, *words: str, kubeconfig: Path | None = None) -> tuple[int, list[dict[str, str]]]:
        done = self(*words, "--json", kubeconfig=kubeconfig)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)["findings"]


def levels(findings: list[dict[str, str]], topic: str) -> list[str]:
    return [f["level"] for f in findings if f["topic"] == topic]


def chart(*words: str) -> list[dict[str, Any]]:
    helm = binaries.ensure(["helm"])["helm"]
    command = [helm, "template", "seawall", ROOT / "charts/seawall", "-n", PLACE, *words]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


@pytest.fixture(scope="module")
def seen_bare() -> Iterator[tuple[ApiServer, int, list[dict[str, str]]]]:
    """A server of its own: what other tests leave in theirs would not be bare."""
    with api_server() as server:
        yield server, *Doctor(server).findings()


@pytest.fixture(scope="module")
def furnished(seen_bare: tuple[ApiServer, int, Any]) -> Doctor:
    server = seen_bare[0]
    gateway = [argument for path in modules.crds("gateway-api") for argument in ("-f", str(path))]
    server.kubectl("apply", "--server-side", *gateway)
    server.kubectl("apply", "--server-side", "-f", "-", stdin="---\n".join(crd.files().values()))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    cluster = Cluster(server)
    cluster.namespace(PLACE)
    wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Deployment")
    for manifest in chart("--set", "artifacts.uri=s3://artifacts/builds"):
        if manifest["kind"] in wanted:
            cluster.apply(manifest)
    [deployment] = cluster.list("deployments", PLACE)
    replicas = deployment["spec"]["replicas"]
    status = {"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas}
    set_status(server, "deployment", deployment["metadata"]["name"], status, PLACE)
    cluster.apply(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "seawall-operator", "namespace": PLACE},
            "spec": {"holderIdentity": "seawall-0", "renewTime": NOW, "leaseDurationSeconds": 15},
        },
        CLASS,
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "cpu-0"}},
        service("digits", "default"),
    )
    # Nobody is there to say that the node is ready.
    server.kubectl("taint", "node", "cpu-0", "node.kubernetes.io/not-ready:NoSchedule-")
    condition = {"type": "Ready", "status": "True", "reason": "Serving", "lastTransitionTime": NOW}
    set_status(server, "swi", "digits", {"conditions": [condition]}, "default")
    return Doctor(server)


def set_status(server: ApiServer, kind: str, name: str, status: dict[str, Any], namespace: str) -> None:
    patch = json.dumps({"status": status})
    server.kubectl("patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def test_a_bare_cluster_lacks_what_the_answer_names(seen_bare: tuple[ApiServer, int, Any]) -> None:
    _, code, findings = seen_bare
    assert code == 1
    assert levels(findings, "api-server") == ["ok"]
    assert levels(findings, "definitions") == ["fail"] * 3
    assert levels(findings, "operator") == ["fail"]
    assert {f["level"] for f in findings if f["topic"] in ("keda", "gateway", "metrics-api")} == {"none"}
    assert all(f["advice"] for f in findings if f["level"] == "fail")
    assert "unknown" not in {f["level"] for f in findings}


def test_a_furnished_cluster_lacks_nothing(furnished: Doctor) -> None:
    code, findings = furnished.findings()
    troubled = [f for f in findings if f["level"] in ("warn", "fail", "unknown")]
    assert (code, troubled) == (0, [])
    for topic in ("definitions", "operator", "leader", "rights", "accelerators", "artifacts", "services"):
        assert set(levels(findings, topic)) <= {"ok", "none"}
        assert "ok" in levels(findings, topic), topic
    assert [f["message"] for f in findings if "Gateway API v" in f["message"]]


def test_the_same_for_people(furnished: Doctor) -> None:
    done = furnished()
    assert done.returncode == 0
    assert "ServiceAccount seawall-system/seawall may do all that the operator does" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\x1b[32mok" in furnished("--color", "always").stdout


def test_it_writes_nothing(furnished: Doctor) -> None:
    user = "looker"
    kubeconfig = furnished.server.kubeconfig_for(user, "system:masters")
    furnished.findings(kubeconfig=kubeconfig)
    asked = {
        (e["verb"], e["objectRef"]["resource"])
        for e in furnished.server.audit_events(user)
        if "objectRef" in e
    }
    writes = {(verb, resource) for verb, resource in asked if verb not in ("get", "list")}
    assert writes == {("create", "subjectaccessreviews")}  # which stores nothing


def test_somebody_who_may_look_at_nothing_is_told_so(furnished: Doctor) -> None:
    code, findings = furnished.findings(kubeconfig=furnished.server.kubeconfig_for("nobody"))
    assert code == 0
    assert levels(findings, "api-server") == ["ok"]  # the version and the list of groups are for everybody
    hidden = {f["topic"] for f in findings if f["level"] == "unknown"}
    assert hidden >= {
        "definitions",
        "operator",
        "leader",
        "metrics-api",
        "gateway",
        "accelerators",
        "storage",
        "services",
    }
    assert all("may not look" in f["message"] for f in findings if f["level"] == "unknown")


def test_somebody_who_may_not_ask_about_rights(furnished: Doctor) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    Cluster(furnished.server).apply(role, binding)
    _, findings = furnished.findings(kubeconfig=furnished.server.kubeconfig_for("reader"))
    assert [f["topic"] for f in findings if f["level"] == "unknown"] == ["rights"]


def test_rights_that_were_taken_away_are_named(furnished: Doctor) -> None:
    server = furnished.server
    [binding] = [
        m for m in chart() if m["kind"] == "ClusterRoleBinding" and "services" in m["metadata"]["name"]
    ]
    server.kubectl("delete", "clusterrolebinding", binding["metadata"]["name"])
    try:
        code, findings = furnished.findings()
    finally:
        Cluster(server).apply(binding)
    assert code == 1
    [told] = [f for f in findings if f["topic"] == "rights"]
    assert told["level"] == "fail"
    assert "may not: create deployments.apps" in told["message"]


def test_a_definition_of_an_older_release_is_told_by_its_fields(furnished: Doctor) -> None:
    server, name = furnished.server, "acceleratorclasses.serving.seawall.dev"
    older = json.dumps(
        [{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/power"}]
    )
    server.kubectl("patch", "crd", name, "--type=json", "-p", older)
    try:
        code, findings = furnished.findings()
    finally:
        definition = crd.files()[f"{name}.yaml"]
        server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=definition)
    assert code == 1
    [told] = [f for f in findings if f["topic"] == "definitions" and f["level"] == "fail"]
    assert f"{name} is older than this program: without spec.power" in told["message"]


def test_what_a_service_asks_for_and_the_cluster_lacks_fails(furnished: Doctor) -> None:
    cluster = Cluster(furnished.server)
    cluster.apply(
        service("routed", "default", routing={"gateways": [{"name": "public"}]}),
        service("by-keda", "default", scaling={"mode": "KEDA"}),
        service("elsewhere", "default", accelerator={"class": "nvidia-l4"}),
    )
    try:
        code, findings = furnished.findings()
    finally:
        furnished.server.kubectl("delete", "swi", "-n", "default", "routed", "by-keda", "elsewhere")
    assert code == 1
    failed = {f["topic"]: f["message"] for f in findings if f["level"] == "fail"}
    assert "Gateway default/public, which is not there" in failed["gateway"]
    assert "default/by-keda ask for it" in failed["keda"]
    assert "default/elsewhere want the AcceleratorClass nvidia-l4" in failed["accelerators"]
    assert "default/by-keda: NotSeenYet" in [f["message"] for f in findings if f["topic"] == "services"]


def test_a_cluster_that_does_not_answer(furnished: Doctor, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    text = furnished.server.kubeconfig.read_text()
    kubeconfig.write_text(text.replace(furnished.server.url, "https://127.0.0.1:1"))
    done = furnished(kubeconfig=kubeconfig)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the API server does not answer" in done.stderr
