"""The plan that spec.rollout asks for: defaults, strategies, steps, and what is judged how."""

from typing import Any

import pytest

from seawall.api.v1alpha1 import InferenceService, InferenceServiceSpec
from seawall.canary import judge
from seawall.canary.judge import RULES, Settings
from seawall.canary.window import Arm, Window
from seawall.decide.rollout_plan import Policy, QualityStep, RolloutPlan, WeightStep, plan_of, routed
from support.town import service

GATEWAYS = {"gateways": [{"name": "public"}]}
MATCHED, HALF = WeightStep(None, 300, 1800.0), WeightStep(50, 300, 1800.0)
GOLDEN = {"quality": {"goldenSet": {"configMapRef": "golden"}}}
CHECKED = QualityStep("golden", None, None, 0.01)


def spec_of(
    rollout: dict[str, Any] | None = None, routing: dict[str, Any] | None = None
) -> InferenceServiceSpec:
    given = {"rollout": rollout, "routing": routing}
    return InferenceService.model_validate(service(**{k: v for k, v in given.items() if v is not None})).spec


def planned(rollout: dict[str, Any], replicas: int = 3) -> RolloutPlan:
    """On a service that has routes."""
    return plan_of(spec_of(rollout, GATEWAYS), replicas)


@pytest.mark.parametrize(
    ("rollout", "routing", "expected"),
    [
        (None, None, False),
        ({"strategy": "BlueGreen"}, None, False),
        ({"traffic": {"provider": "GatewayAPI"}}, None, False),
        ({"traffic": {"httpRoute": "r"}}, None, True),
        ({"traffic": {"grpcRoute": "r"}}, None, True),
        (None, GATEWAYS, True),
    ],
)
def test_a_service_is_routed_by_gateways_or_by_a_route_that_is_named(
    rollout: dict[str, Any] | None, routing: dict[str, Any] | None, expected: bool
) -> None:
    assert routed(spec_of(rollout, routing)) is expected


def test_pods_split_where_it_is_asked_for_and_nothing_is_routed() -> None:
    replicas = {"traffic": {"provider": "Replicas"}}
    assert plan_of(spec_of(replicas), 3).by_pods
    assert not plan_of(spec_of(replicas, GATEWAYS), 3).by_pods
    assert not plan_of(spec_of({**replicas, "strategy": "BlueGreen"}), 3).by_pods
    assert not plan_of(spec_of(None, GATEWAYS), 3).by_pods


STRATEGIES = {
    "without routes it is Direct": (None, None, "Direct", ()),
    "with routes it is Canary": (None, GATEWAYS, "Canary", (MATCHED, HALF)),
    "with a named route it is Canary": ({"traffic": {"httpRoute": "r"}}, None, "Canary", (MATCHED, HALF)),
    "Replicas make it a Canary": ({"traffic": {"provider": "Replicas"}}, None, "Canary", (MATCHED, HALF)),
    "Direct may be asked for": ({"strategy": "Direct"}, GATEWAYS, "Direct", ()),
    "BlueGreen has no step of its own": ({"strategy": "BlueGreen"}, None, "BlueGreen", ()),
    "BlueGreen compares answers": (
        {"strategy": "BlueGreen", "steps": [GOLDEN]},
        None,
        "BlueGreen",
        (CHECKED,),
    ),
    "BlueGreen moves no weight": (
        {"strategy": "BlueGreen", "steps": [GOLDEN, {"weight": 5}]},
        None,
        "BlueGreen",
        (CHECKED,),
    ),
}


@pytest.mark.parametrize(("rollout", "routing", "strategy", "steps"), STRATEGIES.values(), ids=STRATEGIES)
def test_strategy(
    rollout: dict[str, Any] | None, routing: dict[str, Any] | None, strategy: str, steps: tuple[Any, ...]
) -> None:
    made = plan_of(spec_of(rollout, routing), 3)
    assert (made.strategy, made.steps) == (strategy, steps)


@pytest.mark.parametrize(
    ("replicas", "steps"), [(0, (MATCHED,)), (1, (MATCHED,)), (2, (MATCHED, HALF)), (40, (MATCHED, HALF))]
)
def test_the_default_canary_ends_at_half_of_the_traffic(replicas: int, steps: tuple[WeightStep, ...]) -> None:
    assert planned({}, replicas).steps == steps


