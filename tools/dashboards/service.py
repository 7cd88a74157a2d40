"""One service: from the promise down to the device, in the order in which somebody asks at night."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from dashboards.asked import NAMED, REVISION, SERVER, SPAN, of, served, stable
from dashboards.frame import choice, page, row
from dashboards.parts import (
    BAD,
    GOOD,
    LEFT,
    NEUTRAL,
    SERVICE_UID,
    TRUTH,
    WARN,
    Ask,
    Column,
    grid,
    heat_map,
    lines,
    number,
    states,
)
from dashboards.service_inside import builds, devices, rollout, servers

LATE_ALLOWED = 0.01


def build() -> dashboard.Dashboard:
    made = page(
        SERVICE_UID,
        "Seawall / Service",
        "One InferenceService: latency against its SLO, replicas and why, servers, devices, rollout, builds.",
        [
            choice("namespace", "Namespace", "label_values(seawall_slo_target_seconds, namespace)"),
            choice(
                "inferenceservice",
                "Service",
                'label_values(seawall_slo_target_seconds{namespace="$namespace"}, inferenceservice)',
            ),
        ],
    )
    made = row(made, "Now", *_now())
    made = row(made, "Latency and budget", *_latency())
    made = row(made, "Replicas and why", *_replicas())
    made = row(made, "Model servers", *servers())
    made = row(made, "Devices", *devices())
    made = row(made, "Rollout", *rollout())
    return row(made, "Builds", *builds())


def _now() -> list[object]:
    return [
        number(
            "p99",
            "Of the last minute, of the revision that serves. No data: the condition LatencyMetricAvailable "
            "below says why.",
            stable("seawall_p99_seconds"),
            "s",
            width=3,
            decimals=1,
        ),
        number(
            "Target",
            "The p99 that the spec asks for.",
            of("seawall_slo_target_seconds", "namespace"),
            "s",
            width=3,
        ),
        number(
            "p99 against the target",
            "100 % is exactly at the target.",
            f"{stable('seawall_p99_seconds')} / max(seawall_slo_target_seconds{{{NAMED}}})",
            "percentunit",
            ((None, GOOD), (0.9, WARN), (1, BAD)),
            width=3,
            decimals=0,
        ),
        number(
            "Attained",
            "Share of the requests within the target, over the window of the SLO.",
            stable("seawall_slo_attainment_ratio"),
            "percentunit",
            width=3,
            decimals=2,
        ),
        number(
            "Error budget left",
            "100 %: nothing used. Below 0 more was missed than the objective allows.",
            stable("seawall_slo_error_budget_remaining_ratio"),
            "percentunit",
            LEFT,
            width=3,
            decimals=0,
        ),
        number(
            "Requests", "Answered and failed, a second.", f"sum(seawall:rps:60s{{{NAMED}}})", "reqps", width=3
        ),
        number(
            "Pods ready",
            "Of the revision that serves: those that get traffic.",
            stable("seawall_ready_replicas"),
            width=3,
            steps=((None, BAD), (1, NEUTRAL)),
        ),
        number(
            "Why so many",
            "Reason of the last sizing; `seawall status` has the sentence.",
            of("seawall_scaling_reason", "reason"),
            width=3,
            label="reason",
        ),
    ]


def _latency() -> list[object]:
    buckets = f"sum by (le) (rate(nv_inference_first_response_histogram_ms_bucket{{{SERVER}}}{SPAN}))"
    return [
        lines(
            "p99 against the SLO",
            "As the operator judges it, by revision; `servers` is what Triton's histogram alone says. They "
            "part where the gateway is the source.",
            [
                Ask(of("seawall_p99_seconds"), REVISION),
                Ask(f"seawall:p99_seconds{{{NAMED}}}", f"{REVISION} servers"),
                Ask(of("seawall_slo_target_seconds", "namespace"), "target"),
            ],
            "s",
            held_against={"target": BAD},
        ),
        heat_map(
            "Latency of requests",
            "Requests a second per bucket, of all pods. The edges are whole milliseconds, placed around the "
            "SLO. Triton 26.01 and later; older servers have no histogram.",
            buckets,
            "ms",
        ),
        lines(
            "Late or failed requests, as times of what is allowed",
            "1 spends the budget exactly over the window; 14.4 over an hour is an alert. From the servers' "
            "histograms.",
            [
                Ask(f"(1 - seawall:good_ratio:5m{{{NAMED}}}) / {LATE_ALLOWED}", "5 minutes"),
                Ask(f"(1 - seawall:good_ratio:1h{{{NAMED}}}) / {LATE_ALLOWED}", "1 hour"),
            ],
            "short",
            width=8,
            steps=((None, NEUTRAL), (1, WARN), (14.4, BAD)),
        ),
        lines(
            "Error budget over time",
            "Over the window of the SLO; it comes back as bad days leave the window.",
            [Ask(stable("seawall_slo_error_budget_remaining_ratio"), "left")],
            "percentunit",
            width=8,
            least=None,
            most=1,
            steps=((None, NEUTRAL), (0, BAD)),
        ),
        lines(
            "Failures, by reason",
            "As Triton counts them; requests refused because the queue was full are in none of its series.",
            [Ask(served("nv_inference_request_failure", "revision, reason"), f"{REVISION} {{{{reason}}}}")],
            "reqps",
            width=8,
        ),
    ]


def _replicas() -> list[object]:
    capacity = (
        f"sum(max by (revision) (seawall_capacity_rps{{{NAMED}}})"
        f" * on (revision) max by (revision) (seawall_ready_replicas{{{NAMED}}}))"
    )
    return [
        lines(
            "Replicas",
            "Wanted and ready. Load is the demand in pods; wanted follows it within the bounds of the spec.",
            [
                Ask(of("seawall_desired_replicas", "namespace"), "wanted"),
                Ask(of("seawall_ready_replicas"), f"{REVISION} ready"),
                Ask(of("seawall_scaling_load"), f"{REVISION} load"),
            ],
            width=8,
            held_against={"wanted": "blue"},
        ),
        lines(
            "Capacity and demand",
            "Requests a second: what comes, what is sized for, and what the ready pods carry within the SLO.",
            [
                Ask(f"sum(seawall:rps:15s{{{NAMED}}})", "coming, 15 s"),
                Ask(f"sum(max by (revision) (seawall_demand_rps{{{NAMED}}}))", "sized for"),
                Ask(capacity, "capacity of ready pods"),
            ],
            "reqps",
            width=8,
            held_against={"capacity of ready pods": GOOD},
        ),
        states(
            "Why: reasons over time",
            "Demand, Latency and Backlog grow it. MinReplicas and MaxReplicas are bounds of the spec. "
            "Infeasible: no number of pods meets the SLO. NoData: the count is held.",
            Ask(of("seawall_scaling_reason", "reason"), "{{reason}}"),
            width=8,
        ),
        grid(
            "Conditions",
            "What the operator says of the service. The first that is False is where to look.",
            {"type": "Condition", "reason": "Reason, if not true"},
            [
                Column("Now", of("seawall_condition", "type"), words=TRUTH),
                Column("reason", of("seawall_condition_reason", "type, reason"), hidden=True),
            ],
            width=8,
            height=10,
            sort=("Now", False),
        ),
        states(
            "Conditions over time",
            "Green: true. Red: false. Orange: unknown.",
            Ask(of("seawall_condition", "type"), "{{type}}"),
            width=8,
            height=10,
            words=TRUTH,
        ),
        lines(
            "Load of the latency",
            "The p99 as load: 1 is exactly at capacity. Above 1 the service grows, whatever the demand says.",
            [Ask(of("seawall_slo_load_ratio"), REVISION)],
            width=8,
            height=10,
            steps=((None, NEUTRAL), (1, BAD)),
        ),
    ]
