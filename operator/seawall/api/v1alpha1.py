"""serving.seawall.dev/v1alpha1: InferenceService, and the door through which other rooms see every model.

No field is immutable in an InferenceService: whatever changes becomes a new revision beside the one that
serves, so there is nothing that only a new object could express. No default is stored by the API server:
defaults live here, where a later version may choose better ones.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from seawall.api.accelerator import AcceleratorClass, AcceleratorClassSpec, Cost, Power, Runtime, Toleration
from seawall.api.analysis import Analysis, AnalysisMetric, AnalysisTemplate, FailurePolicy, Warmup
from seawall.api.behavior import ScalingBehavior
from seawall.api.compression import Accuracy, CompressionSpec, Training
from seawall.api.fields import (
    ClassName,
    Metadata,
    Model,
    ObjectName,
    Quantity,
    Sha256,
    Span,
    Text,
    Uri,
    checked,
    rule,
)
from seawall.api.rollout import RULES_OF_SPEC, Analyze, Capacity, RolloutSpec, RolloutStep
from seawall.api.routing import GatewayRef, RoutingSpec
from seawall.api.status import Condition, InferenceServiceStatus

GROUP = "serving.seawall.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Format = Literal["onnx", "torch", "tensorflow", "tflite", "tensorrt", "stablehlo", "python", "repository"]
FORMAT_BY_SUFFIX: dict[str, Format] = {
    ".onnx": "onnx",
    ".pt2": "torch",
    ".tflite": "tflite",
    ".plan": "tensorrt",
    ".mlir": "stablehlo",
    ".stablehlo": "stablehlo",
    ".py": "python",
    "/": "repository",
}
PRESERVED: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
Percent = Annotated[
    str,
    Text("[5-9][0-9]([.][0-9]{1,4})?%", "must be a percentage from 50% to 99.9999%, such as 99.9%", 8),
]


class ModelSpec(Model):
    """What to serve."""

    uri: Uri = Field(
        description="Where the model is: s3://, gs://, az://, hf://org/repo@rev/file, https://, oci:// or "
        "pvc://claim/path."
    )
    format: Format | None = Field(None, description="How the model is stored; inferred from uri if absent.")
    sha256: Sha256 | None = Field(
        None, description="Digest that the file must have; checked before anything reads it."
    )
    credentials_secret: ObjectName | None = Field(
        None, description="Secret in the same namespace with the credentials for the uri."
    )
    max_batch_size: int | None = Field(
        None, ge=0, le=65536, description="Largest batch that Triton forms; 0: the model takes no batches."
    )
    config: dict[str, Any] | None = Field(
        None,
        description="Escape hatch: merged last into Triton's ModelConfig, and checked against its schema.",
        json_schema_extra=PRESERVED,
    )

    @property
    def inferred_format(self) -> Format | None:
        """The format given, else the one that the uri's ending tells, else None."""
        path = self.uri.split("?")[0].split("#")[0].lower()
        found = (name for suffix, name in FORMAT_BY_SUFFIX.items() if path.endswith(suffix))
        return self.format or next(found, None)


class AcceleratorSpec(Model):
    """Where to serve."""

    class_name: ClassName = Field(alias="class", description="Name of an AcceleratorClass.")
    count: int = Field(1, ge=1, le=64, description="Devices per pod; 1 if absent.")


class ParallelismSpec(Model):
    """How a pod uses its devices."""

    instances: int = Field(1, ge=1, le=64, description="Copies of the model per device; 1 if absent.")
    pipeline: int = Field(1, ge=1, le=64, description="Stages of the model split over devices; 1 if absent.")


class SloSpec(Model):
    """The promise to clients."""

    p99: Annotated[str, Span("1ms", "10m", "20ms")] = Field(
        description="99 of 100 requests are answered within this time, such as 20ms."
    )
    availability: Percent | None = Field(
        None, description='Share of requests that do not fail, such as "99.9%".'
    )
    window: (
        Annotated[
            str,
            Text("[1-9][0-9]?d|[1-9][0-9]{0,3}h", "must be whole days or hours, such as 30d or 12h", 8),
        ]
        | None
    ) = Field(None, description="Time over which the error budget counts, in whole days; 30d if absent.")


class BatchingSpec(Model):
    """Dynamic batching; auto is derived from the SLO and the measured profile."""

    max_queue_delay: Annotated[str, Span("0us", "10s", "500us", auto=True)] = Field(
        "auto", description="How long a request may wait for company: auto, or a duration such as 500us."
    )
    max_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = Field(
        "auto",
        description="Requests that may wait before further ones are refused: auto, or a number.",
        json_schema_extra=checked(
            rule(
                "type(self) == int ? (int(self) >= 1 && int(self) <= 1000000) : self == 'auto'",
                "must be auto, or a whole number from 1 to 1000000",
            )
        ),
    )


class CacheSpec(Model):
    """Triton's response cache; absent: off."""

    size: Quantity = Field(description="Memory of the cache per pod, such as 64Mi.")


