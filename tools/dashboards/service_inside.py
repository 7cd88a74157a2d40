"""The lower half of a service's page: its servers, devices, rollout and builds."""

from __future__ import annotations

import math

from dashboards.asked import NAMED, REVISION, each_request, of, served
from dashboards.parts import (
    BAD,
    GOOD,
    NEUTRAL,
    Ask,
    Column,
    grid,
    lines,
    states,
)

ROLLED_BACK_AT, PASSED_AT = round(math.log(1 / 0.01), 3), round(math.log(1 / 0.05), 3)


def servers() -> list[object]:
    return [
        lines(
            "Batch size",
            "Requests per execution. 1 under load: nothing waits long enough to be batched, or it is off.",
            [Ask(f"seawall:mean_batch{{{NAMED}}}", REVISION)],
            width=6,
        ),
        lines(
            "Waiting in the servers",
            "Requests that wait for execution, of all pods.",
            [Ask(f"seawall:inflight{{{NAMED}}}", REVISION)],
            width=6,
        ),
        lines(
            "Where the time goes",
            "Means of a request, which say nothing of the p99 but tell waiting from computing.",
            [
                Ask(each_request("queue"), "queue"),
                Ask(each_request("compute_input"), "input"),
                Ask(each_request("compute_infer"), "model"),
                Ask(each_request("compute_output"), "output"),
            ],
            "s",
            width=6,
            stacked=True,
        ),
        lines(
            "Requests, by pod",
            "Far apart: clients that keep their connections, or a pod that is slow.",
            [Ask(served("nv_inference_request_success", "pod"), "{{pod}}")],
            "reqps",
            width=6,
        ),
    ]


def devices() -> list[object]:
    def device(metric: str) -> str:
        return f"max by (pod, gpu_uuid) ({metric}{{{NAMED}}})"

    return [
        lines(
            "GPU utilisation",
            "Time with any kernel running, by pod and device. It is not how full the device is.",
            [Ask(device("nv_gpu_utilization"), "{{pod}} {{gpu_uuid}}")],
            "percentunit",
            width=8,
            most=1,
        ),
        lines(
            "GPU memory",
            "Used share, by pod and device.",
            [
                Ask(
                    f"{device('nv_gpu_memory_used_bytes')} / {device('nv_gpu_memory_total_bytes')}",
                    "{{pod}} {{gpu_uuid}}",
                )
            ],
            "percentunit",
            width=8,
            most=1,
        ),
        lines(
            "GPU power",
            "By pod and device, against its limit.",
            [
                Ask(device("nv_gpu_power_usage"), "{{pod}} {{gpu_uuid}}"),
                Ask(f"max(nv_gpu_power_limit{{{NAMED}}})", "limit"),
            ],
            "watt",
            width=8,
            held_against={"limit": BAD},
        ),
    ]


def rollout() -> list[object]:
    def evidence(direction: str) -> list[Ask]:
        asked = f'seawall_rollout_evidence{{{NAMED},direction="{direction}"}}'
        return [Ask(f"max by (metric) ({asked})", "{{metric}}")]

    return [
        lines(
            "Weight of the candidate",
            "Share of the traffic that the routes say it gets.",
            [Ask(of("seawall_rollout_weight_ratio"), REVISION)],
            "percentunit",
            width=6,
            most=1,
        ),
        states(
            "Phases",
            "Paused waits for a person, everything else goes on by itself.",
            Ask(of("seawall_rollout_phase", "phase"), "{{phase}}"),
            width=6,
        ),
        lines(
            "Evidence that it is worse",
            "A logarithm, by metric. It is rolled back at ln(1 / alpha); the dashed line is that of the "
            "default alpha, 0.01.",
            evidence("rollback"),
            width=6,
            least=None,
            steps=((None, NEUTRAL), (ROLLED_BACK_AT, BAD)),
        ),
        lines(
            "Evidence that it is not worse",
            "A logarithm, by metric, in the step at hand. The last step is passed at ln(1 / beta); the "
            "dashed line is that of the default beta, 0.05.",
            evidence("pass"),
            width=6,
            least=None,
            steps=((None, NEUTRAL), (PASSED_AT, GOOD)),
        ),
    ]


def builds() -> list[object]:
    in_namespace = 'seawall_build_phase{namespace="$namespace"}'
    return [
        grid(
            "Builds of the namespace",
            "ModelBuilds that a service uses. A failed one says why in `kubectl describe swb NAME`.",
            {"modelbuild": "ModelBuild", "phase": "Phase"},
            [Column("value", f"max by (modelbuild, phase) ({in_namespace})", hidden=True)],
            width=12,
            height=6,
            sort=("Phase", False),
        ),
        states(
            "Builds over time",
            "When each was in which phase.",
            Ask(f"max by (modelbuild, phase) ({in_namespace})", "{{modelbuild}} {{phase}}"),
            width=12,
            height=6,
        ),
    ]
