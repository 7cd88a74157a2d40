"""What spec.rollout asks for, with every default filled in: the plan that a rollout follows.

It is read anew at each look, so that an edited plan holds from the next transition on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from seawall.api.units import parse_duration
from seawall.api.v1alpha1 import (
    Analysis,
    AnalysisMetric,
    AnalysisTemplate,
    Analyze,
    Capacity,
    FailurePolicy,
    InferenceServiceSpec,
    RolloutSpec,
    Warmup,
)
from seawall.canary.judge import RULES, Rule, Settings
from seawall.canary.templates import Pair, Template, dealt, rule_of

Strategy = Literal["Canary", "BlueGreen", "Direct"]
Choice = Literal["Hold", "Pause", "Rollback", "Promote"]
AnswerMetric = Literal["top1", "cosine", "relative-error"]

HALF = 50
MIN_REQUESTS = 300
"""Of which none may be beyond a limit of one percent, for 95 % certainty that it is kept."""
MAX_SECONDS = 1800.0
UNCHANGED = {rule.metric: rule for rule in RULES}


@dataclass(frozen=True, slots=True)
class QualityStep:
    """Recorded inputs, answered by both revisions before any traffic moves."""

    config_map: str
    size: int | None
    metric: AnswerMetric | None
    """None: by the kind of the outputs"""
    max_disagreement: float
    pause: bool = False


@dataclass(frozen=True, slots=True)
class ShadowStep:
    """Copies of live requests, answered by both revisions while the candidate has no traffic."""

    percent: int
    duration_seconds: float
    max_disagreement: float
    pause: bool = False


@dataclass(frozen=True, slots=True)
class WeightStep:
    """A share of the traffic, and what it takes to go on."""

    percent: int | None
    """None: matched, the share of the candidate's pods among all"""
    min_requests: int = MIN_REQUESTS
    max_seconds: float = MAX_SECONDS
    pause: bool = False


PlanStep = QualityStep | ShadowStep | WeightStep


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do when a rollout does not simply succeed; times in seconds."""

    on_regression: Choice = "Rollback"
    on_inconclusive: Choice = "Pause"
    on_no_data: Choice = "Hold"
    no_data_seconds: float = 900.0
    on_provider_down: Choice = "Hold"
    provider_down_seconds: float = 600.0
    on_timeout_then: Choice = "Pause"


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    strategy: Strategy = "Direct"
    steps: tuple[PlanStep, ...] = ()
    settings: Settings = field(default_factory=Settings)
    window_seconds: float = 15.0
    warmup_seconds: float = 60.0
    warmup_requests: int = 50
    policy: Policy = Policy()
    max_surge: int | None = None
    """pods beside the stable ones; None: as many as the weight needs"""
    by_pods: bool = False
    """no gateway: the share of the traffic is the share of the pods"""
    displace: bool = False
    """the candidate's pods take the places of stable ones"""
    progress_seconds: float = 1200.0
    rollback_seconds: float = 1800.0
    """how long the previous revision is kept warm"""
    history_limit: int = 5
    paused: bool = False
    templates: tuple[Template, ...] = ()
    """of the settings' further metrics"""


def routed(spec: InferenceServiceSpec) -> bool:
    """Routes of a gateway lead to the service, so that its traffic can be split."""
    traffic = spec.rollout.traffic if spec.rollout else None
    named = traffic is not None and (traffic.http_route is not None or traffic.grpc_route is not None)
    return spec.routing is not None or named


def by_pods(spec: InferenceServiceSpec) -> bool:
    """The Service itself splits the traffic, by the pods that it selects."""
    traffic = spec.rollout.traffic if spec.rollout else None
    return traffic is not None and traffic.provider == "Replicas" and not routed(spec)


def strategy_of(spec: InferenceServiceSpec) -> Strategy:
    """Canary where the traffic can be split and nothing else is said."""
    asked = spec.rollout.strategy if spec.rollout else None
    return asked or ("Canary" if routed(spec) or by_pods(spec) else "Direct")


def plan_of(spec: InferenceServiceSpec, stable_replicas: int) -> RolloutPlan:
    """Of a spec that is accepted: what acceptance refuses is left out here."""
    rollout = spec.rollout or RolloutSpec()
    strategy = strategy_of(spec)
    analysis = rollout.analysis or Analysis()
    warmup = analysis.warmup or Warmup()
    capacity = rollout.capacity or Capacity()
    return RolloutPlan(
        strategy=strategy,
        steps=_steps(strategy, rollout, analysis, stable_replicas),
        settings=_settings(analysis),
        policy=_policy(rollout.failure_policy or FailurePolicy()),
        max_surge=capacity.max_surge_replicas,
        by_pods=strategy == "Canary" and by_pods(spec),
        displace=capacity.mode == "Displace" and strategy == "Canary",
        paused=rollout.paused,
        templates=tuple(_template(each) for each in analysis.templates or ()),
        **_given(
            window_seconds=_seconds(analysis.window),
            warmup_seconds=_seconds(warmup.duration),
            warmup_requests=warmup.requests,
            progress_seconds=_seconds(capacity.progress_deadline),
            rollback_seconds=_seconds(rollout.rollback_window),
            history_limit=rollout.history_limit,
        ),
    )


