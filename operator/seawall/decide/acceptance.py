"""What is refused before anything is built, each with a sentence for the person who typed it.

Rules that one object alone decides live in the CRD; here are those that need another object, and the
fields that Seawall does not act on yet: refused rather than ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from pydantic import ValidationError

from seawall.api import presets
from seawall.api.v1alpha1 import (
    AcceleratorClassSpec,
    Format,
    InferenceService,
    InferenceServiceSpec,
)
from seawall.decide.refusal import Refusal
from seawall.decide.rollout_acceptance import not_implemented, rollout_refusals
from seawall.decide.rollout_state import Command
from seawall.decide.types import Capabilities, Manifest, Observed
from seawall.desired.inputs import compression_part
from seawall.desired.modelbuild import BUILT_FORMATS, needs_build, source_claims
from seawall.desired.names import COMMAND_ANNOTATION

FORMAT_DEVICES = {"tensorrt": ("gpu",), "stablehlo": ("tpu", "cpu")}
"""Of the formats that not every device serves."""
LONGEST_COMMAND = 200
"""What a status repeats must stay short, whatever somebody has put into an annotation."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The parsed spec where it parses, the class where it exists, and all that speaks against acting."""

    spec: InferenceServiceSpec | None
    accelerator: AcceleratorClassSpec | None
    refusals: tuple[Refusal, ...]


def accept(observed: Observed) -> Accepted:
    try:
        spec = InferenceService.model_validate(observed.service).spec
    except ValidationError as error:
        return Accepted(None, None, (Refusal("Invalid", _first_error(error)),))
    found = [*refusals(spec)]
    accelerator, problem = _accelerator(spec, observed.accelerator)
    if problem is not None:
        found.append(problem)
    elif accelerator is not None:
        found.extend(_class_refusals(spec, accelerator))
    found.extend(_cluster_refusals(spec, observed.capabilities))
    found.extend(_reference_refusals(observed))
    if observed.config_problem is not None:
        found.append(Refusal("InvalidConfig", f"spec.model.config: {observed.config_problem}"))
    return Accepted(spec, accelerator, tuple(found))


def refusals(spec: InferenceServiceSpec) -> list[Refusal]:
    """What the spec alone makes the operator refuse: fields that it does not act on yet."""
    named = [
        Refusal("NotImplemented", f"{field} is not acted on by this version of Seawall; {instead}")
        for field, instead in not_implemented(spec)
    ]
    kind = spec.model.inferred_format
    if kind is None:
        named.append(
            Refusal(
                "FormatUnknown",
                f"spec.model.format is absent and {spec.model.uri} does not tell it; set it to one of"
                f" {', '.join(sorted(get_args(Format)))}",
            )
        )
    return [*named, *_build_refusals(spec), *_scaling_refusals(spec), *rollout_refusals(spec)]


def _build_refusals(spec: InferenceServiceSpec) -> Iterator[Refusal]:
    compression, kind = spec.compression, spec.model.inferred_format
    preset = compression.preset if compression else "none"
    readable = ", ".join(sorted(BUILT_FORMATS))
    if kind is not None and kind not in BUILT_FORMATS:
        asked = {
            "PresetNotSupported": f"spec.compression.preset {preset}" if preset != "none" else "",
            "PipelineNotSupported": "spec.parallelism.pipeline" if spec.parallelism.pipeline > 1 else "",
        }
        for reason, field in asked.items():
            if field:
                yield Refusal(
                    reason, f"{field} needs a model of format {readable}; format {kind} is served as it is"
                )
    if not needs_build(spec):
        for name in sorted(compression_part(compression) or {}):
            if name != "preset":
                yield Refusal(
                    "NothingToBuild",
                    f"spec.compression.{name} is used by builds only, and with preset none this model is"
                    " served as it is; remove it or choose a preset",
                )
    claims = source_claims(spec.model.uri, compression)
    if needs_build(spec) and len(claims) > 1:
        yield Refusal(
            "TooManyClaims",
            f"the model and the data of its build lie on several PersistentVolumeClaims"
            f" ({', '.join(sorted(claims))}); put them on one",
        )


