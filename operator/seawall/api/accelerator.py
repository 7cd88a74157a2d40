"""AcceleratorClass: one GPU, TPU or CPU node type, as an administrator describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from seawall.api.fields import ClassName, Image, Metadata, Model, Number, Quantity, Text, checked, rule

Precision = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "sparse24"]
Watts = Annotated[int, Field(ge=0, le=100_000)]
Argument = Annotated[str, Text("--[!-~ ]+", "must be one flag such as --log-verbose=1", 512)]
LabelKey = Annotated[str, Field(max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class Toleration(Model):
    """A taint that pods of this class accept; as in a pod."""

    key: str | None = Field(None, max_length=317, description="Taint key; absent with Exists: every taint.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Equal if absent.")
    value: str | None = Field(None, max_length=63, description="Taint value for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Taint effect; absent: every effect."
    )
    toleration_seconds: int | None = Field(
        None, ge=0, le=2**31 - 1, description="How long a NoExecute taint is borne; absent: for ever."
    )


class Runtime(Model):
    """The Triton Inference Server that serves on this class."""

    image: Image = Field(description="Image of Triton Inference Server, best pinned by digest.")
    triton_version: Annotated[
        str,
        Text("2[0-9][.](0[1-9]|1[0-2])", "must be the image's NGC release as YY.MM, such as 26.06", 5),
    ] = Field(description="NGC release of the image (YY.MM); decides which configuration fields it may get.")
    jax_version: (
        Annotated[str, Text("[0-9]+[.][0-9]+[.][0-9]+", "must be a release such as 0.7.1", 16)] | None
    ) = Field(
        None, description="JAX in the image, which serves StableHLO; no newer one may have exported a model."
    )
    args: list[Argument] | None = Field(
        None,
        max_length=64,
        description="Flags added after the operator's own.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Cost(Model):
    """What one device of this class costs; never built in."""

    per_hour: Annotated[str, Number("0", "100000", "0.71")] = Field(
        description='Price of one device for one hour, as a decimal string such as "0.71".'
    )
    currency: Annotated[str, Text("[A-Z]{3}", "must be a currency code such as EUR", 3)] | None = Field(
        None, description="Three-letter currency code."
    )


class Power(Model):
    """What one device draws; estimates energy where the device does not report it."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.idleWatts) || !has(self.peakWatts) || self.idleWatts <= self.peakWatts",
                "idleWatts must not be greater than peakWatts",
            )
        )
    )
    idle_watts: Watts | None = Field(None, description="Watts with a model loaded and no request.")
    peak_watts: Watts | None = Field(None, description="Watts at full load.")


class AcceleratorClassSpec(Model):
    """How to land on the node type, what it can do and what it costs."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "self.type == 'cpu' || has(self.resourceName)",
                "resourceName is required for type gpu and tpu, such as nvidia.com/gpu or google.com/tpu",
                ".resourceName",
            ),
            rule(
                "self.type != 'cpu' || !has(self.resourceName)",
                "resourceName must be absent for type cpu: CPU is requested through the pod template",
                ".resourceName",
            ),
            rule(
                "self.type == 'gpu' || !has(self.computeCapability)",
                "computeCapability is for type gpu only",
                ".computeCapability",
            ),
            rule("self.type == 'tpu' || !has(self.topology)", "topology is for type tpu only", ".topology"),
        )
    )
    type: Literal["gpu", "tpu", "cpu"] = Field(
        description="Kind of device. Cannot be changed: what runs on the class was accepted for its type.",
        json_schema_extra=checked(
            rule("self == oldSelf", "type cannot be changed; create another AcceleratorClass instead")
        ),
    )
    node_selector: dict[LabelKey, LabelValue] | None = Field(
        None, max_length=32, description="Node labels that pods of this class need."
    )
    tolerations: list[Toleration] | None = Field(
        None,
        max_length=32,
        description="Taints that pods of this class accept.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    resource_name: (
        Annotated[
            str,
            Text(
                "[a-z0-9][-a-z0-9.]*/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?",
                "must be an extended resource such as nvidia.com/gpu or nvidia.com/mig-1g.5gb",
                317,
            ),
        ]
        | None
    ) = Field(None, description="Extended resource that one device counts as; absent for type cpu.")
    memory: Quantity | None = Field(None, description="Memory of one device.")
    compute_capability: (
        Annotated[str, Text("[0-9]{1,2}[.][0-9]", "must be a CUDA compute capability such as 8.9", 4)] | None
    ) = Field(None, description="CUDA compute capability of the GPU.")
    precisions: list[Precision] | None = Field(
        None,
        max_length=8,
        description="Number formats that models may be served in; a compression preset needs its own here.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    topology: (
        Annotated[str, Text("[1-9][0-9]?(x[1-9][0-9]?){1,2}", "must be a TPU topology such as 2x2x1", 8)]
        | None
    ) = Field(None, description="TPU slice topology, such as 2x2; single-host slices serve.")
    runtime: Runtime | None = Field(
        None, description="Model server for this class; without it services of the class cannot start."
    )
    cost: Cost | None = None
    power: Power | None = None


class AcceleratorClass(Model):
    """One GPU, TPU or CPU node type: how to land on it, what it can do, what it costs."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule("size(self.metadata.name) <= 63", "metadata.name must be at most 63 characters long")
        )
    )
    api_version: Literal["serving.seawall.dev/v1alpha1"] = "serving.seawall.dev/v1alpha1"
    kind: Literal["AcceleratorClass"] = "AcceleratorClass"
    metadata: Metadata
    spec: AcceleratorClassSpec

    @property
    def name(self) -> str:
        return str(self.metadata["name"])


__all__ = ["AcceleratorClass", "AcceleratorClassSpec", "ClassName", "Cost", "Power", "Runtime", "Toleration"]
