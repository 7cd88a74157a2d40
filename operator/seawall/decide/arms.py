"""What is known of each revision that is measured and sized, taken from what the cluster shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from seawall.api.units import parse_duration
from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.canary.templates import Template
from seawall.decide.acceptance import accept
from seawall.decide.actuator import Mode, behavior_of, bounds_of, choose
from seawall.decide.children import Revision, ready_since, revisions, selected_revision
from seawall.decide.conditions import parse_timestamp
from seawall.decide.rollout_plan import by_pods, plan_of
from seawall.decide.rollout_state import RolloutState
from seawall.decide.types import Manifest, Observed
from seawall.desired.inputs import RevisionInputs
from seawall.desired.names import TRITON_CONTAINER, candidate_name, headless_name
from seawall.measure.budget import Day, parse
from seawall.measure.types import Reading
from seawall.sizing.capacity import CapacityTable
from seawall.sizing.learned import fitted
from seawall.sizing.profile import PodProfile, ProfileError
from seawall.sizing.state import Bounds

Role = Literal["Stable", "Candidate"]
WINDOW = "30d"
LONGEST_START_SECONDS = 1800.0
"""A pod that seems to have taken longer was ready before and became so again."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One revision, as the sampler hands it to `assess`. `arms` makes it; the runtime adds the reading, and
    the table of `profile_of(arm, memory)` as soon as there is one."""

    namespace: str
    service: str
    revision: str
    slo_ms: float
    mode: Mode
    bounds: Bounds
    role: Role = "Stable"
    table: CapacityTable | None = None
    reading: Reading | None = None
    profile: PodProfile | None = None
    """of its build; a learned one is in the memory"""
    profile_from: Literal["Build", "Measured", "None"] = "None"
    behavior: Mapping[str, Any] | None = None
    model: str = ""
    """the name that Triton knows it by"""
    pods: Mapping[str, str] = field(default_factory=dict)
    """name -> IP of those that are ready"""
    started: Mapping[str, float] = field(default_factory=dict)
    """when their servers were started, seconds since the epoch, by pod"""
    backends: tuple[str, ...] = ()
    """Kubernetes Services that a gateway may know it by"""
    replicas: int = 0
    """spec.replicas of its Deployment"""
    ready: int = 0
    starting: int = 0
    starts: Mapping[str, float] = field(default_factory=dict)
    """seconds from creation to readiness, by pod"""
    cold_start_seconds: float = 60.0
    """until pods have shown it"""
    max_batch_size: int | None = None
    instances: int = 1
    max_queue_delay_ms: float = 0.0
    max_queue_size: int | None = None
    price_per_hour: float | None = None
    """of one pod"""
    idle_watts: float | None = None
    """of one pod's devices"""
    peak_watts: float | None = None
    owns_device: bool = False
    """the meter of its devices measures nobody else"""
    window_days: float = 30.0
    availability: float | None = None
    """as a share, where one is asked for"""
    remembered: tuple[Day, ...] = ()
    """what the status knows of the days before"""
    published: float | None = None
    """the load that the status shows of this very revision: what a new leader goes on with"""
    offered_rps: float | None = None
    """for a candidate: the demand that it will have to carry, as heavy as it has shown itself to be"""
    window_seconds: float | None = None
    """of an analysis; None where no rollout of this service would have one"""
    templates: tuple[Template, ...] = ()
    """metrics of the user's, for that analysis"""


def arms(observed: Observed) -> tuple[Arm, ...]:
    """The stable revision and the candidate, where they exist; nothing while the spec cannot be read."""
    accepted = accept(observed)
    spec = accepted.spec
    if spec is None or observed.service["metadata"].get("deletionTimestamp"):
        return ()
    status = observed.service.get("status") or {}
    rollout = RolloutState.of(status.get("rollout"))
    existing = revisions(observed)
    stable = rollout.stable or (None if rollout.candidate else selected_revision(observed))
    mode = choose(spec, observed.capabilities, status, observed.now).mode
    found = []
    for name, role in ((stable, "Stable"), (rollout.candidate, "Candidate")):
        here = existing.get(name or "")
        if here is not None:
            known: Role = "Stable" if role == "Stable" else "Candidate"
            found.append(_arm(observed, spec, accepted.accelerator, here, known, mode))
    return tuple(found)


