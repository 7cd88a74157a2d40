"""The Job of a build: who runs what, with which secrets, within which bounds; and the order that it carries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from kubernetes.client.models import V1Job

from seawall.api.modelbuild import ModelBuildSpec
from seawall.api.v1alpha1 import AcceleratorClassSpec, InferenceServiceSpec
from seawall.api.validate import problems
from seawall.desired.build_image import image_of
from seawall.desired.build_job import BuildSettings, build_job
from seawall.desired.build_order import build_order
from seawall.desired.modelbuild import build_model_build, build_name, build_spec
from seawall.desired.names import Owner
from seawall.optimize.recipes import ORDER_FILE, ORDER_VARIABLE
from seawall.optimize.types import BuildOrder

OWNER = Owner("digits-int8-0123456789", "ns", "uid-1", "ModelBuild")
SETTINGS = BuildSettings(
    "optimizer:1", "training:1", "s3://artifacts/builds",
    gpu_optimizer_image="gpu:1", tpu_optimizer_image="tpu:1",
)  # fmt: skip
CPU = {
    "type": "cpu",
    "precisions": ["fp32", "int8"],
    "runtime": {"image": "triton:1", "tritonVersion": "24.10"},
}
GPU = {
    "type": "gpu", "resourceName": "nvidia.com/gpu", "memory": "24G", "computeCapability": "8.9",
    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "power": {"peakWatts": 72}, "runtime": {"image": "triton:2", "tritonVersion": "26.06"},
}  # fmt: skip


def service_spec(**more: Any) -> InferenceServiceSpec:
    base = {
        "model": {"uri": "s3://models/digits.onnx"},
        "compression": {"preset": "int8"},
        "accelerator": {"class": "c"},
        "slo": {"p99": "20ms"},
    }
    return InferenceServiceSpec.model_validate({**base, **more})


def wanted(accelerator: dict[str, Any] = CPU, **more: Any) -> dict[str, Any]:
    made = build_spec(service_spec(**more), "c", AcceleratorClassSpec.model_validate(accelerator), 1)
    assert made is not None
    return made


def job(settings: BuildSettings = SETTINGS, accelerator: dict[str, Any] = CPU, **more: Any) -> dict[str, Any]:
    spec = ModelBuildSpec.model_validate(wanted(accelerator, **more))
    image = image_of(spec, settings)
    assert isinstance(image, str)
    made = build_job(OWNER, spec, settings, image)
    V1Job.model_validate(made)
    return made


def pod(made: dict[str, Any]) -> dict[str, Any]:
    return dict(made["spec"]["template"]["spec"])


def containers(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in (*pod(made)["initContainers"], *pod(made)["containers"])}


TRAINING = {"preset": "pruned+int8", "training": {"image": "mine:1", "entrypoint": ["train", "$(HOME)"]}}


@pytest.mark.parametrize(
    ("accelerator", "more", "phases"),
    [
        (CPU, {}, ["prepare", "triton", "finish"]),
        (GPU, {}, ["prepare", "compile", "triton", "finish"]),
        (CPU, {"compression": TRAINING}, ["prepare", "train", "compress", "triton", "finish"]),
        (GPU, {"compression": TRAINING}, ["prepare", "train", "compress", "compile", "triton", "finish"]),
        (CPU, {"compression": {"preset": "pruned", "training": {}}}, ["prepare", "triton", "finish"]),
    ],
)
def test_the_phases_of_a_build(accelerator: Any, more: Any, phases: list[str]) -> None:
    assert list(containers(job(accelerator=accelerator, **more))) == phases


def test_words_of_each_phase() -> None:
    whole = containers(job())
    assert whole["prepare"]["args"] == ["build", "prepare", "compress"]
    assert whole["finish"]["args"] == ["build", "finish"]
    split = containers(job(compression=TRAINING))
    assert split["prepare"]["args"] == ["build", "prepare"]
    assert split["compress"]["args"] == ["build", "compress"]
    assert split["train"]["command"] == ["train", "$$(HOME)"]
    assert containers(job(accelerator=GPU))["compile"]["command"] == ["/bin/sh", "/build/compile/compile.sh"]


@pytest.mark.parametrize(
    ("accelerator", "more"),
    [(CPU, {}), (GPU, {}), (CPU, {"compression": TRAINING}), (GPU, {"compression": TRAINING})],
)
def test_one_image_runs_every_phase_that_is_ours(accelerator: Any, more: Any) -> None:
    made = containers(job(accelerator=accelerator, **more))
    ours = {c["image"] for c in made.values() if c.get("args", [""])[0] == "build"}
    assert ours == {"gpu:1" if accelerator is GPU else "optimizer:1"}
    rest = {"train": "mine:1", "compile": "triton:2", "triton": accelerator["runtime"]["image"]}
    assert {n: made[n]["image"] for n in rest if n in made} == {n: i for n, i in rest.items() if n in made}


def test_the_users_training_image_sees_its_recipe_and_nothing_else() -> None:
    train = containers(
        job(model={"uri": "s3://m/a.onnx", "credentialsSecret": "reader"}, compression=TRAINING)
    )["train"]
    assert [(m["mountPath"], m.get("subPath")) for m in train["volumeMounts"]] == [
        ("/build/recipe", "recipe"),
        ("/tmp", None),  # noqa: S108 - inside the container
    ]
    assert "envFrom" not in train
    told = {e["name"]: e["value"] for e in train["env"]}
    assert told.pop("HOME")
    assert told == {ORDER_VARIABLE: f"{train['volumeMounts'][0]['mountPath']}/{ORDER_FILE}"}


def test_each_secret_is_where_it_is_needed_and_nowhere_else() -> None:
    settings = replace(SETTINGS, artifacts_secret="store", signing_secret="signer")
    made = containers(job(settings, GPU, model={"uri": "s3://m/a.onnx", "credentialsSecret": "reader"}))
    mounts = {n: {m["name"] for m in c["volumeMounts"]} for n, c in made.items()}
    assert {n for n, m in mounts.items() if "credentials" in m} == {"prepare"}
    assert {n for n, m in mounts.items() if "store-credentials" in m} == {"prepare", "finish"}
    assert {n for n, m in mounts.items() if "signing" in m} == {"finish"}
    assert not any("envFrom" in container for container in made.values())


def test_how_long_may_be_measured_is_told_to_the_phase_that_measures() -> None:
    made = containers(job(replace(SETTINGS, profile_seconds=5)))
    told = {name: [e["value"] for e in c["env"] if "PROFILE" in e["name"]] for name, c in made.items()}
    assert {name: value for name, value in told.items() if value} == {"finish": ["5"]}


def test_volumes_of_a_store_and_a_source_on_claims() -> None:
    made = job(replace(SETTINGS, artifacts_uri="pvc://store/a"), model={"uri": "pvc://models/a.onnx"})
    claims = {
        v["name"]: v["persistentVolumeClaim"] for v in pod(made)["volumes"] if "persistentVolumeClaim" in v
    }
    assert claims == {
        "store": {"claimName": "store"},
        "source": {"claimName": "models", "readOnly": True},
    }
    paths = {m["name"]: m["mountPath"] for m in containers(made)["prepare"]["volumeMounts"]}
    assert (paths["store"], paths["source"]) == ("/artifacts", "/source")
    assert "source" not in {m["name"] for m in containers(made)["finish"]["volumeMounts"]}


def test_the_pod_fits_the_restricted_standard() -> None:
    made = job(accelerator=GPU, compression=TRAINING)
    assert pod(made)["securityContext"]["runAsNonRoot"]
    assert pod(made)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(made)["automountServiceAccountToken"] is False
    for container in containers(made).values():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    allowed = {"emptyDir", "secret", "persistentVolumeClaim", "name"}
    assert all(volume.keys() <= allowed for volume in pod(made)["volumes"])


def test_a_device_is_counted_once_and_only_where_it_is_used() -> None:
    made = containers(job(accelerator=GPU, compression=TRAINING))
    using = {n for n, c in made.items() if "nvidia.com/gpu" in c["resources"]["limits"]}
    assert using == {"train", "compile", "triton"}  # one after the other: the pod needs one device
    assert pod(job(accelerator=GPU))["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}


def test_nobody_outside_the_pod_can_load_a_model_into_the_server_that_measures() -> None:
    server = containers(job())["triton"]
    assert "--grpc-address=127.0.0.1" in server["args"]
    (closed,) = [flag for flag in server["args"] if flag.startswith("--http-restricted-api=")]
    apis, _, key = closed.removeprefix("--http-restricted-api=").partition(":")
    assert set(apis.split(",")) >= {"model-repository", "inference", "shared-memory", "logging", "trace"}
    assert "health" not in apis, "the kubelet asks from outside"
    assert key == "seawall-admin-key=$(SEAWALL_ADMIN_KEY)"
    (given,) = [variable for variable in server["env"] if variable["name"] == "SEAWALL_ADMIN_KEY"]
    assert given["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.uid"


def test_triton_is_a_sidecar_and_its_end_counts_for_nothing() -> None:
    made = job()
    assert containers(made)["triton"]["restartPolicy"] == "Always"
    rules = made["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    judged = {rule["onExitCodes"]["containerName"]: rule["onExitCodes"]["values"] for rule in rules[1:]}
    assert judged == {"prepare": [1, 137], "finish": [1, 137]}


@pytest.mark.parametrize(
    ("accelerator", "more"),
    [
        (CPU, {}),
        (GPU, {"compression": TRAINING, "parallelism": {"pipeline": 2}}),
        (GPU, {"compression": {"preset": "auto"}, "slo": {"p99": "1.5ms"}}),
        (CPU, {"model": {"uri": "hf://o/r@main/$(X).onnx", "maxBatchSize": 0}}),
        (
            CPU,
            {
                "compression": {
                    "preset": "int8", "weightClipping": "99.99%", "calibration": "s3://m/c.npz",
                    "accuracy": {"metric": "top1", "floor": "0.98", "evaluation": "s3://m/e.npz"},
                }
            },
        ),
    ],
)  # fmt: skip
def test_the_order_is_the_one_that_the_build_reads(accelerator: Any, more: Any) -> None:
    text = build_order(ModelBuildSpec.model_validate(wanted(accelerator, **more)))
    assert BuildOrder.from_json(text).to_json() == text
    assert "$" not in text


def test_the_order_says_what_was_asked_for() -> None:
    compression = {
        "preset": "int8",
        "weightClipping": "99.99%",
        "accuracy": {"metric": "top1", "floor": "0.98"},
    }
    order = json.loads(build_order(ModelBuildSpec.model_validate(wanted(GPU, compression=compression))))
    assert (order["preset"], order["weight_clipping"]) == ("int8", 0.9999)
    assert order["criterion"] == {"metric": "top1", "floor": 0.98}
    assert order["slo_p99_ms"] is None
    target = order["target"]
    assert (target["product"], target["memory_bytes"], target["peak_watts"]) == (
        "NVIDIA-L4",
        24 * 10**9,
        72.0,
    )
    auto = json.loads(build_order(ModelBuildSpec.model_validate(wanted(compression={"preset": "auto"}))))
    assert auto["slo_p99_ms"] == 20.0


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ({"compression": None}, False),
        ({"compression": {"preset": "none"}}, False),
        ({"compression": {"preset": "int8"}}, True),
        ({"compression": None, "model": {"uri": "s3://m/a.pt2"}}, True),
        ({"compression": None, "model": {"uri": "s3://m/a", "format": "tensorflow"}}, True),
        ({"compression": None, "model": {"uri": "s3://m/a.plan"}}, False),
        ({"compression": None, "parallelism": {"pipeline": 2}}, True),
    ],
)
def test_a_build_is_wanted_only_where_something_is_to_be_done(more: Any, needed: bool) -> None:
    made = build_spec(service_spec(**more), "c", AcceleratorClassSpec.model_validate(CPU), 1)
    assert (made is not None) is needed


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("s3://models/minilm.onnx", "minilm-int8-"),
        ("s3://models/My_Model.v2.onnx", "my-model-v2-int8-"),
        ("hf://org/repo@main/model.onnx", "model-int8-"),
        ("hf://org/bert-base@main", "bert-base-int8-"),
        ("s3://models/folder/", "folder-int8-"),
        ("s3://models/7b.onnx", "m-7b-int8-"),
        ("s3://models/%%%.onnx", "model-int8-"),
        ("https://host/a.onnx?x=/y", "a-int8-"),
        (f"s3://models/{'long' * 40}.onnx", "long" * 11),
    ],
)
def test_a_builds_name_is_readable_and_fits(uri: str, stem: str) -> None:
    spec = wanted(model={"uri": uri, "format": "onnx"})
    name = build_name(spec)
    assert name.startswith(stem)
    assert len(name) <= 63
    assert problems(build_model_build("ns", spec)) == []


def test_what_the_result_does_not_depend_on_changes_no_name() -> None:
    name = build_name(wanted())
    assert build_name(wanted(slo={"p99": "5ms"}, scaling={"replicas": 3, "mode": "Fixed"})) == name
    assert build_name({**wanted(), "pipelineVersion": 2}) != name
    assert build_name(wanted({**CPU, "runtime": {"image": "triton:2", "tritonVersion": "24.10"}})) != name
    assert build_name(wanted(compression={"preset": "auto"})) != build_name(
        wanted(compression={"preset": "auto"}, slo={"p99": "5ms"})
    )


def test_a_build_trusts_the_keys_that_the_fetcher_trusts() -> None:
    untold = containers(job())
    assert not any(e["name"] == "SEAWALL_PUBLIC_KEYS" for c in untold.values() for e in c.get("env", ()))
    made = containers(job(replace(SETTINGS, public_keys=("PEM 1", "PEM 2"))))
    for phase in ("prepare", "finish"):
        told = {e["name"]: e["value"] for e in made[phase]["env"]}
        assert told["SEAWALL_PUBLIC_KEYS"] == '["PEM 1","PEM 2"]'
