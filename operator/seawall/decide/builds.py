"""What a service needs built before the revision that its spec asks for can exist, and how far that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.decide.build_status import COMPLETE, FINAL
from seawall.decide.types import Manifest, Observed
from seawall.desired.build_image import MISSING
from seawall.desired.inputs import Built
from seawall.desired.modelbuild import build_model_build, build_name, build_spec


@dataclass(frozen=True, slots=True)
class Need:
    """The build that the spec asks for, as it stands."""

    name: str
    manifest: Manifest | None
    """None where it may not be made"""
    built: Built | None
    reason: str
    message: str
    failed: bool = False
    """it will not get better by waiting"""


def needed(
    spec: InferenceServiceSpec, class_name: str, accelerator: AcceleratorClassSpec, observed: Observed
) -> Need | None:
    """None when the model is served as it comes. The spec and the class have been accepted before."""
    platform = observed.platform
    wanted = build_spec(spec, class_name, accelerator, platform.pipeline_version)
    if wanted is None:
        return None
    name = build_name(wanted)
    if not platform.artifacts_uri:
        message = (
            "the model has to be built, and no store for artefacts is configured;"
            " an administrator sets artifacts.uri in the chart's values"
        )
        return Need(name, None, None, "ArtifactStoreMissing", message, failed=True)
    manifest = build_model_build(observed.service["metadata"]["namespace"], wanted)
    for problem in observed.write_problems:
        if problem.ref.kind == manifest["kind"]:
            return Need(
                name, manifest, None, problem.reason, f"{problem.ref}: {problem.message}", failed=True
            )
    return _standing(name, manifest, observed.builds.get(name) or {})


def _standing(name: str, manifest: Manifest, live: Mapping[str, Any]) -> Need:
    status = live.get("status") or {}
    phase, artifact = status.get("phase"), status.get("artifact")
    told: Mapping[str, Any] = next(
        (c for c in status.get("conditions") or () if c.get("type") == COMPLETE), {}
    )
    if phase == "Succeeded" and artifact:
        built = Built(name, artifact["uri"], artifact["digest"], artifact["format"])
        return Need(name, manifest, built, "Built", told.get("message", ""))
    if phase in FINAL:
        reason, message = told.get("reason", "BuildFailed"), told.get("message", "")
        return Need(name, manifest, None, reason, f"ModelBuild {name}: {message}", failed=True)
    if told.get("reason") == MISSING:
        message = f"ModelBuild {name}: {told.get('message', '')}"
        return Need(name, manifest, None, MISSING, message, failed=True)
    return Need(name, manifest, None, "Building", f"ModelBuild {name}: {_progress(status, told)}")


def _progress(status: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    progress = status.get("progress") or {}
    if status.get("phase") != "Running" or not progress.get("stage"):
        reason, message = told.get("reason"), told.get("message")
        return f"{reason}: {message}" if reason else "is about to start"
    percent = f", {progress['percent']} %" if progress.get("percent") is not None else ""
    words = f": {progress['message']}" if progress.get("message") else ""
    return f"stage {progress['stage']}{percent}{words}"


def model_status(built: Mapping[str, Any], live: Mapping[str, Any] | None) -> dict[str, Any]:
    """What status.model says of an artefact (as a revision's inputs have it), from its build while that is
    there."""
    status: Mapping[str, Any] = (live or {}).get("status") or {}
    result: Mapping[str, Any] = status.get("result") or {}
    accuracy = result.get("accuracy") or {}
    shown = ("metric", "value", "low", "high", "floor", "samples")
    raw = {
        "preset": result.get("preset"),
        "format": built["format"],
        "buildRef": built["build"],
        "accuracy": {k: accuracy[k] for k in shown if k in accuracy},
        **{
            k: result.get(k)
            for k in ("sha256", "originalBytes", "compressedBytes", "compressionRatio", "unproven",
                      "rejectedPresets")
        },
    }  # fmt: skip
    return {k: v for k, v in raw.items() if v not in (None, {}, [])}
