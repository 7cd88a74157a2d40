"""What Helm renders, before the API server's own judges: strict field validation, and Pod Security admission."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from seawall_cluster import modules
from seawall_cluster.errors import ClusterError

from apiserver.chart_tour import chart
from apiserver.operators import Cluster
from support.chart import CRDS, HELM, documents, of_kind, template
from unit.test_chart import EVERYTHING

pytestmark = [pytest.mark.apiserver, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
NAMESPACED = {
    "watchNamespaces": "{one,two}",
    "rbac.clusterRoles": "false",
    "metricsAPI.enabled": "false",
    "accelerators.install": "false",
}
WATCHED = {
    "prometheus.podMonitor.enabled": "true",
    "prometheus.rules.enabled": "true",
    "dashboards.enabled": "true",
    "networkPolicy.egress.enabled": "true",
}
FORMS = {
    "the defaults": {},
    "one replica": {"replicas": "1"},
    "every option": EVERYTHING | WATCHED,
    "Roles alone": NAMESPACED,
    "without rights": {
        "rbac.create": "false",
        "serviceAccount.create": "false",
        "serviceAccount.name": "own",
    },
    **{f"the classes of {name}": {"accelerators.provider": name} for name in ("gke", "eks", "aks", "none")},
}


@pytest.fixture(scope="module")
def monitors(cluster: Cluster) -> Iterator[None]:
    chosen = [word for path in modules.crds("monitoring") for word in ("-f", str(path))]
    cluster.server.kubectl("apply", "--server-side", *chosen)
    cluster.server.kubectl("wait", "--for=condition=Established", *chosen, "--timeout=30s")
    yield
    cluster.server.kubectl("delete", "--wait=true", *chosen)


def namespace(cluster: Cluster, level: str = "") -> str:
    """With the account that every pod has unless it says otherwise."""
    name = cluster.namespace(f"p-{uuid.uuid4().hex[:8]}")
    if level:
        cluster.server.kubectl("label", "ns", name, f"pod-security.kubernetes.io/enforce={level}")
    for account in ("default", "seawall", "own", "other"):
        cluster.server.kubectl("create", "serviceaccount", account, "-n", name)
    return name


def judged(cluster: Cluster, objects: list[dict[str, Any]], *more: str) -> str:
    return str(
        cluster.server.kubectl(
            "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", *more, "-f", "-",
            stdin=yaml.safe_dump_all(objects),
        )
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_api_server_takes_every_object_and_knows_every_field(
    cluster: Cluster, monitors: None, form: str
) -> None:
    place = namespace(cluster)
    for name in ("one", "two"):
        if name not in cluster.names("namespaces", "default"):
            cluster.namespace(name)
    objects = [made for made in chart(FORMS[form], place) if made["kind"] != "PriorityClass"]
    answer = judged(cluster, objects)
    assert len(answer.splitlines()) == len(objects)


def test_a_field_that_there_is_not_is_found(cluster: Cluster) -> None:
    [deployment] = of_kind(chart({}, namespace(cluster)), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContextt"] = {}
    with pytest.raises(ClusterError, match="securityContextt"):
        judged(cluster, [deployment])


def test_the_chart_of_the_definitions_is_taken_too(cluster: Cluster) -> None:
    done = template({"classReaders[0].namespace": "a", "classReaders[0].name": "b"}, chart=CRDS)
    objects = documents(done.stdout)
    assert len(judged(cluster, objects).splitlines()) == len(objects) == 5


def pods(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each pod that the chart would have, as a Pod: of its workloads, and the one of `helm test`."""
    found = [(made["kind"], made) for made in of_kind(objects, "Pod")]
    for kind in ("Deployment", "DaemonSet"):
        for made in of_kind(objects, kind):
            template_, meta = made["spec"]["template"], made["metadata"]
            place = {"name": meta["name"], "namespace": meta["namespace"]}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": template_["metadata"] | place}
            found.append((kind, pod | {"spec": template_["spec"]}))
    return found


def rendered_pods(values: dict[str, str], place: str) -> list[tuple[str, dict[str, Any]]]:
    done = template(values, namespace=place)
    assert done.returncode == 0, done.stderr
    return pods(documents(done.stdout))


WITHOUT_CACHE = {k: v for k, v in EVERYTHING.items() if k not in ("modelCache.hostPath", "priorityClassName")}


@pytest.mark.parametrize("form", ["the defaults", "every option but the cache", "Roles alone"])
def test_every_pod_fits_the_restricted_level(cluster: Cluster, form: str) -> None:
    values = FORMS.get(form, WITHOUT_CACHE)
    place = namespace(cluster, "restricted")
    found = rendered_pods(values, place)
    assert [kind for kind, _ in found] == ["Pod", "Deployment"]
    for _, pod in found:
        judged(cluster, [pod])


@pytest.mark.parametrize(
    ("level", "refused"),
    [("privileged", ""), ("baseline", "hostPath volumes"), ("restricted", "restricted volume types")],
)
def test_the_cache_of_the_nodes_needs_the_privileged_level(
    cluster: Cluster, level: str, refused: str
) -> None:
    place = namespace(cluster, level)
    found = dict(rendered_pods({"modelCache.hostPath": "/var/cache/seawall"}, place))
    judged(cluster, [found["Deployment"]])
    if not refused:
        judged(cluster, [found["DaemonSet"]])
        return
    with pytest.raises(ClusterError, match=refused):
        judged(cluster, [found["DaemonSet"]])


def test_the_judge_refuses_what_is_not_restricted(cluster: Cluster) -> None:
    place = namespace(cluster, "restricted")
    [pod] = [pod for kind, pod in rendered_pods({}, place) if kind == "Deployment"]
    loose = json.loads(json.dumps(pod))
    del loose["spec"]["containers"][0]["securityContext"]["capabilities"]
    with pytest.raises(ClusterError, match="unrestricted capabilities"):
        judged(cluster, [loose])
