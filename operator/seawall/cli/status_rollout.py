"""The rollout's part of `seawall status`: how far it is, what it waits for, what the judge has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

ALPHA, BETA = "0.01", "0.05"
IS = {
    "Starting": "coming up",
    "Verifying": "coming up",
    "Quality": "being compared",
    "Shadow": "being compared",
    "Stepping": "being judged",
    "Promoting": "taking over",
    "RollingBack": "going back",
}
Lines = list[tuple[str, str]]


def thresholds(spec: Mapping[str, Any]) -> dict[str, str]:
    """Of the evidence, as the status has it: logarithms."""
    analysis = (spec.get("rollout") or {}).get("analysis") or {}
    levels = {"logERollback": analysis.get("alpha", ALPHA), "logEPass": analysis.get("beta", BETA)}
    return {name: f"{-math.log(float(level)):.1f}" for name, level in levels.items()}


def progress(rollout: Mapping[str, Any]) -> Lines:
    """Nothing while nothing is on its way."""
    if not rollout.get("candidateRevision") and not rollout.get("pause") and not rollout.get("hold"):
        return []
    lines = [("ROLLOUT", f"{rollout.get('id', '')}, {rollout.get('phase', '')}{_step(rollout)}")]
    if "desiredWeight" in rollout:
        there = rollout.get("observedWeight")
        seen = f"{there}% on the routes" if there is not None else "the routes differ, or there are none"
        lines.append(("WEIGHT", f"{rollout['desiredWeight']}% meant, {seen}"))
    if "candidateReplicas" in rollout:
        floor, given = rollout.get("frozenReplicas"), rollout.get("displacedReplicas")
        least = f", at least {floor} of the stable revision" if floor is not None else ""
        if floor is not None and given is not None:
            least = f", {floor - given} of the stable revision, {floor} places in all"
        lines.append(("PODS", f"{rollout['candidateReplicas']} of the candidate{least}"))
    for name, word in (("pause", "PAUSED"), ("hold", "WAITS")):
        if told := rollout.get(name):
            why = f"{told.get('reason')}: {told.get('message', '')}".rstrip(": ")
            lines.append((word, f"{why} (since {told.get('since')})"))
    return lines


def _step(rollout: Mapping[str, Any]) -> str:
    step, steps = rollout.get("step"), rollout.get("steps")
    if step is None or steps is None:
        return ""
    return f", step {step + 1} of {steps}" if step < steps else f", all {steps} steps passed"


def evidence(rollout: Mapping[str, Any], limits: Mapping[str, str]) -> list[Sequence[str]]:
    """A line for each metric: evidence and what it takes, the ratio of bad requests, how many were seen."""
    analysis = rollout.get("analysis") or {}
    lines: list[Sequence[str]] = [
        (
            str(metric.get("metric", "")),
            f"{metric.get('logERollback', '-')} of {limits['logERollback']}",
            f"{metric.get('logEPass', '-')} of {limits['logEPass']}",
            str(metric.get("ratio", "-")),
            str(metric.get("candidateRequests", "-")),
            str(metric.get("stableRequests", "-")),
        )
        for metric in analysis.get("metrics") or ()
    ]
    if not lines:
        return []
    header = ("METRIC", "FOR ROLLBACK", "FOR GOING ON", "RATIO", "CANDIDATE", "STABLE")
    return [header, *lines]


def revisions(rollout: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each revision that is there, was refused, or has been."""
    found = []
    if rollout.get("stableRevision"):
        found.append((str(rollout["stableRevision"]), "serving", ""))
    if rollout.get("candidateRevision"):
        phase = str(rollout.get("phase", ""))
        found.append((str(rollout["candidateRevision"]), IS.get(phase, "waiting"), phase))
    if rollout.get("previousRevision"):
        found.append((str(rollout["previousRevision"]), "kept warm", "serves again at abort"))
    rejected = rollout.get("lastRejected")
    if rejected:
        why = f"{rejected['reason']}: {rejected.get('message', '')}".rstrip(": ")
        found.append((str(rejected["revision"]), "rejected", why))
    named = {line[0] for line in found}
    past = [p for p in rollout.get("history", []) if p["revision"] not in named]
    return found + [(p["revision"], p.get("outcome", "past").lower(), _past(p)) for p in past]


def _past(entry: Mapping[str, Any]) -> str:
    return " ".join(str(entry[name]) for name in ("reason", "finishedAt") if entry.get(name))


__all__ = ["evidence", "progress", "revisions", "thresholds"]
