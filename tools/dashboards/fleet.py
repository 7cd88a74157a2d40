"""All services on one page: who breaks its promise, what it costs, and what is being rolled out."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from dashboards.frame import choice, page, row
from dashboards.parts import (
    BAD,
    FLEET_UID,
    GOOD,
    LEFT,
    NEUTRAL,
    SERVICE_UID,
    THE_REVISION,
    THE_SERVICE,
    WARN,
    Ask,
    Column,
    grid,
    lines,
    number,
    states,
)

HERE = 'namespace=~"$namespace"'
NAMES = {"namespace": "Namespace", "inferenceservice": "Service"}
OPEN = (
    f"/d/{SERVICE_UID}?${{__url_time_range}}&var-datasource=${{datasource}}"
    "&var-namespace=${__data.fields.Namespace}&var-inferenceservice=${__data.fields.Service}"
)
SERVICE_LEGEND = "{{namespace}}/{{inferenceservice}}"
RATE_OF_COST = 3.6
"""Price of a thousand requests, times requests per second, times this: price of an hour."""
P99_TO_TARGET = ((None, GOOD), (0.9, WARN), (1, BAD))


def of(metric: str, by: str = THE_REVISION) -> str:
    """Two replicas of the operator tell the same; a service is one series."""
    return f"max by ({by}) ({metric}{{{HERE}}})"


def stable(metric: str) -> str:
    """Of the revision that serves: the target is told under its name."""
    return (
        f"max by ({THE_SERVICE}) ({metric}{{{HERE}}}"
        f" and on ({THE_REVISION}) seawall_slo_target_seconds{{{HERE}}})"
    )


def counted(expr: str) -> str:
    return f"count({expr}) or vector(0)"


def per_service(expr: str, rule: str = f"seawall:rps:60s{{{HERE}}}") -> str:
    """A figure per request, as it is spent: by the requests of each revision."""
    return f"sum by ({THE_SERVICE}) ({of(expr)} * on ({THE_REVISION}) {rule})"


READY = f'seawall_condition{{{HERE},type="Ready"}}'
P99_RATIO = f"{stable('seawall_p99_seconds')} / {of('seawall_slo_target_seconds', THE_SERVICE)}"
COST_PER_HOUR = f"{per_service('seawall_cost_per_1k_requests')} * {RATE_OF_COST}"
WATTS = f"{per_service('seawall_energy_joules_per_1k_requests')} / 1000"


def build() -> dashboard.Dashboard:
    made = page(
        FLEET_UID,
        "Seawall / Fleet",
        "All InferenceServices: objectives, error budgets, cost, energy and rollouts.",
        [choice("namespace", "Namespace", "label_values(seawall_slo_target_seconds, namespace)", many=True)],
    )
    made = row(made, "Now", *_now())
    made = row(made, "Services", _services(), _alerts())
    made = row(made, "Objectives", *_objectives())
    made = row(made, "Cost and energy", *_cost())
    return row(made, "Rollouts", *_rollouts())


def _now() -> list[object]:
    none_is_good = ((None, GOOD), (1, BAD))
    return [
        number(
            "Services",
            "InferenceServices that the operator sees.",
            counted(of("seawall_slo_target_seconds", THE_SERVICE)),
            width=3,
        ),
        number(
            "Not ready",
            "Services whose condition Ready is not True: nobody or not everybody is answered.",
            counted(f"max by ({THE_SERVICE}) ({READY}) != 1"),
            steps=none_is_good,
            width=3,
        ),
        number(
            "Above their SLO",
            "Services whose p99 of the last minute is above the target at this moment.",
            counted(f"{P99_RATIO} > 1"),
            steps=((None, GOOD), (1, WARN)),
            width=3,
        ),
        number(
            "Budget overspent",
            "Services that have missed more in their window than the objective allows.",
            counted(f"{stable('seawall_slo_error_budget_remaining_ratio')} < 0"),
            steps=none_is_good,
            width=3,
        ),
        number(
            "Rollouts under way",
            "Candidates that have a step, paused ones among them.",
            counted(of("seawall_rollout_step")),
            width=3,
        ),
        number(
            "Requests",
            "Of all services: answered and failed, as the model servers count them.",
            f"sum(seawall:rps:60s{{{HERE}}})",
            "reqps",
            width=3,
        ),
        number(
            "Cost",
            "An hour at this moment's traffic, in the currency of the AcceleratorClasses; only of classes "
            "that have a price. Add nothing up if your classes have different currencies.",
            f"sum({COST_PER_HOUR})",
            decimals=2,
            width=3,
        ),
        number(
            "Power",
            "What serving draws: measured where Triton tells a GPU's energy, otherwise estimated from the "
            "AcceleratorClass.",
            f"sum({WATTS})",
            "watt",
            width=3,
        ),
    ]


def _services() -> object:
    columns = [
        Column("Target", of("seawall_slo_target_seconds", THE_SERVICE), "s"),
        Column("p99", stable("seawall_p99_seconds"), "s", 1),
        Column("p99 / target", P99_RATIO, "percentunit", 0, P99_TO_TARGET),
        Column("Attained", stable("seawall_slo_attainment_ratio"), "percentunit", 2),
        Column("Budget left", stable("seawall_slo_error_budget_remaining_ratio"), "percentunit", 0, LEFT),
        Column("Requests", f"sum by ({THE_SERVICE}) (seawall:rps:60s{{{HERE}}})", "reqps", 1),
        Column("Pods wanted", of("seawall_desired_replicas", THE_SERVICE), decimals=0),
        Column("Pods ready", stable("seawall_ready_replicas"), decimals=0),
        Column("Cost / 1000", stable("seawall_cost_per_1k_requests"), decimals=4),
        Column("Energy / 1000", stable("seawall_energy_joules_per_1k_requests"), "joule", 1),
    ]
    return grid(
        "All services",
        "One line per service, of the revision that serves. The emptiest budget first; a name opens it.",
        NAMES,
        columns,
        height=8,
        link=("Service", OPEN),
        sort=("Budget left", False),
    )


def _alerts() -> object:
    labels = {"alertname": "Alert", "severity": "Severity", "alertstate": "State", **NAMES}
    of = ", ".join(labels)
    return grid(
        "Alerts",
        "Pending and firing ones of Seawall's rules, of services and of the operator. Empty is good.",
        labels,
        [Column("value", f'max by ({of}) (ALERTS{{alertname=~"Seawall.+"}})', hidden=True)],
        height=5,
        sort=("State", False),
    )


def _objectives() -> list[object]:
    return [
        lines(
            "p99 against the target",
            "The ten worst. Above 100 % a service is slower than it promised.",
            [Ask(f"topk(10, {P99_RATIO})", SERVICE_LEGEND)],
            "percentunit",
            width=8,
            steps=((None, NEUTRAL), (1, BAD)),
        ),
        lines(
            "Attainment",
            "The ten worst: share of the requests within the target, over each service's own window.",
            [Ask(f"bottomk(10, {stable('seawall_slo_attainment_ratio')})", SERVICE_LEGEND)],
            "percentunit",
            width=8,
            least=None,
            most=1,
        ),
        lines(
            "Error budget left",
            "The ten worst. Below 0 more was missed than the objective allows in the window.",
            [Ask(f"bottomk(10, {stable('seawall_slo_error_budget_remaining_ratio')})", SERVICE_LEGEND)],
            "percentunit",
            width=8,
            least=None,
            most=1,
            steps=((None, NEUTRAL), (0, BAD)),
        ),
    ]


def _cost() -> list[object]:
    return [
        lines(
            "Cost per hour",
            "The ten dearest, at the traffic of the moment, in the currency of their AcceleratorClass.",
            [Ask(f"topk(10, {COST_PER_HOUR})", SERVICE_LEGEND)],
            width=8,
            stacked=True,
        ),
        lines(
            "Power, by service",
            "The ten that draw most.",
            [Ask(f"topk(10, {WATTS})", SERVICE_LEGEND)],
            "watt",
            width=8,
            stacked=True,
        ),
        lines(
            "Energy per 1000 requests",
            "Rises when pods idle: too many replicas, or a candidate that is kept warm.",
            [Ask(f"topk(10, {stable('seawall_energy_joules_per_1k_requests')})", SERVICE_LEGEND)],
            "joule",
            width=8,
        ),
    ]


def _rollouts() -> list[object]:
    columns = [
        Column("Steps passed", of("seawall_rollout_step"), decimals=0),
        Column("of", of("seawall_rollout_steps"), decimals=0),
        Column("Weight", of("seawall_rollout_weight_ratio"), "percentunit", 0),
    ]
    return [
        grid(
            "Candidates",
            "Candidates and how far they got. Paused waits for a person; `seawall status` says for what.",
            {**NAMES, "revision": "Candidate"},
            columns,
            width=12,
            height=8,
            link=("Service", OPEN),
        ),
        states(
            "Phases",
            "When each rollout was in which phase.",
            Ask(of("seawall_rollout_phase", f"{THE_SERVICE}, phase"), f"{SERVICE_LEGEND} {{{{phase}}}}"),
        ),
    ]
