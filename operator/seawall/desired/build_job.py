"""The Job of one ModelBuild: the phases of `seawall build`, one container each, in one pod on one node.

The pod runs in the user's namespace, without a token and without rights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seawall.api.modelbuild import ModelBuildSpec
from seawall.api.presets import may_train
from seawall.desired import names, triton
from seawall.desired.build_order import build_order
from seawall.desired.canonical import canonical_json, stamped
from seawall.desired.modelbuild import PVC_SCHEME, claim_of, source_claims
from seawall.desired.names import Owner

WORK_PATH = "/build"
RECIPE_PATH = "/build/recipe"
ARTIFACTS_PATH = "/artifacts"
CREDENTIALS_PATH = "/var/run/seawall/credentials"
STORE_CREDENTIALS_PATH = "/var/run/seawall/artifacts"
SIGNING_PATH = "/var/run/seawall/signing"
SOURCE_PATH = "/source"
REFUSED, KILLED = 1, 137
"""Exit codes that another try would only repeat: a refusal, and memory that did not suffice."""
FINISH = "finish"


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What the administrator decides about every build."""

    optimizer_image: str
    training_image: str
    artifacts_uri: str
    """empty: nothing can be built"""
    artifacts_secret: str = ""
    signing_secret: str = ""
    public_keys: tuple[str, ...] = ()
    """in PEM; where there are any, what the store has counts only if one of them signed it"""
    deadline_seconds: int = 7200
    memory_limit: str = "8Gi"
    profile_seconds: float = 60.0
    """how long one preset may be measured"""
    retention_seconds: float = 7 * 86400.0
    at_once: int = 4
    gpu_optimizer_image: str = ""
    """empty: nothing is quantised for GPUs"""
    tpu_optimizer_image: str = ""
    """empty: nothing is built for TPUs, and no program of jax.export"""


def build_job(owner: Owner, spec: ModelBuildSpec, settings: BuildSettings, image: str) -> dict[str, Any]:
    """`image` runs the phases of `seawall build`; see build_image.py."""
    labels = names.build_labels(owner.name)
    pod = _Pod(spec, settings, image)
    return stamped(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": names.metadata(owner, owner.name, labels),
            "spec": {
                "backoffLimit": 2,
                "activeDeadlineSeconds": settings.deadline_seconds,
                "podFailurePolicy": {"rules": _failure_rules(pod.phases())},
                "template": {"metadata": {"labels": labels}, "spec": pod.spec()},
            },
        }
    )


