"""One revision's scaling, step by step: a reading comes in, an assessment and a memory come out.

The law itself (sizing/law.py) knows nothing of clusters; here it gets its calibration, its cold start and its
bounds, and its answer becomes what autoscalers read: a load in pods. Whatever is missing, nothing here ever
asks for fewer pods because of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from seawall.decide.arms import Arm, arms
from seawall.decide.efficiency import cost_per_1k, joules_per_1k
from seawall.decide.memory import Memory, calibrated, cold_start, observed, profile_of, service_scale
from seawall.decide.types import Assessment
from seawall.measure.types import Reading
from seawall.sizing.behavior import Behavior, normalise, parse_behavior, record
from seawall.sizing.capacity import CapacityTable, predicted_p99, sizing
from seawall.sizing.law import decide
from seawall.sizing.state import Decision, LawSettings, Signals, Terms
from seawall.sizing.words import count

__all__ = ["Arm", "Memory", "arms", "assess", "assess_all", "profile_of"]

STALE_SECONDS = 45.0
"""Older counters tell no demand."""
KEPT_SECONDS = 300.0
"""How long a load is published without new data; then autoscalers are told nothing, and hold."""
LEAST_MARGIN = 0.005
LEAST_ABOVE = 0.01
"""What a load is above the next smaller number of pods, at least."""


def assess_all(
    now: float, found: Sequence[Arm], memories: Mapping[str, Memory]
) -> tuple[dict[str, Assessment], dict[str, Memory]]:
    """All arms of one service, by revision: the candidate is sized for what the stable one carries."""
    assessments: dict[str, Assessment] = {}
    kept: dict[str, Memory] = {}
    offered: float | None = None
    for arm in sorted(found, key=lambda a: a.role != "Stable"):
        sized = replace(arm, offered_rps=offered) if arm.role == "Candidate" else arm
        assessment, memory = assess(now, sized, memories.get(arm.revision, Memory()))
        assessments[arm.revision], kept[arm.revision] = assessment, memory
        if arm.role == "Stable" and assessment.decision is not None:
            demand = assessment.decision.demand_rps
            # What makes requests heavier than the model thinks (bursts, many items in one) is the traffic's.
            offered = demand * max(1.0, memory.law.correction) if demand is not None else None
    return assessments, kept


def assess(now: float, arm: Arm, memory: Memory) -> tuple[Assessment, Memory]:
    """What is known and wanted of one revision now, and what to remember; nothing else is read or kept."""
    memory = observed(now, arm, memory)
    profile, source = profile_of(arm, memory)
    memory = calibrated(now, memory, profile, arm.reading)
    decision: Decision | None = None
    if arm.table is not None:
        if arm.role == "Candidate":
            decision = _sized(arm, arm.table, memory)
        else:
            decision, memory = _decided(now, arm, arm.table, memory)
    load, memory = _load(now, arm, memory, decision)
    if arm.role == "Stable" and arm.mode == "Direct" and decision is not None:
        decision, memory = _limited(now, arm, memory, decision)
    joules, estimated = joules_per_1k(arm, memory.request_seconds, profile)
    calibration = memory.calibration
    return Assessment(
        revision=arm.revision,
        reading=arm.reading,
        decision=decision,
        load=load,
        profile=source,
        drift=calibration.message if source == "Build" else "",
        cost_per_1k=cost_per_1k(arm),
        joules_per_1k=joules,
        estimated=estimated,
        mode=arm.mode if arm.role == "Stable" else "",
    ), memory


def _settings(arm: Arm, table: CapacityTable, memory: Memory) -> LawSettings:
    """A little of the SLO stays free while few batches have confirmed the profile; never so much that an SLO
    which can be met looks as if it could not."""
    margin = memory.calibration.margin
    ca2 = arm.reading.ca2 if arm.reading is not None and arm.reading.ca2 is not None else 1.0
    known = min(max(ca2, 1.0), 4.0) if math.isfinite(ca2) else 1.0
    while margin > LEAST_MARGIN:
        if sizing(table, arm.slo_ms, margin, known, service_scale(memory) or 1.0).feasible:
            return LawSettings(margin=margin)
        margin /= 2
    return LawSettings()


def _decided(now: float, arm: Arm, table: CapacityTable, memory: Memory) -> tuple[Decision, Memory]:
    decision, law = decide(
        table, arm.slo_ms, arm.bounds, _signals(now, arm, memory), memory.law, _settings(arm, table, memory)
    )
    return decision, replace(memory, law=law)


def _signals(now: float, arm: Arm, memory: Memory) -> Signals:
    reading = arm.reading or Reading(at=-math.inf)
    age = now - reading.at
    fresh = age <= STALE_SECONDS
    return Signals(
        now=now,
        rate_15s=reading.rate_15s if fresh else None,
        rate_60s=reading.rate_60s if fresh else None,
        replicas=arm.replicas,
        ready=arm.ready,
        p99_ms=reading.p99_ms,
        p99_age_seconds=max(age, 0.0),
        late_share=reading.late_share,
        pending=reading.pending if fresh else None,
        busiest_rps=reading.busiest_rps if fresh else None,
        ca2=reading.ca2,
        service_scale=service_scale(memory),
        cold_start_seconds=cold_start(arm, memory),
        complete=reading.complete,
    )


def _sized(arm: Arm, table: CapacityTable, memory: Memory) -> Decision | None:
    """A candidate has no traffic to be judged by: it is made for what it will take over."""
    if arm.offered_rps is None:
        return None
    size = sizing(table, arm.slo_ms, _settings(arm, table, memory).margin)
    if not size.feasible:
        return None
    pods = size.pods_for(arm.offered_rps)
    within = min(max(pods, arm.bounds.min_replicas), arm.bounds.max_replicas)
    message = f"{count(within)} for the {arm.offered_rps:.0f} requests/s that it takes over"
    predicted = predicted_p99(table, arm.offered_rps / max(within, 1), pods=max(within, 1))
    return Decision(
        replicas=within,
        reason="Demand",
        terms=Terms(pods, pods, 0),
        load_ratio=None,
        demand_rps=arm.offered_rps,
        capacity_rps=size.rps(max(within, 1)),
        predicted_p99_ms=predicted,
        feasible=pods <= arm.bounds.max_replicas,
        message=message,
    )


def _load(now: float, arm: Arm, memory: Memory, decision: Decision | None) -> tuple[float | None, Memory]:
    """ceil(load) is the decided number; without data the last load stands for a while."""
    if arm.role == "Candidate":
        return None, memory
    if decision is not None and decision.reason != "NoData":
        load = _in_pods(decision)
        return load, replace(memory, load=load, loaded_at=now)
    if memory.loaded_at is None or not 0 <= now - memory.loaded_at <= KEPT_SECONDS:
        return None, memory
    return memory.load, memory


def _in_pods(decision: Decision) -> float:
    most = float(decision.replicas)
    demand, capacity = decision.demand_rps, decision.capacity_rps
    pods = demand / capacity if demand is not None and capacity else most
    if not math.isfinite(pods):
        pods = most
    return round(min(most, max(pods, most - 1 + LEAST_ABOVE)), 2) if most else 0.0


def _limited(now: float, arm: Arm, memory: Memory, decision: Decision) -> tuple[Decision, Memory]:
    """The user's own behavior, with the autoscaler's meaning; without one the law's pace is the only one."""
    behavior = _behavior(arm.behavior)
    if behavior is None:
        return decision, memory
    history = memory.history.copy()
    if memory.asked is not None and memory.asked[2] == arm.replicas:
        record(history, *memory.asked)
    low, high = arm.bounds.min_replicas, arm.bounds.max_replicas
    free = normalise(history, behavior, now, arm.replicas, decision.replicas, low, high)
    replicas = min(max(free, low), high)
    asked = (now, arm.replicas, replicas) if replicas != arm.replicas else None
    memory = replace(memory, history=history, asked=asked)
    if replicas == decision.replicas:
        return decision, memory
    message = f"{decision.message} spec.scaling.behavior allows {replicas} of {decision.replicas} for now."
    return replace(decision, replicas=replicas, message=message), memory


def _behavior(block: Mapping[str, Any] | None) -> Behavior | None:
    return parse_behavior(block) if block else None
