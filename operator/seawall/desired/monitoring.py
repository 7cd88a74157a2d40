"""What the Prometheus operator is told of a service: where its pods' metrics are, and what to make of them.

The group of rules is one of plain Prometheus as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from seawall.desired import names
from seawall.desired.alerts import RUNBOOK, burning, objectives, selected, stuck
from seawall.desired.burn import DAYS, pairs
from seawall.desired.canonical import stamped
from seawall.desired.names import Owner
from seawall.desired.triton import HISTOGRAM

API_VERSION = "monitoring.coreos.com/v1"
SCRAPE_SECONDS = 5
BUDGET_SECONDS = 60
"""Between two looks at the budget; the long windows are sums over what these have recorded."""
DAYS_SECONDS = 240
"""As seldom as Prometheus still finds the newest figure: it looks back five minutes."""
BY = "namespace, inferenceservice, revision"


def build_pod_monitor(owner: Owner) -> dict[str, Any]:
    """All pods of the service, of whatever revision, under the labels that the operator's own series have."""
    pod_label = "__meta_kubernetes_pod_label_serving_seawall_dev_"
    return stamped(
        {
            "apiVersion": API_VERSION,
            "kind": "PodMonitor",
            "metadata": names.metadata(owner, owner.name, names.child_labels(owner)),
            "spec": {
                "selector": {"matchLabels": names.service_selector(owner)},
                "podMetricsEndpoints": [
                    {
                        "port": "metrics",
                        "path": "/metrics",
                        "interval": f"{SCRAPE_SECONDS}s",
                        "scrapeTimeout": f"{SCRAPE_SECONDS}s",
                        "relabelings": [
                            {
                                "action": "replace",
                                "sourceLabels": [f"{pod_label}{label}"],
                                "targetLabel": label,
                            }
                            for label in ("inferenceservice", "revision")
                        ],
                    }
                ],
            },
        }
    )


@dataclass(frozen=True, slots=True)
class Promise:
    """What the rules of a service depend on."""

    slo_seconds: float
    availability: str | None = None
    window_days: float = 30.0
    patience_seconds: float = 3600.0
    """how long one step of its rollouts may take"""
    runbook: str = RUNBOOK


def build_prometheus_rule(owner: Owner, promise: Promise) -> dict[str, Any]:
    """Recording rules for dashboards, and alerts. The operator itself reads none of them."""
    return stamped(
        {
            "apiVersion": API_VERSION,
            "kind": "PrometheusRule",
            "metadata": names.metadata(owner, owner.name, names.child_labels(owner)),
            "spec": {"groups": rule_groups(owner, promise)},
        }
    )


def rule_groups(owner: Owner, promise: Promise) -> list[dict[str, Any]]:
    """As Prometheus' own rule files have them too."""
    name = f"seawall-{owner.name}"
    groups = [
        {"name": name, "interval": "15s", "rules": _named(_recorded(owner, promise.slo_seconds))},
        {"name": f"{name}-budget", "interval": f"{BUDGET_SECONDS}s", "rules": _budget(owner, promise)},
    ]
    if days := _days(owner, promise):
        groups.append({"name": f"{name}-days", "interval": f"{DAYS_SECONDS}s", "rules": days})
    return groups


def _named(records: dict[str, str]) -> list[dict[str, Any]]:
    return [{"record": name, "expr": expr} for name, expr in records.items()]


def _recorded(owner: Owner, slo_seconds: float) -> dict[str, str]:
    """Of each revision, at the moment."""
    buckets = _rate(owner, f"{HISTOGRAM}_bucket", "1m", by=f"{BY}, le")
    return {
        "seawall:rps:15s": _offered(owner, "15s"),
        "seawall:rps:60s": _offered(owner, "1m"),
        "seawall:p99_seconds": f"histogram_quantile(0.99, {buckets}) / 1000",
        "seawall:good_ratio": f"{_good(owner, slo_seconds, '1m')} / {_offered(owner, '1m')}",
        "seawall:inflight": f"sum by ({BY}) (nv_inference_pending_request_count{{{_of(owner)}}})",
        "seawall:mean_batch": (
            f"{_rate(owner, 'nv_inference_count', '1m')} / {_rate(owner, 'nv_inference_exec_count', '1m')}"
        ),
    }


