"""A KServe predictor's pod in Seawall's words: an AcceleratorClass, and what is left for the pod template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seawall.api.units import parse_quantity
from seawall.cli.convert_part import CannotConvert, Part, Report

Labels = Mapping[str, str]
TRITON, FETCH = "triton", "fetch"
GKE = "cloud.google.com/gke-accelerator"
GKE_ANNOTATION = f"serving.kserve.io/{GKE.rpartition('/')[2]}"
POD_FIELDS = (
    "affinity", "topologySpreadConstraints", "priorityClassName", "runtimeClassName", "imagePullSecrets",
    "volumes", "schedulerName", "dnsPolicy", "dnsConfig", "hostAliases", "securityContext",
)  # fmt: skip
CONTAINER_FIELDS = ("env", "envFrom", "volumeMounts", "securityContext")
MEMORY_LIMIT = "2Gi"
"""Of a CPU pod where nothing else is said."""
PLAIN = ("cpu", "memory", "ephemeral-storage")
SERVER = "the AcceleratorClass and the operator say how Triton is run"
CONTAINER_REASONS = {
    "args": "flags of Triton stand in runtime.args of the AcceleratorClass, the model's in model.config",
    "image": "the image of Triton stands in runtime.image of the AcceleratorClass",
    "runtimeVersion": "the release of Triton stands in the AcceleratorClass",
    **dict.fromkeys(("command", "ports", "workingDir", "imagePullPolicy", "lifecycle"), SERVER),
    **dict.fromkeys(("livenessProbe", "readinessProbe", "startupProbe"), SERVER),
}


def accelerator(
    container: Part, selector: Labels, named: str | None, classes: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """spec.accelerator and the class's spec where it is known; takes the devices out of the resources."""
    resources = container.part("resources")
    parts = {kind: resources.part(kind) for kind in ("limits", "requests")}
    devices = {name: count for kind in parts for name, count in _devices(parts[kind]).items()}
    kept = {kind: {str(k): str(v) for k, v in part.rest().items()} for kind, part in parts.items()}
    container.put("resources", {**resources.rest(), **{k: v for k, v in kept.items() if v}})
    if len(devices) > 1:
        raise CannotConvert(f"{container.at('resources')}: asks for {' and '.join(sorted(devices))} at once")
    resource, count = next(iter(devices.items()), (None, 1))
    name = named or _guess(resource, selector, classes, container.at("resources"))
    known = next((c["spec"] for c in classes if c["metadata"]["name"] == name), None)
    if known is not None and known.get("resourceName") != resource:
        has = f"asks for {resource}" if resource else "asks for no device"
        needs = known.get("resourceName") or "none"
        raise CannotConvert(f"{container.at('resources')}: {has}, and devices of class {name} are {needs}")
    return ({"class": name, "count": count} if count > 1 else {"class": name}), known


def _devices(amounts: Part) -> dict[str, int]:
    names = [name for name, _ in amounts.remaining() if name not in PLAIN and "/" in name]
    return {name: count for name in names if (count := amounts.number(name))}


def _guess(resource: str | None, selector: Labels, classes: Sequence[Mapping[str, Any]], path: str) -> str:
    """The one class of the catalogue that the manifest describes."""
    if resource is None:
        return "cpu"
    able = [c for c in classes if c["spec"].get("resourceName") == resource]
    same = [c for c in able if (c["spec"].get("nodeSelector") or {"": ""}).items() <= selector.items()]
    gke = selector.get(GKE, "")
    same = same or [c for c in able if gke and c["metadata"]["name"] == gke]
    found = [str(c["metadata"]["name"]) for c in same or (able if len(able) == 1 else ())]
    if len(found) != 1:
        raise CannotConvert(f"{path}: asks for {resource} and does not say of which kind; give --class")
    return found[0]


def pod_template(
    predictor: Part, container: Part, selector: Labels, known: Mapping[str, Any] | None, report: Report
) -> dict[str, Any]:
    """spec.podTemplate; {} where there is nothing to say."""
    metadata = {k: v for k in ("labels", "annotations") if (v := predictor.texts(k))}
    spec = {name: value for name in POD_FIELDS if (value := predictor.take(name))}
    if extra := _selector(selector, known, predictor.at("nodeSelector"), report):
        spec["nodeSelector"] = extra
    if tolerations := _tolerations(predictor, known, report):
        spec["tolerations"] = tolerations
    if containers := _containers(predictor, container, known, report):
        spec["containers"] = containers
    if init := predictor.objects("initContainers"):
        spec["initContainers"] = init
    return {k: v for k, v in (("metadata", metadata), ("spec", spec)) if v}


