"""ModelBuilds at every point of their lives, as the real plan tells them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from seawall.decide.build_plan import plan_build
from seawall.decide.types import ObservedBuild
from seawall.desired.build_job import BuildSettings

Object = dict[str, Any]
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SETTINGS = BuildSettings("optimizer:1", "training:1", "s3://artifacts/builds")
BUILD: Object = {
    "model": {"uri": "s3://models/digits.onnx", "format": "onnx"},
    "compression": {"preset": "int8"},
    "accelerator": {"class": "cpu", "type": "cpu"},
    "runtime": {"image": "triton:1", "tritonVersion": "24.10"},
    "pipelineVersion": 1,
}
GPU = {"class": "l4", "type": "gpu", "resourceName": "nvidia.com/gpu"}
REFUSAL = {"reason": "AccuracyBelowFloor", "message": "0.91 is below 0.99"}
RESULT = {
    "result": {"preset": "int8", "format": "onnx", "originalBytes": 4000, "compressedBytes": 1000},
    "artifact": {"uri": "s3://artifacts/builds/abc/", "digest": "d" * 64, "format": "onnx"},
    "versions": {"onnxruntime": "1.31.1"},
}


def situations() -> dict[tuple[str, str], Object]:
    """By phase and reason."""
    begun = {"running": {"startedAt": "2026-11-01T11:31:00Z"}}
    moments: tuple[Object, ...] = (
        {},
        {"slot": False},
        {"settings": replace(SETTINGS, artifacts_uri="")},
        {"spec": {**BUILD, "accelerator": GPU}},
        {"job": job(), "pods": [pod("Running", compress=begun)]},
        {"job": job("Complete"), "pods": [pod("Succeeded", finish=ended(0, RESULT))]},
        {"job": job("Failed"), "pods": [pod("Failed", compress=ended(1, REFUSAL))]},
        {"job": job("Failed"), "pods": [pod("Failed", compress=ended(137, {}))]},
    )
    met: dict[tuple[str, str], Object] = {}
    for moment in moments:
        live: Object = {
            "apiVersion": "serving.seawall.dev/v1alpha1",
            "kind": "ModelBuild",
            "metadata": {"name": "digits-int8", "namespace": "ns", "uid": "b1", "generation": 1},
            "spec": moment.pop("spec", BUILD),
        }
        made = plan_build(ObservedBuild(**{"build": live, "settings": SETTINGS, "now": NOW, **moment}))
        live["status"] = made.status
        assert made.status is not None
        met[made.status["phase"], made.status["conditions"][0]["reason"]] = live
    return met


def job(condition: str = "") -> Object:
    meta = {"name": "digits-int8", "ownerReferences": [{"kind": "ModelBuild", "uid": "b1"}]}
    return {"metadata": meta, "status": {"conditions": [{"type": condition, "status": "True"}]}}


def pod(phase: str, **containers: Object) -> Object:
    """Containers by name, each with its state."""
    states = [{"name": name, "state": state} for name, state in containers.items()]
    return {
        "metadata": {"name": "digits-int8-1", "creationTimestamp": "2026-11-01T11:30:00Z"},
        "status": {
            "phase": phase,
            "initContainerStatuses": [each for each in states if each["name"] != "finish"],
            "containerStatuses": [each for each in states if each["name"] == "finish"],
        },
    }


def ended(code: int, words: Object) -> Object:
    return {"terminated": {"exitCode": code, "reason": "Error", "message": json.dumps(words)}}
