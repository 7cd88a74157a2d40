"""spec.rollout: how a new revision takes over from the one that serves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from seawall.api.analysis import Analysis, AnalysisTime, FailurePolicy, Level
from seawall.api.fields import Model, ObjectName, Rule, Span, checked, rule

Metric = Literal["top1", "cosine", "relative-error"]

INDEXES = str(list(range(20)))
ROUTED = (
    "(has(self.routing) || (has(self.rollout.traffic) && "
    "(has(self.rollout.traffic.httpRoute) || has(self.rollout.traffic.grpcRoute))))"
)
BY_PODS = (
    "(has(self.rollout.traffic) && has(self.rollout.traffic.provider) && "
    "self.rollout.traffic.provider == 'Replicas')"
)
DIRECT = f"(has(self.rollout.strategy) ? self.rollout.strategy == 'Direct' : !{ROUTED} && !{BY_PODS})"
HIGHEST_BY_PODS = 50
"""Percent."""
RULES_OF_SPEC: tuple[Rule, ...] = (
    rule(
        f"!has(self.rollout) || !has(self.rollout.strategy) || self.rollout.strategy != 'Canary' || {ROUTED} "
        f"|| {BY_PODS}",
        "strategy Canary splits the traffic: set spec.routing, name a route in rollout.traffic, or let its "
        "provider be Replicas; BlueGreen needs none of these",
        ".rollout.strategy",
    ),
    rule(
        f"!has(self.rollout) || !{BY_PODS} || !{ROUTED}",
        "provider Replicas splits the traffic by the pods that the Service selects, without any route: leave "
        "out routing, httpRoute and grpcRoute, or the provider",
        ".rollout.traffic",
    ),
    rule(
        f"!has(self.rollout) || !{DIRECT} || !((has(self.rollout.steps) && "
        "size(self.rollout.steps) > 0) || has(self.rollout.analysis) || "
        "has(self.rollout.failurePolicy) || has(self.rollout.rollbackWindow))",
        "steps, analysis, failurePolicy and rollbackWindow mean nothing with strategy Direct, the default "
        "of a service without routes; choose BlueGreen or Canary",
        ".rollout.strategy",
    ),
    rule(
        "!has(self.routing) || !has(self.rollout) || !has(self.rollout.traffic) || "
        "!(has(self.rollout.traffic.httpRoute) || has(self.rollout.traffic.grpcRoute))",
        "routes are made from spec.routing or named here, not both",
        ".rollout.traffic",
    ),
    rule(
        "has(self.routing) || !has(self.rollout) || !has(self.rollout.steps) || "
        "!self.rollout.steps.exists(s, has(s.shadow))",
        "a shadow step copies requests in a route of the operator's making: set spec.routing; of a route "
        "that is named in rollout.traffic nothing but weights is changed",
        ".rollout.steps",
    ),
)
"""Of rollout and routing together, for the spec that holds both."""


def in_order(condition: str) -> str:
    """CEL: what holds of every two steps i and j of which i comes first. The language knows no index."""
    return (
        f"!has(self.steps) || {INDEXES}.all(i, {INDEXES}.all(j, "
        f"i >= j || j >= size(self.steps) || {condition}))"
    )


def is_number(step: str) -> str:
    return f"(has(self.steps[{step}].weight) && type(self.steps[{step}].weight) == int)"


class GoldenSet(Model):
    """Recorded inputs that both revisions answer."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule("has(self.configMapRef) != has(self.pvc)", "give exactly one of configMapRef and pvc")
        )
    )
    config_map_ref: ObjectName | None = Field(None, description="ConfigMap in the service's namespace.")
    pvc: ObjectName | None = Field(None, description="PersistentVolumeClaim in the service's namespace.")
    size: int | None = Field(
        None, ge=1, le=1_000_000, description="How many of its inputs to use; all if absent."
    )


class QualityStep(Model):
    """Compares the answers of both revisions before any traffic moves."""

    golden_set: GoldenSet
    metric: Metric | None = Field(
        None, description="How answers are compared; by the kind of the outputs if absent."
    )
    max_disagreement: Level | None = Field(
        None,
        description="Largest share of answers that may differ; the floor of disagreement if absent.",
    )


