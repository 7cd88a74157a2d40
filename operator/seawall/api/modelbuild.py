"""ModelBuild: one content-addressed optimised model, made by the operator and shared by whoever needs it.

The spec is a copy of everything that the result depends on, and never changes: an AcceleratorClass or a
service may be edited while the build runs, and is then another build's business. The name carries its digest.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from seawall.api.accelerator import LabelKey, LabelValue, Power, Precision, Toleration
from seawall.api.compression import CompressionSpec
from seawall.api.fields import (
    ClassName,
    Image,
    Line,
    Metadata,
    Model,
    ObjectName,
    Quantity,
    Sha256,
    Span,
    Uri,
    checked,
    rule,
)
from seawall.api.status import ATOMIC, KEYED_BY_TYPE, Condition, RejectedPreset, Time
from seawall.api.v1alpha1 import Format

Figure = Annotated[str, Field(max_length=32)]
"""A decimal number as a string"""
Word = Annotated[str, Field(max_length=64)]
Sentence = Annotated[str, Field(max_length=4096)]


class BuildModel(Model):
    """The model as it comes."""

    uri: Uri = Field(description="Where the model is.")
    format: Format = Field(description="How the model is stored.", max_length=16)
    sha256: Sha256 | None = Field(None, description="Digest that the file must have.")
    credentials_secret: ObjectName | None = Field(
        None, description="Secret in the same namespace with the credentials for the uri."
    )
    max_batch_size: int | None = Field(None, ge=0, le=65536, description="Largest batch to build for.")


class BuildAccelerator(Model):
    """What the model is built for: the AcceleratorClass as it was."""

    class_name: ClassName = Field(alias="class", description="Name of the AcceleratorClass.")
    type: Literal["gpu", "tpu", "cpu"] = Field(description="Kind of device.")
    compute_capability: Annotated[str, Field(max_length=8)] | None = Field(
        None, description="CUDA compute capability of the GPU."
    )
    precisions: list[Precision] | None = Field(
        None,
        max_length=8,
        description="Number formats that the device serves.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    resource_name: Annotated[str, Field(max_length=317)] | None = Field(
        None, description="Extended resource that one device counts as."
    )
    memory: Quantity | None = Field(None, description="Memory of one device.")
    node_selector: dict[LabelKey, LabelValue] | None = Field(
        None, max_length=32, description="Node labels that the build needs: it is measured where it serves."
    )
    tolerations: list[Toleration] | None = Field(
        None, max_length=32, description="Taints that the build accepts.", json_schema_extra=ATOMIC
    )
    power: Power | None = Field(None, description="What one device draws.")


class BuildRuntime(Model):
    """The model server that the artefact is made for and measured in."""

    image: Image = Field(description="Image of Triton Inference Server.")
    triton_version: Annotated[str, Field(max_length=5)] = Field(
        description="NGC release of the image (YY.MM)."
    )
    jax_version: Annotated[str, Field(max_length=16)] | None = Field(None, description="JAX in the image.")


class BuildParallelism(Model):
    """How the model is split."""

    pipeline: int = Field(1, ge=1, le=64, description="Stages of the model.")


class BuildSlo(Model):
    """What preset auto aims for."""

    p99: Annotated[str, Span("1ms", "10m", "20ms")] = Field(description="Latency objective.")


class ModelBuildSpec(Model):
    """Everything that the result depends on."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule("self == oldSelf", "a ModelBuild cannot be changed: its name carries the digest of its spec")
        )
    )
    model: BuildModel = Field(description="The model as it comes.")
    compression: CompressionSpec | None = Field(None, description="What to do to it; absent: only convert.")
    accelerator: BuildAccelerator = Field(description="What the model is built for.")
    runtime: BuildRuntime = Field(description="The model server.")
    parallelism: BuildParallelism | None = Field(None, description="How the model is split; absent: whole.")
    slo: BuildSlo | None = Field(None, description="Of preset auto alone.")
    pipeline_version: int = Field(
        ge=1, le=1_000_000, description="Release of the build pipeline that made the result."
    )


class BuildProgress(Model):
    """How far the build is."""

    stage: Word | None = Field(None, description="Phase at work: prepare, compress or finish.")
    percent: int | None = Field(None, description="Share of it that is done, in percent.")
    message: Line | None = Field(None, description="What it is doing, as a sentence.")


class AccuracyDrop(Model):
    """Against labels, in points of percent."""

    original: Figure | None = Field(None, description="Accuracy of the model as it came, in percent.")
    compressed: Figure | None = Field(None, description="Accuracy of the result, in percent.")
    drop: Figure | None = Field(None, description="What was lost, in points of percent.")
    low: Figure | None = Field(None, description="Lower bound of the 95 % interval of the loss, in points.")
    high: Figure | None = Field(None, description="Upper bound of the 95 % interval of the loss, in points.")


class BuildAccuracy(Model):
    """What the evaluation data showed."""

    metric: Word | None = Field(
        None, description="How answers were compared: top1, cosine or relative-error."
    )
    value: Figure | None = Field(None, description="What came out, a decimal number.")
    low: Figure | None = Field(None, description="Lower bound of the 95 % interval.")
    high: Figure | None = Field(None, description="Upper bound of the 95 % interval.")
    floor: Figure | None = Field(None, description="Bound that the value had to keep, a decimal number.")
    samples: int | None = Field(None, description="Samples that were compared.")
    source: Word | None = Field(None, description="evaluation, calibration or generated.")
    drop: AccuracyDrop | None = None


