"""Whatever is written into a spec, plan neither crashes nor emits what Kubernetes' strict models refuse."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes.client import models

from seawall.decide.plan import plan
from seawall.decide.types import Observed, Verdict, Verification
from seawall.desired.inputs import Platform
from support.fuzz import EXAMPLES

STRICT = {
    "Deployment": models.V1Deployment,
    "Service": models.V1Service,
    "PodDisruptionBudget": models.V1PodDisruptionBudget,
    "ServiceAccount": models.V1ServiceAccount,
    "NetworkPolicy": models.V1NetworkPolicy,
    "HorizontalPodAutoscaler": models.V2HorizontalPodAutoscaler,
}
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PLATFORM = Platform(fetcher_image="seawall:1", template_version=1)
NAMES = st.sampled_from(["triton", "fetch", "models", "tmp", "sidecar", "", "x" * 70])
SCALARS = st.none() | st.booleans() | st.integers(-5, 10**9) | st.text(max_size=8) | NAMES
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "env", "spec", "value", "image", "$patch", "a", ""]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
QUANTITIES = st.sampled_from(["1", "1000m", "0.5", "2Gi", "1024Mi", "1e3", 2, "", "lots", -1])
CONTAINER = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "image": st.text(max_size=5),
        "env": st.lists(
            st.fixed_dictionaries({"name": NAMES}, optional={"value": st.text(max_size=4)}), max_size=2
        )
        | JSON,
        "resources": st.fixed_dictionaries(
            {},
            optional={
                "limits": st.dictionaries(
                    st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), QUANTITIES, max_size=2
                )
            },
        )
        | JSON,
        "volumeMounts": JSON,
        "$patch": st.sampled_from(["delete", "replace", "merge", "burn"]),
    },
)
POD_TEMPLATE = (
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": st.fixed_dictionaries(
                {}, optional={"labels": st.dictionaries(NAMES, NAMES, max_size=2) | JSON, "annotations": JSON}
            ),
            "spec": st.fixed_dictionaries(
                {},
                optional={
                    "containers": st.lists(CONTAINER, max_size=2) | JSON,
                    "initContainers": st.lists(CONTAINER, max_size=2),
                    "volumes": JSON,
                    "nodeSelector": JSON,
                    "tolerations": JSON,
                    "priorityClassName": SCALARS,
                },
            ),
        },
    )
    | JSON
)
SPEC = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"uri": st.sampled_from(["s3://m/a.onnx", "pvc://claim/x", "hf://o/r@v/f.onnx", "nonsense", ""])},
            optional={
                "format": st.sampled_from(["onnx", "python", "repository", "tensorrt", "torch", "wat"]),
                "sha256": st.sampled_from(["ab" * 32, "ab"]),
                "credentialsSecret": st.sampled_from(["s3", "Not A Name"]),
                "maxBatchSize": st.integers(-1, 5000),
                "config": st.dictionaries(st.text(max_size=5), JSON, max_size=2),
            },
        ),
        "accelerator": st.fixed_dictionaries(
            {"class": st.just("cpu")}, optional={"count": st.integers(-1, 9)}
        ),
        "slo": st.fixed_dictionaries(
            {"p99": st.sampled_from(["20ms", "1ms", "1.5s", "10m", "20", "", "-1ms"])}
        ),
    },
    optional={
        "scaling": st.fixed_dictionaries(
            {},
            optional={
                "mode": st.sampled_from(["Fixed", "External", "Auto", "HPA", "KEDA", "Direct", "x"]),
                "replicas": st.integers(-1, 9),
                "minReplicas": st.integers(-1, 5),
                "maxReplicas": st.integers(-1, 9),
                "behavior": JSON,
            },
        ),
        "batching": st.fixed_dictionaries(
            {},
            optional={
                "maxQueueDelay": st.sampled_from(["auto", "1ms", "5"]),
                "maxQueueSize": st.sampled_from(["auto", 8, 0, "many"]),
            },
        ),
        "parallelism": st.fixed_dictionaries({}, optional={"instances": st.integers(-1, 9)}),
        "podTemplate": POD_TEMPLATE,
        "unknown": JSON,
    },
)
CLASSES = st.sampled_from(
    [
        None,
        {"type": "cpu", "runtime": {"image": "triton:1", "tritonVersion": "24.10"}},
        {
            "type": "gpu",
            "resourceName": "nvidia.com/gpu",
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "runtime": {"image": "triton:2", "tritonVersion": "26.06"},
        },
        {"type": "tpu", "resourceName": "google.com/tpu"},
        {"type": "gpu"},
        {},
    ]
)


def observed(spec: dict[str, Any], accelerator: dict[str, Any] | None, **over: Any) -> Observed:
    meta = {"name": "digits", "namespace": "demo", "uid": "u1", "generation": 1}
    found = accelerator and {"kind": "AcceleratorClass", "metadata": {"name": "cpu"}, "spec": accelerator}
    service = over.pop("service", {"kind": "InferenceService", "metadata": meta, "spec": spec})
    return Observed(service=service, platform=PLATFORM, now=NOW, accelerator=found or None, **over)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(spec=SPEC, accelerator=CLASSES, digest=st.sampled_from(["d" * 64, "unreadable", None]))
def test_no_spec_breaks_the_plan_and_no_plan_breaks_kubernetes(
    spec: dict[str, Any], accelerator: dict[str, Any] | None, digest: str | None
) -> None:
    made = plan(observed(spec, accelerator, references={("Secret", "s3"): digest}))
    for manifest in made.apply:
        STRICT[manifest["kind"]].model_validate(manifest)
    assert made.status is not None
    assert made.status["conditions"][0]["type"] == "Ready"
    _second_pass(spec, accelerator, digest, made.apply, made.status)


def _second_pass(
    spec: dict[str, Any],
    accelerator: dict[str, Any] | None,
    digest: str | None,
    manifests: tuple[dict[str, Any], ...],
    status: Any,
) -> None:
    """The same again in the world that the first plan made: it must not want anything else."""
    children = [copy.deepcopy(m) | {"status": {}} for m in manifests]
    for child in children:
        child["metadata"]["generation"] = 1

    def of(kind: str) -> list[dict[str, Any]]:
        return [c for c in children if c["kind"] == kind]

    meta = {"name": "digits", "namespace": "demo", "uid": "u1", "generation": 1}
    again = plan(
        observed(
            spec,
            accelerator,
            service={"kind": "InferenceService", "metadata": meta, "spec": spec, "status": status},
            references={("Secret", "s3"): digest},
            deployments=of("Deployment"),
            services=of("Service"),
            disruption_budgets=of("PodDisruptionBudget"),
            verification=Verification("00000000", Verdict.PASSED),
        )
    )
    assert [m["metadata"]["name"] for m in again.apply] == [
        m["metadata"]["name"] for m in manifests
    ] or not manifests
    assert again.delete == ()
