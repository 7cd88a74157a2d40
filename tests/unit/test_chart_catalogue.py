"""The catalogue of AcceleratorClasses as the chart installs it: by provider, with mirrors, prices and changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from seawall.api import catalogue
from seawall.api.validate import problems
from support.chart import CHART, HELM, given, helm, of_kind, rendered, template

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
SHIPPED = {made["metadata"]["name"]: made["spec"] for made in catalogue.classes()}
PLACES: dict[str, dict[str, Any]] = yaml.safe_load((CHART / "files" / "providers.yaml").read_text())
PROVIDERS = ("nvidia", *PLACES)
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
LABELS = {
    "nvidia": {"nvidia.com/gpu.product"},
    "gke": {"cloud.google.com/gke-accelerator"},
    "eks": {"karpenter.k8s.aws/instance-gpu-name", "karpenter.k8s.aws/instance-family"},
    "aks": {"node.kubernetes.io/instance-type"},
    "none": set(),
}
"""Of which each GPU class selects one."""


def classes(values: dict[str, str]) -> dict[str, dict[str, Any]]:
    made = rendered(values, "--show-only", "templates/acceleratorclasses.yaml")
    return {each["metadata"]["name"]: each for each in of_kind(made, "AcceleratorClass")}


def test_every_provider_that_can_be_named_has_its_classes() -> None:
    accelerators = SCHEMA["properties"]["accelerators"]["properties"]
    assert sorted(accelerators["provider"]["enum"]) == sorted(PROVIDERS)
    for provider, place in PLACES.items():
        assert place.keys() <= SHIPPED.keys(), provider
        assert "cpu" in place


def test_by_nvidias_labels_there_is_the_whole_catalogue_as_it_ships() -> None:
    assert {name: made["spec"] for name, made in classes({}).items()} == SHIPPED


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_class_of_a_provider_fits_the_definition_and_selects_its_labels(provider: str) -> None:
    made = classes({"accelerators.provider": provider})
    assert list(made) == [name for name in SHIPPED if provider == "nvidia" or name in PLACES[provider]]
    for name, manifest in made.items():
        assert problems(manifest) == [], name
        spec = manifest["spec"]
        assert "cost" not in spec
        assert spec["type"] == SHIPPED[name]["type"]
        if spec["type"] == "gpu":
            assert len(LABELS[provider] & spec["nodeSelector"].keys()) == 1, name


@pytest.mark.parametrize("provider", PROVIDERS)
def test_two_classes_of_a_provider_never_mean_the_same_device(provider: str) -> None:
    made = classes({"accelerators.provider": provider})
    devices = [
        json.dumps([each["spec"].get("nodeSelector"), each["spec"].get("resourceName")], sort_keys=True)
        for each in made.values()
    ]
    assert len(set(devices)) == len(devices)


@pytest.mark.parametrize("name", [name for name in SHIPPED if "g." in name])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_slice_is_asked_for_by_its_size(provider: str, name: str) -> None:
    made = classes({"accelerators.provider": provider})
    if name not in made:
        assert provider in ("gke", "aks", "none")
        return
    spec, size = made[name]["spec"], name.rpartition("-")[2]
    partition = spec["nodeSelector"].get("cloud.google.com/gke-gpu-partition-size")
    assert (spec["resourceName"], partition) == (
        ("nvidia.com/gpu", size) if provider == "gke" else (f"nvidia.com/mig-{size}", None)
    )


@pytest.mark.parametrize("kind", ["cpu", "gpu", "tpu"])
def test_the_image_of_a_kind_of_class_can_be_replaced(kind: str) -> None:
    image = f"example.test/triton@sha256:{'a' * 64}"
    changed = {f"accelerators.{kind}.image": image, f"accelerators.{kind}.tritonVersion": "25.01"}
    for name, made in classes(changed).items():
        spec = made["spec"]
        runtime = {"image": image, "tritonVersion": "25.01"}
        assert spec.get("runtime") == (runtime if spec["type"] == kind else SHIPPED[name].get("runtime"))
        assert problems(made) == []


def test_an_image_without_its_release_is_refused_where_there_is_no_other() -> None:
    done = template({"accelerators.tpu.image": "example.test/triton-tpu:1"})
    assert done.returncode != 0
    assert "accelerators.tpu.tritonVersion" in done.stderr


def test_what_an_administrator_changes_takes_the_place_of_the_catalogues() -> None:
    selector = {"node.kubernetes.io/instance-type": "g6.xlarge"}
    changes = {"nvidia-l4": {"nodeSelector": selector, "cost": {"perHour": "0.71", "currency": "USD"}}}
    done = given({"accelerators": {"provider": "eks", "overrides": changes}})
    assert done.returncode == 0, done.stderr
    made = {m["metadata"]["name"]: m for m in yaml.safe_load_all(done.stdout) if m}["nvidia-l4"]
    assert problems(made) == []
    assert made["spec"] == SHIPPED["nvidia-l4"] | changes["nvidia-l4"]


@pytest.mark.parametrize(("provider", "name"), [("nvidia", "nvidia-l5"), ("aks", "nvidia-l4")])
def test_a_change_of_a_class_that_is_not_there_is_refused(provider: str, name: str) -> None:
    done = given({"accelerators": {"provider": provider, "overrides": {name: {"memory": "1G"}}}})
    assert done.returncode != 0
    assert f"accelerators.overrides: provider {provider} has no class {name}" in done.stderr


def test_without_the_catalogue_there_is_no_class() -> None:
    done = helm("template", "s", str(CHART), "--set", "accelerators.install=false")
    assert done.returncode == 0
    assert "kind: AcceleratorClass\n" not in done.stdout
