"""The alerts that depend on one service's spec: how its budget burns, how long its rollout may stand still.

All others are the same for every service, and the chart has them once (`charts/seawall/files/rules.yaml`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from seawall.desired.burn import Pair, Severity
from seawall.desired.names import Owner

LATENCY_BUDGET = Decimal("0.01")
"""Share of the requests that may be late: the objective is a p99."""
ALL_BAD = Decimal("0.9")
"""No share of bad requests reaches many times a budget that is large: this one is always worth a call."""
ENOUGH_BAD = 10
"""Bad requests in the long window; of fewer, a share says little."""
UNDER_WAY = "Starting|Verifying|Quality|Shadow|Stepping|Promoting|Draining|RollingBack"
"""Phases in which the operator has something to do. A build has a deadline of its own, and a pause is waited
for by the chart's SeawallRolloutWaiting."""
RUNBOOK = "docs/runbooks/{alert}.md"
SERVICE = "{{ $labels.namespace }}/{{ $labels.inferenceservice }}"
NAMES: dict[Severity, str] = {
    "critical": "SeawallErrorBudgetBurning",
    "warning": "SeawallErrorBudgetBurningSlowly",
}


@dataclass(frozen=True, slots=True)
class Objective:
    name: str
    allowed: Decimal
    """share of bad requests"""
    bad: Callable[[str], str]
    """that share over a window, in PromQL"""


def selected(owner: Owner) -> str:
    return f'{{namespace="{owner.namespace}",inferenceservice="{owner.name}"}}'


def objectives(of: str, availability: str | None) -> list[Objective]:
    found = [Objective("latency", LATENCY_BUDGET, lambda window: f"1 - seawall:good_ratio:{window}{of}")]
    if availability is not None:
        allowed = 1 - Decimal(availability.removesuffix("%")) / 100
        found.append(Objective("availability", allowed, lambda window: f"seawall:failed_ratio:{window}{of}"))
    return found


def burning(of: str, objective: Objective, pairs: Sequence[Pair], runbook: str) -> dict[str, Any]:
    """Pairs of one severity: any of them raises it."""
    severity, windows = pairs[0].severity, " or ".join(pair.long for pair in pairs)
    held = {"for": "2m"} if severity == "critical" else {}  # of days nothing is a short spell
    return {
        "alert": NAMES[severity],
        "expr": " or ".join(_pair(of, objective, pair) for pair in pairs),
        **held,
        "labels": {"severity": severity, "objective": objective.name},
        "annotations": {
            "summary": f"{SERVICE} spends its {objective.name} budget too fast",
            "description": "{{ $value | humanizePercentage }} of the requests of the last "
            + f"{windows} were bad; {plain(100 * objective.allowed)}% may be.",
            "runbook_url": runbook.replace("{alert}", NAMES[severity]),
        },
    }


def _pair(of: str, objective: Objective, pair: Pair) -> str:
    most = plain(min(pair.rate * objective.allowed, ALL_BAD))
    long, short = objective.bad(pair.long), objective.bad(pair.short)
    enough = f"({long}) * seawall:requests:{pair.long}{of} >= {ENOUGH_BAD}"
    return f"(({long} > {most}) and ({short} > {most}) and ({enough}))"


def stuck(of: str, patience_seconds: float, runbook: str) -> dict[str, Any]:
    """No phase, step, weight or pod has changed for longer than any step of the plan may take."""
    minutes = math.ceil(patience_seconds / 60)
    by = "namespace, inferenceservice"
    since = f"max by ({by}) (seawall_rollout_progress_timestamp_seconds{of})"
    under_way = f'seawall_rollout_phase{{{of[1:-1]},phase=~"{UNDER_WAY}"}}'
    return {
        "alert": "SeawallRolloutStuck",
        "expr": f"(time() - {since} > {minutes * 60}) and on ({by}) {under_way}",
        "for": "2m",
        "labels": {"severity": "warning"},
        "annotations": {
            "summary": f"The rollout of {SERVICE} does not get on",
            "description": "It is where it is for {{ $value | humanizeDuration }}; no step of its plan takes"
            f" more than {minutes} minutes. The condition RolloutHealthy says what it waits for.",
            "runbook_url": runbook.replace("{alert}", "SeawallRolloutStuck"),
        },
    }


def plain(number: Decimal) -> str:
    """As PromQL reads it, without an exponent."""
    return f"{number.normalize():f}"