STEPS = {
    "weights in their order": ([{"weight": 5}, {"weight": "matched"}], (WeightStep(5), MATCHED)),
    "what a weight needs": (
        [{"weight": 5, "analyze": {"minRequests": 20, "maxDuration": "20m"}, "pause": True}],
        (WeightStep(5, 20, 1200.0, pause=True),),
    ),
    "half of what a weight needs": (
        [{"weight": 100, "analyze": {"maxDuration": "90s"}}],
        (WeightStep(100, 300, 90.0),),
    ),
    "quality alone goes before the default weights": ([GOLDEN], (CHECKED, MATCHED, HALF)),
    "all of a quality step": (
        [
            {
                "quality": {
                    "goldenSet": {"configMapRef": "golden", "size": 64},
                    "metric": "cosine",
                    "maxDisagreement": "0.25",
                },
                "pause": True,
            },
            {"weight": 7},
        ],
        (QualityStep("golden", 64, "cosine", 0.25, pause=True), WeightStep(7)),
    ),
    "an empty list counts as none": ([], (MATCHED, HALF)),
}


@pytest.mark.parametrize(("given", "steps"), STEPS.values(), ids=STEPS)
def test_steps(given: list[dict[str, Any]], steps: tuple[Any, ...]) -> None:
    assert planned({"steps": given}).steps == steps


def test_a_quality_step_without_a_limit_takes_the_floor_of_disagreement() -> None:
    metrics = [{"name": "errors"}, {"name": "disagreement", "floor": "0.03"}]
    made = planned({"steps": [GOLDEN], "analysis": {"metrics": metrics}})
    assert made.steps[0] == QualityStep("golden", None, None, 0.03)


def test_a_service_that_says_nothing_has_the_defaults() -> None:
    assert plan_of(spec_of(), 3) == RolloutPlan()
    made = planned({})
    assert made == RolloutPlan(strategy="Canary", steps=(MATCHED, HALF))
    assert (made.window_seconds, made.warmup_seconds, made.warmup_requests) == (15.0, 60.0, 50)
    assert (made.progress_seconds, made.rollback_seconds, made.history_limit) == (1200.0, 1800.0, 5)
    assert (made.settings.alpha, made.settings.beta, made.max_surge, made.paused) == (0.01, 0.05, None, False)
    assert made.policy == Policy("Rollback", "Pause", "Hold", 900.0, "Hold", 600.0, "Pause")


def test_everything_that_is_said_is_in_the_plan() -> None:
    made = planned(
        {
            "paused": True,
            "analysis": {
                "window": "30s",
                "alpha": "0.02",
                "beta": "0.1",
                "warmup": {"requests": 0, "duration": "0s"},
            },
            "failurePolicy": {
                "onRegression": "Pause",
                "onInconclusive": "Promote",
                "onNoData": "Rollback",
                "noDataTimeout": "1m",
                "onProviderDown": "Pause",
                "providerDownTimeout": "2m",
                "onTimeoutThen": "Rollback",
            },
            "capacity": {"mode": "Surge", "maxSurgeReplicas": 2, "progressDeadline": "5m"},
            "rollbackWindow": "0s",
            "historyLimit": 7,
        }
    )
    assert made == RolloutPlan(
        strategy="Canary",
        steps=(MATCHED, HALF),
        settings=Settings(alpha=0.02, beta=0.1),
        window_seconds=30.0,
        warmup_seconds=0.0,
        warmup_requests=0,
        policy=Policy("Pause", "Promote", "Rollback", 60.0, "Pause", 120.0, "Rollback"),
        max_surge=2,
        progress_seconds=300.0,
        rollback_seconds=0.0,
        history_limit=7,
        paused=True,
    )


