"""Whatever a user types: the builders make something the API's strict models take, or say one sentence."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes.client.models import V1Deployment

from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.desired.deployment import PodTemplateError, build_deployment
from seawall.desired.inputs import Platform, RevisionInputs, referenced_objects, revision_inputs
from seawall.desired.names import Owner
from seawall.desired.podschema import _schema
from support.fuzz import EXAMPLES

SCHEMA = _schema()
NAMES = st.sampled_from(["triton", "fetch", "models", "tmp", "shm", "A", "http", "new", "1Gi", "100m", ""])
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 9000), st.floats(allow_nan=False, allow_infinity=False),
    NAMES, st.just({}), st.just([]), st.sampled_from(["delete", "replace", "merge"]),
)  # fmt: skip
SCALARS = {
    "string": NAMES,
    "integer": st.integers(0, 70_000),
    "number": st.integers(0, 9),
    "boolean": st.booleans(),
    "int-or-string": st.one_of(st.integers(0, 9000), NAMES),
    "quantity": st.sampled_from(["1", "250m", "1Gi", "1024Mi", "0.5", 3, "lots"]),
    "any": JUNK,
}


@st.composite
def value(draw: st.DrawFn, word: str, depth: int) -> Any:
    """Mostly what the API's structure wants, now and then junk."""
    if draw(st.integers(0, 24)) == 0 or depth > 6:
        return draw(JUNK)
    if word.startswith("["):
        return [draw(value(word[1:-1], depth + 1)) for _ in range(draw(st.integers(0, 2)))]
    if word.startswith("{"):
        return {draw(NAMES): draw(value(word[1:-1], depth + 1)) for _ in range(draw(st.integers(0, 2)))}
    if word in SCALARS:
        return draw(SCALARS[word])
    return draw(structure(word, depth))


@st.composite
def structure(draw: st.DrawFn, name: str, depth: int) -> dict[str, Any]:
    fields = SCHEMA[name]
    chosen = {f for f, w in fields.items() if w.endswith("!")}
    chosen |= set(draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)))
    made = {f: draw(value(fields[f].removesuffix("!"), depth + 1)) for f in sorted(chosen)}
    if draw(st.integers(0, 15)) == 0:
        made[draw(st.sampled_from(["$patch", "imagee", "$retainKeys"]))] = draw(JUNK)
    return made


@st.composite
def pod_templates(draw: st.DrawFn) -> Any:
    spec = draw(structure("V1PodSpec", 0))
    template: dict[str, Any] = {"spec": spec}
    if draw(st.booleans()):
        template["metadata"] = draw(
            st.dictionaries(
                st.sampled_from(["labels", "annotations", "name"]), st.dictionaries(NAMES, JUNK, max_size=2)
            )
        )
    return template


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    uri, model_format = draw(
        st.sampled_from(
            [
                ("s3://m/a.onnx", None),
                ("pvc://claim/a.onnx", "onnx"),
                ("hf://a/b@main/x/", None),
                ("https://example.com/a.tar.gz", "python"),
                ("gs://m/a.plan", "tensorrt"),
            ]
        )
    )
    spec: dict[str, Any] = {
        "model": {"uri": uri, "config": draw(st.dictionaries(NAMES, JUNK, max_size=3))},
        "accelerator": {"class": "x", "count": draw(st.integers(1, 64))},
        "parallelism": {"instances": draw(st.integers(1, 64))},
        "slo": {"p99": draw(st.sampled_from(["1ms", "1.5ms", "20ms", "2s", "10m"]))},
        "batching": {"maxQueueDelay": draw(st.sampled_from(["auto", "0us", "500us", "10s"]))},
    }
    if model_format:
        spec["model"]["format"] = model_format
    if draw(st.booleans()):
        spec["model"]["maxBatchSize"] = draw(st.integers(0, 65536))
    if draw(st.booleans()):
        spec["model"]["credentialsSecret"] = "s"
    spec["podTemplate"] = draw(pod_templates())
    return spec


CLASSES = (
    {"type": "cpu", "runtime": {"image": "t", "tritonVersion": "24.10"}},
    {
        "type": "gpu",
        "resourceName": "nvidia.com/gpu",
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "runtime": {"image": "t", "tritonVersion": "26.06", "args": ["--log-verbose=1"]},
    },
)


def built(inputs: RevisionInputs) -> dict[str, Any] | str:
    """The Deployment, or the sentence that says why there is none."""
    try:
        return build_deployment(Owner("a", "b", "c"), inputs)
    except PodTemplateError as error:
        return str(error)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(services(), st.sampled_from(CLASSES))
def test_no_spec_makes_a_deployment_that_the_strict_models_refuse(
    raw: dict[str, Any], accelerator: dict[str, Any]
) -> None:
    spec = InferenceServiceSpec.model_validate(raw)
    before = copy.deepcopy(raw)
    referenced_objects(spec)
    inputs = revision_inputs(
        spec, "x", AcceleratorClassSpec.model_validate(accelerator), Platform("f"), {"Secret/s": "0"}
    )
    assert RevisionInputs.from_annotation(inputs.to_annotation()) == inputs
    made = built(inputs)
    assert raw == before
    if isinstance(made, str):
        assert 0 < len(made) < 500
        return
    assert json.loads(json.dumps(made)) == made
    V1Deployment.model_validate(made)