class ShadowStep(Model):
    """Puts copies of live requests to both revisions and compares the answers; clients get none of them."""

    percent: int = Field(
        ge=1, le=100, description="Share of the HTTP requests that are compared, in percent."
    )
    duration: AnalysisTime = Field(description="How long answers are compared.")
    max_disagreement: Level | None = Field(
        None,
        description="Largest share of answers that may differ; the floor of disagreement if absent.",
    )


class Analyze(Model):
    """What a weight needs before the next step."""

    min_requests: int | None = Field(
        None, ge=1, le=100_000_000, description="Requests of the candidate to see at least; 300 if absent."
    )
    max_duration: AnalysisTime | None = Field(
        None, description="When to stop waiting for a verdict; 30m if absent."
    )


class RolloutStep(Model):
    """One step: a quality check, a shadow, or a weight with its analysis."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "[has(self.quality), has(self.shadow), has(self.weight)].filter(x, x).size() == 1",
                "give exactly one of quality, shadow and weight",
            ),
            rule("!has(self.analyze) || has(self.weight)", "analyze needs a weight", ".analyze"),
        )
    )
    quality: QualityStep | None = None
    shadow: ShadowStep | None = None
    weight: Annotated[int, Field(ge=1, le=100)] | Literal["matched"] | None = Field(
        None,
        description="Percent of traffic for the candidate, or matched: the share of one replica among all.",
        json_schema_extra=checked(
            rule(
                "type(self) == int ? (int(self) >= 1 && int(self) <= 100) : self == 'matched'",
                "must be matched, or a whole number from 1 to 100",
            )
        ),
    )
    analyze: Analyze | None = None
    pause: bool | None = Field(None, description="Wait for the command promote after this step.")


class Traffic(Model):
    """Who splits the traffic."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.manage) || "
                "(self.manage == 'Weights') == (has(self.httpRoute) || has(self.grpcRoute))",
                "manage is Weights where httpRoute or grpcRoute names a route, and Route where none is named",
                ".manage",
            ),
            rule(
                "!has(self.provider) || self.provider != 'Replicas' || !has(self.manage)",
                "manage speaks of routes, and provider Replicas has none",
                ".manage",
            ),
        )
    )
    provider: Literal["GatewayAPI", "Istio", "Nginx", "Replicas"] | None = Field(
        None,
        description="What splits the traffic; GatewayAPI if absent. Replicas: no gateway, the Service, "
        "by numbers of pods; shares are those of pods, and one connection stays with one pod.",
    )
    http_route: ObjectName | None = Field(
        None, description="Existing HTTPRoute of the same namespace whose weights to set."
    )
    grpc_route: ObjectName | None = Field(
        None, description="Existing GRPCRoute of the same namespace whose weights to set."
    )
    manage: Literal["Weights", "Route"] | None = Field(
        None,
        description="Weights: those of an existing route, and nothing else of it. Route: the whole route, "
        "made from spec.routing. Follows from what is given if absent.",
    )


