"""What the Prometheus operator is told of a service: where its pods' metrics are, and what to make of them.

The group of rules is one of plain Prometheus as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from seawall.desired import names
from seawall.desired.canonical import stamped
from seawall.desired.names import Owner
from seawall.desired.triton import HISTOGRAM

API_VERSION = "monitoring.coreos.com/v1"
SCRAPE_SECONDS = 5
LATENCY_BUDGET = Decimal("0.01")
"""Share of the requests that may be late: the objective is a p99."""
FAST_BURN = Decimal("14.4")
"""Times the allowed rate: an hour of it takes a fiftieth of thirty days' budget."""
ALL_BAD = Decimal("0.9")
"""No share of bad requests reaches many times a budget that is large: this one is always worth a call."""
ENOUGH_REQUESTS = 100
"""In an hour; of fewer, a share says little."""
BUSY_RPS = 10
"""Requests per second from which on a minute's p99 must be there."""
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


def build_prometheus_rule(owner: Owner, slo_seconds: float, availability: str | None) -> dict[str, Any]:
    """Recording rules for dashboards, and two alerts. The operator itself reads none of them."""
    return stamped(
        {
            "apiVersion": API_VERSION,
            "kind": "PrometheusRule",
            "metadata": names.metadata(owner, owner.name, names.child_labels(owner)),
            "spec": {"groups": rule_groups(owner, slo_seconds, availability)},
        }
    )


def rule_groups(owner: Owner, slo_seconds: float, availability: str | None) -> list[dict[str, Any]]:
    """As Prometheus' own rule files have them too."""
    rules = [*_recorded(owner, slo_seconds), *_alerts(owner, availability)]
    return [{"name": f"seawall-{owner.name}", "interval": "15s", "rules": rules}]


def _recorded(owner: Owner, slo_seconds: float) -> list[dict[str, Any]]:
    buckets = _rate(owner, f"{HISTOGRAM}_bucket", "1m", by=f"{BY}, le")
    records = {
        "seawall:rps:15s": _offered(owner, "15s"),
        "seawall:rps:60s": _offered(owner, "1m"),
        "seawall:p99_seconds": f"histogram_quantile(0.99, {buckets}) / 1000",
        "seawall:good_ratio": f"{_good(owner, slo_seconds, '1m')} / {_offered(owner, '1m')}",
        "seawall:inflight": f"sum by ({BY}) (nv_inference_pending_request_count{{{_of(owner)}}})",
        "seawall:mean_batch": (
            f"{_rate(owner, 'nv_inference_count', '1m')} / {_rate(owner, 'nv_inference_exec_count', '1m')}"
        ),
    }
    for window in ("5m", "1h"):
        records[f"seawall:good_ratio:{window}"] = _service_good(owner, slo_seconds, window)
        records[f"seawall:failed_ratio:{window}"] = (
            f"{_service(_failed(owner, window))} / {_service(_offered(owner, window))}"
        )
    records["seawall:requests:1h"] = f"3600 * {_service(_offered(owner, '1h'))}"
    return [{"record": name, "expr": expr} for name, expr in records.items()]


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


def _service_good(owner: Owner, slo_seconds: float, window: str) -> str:
    """Of the revisions that have the edge of this SLO: one from before it was changed has not."""
    measured = f"({_offered(owner, window)} and {_in_time(owner, slo_seconds, window)})"
    return f"{_service(_good(owner, slo_seconds, window))} / {_service(measured)}"


def _service(expr: str) -> str:
    """The promise is the service's: a candidate with a hundredth of its requests burns a hundredth."""
    return f"sum without (revision) ({expr})"


def _alerts(owner: Owner, availability: str | None) -> list[dict[str, Any]]:
    of = f'{{namespace="{owner.namespace}",inferenceservice="{owner.name}"}}'
    alerts = [_burning("latency", of, lambda window: f"1 - seawall:good_ratio:{window}{of}", LATENCY_BUDGET)]
    if availability is not None:
        allowed = 1 - Decimal(availability.removesuffix("%")) / 100
        alerts.append(
            _burning("availability", of, lambda window: f"seawall:failed_ratio:{window}{of}", allowed)
        )
    return [*alerts, _unmeasured(of)]


def _burning(objective: str, of: str, bad: Callable[[str], str], allowed: Decimal) -> dict[str, Any]:
    """Over the hour, so that it matters; over five minutes, so that it ends when the trouble does."""
    most = _plain(min(FAST_BURN * allowed, ALL_BAD))
    burning = " and ".join(f"({bad(window)} > {most})" for window in ("1h", "5m"))
    return {
        "alert": "SeawallErrorBudgetBurning",
        "expr": f"{burning} and (seawall:requests:1h{of} >= {ENOUGH_REQUESTS})",
        "for": "2m",
        "labels": {"severity": "critical", "objective": objective},
        "annotations": {
            "summary": "{{ $labels.namespace }}/{{ $labels.inferenceservice }} spends its "
            + f"{objective} budget many times too fast",
            "description": "{{ $value | humanizePercentage }} of the last hour's requests were bad; "
            + f"{_plain(100 * allowed)}% may be.",
        },
    }


def _unmeasured(of: str) -> dict[str, Any]:
    """Pods are ready and not known to be idle, and yet there is no p99."""
    on = f"on ({BY})"
    return {
        "alert": "SeawallLatencyUnmeasured",
        "expr": (
            f"(seawall_ready_replicas{of} > 0) unless {on} seawall_p99_seconds{of}"
            f" unless {on} (seawall:rps:60s{of} < {BUSY_RPS})"
        ),
        "for": "10m",
        "labels": {"severity": "warning"},
        "annotations": {
            "summary": "{{ $labels.namespace }}/{{ $labels.inferenceservice }} has no p99 latency",
            "description": "Revision {{ $labels.revision }} is not scaled on its latency: its count is held. "
            "The condition LatencyMetricAvailable says why.",
        },
    }


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
