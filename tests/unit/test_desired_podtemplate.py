"""The strategic-merge patch on the pod: what it may do, and how it says no."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from seawall.desired.podschema import PodTemplateError
from seawall.desired.podtemplate import patched

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"serving.seawall.dev/revision": "abc"}},
    "spec": {
        "initContainers": [{"name": "fetch", "image": "f"}],
        "containers": [
            {
                "name": "triton",
                "image": "t",
                "args": ["--a", "--b"],
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "ports": [{"containerPort": 8000, "protocol": "TCP", "name": "http"}],
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "periodSeconds": 10},
                "resources": {"limits": {"memory": "2Gi"}, "requests": {"cpu": "250m"}},
                "volumeMounts": [{"name": "tmp", "mountPath": "/scratch"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "nodeSelector": {"a": "b"},
    },
}


def spec(patch: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = patched(TEMPLATE, {"spec": patch})["spec"]
    return found


def triton(patch: dict[str, Any]) -> dict[str, Any]:
    containers = spec({"containers": [{"name": "triton", **patch}]})["containers"]
    return next(c for c in containers if c["name"] == "triton")  # type: ignore[no-any-return]


def test_no_patch_changes_nothing_and_the_template_is_never_touched() -> None:
    before = copy.deepcopy(TEMPLATE)
    assert patched(TEMPLATE, None) == TEMPLATE
    assert patched(TEMPLATE, {}) == TEMPLATE
    triton({"env": [{"name": "A", "value": "2"}], "args": None})
    assert before == TEMPLATE


def test_environment_merges_by_name() -> None:
    env = triton({"env": [{"name": "A", "value": "2"}, {"name": "C", "value": "3"}]})["env"]
    assert [e.get("value") for e in env] == ["2", None, "3"]


def test_a_value_takes_the_place_of_a_source() -> None:
    env = triton({"env": [{"name": "B", "value": "x"}]})["env"]
    assert env[1] == {"name": "B", "value": "x"}


def test_an_element_is_deleted_by_directive_and_a_field_by_null() -> None:
    assert [e["name"] for e in triton({"env": [{"name": "A", "$patch": "delete"}]})["env"]] == ["B"]
    assert "livenessProbe" not in triton({"livenessProbe": None})
    assert "nodeSelector" not in spec({"nodeSelector": None})


def test_lists_without_a_key_are_replaced() -> None:
    assert triton({"args": ["--c"]})["args"] == ["--c"]
    assert spec({"tolerations": [{"operator": "Exists"}]})["tolerations"] == [{"operator": "Exists"}]


def test_maps_merge_and_can_be_replaced() -> None:
    assert spec({"nodeSelector": {"c": "d"}})["nodeSelector"] == {"a": "b", "c": "d"}
    assert spec({"nodeSelector": {"$patch": "replace", "c": "d"}})["nodeSelector"] == {"c": "d"}


def test_a_list_can_be_replaced() -> None:
    env = triton({"env": [{"$patch": "replace"}, {"name": "Z", "value": "9"}]})["env"]
    assert env == [{"name": "Z", "value": "9"}]


def test_a_probe_has_one_handler() -> None:
    probe = triton({"livenessProbe": {"exec": {"command": ["true"]}}})["livenessProbe"]
    assert probe == {"exec": {"command": ["true"]}, "periodSeconds": 10}


def test_a_volume_has_one_source() -> None:
    volumes = spec({"volumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "scratch"}}]})[
        "volumes"
    ]
    assert volumes == [{"name": "tmp", "persistentVolumeClaim": {"claimName": "scratch"}}]
    assert spec({"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]})["volumes"] == [
        {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi", "medium": "Memory"}}
    ]


def test_mounts_merge_by_path_and_ports_by_number_and_protocol() -> None:
    made = triton(
        {
            "volumeMounts": [{"name": "other", "mountPath": "/scratch"}],
            "ports": [{"containerPort": 8000, "name": "web"}, {"containerPort": 8000, "protocol": "UDP"}],
        }
    )
    assert made["volumeMounts"] == [{"name": "other", "mountPath": "/scratch"}]
    assert made["ports"] == [
        {"containerPort": 8000, "protocol": "TCP", "name": "web"},
        {"containerPort": 8000, "protocol": "UDP"},
    ]


def test_values_become_canonical() -> None:
    made = triton({"resources": {"limits": {"memory": "4096Mi", "cpu": 2}, "requests": {"cpu": "1000m"}}})
    assert made["resources"] == {"limits": {"memory": "4Gi", "cpu": "2"}, "requests": {"cpu": "1"}}
    assert triton({"env": [{"name": "A", "value": ""}]})["env"][0] == {"name": "A"}
    assert spec({"volumes": [{"name": "x", "emptyDir": {}}], "affinity": {}})["volumes"][1] == {
        "name": "x",
        "emptyDir": {},
    }


def test_labels_and_annotations_are_added() -> None:
    made = patched(TEMPLATE, {"metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}}})
    assert made["metadata"] == {
        "labels": {"serving.seawall.dev/revision": "abc", "team": "a"},
        "annotations": {"b": "c"},
    }


def _container(patch: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "triton", **patch}]}}


DEEP: dict[str, Any] = {}
for _ in range(500):
    DEEP = {"a": DEEP}

REFUSED: dict[str, tuple[Any, str]] = {
    "a list": ([], "it must be an object with metadata and spec"),
    "another part": ({"status": {}}, "status: only metadata and spec can be set"),
    "a name": ({"metadata": {"name": "x"}}, "metadata.name: only labels and annotations can be set"),
    "metadata that is text": ({"metadata": "x"}, "metadata must be an object"),
    "a label of the operator's": (
        {"metadata": {"labels": {"serving.seawall.dev/revision": "x"}}},
        "metadata.labels.serving.seawall.dev/revision is set by the operator",
    ),
    "all labels deleted": ({"metadata": {"labels": None}}, "metadata.labels.serving.seawall.dev/revision"),
    "a label that is a number": ({"metadata": {"labels": {"a": 1}}}, "metadata.labels.a must be a string"),
    "spec that is a list": ({"spec": []}, "spec must be an object"),
    "the pod deleted": ({"spec": {"$patch": "delete"}}, "spec.containers is required"),
    "the server removed": (
        {"spec": {"containers": [{"name": "triton", "$patch": "delete"}, {"name": "x"}]}},
        "spec.containers: the container triton cannot be removed",
    ),
    "the fetcher removed": (
        {"spec": {"initContainers": None}},
        "spec.initContainers: the container fetch cannot be removed",
    ),
    "a misspelt field": (
        _container({"imagee": "x"}),
        "spec.containers[triton].imagee: Kubernetes knows no such field",
    ),
    "a container without a name": ({"spec": {"containers": [{"image": "x"}]}}, "containers[0] needs name"),
    "a container that is text": ({"spec": {"containers": ["x"]}}, "spec.containers[0] must be an object"),
    "containers that are a map": ({"spec": {"containers": {"a": {}}}}, "spec.containers must be a list"),
    "a number for text": (
        _container({"env": [{"name": "A", "value": 1}]}),
        "spec.containers[triton].env[A].value must be a string (put it in quotes), not 1",
    ),
    "text for a number": (
        {"spec": {"terminationGracePeriodSeconds": "9"}},
        "spec.terminationGracePeriodSeconds must be a whole number, not '9'",
    ),
    "true for a number": ({"spec": {"priority": True}}, "spec.priority must be a whole number"),
    "text for true": ({"spec": {"hostNetwork": "yes"}}, "spec.hostNetwork must be true or false"),
    "no quantity": (
        _container({"resources": {"limits": {"memory": "lots"}}}),
        "spec.containers[triton].resources.limits.memory must be a quantity such as 500m or 2Gi, not 'lots'",
    ),
    "a required field missing": (
        {"spec": {"volumes": [{"name": "a", "persistentVolumeClaim": {}}]}},
        "spec.volumes[a].persistentVolumeClaim.claimName is required",
    ),
    "an unknown directive": ({"spec": {"$retainKeys": ["a"]}}, "spec.$retainKeys: is not supported"),
    "an unknown patch": ({"spec": {"$patch": "move"}}, "spec.$patch must be delete, replace or merge"),
    "a null in a list": (_container({"args": [None]}), "spec.containers[triton].args[0] must be a value"),
    "no end of nesting": ({"spec": DEEP}, "nested too deeply"),
}


@pytest.mark.parametrize(("patch", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_a_sentence(patch: Any, sentence: str) -> None:
    with pytest.raises(PodTemplateError) as caught:
        patched(TEMPLATE, patch)
    assert sentence in str(caught.value)
