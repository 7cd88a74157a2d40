"""What goes into a decision and what comes out of it.

Observed is everything that one reconcile has read; Plan is everything that it will write.
Between the two there is one pure function, `seawall.decide.plan.plan`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from seawall.canary.shadow import Tally
from seawall.canary.window import Window
from seawall.desired.build_job import BuildSettings
from seawall.desired.inputs import Platform
from seawall.desired.names import KIND
from seawall.measure.types import Reading
from seawall.sizing.state import Decision

if TYPE_CHECKING:
    from seawall.decide.rollout_state import Answers

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A service or a build to look at. An empty name stands for the namespace's shared objects."""

    namespace: str
    name: str
    kind: str = KIND

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.name else f"{self.namespace}/"
        return place if self.kind == KIND else f"{self.kind} {place}"


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One object of the API; `uid` is set where only that very incarnation is meant."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str | None = None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> ObjectRef:
        meta = manifest["metadata"]
        return cls(
            manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"], meta.get("uid")
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """Ask these pods one synthetic inference each and look at the answer."""

    model: str
    revision: str
    addresses: tuple[str, ...]
    """host:port of each pod's HTTP endpoint"""


class Verdict(StrEnum):
    PASSED = "Passed"
    WRONG = "Wrong"
    """the model answered, and the answer cannot be right"""
    UNREACHABLE = "Unreachable"
    """nobody answered; says nothing about the model"""


@dataclass(frozen=True, slots=True)
class Verification:
    revision: str
    verdict: Verdict
    message: str = ""


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """Put a golden set to two revisions and compare their answers."""

    rollout: str
    step: int
    """index into the plan of that rollout"""
    model: str
    stable: str
    """revision"""
    candidate: str
    """revision"""
    stable_addresses: tuple[str, ...]
    """host:port of each pod's gRPC endpoint"""
    candidate_addresses: tuple[str, ...]
    config_map: str
    """that holds the golden set, in the namespace of the service"""
    size: int | None
    """how many of its inputs count, the first ones; None: all"""
    metric: Literal["top1", "cosine", "relative-error"] | None
    """None: by the kind of the outputs"""
    max_disagreement: float
    alpha: float
    beta: float


@dataclass(frozen=True, slots=True)
class TallyRequest:
    """Read what a comparator has counted."""

    address: str
    """host:port"""
    order: str
    """that it must be working for"""
    seconds: float
    """how old the answer may be"""


@dataclass(frozen=True, slots=True)
class WriteProblem:
    """An object that the API server would not take, in its own words."""

    ref: ObjectRef
    reason: str
    """NameConflict (the name belongs to somebody else) or Rejected (invalid, forbidden, over quota)"""
    message: str


@dataclass(frozen=True, slots=True)
class RoutePatch:
    """Weights in a route that is somebody else's, as a JSON Patch on the very version that was read."""

    ref: ObjectRef
    resource_version: str
    operations: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this cluster serves beside Kubernetes itself, as found out at the start and every minute."""

    keda: bool = False
    """ScaledObjects are served"""
    prometheus_operator: bool = False
    """PodMonitors and PrometheusRules are served"""
    metrics_api: Literal["Ours", "Others", "Absent"] = "Absent"
    """who answers custom.metrics.k8s.io, and whether it answers"""
    metrics_api_message: str = "the operator does not serve it"
    prometheus_url: str = ""
    """where KEDA asks; empty: there is none"""
    hpa_tolerance: bool = True
    """the API server knows autoscaling/v2's tolerance (Kubernetes 1.33 and later)"""
    gateway_api: bool = False
    """HTTPRoutes are served"""
    grpc_routes: bool = False
    """GRPCRoutes are served"""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known and wanted of one revision at the moment; made by decide/scaling.py every few seconds."""

    revision: str
    reading: Reading | None = None
    decision: Decision | None = None
    """None: no profile yet, or nothing to size"""
    load: float | None = None
    """in pods, what HPA and KEDA divide by 1: never less than what the decision asks for; None: hold"""
    profile: Literal["Build", "Measured", "None"] = "None"
    drift: str = ""
    """a sentence, where batches run slower or faster than the profile says"""
    cost_per_1k: float | None = None
    joules_per_1k: float | None = None
    estimated: bool = False
    """the joules come from the class's power model, not from a meter"""
    mode: str = ""
    """the mode that it was made under; empty for a candidate, whose count nothing may lower"""


@dataclass(frozen=True, slots=True)
class Budget:
    """The objective over its window; from counts that were seen, gaps excluded."""

    requests: float
    attainment: float | None
    """share of requests within the SLO; None without any"""
    remaining: float | None
    """of the error budget; negative when overspent"""
    days: tuple[tuple[str, float, float, float], ...] = ()
    """(day, total, good, failed), oldest first: what the status keeps so that a restart forgets nothing"""


@dataclass(frozen=True, slots=True)
class Windows:
    """What both revisions were asked and how they answered, cut into windows; made public by the scaler."""

    closed: tuple[Window, ...] = ()
    """oldest first; those of the stable revision alone tell how far requests depend on each other"""
    trouble: Literal["", "ProviderDown", "NoLatency"] = ""
    """why the last ones say nothing, or nothing about latency"""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """A Deployment's count, to be written by its own field manager and nobody else's business."""

    ref: ObjectRef
    replicas: int


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything read for one service. Objects are as the API server returned them."""

    service: Manifest
    platform: Platform
    now: datetime
    accelerator: Manifest | None = None
    deployments: Sequence[Manifest] = ()
    services: Sequence[Manifest] = ()
    disruption_budgets: Sequence[Manifest] = ()
    shared: Sequence[Manifest] = ()
    """the namespace's ServiceAccount and NetworkPolicy of ours, where they exist"""
    pods: Sequence[Manifest] = ()
    autoscalers: Sequence[Manifest] = ()
    """HorizontalPodAutoscalers and ScaledObjects of ours"""
    monitors: Sequence[Manifest] = ()
    """PodMonitors and PrometheusRules of ours"""
    routes: Sequence[Manifest] = ()
    """HTTPRoutes and GRPCRoutes that the spec names or asks for, or may have asked for once; read from the
    API server just now, whatever `live` says"""
    route_problems: Mapping[ObjectRef, str] = field(default_factory=dict)
    """why such a route could not be read"""
    capabilities: Capabilities = Capabilities()
    assessments: Mapping[str, Assessment] = field(default_factory=dict)
    """by revision"""
    budget: Budget | None = None
    windows: Windows = Windows()
    references: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    """(kind, name) of every Secret and ConfigMap that the spec names -> digest of its content, "unreadable"
    where the operator may not read it, None where it does not exist"""
    builds: Mapping[str, Manifest] = field(default_factory=dict)
    """the namespace's ModelBuilds by name"""
    config_problem: str | None = None
    """what Triton's ModelConfig schema says against spec.model.config"""
    verification: Verification | None = None
    answers: Answers | None = None
    """of the quality step at hand; of this look only, the next step has other ones"""
    tally: Tally | None = None
    """of the comparator of a shadow step"""
    write_problems: Sequence[WriteProblem] = ()
    platform_slot: bool = True
    """whether a change that only the platform asks for may start now (paced over all services)"""
    live: bool = False
    """read from the API server just now, rather than from the store that the watch feeds"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build says it is."""

    stage: str
    percent: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ObservedBuild:
    """Everything read for one ModelBuild."""

    build: Manifest
    settings: BuildSettings
    now: datetime
    job: Manifest | None = None
    pods: Sequence[Manifest] = ()
    progress: Progress | None = None
    """what the running pod has answered; None where it was not asked or did not answer"""
    in_use: bool = True
    """a service wants it, or a revision that still exists serves what it made"""
    slot: bool = True
    """whether one more build may run now (bounded over all namespaces)"""
    write_problems: Sequence[WriteProblem] = ()
    live: bool = False


@dataclass(frozen=True, slots=True)
class EventNote:
    type: str
    """Normal or Warning"""
    reason: str
    message: str


class PlatformUpdate(StrEnum):
    NONE = "None"
    WAITING = "Waiting"
    """wants a slot"""
    RUNNING = "Running"
    """holds a slot"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be written for one service, in order, and when to look again."""

    apply: tuple[Manifest, ...] = ()
    scale: tuple[Scale, ...] = ()
    """counts that are ours to say now; a Deployment without one is somebody else's to scale"""
    routes: tuple[Manifest, ...] = ()
    """of our own, where they differ from what was read"""
    route_patches: tuple[RoutePatch, ...] = ()
    route_deletions: tuple[ObjectRef, ...] = ()
    """of our own, of that very incarnation"""
    routes_first: bool = False
    """a candidate is to get less: before anything else is written"""
    services_first: tuple[Manifest, ...] = ()
    """likewise, where Services and no routes split the traffic"""
    delete: tuple[ObjectRef, ...] = ()
    status: Manifest | None = None
    """the whole status; None leaves it alone"""
    events: tuple[EventNote, ...] = ()
    requeue_after: float | None = None
    verify: VerificationRequest | None = None
    """a question to put before this plan counts: ask it, observe the answer, plan again"""
    compare: ComparisonRequest | None = None
    """likewise; None: a comparison that is under way is not wanted any more"""
    tally: TallyRequest | None = None
    """likewise, of a shadow step"""
    needs_live_read: bool = False
    """it deletes or switches: plan again on a live read before acting"""
    platform_update: PlatformUpdate = PlatformUpdate.NONE
    holds_build_slot: bool = False
    """of a build: its Job runs or is about to"""
