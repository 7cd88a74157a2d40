"""What of an assessment is worth a look at its service: at once, before the minute is over, or with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seawall.decide.latency_status import missed
from seawall.decide.types import Assessment


def acted_on(assessment: Assessment) -> tuple[Any, ...]:
    """What children are made from: a difference is told at once, however often there is one."""
    decision = assessment.decision
    return (
        assessment.mode,
        assessment.profile,
        assessment.load is None,
        None if decision is None else (decision.replicas, decision.reason == "NoData"),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What conditions say of an assessment, figures and words left out."""

    missed: bool | None
    """SLOMet, turned round"""
    feasible: tuple[bool, bool, bool] | None
    """SLOFeasible, with what its reason is made from"""
    measured: tuple[str | None, str | None] | None
    """LatencyMetricAvailable"""
    drift: bool


def verdict(assessment: Assessment, slo_ms: float, before: Verdict | None) -> Verdict:
    """`before`: the one told last; an objective that was missed is met again only with something to spare."""
    decision, reading = assessment.decision, assessment.reading
    return Verdict(
        missed=missed(reading, slo_ms, before is not None and before.missed is True) if reading else None,
        feasible=None
        if decision is None
        else (decision.feasible, decision.elsewhere_ms > 0, decision.reason == "Infeasible"),
        measured=None if reading is None else (reading.source, reading.trouble),
        drift=bool(assessment.drift),
    )
