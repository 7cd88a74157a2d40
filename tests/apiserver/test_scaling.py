"""Who owns a Deployment's count, asked of the real server and the real autoscaler, mode after mode."""

from __future__ import annotations

import json
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from apiserver.operators import (
    CLASS,
    ROOT,
    Cluster,
    OperatorProcess,
    eventually,
    free_port,
    operator,
    service,
)

pytestmark = pytest.mark.apiserver
HPA = {"mode": "HPA", "minReplicas": 1, "maxReplicas": 9}


@pytest.fixture(scope="module")
def controlled(controlled_apiserver: Any) -> Cluster:
    controlled_apiserver.kubectl("apply", "-f", str(ROOT / "crds"))
    controlled_apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    made = Cluster(controlled_apiserver)
    made.apply(CLASS)
    return made


@pytest.fixture
def namespace(controlled: Cluster) -> Iterator[str]:
    name = controlled.namespace(f"t-{uuid.uuid4().hex[:8]}")
    yield name
    controlled.server.kubectl("delete", "swi", "--all", "-n", name, "--wait=true")


@pytest.fixture
def running(controlled: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    settings = {"watch_namespaces": f'["{namespace}"]', "lease_name": namespace}
    log, user = tmp_path / "operator.log", f"operator-{namespace}"
    with operator(controlled.server, log, user, **settings) as process:
        yield process.working()


class Watched:
    """The digits' only Deployment, and every count that it ever had since."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        cluster.settled("digits", namespace)
        [self.name] = cluster.names("deployments", namespace)
        server = cluster.server
        command = [
            str(server.programs["kubectl"]), f"--kubeconfig={server.kubeconfig}", "-n", namespace,
            "get", "deployment", self.name, "--watch", "-o", 'jsonpath={.spec.replicas}{"\\n"}',
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=server.environment())

    def counts(self) -> list[int]:
        """Ends the watch."""
        self.process.terminate()
        told, _ = self.process.communicate()
        return [int(line) for line in told.split()]

    @property
    def live(self) -> dict[str, Any]:
        found = self.cluster.get("deployment", self.name, self.namespace)
        assert found is not None
        return found

    @property
    def owners(self) -> set[str]:
        return {
            entry["manager"]
            for entry in self.live["metadata"]["managedFields"]
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        }

    def has(self, count: int) -> None:
        eventually(f"{self.name} has {count}", lambda: self.live["spec"]["replicas"] == count)

    def autoscaled(self, expected: bool) -> None:
        def seen() -> bool:
            return (self.cluster.names("hpa", self.namespace) == {self.name}) is expected

        eventually(f"autoscaled: {expected}", seen)


def scaling(cluster: Cluster, namespace: str, **spec: Any) -> None:
    """All of spec.scaling, as somebody applies it."""
    made = service("digits", namespace, scaling=spec)
    cluster.server.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(made))


def serving(watched: Watched) -> None:
    """As if its pods had answered: no kubelet runs any here, and only what serves is given an autoscaler."""
    rollout = {"stableRevision": watched.name.rpartition("-")[2], "candidateRevision": None, "phase": "Idle"}
    watched.cluster.server.kubectl(
        "patch", "swi", "digits", "-n", watched.namespace, "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": {"rollout": rollout}}),
    )  # fmt: skip

    def told() -> bool:
        live = watched.cluster.get("swi", "digits", watched.namespace) or {}
        selector: str = live.get("status", {}).get("selector", "")
        return watched.name.rpartition("-")[2] in selector

    eventually("the Services select it", told)


def settled(watched: Watched, running: OperatorProcess) -> None:
    watched.cluster.settled("digits", watched.namespace)
    running.idle()


def test_from_mode_to_mode_the_count_never_falls_and_has_one_owner(
    controlled: Cluster, namespace: str, running: OperatorProcess
) -> None:
    scaling(controlled, namespace, mode="Fixed", replicas=3)
    watched = Watched(controlled, namespace)
    watched.has(3)
    assert watched.owners == {"seawall-replicas"}
    serving(watched)

    steps: list[tuple[dict[str, Any], bool]] = [
        (HPA, True),
        ({"mode": "Direct", "maxReplicas": 9}, False),
        ({"mode": "External", "replicas": 3}, False),
        (HPA, True),
        ({"mode": "Fixed", "replicas": 3}, False),
    ]
    for spec, autoscaled in steps:
        scaling(controlled, namespace, **spec)
        watched.autoscaled(autoscaled)
        settled(watched, running)
        before = running.writes()
        # A look that finds nothing to do: everything is looked at again when the class changes.
        controlled.server.kubectl(
            "annotate", "swa", "cpu", "--overwrite", f"serving.seawall.dev/x={uuid.uuid4()}"
        )
        running.idle()
        assert running.writes() == before, spec
        assert watched.live["spec"]["replicas"] == 3, spec
        assert "seawall" not in watched.owners
    assert running.metrics()["seawall_scaling_seconds_count"] > 0
    counts = watched.counts()
    assert counts[counts.index(3) :].count(3) == len(counts[counts.index(3) :])


def test_the_autoscalers_own_count_stands(
    controlled: Cluster, namespace: str, running: OperatorProcess
) -> None:
    scaling(controlled, namespace, mode="Fixed", replicas=2)
    watched = Watched(controlled, namespace)
    watched.has(2)
    serving(watched)
    # Below its least the real autoscaler acts without a metric: this is kube-controller-manager's own write.
    scaling(controlled, namespace, **HPA | {"minReplicas": 4})
    watched.has(4)
    assert watched.owners == {"kube-controller-manager"}
    settled(watched, running)
    before = running.writes()
    controlled.patch(
        "deployment", watched.name, namespace, {"metadata": {"annotations": {"note": "somebody's"}}}
    )
    running.idle()
    assert running.writes() == before
    assert (watched.live["spec"]["replicas"], watched.owners) == (4, {"kube-controller-manager"})

    scaling(controlled, namespace, mode="Direct", minReplicas=1, maxReplicas=9)
    watched.autoscaled(False)
    settled(watched, running)
    assert watched.live["spec"]["replicas"] == 4, "without data a count stands"
    scaling(controlled, namespace, mode="Fixed", replicas=6)
    watched.has(6)
    assert watched.owners == {"seawall-replicas"}
    counts = watched.counts()
    assert counts == sorted(counts)


def test_a_fixed_count_is_kept_against_hands(
    controlled: Cluster, namespace: str, running: OperatorProcess
) -> None:
    scaling(controlled, namespace, mode="Fixed", replicas=3)
    watched = Watched(controlled, namespace)
    watched.has(3)
    running.idle()
    controlled.server.kubectl("scale", "deployment", watched.name, "-n", namespace, "--replicas=7")
    watched.has(3)
    assert watched.owners == {"seawall-replicas"}
    watched.counts()


def test_a_deployment_of_an_earlier_operator_is_taken_over_without_a_fall(
    controlled: Cluster, namespace: str, running: OperatorProcess, tmp_path: Path
) -> None:
    scaling(controlled, namespace, mode="Fixed", replicas=4)
    watched = Watched(controlled, namespace)
    watched.has(4)
    serving(watched)
    running.idle()
    assert running.stop() == 0
    _as_an_earlier_operator_left_it(watched)
    assert watched.owners == {"seawall"}
    assert watched.live["spec"]["replicas"] == 4

    settings = {"watch_namespaces": f'["{namespace}"]', "lease_name": namespace}
    with operator(controlled.server, tmp_path / "later.log", f"later-{namespace}", **settings) as later:
        later.working()
        eventually("the count is taken over", lambda: watched.owners == {"seawall-replicas"})
        later.idle()
        scaling(controlled, namespace, **HPA)
        watched.autoscaled(True)
        settled(watched, later)
        assert watched.live["spec"]["replicas"] == 4
    counts = watched.counts()
    assert set(counts[counts.index(4) :]) == {4}


@pytest.fixture
def keda(controlled: Cluster) -> Iterator[None]:
    """Its kind alone, open to whatever is put into it; test_autoscalers.py has the real definition."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    controlled.apply(definition)
    controlled.server.kubectl(
        "wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=30s"
    )
    yield
    controlled.server.kubectl("delete", "crd", "scaledobjects.keda.sh", "--wait=true")


def test_where_keda_is_served_it_scales_and_leaves_without_a_fall(
    controlled: Cluster, namespace: str, keda: None, tmp_path: Path
) -> None:
    settings = {
        "watch_namespaces": f'["{namespace}"]',
        "lease_name": namespace,
        "prometheus_url": "http://127.0.0.1:9",  # nobody answers there, which moves no count
    }
    with operator(controlled.server, tmp_path / "o.log", f"keda-{namespace}", **settings) as running:
        running.working()
        scaling(controlled, namespace, mode="Fixed", replicas=3)
        watched = Watched(controlled, namespace)
        watched.has(3)
        serving(watched)
        scaling(controlled, namespace, mode="Auto")

        def scaled_objects() -> set[str]:
            return controlled.names("scaledobjects", namespace)

        eventually("KEDA is told", lambda: scaled_objects() == {watched.name})
        settled(watched, running)
        before = running.writes()
        controlled.server.kubectl(
            "annotate", "swa", "cpu", "--overwrite", f"serving.seawall.dev/x={uuid.uuid4()}"
        )
        running.idle()
        assert running.writes() == before
        scaling(controlled, namespace, mode="Direct")
        eventually("KEDA is out of it", lambda: not scaled_objects())
        settled(watched, running)
        counts = watched.counts()
        assert set(counts[counts.index(3) :]) == {3}


def test_the_operator_answers_the_metrics_api_where_it_is_told_to(
    controlled: Cluster, namespace: str, tmp_path: Path
) -> None:
    port = free_port()
    settings = {
        "watch_namespaces": f'["{namespace}"]',
        "lease_name": namespace,
        "namespace": namespace,
        "metrics_api_port": str(port),
    }

    def presented() -> list[str]:
        """The names in its certificate; whoever has none of the front proxy's gets no further than that."""
        try:
            told = ssl.get_server_certificate(("127.0.0.1", port), timeout=5)
        except OSError:
            return []
        names = x509.load_pem_x509_certificate(told.encode()).extensions
        return names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )

    with operator(controlled.server, tmp_path / "o.log", f"api-{namespace}", **settings) as running:
        running.working()
        expected = f"seawall-metrics-api.{namespace}.svc"
        eventually("it listens with a certificate of its own", lambda: expected in presented())
        assert controlled.names("secrets", namespace) == {"seawall-metrics-api"}


def _as_an_earlier_operator_left_it(watched: Watched) -> None:
    """Manager `seawall` has applied the count with all the rest, under another digest."""
    live = watched.live
    meta = live["metadata"]
    annotations = meta["annotations"] | {"serving.seawall.dev/applied": "of-an-earlier-operator"}
    annotations.pop("deployment.kubernetes.io/revision", None)
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {k: meta[k] for k in ("name", "namespace", "labels", "ownerReferences")}
        | {"annotations": annotations},
        "spec": live["spec"],
    }
    _apply_as("seawall", watched.cluster, manifest)
    bare = {"name": watched.name, "namespace": watched.namespace}
    _apply_as(
        "seawall-replicas", watched.cluster, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": bare}
    )


def _apply_as(manager: str, cluster: Cluster, manifest: dict[str, Any]) -> None:
    cluster.server.kubectl(
        "apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-",
        stdin=json.dumps(manifest),
    )  # fmt: skip
