"""The dashboards over what a real cluster measures: a canary behind a gateway, real pods, the installed operator.

The cluster's Prometheus has no Prometheus operator beside it, and so no rules: one of the test's own takes its
series over and evaluates the rules that the operator would have it evaluate.
"""

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dashboards.queries import Query, asked, load, queries
from dashboards.stand import Prometheus, prometheus

from seawall.desired.monitoring import Promise, rule_groups
from seawall.desired.names import Owner
from support.routed import NAME, Stand

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

SOURCE = "prometheus.infra.svc:9090"
SERIES = '{__name__=~"seawall_.+|nv_.+|process_.+"}'
NEEDS: dict[str, Callable[[Query], bool]] = {
    "a histogram, which Triton has from 26.01 on": lambda query: (
        "histogram_ms" in query.expr or "good_ratio" in query.expr or "seawall:p99" in query.expr
    ),
    "a GPU": lambda query: "nv_gpu" in query.expr,
    "something that goes wrong": lambda query: "ALERTS" in query.expr or "condition_reason" in query.expr,
    "a ModelBuild that a service uses": lambda query: "seawall_build_phase" in query.expr,
}
"""What the local cluster does not have."""
PRICED = {
    "cost": {"perHour": "0.10", "currency": "EUR"},
    "power": {"idleWatts": 20, "peakWatts": 80},
}
PATIENCE = 180.0


def federated() -> dict[str, object]:
    return {
        "job_name": "federate",
        "honor_labels": True,
        "metrics_path": "/federate",
        "params": {"match[]": [SERIES]},
        "scrape_interval": "5s",
        "scrape_timeout": "5s",
        "static_configs": [{"targets": [SOURCE]}],
    }


def silent(holder: Prometheus, asked_for: list[Query], variables: dict[str, dict[str, str]]) -> list[Query]:
    """Those without a number."""
    found = []
    for query in asked_for:
        answer = holder.now(asked(query.expr, variables[query.dashboard] | {"__rate_interval": "1m"}))
        if not any(math.isfinite(value) for _, value in answer):
            found.append(query)
    return found


async def test_every_query_has_data_but_those_of_what_is_not_here(stand: Stand, tmp_path: Path) -> None:
    namespace = stand.kube.namespace
    before = dict.fromkeys(PRICED) | (await stand.kube.get("acceleratorclass", "cpu"))["spec"]
    await stand.kube.patch("acceleratorclass", "cpu", {"spec": PRICED})
    try:
        await stand.change("second")
        await stand.stepping()
        left = await unanswered(namespace, tmp_path)
    finally:
        await stand.kube.patch("acceleratorclass", "cpu", {"spec": {name: before[name] for name in PRICED}})
    assert [f"{query.dashboard}: {query.panel}: {query.expr}" for query in left] == []


async def unanswered(namespace: str, folder: Path) -> list[Query]:
    """What has had no number within the time, of what can have one here."""
    variables = {
        "fleet": {"namespace": namespace},
        "operator": {"job": ".*"},
        "service": {"namespace": namespace, "inferenceservice": NAME},
    }
    rules = {"groups": rule_groups(Owner(NAME, namespace, "u-1"), Promise(0.5, "99.9%"))}
    left = [query for query in queries(load()) if not any(needs(query) for needs in NEEDS.values())]
    with prometheus(folder, [federated()], rules) as holder:
        end = time.monotonic() + PATIENCE
        while left and time.monotonic() < end:
            left = await asyncio.to_thread(silent, holder, left, variables)
            await asyncio.sleep(3)
    return left
