"""One Deployment per revision: a fetcher that lays out the model, and the Triton server that serves it.

Rendered from RevisionInputs alone, so that a revision that the spec has left behind can still be healed.
Without spec.replicas: the count has an owner of its own, and that may be an autoscaler.
"""

from __future__ import annotations

from typing import Any

from seawall.api.units import parse_quantity
from seawall.desired import names, triton
from seawall.desired.canonical import canonical_json, canonical_quantity, stamped
from seawall.desired.inputs import RevisionInputs
from seawall.desired.modelbuild import PVC_SCHEME, claim_of
from seawall.desired.names import Owner
from seawall.desired.podschema import PodTemplateError
from seawall.desired.podtemplate import patched

__all__ = ["PodTemplateError", "build_deployment", "fetch_order"]

CREDENTIALS_PATH = "/var/run/seawall/credentials"
SOURCE_PATH = "/source"
CACHE_PATH = "/cache"


def build_deployment(owner: Owner, inputs: RevisionInputs) -> dict[str, Any]:
    """Raises PodTemplateError when spec.podTemplate does not make a pod."""
    revision = inputs.revision
    labels = names.revision_labels(owner, revision)
    template = patched(
        {"metadata": {"labels": labels}, "spec": _pod_spec(owner, inputs)}, inputs.user.get("podTemplate")
    )
    meta = names.metadata(owner, names.deployment_name(owner.name, revision), labels)
    return stamped(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**meta, "annotations": {names.INPUTS_ANNOTATION: inputs.to_annotation()}},
            "spec": {
                "revisionHistoryLimit": 1,
                "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": names.revision_selector(owner, revision)},
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
                },
                "template": template,
            },
        }
    )


def _pod_spec(owner: Owner, inputs: RevisionInputs) -> dict[str, Any]:
    platform = inputs.platform
    spec: dict[str, Any] = {
        "serviceAccountName": names.SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": triton.GRACE_PERIOD_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            _spread(owner, inputs, key) for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ],
        "initContainers": [_fetch_container(owner, inputs)],
        "containers": [_triton_container(owner, inputs)],
        "volumes": _volumes(inputs),
    }
    for field in ("nodeSelector", "tolerations"):
        if field in platform:
            spec[field] = platform[field]
    return spec


def _spread(owner: Owner, inputs: RevisionInputs, key: str) -> dict[str, Any]:
    return {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.revision_selector(owner, inputs.revision)},
    }


def _container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _fetch_container(owner: Owner, inputs: RevisionInputs) -> dict[str, Any]:
    secret = _credentials(inputs)
    mounts: list[dict[str, Any]] = [
        {"name": "models", "mountPath": triton.MODELS_PATH},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
    ]
    if secret:
        mounts.append({"name": "credentials", "mountPath": CREDENTIALS_PATH, "readOnly": True})
    if _source(inputs).startswith(PVC_SCHEME):
        mounts.append({"name": "source", "mountPath": SOURCE_PATH, "readOnly": True})
    env = [
        {"name": "SEAWALL_FETCH", "value": fetch_order(owner, inputs)},
        _downward("SEAWALL_NAMESPACE", "metadata.namespace"),
        _downward("SEAWALL_REVISION", f"metadata.labels['{names.REVISION_LABEL}']"),
    ]
    if "cachePath" in inputs.platform:
        # Of the namespace alone: who could read the others' files could read their models.
        mounts.append({"name": "cache", "mountPath": CACHE_PATH, "subPath": owner.namespace})
        most = int(parse_quantity(inputs.platform["cacheSize"]))
        env.append({"name": "SEAWALL_MODEL_CACHE", "value": CACHE_PATH})
        env.append({"name": "SEAWALL_MODEL_CACHE_BYTES", "value": str(most)})
    container: dict[str, Any] = {
        "name": names.FETCH_CONTAINER,
        "image": inputs.platform["fetcherImage"],
        "imagePullPolicy": "IfNotPresent",
        "args": ["fetch"],
        "env": env,
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "2Gi"},
        },
        "securityContext": _container_security(),
        "volumeMounts": mounts,
    }
    if secret:
        container["envFrom"] = [{"secretRef": {"name": secret}}]
    return container


