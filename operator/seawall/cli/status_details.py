"""One service in full: the fleet's line, then what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seawall.cli.status_fleet import colour_of, table
from seawall.cli.status_rollout import evidence, progress, revisions
from seawall.cli.terminal import Paint, aligned


def details(row: Mapping[str, Any], paint: Paint) -> str:
    parts = [table([{**row, "message": ""}], paint, with_namespace=False)]
    conditions = [(c["type"], c["status"], c["reason"], c.get("message", "")) for c in row["conditions"]]
    if conditions:
        lines = [("CONDITION", "STATUS", "REASON", "MESSAGE"), *conditions]

        def code(line: int, column: int) -> str:
            return "1" if line == 0 else colour_of(lines[line][1]) if column == 1 else ""

        parts.append(aligned(lines, paint, code))
    said = [*_objective(row["objective"]), *_scaling(row["scaling"]), *_efficiency(row["efficiency"])]
    if said:
        parts.append(aligned(said))
    if model := _model(row["servedModel"]):
        parts.append(aligned(model))
    if row.get("builds"):
        builds = [(b["name"], b["phase"], _stage(b), b["reason"], b["message"]) for b in row["builds"]]
        parts.append(_titled(("BUILD", "PHASE", "STAGE", "REASON", "MESSAGE"), builds, paint))
    if going := progress(row["rollout"]):
        parts.append(aligned(going))
    if judged := evidence(row["rollout"], row["thresholds"]):
        parts.append(_titled(judged[0], judged[1:], paint))
    if found := revisions(row["rollout"]):
        parts.append(_titled(("REVISION", "IS", "WHY"), found, paint))
    if row["endpoints"]:
        parts.append(_titled(("ENDPOINT", "ADDRESS"), sorted(row["endpoints"].items()), paint))
    return "\n\n".join(parts)


def _titled(header: Sequence[str], lines: Sequence[Sequence[str]], paint: Paint) -> str:
    return aligned([header, *lines], paint, lambda line, column: "" if line else "1")


def _model(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What serves, where a build has made it; nothing of a model that is served as it came."""
    if "format" not in model:
        return []
    accuracy = model.get("accuracy", {})
    proof = f"{accuracy.get('metric')} {accuracy.get('value')} (at least {accuracy.get('low')})"
    size = f"{model.get('originalBytes')} -> {model.get('compressedBytes')} bytes"
    lines = [
        ("PRESET", str(model.get("preset"))),
        ("FORMAT", str(model["format"])),
        ("SIZE", f"{size}, {model['compressionRatio']} times smaller" if "compressionRatio" in model else ""),
        ("ACCURACY", proof + (", unproven" if model.get("unproven") else "") if accuracy else ""),
    ]
    return [line for line in lines if line[1]]


def _objective(slo: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "attainment" not in slo:
        return []
    left = slo.get("errorBudgetRemaining", "unknown")
    since = f" since {slo['since']}" if "since" in slo else ""
    said = f"{slo['attainment']} within {slo.get('target')}{since}; {left} of the error budget is left"
    return [("OBJECTIVE", f"{said} (window {slo.get('window')})")]


def _scaling(scaling: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "mode" not in scaling:
        return []
    lines = [("SCALING", f"{scaling['mode']}, {scaling.get('reason', 'unknown')}")]
    if "message" in scaling:
        lines.append(("WHY", scaling["message"]))
    if "demandRps" in scaling and "capacityRps" in scaling:
        each = f"{scaling['demandRps']} requests/s expected, one replica carries {scaling['capacityRps']}"
        predicted = f"; predicted p99 {scaling['predictedP99']}" if "predictedP99" in scaling else ""
        lines.append(("LOAD", f"{each}{predicted}"))
    return lines


def _efficiency(efficiency: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of a thousand requests; the currency is the AcceleratorClass's."""
    lines = []
    if "costPer1k" in efficiency:
        lines.append(("COST", f"{efficiency['costPer1k']} per 1000 requests"))
    if "joulesPer1k" in efficiency:
        how = ", estimated from the class's watts" if efficiency.get("estimated") else ", metered"
        lines.append(("ENERGY", f"{efficiency['joulesPer1k']} J per 1000 requests{how}"))
    return lines


def _stage(build: Mapping[str, Any]) -> str:
    progress = build["progress"]
    percent = f" {progress['percent']} %" if "percent" in progress else ""
    return f"{progress['stage']}{percent}" if progress.get("stage") else "-"