METRICS: dict[str, tuple[list[dict[str, str]], dict[str, tuple[float, float, float, float]]]] = {
    "none: all of them": (
        [],
        {r.metric: (r.floor, r.ratio_ok, r.ratio_bad, r.alarm_share) for r in RULES},
    ),
    "one has all of alpha": ([{"name": "errors"}], {"errors": (0.005, 1.25, 3.0, 1.0)}),
    "two share alpha as they did among three": (
        [
            {"name": "errors", "budget": "0.02", "ratioBad": "4"},
            {"name": "latency", "ratioOk": "1.5", "ratioBad": "2.5"},
        ],
        {"latency": (0.01, 1.5, 2.5, 0.5 / 0.9), "errors": (0.02, 1.25, 4.0, 0.4 / 0.9)},
    ),
    "all three keep their shares": (
        [{"name": "disagreement", "floor": "0.03"}, {"name": "errors"}, {"name": "latency"}],
        {
            "latency": (0.01, 1.25, 2.0, 0.5),
            "errors": (0.005, 1.25, 3.0, 0.4),
            "disagreement": (0.03, 1.25, 2.0, 0.1),
        },
    ),
}


@pytest.mark.parametrize(("given", "expected"), METRICS.values(), ids=METRICS)
def test_metrics_that_are_judged(
    given: list[dict[str, str]], expected: dict[str, tuple[float, float, float, float]]
) -> None:
    rules = planned({"analysis": {"metrics": given}}).settings.rules
    found = {r.metric: pytest.approx((r.floor, r.ratio_ok, r.ratio_bad, r.alarm_share)) for r in rules}
    assert expected == found
    assert [r.metric for r in rules] == [r.metric for r in RULES if r.metric in expected]
    assert sum(r.alarm_share for r in rules) == pytest.approx(1.0)


@pytest.mark.parametrize(("named", "outcome"), [("errors", judge.ROLLBACK), ("latency", judge.PROMOTE)])
def test_only_what_is_named_is_judged(named: str, outcome: int) -> None:
    """A candidate that fails often and is never slow."""
    settings = planned({"analysis": {"metrics": [{"name": named}]}}).settings
    state = judge.begin(settings)
    for index in range(40):
        window = Window(15.0 * index, Arm(1000.0, 5.0, 1.0), Arm(1000.0, 1.0, 100.0))
        state = judge.advance(state, window, settings)
    assert int(judge.decide(state, settings)) == outcome


def template(name: str = "fallbacks", **bounds: str) -> dict[str, Any]:
    arms = {arm: {"bad": f"b{arm}", "total": f"t{arm}"} for arm in ("stable", "candidate")}
    return {"name": name, **arms, **bounds}


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ({}, {"latency": 0.5, "errors": 0.4, "disagreement": 0.1}),
        ({"templates": []}, {"latency": 0.5, "errors": 0.4, "disagreement": 0.1}),
        (
            {"templates": [template()]},
            {"latency": 0.5 / 1.4, "errors": 0.4 / 1.4, "disagreement": 0.1 / 1.4, "fallbacks": 0.4 / 1.4},
        ),
        (
            {"metrics": [{"name": "errors"}], "templates": [template(), template("retries")]},
            {"errors": 1 / 3, "fallbacks": 1 / 3, "retries": 1 / 3},
        ),
    ],
)
def test_templates_get_their_part_of_alpha(analysis: dict[str, Any], expected: dict[str, float]) -> None:
    plan = planned({"analysis": analysis})
    rules = {rule.metric: rule.alarm_share for rule in plan.settings.rules}
    assert rules == pytest.approx(expected)
    assert [each.name for each in plan.templates] == [
        name for name in expected if name in "fallbacks retries"
    ]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, (0.01, 1.25, 2.0)),
        ({"budget": "0.002", "ratioOk": "1.5", "ratioBad": "4"}, (0.002, 1.5, 4.0)),
        ({"ratioBad": "3"}, (0.01, 1.25, 3.0)),
    ],
)
def test_bounds_of_a_template(bounds: dict[str, str], expected: tuple[float, float, float]) -> None:
    plan = planned({"analysis": {"templates": [template(**bounds)]}})
    rule = plan.settings.rules[-1]
    assert (rule.floor, rule.ratio_ok, rule.ratio_bad) == expected
    (asked,) = plan.templates
    assert (asked.stable.bad, asked.stable.total) == ("bstable", "tstable")
    assert (asked.candidate.bad, asked.candidate.total) == ("bcandidate", "tcandidate")
    assert rule.of == asked.digest
    other = planned({"analysis": {"templates": [template() | {"stable": {"bad": "x", "total": "y"}}]}})
    assert other.settings.rules[-1].of != rule.of
