"""What the status says of the objective: the latency of the last minute, and the budget over the window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seawall.api.units import parse_duration
from seawall.decide.arms import WINDOW
from seawall.decide.conditions import Condition, clipped, kept
from seawall.decide.figures import milliseconds, percent
from seawall.decide.situation import Situation
from seawall.decide.types import Budget
from seawall.decide.watchers import MONITORS
from seawall.measure.budget import Ledger
from seawall.measure.types import Reading

LATE = 0.01
"""Share of requests that a p99 leaves to be late."""
LATE_NO_MORE = 0.008
"""Only below this is a missed objective met again, so that the condition does not follow every breath."""
QUICK_AGAIN = 0.95
QUIET = {
    "NoTraffic": "No request came in the last minute",
    "NotEnoughRequests": "Too few requests came in the last minute to tell a p99",
    "NotStarted": "No pod has served for a whole minute yet",
}
"""Why nothing is known although nothing is wrong."""
SOURCES = {
    "Gateway": "The gateway's histogram tells the p99 as clients see it",
    "Triton": "Triton's histograms tell the p99, without the network",
    "TritonSummary": "Triton's summaries tell a p99 per pod; it is the slowest pod's, not all requests'",
}


def slo_status(now: Situation) -> dict[str, Any]:
    spec = now.accepted.spec
    if spec is None:
        return dict(now.previous.get("slo") or {})
    before = now.previous.get("slo") or {}
    raw: dict[str, Any] = {"target": spec.slo.p99, "window": spec.slo.window or WINDOW}
    assessment = now.assessment
    if assessment is None:
        raw |= {k: before.get(k) for k in ("p99", "source")}
    elif assessment.reading is not None:
        raw |= {"p99": _p99(assessment.reading), "source": assessment.reading.source}
    raw |= {k: before.get(k) for k in ("attainment", "errorBudgetRemaining", "since", "days")}
    if now.observed.budget is not None:
        raw |= _budget(now.observed.budget)
    return {k: v for k, v in raw.items() if v not in (None, [], "")}


def _p99(reading: Reading) -> str | None:
    """Above the last bucket's edge nobody knows how slow."""
    shown = milliseconds(reading.p99_ms)
    beyond = reading.p99_high_ms == float("inf") and shown is not None
    return f">{milliseconds(reading.p99_low_ms) or shown}" if beyond else shown


def _budget(budget: Budget) -> dict[str, Any]:
    return {
        "attainment": percent(budget.attainment),
        "errorBudgetRemaining": percent(budget.remaining, 0),
        "since": budget.days[0][0] if budget.days else None,
        "days": Ledger(days=budget.days).documents(),
    }


def latency_conditions(now: Situation) -> list[Condition]:
    """LatencyMetricAvailable and SLOMet."""
    return [_available(now), _met(now)]


def _available(now: Situation) -> Condition:
    name, assessment = "LatencyMetricAvailable", now.assessment
    more = "".join(f" {p.ref}: {p.message}" for p in now.observed.write_problems if p.ref.kind in MONITORS)
    if not now.serves:
        return Condition(name, None, "NotStarted", clipped(f"No pod serves yet.{more}"))
    if assessment is None:
        found = kept(name, now.before(name), "NotStarted", "Nothing is measured yet.")
        return replace(found, message=f"Nothing is measured yet.{more}") if more else found
    reading = assessment.reading
    if reading is None:
        return Condition(name, None, "NotStarted", f"{QUIET['NotStarted']}.{more}")
    if reading.p99_ms is not None and reading.source is not None and reading.trouble is None:
        return Condition(name, True, reading.source, f"{SOURCES[reading.source]}.{more}")
    trouble = reading.trouble or "NotStarted"
    if trouble in QUIET:
        said = f"{QUIET[trouble]}."
        told = said if reading.message == said else f"{said} {reading.message}"
        return Condition(name, None, trouble, f"{told}{more}")
    return Condition(name, False, trouble, f"{reading.message}{more}" or _advice(trouble))


def _advice(trouble: str) -> str:
    return {
        "MetricsUnavailable": "Nobody answers who could tell: look at the metrics endpoints of the pods,"
        " port 8002, and at Prometheus if there is one",
        "MetricsStale": "What is told is older than it may be: look at Prometheus' targets",
        "MetricsInvalid": "The counters contradict each other",
        "P99Unavailable": "This server tells no distribution of latencies: use Triton 26.01, or a gateway",
    }.get(trouble, trouble)


def _met(now: Situation) -> Condition:
    name, assessment, spec = "SLOMet", now.assessment, now.accepted.spec
    if not now.serves:
        return Condition(name, None, "NotStarted", "No pod serves yet")
    if assessment is None or spec is None:
        return kept(name, now.before(name), "NotStarted", "Nothing is measured yet")
    reading = assessment.reading
    missed_before = (now.before(name) or {}).get("status") == "False"
    too_late = missed(reading, parse_duration(spec.slo.p99) * 1000, missed_before) if reading else None
    if reading is None or too_late is None:
        trouble = reading.trouble if reading is not None and reading.trouble else "NotStarted"
        return Condition(name, None, trouble, "The last minute tells no p99; see LatencyMetricAvailable")
    seen = f"p99 {_p99(reading) or 'unknown'} over the last minute"
    if too_late:
        late = percent(reading.late_share)
        share = f"; {late} of the requests were late or failed, 1% may be" if late is not None else ""
        return Condition(name, False, "SLOMissed", f"{seen} is not within {spec.slo.p99}{share}")
    return Condition(name, True, "SLOMet", f"{seen} is within {spec.slo.p99}")


def missed(reading: Reading, slo_ms: float, missed_before: bool) -> bool | None:
    """Whether the objective was missed in the last minute; None: that minute does not tell."""
    if reading.late_share is not None:
        return reading.late_share > (LATE_NO_MORE if missed_before else LATE)
    if reading.p99_ms is None:
        return None
    return reading.p99_ms > slo_ms * (QUICK_AGAIN if missed_before else 1.0)
