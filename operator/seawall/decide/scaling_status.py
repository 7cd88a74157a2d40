"""What the status says of the count, of its reasons and of its price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seawall.decide.conditions import Condition, clipped, kept
from seawall.decide.figures import hundredths, milliseconds, significant
from seawall.decide.situation import Situation
from seawall.decide.types import Assessment
from seawall.decide.watchers import AUTOSCALERS
from seawall.sizing.learned import FEWEST_BATCHES
from seawall.sizing.state import Decision
from seawall.sizing.words import count

CARRIED = ("demandRps", "capacityRps", "load", "predictedP99", "reason", "message")


def scaling_status(now: Situation) -> dict[str, Any]:
    """Figures of the revision that serves; those written last until a new leader has figures of its own."""
    actuator, assessment = now.actuator, now.assessment
    if actuator is None:
        return dict(now.previous.get("scaling") or {})
    revision = now.rollout.stable or now.rollout.candidate
    meant = now.meant(revision)
    decision = assessment.decision if assessment is not None else None
    raw: dict[str, Any] = {"mode": actuator.mode, "revision": revision, "desiredReplicas": meant}
    if not actuator.scaled:
        raw["reason"] = "Spec"
    if assessment is not None:
        raw |= _figures(now, assessment, decision)
    elif (before := now.previous.get("scaling") or {}).get("revision") == revision:
        raw = {k: before[k] for k in CARRIED if k in before} | raw
        if actuator.mode in ("HPA", "KEDA"):
            raw["desiredReplicas"] = before.get("desiredReplicas", meant)
    if actuator.problem:
        raw |= {"reason": actuator.problem, "message": clipped(actuator.message)}
    return {k: v for k, v in raw.items() if v not in (None, "")}


def _figures(now: Situation, assessment: Assessment, decision: Decision | None) -> dict[str, Any]:
    actuator = now.actuator
    raw: dict[str, Any] = {"load": hundredths(assessment.load)}
    if decision is None:
        learning, message = _waits_for(assessment, now)
        scaled = {"reason": learning, "message": message}
        return raw | (scaled if now.scaled else {})
    raw |= {
        "demandRps": significant(decision.demand_rps),
        "capacityRps": significant(decision.capacity_rps),
        "predictedP99": milliseconds(decision.predicted_p99_ms),
    }
    if now.scaled:
        raw |= {"reason": decision.reason, "message": _sentence(assessment, decision)}
    if actuator is not None and actuator.mode in ("HPA", "KEDA") and not actuator.problem:
        raw["desiredReplicas"] = decision.replicas
    return raw


def _sentence(assessment: Assessment, decision: Decision) -> str:
    return clipped(f"{decision.message} {assessment.drift}")


def efficiency_status(now: Situation) -> dict[str, Any]:
    assessment = now.assessment
    if assessment is None:
        return dict(now.previous.get("efficiency") or {})
    joules = significant(assessment.joules_per_1k)
    raw = {
        "costPer1k": significant(assessment.cost_per_1k),
        "joulesPer1k": joules,
        "estimated": assessment.estimated if joules is not None else None,
    }
    return {k: v for k, v in raw.items() if v is not None}


def scaling_conditions(now: Situation) -> list[Condition]:
    """ScalingReady and SLOFeasible."""
    return [_ready(now), _feasible(now)]


def _ready(now: Situation) -> Condition:
    actuator = now.actuator
    name, meant = "ScalingReady", count(now.meant(now.rollout.stable or now.rollout.candidate))
    if actuator is None:
        return kept(name, now.before(name), "NotStarted", "The spec cannot be read; see SpecAccepted")
    if actuator.mode == "Fixed":
        return Condition(name, True, "Fixed", f"spec.scaling asks for {meant}")
    if actuator.mode == "External":
        message = f"spec.scaling.replicas asks for {meant}; whoever writes the scale subresource decides"
        return Condition(name, True, "External", message)
    for problem in now.observed.write_problems:
        if problem.ref.kind in AUTOSCALERS:
            return Condition(name, False, problem.reason, f"{problem.ref}: {problem.message}")
    if actuator.problem:
        return Condition(name, False, actuator.problem, f"{meant} stay as they are: {actuator.message}")
    if now.stable is None:
        message = f"Scaling begins when the first revision serves, with {meant}"
        return Condition(name, None, "NotStarted", message)
    return _scaling(now, actuator.mode, name, meant)


def _scaling(now: Situation, mode: str, name: str, meant: str) -> Condition:
    assessment = now.assessment
    if assessment is None:
        return _before(now, name, meant)
    if assessment.decision is None:
        reason, message = _waits_for(assessment, now)
        return Condition(name, True, reason, f"{meant} stay as they are: {message}")
    if assessment.decision.reason == "NoData":
        why = assessment.reading.message if assessment.reading is not None else ""
        message = (
            f"The request rate is unknown, so {meant} stay as they are; see LatencyMetricAvailable. {why}"
        )
        return Condition(name, False, "Holding", message)
    broken = _inactive(now)
    if broken is not None:
        return Condition(name, False, "AutoscalerInactive", broken)
    return Condition(name, True, "Scaling", _who(mode, now))


def _before(now: Situation, name: str, meant: str) -> Condition:
    """A new leader has measured nothing yet: what its predecessor found stands for the moment."""
    same = (now.previous.get("scaling") or {}).get("mode") == (now.actuator.mode if now.actuator else None)
    before = now.before(name) if same else None
    return kept(name, before, "NotStarted", f"Nothing is measured yet; {meant} stay as they are")


def _who(mode: str, now: Situation) -> str:
    if mode == "HPA":
        return f"HorizontalPodAutoscaler {_name(now)} follows the metric slo-load of this service"
    if mode == "KEDA":
        return f"ScaledObject {_name(now)} follows seawall_scaling_load in Prometheus"
    return "The operator sets the count itself"


def _name(now: Situation) -> str:
    return f"{now.observed.service['metadata']['name']}-{now.rollout.stable}"


def _waits_for(assessment: Assessment, now: Situation) -> tuple[str, str]:
    if assessment.profile == "None":
        return "LearningProfile", (
            f"no build has measured this model's service times, so they are learned from the pods' own"
            f" statistics, from {FEWEST_BATCHES} batches on"
        )
    spec = now.accepted.spec
    target = spec.slo.p99 if spec is not None else "the target"
    return "LearningProfile", f"what one pod carries within {target} is being computed"


def _inactive(now: Situation) -> str | None:
    """What the autoscaler of the serving revision says against itself."""
    for live in now.observed.autoscalers:
        if live["metadata"]["name"] != _name(now):
            continue
        wanted = {"HorizontalPodAutoscaler": ("ScalingActive", "AbleToScale"), "ScaledObject": ("Ready",)}
        for condition in (live.get("status") or {}).get("conditions") or ():
            if condition.get("type") in wanted.get(live["kind"], ()) and condition.get("status") == "False":
                return (
                    f"{live['kind']} {_name(now)}: {condition.get('reason')}: {condition.get('message', '')}"
                )
    return None


def _feasible(now: Situation) -> Condition:
    name, assessment = "SLOFeasible", now.assessment
    decision = assessment.decision if assessment is not None else None
    if decision is None or decision.reason == "NoData":
        return _unknown_yet(name, now.before(name))
    spec = now.accepted.spec
    target = spec.slo.p99 if spec is not None else "the target"
    if decision.feasible:
        return Condition(name, True, "Feasible", f"Enough replicas meet p99 {target} at the present demand")
    if decision.elsewhere_ms > 0:
        return Condition(name, False, "LatencyFromElsewhere", decision.message)
    if decision.reason == "Infeasible":
        advice = " Raise spec.slo.p99, or choose a faster accelerator class or compression preset."
        return Condition(name, False, "ServiceTimeAboveSLO", decision.message + advice)
    if now.scaled:
        advice = " Raise spec.scaling.maxReplicas."
        return Condition(name, False, "MaxReplicasTooLow", decision.message + advice)
    message = (
        f"{count(decision.replicas)} cannot carry {significant(decision.demand_rps)} requests/s within p99"
        f" {target}: one carries {significant(decision.capacity_rps)}. Raise spec.scaling.replicas, or let"
        " Seawall scale with mode Auto."
    )
    return Condition(name, False, "MaxReplicasTooLow", message)


def _unknown_yet(name: str, before: Mapping[str, Any] | None) -> Condition:
    return kept(name, before, "NotStarted", "Neither demand nor service times are known yet")
