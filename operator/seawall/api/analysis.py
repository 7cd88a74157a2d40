"""spec.rollout.analysis and failurePolicy: what a canary is judged by, and what follows from no verdict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from seawall.api.fields import LABEL, Model, Number, Span, Text, checked, rule

AnalysisTime = Annotated[str, Span("1s", "168h", "20m")]
Level = Annotated[str, Number("0.000001", "0.5", "0.01")]
Ratio = Annotated[str, Number("1", "1000", "1.25")]
TemplateName = Annotated[
    str,
    Text(
        LABEL,
        "must be a DNS label: lower case letters, digits and -",
        32,
        (
            rule(
                "!(self in ['latency', 'errors', 'disagreement'])",
                "latency, errors and disagreement are metrics of their own; choose another name",
            ),
        ),
    ),
]
Query = Annotated[
    str,
    Text(
        "[ -~]+",
        "must be PromQL on one line, of printable ASCII",
        1024,
        (
            rule(
                "self.matches('^([ -z|-~]|[{][ -z|-~]|[{][{](namespace|name|stable|candidate)[}][}])*$')",
                "may have the variables {{namespace}}, {{name}}, {{stable}} and {{candidate}}, no other {{",
            ),
        ),
    ),
]


class Warmup(Model):
    """What a fresh candidate does before its requests count."""

    requests: int | None = Field(
        None, ge=0, le=1_000_000, description="Requests whose latency does not count; 50 if absent."
    )
    duration: Annotated[str, Span("0s", "24h", "60s")] | None = Field(
        None, description="Time in which no latency counts; 60s if absent."
    )


class AnalysisMetric(Model):
    """Bounds of one metric; percentile and latency bound come from spec.slo."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "double(has(self.ratioOk) ? self.ratioOk : '1.25') < double(has(self.ratioBad) ? "
                "self.ratioBad : self.name == 'errors' ? '3' : '2')",
                "ratioOk must be less than ratioBad, also where one of them has its default",
                ".ratioOk",
            ),
            rule(
                "!has(self.budget) || self.name == 'errors'",
                "budget is for errors; the other metrics have a floor or follow from spec.slo",
                ".budget",
            ),
            rule(
                "!has(self.floor) || self.name == 'disagreement'",
                "floor is for disagreement; errors have a budget, latency the one percent of spec.slo.p99",
                ".floor",
            ),
        )
    )
    name: Literal["latency", "errors", "disagreement"] = Field(description="What is measured.")
    ratio_ok: Ratio | None = Field(
        None, description="Share of bad requests, candidate over stable, that is still good; 1.25 if absent."
    )
    ratio_bad: Ratio | None = Field(
        None, description="The same ratio that must not pass; 2 if absent, 3 for errors."
    )
    budget: Level | None = Field(
        None, description="Share of failures that is always allowed; 0.005 if absent."
    )
    floor: Level | None = Field(None, description="Share of disagreement that is noise; 0.01 if absent.")


class TemplateQueries(Model):
    """Two cumulative counters of one revision, each a query that returns one series."""

    bad: Query = Field(description="What went wrong, since whenever.")
    total: Query = Field(description="Everything of which that is a part.")


class AnalysisTemplate(Model):
    """A metric of one's own: two counters of each revision, asked of Prometheus at each window's ends."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "double(has(self.ratioOk) ? self.ratioOk : '1.25') < "
                "double(has(self.ratioBad) ? self.ratioBad : '2')",
                "ratioOk must be less than ratioBad, also where one of them has its default",
                ".ratioOk",
            ),
            rule(
                "self.stable.bad != self.candidate.bad && self.stable.total != self.candidate.total",
                "stable and candidate ask for the same: tell them apart by {{stable}} and {{candidate}}",
                ".candidate",
            ),
        )
    )
    name: TemplateName = Field(description="How the metric is called.")
    stable: TemplateQueries
    candidate: TemplateQueries
    budget: Level | None = Field(
        None, description="Share of the total that is always allowed to be bad; 0.01 if absent."
    )
    ratio_ok: Ratio | None = Field(
        None, description="Share of bad ones, candidate over stable, that is still good; 1.25 if absent."
    )
    ratio_bad: Ratio | None = Field(None, description="The same ratio that must not pass; 2 if absent.")


class Analysis(Model):
    """The statistics of a canary."""

    window: Annotated[str, Span("1s", "1h", "15s")] | None = Field(
        None, description="Length of one window; 15s if absent."
    )
    alpha: Level | None = Field(
        None, description="Chance to roll back a good revision, at most; 0.01 if absent."
    )
    beta: Level | None = Field(
        None,
        description="Chance to promote a bad revision, at most; 0.05 if absent. Steps before the last one "
        "promote nothing and pass at 0.2.",
    )
    warmup: Warmup | None = None
    metrics: list[AnalysisMetric] | None = Field(
        None,
        max_length=3,
        description="Metrics to judge by, all if absent. Each of them must pass.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    templates: list[AnalysisTemplate] | None = Field(
        None,
        max_length=5,
        description="Further metrics, from Prometheus. Each of them must pass, too.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class FailurePolicy(Model):
    """What to do when a rollout does not simply succeed."""

    on_regression: Literal["Rollback", "Pause"] | None = Field(
        None, description="The candidate is worse beyond doubt; Rollback if absent."
    )
    on_inconclusive: Literal["Pause", "Rollback", "Promote"] | None = Field(
        None, description="Time is up and the data prove nothing; Pause if absent."
    )
    on_no_data: Literal["Hold", "Pause", "Rollback", "Promote"] | None = Field(
        None, description="Nobody asks the model anything; Hold if absent."
    )
    no_data_timeout: AnalysisTime | None = Field(
        None, description="How long onNoData: Hold holds; 15m if absent."
    )
    on_provider_down: Literal["Hold", "Pause", "Rollback"] | None = Field(
        None, description="The source of the metrics does not answer; Hold if absent."
    )
    provider_down_timeout: AnalysisTime | None = Field(
        None, description="How long Hold holds then; 10m if absent."
    )
    on_timeout_then: Literal["Pause", "Rollback", "Promote"] | None = Field(
        None, description="What follows when a hold has lasted its time; Pause if absent."
    )


__all__ = [
    "Analysis",
    "AnalysisMetric",
    "AnalysisTemplate",
    "AnalysisTime",
    "FailurePolicy",
    "Level",
    "Warmup",
]
