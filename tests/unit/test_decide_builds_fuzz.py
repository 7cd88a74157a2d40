"""Whatever a spec asks for and whatever a pod tells: every build is one that the API server takes, every Job fits
its strict model, and nothing raises."""

from __future__ import annotations

import json
import typing
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes.client.models import V1Job

from seawall.api import catalogue
from seawall.api.compression import Preset
from seawall.api.modelbuild import ModelBuild
from seawall.api.validate import problems
from seawall.decide.build_plan import plan_build
from seawall.decide.plan import plan
from seawall.decide.types import Observed, ObservedBuild
from seawall.desired.build_job import BuildSettings
from seawall.desired.inputs import Platform
from support.fuzz import EXAMPLES

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PLATFORM = Platform("seawall:1", artifacts_uri="s3://artifacts/builds")
BUILD_SETTINGS = BuildSettings(
    "optimizer:1", "training:1", "s3://artifacts/builds", "store", "signer",
    gpu_optimizer_image="gpu:1", tpu_optimizer_image="tpu:1",
)  # fmt: skip
CLASSES = {c["metadata"]["name"]: c for c in catalogue.classes()}
RUNTIME = {"image": "triton:1", "tritonVersion": "26.06"}
URIS = st.sampled_from(
    [
        "s3://m/a.onnx",
        "s3://m/7B_chat.pt2",
        "pvc://claim/x.tflite",
        "hf://o/r@v/f.onnx",
        "s3://m/x/",
        "s3://m/a.py",
    ]
)
DATA = st.none() | st.sampled_from(["s3://m/d.npz", "pvc://claim/d.npz", "pvc://other/d.npz", "nonsense"])
COMPRESSION = st.fixed_dictionaries(
    {"preset": st.sampled_from(typing.get_args(Preset))},
    optional={
        "training": st.fixed_dictionaries(
            {},
            optional={
                "image": st.sampled_from(["mine:1", "a b"]),
                "entrypoint": st.lists(st.sampled_from(["train", "$(X)", ""]), max_size=2),
                "data": DATA,
                "epochs": st.integers(-1, 5),
            },
        ),
        "allowUnproven": st.booleans(),
        "accuracy": st.fixed_dictionaries(
            {"metric": st.sampled_from(["top1", "cosine", "wat"])},
            optional={"floor": st.sampled_from(["0.99", "2"]), "evaluation": DATA},
        ),
        "calibration": DATA,
        "weightClipping": st.sampled_from(["99.99%", "0.9"]),
    },
)
SPEC = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"uri": URIS},
            optional={
                "format": st.sampled_from(
                    ["onnx", "torch", "tensorflow", "tflite", "stablehlo", "repository"]
                ),
                "credentialsSecret": st.just("reader"),
                "maxBatchSize": st.integers(0, 64),
            },
        ),
        "accelerator": st.fixed_dictionaries({"class": st.sampled_from(sorted(CLASSES))}),
        "slo": st.fixed_dictionaries({"p99": st.sampled_from(["20ms", "1.5ms", "1ms"])}),
    },
    optional={
        "compression": COMPRESSION,
        "parallelism": st.fixed_dictionaries({}, optional={"pipeline": st.integers(1, 8)}),
        "cache": st.just({"size": "64Mi"}),
    },
)
WORDS = st.sampled_from(
    [
        "", "Killed", "{}", '{"result": {}, "artifact": {}}', '{"reason": "Unproven", "message": "no data"}',
        json.dumps(
            {
                "result": {"preset": "int8"},
                "artifact": {"uri": "s3://artifacts/builds/x/", "digest": "d" * 64, "format": "onnx"},
            }
        ),
    ]
) | st.text(max_size=20)  # fmt: skip
STATE = st.one_of(
    st.just({"running": {}}),
    st.fixed_dictionaries({"waiting": st.just({"reason": "ImagePullBackOff"})}),
    st.builds(
        lambda code, words: {"terminated": {"exitCode": code, "message": words}},
        st.sampled_from([0, 1, 75, 137, 2]),
        WORDS,
    ),
    st.just({}),
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["prepare", "train", "compile", "triton", "finish"]), "state": STATE}
    ),
    max_size=4,
)
POD = st.builds(
    lambda phase, inits, mains: {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-01T11:00:00Z"},
        "status": {
            "phase": phase, "podIP": "10.0.0.1", "initContainerStatuses": inits, "containerStatuses": mains,
        },
    },
    st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    CONTAINERS,
    CONTAINERS,
)  # fmt: skip
CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Complete", "Failed", "FailureTarget", "Suspended"]),
            "status": st.sampled_from(["True", "False"]),
            "reason": st.sampled_from(["PodFailurePolicy", "DeadlineExceeded", "BackoffLimitExceeded"]),
        }
    ),
    max_size=2,
)


def wanted(spec: dict[str, Any]) -> dict[str, Any] | None:
    """The build that a service with this spec makes."""
    accelerator = CLASSES[spec["accelerator"]["class"]]
    accelerator = {**accelerator, "spec": {"runtime": RUNTIME, **accelerator["spec"]}}
    service = {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "digits", "namespace": "demo", "uid": "u1", "generation": 1},
        "spec": spec,
    }
    refused = problems(service)
    made = plan(Observed(service=service, platform=PLATFORM, now=NOW, accelerator=accelerator))
    found = [m for m in made.apply if m["kind"] == "ModelBuild"]
    # What the API server would have refused never reaches the operator; it may be as wrong as it likes.
    return found[0] if found and not refused else None


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SPEC, st.lists(POD, max_size=3), CONDITIONS)
def test_every_build_is_taken_and_every_end_of_it_understood(
    spec: dict[str, Any], pods: list[dict[str, Any]], conditions: list[dict[str, Any]]
) -> None:
    manifest = wanted(spec)
    if manifest is None:
        return
    assert problems(manifest) == []
    build = {**manifest, "metadata": {**manifest["metadata"], "uid": "b1", "generation": 1}}
    started = plan_build(ObservedBuild(build, BUILD_SETTINGS, NOW))
    job = next((m for m in started.apply if m["kind"] == "Job"), None)
    if job is None:
        assert spec["accelerator"]["class"].startswith("tpu-")
        assert started.status is not None
        assert started.status["phase"] == "Refused"
        return
    V1Job.model_validate(job)
    live = {**job, "metadata": {**job["metadata"], "uid": "j1"}, "status": {"conditions": conditions}}
    for seen in (False, True):
        made = plan_build(ObservedBuild(build, BUILD_SETTINGS, NOW, job=live, pods=pods, live=seen))
        if made.status is not None:
            ModelBuild.model_validate({**build, "status": made.status})
            done = plan_build(
                ObservedBuild({**build, "status": made.status}, BUILD_SETTINGS, NOW, job=live, pods=pods)
            )
            assert done.status is None or done.status["phase"] == made.status["phase"]


def test_the_specs_tried_are_not_all_refused() -> None:
    spec = {
        "model": {"uri": "s3://m/a.onnx"},
        "accelerator": {"class": "cpu"},
        "slo": {"p99": "20ms"},
        "compression": {"preset": "int8"},
    }
    assert wanted(spec) is not None
