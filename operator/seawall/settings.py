"""What an administrator may turn, read once from variables named SEAWALL_…; each default with its reason."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    listen_host: str = "0.0.0.0"  # noqa: S104 - a pod's probes and scrapes come from outside the pod

    drain_seconds: float = Field(20.0, gt=0)
    """How long SIGTERM waits for the runs in hand; below the pod's grace period of 30 s."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def identity(self) -> str:
        return self.pod_name or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"

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
