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

from seawall.api.presets import PIPELINE_VERSION
from seawall.api.units import parse_duration
from seawall.api.v1alpha1 import AcceleratorClassSpec, CompressionSpec, InferenceServiceSpec
from seawall.desired.alerts import RUNBOOK
from seawall.desired.canonical import canonical_json, digest, without_empties
from seawall.desired.references import referenced_objects
from seawall.desired.shared import ANYBODY, Reach

TEMPLATE_VERSION = 3
"""Raised when the builders begin to render a different pod from the same inputs."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What the operator itself decides about every pod."""

    fetcher_image: str
    template_version: int = TEMPLATE_VERSION
    artifacts_uri: str = ""
    """where builds publish what they make; empty: nothing can be built"""
    artifacts_secret: str = ""
    """Secret, in the namespace of the service, with the credentials of that store"""
    public_keys: tuple[str, ...] = ()
    """of those who may sign artefacts, as PEM; with any, an unsigned artefact is not served"""
    cache_path: str = ""
    cache_size: str = "50Gi"
    """what one node's cache may hold; means something with a path only"""
    """folder of every node that keeps fetched models for the next pod; empty: none"""
    reach: Reach = ANYBODY
    """who may reach model pods"""
    pipeline_version: int = PIPELINE_VERSION
    runbook: str = RUNBOOK
    """where the page of an {alert} is; no part of a revision"""


@dataclass(frozen=True, slots=True)
class Built:
    """The artefact that a revision serves in place of the model as it came."""

    build: str
    """name of the ModelBuild"""
    uri: str
    digest: str
    format: str


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

    @property
    def artifact(self) -> Mapping[str, Any] | None:
        """What a build has made for this revision; None: the model is served as it came."""
        found: Mapping[str, Any] | None = self.platform.get("artifact")
        return found

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
        if "artifact" in platform:
            _require(platform, {"artifact": dict})
            _require(platform["artifact"], {"uri": str, "digest": str, "format": str, "build": str})
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
    built: Built | None = None,
) -> RevisionInputs:
    """`reference_digests` maps "Secret/name" and "ConfigMap/name" to a digest of the content; `built` is
    given where the model is not served as it came.

    Raises ValueError when the format is neither given nor to be inferred, or the class has no runtime:
    both are for the caller to refuse before it asks for a revision.
    """
    runtime = accelerator_spec.runtime
    if runtime is None:
        raise ValueError(f"AcceleratorClass {accelerator_name} has no runtime")
    return RevisionInputs(
        user=user_part(spec, accelerator_name, reference_digests),
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
                "artifact": _artifact(built, platform),
                "cachePath": platform.cache_path or None,
                "cacheSize": platform.cache_size if platform.cache_path else None,
            }
        ),
        slo=spec.slo.p99,
    )


def _artifact(built: Built | None, platform: Platform) -> dict[str, Any] | None:
    if built is None:
        return None
    return {
        "build": built.build,
        "uri": built.uri,
        "digest": built.digest,
        "format": built.format,
        "credentialsSecret": platform.artifacts_secret or None,
        "publicKeys": list(platform.public_keys),
    }


def user_part(
    spec: InferenceServiceSpec, accelerator_name: str, reference_digests: Mapping[str, str]
) -> dict[str, Any]:
    """What the owner of the service asks of its pods."""
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
            "pipeline": spec.parallelism.pipeline if spec.parallelism.pipeline != 1 else None,
            "cache": {"size": spec.cache.size} if spec.cache else None,
            "batching": {
                "maxQueueDelay": delay if delay != "auto" else None,
                "maxQueueSize": size if size != "auto" else None,
            },
            "references": dict(reference_digests),
        }
    )
    compression = compression_part(spec.compression)
    if compression is not None:
        part["compression"] = compression
    if compression is not None and compression["preset"] == "auto":
        part["slo"] = spec.slo.p99  # of this preset the objective chooses the model
    # Free-form trees go in as written: in them an empty map or a null means something.
    if model.config:
        part["model"]["config"] = model.config
    if spec.pod_template:
        part["podTemplate"] = spec.pod_template
    return part


def compression_part(compression: CompressionSpec | None) -> dict[str, Any] | None:
    """As written, without what means nothing; None when nothing is asked for. An empty recipe stays."""
    if compression is None:
        return None
    raw = compression.model_dump(by_alias=True, exclude_none=True, mode="json")
    if not raw["allowUnproven"]:
        del raw["allowUnproven"]
    return raw if raw != {"preset": "none"} else None


__all__ = ["TEMPLATE_VERSION", "Built", "Platform", "RevisionInputs", "referenced_objects", "revision_inputs"]
