"""What makes a revision: everything that changes what a pod runs, and nothing else.

The hash is over a hand-picked, canonical form rather than over the spec, so that a field added to the schema
later, with its default, leaves the hash of every existing service alone. A Deployment carries its inputs, and
from them alone it can be rendered again, exactly, years after the spec has moved on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from seawall.api.units import parse_duration
from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.desired.canonical import canonical_json, digest, without_empties
from seawall.desired.references import referenced_objects

TEMPLATE_VERSION = 1
"""Raised when the builders begin to render a different pod from the same inputs."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What the operator itself decides about every pod."""

    fetcher_image: str
    template_version: int = TEMPLATE_VERSION


@dataclass(frozen=True)
class RevisionInputs:
    user: dict[str, Any]
    """asked for by the owner of the service"""
    platform: dict[str, Any]
    """decided by the AcceleratorClass and the operator"""
    slo: str
    """spec.slo.p99 at the revision's birth; outside the hash, so a new SLO restarts nothing"""

    @cached_property
    def revision(self) -> str:
        return digest({"user": self.user, "platform": self.platform})[:8]

    @cached_property
    def user_digest(self) -> str:
        return digest(self.user)

    @cached_property
    def platform_digest(self) -> str:
        return digest(self.platform)

    def to_annotation(self) -> str:
        return canonical_json({"user": self.user, "platform": self.platform, "slo": self.slo})

    @classmethod
    def from_annotation(cls, text: str) -> RevisionInputs:
        """Raises ValueError on anything that to_annotation would not have written."""
        try:
            raw = json.loads(text)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"the revision's inputs are no JSON text: {error}") from error
        if not isinstance(raw, dict) or set(raw) != {"user", "platform", "slo"}:
            raise ValueError("the revision's inputs must have exactly the keys user, platform and slo")
        user, platform, slo = raw["user"], raw["platform"], raw["slo"]
        if not (isinstance(user, dict) and isinstance(platform, dict) and isinstance(slo, str)):
            raise ValueError("the revision's inputs must be two objects and a string")
        _require(user, {"model": dict, "accelerator": dict})
        _require(user["model"], {"uri": str, "format": str})
        _require(user["accelerator"], {"class": str})
        _require(platform, {"type": str, "runtime": dict, "fetcherImage": str, "templateVersion": int})
        _require(platform["runtime"], {"image": str, "tritonVersion": str})
        parse_duration(slo)
        inputs = cls(user, platform, slo)
        if inputs.to_annotation() != text:
            raise ValueError("the revision's inputs are not in canonical form")
        return inputs


def _require(raw: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    for name, kind in fields.items():
        if not isinstance(raw.get(name), kind):
            raise ValueError(f"the revision's inputs lack {name}, or it is no {kind.__name__}")


def revision_inputs(
    spec: InferenceServiceSpec,
    accelerator_name: str,
    accelerator_spec: AcceleratorClassSpec,
    platform: Platform,
    reference_digests: Mapping[str, str],
) -> RevisionInputs:
    """`reference_digests` maps "Secret/name" and "ConfigMap/name" to a digest of the content.

    Raises ValueError when the format is neither given nor to be inferred, or the class has no runtime:
    both are for the caller to refuse before it asks for a revision.
    """
    runtime = accelerator_spec.runtime
    if runtime is None:
        raise ValueError(f"AcceleratorClass {accelerator_name} has no runtime")
    return RevisionInputs(
        user=_user_part(spec, accelerator_name, reference_digests),
        platform=without_empties(
            {
                "type": accelerator_spec.type,
                "nodeSelector": accelerator_spec.node_selector,
                "tolerations": [
                    t.model_dump(by_alias=True, exclude_none=True) for t in accelerator_spec.tolerations or ()
                ],
                "resourceName": accelerator_spec.resource_name,
                "runtime": {
                    "image": runtime.image,
                    "tritonVersion": runtime.triton_version,
                    "args": list(runtime.args or ()),
                },
                "fetcherImage": platform.fetcher_image,
                "templateVersion": platform.template_version,
            }
        ),
        slo=spec.slo.p99,
    )


def _user_part(
    spec: InferenceServiceSpec, accelerator_name: str, reference_digests: Mapping[str, str]
) -> dict[str, Any]:
    model = spec.model
    model_format = model.inferred_format
    if model_format is None:
        raise ValueError(f"the format of {model.uri} cannot be inferred; set spec.model.format")
    delay, size = spec.batching.max_queue_delay, spec.batching.max_queue_size
    part: dict[str, Any] = without_empties(
        {
            "model": {
                "uri": model.uri,
                "format": model_format,
                "sha256": model.sha256,
                "credentialsSecret": model.credentials_secret,
                "maxBatchSize": model.max_batch_size,
            },
            "accelerator": {
                "class": accelerator_name,
                "count": spec.accelerator.count if spec.accelerator.count != 1 else None,
            },
            "instances": spec.parallelism.instances if spec.parallelism.instances != 1 else None,
            "batching": {
                "maxQueueDelay": delay if delay != "auto" else None,
                "maxQueueSize": size if size != "auto" else None,
            },
            "references": dict(reference_digests),
        }
    )
    # Free-form trees go in as written: in them an empty map or a null means something.
    if model.config:
        part["model"]["config"] = model.config
    if spec.pod_template:
        part["podTemplate"] = spec.pod_template
    return part


__all__ = ["TEMPLATE_VERSION", "Platform", "RevisionInputs", "referenced_objects", "revision_inputs"]
