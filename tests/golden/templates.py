"""What fixed revision inputs render to, as one digest for each template version; never rewritten.

A Deployment is rendered again from its own inputs on every reconcile. A new operator that renders the same
inputs differently would therefore restart every pod of the cluster at once, unless it says so by a raised
TEMPLATE_VERSION: then old Deployments are left alone and the change reaches the services a few at a time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seawall.desired.canonical import digest
from seawall.desired.deployment import build_deployment
from seawall.desired.inputs import TEMPLATE_VERSION, RevisionInputs
from seawall.desired.names import Owner

PATH = Path(__file__).parent / "template-versions.json"
OWNER = Owner("ranker", "search", "00000000-0000-0000-0000-000000000000")
CPU = {"type": "cpu", "runtime": {"image": "triton-cpu:1", "tritonVersion": "24.10"}}
GPU = {
    "type": "gpu",
    "resourceName": "nvidia.com/gpu",
    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "runtime": {"image": "triton:2", "tritonVersion": "26.06", "args": ["--log-verbose=1"]},
}
MODELS: list[dict[str, Any]] = [
    {"uri": "s3://models/a.onnx", "format": "onnx", "maxBatchSize": 8, "credentialsSecret": "reader"},
    {"uri": "pvc://claim/models/a", "format": "python"},
    {"uri": "hf://org/repo@main/tree", "format": "repository", "config": {"max_batch_size": 4}},
]
POD_TEMPLATE = {"spec": {"containers": [{"name": "triton", "resources": {"limits": {"memory": "3Gi"}}}]}}


def fixed_inputs() -> list[RevisionInputs]:
    own = {"fetcherImage": "seawall:1", "templateVersion": TEMPLATE_VERSION}
    more: list[dict[str, Any]] = [
        {"accelerator": {"class": "any"}},
        {
            "accelerator": {"class": "any", "count": 2},
            "instances": 2,
            "batching": {"maxQueueDelay": "1ms", "maxQueueSize": 64},
            "podTemplate": POD_TEMPLATE,
            "references": {"Secret/reader": "d" * 64},
        },
    ]
    found = [
        RevisionInputs({"model": model, **rest}, {**platform, **own}, slo)
        for model in MODELS
        for platform in (CPU, GPU)
        for rest in more
        for slo in ("20ms", "1.5s")
        if not (platform is CPU and rest is more[1])  # a CPU class counts no devices
    ]
    engine = {"uri": "gs://models/a.plan", "format": "tensorrt", "maxBatchSize": 16}
    return [*found, RevisionInputs({"model": engine, **more[0]}, {**GPU, **own}, "5ms")]


def current() -> str:
    made = [build_deployment(OWNER, inputs)["spec"]["template"] for inputs in fixed_inputs()]
    for template in made:
        _forget(template)
    return digest(made)


def _forget(template: dict[str, Any]) -> None:
    """Takes out the revision's own hash, which follows the version."""
    template["metadata"].get("labels", {}).pop("serving.seawall.dev/revision", None)
    for constraint in template["spec"].get("topologySpreadConstraints", ()):
        constraint["labelSelector"]["matchLabels"].pop("serving.seawall.dev/revision", None)


def recorded() -> dict[str, str]:
    return dict(json.loads(PATH.read_text())) if PATH.exists() else {}


def record() -> None:
    """Adds the current version; what is recorded stays."""
    versions = {str(TEMPLATE_VERSION): current(), **recorded()}
    PATH.write_text(json.dumps(dict(sorted(versions.items(), key=lambda v: int(v[0]))), indent=2) + "\n")
