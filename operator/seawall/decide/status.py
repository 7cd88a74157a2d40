"""The status, computed whole from what was observed and decided. One writer, one place."""

from __future__ import annotations

from typing import Any

from seawall.decide.builds import model_status
from seawall.decide.children import growing, selected_revision
from seawall.decide.conditions import Condition, clipped, rendered
from seawall.decide.latency_status import latency_conditions, slo_status
from seawall.decide.rollout_status import rollout_condition
from seawall.decide.rollout_traffic import UNSPLIT
from seawall.decide.routes import KINDS as ROUTE_KINDS
from seawall.decide.scaling_status import efficiency_status, scaling_conditions, scaling_status
from seawall.decide.situation import MODEL_REASONS, Situation
from seawall.decide.types import Manifest, Verdict
from seawall.decide.watchers import WATCHERS
from seawall.desired.names import BUILD_KIND, REVISION_LABEL, SERVICE_LABEL


def status_of(now: Situation) -> Manifest:
    observed, meta = now.observed, now.observed.service["metadata"]
    previous = observed.service.get("status") or {}
    generation = int(meta.get("generation", 1))
    serving = now.stable or now.revisions.get(now.target or "")
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": rendered(_conditions(now), previous.get("conditions") or (), generation, observed.now),
        "replicas": serving.running if serving else 0,
        "selector": _selector(meta["name"], now.step.serving),
        "rollout": now.rollout.to_status(),
        "scaling": scaling_status(now),
        "slo": slo_status(now),
        "efficiency": efficiency_status(now),
    }
    if now.accepted.spec is not None:
        spec = now.accepted.spec
        pinned = {"sha256": spec.model.sha256} if spec.model.sha256 else {}
        status["model"] = pinned | _served_model(now)
    if now.step.keep:
        host = f"{meta['name']}.{meta['namespace']}.svc"
        headless = f"{meta['name']}-headless.{meta['namespace']}.svc"
        status["endpoints"] = {"http": f"http://{host}:8000", "grpc": f"{headless}:8001"}
    return {k: v for k, v in status.items() if v not in ({}, "")}


def _served_model(now: Situation) -> dict[str, Any]:
    """Of the revision that serves; before there is one, of the one that is wanted."""
    inputs = now.stable.inputs if now.stable else now.wanted
    if inputs is not None and inputs.artifact is not None:
        asked = inputs.user.get("compression", {}).get("preset", "none")
        live = now.observed.builds.get(inputs.artifact["build"])
        served = {"preset": asked} | model_status(inputs.artifact, live)
    elif now.need is not None and inputs is None:
        served = {"buildRef": now.need.name}
    else:
        served = {"preset": "none"}
    awaited = now.awaited
    if awaited is not None and awaited.failed and now.accepted.spec and now.accepted.spec.compression:
        preset = now.accepted.spec.compression.preset
        rejected = {"preset": preset, "reason": clipped(f"{awaited.reason}: {awaited.message}")}
        served["rejectedPresets"] = [*served.get("rejectedPresets", ()), rejected]
    return served


def _selector(name: str, serving: str | None) -> str:
    own = f"{SERVICE_LABEL}={name}"
    return f"{own},{REVISION_LABEL}={serving}" if serving else own


def _conditions(now: Situation) -> list[Condition]:
    found = [_spec(now), _model(now), _workload(now), _route(now), rollout_condition(now)]
    found += [*scaling_conditions(now), *latency_conditions(now)]
    return [_ready(now, found), *found]


def _spec(now: Situation) -> Condition:
    refused = now.accepted.refusals
    if refused:
        return Condition("SpecAccepted", False, refused[0].reason, "; ".join(r.message for r in refused))
    return Condition("SpecAccepted", True, "Accepted", "Every field of the spec is understood and acted on")


def _model(now: Situation) -> Condition:
    target, rejected = now.target, now.rollout.rejected
    if now.awaited is not None:
        return Condition("ModelReady", False, now.awaited.reason, now.awaited.message)
    if target is None:
        return Condition("ModelReady", None, "NotStarted", "No revision exists; see SpecAccepted")
    if rejected is not None and rejected.revision == target and rejected.reason in MODEL_REASONS:
        return Condition("ModelReady", False, rejected.reason, rejected.message)
    trouble = now.trouble
    if trouble is not None and trouble.condition == "ModelReady":
        # Also of a revision that serves: its next pod meets another source than its first one did.
        return Condition("ModelReady", False, trouble.reason, trouble.message)
    verified = target == now.rollout.candidate and now.rollout.step is not None
    if target == now.rollout.stable or verified:
        return Condition("ModelReady", True, "Verified", f"Revision {target} has answered right")
    if rejected is not None and rejected.revision == target:
        message = f"Revision {target} was rejected: {rejected.reason}"
        return Condition("ModelReady", False, "Rejected", message)
    here = now.revisions.get(target)
    if here is not None and here.state(now.meant(target)).ready:
        answer = now.observed.verification
        silent = answer is not None and answer.verdict is Verdict.UNREACHABLE
        reason = "VerificationUnreachable" if silent else "Verifying"
        message = answer.message if silent and answer else f"Revision {target} is asked for a first answer"
        return Condition("ModelReady", False, reason, message)
    return Condition("ModelReady", False, "Loading", f"Revision {target} is being fetched and loaded")


