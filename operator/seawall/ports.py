"""The doors between deciding and the world; fakes in tests stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from seawall.decide.types import (
    EventNote,
    Manifest,
    ObjectRef,
    Progress,
    Verification,
    VerificationRequest,
)


class ApiConflict(Exception):
    """Another field manager owns what was to be applied (409 on an unforced apply)."""


class ApiRejected(Exception):
    """The API server refuses this object and will refuse it again (400, 403, 404 of its kind, 422)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ApiUnavailable(Exception):
    """A fault that passes (409 on a race, 429, 5xx, time-out, connection lost): try again later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cluster(Protocol):
    """The Kubernetes API as Seawall uses it. Every method raises ApiUnavailable on passing faults."""

    async def get(self, ref: ObjectRef) -> Manifest | None:
        """The object as it is now, None if it does not exist. Raises ApiRejected when it may not be read."""

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> tuple[Sequence[Manifest], str]:
        """All objects (paged behind the scenes) and the list's resourceVersion."""

    async def apply(self, manifest: Mapping[str, Any], *, force: bool) -> Manifest:
        """Server-side apply as manager `seawall`. Raises ApiConflict (unforced only) and ApiRejected."""

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Manifest | None:
        """Server-side apply of the status subresource as `seawall-status`; None if the object is gone."""

    async def delete(self, ref: ObjectRef) -> None:
        """Background deletion, with uid precondition if the ref has one; absent or replaced is fine."""

    async def record(self, regarding: Mapping[str, Any], note: EventNote) -> None:
        """A Kubernetes Event about the object (events.k8s.io/v1)."""


class Inference(Protocol):
    """Model servers, asked the way a client asks them."""

    async def verify(self, request: VerificationRequest) -> Verification:
        """One synthetic inference per address; never raises for what a server answers or fails to."""


class Builds(Protocol):
    """Pods that build models."""

    async def progress(self, address: str) -> Progress | None:
        """What the pod at host:port says about itself; None for whatever else it answers, or does not."""


class ModelConfigSchema(Protocol):
    def problem(self, override: Mapping[str, Any]) -> str | None:
        """What is wrong with this ModelConfig fragment, None if nothing."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The time in UTC, timezone-aware."""
