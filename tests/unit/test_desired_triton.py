"""What Triton is told, release by release and format by format."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.desired import triton
from seawall.desired.inputs import Platform, RevisionInputs, revision_inputs
from seawall.desired.versions import at_least, release
from seawall.fetch.modelconfig import as_text

CPU = {"type": "cpu", "runtime": {"image": "t", "tritonVersion": "24.10"}}
GPU = {
    "type": "gpu",
    "resourceName": "nvidia.com/gpu",
    "runtime": {"image": "t", "tritonVersion": "26.06", "args": ["--log-verbose=1"]},
}


def inputs(kind: dict[str, Any], model: dict[str, Any] | None = None, **spec: Any) -> RevisionInputs:
    whole = {
        "model": {"uri": "s3://m/a.onnx", **(model or {})},
        "accelerator": {"class": "x"},
        "slo": {"p99": "20ms"},
        **spec,
    }
    return revision_inputs(
        InferenceServiceSpec.model_validate(whole),
        "x",
        AcceleratorClassSpec.model_validate(kind),
        Platform("f"),
        {},
    )


BUCKETS = {
    0.020: [5, 10, 15, 18, 19, 25, 30, 40, 80],
    0.001: [0, 1, 2, 4],
    0.0155: [3, 7, 11, 13, 15, 19, 23, 31, 62],
    0.5: [125, 250, 375, 450, 499, 625, 750, 1000, 2000],
}


@pytest.mark.parametrize(("slo", "edges"), BUCKETS.items(), ids=str)
def test_one_edge_is_the_last_whole_millisecond_below_the_slo(slo: float, edges: list[int]) -> None:
    assert triton.latency_buckets(slo) == edges


@pytest.mark.parametrize(
    ("version", "minimum", "enough"),
    [("26.01", "26.01", True), ("25.12", "26.01", False), ("26.1", "26.01", True), ("30.01", "26.12", True)],
)
def test_releases_compare_by_year_and_month(version: str, minimum: str, enough: bool) -> None:
    assert at_least(version, minimum) is enough


@pytest.mark.parametrize("text", ["", "26", "26.", "x.y", "26.06-py3"])
def test_what_is_no_release(text: str) -> None:
    with pytest.raises(ValueError, match=r"26\.06"):
        release(text)


CLOSED = [
    f"--{flag}=model-repository,shared-memory,trace,logging:seawall-admin-key=$(SEAWALL_ADMIN_KEY)"
    for flag in ("http-restricted-api", "grpc-restricted-protocol")
]


def test_an_old_server_gets_no_flag_that_it_does_not_know() -> None:
    assert triton.server_args(inputs(CPU)) == [
        "--model-repository=/models",
        "--exit-timeout-secs=20",
        "--log-info=false",
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
        "--metrics-config=summary_latencies=true",
        "--metrics-config=summary_quantiles=0.5:0.05,0.95:0.01,0.99:0.001",
        *CLOSED,
    ]


def test_a_new_server_gets_histograms_and_the_classs_own_flags_last() -> None:
    assert triton.server_args(inputs(GPU, {"format": "tensorrt"})) == [
        "--model-repository=/models",
        "--exit-timeout-secs=20",
        "--log-info=false",
        "--metrics-config=histogram_latencies=true",
        "--http-max-input-size=67108864",
        "--allow-client-shm=false",
        *CLOSED,
        "--log-verbose=1",
    ]


def test_buckets_go_only_to_servers_that_have_histograms() -> None:
    assert "model_metrics" not in triton.model_config(inputs(CPU))
    control = triton.model_config(inputs(GPU))["model_metrics"]["metric_control"]
    assert control[0]["histogram_options"]["buckets"] == BUCKETS[0.020]


def test_the_queue_has_a_policy_only_where_asked_for_because_any_makes_the_batcher_miss_wake_ups() -> None:
    assert triton.model_config(inputs(CPU))["dynamic_batching"] == {}
    asked = triton.model_config(inputs(CPU, batching={"maxQueueSize": 7}))["dynamic_batching"]
    assert asked == {"default_queue_policy": {"max_queue_size": 7}}


def test_a_delay_is_added_only_where_asked_for() -> None:
    assert "max_queue_delay_microseconds" not in triton.model_config(inputs(CPU))["dynamic_batching"]
    asked = triton.model_config(inputs(CPU, batching={"maxQueueDelay": "1.5ms"}))
    assert asked["dynamic_batching"]["max_queue_delay_microseconds"] == 1500


def test_a_repository_is_left_as_it_is_but_for_what_the_spec_says() -> None:
    assert triton.model_config(inputs(CPU, {"format": "repository"})) == {}
    said = triton.model_config(inputs(CPU, {"format": "repository"}, parallelism={"instances": 3}))
    assert said == {"instance_group": [{"kind": "KIND_CPU", "count": 3}]}


@pytest.mark.parametrize(
    ("model_format", "path"),
    [("onnx", "/v2/models/a/versions/1/ready"), ("repository", "/v2/models/a/ready")],
)
def test_readiness_is_the_models_own(model_format: str, path: str) -> None:
    probes = triton.probes("a", model_format)
    assert probes["startupProbe"]["httpGet"]["path"] == probes["readinessProbe"]["httpGet"]["path"] == path
    assert probes["startupProbe"]["periodSeconds"] == 1
    assert probes["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


def test_the_pod_outlives_the_drain_and_tritons_own_patience() -> None:
    assert triton.GRACE_PERIOD_SECONDS >= triton.PRE_STOP_SECONDS + triton.EXIT_TIMEOUT_SECONDS + 5


def built(kind: dict[str, Any], layout: str, **spec: Any) -> RevisionInputs:
    """Inputs of a service that serves what a build has made of an ONNX file."""
    plain = inputs(kind, **spec)
    artifact = {"uri": "s3://a/k", "digest": "0" * 64, "format": layout, "build": "b"}
    return RevisionInputs(plain.user, {**plain.platform, "artifact": artifact}, plain.slo)


def test_one_instance_group_for_each_device_of_a_pod() -> None:
    asked = inputs(GPU, accelerator={"class": "x", "count": 2}, parallelism={"instances": 3})
    groups = triton.model_config(asked)["instance_group"]
    assert groups == [{"kind": "KIND_GPU", "count": 3, "gpus": [device]} for device in (0, 1)]
    assert triton.model_config(inputs(GPU))["instance_group"] == [{"kind": "KIND_GPU", "count": 1}]


def test_the_cache_is_given_to_the_server_and_the_model_in_bytes() -> None:
    asked = inputs(CPU, cache={"size": "64Mi"})
    assert "--cache-config=local,size=67108864" in triton.server_args(asked)
    assert triton.model_config(asked)["response_cache"] == {"enable": True}
    assert triton.cache_bytes(asked) == 64 << 20
    assert triton.cache_bytes(inputs(CPU)) == 0


SOURCES = {
    "histograms": ("26.06", False, False, "Triton"),
    "histograms, with hits of the cache among them": ("26.01", True, False, "Triton"),
    "summaries": ("25.12", False, False, "TritonSummary"),
    "nothing, as a cached model has no summary": ("24.10", True, False, None),
    "the summary of an ensemble whose stages are cached": ("24.10", True, True, "TritonSummary"),
}


@pytest.mark.parametrize(("version", "cached", "staged", "source"), SOURCES.values(), ids=SOURCES.keys())
def test_where_the_p99_is_read(version: str, cached: bool, staged: bool, source: str | None) -> None:
    assert triton.latency_source(version, cached, staged) == source


SHARED = {
    "one process": ({}, "256Mi"),
    "two": ({"instances": 2}, "256Mi"),
    "many": ({"instances": 4}, "512Mi"),
    "stages of many": ({"instances": 2, "pipeline": 3}, "768Mi"),
}


@pytest.mark.parametrize(("parallelism", "size"), SHARED.values(), ids=SHARED.keys())
def test_shared_memory_grows_with_the_processes_that_hand_tensors_on(
    parallelism: dict[str, int], size: str
) -> None:
    assert triton.shared_memory(inputs(CPU, parallelism=parallelism)) == size
    assert triton.shared_memory(inputs(GPU, parallelism=parallelism)) == "1Gi"


SERVED = {"onnx": ("onnxruntime", True), "tensorrt": ("tensorrt", False), "pipeline": (None, True)}


@pytest.mark.parametrize(("layout", "wanted"), SERVED.items(), ids=SERVED.keys())
def test_what_counts_is_the_format_that_was_built(layout: str, wanted: tuple[str | None, bool]) -> None:
    made = built(GPU, layout)
    complete = "--disable-auto-complete-config" in triton.server_args(made)
    assert (triton.model_config(made).get("backend"), complete) == wanted


@pytest.mark.parametrize("model_format", ["onnx", "python", "repository", "tensorrt"])
@pytest.mark.parametrize("accelerator", [CPU, GPU], ids=["cpu", "gpu"])
def test_tritons_own_schema_takes_what_is_made(accelerator: dict[str, Any], model_format: str) -> None:
    made = inputs(accelerator, {"format": model_format}, parallelism={"instances": 2})
    assert as_text(triton.model_config(made), made.platform["runtime"]["tritonVersion"])
