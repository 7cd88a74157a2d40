"""What is in a revision's hash, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.desired.inputs import (
    TEMPLATE_VERSION,
    Platform,
    RevisionInputs,
    referenced_objects,
    revision_inputs,
)

PLATFORM = Platform("example.com/operator:1")
SPEC = {
    "model": {"uri": "s3://models/a.onnx"},
    "accelerator": {"class": "cpu"},
    "slo": {"p99": "20ms"},
}
CLASS = {"type": "cpu", "runtime": {"image": "example.com/triton:1", "tritonVersion": "24.10"}}


def inputs(
    change: dict[str, Any] | None = None,
    accelerator: dict[str, Any] | None = None,
    platform: Platform = PLATFORM,
    references: dict[str, str] | None = None,
) -> RevisionInputs:
    return revision_inputs(
        InferenceServiceSpec.model_validate({**SPEC, **(change or {})}),
        "cpu",
        AcceleratorClassSpec.model_validate({**CLASS, **(accelerator or {})}),
        platform,
        references or {},
    )


BASE = inputs()

OUTSIDE = {
    "the SLO": {"slo": {"p99": "30ms"}},
    "replicas": {"scaling": {"mode": "Fixed", "replicas": 3}},
    "the rollout": {"rollout": {"paused": True}},
    "a default written out": {"accelerator": {"class": "cpu", "count": 1}, "parallelism": {"instances": 1}},
    "auto written out": {"batching": {"maxQueueDelay": "auto", "maxQueueSize": "auto"}},
    "the inferred format written out": {"model": {"uri": "s3://models/a.onnx", "format": "onnx"}},
    "an empty config": {"model": {"uri": "s3://models/a.onnx", "config": {}}},
    "an empty podTemplate": {"podTemplate": {}},
}
INSIDE = {
    "the uri": {"model": {"uri": "s3://models/b.onnx"}},
    "the digest": {"model": {"uri": "s3://models/a.onnx", "sha256": "0" * 64}},
    "the batch size": {"model": {"uri": "s3://models/a.onnx", "maxBatchSize": 0}},
    "an empty map inside the config": {
        "model": {"uri": "s3://models/a.onnx", "config": {"dynamic_batching": {}}}
    },
    "the queue delay": {"batching": {"maxQueueDelay": "1ms"}},
    "instances": {"parallelism": {"instances": 2}},
    "a null in the podTemplate": {"podTemplate": {"spec": {"topologySpreadConstraints": None}}},
}


@pytest.mark.parametrize("change", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_outside_the_hash(change: dict[str, Any]) -> None:
    assert inputs(change).revision == BASE.revision


@pytest.mark.parametrize("change", INSIDE.values(), ids=INSIDE.keys())
def test_inside_the_hash_as_the_users_part(change: dict[str, Any]) -> None:
    made = inputs(change)
    assert made.revision != BASE.revision
    assert made.user_digest != BASE.user_digest
    assert made.platform_digest == BASE.platform_digest


def test_the_hash_is_the_same_in_every_version_of_seawall_that_renders_the_same_template() -> None:
    assert inputs(platform=Platform("example.com/operator:1", 1)).revision == "c15f2d50"
    assert inputs(platform=Platform("example.com/operator:1", 2)).revision == "7702f999"


PLATFORM_CHANGES = {
    "the runtime image": inputs(accelerator={"runtime": {"image": "b:2", "tritonVersion": "24.10"}}),
    "the runtime's arguments": inputs(
        accelerator={"runtime": {**CLASS["runtime"], "args": ["--log-verbose=1"]}}  # type: ignore[dict-item]
    ),
    "the node selector": inputs(accelerator={"nodeSelector": {"disk": "ssd"}}),
    "the operator's image": inputs(platform=Platform("example.com/operator:2")),
    "the template's version": inputs(platform=Platform("example.com/operator:1", TEMPLATE_VERSION + 1)),
}


@pytest.mark.parametrize("made", PLATFORM_CHANGES.values(), ids=PLATFORM_CHANGES.keys())
def test_the_platforms_part_is_told_apart(made: RevisionInputs) -> None:
    assert made.revision != BASE.revision
    assert made.user_digest == BASE.user_digest
    assert made.platform_digest != BASE.platform_digest


def test_prices_power_and_memory_of_the_class_restart_nothing() -> None:
    made = inputs(accelerator={"cost": {"perHour": "1.0"}, "power": {"peakWatts": 9}, "memory": "16G"})
    assert made.revision == BASE.revision


def test_the_content_of_references_counts() -> None:
    assert inputs(references={"Secret/a": "x"}).revision != inputs(references={"Secret/a": "y"}).revision


def test_the_annotation_brings_back_the_same_inputs() -> None:
    made = inputs(
        {"podTemplate": {"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}}}, references={"Secret/a": "x"}
    )
    again = RevisionInputs.from_annotation(made.to_annotation())
    assert again == made
    assert again.revision == made.revision
    assert again.slo == "20ms"


GOOD = json.loads(BASE.to_annotation())
BROKEN = {
    "no JSON": "{",
    "no object": "[]",
    "a number": "7",
    "nothing": "",
    "a key too many": json.dumps({**GOOD, "more": 1}),
    "a key missing": json.dumps({"user": {}, "platform": {}}),
    "a user part that is a list": json.dumps({**GOOD, "user": []}),
    "no model": json.dumps({**GOOD, "user": {"accelerator": {"class": "cpu"}}}),
    "no runtime": json.dumps({**GOOD, "platform": {**GOOD["platform"], "runtime": "x"}}),
    "an slo that is no duration": BASE.to_annotation().replace("20ms", "soon"),
    "not canonical": json.dumps(GOOD, indent=1),
    "deeper than anyone needs": "[" * 100_000,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_odd_annotations_are_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RevisionInputs.from_annotation(text)


def test_the_caller_refuses_first_what_makes_no_revision() -> None:
    with pytest.raises(ValueError, match="no runtime"):
        inputs(accelerator={"runtime": None})
    with pytest.raises(ValueError, match=r"spec\.model\.format"):
        inputs({"model": {"uri": "s3://models/a"}})


def test_references_are_found_wherever_a_pod_reads_them() -> None:
    spec = InferenceServiceSpec.model_validate(
        {
            **SPEC,
            "model": {"uri": "s3://models/a.onnx", "credentialsSecret": "s3"},
            "podTemplate": {
                "spec": {
                    "imagePullSecrets": [{"name": "not-read-by-the-pod"}],
                    "volumes": [
                        {"name": "a", "secret": {"secretName": "v1"}},
                        {"name": "b", "configMap": {"name": "v2"}},
                        {"name": "c", "projected": {"sources": [{"secret": {"name": "p1"}}, {"configMap": {"name": "p2"}}]}},
                        "nonsense",
                    ],
                    "initContainers": [{"name": "fetch", "envFrom": [{"configMapRef": {"name": "e2"}}]}],
                    "containers": [
                        {
                            "name": "triton",
                            "envFrom": [{"secretRef": {"name": "e1"}}, None],
                            "env": [
                                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "k1", "key": "a"}}},
                                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "k2", "key": "b"}}},
                                {"name": "C", "valueFrom": 7},
                            ],
                        }
                    ],
                }
            },
        }
    )  # fmt: skip
    assert referenced_objects(spec) == {
        *(("Secret", n) for n in ("s3", "v1", "p1", "e1", "k1")),
        *(("ConfigMap", n) for n in ("v2", "p2", "e2", "k2")),
    }


@pytest.mark.parametrize("broken", [{"spec": []}, {"spec": {"volumes": {"a": 1}, "containers": "x"}}])
def test_broken_pod_templates_reference_nothing(broken: dict[str, Any]) -> None:
    assert referenced_objects(InferenceServiceSpec.model_validate({**SPEC, "podTemplate": broken})) == set()
