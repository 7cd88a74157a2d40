"""Wrong values are refused before anything reaches a cluster, each by its name."""

from __future__ import annotations

from typing import Any

import pytest

from support.chart import CRDS, HELM, given

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
LONG = "a" * 300
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown value": ({"replica": 2}, "replica"),
    "an unknown value below another": ({"metrics": {"interval": 5}}, "interval"),
    "replicas as text": ({"replicas": "two"}, "/replicas"),
    "too many replicas": ({"replicas": 100}, "/replicas"),
    "no workers": ({"workers": 0}, "/workers"),
    "a log level that does not exist": ({"logLevel": "loud"}, "/logLevel"),
    "a pull policy that does not exist": ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    "a tag in the repository": ({"image": {"repository": "a/b:1"}}, "/image/repository"),
    "a digest that is none": ({"image": {"digest": "sha256:12"}}, "/image/digest"),
    "a tag with a blank": ({"image": {"tag": "a b"}}, "/image/tag"),
    "a registry with a scheme": ({"imageRegistry": "https://registry.example"}, "/imageRegistry"),
    "a pull secret that is a word": ({"imagePullSecrets": ["pull"]}, "/imagePullSecrets/0"),
    "a namespace that is no name": ({"watchNamespaces": ["Not_A_Name"]}, "/watchNamespaces/0"),
    "a namespace twice": ({"watchNamespaces": ["a", "a"]}, "/watchNamespaces"),
    "a namespace with Secrets that is no name": (
        {"credentials": {"secretNamespaces": ["*"]}},
        "/credentials/secretNamespaces/0",
    ),
    "a provider that nobody knows": ({"accelerators": {"provider": "oci"}}, "/accelerators/provider"),
    "a class with a field that there is not": (
        {"accelerators": {"overrides": {"cpu": {"price": "1"}}}},
        "/accelerators/overrides/cpu",
    ),
    "a price without a number": (
        {"accelerators": {"overrides": {"cpu": {"cost": {"perHour": "cheap"}}}}},
        "/accelerators/overrides/cpu/cost/perHour",
    ),
    "an image of Triton with a blank": (
        {"accelerators": {"gpu": {"image": "a b"}}},
        "/accelerators/gpu/image",
    ),
    "a release of Triton that is a version": (
        {"accelerators": {"cpu": {"tritonVersion": "2.51.0"}}},
        "/accelerators/cpu/tritonVersion",
    ),
    "a store that nobody can write to": ({"artifacts": {"uri": "https://host/x"}}, "/artifacts/uri"),
    "a Secret that is no name": (
        {"artifacts": {"credentialsSecret": "Not A Name"}},
        "/artifacts/credentialsSecret",
    ),
    "a key that is none": ({"artifacts": {"publicKeys": ["abc"]}}, "/artifacts/publicKeys/0"),
    "no image for builds": ({"builds": {"optimizerImage": ""}}, "/builds/optimizerImage"),
    "no build at all": ({"builds": {"atOnce": 0}}, "/builds/atOnce"),
    "a build of no time": ({"builds": {"deadlineSeconds": 5}}, "/builds/deadlineSeconds"),
    "memory of no size": ({"builds": {"memoryLimit": "much"}}, "/builds/memoryLimit"),
    "a cache in the node's root": ({"modelCache": {"hostPath": "/"}}, "/modelCache/hostPath"),
    "a cache that is no absolute path": ({"modelCache": {"hostPath": "cache"}}, "/modelCache/hostPath"),
    "a cache of no size": ({"modelCache": {"size": "much"}}, "/modelCache/size"),
    "memory as a word": ({"resources": {"limits": {"memory": "lots"}}}, "/resources/limits/memory"),
    "a resource list that does not exist": ({"resources": {"request": {}}}, "request"),
    "a Prometheus without an address": (
        {"metrics": {"prometheusUrl": "prometheus:9090"}},
        "/metrics/prometheusUrl",
    ),
    "pods that are asked once a minute": ({"metrics": {"intervalSeconds": 60}}, "/metrics/intervalSeconds"),
    "a dispatch that nobody knows": ({"metrics": {"dispatch": "fastest"}}, "/metrics/dispatch"),
    "a switch as text": ({"metricsAPI": {"enabled": "yes"}}, "/metricsAPI/enabled"),
    "an account that is no name": ({"serviceAccount": {"name": "Me!"}}, "/serviceAccount/name"),
    "a label that is too long": ({"podLabels": {"team": LONG}}, "/podLabels/team"),
    "a label with a name that is none": ({"commonLabels": {"a b": "c"}}, "/commonLabels"),
    "an annotation that is no text": ({"podAnnotations": {"count": 3}}, "/podAnnotations/count"),
    "a toleration with a misspelt field": ({"tolerations": [{"keys": "a"}]}, "/tolerations/0"),
    "an effect that does not exist": ({"tolerations": [{"effect": "Never"}]}, "/tolerations/0/effect"),
    "an affinity that does not exist": ({"affinity": {"podAfinity": {}}}, "podAfinity"),
    "a variable of the chart's own": (
        {"extraEnv": [{"name": "SEAWALL_IMAGE", "value": "x"}]},
        "/extraEnv/0/name",
    ),
    "a name that leaves no room": ({"fullnameOverride": LONG}, "/fullnameOverride"),
    "Roles alone for every namespace": ({"rbac": {"clusterRoles": False}}, "watchNamespaces"),
    "an API of the cluster by Roles alone": (
        {"rbac": {"clusterRoles": False}, "watchNamespaces": ["a"]},
        "metricsAPI.enabled",
    ),
    "an account that is neither made nor named": (
        {"serviceAccount": {"create": False}},
        "serviceAccount.name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_value_is_refused_by_its_name(case: str) -> None:
    values, named = REFUSED[case]
    done = given(values)
    assert done.returncode != 0
    assert named in done.stderr


def test_a_wrong_reader_is_refused_by_its_name() -> None:
    done = given({"classReaders": [{"name": "seawall"}]}, chart=CRDS)
    assert done.returncode != 0
    assert "/classReaders/0" in done.stderr
