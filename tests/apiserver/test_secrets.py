"""Secrets are planted in a cluster; then everything that the operator says or writes is searched for them."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest

from apiserver.conftest import Start
from apiserver.operators import Cluster, OperatorProcess, eventually, service
from apiserver.test_builds import INT8, build, container, ended, make_pod, patch_status, phase

pytestmark = pytest.mark.apiserver

PLANTED = {
    "reader": "pl4nted-model-reader-value",
    "store": "pl4nted-artifact-store-value",
    "signer": "pl4nted-signing-key-value",
    "settings": "pl4nted-pod-template-value",
}
SETTINGS = {
    "artifacts_uri": "s3://artifacts/builds",
    "artifacts_secret": "store",
    "signing_secret": "signer",
    "log_level": "DEBUG",
}
KINDS = (
    "inferenceservices,modelbuilds,deployments,jobs,pods,services,serviceaccounts,networkpolicies,"
    "poddisruptionbudgets,horizontalpodautoscalers,configmaps,events,events.events.k8s.io,leases"
)
ENVIRONMENT = [{"name": "OWN", "valueFrom": {"secretKeyRef": {"name": "settings", "key": "value"}}}]
POD = {"spec": {"containers": [{"name": "triton", "env": ENVIRONMENT}]}}


def plant(cluster: Cluster, namespace: str) -> None:
    for name, value in PLANTED.items():
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "stringData": {"AWS_SECRET_ACCESS_KEY": value, "value": value},
            }
        )


def everything(cluster: Cluster, running: OperatorProcess, namespace: str) -> str:
    """What the operator wrote, said and tells, but for the Secrets themselves."""
    told = [
        cluster.server.kubectl("get", KINDS, "-n", namespace, "-o", "json", "--show-managed-fields"),
        cluster.server.kubectl("get", "events", "-n", namespace, "-o", "json"),
        running.log.read_text(),
        json.dumps(running.metrics()),
        json.dumps([running.health(), running.health("readyz")]),
    ]
    return "\n".join(told)


def found(text: str) -> list[str]:
    """As planted, and as base64 and percent signs write it."""
    values = list(PLANTED.values())
    forms = values + [base64.b64encode(value.encode()).decode() for value in values]
    return [form for form in [*forms, *map(quote, forms)] if form in text]


def test_nothing_that_the_operator_writes_or_says_holds_a_planted_secret(
    cluster: Cluster, start: Start, namespace: str
) -> None:
    plant(cluster, namespace)
    running = start(**SETTINGS).working()
    model = {"uri": "s3://models/digits.onnx", "credentialsSecret": "reader"}
    cluster.apply(
        service("plain", namespace, model=model, podTemplate=POD),
        service("digits", namespace, model=model, compression=INT8),
        service("lost", namespace, model=model | {"credentialsSecret": "nobody"}),
    )
    cluster.settled("plain", namespace)
    name = str(build(cluster, namespace)["metadata"]["name"])
    refused = {"reason": "CredentialsRefused", "message": "s3://models/digits.onnx may not be read"}
    pod = make_pod(cluster, namespace, name)
    prepare = container("prepare", ended(1, refused))
    patch_status(cluster, "pod", pod, namespace, {"phase": "Failed", "initContainerStatuses": [prepare]})
    eventually("the build is told of", lambda: phase(cluster, namespace, name))
    # A changed Secret becomes a new revision: its content was read, and its digest is what is written.
    before = {made["metadata"]["name"] for made in cluster.list("deployments", namespace)}
    PLANTED["settings"] = "pl4nted-another-value"
    plant(cluster, namespace)
    cluster.patch("swi", "plain", namespace, {"metadata": {"annotations": {"look": "again"}}})

    def followed() -> bool:
        return bool({made["metadata"]["name"] for made in cluster.list("deployments", namespace)} - before)

    eventually("the changed Secret is a new revision", followed)
    running.idle()
    told = everything(cluster, running, namespace)
    assert re.search(r'\\"Secret/settings\\":\\"[0-9a-f]{64}\\"', told), "its digest is there"
    assert found(told) == []
    assert running.stop() == 0
    assert found(running.log.read_text()) == []


def test_no_container_gets_a_secret_as_an_argument_or_as_a_plain_variable(
    cluster: Cluster, start: Start, namespace: str
) -> None:
    """References alone: names of Secrets, never what is in them."""
    plant(cluster, namespace)
    start(**SETTINGS).working()
    model = {"uri": "s3://models/digits.onnx", "credentialsSecret": "reader"}
    cluster.apply(service("digits", namespace, model=model, compression=INT8))
    build(cluster, namespace)
    cluster.apply(service("plain", namespace, model=model, podTemplate=POD))
    eventually("it has pods to run", lambda: cluster.list("deployments", namespace))
    pods = [
        made["spec"]["template"]["spec"]
        for made in [*cluster.list("deployments", namespace), *cluster.list("jobs", namespace)]
    ]
    assert len(pods) == 2
    mounted = set()
    for spec in pods:
        assert found(json.dumps(spec)) == []
        mounted |= {v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v}
    assert mounted == {"reader", "store", "signer"}