class BatchProfile(Model):
    """Service time of one batch size."""

    size: int = Field(description="Requests in the batch.")
    mean_ms: Figure | None = Field(None, description="Mean service time, in milliseconds.")
    std_ms: Figure | None = Field(
        None, description="Standard deviation of the service time, in milliseconds."
    )
    p50_ms: Figure | None = Field(None, description="Median service time, in milliseconds.")
    p99_ms: Figure | None = Field(None, description="99th percentile of the service time, in milliseconds.")
    original_p50_ms: Figure | None = Field(
        None, description="The median of the model as it came, in the same run, in milliseconds."
    )
    samples: int | None = Field(None, description="Batches that were timed.")


class ProfilePower(Model):
    """What the device draws."""

    idle_watts: Figure | None = Field(None, description="Watts with the model loaded and no request.")
    peak_watts: Figure | None = Field(None, description="Watts at full load.")


class BuildProfile(Model):
    """Measured service times; fractions are decimal strings."""

    accelerator: Word | None = Field(None, description="AcceleratorClass that it was measured on.")
    instances: int | None = Field(None, description="Copies of the model in the device.")
    max_batch_size: int | None = Field(None, description="Largest batch that was timed.")
    max_queue_delay_ms: Figure | None = Field(
        None, description="How long a request waits for company, in milliseconds."
    )
    overhead_ms: Figure | None = Field(
        None, description="What a request costs beside its batch, in milliseconds."
    )
    cold_start_seconds: Figure | None = Field(
        None, description="From a new pod to its first answer, in seconds."
    )
    source: Word | None = Field(
        None,
        description="What was timed: triton, or onnxruntime where the build pipeline ran the model itself.",
    )
    batches: list[BatchProfile] | None = Field(
        None, description="Service times by batch size.", max_length=32, json_schema_extra=ATOMIC
    )
    power: ProfilePower | None = None
    price_per_hour: Figure | None = Field(
        None, description="Price of one device for an hour, a decimal number."
    )


class BuildEnergy(Model):
    """Energy of a thousand requests."""

    joules_per_1k: Figure | None = Field(None, description="Of the result, in joules.", alias="joulesPer1k")
    original_joules_per_1k: Figure | None = Field(
        None, description="Of the model as it came, in joules.", alias="originalJoulesPer1k"
    )
    estimated: bool | None = Field(
        None, description="It comes from the watts of the AcceleratorClass, not from a meter."
    )


class BuildResult(Model):
    """What was made, and what is known about it."""

    preset: Word | None = Field(
        None, description="Preset that was applied; of auto, the one that was chosen."
    )
    format: Word | None = Field(None, description="onnx, tensorrt, stablehlo or pipeline.")
    sha256: Word | None = Field(None, description="Digest of the original model.")
    original_bytes: int | None = Field(None, description="Size of the model as it came, in bytes.")
    compressed_bytes: int | None = Field(None, description="Size of the result, in bytes.")
    compression_ratio: Figure | None = Field(None, description="Original bytes over compressed bytes.")
    engine_bytes: int | None = Field(None, description="Size of the compiled engine, in bytes.")
    accuracy: BuildAccuracy | None = None
    unproven: bool | None = Field(None, description="No evaluation data could prove the result.")
    profile: BuildProfile | None = None
    rejected_presets: list[RejectedPreset] | None = Field(
        None,
        description="Presets that were tried and not taken, with the reason.",
        max_length=32,
        json_schema_extra=ATOMIC,
    )
    energy: BuildEnergy | None = None


class BuildArtifact(Model):
    """Where the result is served from."""

    uri: Annotated[str, Field(max_length=2048)] = Field(description="Where it lies in the store.")
    digest: Word = Field(description="sha256 of the artefact's manifest.json.")
    format: Word = Field(description="What Triton loads: onnx, tensorrt, stablehlo or pipeline.")


class ModelBuildStatus(Model):
    """What the operator knows about the build."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this is about.")
    phase: Literal["Pending", "Running", "Succeeded", "Refused", "Failed"] | None = Field(
        None, description="How far the build is; Refused and Failed stay so until somebody acts."
    )
    progress: BuildProgress | None = None
    conditions: list[Condition] | None = Field(
        None,
        max_length=8,
        description="Complete: True when there is an artefact; a False one says why not.",
        json_schema_extra=KEYED_BY_TYPE,
    )
    attempts: int | None = Field(None, description="Pods that have tried.")
    started_at: Time | None = Field(None, description="When the first pod started.")
    finished_at: Time | None = Field(None, description="When it ended.")
    result: BuildResult | None = None
    artifact: BuildArtifact | None = None
    versions: dict[Word, Word] | None = Field(
        None, max_length=32, description="Versions of the tools that made it."
    )
    log_tail: Sentence | None = Field(None, description="Last lines of a failed build's log.")
    unused_since: Time | None = Field(
        None, description="When the last service stopped using it; it is removed some days later."
    )


class ModelBuild(Model):
    """One content-addressed optimised model."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
                " && size(self.metadata.name) <= 63",
                "metadata.name must be at most 63 characters, start with a lower case letter, and contain "
                "only lower case letters, digits and -: the Job is named after it",
            )
        )
    )
    api_version: Literal["serving.seawall.dev/v1alpha1"] = "serving.seawall.dev/v1alpha1"
    kind: Literal["ModelBuild"] = "ModelBuild"
    metadata: Metadata
    spec: ModelBuildSpec
    status: ModelBuildStatus | None = None