def _given(**fields: Any) -> dict[str, Any]:
    """Without what is absent, so that the defaults stand in one place only."""
    return {name: value for name, value in fields.items() if value is not None}


def _seconds(text: str | None) -> float | None:
    return None if text is None else parse_duration(text)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _steps(
    strategy: Strategy, rollout: RolloutSpec, analysis: Analysis, stable_replicas: int
) -> tuple[PlanStep, ...]:
    if strategy == "Direct":
        return ()
    answers: tuple[PlanStep, ...] = (*_quality_steps(rollout, analysis), *_shadow_steps(rollout, analysis))
    if strategy == "BlueGreen":
        return answers
    return answers + (tuple(_weight_steps(rollout)) or default_weights(stable_replicas))


def default_weights(stable_replicas: int) -> tuple[WeightStep, ...]:
    """One pod of the candidate among all, which is then as busy as each of the others and can be compared
    with them; then half of the traffic, where that is more."""
    matched = WeightStep(None)
    return (matched,) if stable_replicas <= 1 else (matched, WeightStep(HALF))


def _usual(analysis: Analysis) -> float:
    """Share of answers that may differ where a step names none."""
    return _rule(UNCHANGED["disagreement"], _asked(analysis).get("disagreement")).floor


def _quality_steps(rollout: RolloutSpec, analysis: Analysis) -> Iterator[QualityStep]:
    usual = _usual(analysis)
    for step in rollout.steps or ():
        asked = step.quality
        if asked is None or asked.golden_set.config_map_ref is None:
            continue
        limit = _number(asked.max_disagreement)
        yield QualityStep(
            config_map=asked.golden_set.config_map_ref,
            size=asked.golden_set.size,
            metric=asked.metric,
            max_disagreement=usual if limit is None else limit,
            pause=bool(step.pause),
        )


def _shadow_steps(rollout: RolloutSpec, analysis: Analysis) -> Iterator[ShadowStep]:
    for step in rollout.steps or ():
        asked = step.shadow
        if asked is not None:
            limit = _number(asked.max_disagreement)
            yield ShadowStep(
                percent=asked.percent,
                duration_seconds=parse_duration(asked.duration),
                max_disagreement=_usual(analysis) if limit is None else limit,
                pause=bool(step.pause),
            )


def _weight_steps(rollout: RolloutSpec) -> Iterator[WeightStep]:
    for step in rollout.steps or ():
        if step.weight is None:
            continue
        analyze = step.analyze or Analyze()
        yield WeightStep(
            percent=step.weight if isinstance(step.weight, int) else None,
            pause=bool(step.pause),
            **_given(min_requests=analyze.min_requests, max_seconds=_seconds(analyze.max_duration)),
        )


def _settings(analysis: Analysis) -> Settings:
    given = _given(alpha=_number(analysis.alpha), beta=_number(analysis.beta))
    return Settings(rules=_rules(_asked(analysis), analysis.templates or ()), **given)


def _template(asked: AnalysisTemplate) -> Template:
    stable, candidate = (Pair(arm.bad, arm.total) for arm in (asked.stable, asked.candidate))
    return Template(asked.name, stable, candidate)


def _asked(analysis: Analysis) -> dict[str, AnalysisMetric]:
    return {metric.name: metric for metric in analysis.metrics or ()}


def _rules(asked: dict[str, AnalysisMetric], templates: Sequence[AnalysisTemplate]) -> tuple[Rule, ...]:
    """The built-in ones that are named, all of them where none is, and one for each template."""
    used = [_rule(rule, asked.get(rule.metric)) for rule in RULES if not asked or rule.metric in asked]
    used += [_bounded(rule_of(each.name, _template(each).digest), each.budget, each) for each in templates]
    return dealt(used) if asked or templates else RULES


def _rule(rule: Rule, asked: AnalysisMetric | None) -> Rule:
    if asked is None:
        return rule
    return _bounded(rule, asked.budget if asked.budget is not None else asked.floor, asked)


def _bounded(rule: Rule, floor: str | None, asked: AnalysisMetric | AnalysisTemplate) -> Rule:
    given = _given(floor=_number(floor), ratio_ok=_number(asked.ratio_ok), ratio_bad=_number(asked.ratio_bad))
    return replace(rule, **given)


def _policy(asked: FailurePolicy) -> Policy:
    return Policy(
        **_given(
            on_regression=asked.on_regression,
            on_inconclusive=asked.on_inconclusive,
            on_no_data=asked.on_no_data,
            no_data_seconds=_seconds(asked.no_data_timeout),
            on_provider_down=asked.on_provider_down,
            provider_down_seconds=_seconds(asked.provider_down_timeout),
            on_timeout_then=asked.on_timeout_then,
        )
    )