def identity(predictor: Part, uri: str, secret: str | None, report: Report) -> dict[str, Any]:
    """The ServiceAccount, by whose Secrets or cloud identity KServe reads the model."""
    path, account = predictor.at("serviceAccountName"), predictor.take("serviceAccountName")
    predictor.drop("automountServiceAccountToken")
    if account is None:
        return {}
    if secret is not None:
        report.leave(path, f"{account} is not used; the model is read with the Secret {secret}")
        return {}
    spec: dict[str, Any] = {"serviceAccountName": account}
    if uri.startswith(("s3://", "gs://", "az://")):
        env = [{"name": "SEAWALL_AMBIENT_CREDENTIALS", "value": "true"}]
        spec["initContainers"] = [{"name": FETCH, "env": env}]
        report.note(
            path, f"{account} is used for its cloud identity; name a Secret of it by --credentials-secret"
        )
    return {"spec": spec}


def _selector(selector: Labels, known: Mapping[str, Any] | None, path: str, report: Report) -> dict[str, str]:
    own = (known or {}).get("nodeSelector") or {}
    extra: dict[str, str] = {}
    for key, value in selector.items():
        if key in own and own[key] != value:
            report.leave(f"{path}.{key}", f"{value} contradicts the AcceleratorClass, which says {own[key]}")
        elif key not in own:
            extra[key] = value
    return extra


def _tolerations(predictor: Part, known: Mapping[str, Any] | None, report: Report) -> list[dict[str, Any]]:
    """A pod template replaces the class's list, so it repeats what that has."""
    path, given = predictor.at("tolerations"), predictor.objects("tolerations")
    own = [dict(t) for t in (known or {}).get("tolerations") or ()]
    more = [toleration for toleration in given if toleration not in own]
    if not more:
        return []
    report.note(path, "are repeated in podTemplate beside those of the AcceleratorClass, which they replace")
    return [*own, *more]


def _containers(
    predictor: Part, container: Part, known: Mapping[str, Any] | None, report: Report
) -> list[dict[str, Any]]:
    container.drop("name")
    triton: dict[str, Any] = {name: value for name in CONTAINER_FIELDS if (value := container.take(name))}
    if resources := _resources(container, known, report):
        triton["resources"] = resources
    beside = []
    for sidecar in predictor.objects("containers"):
        name = sidecar.get("name")
        if name in ("kserve-container", TRITON, None):
            report.leave(predictor.at("containers"), f"{name or 'one without name'} is Triton now: {SERVER}")
        else:
            beside.append(sidecar)
    return [*([{"name": TRITON, **triton}] if triton else ()), *beside]


def _resources(container: Part, known: Mapping[str, Any] | None, report: Report) -> dict[str, Any]:
    path = container.at("resources")
    given = container.part("resources")
    resources = {kind: dict(amounts) for kind in ("requests", "limits") if (amounts := given.take(kind))}
    for _, place in given.remaining():
        report.leave(place, "claims of devices are not made; an AcceleratorClass names an extended resource")
    # As Kubernetes does: what is limited and not requested is requested to the limit.
    if requested := {**resources.get("limits", {}), **resources.get("requests", {})}:
        resources["requests"] = requested
    asked = resources.get("requests", {}).get("memory")
    on_cpu = known is None or known["type"] == "cpu"
    bounded = "memory" in resources.get("limits", {})
    if asked and on_cpu and not bounded and parse_quantity(asked) > parse_quantity(MEMORY_LIMIT):
        resources.setdefault("limits", {})["memory"] = asked
        report.note(f"{path}.requests.memory", f"is the limit too: else that of a CPU pod is {MEMORY_LIMIT}")
    return resources


__all__ = ["CONTAINER_REASONS", "GKE", "GKE_ANNOTATION", "accelerator", "identity", "pod_template"]