def _failure_rules(phases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By container: Triton, which is killed when the pod ends, is no build that ran out of memory."""
    evicted = {"type": "DisruptionTarget", "status": "True"}
    final = [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": phase["name"], "operator": "In", "values": [REFUSED, KILLED]},
        }
        for phase in phases
    ]
    return [{"action": "Ignore", "onPodConditions": [evicted]}, *final]


class _Pod:
    def __init__(self, spec: ModelBuildSpec, settings: BuildSettings, image: str) -> None:
        self._spec = spec
        self._settings = settings
        self._image = image
        compression = spec.compression
        training = compression.training if compression else None
        trains = compression is not None and may_train(compression.preset, training is not None)
        self._recipe_image = training.image if training and trains else None
        self._entrypoint = (training.entrypoint if training else None) or []
        self._device = spec.accelerator.resource_name if spec.accelerator.type == "gpu" else None

    def spec(self) -> dict[str, Any]:
        *before, finish = self.phases()
        made: dict[str, Any] = {
            "serviceAccountName": names.BUILD_ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [*before, self._triton()],
            "containers": [finish],
            "volumes": self._volumes(),
        }
        device = self._spec.accelerator
        if device.node_selector:
            made["nodeSelector"] = dict(device.node_selector)
        if device.tolerations:
            made["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in device.tolerations]
        return made

    def phases(self) -> list[dict[str, Any]]:
        """In order; the last one is the pod's main container."""
        if self._recipe_image is None:
            made = [self._prepare("prepare", "prepare", "compress")]
        else:
            train = self._train(self._recipe_image)
            made = [self._prepare("prepare", "prepare"), train, self._prepare("compress", "compress")]
        if self._device is not None:
            made.append(self._compile())
        return [*made, self._finish()]

    def _prepare(self, name: str, *phases: str) -> dict[str, Any]:
        secret = self._spec.model.credentials_secret
        mounts = [*self._own_mounts(), *self._store_mounts()]
        if secret:
            mounts.append({"name": "credentials", "mountPath": CREDENTIALS_PATH, "readOnly": True})
        if self._claim():
            mounts.append({"name": "source", "mountPath": SOURCE_PATH, "readOnly": True})
        # As folders only: the object store's library reads AWS_… from its environment, and the keys for the
        # model would pass for keys to the store.
        return self._seawall(name, phases, mounts, {"cpu": "1", "memory": "2Gi"})

    def _finish(self) -> dict[str, Any]:
        mounts = [*self._own_mounts(), *self._store_mounts()]
        if self._settings.signing_secret:
            mounts.append({"name": "signing", "mountPath": SIGNING_PATH, "readOnly": True})
        # With Triton's beside it, no more than one core and 2Gi, as the phases before it.
        made = self._seawall(FINISH, (FINISH,), mounts, {"cpu": "250m", "memory": "512Mi"})
        seconds = f"{self._settings.profile_seconds:g}"
        made["env"].append({"name": "SEAWALL_BUILD_PROFILE_SECONDS", "value": seconds})
        return made

    def _seawall(
        self, name: str, phases: tuple[str, ...], mounts: list[dict[str, Any]], requests: dict[str, str]
    ) -> dict[str, Any]:
        return {
            **_container(name, self._image, mounts, requests, self._settings.memory_limit),
            "args": ["build", *phases],
            "env": [
                {"name": "SEAWALL_BUILD", "value": build_order(self._spec)},
                {"name": "SEAWALL_ARTIFACTS", "value": _literal(self._settings.artifacts_uri)},
                *self._public_keys(),
                {"name": "HOME", "value": "/tmp"},  # noqa: S108 - inside the container
            ],
            "ports": [{"containerPort": names.PROGRESS_PORT, "protocol": "TCP"}],
        }

    def _public_keys(self) -> list[dict[str, str]]:
        keys = self._settings.public_keys
        return [{"name": "SEAWALL_PUBLIC_KEYS", "value": canonical_json(list(keys))}] if keys else []

    def _train(self, image: str) -> dict[str, Any]:
        """The user's own image, which sees its recipe's folder and nothing else of the build."""
        mounts = [
            {"name": "work", "mountPath": RECIPE_PATH, "subPath": "recipe"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
        ]
        made = _container(
            "train",
            image,
            mounts,
            {"cpu": "1", "memory": "2Gi"},
            self._settings.memory_limit,
            self._device,
        )
        made["env"] = [
            {"name": "SEAWALL_RECIPE", "value": f"{RECIPE_PATH}/recipe.json"},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - inside the container
        ]
        if self._entrypoint:
            made["command"] = [_literal(word) for word in self._entrypoint]
        return made

    def _compile(self) -> dict[str, Any]:
        return {
            **_container(
                "compile",
                self._spec.runtime.image,
                self._own_mounts(),
                {"cpu": "1", "memory": "2Gi"},
                self._settings.memory_limit,
                self._device,
            ),
            "command": ["/bin/sh", f"{WORK_PATH}/compile/compile.sh"],
        }

    def _triton(self) -> dict[str, Any]:
        """Starts before the last phase and is stopped after it; measured as it will serve."""
        mounts = [*self._own_mounts(), {"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 - inside the container
        args = [
            f"--model-repository={WORK_PATH}/repository",
            "--exit-timeout-secs=5",
            *triton.build_args(self._spec.runtime.triton_version),
        ]
        if self._device is None:
            args.append("--allow-gpu-metrics=false")
        return {
            **_container(
                names.TRITON_CONTAINER,
                self._spec.runtime.image,
                mounts,
                {"cpu": "750m", "memory": "1536Mi"},
                self._settings.memory_limit,
                self._device,
            ),
            "restartPolicy": "Always",
            "command": ["tritonserver"],
            "args": args,
            "env": [
                *({"name": n, "value": "1"} for n in ("OMP_NUM_THREADS", "SEAWALL_INTRA_OP_THREADS")),
                triton.key_variable(),
            ],
            "startupProbe": {
                "httpGet": {"path": "/v2/health/live", "port": names.HTTP_PORT},
                "periodSeconds": 1,
                "timeoutSeconds": 2,
                "failureThreshold": 300,
            },
        }

    def _own_mounts(self) -> list[dict[str, Any]]:
        return [
            {"name": "work", "mountPath": WORK_PATH},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
        ]

    def _store_mounts(self) -> list[dict[str, Any]]:
        mounts: list[dict[str, Any]] = []
        if self._settings.artifacts_uri.startswith(PVC_SCHEME):
            mounts.append({"name": "store", "mountPath": ARTIFACTS_PATH})
        if self._settings.artifacts_secret:
            path = STORE_CREDENTIALS_PATH
            mounts.append({"name": "store-credentials", "mountPath": path, "readOnly": True})
        return mounts

    def _claim(self) -> str | None:
        """The PersistentVolumeClaim that the model or its data lie on; acceptance lets one pass."""
        return next(iter(sorted(source_claims(self._spec.model.uri, self._spec.compression))), None)

    def _volumes(self) -> list[dict[str, Any]]:
        settings, secret = self._settings, self._spec.model.credentials_secret
        volumes: list[dict[str, Any]] = [
            {"name": "work", "emptyDir": {"sizeLimit": "50Gi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        ]
        if secret:
            volumes.append({"name": "credentials", "secret": {"secretName": secret}})
        if settings.artifacts_uri.startswith(PVC_SCHEME):
            written = {"claimName": claim_of(settings.artifacts_uri)}
            volumes.append({"name": "store", "persistentVolumeClaim": written})
        secrets = {"store-credentials": settings.artifacts_secret, "signing": settings.signing_secret}
        for name, holder in secrets.items():
            if holder:
                volumes.append({"name": name, "secret": {"secretName": holder}})
        if claim := self._claim():
            reading = {"claimName": claim, "readOnly": True}
            volumes.append({"name": "source", "persistentVolumeClaim": reading})
        return volumes


def _container(
    name: str,
    image: str,
    mounts: list[dict[str, Any]],
    requests: dict[str, str],
    memory_limit: str,
    device: str | None = None,
) -> dict[str, Any]:
    needed = {device: "1"} if device else {}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {**requests, **needed}, "limits": {"memory": memory_limit, **needed}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _literal(text: str) -> str:
    """Kubernetes expands $(…) in values and commands, and takes $$ for a dollar sign."""
    return text.replace("$", "$$")
