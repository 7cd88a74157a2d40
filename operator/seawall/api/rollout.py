"""spec.rollout: how a new revision takes over from the one that serves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from seawall.api.fields import Model, Number, ObjectName, Span, checked, rule

AnalysisTime = Annotated[str, Span("1s", "168h", "20m")]
Limit = Annotated[str, Number("0", "1", "0.01")]
Level = Annotated[str, Number("0.000001", "0.5", "0.01")]
Ratio = Annotated[str, Number("1", "1000", "1.25")]
Metric = Literal["top1", "cosine", "relative-error"]


class GoldenSet(Model):
    """Recorded inputs that both revisions answer."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule("has(self.configMapRef) != has(self.pvc)", "give exactly one of configMapRef and pvc")
        )
    )
    config_map_ref: ObjectName | None = Field(None, description="ConfigMap in the service's namespace.")
    pvc: ObjectName | None = Field(None, description="PersistentVolumeClaim in the service's namespace.")
    size: int | None = Field(None, ge=1, le=1_000_000, description="How many of its inputs to use.")


class QualityStep(Model):
    """Compares the answers of both revisions before any traffic moves."""

    golden_set: GoldenSet
    metric: Metric | None = Field(None, description="How answers are compared.")
    max_disagreement: Limit | None = Field(
        None, description='Largest share of answers that may differ, such as "0.01".'
    )


class ShadowStep(Model):
    """Sends copies of live requests to the candidate; its answers are thrown away."""

    percent: int = Field(ge=1, le=100, description="Share of requests that are copied.")
    duration: AnalysisTime = Field(description="How long the copies are sent.")


class Analyze(Model):
    """What a weight needs before the next step."""

    min_requests: int | None = Field(None, ge=1, le=100_000_000, description="Requests to see at least.")
    max_duration: AnalysisTime | None = Field(None, description="When to stop waiting for a verdict.")


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

    provider: Literal["GatewayAPI", "Istio", "Nginx", "Replicas"] | None = Field(
        None, description="What the cluster routes with; Replicas splits by the number of pods."
    )
    http_route: ObjectName | None = Field(None, description="Existing HTTPRoute whose weights to set.")
    grpc_route: ObjectName | None = Field(None, description="Existing GRPCRoute whose weights to set.")
    manage: Literal["Weights", "Route"] | None = Field(
        None, description="Weights: only the weights of an existing route. Route: the whole route."
    )


class Warmup(Model):
    """What a fresh candidate does before its requests count."""

    requests: int | None = Field(None, ge=0, le=1_000_000, description="Requests that do not count.")
    duration: Annotated[str, Span("0s", "24h", "60s")] | None = Field(
        None, description="Time in which requests do not count."
    )


class AnalysisMetric(Model):
    """Bounds of one metric; percentile and latency bound come from spec.slo."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.ratioOk) || !has(self.ratioBad) || double(self.ratioOk) < double(self.ratioBad)",
                "ratioOk must be less than ratioBad",
                ".ratioOk",
            )
        )
    )
    name: Literal["latency", "errors", "disagreement"] = Field(description="What is measured.")
    ratio_ok: Ratio | None = Field(None, description="Candidate over stable that is still good.")
    ratio_bad: Ratio | None = Field(None, description="Candidate over stable that must not pass.")
    budget: Limit | None = Field(None, description="Share of failures that is always allowed.")
    floor: Limit | None = Field(None, description="Share of disagreement that is noise.")


class Analysis(Model):
    """The statistics of a canary."""

    window: Annotated[str, Span("1s", "1h", "15s")] | None = Field(None, description="Length of one window.")
    alpha: Level | None = Field(None, description="Chance to roll back a good revision, at most.")
    beta: Level | None = Field(None, description="Chance to promote a bad revision, at most.")
    warmup: Warmup | None = None
    metrics: list[AnalysisMetric] | None = Field(
        None,
        max_length=3,
        description="Metrics to judge by; all must pass.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class FailurePolicy(Model):
    """What to do when a rollout does not simply succeed."""

    on_regression: Literal["Rollback", "Pause"] | None = Field(
        None, description="The candidate is worse beyond doubt."
    )
    on_inconclusive: Literal["Pause", "Rollback", "Promote"] | None = Field(
        None, description="Time is up and the data prove nothing."
    )
    on_no_data: Literal["Hold", "Pause", "Rollback", "Promote"] | None = Field(
        None, description="Nobody asks the model anything."
    )
    no_data_timeout: AnalysisTime | None = Field(None, description="How long onNoData: Hold holds.")
    on_provider_down: Literal["Hold", "Pause", "Rollback"] | None = Field(
        None, description="The source of the metrics does not answer."
    )
    provider_down_timeout: AnalysisTime | None = Field(None, description="How long Hold holds then.")
    on_timeout_then: Literal["Pause", "Rollback", "Promote"] | None = Field(
        None, description="What follows when a hold has lasted its time."
    )


class Capacity(Model):
    """Where the candidate's replicas come from."""

    mode: Literal["Surge", "Displace"] | None = Field(
        None, description="Surge: extra replicas. Displace: replicas of the stable revision make room."
    )
    max_surge_replicas: int | None = Field(None, ge=1, le=1000, description="Extra replicas at most.")
    progress_deadline: AnalysisTime | None = Field(None, description="Time that a candidate has to start.")


class RolloutSpec(Model):
    """How a new revision takes over."""

    strategy: Literal["Canary", "BlueGreen", "Direct"] | None = Field(
        None, description="Direct: switch once the new revision is ready and answers right."
    )
    paused: bool = Field(False, description="Hold: what serves keeps serving, no new revision is started.")
    traffic: Traffic | None = None
    steps: list[RolloutStep] | None = Field(
        None,
        max_length=20,
        description="Plan of the rollout; derived from the replicas when absent.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    analysis: Analysis | None = None
    failure_policy: FailurePolicy | None = None
    capacity: Capacity | None = None
    rollback_window: Annotated[str, Span("0s", "168h", "30m")] | None = Field(
        None, description="How long the previous revision is kept warm after a promotion."
    )
    history_limit: int | None = Field(None, ge=1, le=20, description="Rollouts to remember in the status.")


__all__ = ["RolloutSpec", "RolloutStep"]
