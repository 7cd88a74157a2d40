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


def test_secrets_are_readable_only_where_asked_for() -> None:
    assert not [rule for rule in rules(rendered({})) if "secrets" in rule["resources"]]
    objects = rendered({"credentials.secretNamespaces": "{one}"})
    readers = [
        role
        for role in of_kind(objects, "Role") + of_kind(objects, "ClusterRole")
        if any("secrets" in rule["resources"] for rule in role["rules"])
    ]
    assert [(role["kind"], role["metadata"]["namespace"]) for role in readers] == [("Role", "one")]


def test_watched_namespaces_bound_the_rights() -> None:
    objects = rendered({"watchNamespaces": "{one,two}"})
    everywhere = {binding["roleRef"]["name"] for binding in of_kind(objects, "ClusterRoleBinding")}
    assert everywhere == {"seawall-classes"}
    places = [
        b["metadata"]["namespace"]
        for b in of_kind(objects, "RoleBinding")
        if "services" in b["roleRef"]["name"]
    ]
    assert places == ["one", "two"]


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


REFUSED = {
    "an unknown value": ({"replica": "2"}, "replica"),
    "a log level that does not exist": ({"logLevel": "loud"}, "logLevel"),
    "no workers": ({"workers": "0"}, "workers"),
    "a namespace that is no name": ({"watchNamespaces": "{Not_A_Name}"}, "watchNamespaces"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_values_are_refused_with_their_name(case: str) -> None:
    values, named = REFUSED[case]
    done = template(values)
    assert done.returncode != 0
    assert re.search(named, done.stderr)
