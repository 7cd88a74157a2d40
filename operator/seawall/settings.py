"""What an administrator may turn, read once from variables named SEAWALL_…; each default with its reason."""

from __future__ import annotations

import re
import socket
import uuid
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from seawall.desired.build_job import BuildSettings
from seawall.desired.canonical import canonical_quantity
from seawall.desired.inputs import Platform
from seawall.desired.shared import Reach
from seawall.sizing.profile import Dispatch

_STORE = re.compile("(s3|oci|pvc)://[A-Za-z0-9][!-~]*")
POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _own_namespace() -> str:
    try:
        return POD_NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "seawall-system"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SEAWALL_", frozen=True)

    image: str = "localhost/seawall/operator:dev"
    """The operator's own image: it runs as the init container that fetches models. The chart sets it; the
    default is what `make images` builds."""

    namespace: str = Field(default_factory=_own_namespace)
    """Where the Lease lives: the pod's own namespace."""

    pod_name: str = ""
    """The operator's pod, by the downward API. A container that restarts in the same pod takes its own lease
    back at once, since its predecessor cannot be alive; without a name each process is a stranger."""

    watch_namespaces: tuple[str, ...] = ()
    """A JSON list. Empty: all of them. For listed ones Roles suffice, without a ClusterRole for children."""

    workers: int = Field(16, ge=1, le=256)
    """Services looked at at the same time. An API server on two cores is saturated by 16 connections; more
    only makes its queue longer."""

    writes_per_second: float = Field(400.0, gt=0)
    """Above what a small API server can take, so that it is no brake in health; it is the fence against a
    storm in sickness."""

    write_burst: int = Field(800, ge=1)

    resync_seconds: float = Field(600.0, gt=0)
    """How often everything is read again, jittered by a tenth: what no watch tells (the content of Secrets),
    and whatever a watch may have missed."""

    read_timeout_seconds: float = Field(30.0, gt=0)
    write_timeout_seconds: float = Field(5.0, gt=0)
    """Short, because a write may still land after it was sent: with the renewal deadline it must fit into the
    lease's duration, or a slow write could meet the next leader's."""

    lease_name: str = "seawall-operator"
    lease_duration_seconds: float = Field(15.0, gt=0)
    """How long a dead leader is waited for: client-go's defaults, and the standby serves within 17 s."""

    lease_renew_deadline_seconds: float = Field(10.0, gt=0)
    lease_retry_seconds: float = Field(2.0, gt=0)

    platform_slots: int = Field(0, ge=0)
    """How many services may follow a change of the platform at the same time; 0: one, or two percent."""

    platform_failure_hold_seconds: float = Field(600.0, ge=0)
    """How long a failed platform change keeps its slot: a bad runtime image reaches few services an hour."""

    verification_wait_seconds: float = Field(0.25, ge=0)
    """How long a worker waits for a model's first answer before it turns to other services; the answer then
    brings the service back into the queue."""

    health_port: int = Field(8080, ge=0, le=65535)
    metrics_port: int = Field(9090, ge=0, le=65535)

    metrics_auth: bool = True
    """/metrics over TLS, for bearer tokens whose owner may `get` /metrics; false: plain HTTP for everybody
    who reaches the port. Its figures name every namespace and service, with their traffic and cost."""

    metrics_secret: str = "seawall-metrics"  # noqa: S105 - a name
    """Secret with the certificate of /metrics, in the operator's namespace; the leader makes it."""

    listen_host: str = "0.0.0.0"  # noqa: S104 - a pod's probes and scrapes come from outside the pod

    prometheus_url: str = ""
    """Where the data plane's metrics are read, and where KEDA is told to read the load. Empty: the pods are
    asked themselves, and KEDA is not used. There is no falling back from one to the other: a Prometheus that
    does not answer is told as such."""

    metrics_interval_seconds: float = Field(5.0, ge=1, le=15)
    """How often pods or Prometheus are read. A decision comes every 15 s, as an HPA's does, and the rate of
    the last 15 s needs a few readings."""

    dispatch: Dispatch = "random"
    """How requests that come through a Kubernetes Service find their pod: kube-proxy draws lots. What this
    says decides how much a pod can carry, by half as much again."""

    gateway_dispatch: Dispatch = "p2c"
    """The same behind a gateway, whose statistics then are the latency that counts. A few Envoys that each
    go round in turn come close to the better of two."""

    metrics_api_port: int = Field(0, ge=0, le=65535)
    """Where custom.metrics.k8s.io is answered; 0: it is not. The chart sets 6443: only behind its Service
    can the API server ask this process."""

    metrics_api_service: str = "seawall-metrics-api"
    """Name of that Service, and of the Secret with its certificate; in the operator's namespace."""

    runbook_url: str = "docs/runbooks/{alert}.md"
    """Where the page of an alert is; {alert} stands for its name. The default is the file's place in this
    repository: nobody knows here where you keep your copy."""

    drain_seconds: float = Field(20.0, gt=0)
    """How long SIGTERM waits for the runs in hand; below the pod's grace period of 30 s."""

    artifacts_uri: str = ""
    """Where builds publish what they make: s3://bucket/prefix, oci://registry/repository or pvc://claim/folder.
    Empty: models are served as they come, and what has to be built is refused."""

    artifacts_secret: str = ""
    """Secret with the credentials of that store, in each namespace that builds or serves what was built."""

    public_keys: tuple[str, ...] = ()
    """JSON list of PEM texts. With any, no artefact is served that none of these has signed."""

    signing_secret: str = ""
    """Secret with the private key by which builds sign, in each namespace that builds."""

    optimizer_image: str = "localhost/seawall/optimizer:dev"
    """Runs the phases of a build; the default is what `make images` builds, as for the next one."""

    training_image: str = "localhost/seawall/training:dev"
    """The same with the training tools: for presets that fine-tune, and formats that need PyTorch to be
    read."""

    gpu_optimizer_image: str = ""
    """The training image with nvidia-modelopt and TensorRT-RTX: for GPU classes. Empty: what has to be
    quantised for them waits, since most clusters need no image that large."""

    tpu_optimizer_image: str = ""
    """The optimizer with JAX: for TPU classes and programs of jax.export. Empty: they wait."""

    max_builds: int = Field(4, ge=1, le=1000)
    """Builds that run at once, in all namespaces together: each takes a core and gigabytes for long."""

    build_deadline_seconds: int = Field(7200, ge=60)
    """Fine-tuning a small model takes tens of minutes; what takes longer than this is taken for stuck."""

    build_memory_limit: str = "8Gi"
    """A model is held two or three times while it is compared with its original."""

    build_profile_seconds: float = Field(60.0, ge=1, le=3600)
    """How long a build may drive one preset in Triton; less on a busy machine means wider intervals."""

    build_retention_seconds: float = Field(7 * 86400.0, ge=60)
    """How long a ModelBuild is kept that nobody uses: a rollback within a week finds it."""

    model_cache_path: str = ""
    """Folder of every node in which model pods keep what they fetched; empty: none. A DaemonSet of the chart
    bounds it. Pods with it do not fit the restricted pod security standard."""

    model_cache_size: str = "50Gi"
    """What one node's folder may hold: no pod puts more there than this."""

    inference_from: tuple[dict[str, Any], ...] = ()
    """JSON list of NetworkPolicy peers: who may send requests to model pods. Empty: anybody. The operator and
    the comparators may always."""

    metrics_from: tuple[dict[str, Any], ...] = ()
    """The same for the metrics of model pods, which Triton gives to whoever asks."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def identity(self) -> str:
        return self.pod_name or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"

    @property
    def platform(self) -> Platform:
        return Platform(
            fetcher_image=self.image,
            artifacts_uri=self.artifacts_uri,
            artifacts_secret=self.artifacts_secret,
            public_keys=self.public_keys,
            cache_path=self.model_cache_path,
            cache_size=self.model_cache_size,
            reach=Reach(self.inference_from, self.metrics_from, self.namespace),
            runbook=self.runbook_url,
        )

    @property
    def build_settings(self) -> BuildSettings:
        return BuildSettings(
            optimizer_image=self.optimizer_image,
            training_image=self.training_image,
            artifacts_uri=self.artifacts_uri,
            artifacts_secret=self.artifacts_secret,
            signing_secret=self.signing_secret,
            public_keys=self.public_keys,
            deadline_seconds=self.build_deadline_seconds,
            memory_limit=self.build_memory_limit,
            profile_seconds=self.build_profile_seconds,
            retention_seconds=self.build_retention_seconds,
            at_once=self.max_builds,
            gpu_optimizer_image=self.gpu_optimizer_image,
            tpu_optimizer_image=self.tpu_optimizer_image,
        )

    @field_validator("prometheus_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            # It stands in ScaledObjects, in logs and in this pod's own specification.
            raise ValueError("must not carry a user name or password")
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
            raise ValueError("must be http(s)://host:port, with a path if need be, or empty")
        return url.rstrip("/")

    @field_validator("artifacts_uri")
    @classmethod
    def _store_is_known(cls, uri: str) -> str:
        if uri and _STORE.fullmatch(uri) is None:
            raise ValueError(
                "must be s3://bucket/prefix, oci://registry/repository or pvc://claim/folder, or empty"
            )
        return uri.rstrip("/")

    @field_validator("inference_from", "metrics_from")
    @classmethod
    def _are_peers(cls, peers: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for peer in peers:
            if not peer or not peer.keys() <= {"namespaceSelector", "podSelector", "ipBlock"}:
                raise ValueError("must be peers of a NetworkPolicy: namespaceSelector, podSelector, ipBlock")
        return peers

    @field_validator("build_memory_limit", "model_cache_size")
    @classmethod
    def _is_a_quantity(cls, text: str) -> str:
        return canonical_quantity(text)

    @model_validator(mode="after")
    def _lease_fits(self) -> Self:
        if self.lease_renew_deadline_seconds + self.write_timeout_seconds > self.lease_duration_seconds:
            raise ValueError(
                "SEAWALL_LEASE_RENEW_DEADLINE_SECONDS and SEAWALL_WRITE_TIMEOUT_SECONDS together must not"
                " exceed SEAWALL_LEASE_DURATION_SECONDS: a late write could meet the next leader's"
            )
        if self.lease_retry_seconds >= self.lease_renew_deadline_seconds:
            raise ValueError("SEAWALL_LEASE_RETRY_SECONDS must be below SEAWALL_LEASE_RENEW_DEADLINE_SECONDS")
        return self
