"""What is read out of an object as the API server tells it: its owner, its writers, what is worth keeping."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from seawall.decide.types import Key, Manifest
from seawall.desired.names import (
    BUILD_KIND,
    BUILD_LABEL,
    GROUP,
    MANAGER,
    REPLICAS_MANAGER,
    SERVICE_LABEL,
)
from seawall.runtime.kinds import (
    AUTOSCALERS,
    BUILD_CHILDREN,
    BY_NAME,
    CHILDREN,
    MONITORS,
    SHARED,
    Kind,
)

_POD_STATUS = (
    "phase",
    "podIP",
    "reason",
    "message",
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
)

_READ_ANNOTATIONS = (f"{GROUP}/", "autoscaling.keda.sh/")
_RESTLESS = ("AbleToScale", "ScalingLimited")
"""Conditions of an HPA that come and go with each of its steps."""


def newer(one: str, other: str) -> str:
    """The later of two resourceVersions; the second where they cannot be compared (it was told later)."""
    if one.isdigit() and other.isdigit():
        return one if int(one) > int(other) else other
    return other or one


def owning_service(manifest: Mapping[str, Any]) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(SERVICE_LABEL, ""))


def owner_of(kind: Kind, manifest: Mapping[str, Any]) -> Key | None:
    """The service or the build whose child this is."""
    meta = manifest["metadata"]
    namespace, build = meta.get("namespace", ""), (meta.get("labels") or {}).get(BUILD_LABEL)
    if kind in BUILD_CHILDREN and build:
        return Key(namespace, str(build), BUILD_KIND)
    service = owning_service(manifest)
    return Key(namespace, service) if kind in CHILDREN and service else None


def accelerator_name(service: Mapping[str, Any]) -> str:
    spec = service.get("spec")
    accelerator = spec.get("accelerator") if isinstance(spec, Mapping) else None
    return str(accelerator.get("class", "")) if isinstance(accelerator, Mapping) else ""


class Ownership(NamedTuple):
    ours: str
    """digest of the fields that we have applied and still own"""
    alone: bool
    """we are the only writer, but for the status and the count"""
    counts: bool
    """spec.replicas is among those fields, as an earlier operator applied it"""


def ownership(manifest: Mapping[str, Any]) -> Ownership:
    ours, alone, counts = "", True, False
    for entry in manifest["metadata"].get("managedFields") or ():
        if entry.get("subresource") in ("status", "scale") or entry.get("manager") == REPLICAS_MANAGER:
            continue
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply":
            owned = entry.get("fieldsV1") or {}
            fields = json.dumps(owned, sort_keys=True).encode()
            ours = hashlib.blake2b(fields, digest_size=8).hexdigest()
            counts = "f:replicas" in (owned.get("f:spec") or {})
        else:
            alone = False
    return Ownership(ours, alone and bool(ours), counts)


def trimmed(kind: Kind, manifest: Mapping[str, Any]) -> Manifest:
    """Without what nobody here reads: it would be most of the memory and most of the needless wake-ups."""
    meta = {
        key: value
        for key, value in manifest["metadata"].items()
        if key not in ("managedFields", "resourceVersion", "annotations", "selfLink")
    }
    annotations = {
        key: value
        for key, value in (manifest["metadata"].get("annotations") or {}).items()
        if key.startswith(_READ_ANNOTATIONS)
    }
    if annotations:
        meta["annotations"] = annotations
    if kind.kind == "Pod":
        status = manifest.get("status") or {}
        return {"metadata": meta, "status": {k: status[k] for k in _POD_STATUS if k in status}}
    rest = {k: v for k, v in manifest.items() if k not in ("metadata", "apiVersion", "kind")}
    if kind in (*SHARED, BY_NAME["Service"], BY_NAME["PodDisruptionBudget"]):
        rest.pop("status", None)
    if kind in (*AUTOSCALERS, *MONITORS):
        rest["status"] = {"conditions": _conditions(rest.pop("status", None) or {})}
    return {"metadata": meta, **rest}


def _conditions(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without times and figures: an autoscaler writes them every few seconds."""
    told = ("type", "status", "reason", "message")
    return [
        {name: condition[name] for name in told if name in condition}
        for condition in status.get("conditions") or ()
        if condition.get("type") not in _RESTLESS
    ]
