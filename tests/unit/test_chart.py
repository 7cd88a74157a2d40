"""What Helm would send to a cluster, checked by the strict Kubernetes models and by a few promises.

Skipped only where there is no helm: the node tier always builds it.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes.client as k8s
import pytest
import yaml

from seawall.api.v1alpha1 import AcceleratorClass
from seawall.runtime.kinds import BY_NAME, ROUTES, WATCHED, Kind
from seawall.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "seawall"
CACHE = Path(
    os.environ.get("SEAWALL_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seawall"
)


def find_helm() -> str | None:
    if found := shutil.which("helm"):
        return found
    built = sorted(CACHE.glob("bin/helm-v*/helm"))
    return str(built[-1]) if built else None


HELM = find_helm()
pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not built yet")

EVERYTHING = {
    "watchNamespaces": "{one,two}",
    "credentials.secretNamespaces": "{one}",
    "networkPolicy.enabled": "true",
    "accelerators.cpu.image": "example.test/triton-cpu:1",
    "priorityClassName": "high",
    "artifacts.uri": "s3://artifacts/builds",
    "artifacts.credentialsSecret": "store",
    "artifacts.signingSecret": "signer",
    "artifacts.publicKeys[0]": "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----",
    "builds.atOnce": "2",
    "builds.gpuOptimizerImage": "example.test/gpu:1",
    "builds.tpuOptimizerImage": "example.test/tpu:1",
    "modelCache.hostPath": "/var/lib/seawall",
    "metrics.prometheusUrl": "http://prometheus.monitoring:9090",
    "metrics.intervalSeconds": "2",
    "metrics.dispatch": "least-request",
    "podLabels.team": "ml",
    "podAnnotations.note": "text",
    "serviceAccount.name": "other",
    "nodeSelector.disk": "ssd",
    "imagePullSecrets[0].name": "pull",
}
FORMS = {
    "the defaults": {},
    "one replica": {"replicas": "1"},
    "every option": EVERYTHING,
    "no catalogue": {"accelerators.install": "false"},
}


def helm(*args: str) -> subprocess.CompletedProcess[str]:
    assert HELM
    return subprocess.run([HELM, *args], capture_output=True, text=True, check=False)


def template(values: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    settings = [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]
    return helm("template", "seawall", str(CHART), "--namespace", "seawall-system", *settings, *more)


def rendered(values: dict[str, str]) -> list[dict[str, Any]]:
    done = template(values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [made for made in objects if made["kind"] == kind]


def rules(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        rule for role in of_kind(objects, "Role") + of_kind(objects, "ClusterRole") for rule in role["rules"]
    ]


def test_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_every_object_fits_its_strict_model(form: str) -> None:
    for made in rendered(FORMS[form]):
        if made["kind"] == "AcceleratorClass":
            AcceleratorClass.model_validate(made)
        else:
            version = made["apiVersion"].split("/")[-1].capitalize()
            getattr(k8s, f"{version}{made['kind']}").model_validate(made)


class OnceLoader(yaml.SafeLoader):
    """What the API server's strict reading refuses: a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("form", FORMS)
def test_no_key_is_there_twice(form: str) -> None:
    assert list(yaml.load_all(template(FORMS[form]).stdout, OnceLoader))


def test_the_pod_fits_the_restricted_standard() -> None:
    pod = of_kind(rendered({}), "Deployment")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_rights_name_what_they_allow() -> None:
    for rule in rules(rendered(EVERYTHING)):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]


GATEWAY_API = "gateway.networking.k8s.io"
WRITTEN = {"deployments", "services", "poddisruptionbudgets", "serviceaccounts", "networkpolicies"}
WRITTEN |= {"jobs", "modelbuilds", "horizontalpodautoscalers", "scaledobjects"}
WRITTEN |= {"podmonitors", "prometheusrules", "httproutes", "grpcroutes"}


@pytest.mark.parametrize("kind", BY_NAME.values(), ids=lambda kind: kind.kind)
def test_what_is_watched_may_be_watched_and_what_is_written_may_be_written(kind: Kind) -> None:
    group, _ = kind.group_version
    allowed = {
        verb
        for rule in rules(rendered({}))
        if group in rule["apiGroups"] and kind.plural in rule["resources"]
        for verb in rule["verbs"]
    }
    assert "get" in allowed
    assert ("list" in allowed) is (kind not in ROUTES)
    assert ("watch" in allowed) is (kind in WATCHED)
    assert ({"create", "patch", "delete"} <= allowed) is (kind.plural in WRITTEN)


def reads_secrets(rule: dict[str, Any]) -> bool:
    """Any of them, other than one of the operator's own that the rule names."""
    return "secrets" in rule["resources"] and rule.get("resourceNames") != ["seawall-metrics-api"]


def test_gateways_are_their_owners_business() -> None:
    groups = [rule["resources"] for rule in rules(rendered({})) if GATEWAY_API in rule["apiGroups"]]
    assert groups == [["httproutes", "grpcroutes"]]


def test_secrets_are_readable_only_where_asked_for() -> None:
    assert not [rule for rule in rules(rendered({})) if reads_secrets(rule)]
    objects = rendered({"credentials.secretNamespaces": "{one}"})
    readers = [
        role
        for role in of_kind(objects, "Role") + of_kind(objects, "ClusterRole")
        if any(reads_secrets(rule) for rule in role["rules"])
    ]
    assert [(role["kind"], role["metadata"]["namespace"]) for role in readers] == [("Role", "one")]


