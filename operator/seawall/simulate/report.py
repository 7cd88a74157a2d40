"""The results as JSON and as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from seawall.simulate.frontier import Frontier
from seawall.simulate.study import Figure, PolicyResult, StudyResult

HEADER = (
    "POLICY", "ATTAINED %", "VIOLATING MIN %", "P99 ms", "REPLICA-HOURS", "x CLAIRVOYANT", "TURNS/h", "MAX",
    "COST/1k", "J/1k",
)  # fmt: skip


def study_json(study: StudyResult, slo: str) -> dict[str, Any]:
    return {
        "slo": slo,
        "requests": study.requests,
        "policies": {name: policy_json(result) for name, result in study.policies.items()},
    }


def frontier_json(frontier: Frontier, slo: str) -> dict[str, Any]:
    points = [
        {"profile": p.offer, "margin": p.margin, "unbeaten": p.best, **policy_json(p.result)}
        for p in frontier.points
    ]
    refused = [{"profile": name, "reason": reason} for name, reason in frontier.refused]
    return {"slo": slo, "requests": frontier.requests, "frontier": points, "refused": refused}


def policy_json(result: PolicyResult) -> dict[str, Any]:
    figures = {
        "attainment": result.attainment,
        "violatingMinutes": result.violating_minutes,
        "p99Ms": result.p99_ms,
        "replicaHours": result.replica_hours,
        "replicaHoursVsClairvoyant": result.versus_clairvoyant,
        "directionChangesPerHour": result.direction_changes_per_hour,
        "costPer1k": result.cost_per_1k,
        "joulesPer1k": result.joules_per_1k,
    }
    shown: dict[str, Any] = {name: _number(figure) for name, figure in figures.items()}
    shown["interval"] = {
        name: [round(figure.low, 6), round(figure.high, 6)]
        for name, figure in figures.items()
        if figure is not None and figure.low is not None and figure.high is not None
    }
    return shown


def _number(figure: Figure | None) -> float | None:
    """JSON knows no infinity: a p99 that lies among refused requests is null."""
    return round(figure.mean, 6) if figure is not None and math.isfinite(figure.mean) else None


def study_table(study: StudyResult) -> str:
    return _table(HEADER, [[result.name, *_cells(result)] for result in study.policies.values()])


def frontier_table(frontier: Frontier) -> str:
    rows = [
        [f"{p.offer} {'*' if p.best else ''}".strip(), f"{p.margin:.0%}", *_cells(p.result)]
        for p in frontier.points
    ]
    return _table(("PROFILE", "MARGIN", *HEADER[1:]), rows)


def _cells(result: PolicyResult) -> list[str]:
    return [
        _cell(result.attainment, 3, 100.0),
        _cell(result.violating_minutes, 2, 100.0),
        _cell(result.p99_ms, 1),
        _cell(result.replica_hours, 1),
        _cell(result.versus_clairvoyant, 2),
        _cell(result.direction_changes_per_hour, 1),
        str(result.max_replicas),
        _cell(result.cost_per_1k, 5),
        _cell(result.joules_per_1k, 1),
    ]


def _cell(figure: Figure | None, digits: int, times: float = 1.0) -> str:
    if figure is None:
        return "-"
    if not math.isfinite(figure.mean):
        return "never"
    half = "" if figure.high is None else f" ±{times * (figure.high - figure.mean):.{digits}f}"
    return f"{times * figure.mean:.{digits}f}{half}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    everything = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[place]) for row in everything) for place in range(len(header))]
    lines = []
    for row in everything:
        first, *rest = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)