def _arm(
    observed: Observed,
    spec: InferenceServiceSpec,
    accelerator: AcceleratorClassSpec | None,
    here: Revision,
    role: Role,
    mode: Mode,
) -> Arm:
    meta, inputs = observed.service["metadata"], here.inputs
    queue = _queue(inputs)
    profile = build_profile(observed.builds, inputs)
    status = observed.service.get("status") or {}
    scaling, objective = status.get("scaling") or {}, status.get("slo") or {}
    pods = here.ready_pods()
    return Arm(
        namespace=meta["namespace"],
        service=meta["name"],
        revision=here.name,
        slo_ms=parse_duration(spec.slo.p99) * 1000,
        mode=mode,
        bounds=bounds_of(spec, mode),
        role=role,
        profile=profile,
        profile_from="Build" if profile is not None else "None",
        behavior=behavior_of(spec),
        model=meta["name"],
        pods={p["metadata"]["name"]: p["status"]["podIP"] for p in pods if p["status"].get("podIP")},
        started=_started(pods),
        backends=() if by_pods(spec) else _backends(meta["name"], role),
        replicas=here.replicas,
        ready=here.available,
        starting=max(0, here.replicas - here.available),
        starts=_starts(pods),
        cold_start_seconds=profile.cold_start_seconds if profile is not None else 60.0,
        max_batch_size=queue.batch,
        instances=queue.instances,
        max_queue_delay_ms=queue.delay_ms,
        max_queue_size=queue.size,
        window_days=parse_duration(spec.slo.window or WINDOW) / 86400,
        availability=_share(spec.slo.availability),
        remembered=parse(objective.get("days") or ()),
        published=_number(scaling.get("load")) if scaling.get("revision") == here.name else None,
        **_analysis(spec),
        **_costs(spec, accelerator),
    )


def _backends(service: str, role: Role) -> tuple[str, ...]:
    """Where Services split the traffic, a gateway before them cannot tell the revisions apart."""
    return (service, headless_name(service)) if role == "Stable" else (candidate_name(service),)


def _analysis(spec: InferenceServiceSpec) -> dict[str, Any]:
    plan = plan_of(spec, 1)
    if plan.strategy != "Canary":
        return {}
    return {"window_seconds": plan.window_seconds, "templates": plan.templates}


@dataclass(frozen=True, slots=True)
class _Queue:
    batch: int | None
    instances: int
    delay_ms: float
    size: int | None


def _queue(inputs: RevisionInputs | None) -> _Queue:
    """As Triton was told (desired/triton.py)."""
    if inputs is None:
        return _Queue(None, 1, 0.0, None)
    user = inputs.user
    batching = user.get("batching") or {}
    whole = user.get("pipeline", 1) == 1 and inputs.platform.get("type") == "gpu"
    devices = int(user["accelerator"].get("count", 1)) if whole else 1
    batch = user["model"].get("maxBatchSize")
    return _Queue(
        None if batch is None else max(1, int(batch)),
        max(1, int(user.get("instances", 1)) * devices),
        parse_duration(batching.get("maxQueueDelay", "0us")) * 1000,
        batching.get("maxQueueSize"),
    )


def build_profile(builds: Mapping[str, Manifest], inputs: RevisionInputs | None) -> PodProfile | None:
    """What the revision's build has measured, as this revision's pods run it; None where it has not, or
    where nothing may be built on its numbers."""
    if inputs is None or inputs.artifact is None:
        return None
    status = (builds.get(inputs.artifact["build"]) or {}).get("status") or {}
    raw = (status.get("result") or {}).get("profile")
    if not isinstance(raw, Mapping):
        return None
    try:
        profile = PodProfile.parse(_numbers(raw))
    except ProfileError:
        return None
    queue = _queue(inputs)
    return fitted(profile, queue.batch, queue.instances, queue.delay_ms, queue.size)


def _numbers(raw: Any) -> Any:
    """The status keeps fractions as decimal strings and leaves out what is not known."""
    if isinstance(raw, Mapping):
        return {k: _numbers(v) for k, v in raw.items() if v is not None}
    if isinstance(raw, list):
        return [_numbers(v) for v in raw]
    return raw if (number := _number(raw)) is None or isinstance(raw, int) else number


def _number(text: Any) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _share(percentage: str | None) -> float | None:
    number = _number((percentage or "").removesuffix("%"))
    return number / 100 if number is not None else None


def _starts(pods: tuple[Manifest, ...]) -> dict[str, float]:
    found = {}
    for pod in pods:
        since, made = ready_since(pod), pod["metadata"].get("creationTimestamp")
        seconds = (since - _moment(made)).total_seconds() if since is not None and made else -1.0
        if 0 <= seconds <= LONGEST_START_SECONDS:
            found[str(pod["metadata"]["name"])] = seconds
    return found


def _started(pods: tuple[Manifest, ...]) -> dict[str, float]:
    """A server's counters begin at zero here: without it a new pod's first minute would be unknown."""
    found = {}
    for pod in pods:
        for status in pod["status"].get("containerStatuses") or ():
            at = ((status.get("state") or {}).get("running") or {}).get("startedAt")
            if status.get("name") == TRITON_CONTAINER and at:
                found[str(pod["metadata"]["name"])] = _moment(at).timestamp()
    return found


def _moment(value: str) -> datetime:
    return parse_timestamp(value)


def _costs(spec: InferenceServiceSpec, accelerator: AcceleratorClassSpec | None) -> dict[str, Any]:
    if accelerator is None:
        return {}
    count = spec.accelerator.count
    price = _number(accelerator.cost.per_hour) if accelerator.cost is not None else None
    power = accelerator.power
    # A slice, or a GPU that several pods share, has no meter of its own.
    whole = accelerator.resource_name == "nvidia.com/gpu"
    return {
        "price_per_hour": price * count if price is not None else None,
        "idle_watts": power.idle_watts * count if power and power.idle_watts is not None else None,
        "peak_watts": power.peak_watts * count if power and power.peak_watts is not None else None,
        "owns_device": whole,
    }
