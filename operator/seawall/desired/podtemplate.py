"""spec.podTemplate laid over the rendered pod: free in what it may change, strict in how it says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seawall.desired import names
from seawall.desired.podschema import PodTemplateError, canonical_pod_spec, canonical_string_map
from seawall.desired.strategic import merge

_OURS = (names.FETCH_CONTAINER, names.TRITON_CONTAINER)


def patched(template: Mapping[str, Any], patch: Any) -> dict[str, Any]:
    """The template with the patch merged in and every value canonical. Raises PodTemplateError."""
    if patch is None:
        patch = {}
    _refuse_foreign_parts(patch)
    merged = merge(template, patch)
    meta = merged.get("metadata") or {}
    labels = canonical_string_map(meta.get("labels") or {}, "metadata.labels")
    for key, value in template["metadata"]["labels"].items():
        if labels.get(key) != value:
            raise PodTemplateError(f"metadata.labels.{key} is set by the operator")
    spec = canonical_pod_spec(merged.get("spec"))
    for group, name in zip(("initContainers", "containers"), _OURS, strict=True):
        if name not in (container.get("name") for container in spec.get(group, ())):
            raise PodTemplateError(f"spec.{group}: the container {name} cannot be removed")
    metadata: dict[str, Any] = {"labels": labels}
    annotations = canonical_string_map(meta.get("annotations") or {}, "metadata.annotations")
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}


def _refuse_foreign_parts(patch: Any) -> None:
    if not isinstance(patch, Mapping):
        raise PodTemplateError("it must be an object with metadata and spec")
    for key in patch:
        if key not in ("metadata", "spec"):
            raise PodTemplateError(f"{key}: only metadata and spec can be set")
    meta = patch.get("metadata") or {}
    if not isinstance(meta, Mapping):
        raise PodTemplateError("metadata must be an object with labels and annotations")
    for key in meta:
        if key not in ("labels", "annotations"):
            raise PodTemplateError(f"metadata.{key}: only labels and annotations can be set")