def _credentials(inputs: RevisionInputs) -> str | None:
    """Of the model's source, or of the store that its artefact lies in."""
    holder = inputs.user["model"] if inputs.artifact is None else inputs.artifact
    found: str | None = holder.get("credentialsSecret")
    return found


def _source(inputs: RevisionInputs) -> str:
    return str((inputs.artifact or inputs.user["model"])["uri"])


def fetch_order(owner: Owner, inputs: RevisionInputs) -> str:
    """What the fetcher shall do, as JSON without a dollar sign: Kubernetes expands $(…) in values."""
    model = inputs.user["model"]
    order: dict[str, Any] = {
        "name": owner.name,
        "uri": _source(inputs),
        "format": triton.served_format(inputs),
        "tritonVersion": inputs.platform["runtime"]["tritonVersion"],
        "config": triton.model_config(inputs),
        "override": model.get("config", {}),
    }
    if inputs.artifact is not None:
        keys = inputs.artifact.get("publicKeys", [])
        order["artifact"] = {"digest": inputs.artifact["digest"], "publicKeys": keys}
    elif "sha256" in model:
        order["sha256"] = model["sha256"]
    return canonical_json(order).replace("$", "\\u0024")


def _downward(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _requested_cores(name: str) -> dict[str, Any]:
    """Whole cores that the container requests, rounded up by the kubelet; follows a podTemplate."""
    source = {"containerName": names.TRITON_CONTAINER, "resource": "requests.cpu", "divisor": "1"}
    return {"name": name, "valueFrom": {"resourceFieldRef": source}}


def _triton_container(owner: Owner, inputs: RevisionInputs) -> dict[str, Any]:
    return {
        "name": names.TRITON_CONTAINER,
        "image": inputs.platform["runtime"]["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["tritonserver"],
        "args": triton.server_args(inputs),
        "env": [
            _requested_cores("OMP_NUM_THREADS"),
            _requested_cores("SEAWALL_INTRA_OP_THREADS"),
            triton.key_variable(),
        ],
        "ports": [
            {"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": names.GRPC_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": names.METRICS_PORT, "protocol": "TCP"},
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": triton.PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": _resources(inputs),
        "securityContext": _container_security(),
        "volumeMounts": [
            {"name": "models", "mountPath": triton.MODELS_PATH, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
        ],
        **triton.probes(owner.name, triton.served_format(inputs)),
    }


def _resources(inputs: RevisionInputs) -> dict[str, Any]:
    resource = inputs.platform.get("resourceName")
    if resource is None:
        return {
            "requests": {"cpu": "250m", "memory": _with_cache("512Mi", inputs)},
            "limits": {"memory": _with_cache("2Gi", inputs)},
        }
    devices = canonical_quantity(inputs.user["accelerator"].get("count", 1))
    return {
        "requests": {"cpu": "1", "memory": _with_cache("2Gi", inputs), resource: devices},
        "limits": {resource: devices},
    }


def _with_cache(memory: str, inputs: RevisionInputs) -> str:
    """Of Triton and its model, and of the response cache, which is taken whole when the server starts."""
    cache = triton.cache_bytes(inputs)
    if not cache:
        return memory
    total = int(parse_quantity(memory)) + cache
    return canonical_quantity(f"{total // 2**20}Mi" if total % 2**20 == 0 else total)


def _volumes(inputs: RevisionInputs) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "models", "emptyDir": {"sizeLimit": "20Gi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": triton.shared_memory(inputs)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
    ]
    if secret := _credentials(inputs):
        volumes.append({"name": "credentials", "secret": {"secretName": secret}})
    if (source := _source(inputs)).startswith(PVC_SCHEME):
        claim = {"claimName": claim_of(source), "readOnly": True}
        volumes.append({"name": "source", "persistentVolumeClaim": claim})
    if "cachePath" in inputs.platform:
        path = {"path": inputs.platform["cachePath"], "type": "DirectoryOrCreate"}
        volumes.append({"name": "cache", "hostPath": path})
    return volumes
