"""Secrets and ConfigMaps that a service's pods read: their content is part of what a pod runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seawall.api.v1alpha1 import InferenceServiceSpec

Reference = tuple[str, str]

_KINDS = {
    "secretKeyRef": "Secret",
    "secretRef": "Secret",
    "configMapKeyRef": "ConfigMap",
    "configMapRef": "ConfigMap",
}


def referenced_objects(spec: InferenceServiceSpec) -> set[Reference]:
    """("Secret" or "ConfigMap", name) of each. Image pull secrets are the kubelet's and not among them."""
    found: set[Reference] = set()
    if spec.model.credentials_secret:
        found.add(("Secret", spec.model.credentials_secret))
    pod = _map((spec.pod_template or {}).get("spec"))
    for volume in _maps(pod.get("volumes")):
        found.update(_of_volume(volume))
    for group in ("containers", "initContainers"):
        for container in _maps(pod.get(group)):
            for source in (*_maps(container.get("envFrom")), *_value_sources(container)):
                found.update(_of_source(source))
    return found


def _value_sources(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for variable in _maps(container.get("env")):
        yield _map(variable.get("valueFrom"))


def _of_source(source: Mapping[str, Any]) -> Iterator[Reference]:
    for key, kind in _KINDS.items():
        name = _map(source.get(key)).get("name")
        if isinstance(name, str) and name:
            yield kind, name


def _of_volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    projected = _maps(_map(volume.get("projected")).get("sources"))
    for source in projected:
        for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            name = _map(source.get(key)).get("name")
            if isinstance(name, str) and name:
                yield kind, name
    for key, field, kind in (("secret", "secretName", "Secret"), ("configMap", "name", "ConfigMap")):
        name = _map(volume.get(key)).get(field)
        if isinstance(name, str) and name:
            yield kind, name


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
