"""Many services at a glance: those in trouble first, one line of why, and a line that sums them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seawall.cli.terminal import Paint, aligned

Row = Mapping[str, Any]
HEADER = (
    "NAME", "MODEL", "ACCEL", "SLO", "P99", "ATTAINED", "REPLICAS", "REVISION", "READY", "REASON", "WHY",
)  # fmt: skip
GOOD, BAD, ODD, MOVING = "32", "31", "33", "36"
FINE = 5


def trouble(row: Row) -> int:
    """0 is worst: not ready; nobody knows; the objective is missed; a rollout that waits; one that moves."""
    if row["ready"] == "False":
        return 0
    if row["ready"] != "True" or row["behind"]:
        return 1
    if row["sloMet"] == "False":
        return 2
    if row["rollout"].get("pause") or row["rollout"].get("hold"):
        return 3
    return 4 if row["rollout"].get("candidateRevision") else FINE


def why(row: Row) -> str:
    """The one sentence that a person needs first; nothing of a service that is well."""
    rollout = row["rollout"]
    match trouble(row):
        case 0:
            return str(row["message"])
        case 1:
            latest = "its latest spec" if row["behind"] else "it"
            return str(row["message"]) if _seen(row) else f"the operator has not looked at {latest} yet"
        case 2:
            return str(_condition(row, "SLOMet").get("message", "the objective is not met"))
        case 3:
            word, told = ("paused", rollout["pause"]) if rollout.get("pause") else ("waits", rollout["hold"])
            return f"{word}: {told.get('reason')}: {told.get('message', '')}".rstrip(": ")
        case 4:
            weight = f" at {rollout['desiredWeight']}%" if "desiredWeight" in rollout else ""
            return f"{rollout.get('phase', 'on its way')}{weight}"
    return ""


def _seen(row: Row) -> bool:
    return bool(row["conditions"]) and not row["behind"]


def _condition(row: Row, kind: str) -> Mapping[str, Any]:
    return next((c for c in row["conditions"] if c["type"] == kind), {})


def ordered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (trouble(row), row["namespace"], row["name"]))


def table(rows: Sequence[Row], paint: Paint, *, with_namespace: bool, width: int | None = None) -> str:
    """With `width`, the last column is cut to what fits."""
    before = ("NAMESPACE",) if with_namespace else ()
    lines = [before + HEADER]
    lines += [((r["namespace"],) if with_namespace else ()) + _cells(r) for r in rows]
    shift = len(before)

    def code(line: int, column: int) -> str:
        if line == 0:
            return "1"
        row = rows[line - 1]
        match HEADER[column - shift] if column >= shift else "":
            case "READY" | "REASON":
                return BAD if trouble(row) == 0 else ODD if trouble(row) == 1 else GOOD
            case "P99" | "ATTAINED":
                return {"True": GOOD, "False": BAD}.get(row["sloMet"], "")
            case "REVISION":
                return MOVING if row["rollout"].get("candidateRevision") else ""
        return ""

    return aligned(lines, paint, code, width)


def _cells(row: Row) -> tuple[str, ...]:
    replicas, desired = row["replicas"], row["desiredReplicas"]
    rollout = row["rollout"]
    stable, candidate = rollout.get("stableRevision"), rollout.get("candidateRevision")
    revision = f"{stable or '-'} -> {candidate}" if candidate else stable
    texts = (
        row["name"],
        row["model"],
        row["accelerator"],
        row["slo"],
        row["p99"],
        row["attainment"],
        None if replicas is None else f"{replicas}/{desired}" if desired is not None else replicas,
        revision,
        row["ready"],
        row["reason"],
    )
    return (*("-" if text in (None, "") else str(text) for text in texts), why(row))


def totals(rows: Sequence[Row], prices: Mapping[str, tuple[float, str]] | None) -> dict[str, Any]:
    """`prices`: of one device of each class for an hour, with the currency; None: nobody may look at them."""
    cost: dict[str, float] = {}
    for row in rows:
        price, currency = (prices or {}).get(row["accelerator"], (0.0, ""))
        pods = (row["replicas"] or 0) + (row["rollout"].get("candidateReplicas") or 0)
        if price:
            cost[currency] = cost.get(currency, 0.0) + price * pods * row["devices"]
    return {
        "services": len(rows),
        "ready": sum(row["ready"] == "True" and not row["behind"] for row in rows),
        "sloMet": sum(row["sloMet"] == "True" for row in rows),
        "sloMissed": sum(row["sloMet"] == "False" for row in rows),
        "rollouts": sum(bool(row["rollout"].get("candidateRevision")) for row in rows),
        "costPerHour": {currency: f"{amount:.2f}" for currency, amount in sorted(cost.items())},
    }


def summed_up(total: Mapping[str, Any]) -> str:
    measured = total["sloMet"] + total["sloMissed"]
    parts = [
        f"services {total['services']}",
        f"ready {total['ready']}",
        f"SLO met {total['sloMet']} of {measured} measured",
        f"rollouts {total['rollouts']}",
    ]
    parts += [
        f"cost {amount} {currency}".rstrip() + "/h" for currency, amount in total["costPerHour"].items()
    ]
    return ", ".join(parts)


def colour_of(status: str) -> str:
    """Of a condition."""
    return {"True": GOOD, "False": BAD}.get(status, ODD)


__all__ = ["FINE", "colour_of", "ordered", "summed_up", "table", "totals", "trouble", "why"]
