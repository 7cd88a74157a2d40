"""Every pod that Seawall makes or installs, shown to the admission of a namespace that enforces `restricted`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from seawall_cluster.errors import ClusterError

from apiserver.operators import Cluster
from golden import regenerate
from seawall.api.modelbuild import ModelBuildSpec
from seawall.desired import names
from seawall.desired.build_image import image_of
from seawall.desired.build_job import build_job
from seawall.desired.comparator import ComparatorOrder, build_comparator
from seawall.desired.deployment import build_deployment
from seawall.desired.inputs import RevisionInputs
from seawall.desired.names import Owner
from unit.test_chart import EVERYTHING, HELM, rendered
from unit.test_desired_build_job import CPU, GPU, SETTINGS, TRAINING, wanted

pytestmark = [pytest.mark.apiserver, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
OWNER = Owner("digits", "restricted", "00000000-0000-0000-0000-000000000000")
TPU = {
    "type": "tpu",
    "resourceName": "google.com/tpu",
    "precisions": ["fp32", "bf16"],
    "runtime": {"image": "triton-tpu:1", "tritonVersion": "26.06", "jaxVersion": "0.7.1"},
}
STORES = {
    "artifacts_secret": "store",
    "signing_secret": "signer",
    "artifacts_uri": "pvc://artifacts/builds",
}
SIDECARS = ("access-log",)
"""of the example of a podTemplate: its author's business"""
CACHED = {"cachePath": "/var/lib/seawall", "cacheSize": "50Gi"}


def examples() -> dict[str, Any]:
    return {
        f"{path.stem}: {made['metadata']['name']}": made["spec"]["template"]
        for path in regenerate.examples()
        for made in regenerate.objects(path)
        if made["kind"] == "Deployment"
    }


def served(**platform: Any) -> Any:
    given = {"type": "cpu", "runtime": CPU["runtime"], "fetcherImage": "seawall:1", "templateVersion": 3}
    model = {"uri": "pvc://claim/models/a", "format": "onnx", "credentialsSecret": "reader"}
    inputs = RevisionInputs({"model": model, "accelerator": {"class": "c"}}, given | platform, "20ms")
    return build_deployment(OWNER, inputs)["spec"]["template"]


def build(accelerator: dict[str, Any], **more: Any) -> Any:
    settings = replace(SETTINGS, **STORES)
    spec = ModelBuildSpec.model_validate(wanted(accelerator, **more))
    image = image_of(spec, settings)
    assert isinstance(image, str)
    owner = Owner("digits-int8-0123456789", "restricted", OWNER.uid, "ModelBuild")
    return build_job(owner, spec, settings, image)["spec"]["template"]


def comparator() -> Any:
    made, _ = build_comparator(OWNER, ComparatorOrder("abc", 1, 10), "seawall:1")
    return made["spec"]["template"]


def installed(**values: str) -> dict[str, Any]:
    """Of the chart: what has a pod template, and bare pods."""
    found = {}
    for made in rendered(values):
        name = f"{made['kind']} {made['metadata']['name']}"
        if made["kind"] == "Pod":
            found[name] = {"metadata": {}, "spec": made["spec"]}
        elif "template" in made.get("spec", {}):
            found[name] = made["spec"]["template"]
    return found


MODEL = {"uri": "s3://models/digits.onnx", "credentialsSecret": "reader"}
PODS: dict[str, Any] = {
    **examples(),
    "a model from a volume": served(),
    "a comparator": comparator(),
    "a build on CPU": build(CPU, model=MODEL),
    "a build on GPU": build(GPU, model=MODEL),
    "a build on GPU with the user's training": build(GPU, model=MODEL, compression=TRAINING),
    "a build with our own training": build(CPU, compression={"preset": "pruned", "training": {}}),
    "a build for TPU": build(TPU, compression={"preset": "bf16"}),
}
INSTALLED: dict[str, Any] = {}
if HELM is not None:
    INSTALLED = installed() | {
        f"{name}, every option": pod
        for name, pod in installed(**EVERYTHING).items()
        if not name.endswith("-cache")
    }


@pytest.fixture(scope="module")
def restricted(cluster: Cluster) -> Iterator[str]:
    """With the accounts that the pods name: admission looks for them first."""
    name = cluster.namespace("restricted")
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.patch("namespace", name, name, {"metadata": {"labels": enforce}})
    for account in ("default", "seawall", "other", names.SERVICE_ACCOUNT, names.BUILD_ACCOUNT):
        cluster.server.kubectl("create", "serviceaccount", account, "-n", name)
    yield name
    cluster.server.kubectl("delete", "namespace", name, "--wait=false")


def shown(cluster: Cluster, namespace: str, template: Any) -> str:
    """What admission says to this pod; empty: it is taken. Nothing is stored."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shown", "namespace": namespace},
        "spec": template["spec"] | {"priorityClassName": ""},
    }
    try:
        cluster.server.kubectl(
            "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(pod)
        )
    except ClusterError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("case", [*PODS, *INSTALLED])
def test_the_restricted_level_takes_it(cluster: Cluster, restricted: str, case: str) -> None:
    assert shown(cluster, restricted, (PODS | INSTALLED)[case]) == ""


WEAKER = {
    "privileges may grow": ("allowPrivilegeEscalation", True),
    "capabilities are kept": ("capabilities", {}),
    "it may be root": ("runAsNonRoot", False),
}


@pytest.mark.parametrize("case", WEAKER)
def test_a_pod_that_is_any_weaker_is_refused(cluster: Cluster, restricted: str, case: str) -> None:
    """So the admission does look."""
    field, value = WEAKER[case]
    weak = json.loads(json.dumps(served()))
    weak["spec"]["containers"][0]["securityContext"][field] = value
    assert 'violates PodSecurity "restricted' in shown(cluster, restricted, weak)


def test_a_model_pod_with_the_nodes_cache_is_refused_for_that_alone(
    cluster: Cluster, restricted: str
) -> None:
    pod = served(**CACHED)
    refusal = shown(cluster, restricted, pod)
    assert 'violates PodSecurity "restricted' in refusal
    assert "hostPath" in refusal
    for volume in pod["spec"]["volumes"]:
        if volume.pop("hostPath", None):
            volume["emptyDir"] = {}
    assert shown(cluster, restricted, pod) == ""


def test_the_caches_own_daemon_is_refused_as_well(cluster: Cluster, restricted: str) -> None:
    """It is root over the node's folder, with the two capabilities that removing others' files takes."""
    (pod,) = [pod for name, pod in installed(**EVERYTHING).items() if name.endswith("-cache")]
    refusal = shown(cluster, restricted, pod)
    for words in ("hostPath", '"DAC_OVERRIDE", "FOWNER"', "runAsUser=0"):
        assert words in refusal
    assert pod["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("case", [*PODS, *INSTALLED])
def test_what_the_level_does_not_ask_for_holds_too(case: str) -> None:
    spec = (PODS | INSTALLED)[case]["spec"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    if case in PODS:
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
    own = [c for c in [*spec.get("initContainers", ()), *spec["containers"]] if c["name"] not in SIDECARS]
    assert own
    for container in own:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, container["name"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, container["name"]


def test_the_model_repository_is_read_only_to_the_server() -> None:
    (server,) = served()["spec"]["containers"]
    (models,) = [mount for mount in server["volumeMounts"] if mount["mountPath"] == "/models"]
    assert models["readOnly"] is True
