"""The doors between deciding and the world; fakes in tests stand here and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from seawall.canary.shadow import Tally
from seawall.decide.rollout_state import Answers
from seawall.decide.types import (
    ComparisonRequest,
    EventNote,
    Manifest,
    ObjectRef,
    Progress,
    TallyRequest,
    Verification,
    VerificationRequest,
)
from seawall.measure.types import ArmSample
from seawall.sizing.calibration import BatchCount


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


class NoAnswer(Exception):
    """A model server did not answer; says nothing about the model."""


class NoCount(Exception):
    """A query that is to return one number did not, with the reason as a sentence."""


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

    async def scale(self, ref: ObjectRef, replicas: int, *, force: bool) -> Manifest | None:
        """Server-side apply of spec.replicas alone as `seawall-replicas`, to the incarnation that the ref's
        uid names; None if that is gone. Raises ApiConflict (unforced only) and ApiRejected."""

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Manifest | None:
        """JSON Patch as `seawall-routes`; None if the object is gone. Raises ApiUnavailable when it is no
        longer as the operations suppose, a failed `test` among them, and ApiRejected."""

    async def delete(self, ref: ObjectRef) -> None:
        """Background deletion, with uid precondition if the ref has one; absent or replaced is fine."""

    async def record(self, regarding: Mapping[str, Any], note: EventNote) -> None:
        """A Kubernetes Event about the object (events.k8s.io/v1)."""


class Inference(Protocol):
    """Model servers, asked the way a client asks them."""

    async def verify(self, request: VerificationRequest) -> Verification:
        """One synthetic inference per address; never raises for what a server answers or fails to."""

    async def compare(self, request: ComparisonRequest, golden: bytes) -> Answers:
        """Both revisions on the inputs of an .npz file. Bounded in time; raises NoAnswer, and nothing else
        for what a server answers or what is in the file."""

    async def tally(self, request: TallyRequest) -> Tally:
        """What the comparator at that address has counted. Bounded in time; raises NoAnswer, also for one
        that works for somebody else."""


class Builds(Protocol):
    """Pods that build models."""

    async def progress(self, address: str) -> Progress | None:
        """What the pod at host:port says about itself; None for whatever else it answers, or does not."""


@dataclass(frozen=True, slots=True)
class Target:
    """One revision to be measured."""

    namespace: str
    service: str
    revision: str
    model: str
    slo_ms: float
    pods: Mapping[str, str]
    """name -> IP of every pod that is ready"""
    backends: tuple[str, ...] = ()
    """names of the Kubernetes Services that the gateway's statistics may know this revision by"""
    started: Mapping[str, float] = field(default_factory=dict)
    """name -> since when its model server runs, seconds since the epoch (status.containerStatuses of
    container `triton`); a pod without it is measured from its second sample on"""


class Metrics(Protocol):
    """The data plane's own counters."""

    async def read(self, targets: Sequence[Target]) -> Sequence[ArmSample]:
        """One sample per target, in order. Never raises for what a source answers or fails to: that is the
        sample's trouble. Bounded in time by the adapter's own timeouts."""

    async def batches(self, target: Target) -> Mapping[str, tuple[BatchCount, ...]]:
        """Triton's batch statistics by pod, asked from the pods themselves; pods that do not answer are
        missing."""

    async def count(self, query: str, at: float) -> float:
        """What a user's PromQL says of that moment. Bounded in time and size; raises NoCount for whatever is
        not one number of at least 0."""


class ServedKinds(Protocol):
    """What the API server serves beside Kubernetes' own kinds."""

    @property
    def keda(self) -> bool: ...

    @property
    def prometheus_operator(self) -> bool: ...

    @property
    def tolerance(self) -> bool:
        """Of an autoscaling/v2 behavior."""

    @property
    def gateway_api(self) -> bool:
        """HTTPRoutes."""

    @property
    def grpc_routes(self) -> bool: ...


class MetricsFace(Protocol):
    """custom.metrics.k8s.io as this process answers it."""

    looked: asyncio.Event
    """set once `state` is known"""

    @property
    def state(self) -> tuple[Literal["Ours", "Others", "Absent"], str]:
        """Who answers the group in this cluster, and what there is to say about it."""

    async def run(
        self,
        lookup: Callable[[str, str], Manifest | None],
        leads: Callable[[], bool],
        listing: Callable[[str], Iterable[Manifest]] | None = None,
    ) -> None:
        """Until cancelled. `lookup` and `listing` tell InferenceServices by namespace (and name)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose a bearer token is, as the API server knows it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Access(Protocol):
    """The API server's word on tokens and rights. Both raise ApiUnavailable, and ApiRejected when the
    operator itself may not ask."""

    async def caller(self, token: str) -> Caller | None:
        """None: the token is nobody's, or is valid no more."""

    async def may_get(self, caller: Caller, path: str) -> bool:
        """Whether RBAC lets the caller `get` this path, which belongs to no resource."""


class ScrapeFace(Protocol):
    """/metrics behind TLS and a bearer token."""

    async def run(self, exposition: Callable[[], bytes], leads: Callable[[], bool]) -> None:
        """Until cancelled."""


class ModelConfigSchema(Protocol):
    def problem(self, override: Mapping[str, Any]) -> str | None:
        """What is wrong with this ModelConfig fragment, None if nothing."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The time in UTC, timezone-aware."""
