"""What is read out of an object as the API server tells it: its owner, its writers, what is worth keeping."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from seawall.decide.types import Key, Manifest
from seawall.desired.names import BUILD_KIND, BUILD_LABEL, GROUP, MANAGER, SERVICE_LABEL
from seawall.runtime.kinds import BUILD_CHILDREN, BY_NAME, CHILDREN, SHARED, Kind

_POD_STATUS = (
    "phase",
    "podIP",
    "reason",
    "message",
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
)


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


def ownership(manifest: Mapping[str, Any]) -> tuple[str, bool]:
    """Digest of the fields that we have applied and still own, and whether we are the only writer."""
    ours, alone = "", True
    for entry in manifest["metadata"].get("managedFields") or ():
        if entry.get("subresource") == "status":
            continue
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply":
            fields = json.dumps(entry.get("fieldsV1"), sort_keys=True).encode()
            ours = hashlib.blake2b(fields, digest_size=8).hexdigest()
        else:
            alone = False
    return ours, alone and bool(ours)


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
        if key.startswith(f"{GROUP}/")
    }
    if annotations:
        meta["annotations"] = annotations
    if kind.kind == "Pod":
        status = manifest.get("status") or {}
        return {"metadata": meta, "status": {k: status[k] for k in _POD_STATUS if k in status}}
    rest = {k: v for k, v in manifest.items() if k not in ("metadata", "apiVersion", "kind")}
    if kind in (*SHARED, BY_NAME["Service"], BY_NAME["PodDisruptionBudget"]):
        rest.pop("status", None)
    return {"metadata": meta, **rest}