class Capacity(Model):
    """Where the candidate's replicas come from."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.mode) || self.mode != 'Displace' || !has(self.maxSurgeReplicas)",
                "maxSurgeReplicas counts replicas beside those that serve, and mode Displace has none",
                ".maxSurgeReplicas",
            )
        )
    )
    mode: Literal["Surge", "Displace"] | None = Field(
        None,
        description="Surge, and if absent: extra replicas. Displace: replicas that serve make room, as far "
        "as those that are left carry the traffic; needs strategy Canary, and keeps no revision warm.",
    )
    max_surge_replicas: int | None = Field(
        None, ge=1, le=1000, description="Extra replicas at most; as many as a weight needs if absent."
    )
    progress_deadline: AnalysisTime | None = Field(
        None, description="Time for a candidate to start, and for the pods of each step; 20m if absent."
    )


class RolloutSpec(Model):
    """How a new revision takes over."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                in_order(
                    f"!{is_number('i')} || !{is_number('j')} || "
                    "int(self.steps[i].weight) < int(self.steps[j].weight)"
                ),
                "weights must rise from step to step",
                ".steps",
            ),
            rule(
                in_order("!has(self.steps[i].weight) || !has(self.steps[j].quality)"),
                "quality steps must come before any weight",
                ".steps",
            ),
            rule(
                in_order("!has(self.steps[i].shadow) || !has(self.steps[j].quality)"),
                "quality steps must come before any shadow",
                ".steps",
            ),
            rule(
                in_order("!has(self.steps[i].weight) || !has(self.steps[j].shadow)"),
                "shadow steps must come before any weight",
                ".steps",
            ),
            rule(
                "!has(self.strategy) || self.strategy != 'BlueGreen' || !has(self.steps) || "
                "!self.steps.exists(s, has(s.weight))",
                "strategy BlueGreen moves all of the traffic at once; a weight needs strategy Canary",
                ".steps",
            ),
            rule(
                "!has(self.analysis) || !has(self.analysis.metrics) || size(self.analysis.metrics) == 0 || "
                "(has(self.strategy) && self.strategy == 'BlueGreen') || "
                "self.analysis.metrics.exists(m, m.name != 'disagreement') || "
                "(has(self.analysis.templates) && size(self.analysis.templates) > 0)",
                "live requests show latency and errors: judge by one of these at least, or by a template",
                ".analysis.metrics",
            ),
            rule(
                "!has(self.strategy) || self.strategy != 'BlueGreen' || !has(self.analysis) || "
                "!has(self.analysis.templates) || size(self.analysis.templates) == 0",
                "templates judge a share of the traffic, and strategy BlueGreen moves all of it at once; use "
                "Canary",
                ".analysis.templates",
            ),
            rule(
                "!has(self.traffic) || !has(self.traffic.provider) || self.traffic.provider != 'Replicas' || "
                "!has(self.strategy) || self.strategy == 'Canary'",
                "provider Replicas splits the traffic, which only strategy Canary does",
                ".strategy",
            ),
            rule(
                "!has(self.traffic) || !has(self.traffic.provider) || self.traffic.provider != 'Replicas' || "
                "!has(self.steps) || !self.steps.exists(s, has(s.weight) && type(s.weight) == int && "
                f"int(s.weight) > {HIGHEST_BY_PODS})",
                "with provider Replicas a weight is a share of pods beside those that serve, and the highest "
                f"is {HIGHEST_BY_PODS}; the promotion gives the candidate the rest",
                ".steps",
            ),
            rule(
                "!has(self.capacity) || !has(self.capacity.mode) || self.capacity.mode != 'Displace' || "
                "!has(self.rollbackWindow) || duration(self.rollbackWindow) == duration('0s')",
                "capacity.mode Displace has no room for a previous revision that is kept warm; leave "
                "rollbackWindow out",
                ".rollbackWindow",
            ),
        )
    )
    strategy: Literal["Canary", "BlueGreen", "Direct"] | None = Field(
        None,
        description="Direct: switch once the new revision is ready and answers right. BlueGreen: after the "
        "quality steps, all at once. Canary: by weights, judged at each. Canary if absent where there are "
        "routes, or where traffic.provider is Replicas; else Direct.",
    )
    paused: bool = Field(
        False,
        description="Hold: what serves keeps serving; no new revision starts, none goes further.",
    )
    traffic: Traffic | None = None
    steps: list[RolloutStep] | None = Field(
        None,
        max_length=20,
        description="Plan of the rollout: quality steps, then shadow steps, then weights. A Canary without a "
        "weight of its own has matched and 50.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    analysis: Analysis | None = None
    failure_policy: FailurePolicy | None = None
    capacity: Capacity | None = None
    rollback_window: Annotated[str, Span("0s", "168h", "30m")] | None = Field(
        None,
        description="How long the previous revision is kept warm after a promotion; 30m if absent.",
    )
    history_limit: int | None = Field(
        None, ge=1, le=20, description="Rollouts to remember in the status; 5 if absent."
    )


__all__ = ["RULES_OF_SPEC", "Analyze", "Capacity", "RolloutSpec", "RolloutStep"]
