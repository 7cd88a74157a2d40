"""The Deployment and its neighbours: security, shutdown, sources, devices."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.desired.deployment import build_deployment
from seawall.desired.disruption import build_disruption_budget
from seawall.desired.inputs import Built, Platform, RevisionInputs, revision_inputs
from seawall.desired.names import Owner
from seawall.desired.service import build_headless_service, build_service
from seawall.desired.shared import build_network_policy, build_service_account
from seawall.fetch.order import parse_order

OWNER = Owner("digits", "vision", "u-1")
CPU = {"type": "cpu", "runtime": {"image": "t", "tritonVersion": "24.10"}}
GPU = {
    "type": "gpu",
    "resourceName": "nvidia.com/gpu",
    "nodeSelector": {"gpu": "l4"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "runtime": {"image": "t", "tritonVersion": "26.06"},
}


def inputs(kind: dict[str, Any] | None = None, **spec: Any) -> RevisionInputs:
    whole = {
        "model": {"uri": "s3://m/a.onnx"},
        "accelerator": {"class": "x"},
        "slo": {"p99": "20ms"},
        **spec,
    }
    return revision_inputs(
        InferenceServiceSpec.model_validate(whole),
        "x",
        AcceleratorClassSpec.model_validate(kind or CPU),
        Platform("f"),
        {},
    )


def pod(kind: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made: dict[str, Any] = build_deployment(OWNER, inputs(kind, **spec))["spec"]["template"]["spec"]
    return made


def test_names_selectors_and_labels_agree() -> None:
    made = build_deployment(OWNER, inputs())
    revision = inputs().revision
    assert made["metadata"]["name"] == f"digits-{revision}"
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for service in (build_service(OWNER, revision), build_headless_service(OWNER, revision)):
        assert service["spec"]["selector"].items() <= labels.items()
    budget = build_disruption_budget(OWNER, 2)
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    policy = build_network_policy("vision")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert pod()["serviceAccountName"] == build_service_account("vision")["metadata"]["name"]


def test_a_withheld_service_selects_nobody() -> None:
    selector = build_service(OWNER, None)["spec"]["selector"]
    assert selector["serving.seawall.dev/revision"] == "withheld"


def test_one_inputs_one_manifest() -> None:
    again = RevisionInputs.from_annotation(inputs().to_annotation())
    assert build_deployment(OWNER, again) == build_deployment(OWNER, inputs())


def test_every_container_is_restricted() -> None:
    made = pod(model={"uri": "pvc://claim/a.onnx", "credentialsSecret": "s"})
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert made["automountServiceAccountToken"] is False
    for container in (*made["initContainers"], *made["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_server_sees_the_model_read_only_and_no_credentials() -> None:
    made = pod(model={"uri": "pvc://claim/dir/a.onnx", "credentialsSecret": "s3"})
    fetch, server = made["initContainers"][0], made["containers"][0]
    assert {m["name"] for m in server["volumeMounts"]} == {"models", "shm", "tmp"}
    assert next(m for m in server["volumeMounts"] if m["name"] == "models")["readOnly"] is True
    assert fetch["envFrom"] == [{"secretRef": {"name": "s3"}}]
    mounts = {m["name"]: m for m in fetch["volumeMounts"]}
    assert mounts["credentials"]["mountPath"] == "/var/run/seawall/credentials"
    assert mounts["source"] == {"name": "source", "mountPath": "/source", "readOnly": True}
    source = next(v for v in made["volumes"] if v["name"] == "source")
    assert source["persistentVolumeClaim"] == {"claimName": "claim", "readOnly": True}


def test_every_mount_has_its_volume() -> None:
    for model in ({"uri": "s3://m/a.onnx"}, {"uri": "pvc://c/a.onnx", "credentialsSecret": "s"}):
        made = pod(model=model)
        volumes = {v["name"] for v in made["volumes"]}
        for container in (*made["initContainers"], *made["containers"]):
            assert {m["name"] for m in container["volumeMounts"]} <= volumes


def test_the_fetcher_understands_the_order_even_with_dollars() -> None:
    model = {"uri": "s3://m/$(HOME)/a.onnx", "sha256": "0" * 64, "config": {"parameters": {"a": "$(X)"}}}
    value = pod(model=model)["initContainers"][0]["env"][0]["value"]
    assert "$" not in value
    order = parse_order(value)
    assert order.uri == "s3://m/$(HOME)/a.onnx"
    assert order.override == {"parameters": {"a": "$(X)"}}
    assert (order.name, order.format, order.triton_version) == ("digits", "onnx", "24.10")
    assert order.config["backend"] == "onnxruntime"
    assert order.sha256 == "0" * 64


def test_devices_come_from_the_class() -> None:
    made = pod(GPU, accelerator={"class": "x", "count": 4})
    resources = made["containers"][0]["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": "4"}
    assert resources["requests"]["nvidia.com/gpu"] == "4"
    assert made["nodeSelector"] == {"gpu": "l4"}
    assert made["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert "resources" not in made["initContainers"][0] or "nvidia.com/gpu" not in str(
        made["initContainers"][0]["resources"]
    )


def test_a_cpu_pod_has_defaults_that_fit_a_small_node() -> None:
    assert pod()["containers"][0]["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"memory": "2Gi"},
    }
    assert "nodeSelector" not in pod()


def test_threads_follow_the_cores_that_a_pod_template_requests() -> None:
    env = {e["name"]: e for e in pod()["containers"][0]["env"]}
    for name in ("OMP_NUM_THREADS", "SEAWALL_INTRA_OP_THREADS"):
        assert env[name]["valueFrom"]["resourceFieldRef"] == {
            "containerName": "triton",
            "resource": "requests.cpu",
            "divisor": "1",
        }


def test_a_deployment_says_no_count_so_that_whoever_scales_it_keeps_it() -> None:
    assert "replicas" not in build_deployment(OWNER, inputs())["spec"]


@pytest.mark.parametrize(("replicas", "most"), [(0, 1), (1, 1), (2, 1), (19, 1), (20, 2), (100, 10)])
def test_a_drain_is_never_blocked_for_ever(replicas: int, most: int) -> None:
    spec = build_disruption_budget(OWNER, replicas)["spec"]
    assert spec["maxUnavailable"] == most
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_network_policy_lets_in_inference_and_metrics_only() -> None:
    spec = build_network_policy("vision")["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    assert [p["port"] for p in spec["ingress"][0]["ports"]] == [8000, 8001, 8002]
    assert len(json.dumps(spec["ingress"][0])) == len(json.dumps({"ports": spec["ingress"][0]["ports"]}))


BUILT = Built("digits-int8-aaaa", "s3://artifacts/builds/abc/", "d" * 64, "onnx")
STORE = Platform(
    "f", artifacts_uri="s3://artifacts/builds", artifacts_secret="store", public_keys=("PEM$(X)",)
)


def built(platform: Platform = STORE, artifact: Built = BUILT, **spec: Any) -> RevisionInputs:
    whole = {
        "model": {"uri": "s3://m/a.pt2", "credentialsSecret": "reader", "sha256": "0" * 64},
        "compression": {"preset": "int8"},
        "accelerator": {"class": "x"},
        "slo": {"p99": "20ms"},
        **spec,
    }
    return revision_inputs(
        InferenceServiceSpec.model_validate(whole),
        "x",
        AcceleratorClassSpec.model_validate(CPU),
        platform,
        {},
        artifact,
    )


def test_an_artefact_is_fetched_from_its_store_with_the_stores_credentials() -> None:
    made = build_deployment(OWNER, built())["spec"]["template"]["spec"]
    [fetch] = made["initContainers"]
    order = parse_order(fetch["env"][0]["value"])
    assert (order.uri, order.format, order.sha256) == ("s3://artifacts/builds/abc/", "onnx", None)
    assert order.artifact is not None
    assert (order.artifact.digest, order.artifact.public_keys) == ("d" * 64, ("PEM$(X)",))
    assert "$" not in fetch["env"][0]["value"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert "reader" not in str(made)
    assert order.config["backend"] == "onnxruntime"


def test_an_artefact_on_a_claim_is_mounted_in_place_of_the_model() -> None:
    artifact = replace(BUILT, uri="pvc://store/builds/abc/")
    made = build_deployment(OWNER, built(artifact=artifact, model={"uri": "pvc://models/a.onnx"}))
    volumes = {v["name"]: v for v in made["spec"]["template"]["spec"]["volumes"]}
    assert volumes["source"]["persistentVolumeClaim"] == {"claimName": "store", "readOnly": True}


def test_the_nodes_cache_is_seen_by_the_fetcher_alone_and_by_namespace() -> None:
    platform = Platform("f", cache_path="/var/lib/seawall", cache_size="2Gi")
    made = build_deployment(OWNER, built(platform))["spec"]["template"]["spec"]
    [fetch], [triton] = made["initContainers"], made["containers"]
    mount = next(m for m in fetch["volumeMounts"] if m["name"] == "cache")
    assert (mount["mountPath"], mount["subPath"]) == ("/cache", "vision")
    assert {"name": "SEAWALL_MODEL_CACHE", "value": "/cache"} in fetch["env"]
    assert {"name": "SEAWALL_MODEL_CACHE_BYTES", "value": str(2 * 2**30)} in fetch["env"]
    assert "cache" not in {m["name"] for m in triton["volumeMounts"]}
    volume = next(v for v in made["volumes"] if v["name"] == "cache")
    assert volume["hostPath"]["path"] == "/var/lib/seawall"


@pytest.mark.parametrize(
    ("size", "kind", "request_", "limit"),
    [("64Mi", CPU, "576Mi", "2112Mi"), ("1Gi", GPU, "3Gi", None), ("64M", CPU, "600870912", "2211483648")],
)
def test_the_response_cache_has_memory_of_its_own(
    size: str, kind: dict[str, Any], request_: str, limit: str | None
) -> None:
    resources = pod(kind, cache={"size": size})["containers"][0]["resources"]
    assert resources["requests"]["memory"] == request_
    assert resources["limits"].get("memory") == limit


def test_a_revision_with_an_artefact_is_rendered_again_from_its_own_record() -> None:
    whole = built(cache={"size": "64Mi"}, parallelism={"pipeline": 2})
    again = RevisionInputs.from_annotation(whole.to_annotation())
    assert build_deployment(OWNER, again) == build_deployment(OWNER, whole)


@pytest.mark.parametrize(
    "artifact",
    [replace(BUILT, digest="e" * 64), replace(BUILT, uri="s3://a/b/"), replace(BUILT, build="other")],
)
def test_another_artefact_is_another_revision_that_the_platform_asks_for(artifact: Built) -> None:
    one, other = built(), built(artifact=artifact)
    assert one.revision != other.revision
    assert one.user_digest == other.user_digest


@pytest.mark.parametrize(
    "spec",
    [
        {"compression": {"preset": "int4"}},
        {"compression": {"preset": "int8", "calibration": "s3://m/c.npz"}},
        {"parallelism": {"pipeline": 2}},
        {"cache": {"size": "64Mi"}},
    ],
)
def test_compression_pipeline_and_cache_are_asked_for_by_the_owner(spec: dict[str, Any]) -> None:
    assert built(**spec).user_digest != built().user_digest


@pytest.mark.parametrize("spec", [{"compression": {"preset": "none"}}, {"parallelism": {"pipeline": 1}}])
def test_what_means_nothing_changes_no_revision(spec: dict[str, Any]) -> None:
    assert inputs(**spec).revision == inputs().revision


@pytest.mark.parametrize("damage", ['"digest":', '"uri":"s3://artifacts'])
def test_a_damaged_record_of_an_artefact_is_not_rendered(damage: str) -> None:
    text = built().to_annotation()
    with pytest.raises(ValueError, match="inputs"):
        RevisionInputs.from_annotation(text.replace(damage, damage.replace('":', 'x":')))
