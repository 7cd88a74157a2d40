"""The CustomResourceDefinitions, made from the models; `seawall crd` prints them, crds/ carries them."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from seawall.api.fields import Model
from seawall.api.modelbuild import ModelBuild
from seawall.api.structural import Schema, structural
from seawall.api.v1alpha1 import GROUP, VERSION, AcceleratorClass, InferenceService

HEADER = "# Generated from the models in operator/seawall/api by `make crds`; edit those instead.\n"


def column(name: str, path: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, **more}


AGE = column("AGE", ".metadata.creationTimestamp", "date")
READY = '.status.conditions[?(@.type=="Ready")]'
SERVICE_COLUMNS = [
    column("MODEL", ".spec.model.uri"),
    column("PRESET", ".status.model.preset"),
    column("ACCEL", ".spec.accelerator.class"),
    column("SLO", ".spec.slo.p99"),
    column("P99", ".status.slo.p99"),
    column("ATTAINED", ".status.slo.attainment"),
    column("REPLICAS", ".status.replicas", "integer"),
    column("CANARY", ".status.rollout.desiredWeight", "integer"),
    column("READY", f"{READY}.status"),
    AGE,
    column("REASON", f"{READY}.reason", priority=1),
]
CLASS_COLUMNS = [
    column("TYPE", ".spec.type"),
    column("RESOURCE", ".spec.resourceName"),
    column("MEMORY", ".spec.memory"),
    column("TRITON", ".spec.runtime.tritonVersion"),
    column("COST", ".spec.cost.perHour"),
    AGE,
    column("IMAGE", ".spec.runtime.image", priority=1),
]
BUILD_COLUMNS = [
    column("MODEL", ".spec.model.uri"),
    column("PRESET", ".spec.compression.preset"),
    column("TARGET", ".spec.accelerator.class"),
    column("PHASE", ".status.phase"),
    column("PROGRESS", ".status.progress.stage"),
    column("RATIO", ".status.result.compressionRatio"),
    AGE,
    column("REASON", '.status.conditions[?(@.type=="Complete")].reason', priority=1),
]
MODELS: dict[str, type[Model]] = {
    "InferenceService": InferenceService,
    "AcceleratorClass": AcceleratorClass,
    "ModelBuild": ModelBuild,
}
SERVICE_SUBRESOURCES = {
    "status": {},
    "scale": {
        "specReplicasPath": ".spec.scaling.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
}


@cache
def schema(kind: str) -> Schema:
    """The structural schema of one kind."""
    made = structural(MODELS[kind])
    made["properties"] |= {
        "apiVersion": {"description": "Group and version of this object.", "type": "string"},
        "kind": {"description": f"Kind of this object: {kind}.", "type": "string"},
    }
    made["required"] = ["spec"]
    return made


def inference_service() -> dict[str, Any]:
    names = {"kind": "InferenceService", "plural": "inferenceservices", "singular": "inferenceservice"}
    names |= {"listKind": "InferenceServiceList"}
    return _definition(
        {**names, "shortNames": ["swi"], "categories": ["seawall", "ai"]},
        "Namespaced",
        SERVICE_COLUMNS,
        SERVICE_SUBRESOURCES,
    )


def accelerator_class() -> dict[str, Any]:
    names = {"kind": "AcceleratorClass", "plural": "acceleratorclasses", "singular": "acceleratorclass"}
    names |= {"listKind": "AcceleratorClassList"}
    return _definition(
        {**names, "shortNames": ["swa"], "categories": ["seawall"]}, "Cluster", CLASS_COLUMNS, None
    )


def model_build() -> dict[str, Any]:
    names = {"kind": "ModelBuild", "plural": "modelbuilds", "singular": "modelbuild"}
    names |= {"listKind": "ModelBuildList"}
    return _definition(
        {**names, "shortNames": ["swb"], "categories": ["seawall", "ai"]},
        "Namespaced",
        BUILD_COLUMNS,
        {"status": {}},
    )


def definitions() -> tuple[dict[str, Any], ...]:
    return inference_service(), accelerator_class(), model_build()


def _definition(
    names: dict[str, Any], scope: str, columns: list[dict[str, Any]], subresources: dict[str, Any] | None
) -> dict[str, Any]:
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema(names["kind"])},
        "additionalPrinterColumns": columns,
    }
    if subresources is not None:
        version["subresources"] = subresources
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": scope, "versions": [version]},
    }


class _Plain(yaml.SafeDumper):
    """No anchors: a shared rule is written out where it applies, as people read a schema."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(definition: dict[str, Any]) -> str:
    return HEADER + yaml.dump(definition, Dumper=_Plain, sort_keys=False, width=110)


def files() -> dict[str, str]:
    """File name -> content, as crds/ and the chart carry them."""
    return {f"{d['metadata']['name']}.yaml": render(d) for d in definitions()}
