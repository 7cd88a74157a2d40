"""What Helm would send to a cluster, checked by the strict Kubernetes models and by a few promises.

Skipped only where there is no helm: the node tier always builds it.
"""

import re
from pathlib import Path
from typing import Any

import kubernetes.client as k8s
import pytest
import yaml

from seawall.api.v1alpha1 import AcceleratorClass
from seawall.runtime.kinds import BY_NAME, ROUTES, WATCHED, Kind
from seawall.settings import Settings
from support.chart import CHART, CRDS, HELM, ROOT, helm, of_kind, rendered, rules, template

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]

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


@pytest.mark.parametrize("chart", [CHART, CRDS], ids=lambda chart: chart.name)
def test_lint(chart: Path) -> None:
    done = helm("lint", "--strict", str(chart))
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


def test_each_right_is_justified_by_the_line_above_it() -> None:
    for chart, values in ((CHART, EVERYTHING), (CHART, {}), (CRDS, {"classReaders[0].name": "a"})):
        more = {"classReaders[0].namespace": "b"} if chart == CRDS else {}
        lines = template({**values, **more}, chart=chart).stdout.splitlines()
        places = [n for n, line in enumerate(lines) if re.match(r" *- (apiGroups|nonResourceURLs):", line)]
        assert places
        assert [lines[n] for n in places if not lines[n - 1].strip().startswith("#")] == []


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
    assert allowed & {"get", "list"}
    assert ("list" in allowed) is (kind not in ROUTES)
    assert ("watch" in allowed) is (kind in WATCHED)
    assert ({"create", "patch", "delete"} <= allowed) is (kind.plural in WRITTEN)


def reads_secrets(rule: dict[str, Any]) -> bool:
    """Any of them, other than one of the operator's own that the rule names."""
    own = (["seawall-metrics-api"], ["seawall-metrics"])
    return "secrets" in rule.get("resources", ()) and rule.get("resourceNames") not in own


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
    assert everywhere == {"seawall-classes", "seawall-metrics-api", "seawall-metrics"}
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


def test_by_default_one_lost_node_leaves_an_operator() -> None:
    (made,) = of_kind(rendered({}), "Deployment")
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    assert spec["replicas"] == 2
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]
    (budget,) = of_kind(rendered({}), "PodDisruptionBudget")
    assert budget["spec"]["selector"] == spec["selector"]
    assert budget["spec"]["maxUnavailable"] == 1


def test_one_replica_gets_no_disruption_budget() -> None:
    assert of_kind(rendered({}), "PodDisruptionBudget")
    assert not of_kind(rendered({"replicas": "1"}), "PodDisruptionBudget")


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


def test_both_charts_are_of_one_version() -> None:
    charts = [yaml.safe_load((chart / "Chart.yaml").read_text()) for chart in (CHART, CRDS)]
    assert len({(chart["version"], chart["appVersion"], chart["kubeVersion"]) for chart in charts}) == 1


def test_the_request_holds_the_peak_that_was_measured_with_a_thousand_services() -> None:
    report = (ROOT / "docs" / "bench.md").read_text()
    part = report.split("### 1000 services")[1].split("\n### ")[0]
    peaks = re.findall(r"^\| restart: peak memory, MB \| ([0-9.]+) ", part, re.MULTILINE)
    peaks += re.findall(r"^\| memory empty / after / peak, MB \| .* / ([0-9.]+) ", part, re.MULTILINE)
    assert len(peaks) == 2
    (container,) = of_kind(rendered({}), "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    request = container["resources"]["requests"]["memory"]
    assert request.endswith("Mi")
    assert max(map(float, peaks)) * 1e6 < int(request.removesuffix("Mi")) * 2**20


MIRROR = "registry.example:5000/mirror"
DIGEST = f"sha256:{'1' * 64}"


def test_a_mirror_is_where_every_image_comes_from() -> None:
    objects = rendered(
        EVERYTHING | {"imageRegistry": MIRROR, "image.digest": DIGEST, "accelerators.cpu.image": ""}
    )
    text = yaml.safe_dump_all(objects)
    images = set(re.findall(r"(?:image|value): (\S*[a-z0-9-]+/\S+(?::|@sha256:)\S+)", text))
    images = {image for image in images if "://" not in image}
    assert len(images) >= 6
    assert [image for image in images if not image.startswith(f"{MIRROR}/")] == []
    assert f"{MIRROR}/seawall/operator@{DIGEST}" in images
    assert f"{MIRROR}/nvidia/tritonserver:26.06-py3" in images


@pytest.mark.parametrize(
    ("image", "mirrored"),
    [
        ("localhost/seawall/optimizer:dev", "m.example/seawall/optimizer:dev"),
        ("nvcr.io/nvidia/a:1", "m.example/nvidia/a:1"),
        ("host:5000/a:1", "m.example/a:1"),
        ("library/a:1", "m.example/library/a:1"),
        ("a:1", "m.example/a:1"),
    ],
)
def test_only_the_registry_of_an_image_is_exchanged(image: str, mirrored: str) -> None:
    given = settings_of({"imageRegistry": "m.example", "builds.optimizerImage": image})
    assert given["SEAWALL_OPTIMIZER_IMAGE"] == mirrored


def test_what_all_objects_are_to_carry_they_carry() -> None:
    for made in rendered(EVERYTHING | {"commonLabels.team": "platform", "commonAnnotations.note": "text"}):
        metas = [made["metadata"]]
        if made["kind"] in ("Deployment", "DaemonSet"):
            metas.append(made["spec"]["template"]["metadata"])
        for meta in metas:
            assert meta["labels"]["team"] == "platform" or made["kind"] == "Deployment", made
            assert meta["annotations"]["note"] == "text", made


def test_the_test_pod_has_no_right_of_its_own() -> None:
    (pod,) = of_kind(rendered({}), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "serviceAccountName" not in pod["spec"]
    compile(pod["spec"]["containers"][0]["args"][0], "answers.py", "exec")
