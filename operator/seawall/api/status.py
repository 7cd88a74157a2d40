"""InferenceService status: what the operator knows. Written by the operator alone: shapes, no rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from seawall.api.fields import Model

KEYED_BY_TYPE: dict[str, Any] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}
ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Condition(Model):
    """One statement about the service, positive when all is well."""

    type: str = Field(description="What it is about, such as Ready.")
    status: Literal["True", "False", "Unknown"] = Field(
        description="True when all is well, False when not, Unknown before anybody could tell."
    )
    reason: str = Field(description="The state in one word, from a closed list.")
    message: str = Field("", description="What is the matter and what to do, as a sentence.")
    last_transition_time: Time = Field(description="When status last changed.")
    observed_generation: int | None = Field(None, description="Generation of the spec that this is about.")


class RejectedPreset(Model):
    """A preset that was tried and not served."""

    preset: str = Field(description="Name of the preset.")
    reason: str = Field(description="Why it is not served, as a sentence.")


class AccuracyStatus(Model):
    """What the evaluation data showed."""

    metric: str | None = Field(None, description="How answers were compared: top1, cosine or relative-error.")
    value: str | None = Field(None, description="What came out, a decimal number.")
    low: str | None = Field(None, description="Lower confidence bound of the value.")
    high: str | None = Field(None, description="Upper confidence bound of the value.")
    floor: str | None = Field(None, description="Bound that the value had to keep, a decimal number.")
    samples: int | None = Field(None, description="Evaluation samples that were compared.")


class ModelStatus(Model):
    """The model as it is served."""

    sha256: str | None = Field(None, description="SHA-256 digest of the model as it came.")
    preset: str | None = Field(
        None, description="Preset that was applied; none where the model is served as it came."
    )
    format: str | None = Field(None, description="What Triton loads: onnx, tensorrt, stablehlo or pipeline.")
    build_ref: str | None = Field(None, description="ModelBuild that made it.")
    original_bytes: int | None = Field(None, description="Size of the model as it came, in bytes.")
    compressed_bytes: int | None = Field(None, description="Size of what is served, in bytes.")
    compression_ratio: str | None = Field(
        None, description="Original size over served size, a decimal number."
    )
    unproven: bool | None = Field(None, description="No evaluation data could prove the result.")
    accuracy: AccuracyStatus | None = None
    rejected_presets: list[RejectedPreset] | None = Field(
        None,
        description="Presets that were tried and not served, with the reason.",
        max_length=32,
        json_schema_extra=ATOMIC,
    )


class SloDay(Model):
    """Requests of one day in UTC, or of a few from that day on where the window is long."""

    day: str = Field(description="Such as 2026-11-21.")
    total: int = Field(description="Requests that were answered or failed.")
    good: int = Field(description="Answered within the target.")
    failed: int = Field(description="Requests that ended in an error.")


class SloStatus(Model):
    """The objective and how it is met."""

    target: str | None = Field(None, description="The p99 that was promised, such as 20ms.")
    p99: str | None = Field(None, description="The p99 of the last minutes, such as 14ms.")
    attainment: str | None = Field(None, description="Share of requests within the target, over the window.")
    error_budget_remaining: str | None = Field(
        None, description="100%: nothing used. Below 0: more was missed than the objective allows."
    )
    window: str | None = Field(None, description="Time over which the error budget counts, such as 30d.")
    since: str | None = Field(None, description="First day that counts.")
    source: str | None = Field(None, description="Where it is measured: Gateway, Triton or TritonSummary.")
    days: list[SloDay] | None = Field(
        None,
        max_length=32,
        description="What attainment is counted from; an operator that starts reads it back.",
        json_schema_extra=ATOMIC,
    )


class ScalingStatus(Model):
    """How many replicas, and why."""

    mode: str | None = Field(None, description="Who writes the count: Fixed, External, HPA, KEDA or Direct.")
    revision: str | None = Field(None, description="Revision that the figures are of.")
    desired_replicas: int | None = Field(None, description="Pods that there should be.")
    demand_rps: str | None = Field(None, description="Requests per second that the replicas are for.")
    capacity_rps: str | None = Field(None, description="What one replica carries within the target.")
    load: str | None = Field(None, description="Demand in replicas: the metric slo-load of the autoscalers.")
    predicted_p99: str | None = Field(
        None,
        description="The p99 that this many pods are expected to give, such as 17ms.",
        alias="predictedP99",
    )
    reason: str | None = Field(None, description="What decided the count, in one word.")
    message: str | None = Field(None, description="What the count follows from.")


class Held(Model):
    """Why a rollout does not go on."""

    reason: str = Field(description="What it is waiting for, in one word.")
    message: str | None = Field(None, description="The same as a sentence, with what to do.")
    since: Time = Field(description="When it began.")


class MetricEvidence(Model):
    """What the analysis knows about one metric; numbers with a fraction are decimal strings."""

    metric: str = Field(description="latency, errors, disagreement, or one of analysis.templates.")
    log_e_rollback: str | None = Field(
        None,
        alias="logERollback",
        description="Evidence that the candidate is worse, a logarithm; rolled back at ln(1 / alpha).",
    )
    log_e_pass: str | None = Field(
        None,
        alias="logEPass",
        description="Evidence that it is not, in this step; the last step is passed at ln(1 / beta).",
    )
    ratio: str | None = Field(None, description="Share of bad requests, candidate over stable.")
    candidate_requests: int | None = Field(None, description="Requests of the candidate that were counted.")
    stable_requests: int | None = Field(
        None, description="Requests of the stable revision that were counted."
    )
    kept: list[str] | None = Field(
        None, max_length=128, description="Sums that the figures follow from.", json_schema_extra=ATOMIC
    )


class AnalysisStatus(Model):
    """What the windows of both revisions have shown so far; the operator reads it back."""

    window_end: int | None = Field(None, description="Last window that was counted, in seconds since 1970.")
    step: int | None = Field(None, description="Step that the evidence for going on is of.")
    share: str | None = Field(None, description="Share of the requests that the candidate got in this step.")
    design_effect: str | None = Field(
        None, description="As many requests count as one, since they are late or fail together."
    )
    metrics: list[MetricEvidence] | None = Field(
        None,
        description="One entry for each metric that is judged.",
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
    )
    kept: list[str] | None = Field(
        None, max_length=128, description="The same for all metrics together.", json_schema_extra=ATOMIC
    )


class RejectedRevision(Model):
    """The last revision that did not make it; it stays rejected until it is changed or retried."""

    revision: str = Field(description="Its eight hexadecimal digits.")
    reason: str = Field(description="Why, in one word.")
    message: str | None = Field(None, description="Why, as a sentence.")


class PastRevision(Model):
    """A revision that served or was rejected."""

    revision: str = Field(description="Its eight hexadecimal digits.")
    outcome: str | None = Field(
        None, description="What became of it: Installed, Promoted, Rejected or Aborted."
    )
    reason: str | None = Field(None, description="Why, in one word.")
    finished_at: Time | None = Field(None, description="When that was settled.")


class RolloutStatus(Model):
    """Which revision serves, which one is on its way, and how far it got."""

    id: str | None = Field(None, description="Of the last candidate; commands name it.")
    phase: str | None = Field(None, description="Where the rollout is, such as Stepping, Paused or Watching.")
    step: int | None = Field(
        None, description="Index of the step at hand, from 0; the number of steps: it is being promoted."
    )
    steps: int | None = Field(None, description="Number of steps of the plan.")
    step_started_at: Time | None = Field(None, description="When the step's weight was in force.")
    stable_revision: str | None = Field(None, description="Revision that serves.")
    candidate_revision: str | None = Field(None, description="Revision on its way; absent while nothing is.")
    previous_revision: str | None = Field(
        None, description="What served before, kept warm until the rollback window ends."
    )
    build: str | None = Field(None, description="ModelBuild that the wanted revision is made from.")
    trigger: str | None = Field(None, description="Who asked for the candidate: Spec or Platform.")
    started_at: Time | None = Field(None, description="When the candidate was first brought up.")
    switched_at: Time | None = Field(None, description="When traffic moved to the stable revision.")
    desired_weight: int | None = Field(None, description="Percent of traffic meant for the candidate.")
    observed_weight: int | None = Field(None, description="Percent of traffic that routes or pods give it.")
    candidate_replicas: int | None = Field(None, description="Pods of the candidate, pinned for the step.")
    frozen_replicas: int | None = Field(
        None, description="Pods that the stable revision keeps at least until the rollback window ends."
    )
    displaced_replicas: int | None = Field(
        None, description="Of frozenReplicas, those that the stable revision has given (mode Displace)."
    )
    needed_replicas: int | None = Field(
        None, description="Pods that the stable revision needs for all of the traffic, while it gives some."
    )
    losses: int | None = Field(None, description="Times that the candidate lost its last ready pod.")
    conflicts: int | None = Field(
        None, description="Times that somebody else changed a weight that was in force."
    )
    comparator: str | None = Field(
        None, description="Of a shadow step: the start of the comparator whose counts are judged."
    )
    hold: Held | None = Field(None, description="What is waited for; it ends by itself.")
    pause: Held | None = Field(None, description="What a person has to decide, by a command.")
    last_rejected: RejectedRevision | None = Field(
        None, description="The last revision that was rejected, and why."
    )
    last_command: str | None = Field(None, description="The last command that was acted on.")
    analysis: AnalysisStatus | None = Field(None, description="What the judge has seen of the candidate.")
    history: list[PastRevision] | None = Field(
        None, description="Earlier revisions, the newest first.", max_length=20, json_schema_extra=ATOMIC
    )


class EfficiencyStatus(Model):
    """What a thousand requests cost."""

    cost_per_1k: str | None = Field(
        None,
        description="Price of a thousand requests, in the currency of the AcceleratorClass.",
        alias="costPer1k",
    )
    joules_per_1k: str | None = Field(
        None, description="Energy of a thousand requests, in joules.", alias="joulesPer1k"
    )
    estimated: bool | None = Field(
        None, description="Energy comes from the watts of the AcceleratorClass, not from a meter."
    )


class Endpoints(Model):
    """Where clients find the model inside the cluster."""

    http: str | None = Field(None, description="URL for HTTP requests.")
    grpc: str | None = Field(None, description="Host and port for gRPC.")


class InferenceServiceStatus(Model):
    """What the operator knows about the service."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this is about.")
    conditions: list[Condition] | None = Field(
        None,
        max_length=32,
        description="Ready, SpecAccepted, ModelReady and the rest; a False one says what to do.",
        json_schema_extra=KEYED_BY_TYPE,
    )
    model: ModelStatus | None = None
    slo: SloStatus | None = None
    replicas: int | None = Field(None, description="Pods of the stable revision.")
    selector: str | None = Field(None, description="Label selector of those pods, for the scale subresource.")
    scaling: ScalingStatus | None = None
    rollout: RolloutStatus | None = None
    efficiency: EfficiencyStatus | None = None
    endpoints: Endpoints | None = None
