"""The operator itself: is somebody leading, does it keep up, and what does it ask of the API server."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from dashboards.frame import choice, page, row
from dashboards.parts import (
    BAD,
    GOOD,
    NEUTRAL,
    OPERATOR_UID,
    WARN,
    Ask,
    lines,
    number,
    states,
)

JOB = 'job=~"$job"'
SPAN = "[$__rate_interval]"


def quantile(q: float, histogram: str) -> str:
    return f"histogram_quantile({q}, sum by (le) (rate({histogram}_bucket{{{JOB}}}{SPAN})))"


def build() -> dashboard.Dashboard:
    made = page(
        OPERATOR_UID,
        "Seawall / Operator",
        "The controller itself: leadership, reconciles, its calls to the Kubernetes API, its own resources.",
        [choice("job", "Job", "label_values(seawall_leader, job)", many=True)],
    )
    made = row(made, "Now", *_now())
    made = row(made, "Reconciles", *_reconciles())
    made = row(made, "Kubernetes API", *_calls())
    return row(made, "Builds, leadership and the process", *_process())


def _now() -> list[object]:
    return [
        number(
            "Leading",
            "Replicas that hold the Lease. 0: nobody scales, rolls out or writes; pods go on serving. "
            "2 for a moment is a scrape of before and one of after.",
            f"sum(seawall_leader{{{JOB}}})",
            steps=((None, BAD), (1, GOOD), (2, WARN)),
        ),
        number(
            "Replicas",
            "Processes of the operator that are scraped.",
            f"count(seawall_leader{{{JOB}}})",
            steps=((None, WARN), (2, GOOD)),
        ),
        number(
            "Longest wait",
            "How long the service that is next has waited to be looked at.",
            f"max(seawall_queue_oldest_seconds{{{JOB}}})",
            "s",
            ((None, GOOD), (30, WARN), (300, BAD)),
        ),
        number(
            "Reconcile errors",
            "Share of the looks that ended in an error.",
            f'sum(rate(seawall_reconcile_total{{{JOB},result="error"}}{SPAN}) or vector(0))'
            f" / sum(rate(seawall_reconcile_total{{{JOB}}}{SPAN}))",
            "percentunit",
            ((None, GOOD), (0.01, WARN), (0.1, BAD)),
            decimals=1,
        ),
        number(
            "Memory",
            "Of the largest process. The chart's request and limit are in its values.",
            f"max(process_resident_memory_bytes{{{JOB}}})",
            "bytes",
        ),
        number(
            "Up since",
            "Age of the youngest process.",
            f"time() - max(process_start_time_seconds{{{JOB}}})",
            "s",
        ),
    ]


def _reconciles() -> list[object]:
    return [
        lines(
            "Rate, by result",
            "Looks at services and builds. A service at rest is looked at every few minutes.",
            [Ask(f"sum by (result) (rate(seawall_reconcile_total{{{JOB}}}{SPAN}))", "{{result}}")],
            "ops",
            stacked=True,
        ),
        lines(
            "Duration of a look",
            "Includes its calls to the API server. The slowest edge of the histogram is 10 s.",
            [
                Ask(quantile(0.5, "seawall_reconcile_seconds"), "p50"),
                Ask(quantile(0.99, "seawall_reconcile_seconds"), "p99"),
            ],
            "s",
        ),
        lines(
            "Queue",
            "Services that wait to be looked at, by replica.",
            [Ask(f"max by (instance) (seawall_queue_depth{{{JOB}}})", "{{instance}}")],
        ),
        lines(
            "Duration of a round of scaling",
            "Reading the latencies of all services and sizing them; due every 15 s.",
            [
                Ask(quantile(0.5, "seawall_scaling_seconds"), "p50"),
                Ask(quantile(0.99, "seawall_scaling_seconds"), "p99"),
            ],
            "s",
            steps=((None, NEUTRAL), (15, BAD)),
        ),
    ]


def _calls() -> list[object]:
    calls = f"seawall_api_calls_total{{{JOB}}}"
    refused = f'seawall_api_calls_total{{{JOB},code=~"[45].."}}'
    return [
        lines(
            "Calls, by code",
            "409 is a race that is tried again. 403: a rule is missing in the operator's roles. 429: the API "
            "server sends it away.",
            [Ask(f"sum by (code) (rate({calls}{SPAN}))", "{{code}}")],
            "reqps",
            width=8,
            stacked=True,
        ),
        lines(
            "Calls, by verb and resource",
            "The ten busiest.",
            [Ask(f"topk(10, sum by (verb, resource) (rate({calls}{SPAN})))", "{{verb}} {{resource}}")],
            "reqps",
            width=8,
        ),
        lines(
            "Refused calls",
            "Answers of 400 and above. 404 to a read is often the answer that is wanted.",
            [
                Ask(
                    f"sum by (verb, resource, code) (rate({refused}{SPAN}))",
                    "{{code}} {{verb}} {{resource}}",
                )
            ],
            "reqps",
            width=8,
        ),
    ]


def _process() -> list[object]:
    return [
        lines(
            "Builds, by phase",
            "ModelBuilds. Failed ones stay until they are deleted or their spec changes.",
            [Ask(f"max by (phase) (seawall_builds{{{JOB}}})", "{{phase}}")],
            width=6,
        ),
        states(
            "Leader",
            "Which replica held the Lease. A gap of up to 17 s after a lost node is expected.",
            Ask(f"max by (instance) (seawall_leader{{{JOB}}} == 1)", "{{instance}}"),
            width=6,
        ),
        lines(
            "CPU, by replica",
            "Cores. Python uses one at most.",
            [Ask(f"rate(process_cpu_seconds_total{{{JOB}}}{SPAN})", "{{instance}}")],
            width=6,
        ),
        lines(
            "Memory, by replica",
            "Resident, with all that it shares.",
            [Ask(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}")],
            "bytes",
            width=6,
        ),
    ]