class ScalingSpec(Model):
    """How many replicas."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
                "minReplicas must not be greater than maxReplicas",
                ".minReplicas",
            ),
            rule(
                "!has(self.replicas) || (has(self.mode) && self.mode in ['Fixed', 'External'])",
                "replicas can be set only with mode: Fixed or mode: External",
                ".replicas",
            ),
            rule(
                "!has(self.mode) || self.mode != 'Fixed'"
                " || !(has(self.minReplicas) || has(self.maxReplicas))",
                "minReplicas and maxReplicas mean nothing in mode Fixed; use replicas",
                ".mode",
            ),
            rule(
                "!has(self.behavior) || !has(self.mode) || !(self.mode in ['Fixed', 'External'])",
                "behavior means nothing in modes Fixed and External",
                ".behavior",
            ),
        )
    )
    mode: Literal["Auto", "HPA", "KEDA", "Direct", "External", "Fixed"] | None = Field(
        None,
        description="Fixed: spec.scaling.replicas. External: somebody else writes the scale subresource. HPA "
        "and KEDA: an autoscaler of the operator's making. Direct: the operator itself. Auto, and if absent: "
        "KEDA, HPA or Direct, the first that this cluster has what it needs for.",
        max_length=16,
    )
    min_replicas: int | None = Field(None, ge=0, le=10_000, description="Never fewer; 1 if absent.")
    max_replicas: int | None = Field(None, ge=1, le=10_000, description="Never more; 20 if absent.")
    replicas: int | None = Field(
        None, ge=0, le=10_000, description="Modes Fixed and External only; kubectl scale writes here."
    )
    behavior: ScalingBehavior | None = None


CPU = "(self.accelerator.class == 'cpu' || self.accelerator.class.startsWith('cpu-'))"
TPU = "self.accelerator.class.startsWith('tpu-')"
TENSORRT = "(has(self.model.format) ? self.model.format == 'tensorrt' : self.model.uri.endsWith('.plan'))"


class InferenceServiceSpec(Model):
    """One model, one accelerator class, one latency objective."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                f"!has(self.compression) || !{CPU} || "
                "!self.compression.preset.matches('(fp16|bf16|fp8|sparse24)$')",
                "this preset needs a GPU; CPUs gain nothing from fp16, bf16, fp8 and sparse24",
                ".compression.preset",
            ),
            rule(
                f"!has(self.compression) || !{TPU} || "
                "!self.compression.preset.matches('(^|[+])(fp16|fp8|int4|sparse24)$')",
                "this preset needs a GPU: TPUs serve none, bf16 and int8",
                ".compression.preset",
            ),
            rule(
                f"!({CPU} || {TPU}) || !{TENSORRT}",
                "a tensorrt model runs on NVIDIA GPUs only; choose a GPU class or another format",
                ".model.format",
            ),
            rule(
                f"!{CPU} || !has(self.accelerator.count) || self.accelerator.count == 1",
                "count is for GPUs and TPUs; give a CPU service more CPU in podTemplate",
                ".accelerator.count",
            ),
            *RULES_OF_SPEC,
        )
    )
    model: ModelSpec
    compression: CompressionSpec | None = None
    accelerator: AcceleratorSpec
    parallelism: ParallelismSpec = ParallelismSpec()
    slo: SloSpec
    batching: BatchingSpec = BatchingSpec()
    cache: CacheSpec | None = None
    scaling: ScalingSpec | None = None
    rollout: RolloutSpec | None = None
    routing: RoutingSpec | None = None
    pod_template: dict[str, Any] | None = Field(
        None,
        description="Strategic-merge patch on the pod template (metadata and spec).",
        json_schema_extra=PRESERVED,
    )


class InferenceService(Model):
    """One model served under one latency SLO."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
                " && size(self.metadata.name) <= 53",
                "metadata.name must be at most 53 characters, start with a lower case letter, and contain "
                "only lower case letters, digits and -: Deployments and Services are named after it",
            )
        )
    )
    api_version: Literal["serving.seawall.dev/v1alpha1"] = "serving.seawall.dev/v1alpha1"
    kind: Literal["InferenceService"] = "InferenceService"
    metadata: Metadata
    spec: InferenceServiceSpec
    status: InferenceServiceStatus | None = None


__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "AcceleratorClass",
    "AcceleratorClassSpec",
    "AcceleratorSpec",
    "Accuracy",
    "Analysis",
    "AnalysisMetric",
    "AnalysisTemplate",
    "Analyze",
    "BatchingSpec",
    "CacheSpec",
    "Capacity",
    "CompressionSpec",
    "Condition",
    "Cost",
    "FailurePolicy",
    "GatewayRef",
    "InferenceService",
    "InferenceServiceSpec",
    "InferenceServiceStatus",
    "ModelSpec",
    "ParallelismSpec",
    "Power",
    "RolloutSpec",
    "RolloutStep",
    "RoutingSpec",
    "Runtime",
    "ScalingSpec",
    "SloSpec",
    "Toleration",
    "Training",
    "Warmup",
]