def _budget(owner: Owner, promise: Promise) -> list[dict[str, Any]]:
    """Of the service: what the last five minutes were, what follows for the last hours, and the calls."""
    of, slo = selected(owner), promise.slo_seconds
    # Of the revisions that have the edge of this SLO: one from before it was changed has not.
    measured = f"({_offered(owner, '5m')} and {_in_time(owner, slo, '5m')})"
    records = {
        "seawall:rps:5m": _service(_offered(owner, "5m")),
        "seawall:failed_rps:5m": _service(_failed(owner, "5m")),
        "seawall:measured_rps:5m": _service(measured),
        "seawall:good_rps:5m": _service(_good(owner, slo, "5m")),
        "seawall:good_ratio:5m": f"seawall:good_rps:5m{of} / seawall:measured_rps:5m{of}",
        "seawall:failed_ratio:5m": f"seawall:failed_rps:5m{of} / seawall:rps:5m{of}",
    }
    used = {window for pair in pairs(promise.window_days) for window in (pair.short, pair.long)} - DAYS
    for window in sorted(used - {"5m"} | {"1h"}, key=_minutes):
        records |= _over(of, window, promise, counted=window in ("1h", "6h"))
    alerts = _burning(of, promise, "critical")
    return [*_named(records), *alerts, stuck(of, promise.patience_seconds, promise.runbook)]


def _days(owner: Owner, promise: Promise) -> list[dict[str, Any]]:
    """The days, and the tickets."""
    of = selected(owner)
    records: dict[str, str] = {}
    for pair in pairs(promise.window_days):
        if pair.long in DAYS:
            records |= _over(of, pair.long, promise, counted=True)
    return [*_named(records), *_burning(of, promise, "warning")]


def _over(of: str, window: str, promise: Promise, *, counted: bool) -> dict[str, str]:
    """Sums over rates that were recorded at even times: each request counts once, whenever it came."""

    def summed(record: str) -> str:
        return f"sum_over_time(seawall:{record}:5m{of}[{window}])"

    records = {f"seawall:good_ratio:{window}": f"{summed('good_rps')} / {summed('measured_rps')}"}
    if promise.availability is not None or window == "1h":
        records[f"seawall:failed_ratio:{window}"] = f"{summed('failed_rps')} / {summed('rps')}"
    if counted:
        records[f"seawall:requests:{window}"] = f"{BUDGET_SECONDS} * {summed('rps')}"
    return records


def _burning(of: str, promise: Promise, severity: str) -> list[dict[str, Any]]:
    found = [pair for pair in pairs(promise.window_days) if pair.severity == severity]
    if not found:
        return []
    return [
        burning(of, objective, found, promise.runbook) for objective in objectives(of, promise.availability)
    ]


def _minutes(window: str) -> int:
    return int(window[:-1]) * {"m": 1, "h": 60}[window[-1]]


def _of(owner: Owner) -> str:
    """A model in stages has series of each stage as well; the service's own model has the service's name."""
    return f'namespace="{owner.namespace}",inferenceservice="{owner.name}",model="{owner.name}"'


def _rate(owner: Owner, metric: str, window: str, by: str = BY, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_of(owner)}{more}}}[{window}]))"


def _failed(owner: Owner, window: str) -> str:
    return _rate(owner, "nv_inference_request_failure", window)


def _offered(owner: Owner, window: str) -> str:
    return f"({_rate(owner, 'nv_inference_request_success', window)} + {_failed(owner, window)})"


def _in_time(owner: Owner, slo_seconds: float, window: str) -> str:
    # Triton floors to whole milliseconds. Prometheus 3 writes the edge 19 as 19.0, Prometheus 2 as 19.
    edge = math.ceil(round(slo_seconds * 1000, 6)) - 1
    return _rate(owner, f"{HISTOGRAM}_bucket", window, more=f',le=~"{edge}([.]0)?"')


def _good(owner: Owner, slo_seconds: float, window: str) -> str:
    """Answered and in time.

    The histogram holds failed requests too, most of them in its lowest bucket: they are taken out. One that
    failed late was never in: the figure may be too low in an outage, never too high.
    """
    return f"clamp_min({_in_time(owner, slo_seconds, window)} - {_failed(owner, window)}, 0)"


def _service(expr: str) -> str:
    """The promise is the service's: a candidate with a hundredth of its requests burns a hundredth."""
    return f"sum without (revision) ({expr})"