def _scaling_refusals(spec: InferenceServiceSpec) -> Iterator[Refusal]:
    scaling = spec.scaling
    if scaling is not None and scaling.min_replicas == 0 and scaling.mode not in ("Fixed", "External"):
        yield Refusal(
            "ScaleToZeroNotSupported",
            "spec.scaling.minReplicas is 0, and nothing would wake the service when a request comes; set it"
            " to 1 or more, or use mode Fixed or External with replicas 0",
        )


def _cluster_refusals(spec: InferenceServiceSpec, cluster: Capabilities) -> Iterator[Refusal]:
    analysis = spec.rollout.analysis if spec.rollout else None
    if analysis is not None and analysis.templates and not cluster.prometheus_url:
        yield Refusal(
            "PrometheusMissing",
            "spec.rollout.analysis.templates are asked of Prometheus, and the operator knows none; remove"
            " them, or ask an administrator to set metrics.prometheusUrl in the chart",
        )
    traffic = spec.rollout.traffic if spec.rollout else None
    named, routing = "spec.rollout.traffic", spec.routing
    if routing is not None and not cluster.gateway_api:
        yield _missing("spec.routing", "HTTPRoutes")
    if traffic is not None and traffic.http_route is not None and not cluster.gateway_api:
        yield _missing(f"{named}.httpRoute", "HTTPRoutes")
    if routing is not None and routing.grpc_hostnames and not cluster.grpc_routes:
        yield _missing("spec.routing.grpcHostnames", "GRPCRoutes")
    if traffic is not None and traffic.grpc_route is not None and not cluster.grpc_routes:
        yield _missing(f"{named}.grpcRoute", "GRPCRoutes")


def _missing(field: str, resource: str) -> Refusal:
    return Refusal(
        "GatewayAPIMissing",
        f"{field} needs the Gateway API, and this cluster serves no {resource}; remove the field, or ask an"
        " administrator to install a gateway with the definitions of gateway.networking.k8s.io/v1",
    )


def _accelerator(
    spec: InferenceServiceSpec, raw: Manifest | None
) -> tuple[AcceleratorClassSpec | None, Refusal | None]:
    name = spec.accelerator.class_name
    if raw is None:
        return None, Refusal(
            "AcceleratorClassNotFound",
            f"AcceleratorClass {name} does not exist; `kubectl get swa` lists those that do",
        )
    try:
        return AcceleratorClassSpec.model_validate(raw.get("spec") or {}), None
    except ValidationError as error:
        return None, Refusal("AcceleratorClassInvalid", f"AcceleratorClass {name}: {_first_error(error)}")


def _class_refusals(spec: InferenceServiceSpec, accelerator: AcceleratorClassSpec) -> Iterator[Refusal]:
    name = spec.accelerator.class_name
    runtime = accelerator.runtime
    if runtime is None or not runtime.image:
        yield Refusal(
            "RuntimeMissing",
            f"AcceleratorClass {name} names no runtime image; an administrator sets spec.runtime.image"
            " and spec.runtime.tritonVersion",
        )
    kind = spec.model.inferred_format
    devices = FORMAT_DEVICES.get(kind or "", (accelerator.type,))
    if accelerator.type not in devices:
        needs = " or ".join(device.upper() for device in devices)
        yield Refusal(
            "FormatNotSupported",
            f"spec.model.format {kind} needs a {needs};"
            f" AcceleratorClass {name} is of type {accelerator.type}",
        )
    preset = spec.compression.preset if spec.compression else "none"
    why = presets.refusal(
        preset, accelerator.type, accelerator.compute_capability, accelerator.precisions or ()
    )
    if why is not None:
        yield Refusal(
            "PresetNotSupported", f"spec.compression.preset {preset} on AcceleratorClass {name}: {why}"
        )


def _reference_refusals(observed: Observed) -> Iterator[Refusal]:
    for (kind, name), digest in sorted(observed.references.items()):
        if digest is None:
            yield Refusal(f"{kind}NotFound", f"{kind} {name}, which the spec names, does not exist")


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    return f"{path}: {first['msg']}"


def command(service: Manifest) -> Command | None:
    """What a person has written into the annotation, `<verb>@<rollout id>`. Whatever follows a colon only
    makes the same command another one, so that it can be said twice."""
    annotations = service["metadata"].get("annotations") or {}
    text = str(annotations.get(COMMAND_ANNOTATION, "")).strip()[:LONGEST_COMMAND]
    if not text:
        return None
    verb, _, meant = text.partition("@")
    return Command(verb, meant.partition(":")[0], text)