def test_watched_namespaces_bound_the_rights() -> None:
    objects = rendered({"watchNamespaces": "{one,two}"})
    everywhere = {binding["roleRef"]["name"] for binding in of_kind(objects, "ClusterRoleBinding")}
    assert everywhere == {"seawall-classes", "seawall-metrics-api"}
    places = [
        b["metadata"]["namespace"]
        for b in of_kind(objects, "RoleBinding")
        if "services" in b["roleRef"]["name"]
    ]
    assert places == ["one", "two"]


def settings_of(values: dict[str, str]) -> dict[str, str]:
    container = of_kind(rendered(values), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


@pytest.mark.parametrize("form", FORMS)
def test_the_operator_reads_every_setting_of_the_chart(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings_of(FORMS[form])
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    known = {f"SEAWALL_{field.upper()}" for field in Settings.model_fields}
    assert given.keys() <= known
    read = Settings()
    assert read.artifacts_uri == FORMS[form].get("artifacts.uri", "")
    assert read.prometheus_url == FORMS[form].get("metrics.prometheusUrl", "")
    assert read.metrics_interval_seconds == float(FORMS[form].get("metrics.intervalSeconds", 5))
    assert read.dispatch == FORMS[form].get("metrics.dispatch", "random")
    assert (read.metrics_api_port, read.metrics_api_service) == (6443, "seawall-metrics-api")
    assert read.model_cache_path == FORMS[form].get("modelCache.hostPath", "")
    assert read.build_retention_seconds == 7 * 86400
    assert [key.splitlines()[1] for key in read.public_keys] == (["MCow"] if form == "every option" else [])
    for device in ("gpu", "tpu"):
        image = FORMS[form].get(f"builds.{device}OptimizerImage", "")
        assert getattr(read.build_settings, f"{device}_optimizer_image") == image


def test_one_replica_gets_no_disruption_budget() -> None:
    assert of_kind(rendered({}), "PodDisruptionBudget")
    assert not of_kind(rendered({"replicas": "1"}), "PodDisruptionBudget")


def test_the_whole_catalogue_is_installed() -> None:
    text = (CHART / "files" / "acceleratorclasses.yaml").read_text()
    shipped = [document for document in yaml.safe_load_all(text) if document]
    assert of_kind(rendered({}), "AcceleratorClass") == shipped
    assert len(shipped) > 5


def test_the_image_of_the_cpu_class_can_be_replaced() -> None:
    classes = of_kind(rendered({"accelerators.cpu.image": "example.test/triton:1"}), "AcceleratorClass")
    images = {made["metadata"]["name"]: made["spec"].get("runtime", {}).get("image") for made in classes}
    assert images.pop("cpu") == "example.test/triton:1"
    assert "example.test/triton:1" not in images.values()


CACHE_ON_NODES = {"modelCache.hostPath": "/var/cache/seawall", "modelCache.size": "10Gi"}


def test_the_model_cache_is_off_unless_a_path_is_given() -> None:
    assert not of_kind(rendered({}), "DaemonSet")


def test_the_model_cache_runs_on_every_node_with_the_rights_it_needs() -> None:
    (made,) = of_kind(rendered(CACHE_ON_NODES), "DaemonSet")
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][:5] == ["cache", "--path", "/cache", "--max-bytes", "10Gi"]
    assert container["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["DAC_OVERRIDE", "FOWNER"],
    }
    assert pod["volumes"] == [
        {"name": "cache", "hostPath": {"path": "/var/cache/seawall", "type": "DirectoryOrCreate"}}
    ]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["automountServiceAccountToken"] is False
    deployment = of_kind(rendered(CACHE_ON_NODES), "Deployment")[0]
    selectors = [o["spec"]["selector"]["matchLabels"] for o in (made, deployment)]
    assert selectors[0] != selectors[1]


REFUSED = {
    "an unknown value": ({"replica": "2"}, "replica"),
    "a log level that does not exist": ({"logLevel": "loud"}, "logLevel"),
    "no workers": ({"workers": "0"}, "workers"),
    "a cache in the node's root": ({"modelCache.hostPath": "/"}, "hostPath"),
    "a cache that is no absolute path": ({"modelCache.hostPath": "cache"}, "hostPath"),
    "a cache of no size": ({"modelCache.hostPath": "/var/cache/s", "modelCache.size": "much"}, "size"),
    "a store that nobody can write to": ({"artifacts.uri": "https://host/x"}, "artifacts"),
    "a key that is none": ({"artifacts.publicKeys": "{abc}"}, "publicKeys"),
    "a Prometheus without an address": ({"metrics.prometheusUrl": "prometheus:9090"}, "prometheusUrl"),
    "pods that are asked once a minute": ({"metrics.intervalSeconds": "60"}, "intervalSeconds"),
    "a dispatch that nobody knows": ({"metrics.dispatch": "fastest"}, "dispatch"),
    "no build at all": ({"builds.atOnce": "0"}, "builds"),
    "a namespace that is no name": ({"watchNamespaces": "{Not_A_Name}"}, "watchNamespaces"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_values_are_refused_with_their_name(case: str) -> None:
    values, named = REFUSED[case]
    done = template(values)
    assert done.returncode != 0
    assert re.search(named, done.stderr)