def _workload(now: Situation) -> Condition:
    for problem in now.observed.write_problems:
        if problem.ref.kind not in ("Service", BUILD_KIND, *ROUTE_KINDS) and problem.ref.kind not in WATCHERS:
            return Condition("WorkloadReady", False, problem.reason, f"{problem.ref}: {problem.message}")
    target = now.target
    here = now.revisions.get(target or "")
    trouble = now.trouble
    if trouble is not None and trouble.condition == "WorkloadReady":
        return Condition("WorkloadReady", False, trouble.reason, trouble.message)
    if here is None:
        rejected = now.rollout.rejected
        if target is None:
            return Condition("WorkloadReady", False, "NotStarted", _nothing(now, "No revision exists"))
        if rejected is not None and rejected.revision == target:
            return Condition("WorkloadReady", False, "Rejected", f"Revision {target} was taken down again")
        return Condition("WorkloadReady", False, "Starting", f"Revision {target} has no Deployment yet")
    if now.meant(target) == 0 and target == now.rollout.stable:
        return Condition("WorkloadReady", True, "ScaledToZero", "spec.scaling.replicas is 0")
    if here.state(now.meant(target)).ready:
        return Condition(
            "WorkloadReady", True, "Available", f"Revision {target}: all {here.replicas} replicas are ready"
        )
    if now.scaled and target == now.rollout.stable and growing(here, now.observed.now, now.least):
        starting = here.replicas - here.available
        message = (
            f"Revision {target}: {here.available} of {here.replicas} replicas are ready, {starting} start"
        )
        return Condition("WorkloadReady", True, "Scaling", message)
    return Condition(
        "WorkloadReady", False, "Progressing",
        f"Revision {target}: {here.available} of {here.replicas} replicas are ready",
    )  # fmt: skip


def _nothing(now: Situation, words: str) -> str:
    return f"{words}; see {'SpecAccepted' if now.awaited is None else 'ModelReady'}"


def _route(now: Situation) -> Condition:
    for problem in now.observed.write_problems:
        if problem.ref.kind in ("Service", *ROUTE_KINDS):
            return Condition("RouteReady", False, problem.reason, f"{problem.ref}: {problem.message}")
    serving = now.step.serving
    if not now.step.keep:
        return Condition("RouteReady", False, "NotStarted", _nothing(now, "No Service exists"))
    if serving is None:
        message = "The only revision answered wrong, so the Services select no pod; see ModelReady"
        return Condition("RouteReady", False, "Withheld", message)
    served = (now.before("RouteReady") or {}).get("status") == "True"
    if selected_revision(now.observed) != serving:
        # A switch is from pods that answer to others that do; anything else has turned the Service away.
        message = f"The Services are about to select {serving}"
        return Condition("RouteReady", served and now.step.switches, "Switching", message)
    routes = now.routes
    if routes is None or routes.by_pods or now.accepted.refusals:
        beside = f" and, beside it, {now.rollout.candidate}" if now.step.both else ""
        message = f"The Services select revision {serving}{beside}"
        return Condition("RouteReady", True, "ServiceSelects", message)
    if routes.problem:
        return Condition("RouteReady", routes.problem in UNSPLIT, routes.problem, routes.message)
    if not routes.settled:
        message = routes.message or "The gateway has not taken the routes in yet"
        return Condition("RouteReady", served, "RouteNotSettled", message)  # as before: only weights change
    return Condition("RouteReady", True, "RoutesAccepted", f"The routes lead to revision {serving}")


def _ready(now: Situation, others: list[Condition]) -> Condition:
    """Ready is about serving: true while a verified revision takes requests, whatever the next one does."""
    by_type = {c.type: c for c in others}
    spec, rollout, trouble = by_type["SpecAccepted"], by_type["RolloutHealthy"], now.trouble
    if now.serves and by_type["RouteReady"].status:
        stable = now.rollout.stable
        if not spec.status:
            return Condition("Ready", True, "SpecRefused", f"Revision {stable} serves on; {spec.message}")
        if rollout.status is False:
            waits, paused = now.rollout.hold is not None, now.rollout.pause is not None
            reason = "RolloutPaused" if paused else "Updating" if waits else "RolloutFailed"
            return Condition("Ready", True, reason, f"Revision {stable} serves on; {rollout.message}")
        if now.rollout.candidate is not None:
            return Condition("Ready", True, "Updating", f"Revision {stable} serves; {rollout.message}")
        if now.awaited is not None:
            reason = "BuildFailed" if now.awaited.failed else "Updating"
            return Condition("Ready", True, reason, f"Revision {stable} serves on; {now.awaited.message}")
        return Condition("Ready", True, "Serving", f"Revision {stable} serves{_limits(now)}")
    if now.rollout.stable is not None and now.meant(now.rollout.stable) == 0:
        return Condition("Ready", False, "ScaledToZero", "spec.scaling.replicas is 0")
    model_first = now.awaited is not None or (trouble is not None and trouble.condition == "ModelReady")
    first = ("SpecAccepted", "ModelReady") if model_first else ("SpecAccepted",)
    for name in (*first, "WorkloadReady", "ModelReady", "RouteReady"):
        condition = by_type[name]
        if not condition.status:
            return Condition("Ready", False, condition.reason, condition.message)
    return Condition("Ready", False, "Starting", "No pod of a verified revision takes requests yet")


def _limits(now: Situation) -> str:
    """Said when the serving pods were made for another SLO than the one asked for now."""
    stable, spec = now.stable, now.accepted.spec
    if stable is None or stable.inputs is None or spec is None or stable.inputs.slo == spec.slo.p99:
        return ""
    return (
        f"; its queue limits and latency buckets were made for p99 {stable.inputs.slo}"
        f" and follow {spec.slo.p99} with the next revision"
    )
