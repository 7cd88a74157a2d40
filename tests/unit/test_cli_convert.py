"""KServe manifests as people write them, converted: what comes out, what is named, and that nothing is lost."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from seawall.__main__ import main
from seawall.api.catalogue import classes
from seawall.cli.convert_kserve import CannotConvert, convert
from seawall.cli.convert_source import Wanted

BUCKET = "gs://kfserving-examples/models"
CPU = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}


def isvc(predictor, name="flowers", annotations=None, **spec):
    metadata = {"name": name, "namespace": "vision"}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor, **spec},
    }


def onnx(**more):
    """The least that can be converted, with more in its predictor."""
    return {"model": {"modelFormat": {"name": "onnx"}, "storageUri": f"{BUCKET}/net.onnx"}, **more}


def triton(uri=f"{BUCKET}/triton/densenet", **more):
    return {"model": {"modelFormat": {"name": "triton"}, "storageUri": uri, **more}}


def made(document, tritons=(), **wanted):
    return convert(document, Wanted(**{"slo": "20ms", **wanted}), tritons, classes())


def spec_of(predictor, **wanted):
    return made(isvc(predictor), **wanted).manifest["spec"]


GPU = {"limits": {"nvidia.com/gpu": 1}}
L4 = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}
MODELS = {
    "triton, the old way": (
        {"triton": {"storageUri": f"{BUCKET}/triton/simple"}},
        {"uri": f"{BUCKET}/triton/simple/", "format": "repository"},
    ),
    "triton as a model format": (triton(), {"uri": f"{BUCKET}/triton/densenet/", "format": "repository"}),
    "a repository in an archive": (
        triton("https://models.example/net.tar.gz"),
        {"uri": "https://models.example/net.tar.gz", "format": "repository"},
    ),
    "tensorrt, whose storage is a repository": (
        {"model": {"modelFormat": {"name": "tensorrt"}, "storageUri": "s3://m/trt"}},
        {"uri": "s3://m/trt/", "format": "repository"},
    ),
    "one onnx file": (onnx(), {"uri": f"{BUCKET}/net.onnx", "format": "onnx"}),
    "onnx, whose folder KServe gives to Triton": (
        {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/style"}},
        {"uri": "pvc://models/style/", "format": "repository"},
    ),
    "onnx in a server that is no Triton": (
        {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "s3://m/net", "runtime": "kserve-ovms"}},
        {"uri": "s3://m/net/", "format": "onnx"},
    ),
    "tensorflow": (
        {"tensorflow": {"storageUri": f"{BUCKET}/tensorflow/flowers"}},
        {"uri": f"{BUCKET}/tensorflow/flowers/", "format": "tensorflow"},
    ),
    "pytorch by Triton's runtime": (
        {
            "model": {
                "modelFormat": {"name": "pytorch"}, "runtime": "kserve-tritonserver", "storageUri": "s3://m/cifar",
            }
        },
        {"uri": "s3://m/cifar/", "format": "repository"},
    ),
    "a runtime of the team's own that is Triton": (
        {"model": {"modelFormat": {"name": "pytorch"}, "runtime": "ours", "storageUri": "s3://m/cifar"}},
        {"uri": "s3://m/cifar/", "format": "repository"},
    ),
    "a hub's revision": (triton("hf://org/repo:abc"), {"uri": "hf://org/repo@abc/", "format": "repository"}),
    "azure's own address": (
        triton("https://acct.blob.core.windows.net/models/net"),
        {"uri": "az://models/net/", "format": "repository"},
    ),
    "a bucket named in storage": (
        {
            "model": {
                "modelFormat": {"name": "triton"},
                "storage": {"path": "net", "key": "minio", "parameters": {"type": "s3", "bucket": "m"}},
            }
        },
        {"uri": "s3://m/net/", "format": "repository"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_the_model(case):
    predictor, model = MODELS[case]
    assert made(isvc(predictor), tritons={"ours"}).manifest["spec"]["model"] == model


GKE_L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
PLACES = {
    "no device": (onnx(), {}, {"class": "cpu"}),
    "a GPU that the node selector names": (
        onnx(**L4) | {"model": onnx()["model"] | {"resources": GPU}},
        {},
        {"class": "nvidia-l4"},
    ),
    "two of them": (
        onnx(**L4) | {"model": onnx()["model"] | {"resources": {"limits": {"nvidia.com/gpu": "2"}}}},
        {},
        {"class": "nvidia-l4", "count": 2},
    ),
    "a GPU by the name that GKE gives it": (
        onnx(nodeSelector=GKE_L4) | {"model": onnx()["model"] | {"resources": GPU}},
        {},
        {"class": "nvidia-l4"},
    ),
    "a GPU named on the command line": (
        onnx() | {"model": onnx()["model"] | {"resources": GPU}},
        {"accelerator": "nvidia-t4"},
        {"class": "nvidia-t4"},
    ),
    "a slice that only one class has": (
        onnx() | {"model": onnx()["model"] | {"resources": {"limits": {"nvidia.com/mig-1g.5gb": 1}}}},
        {},
        {"class": "nvidia-a100-40gb-1g.5gb"},
    ),
    "a class of the administrator's own": (
        onnx() | {"model": onnx()["model"] | {"resources": GPU}},
        {"accelerator": "ours"},
        {"class": "ours"},
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_the_accelerator(case):
    predictor, wanted, accelerator = PLACES[case]
    assert spec_of(predictor, **wanted)["accelerator"] == accelerator


STOPPED = {"serving.kserve.io/stop": "true"}
SCALING = {
    "nothing said": (onnx(), None, None),
    "bounds": (onnx(minReplicas=2, maxReplicas=5), None, {"minReplicas": 2, "maxReplicas": 5}),
    "a fixed number": (onnx(minReplicas=3, maxReplicas=3), None, {"mode": "Fixed", "replicas": 3}),
    "down to zero": (onnx(minReplicas=0, maxReplicas=2), None, {"minReplicas": 1, "maxReplicas": 2}),
    "no upper bound": (onnx(minReplicas=2, maxReplicas=0), None, {"minReplicas": 2}),
    "an autoscaler of somebody else's": (
        onnx(minReplicas=2), {"serving.kserve.io/autoscalerClass": "external"}, {"mode": "External", "replicas": 2},
    ),
    "stopped": (onnx(minReplicas=2), STOPPED, {"mode": "Fixed", "replicas": 0}),
}  # fmt: skip


@pytest.mark.parametrize("case", SCALING)
def test_the_scaling(case):
    predictor, annotations, scaling = SCALING[case]
    assert made(isvc(predictor, annotations=annotations)).manifest["spec"].get("scaling") == scaling


PODS = {
    "requests within the usual limit": (
        onnx() | {"model": onnx()["model"] | {"resources": {"requests": {"memory": "1Gi"}}}},
        {"containers": [{"name": "triton", "resources": {"requests": {"memory": "1Gi"}}}]},
    ),
    "requests above it": (
        onnx() | {"model": onnx()["model"] | {"resources": {"requests": {"memory": "8Gi"}}}},
        {
            "containers": [
                {
                    "name": "triton",
                    "resources": {"requests": {"memory": "8Gi"}, "limits": {"memory": "8Gi"}},
                }
            ]
        },
    ),
    "a limit is a request": (
        onnx() | {"model": onnx()["model"] | {"resources": {"limits": {"memory": "256Mi"}}}},
        {
            "containers": [
                {
                    "name": "triton",
                    "resources": {"requests": {"memory": "256Mi"}, "limits": {"memory": "256Mi"}},
                }
            ]
        },
    ),
    "a node label that the class does not have": (
        onnx(nodeSelector={"pool": "a"}),
        {"nodeSelector": {"pool": "a"}},
    ),
    "a label that the class has": (onnx(**L4) | {"model": onnx()["model"] | {"resources": GPU}}, None),
    "environment and volumes": (
        onnx(volumes=[{"name": "v", "emptyDir": {}}])
        | {
            "model": onnx()["model"]
            | {"env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        },
        {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [
                {
                    "name": "triton",
                    "env": [{"name": "A", "value": "1"}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                }
            ],
        },
    ),
    "a sidecar": (
        onnx(containers=[{"name": "proxy", "image": "p:1"}]),
        {"containers": [{"name": "proxy", "image": "p:1"}]},
    ),
    "an account with an identity": (
        onnx(serviceAccountName="reader"),
        {
            "serviceAccountName": "reader",
            "initContainers": [
                {"name": "fetch", "env": [{"name": "SEAWALL_AMBIENT_CREDENTIALS", "value": "true"}]}
            ],
        },
    ),
}


@pytest.mark.parametrize("case", PODS)
def test_the_pod(case):
    predictor, pod = PODS[case]
    assert spec_of(predictor).get("podTemplate", {}).get("spec") == pod


def test_a_server_of_one_s_own_gives_its_devices_and_its_environment():
    own = {"image": "x", "env": [{"name": "A", "value": "1"}], "resources": GPU, "command": ["serve"]}
    sidecar = {"name": "proxy", "image": "p:1"}
    document = isvc({"containers": [sidecar, own | {"name": "kserve-container"}], **L4})
    result = made(document, uri="s3://m/net.onnx", format="onnx")
    spec = result.manifest["spec"]
    assert spec["accelerator"] == {"class": "nvidia-l4"}
    assert spec["podTemplate"]["spec"]["containers"] == [{"name": "triton", "env": own["env"]}, sidecar]
    named = {r.path for r in result.report.left_out}
    assert named == {f"spec.predictor.containers[1].{field}" for field in ("image", "command")}


def test_tolerations_beside_those_of_the_class():
    own = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    other = {"key": "team", "operator": "Exists"}
    predictor = onnx(**L4, tolerations=[own, other]) | {"model": onnx()["model"] | {"resources": GPU}}
    assert spec_of(predictor)["podTemplate"]["spec"]["tolerations"] == [own, other]
    predictor["tolerations"] = [own]
    assert "podTemplate" not in spec_of(predictor)


def test_the_batcher_of_a_model_file_becomes_triton_s():
    spec = spec_of(onnx(batcher={"maxBatchSize": 16, "maxLatency": 50}))
    assert spec["model"]["maxBatchSize"] == 16
    assert spec["batching"] == {"maxQueueDelay": "50ms"}


ROUTES = {
    "a gateway and the host of the old address": (
        {"gateway": "infra/public"},
        {"gateways": [{"name": "public", "namespace": "infra"}], "hostnames": ["flowers.vision.example.com"]},
    ),
    "a host": (
        {"gateway": "public", "hostname": "f.example.com"},
        {"gateways": [{"name": "public"}], "hostnames": ["f.example.com"]},
    ),
    "none": ({}, None),
}


@pytest.mark.parametrize("case", ROUTES)
def test_the_route(case):
    wanted, routing = ROUTES[case]
    document = isvc(onnx()) | {"status": {"url": "http://flowers.vision.example.com", "conditions": []}}
    assert made(document, **wanted).manifest["spec"].get("routing") == routing


LEFT_OUT = {
    "canaryTrafficPercent": (isvc(onnx(canaryTrafficPercent=20)), "spec.predictor.canaryTrafficPercent", "rollout"),
    "named canaries": (isvc(onnx(), canary=[{"name": "b"}]), "spec.canary", "apply the second version"),
    "logger": (isvc(onnx(logger={"mode": "all"})), "spec.predictor.logger", "does not copy requests"),
    "timeout": (isvc(onnx(timeout=60)), "spec.predictor.timeout", "clients and gateways"),
    "containerConcurrency": (isvc(onnx(containerConcurrency=4)), "spec.predictor.containerConcurrency", "queues"),
    "scaleMetric": (isvc(onnx(scaleMetric="rps", scaleTarget=5)), "spec.predictor.scaleMetric", "spec.slo"),
    "autoScaling": (isvc(onnx(autoScaling={"metrics": []})), "spec.predictor.autoScaling", "spec.slo"),
    "zero replicas": (isvc(onnx(minReplicas=0)), "spec.predictor.minReplicas", "one replica stays"),
    "transformer": (isvc(onnx(), transformer={"containers": []}), "spec.transformer", "ensemble"),
    "explainer": (isvc(onnx(), explainer={"alibi": {}}), "spec.explainer", "not served"),
    "several nodes": (isvc(onnx(workerSpec={"pipelineParallelSize": 2})), "spec.predictor.workerSpec", "nodes"),
    "arguments": (isvc(triton(args=["--x"])), "spec.predictor.model.args", "runtime.args"),
    "an image": (isvc(triton(image="t:1")), "spec.predictor.model.image", "runtime.image"),
    "a release": (isvc({"triton": {"storageUri": "s3://m/n", "runtimeVersion": "23.05-py3"}}),
                  "spec.predictor.triton.runtimeVersion", "AcceleratorClass"),
    "protocol v1": (isvc(triton(protocolVersion="v1")), "spec.predictor.model.protocolVersion", ":predict"),
    "another runtime": (isvc({"model": onnx()["model"] | {"runtime": "mlserver"}}),
                        "spec.predictor.model.runtime", "no Triton"),
    "a key of storage-config": (isvc(MODELS["a bucket named in storage"][0]),
                                "spec.predictor.model.storage.key", "--credentials-secret"),
    "knative's annotations": (isvc(onnx(), annotations={"autoscaling.knative.dev/target": "5"}),
                              "metadata.annotations[autoscaling.knative.dev/target]", "it says 5"),
    "a batcher over a repository": (isvc(triton() | {"batcher": {"maxBatchSize": 4}}),
                                    "spec.predictor.batcher", "config.pbtxt"),
    "a label that contradicts the class": (
        isvc(onnx(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-A10G"})
             | {"model": onnx()["model"] | {"resources": GPU}}),
        "spec.predictor.nodeSelector.nvidia.com/gpu.product", "contradicts"),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_named(case):
    document, path, word = LEFT_OUT[case]
    report = made(document, accelerator="nvidia-l4" if "contradicts" in word else None).report
    assert [r.message for r in report.left_out if r.path == path and word in r.message], report.left_out


@pytest.mark.parametrize(
    ("annotations", "predictor"),
    [
        pytest.param(None, onnx(canaryTrafficPercent=100), id="all of the traffic"),
        pytest.param(None, triton(protocolVersion="v2"), id="the protocol of Triton"),
        pytest.param({"serving.kserve.io/deploymentMode": "Standard"}, onnx(), id="plain Deployments"),
        pytest.param(
            {"kubectl.kubernetes.io/last-applied-configuration": "{}"}, onnx(), id="kubectl's memory"
        ),
    ],
)
def test_what_loses_nothing_is_not_named(annotations, predictor):
    assert made(isvc(predictor, annotations=annotations)).report.left_out == []


REFUSED = {
    "scikit-learn": ({"sklearn": {"storageUri": "gs://m/iris"}}, {}, "convert it to ONNX"),
    "torchserve": ({"pytorch": {"storageUri": "gs://m/mnist"}}, {}, "torch.export"),
    "a language model": (
        {"model": {"modelFormat": {"name": "huggingface"}, "storageUri": "hf://a/b"}}, {}, "generates text",
    ),
    "an unknown format": ({"model": {"modelFormat": {"name": "mleap"}, "storageUri": "s3://m/n"}}, {}, "mleap"),
    "a container of one's own": ({"containers": [{"image": "x"}]}, {}, "a container of its own"),
    "nothing": ({}, {}, "no model"),
    "two models": (onnx(triton={"storageUri": "s3://m/n"}), {}, "several models"),
    "a GPU of no kind": (onnx() | {"model": onnx()["model"] | {"resources": GPU}}, {}, "give --class"),
    "a class without such a device": (
        onnx() | {"model": onnx()["model"] | {"resources": GPU}}, {"accelerator": "cpu"}, "devices of class cpu",
    ),
    "a class with devices that nobody asks for": (onnx(), {"accelerator": "nvidia-l4"}, "asks for no device"),
    "two kinds of devices": (
        onnx() | {"model": onnx()["model"] | {"resources": {"limits": {"a.b/c": 1, "d.e/f": 1}}}}, {}, "at once",
    ),
    "hdfs": (triton("hdfs://namenode/net"), {}, "does not read hdfs"),
    "plain http": (triton("http://host/net.tar"), {}, "does not read http"),
    "a zip": (triton("https://host/net.zip"), {}, "unpacks no .zip"),
    "no place at all": ({"triton": {}, "minReplicas": 1}, {}, "no model"),
    "a bucket that only a Secret knows": (
        {"model": {"modelFormat": {"name": "triton"}, "storage": {"key": "k", "path": "p"}}}, {}, "its Secret does",
    ),
    "a number that is none": (onnx(minReplicas="two"), {}, "must be a whole number"),
    "a map that is none": (onnx(nodeSelector=["a"]), {}, "must be an object"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted(case):
    predictor, wanted, words = REFUSED[case]
    with pytest.raises(CannotConvert, match=words):
        made(isvc(predictor), **wanted)


@pytest.mark.parametrize("case", ["scikit-learn", "torchserve", "a container of one's own", "hdfs"])
def test_another_form_of_the_model_can_be_named(case):
    predictor, _, _ = REFUSED[case]
    spec = spec_of(predictor, uri="s3://m/net.onnx", format="onnx")
    assert spec["model"] == {"uri": "s3://m/net.onnx", "format": "onnx"}


FULL = isvc(
    {
        "serviceAccountName": "reader",
        "minReplicas": 1,
        "maxReplicas": 4,
        "canaryTrafficPercent": 20,
        "timeout": 60,
        "logger": {"mode": "all", "url": "http://sink"},
        "batcher": {"maxBatchSize": 8, "maxLatency": 5, "timeout": 60},
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4", "pool": "a"},
        "tolerations": [{"key": "team", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "labels": {"team": "a"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "triton": {
            "storageUri": f"{BUCKET}/triton/densenet",
            "runtimeVersion": "23.05-py3",
            "args": ["--log-verbose=1"],
            "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
            "resources": {
                "limits": {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": 1},
                "requests": {"cpu": "1"},
            },
        },
    },
    annotations={
        "serving.kserve.io/deploymentMode": "Serverless",
        "autoscaling.knative.dev/target": "5",
        "owner": "b",
    },
    transformer={"containers": [{"image": "x"}]},
) | {"status": {"url": "http://flowers.vision.example.com"}}
NESTED = {"metadata": (), "spec": (), "predictor": ("spec",), "triton": ("spec", "predictor")}
NESTED |= {"batcher": ("spec", "predictor"), "resources": ("spec", "predictor", "triton")}


@pytest.mark.parametrize("place", ["", *NESTED])
def test_a_field_that_nobody_knows_is_named(place):
    document = json.loads(json.dumps(FULL))
    inner = document
    for name in (*NESTED[place], place) if place else ():
        inner = inner[name]
    inner["surprise"] = {"a": 1}
    before = {r.path for r in made(FULL).report.left_out}
    named = {r.path for r in made(document).report.left_out} - before
    assert [path for path in named if path.endswith("surprise")], named


def told(capsys, *words):
    code = main(["convert", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def written(folder, *documents):
    path = folder / "kserve.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return str(path)


ACCEPTED = {
    **{case: (predictor, {}) for case, (predictor, _) in MODELS.items() if "own that is" not in case},
    **{case: (predictor, {}) for case, (predictor, _) in PODS.items()},
    "everything at once": (FULL["spec"]["predictor"], FULL["metadata"]["annotations"]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_render_takes_what_comes_out(case, tmp_path, capsys):
    predictor, annotations = ACCEPTED[case]
    source = written(tmp_path, isvc(predictor, annotations=annotations))
    code, out, _ = told(
        capsys, source, "--slo", "20ms", "--gateway", "infra/public", "--hostname", "f.example.com"
    )
    assert code == 0
    converted = tmp_path / "seawall.yaml"
    converted.write_text(out, encoding="utf-8")
    assert main(["render", "-f", str(converted)]) == 0, capsys.readouterr().err


def test_what_is_left_out_fails_only_where_that_is_asked_for(tmp_path, capsys):
    source = written(tmp_path, FULL)
    code, out, err = told(capsys, source, "--slo", "20ms")
    assert code == 0
    assert yaml.safe_load(out)["kind"] == "InferenceService"
    lines = err.splitlines()
    assert (
        f"{source}: InferenceService/flowers: spec.predictor.logger: left out: Seawall does not copy" in err
    )
    assert all(line.startswith(f"{source}: InferenceService/flowers: ") for line in lines)
    assert all(": left out: " in line or ": note: " in line for line in lines)
    assert told(capsys, source, "--slo", "20ms", "--strict")[0] == 1


def test_strict_is_content_where_nothing_is_lost(tmp_path, capsys):
    assert told(capsys, written(tmp_path, isvc(onnx(maxReplicas=3))), "--slo", "20ms", "--strict")[0] == 0


def test_json_says_the_same(tmp_path, capsys):
    code, out, err = told(capsys, written(tmp_path, FULL), "--slo", "20ms", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert [m["metadata"]["name"] for m in answer["manifests"]] == ["flowers"]
    assert "spec.predictor.logger" in [left["field"] for left in answer["leftOut"]]
    assert {"object", "field", "message"} == set(answer["notes"][0])


def test_a_list_from_kubectl_and_a_runtime_that_is_triton(tmp_path, capsys):
    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "ours"},
        "spec": {
            "containers": [{"name": "kserve-container", "image": "nvcr.io/nvidia/tritonserver:26.06-py3"}]
        },
    }
    predictor, _ = MODELS["a runtime of the team's own that is Triton"]
    service = isvc(predictor) | {"status": {"conditions": []}}
    service["metadata"] |= {
        "uid": "1",
        "resourceVersion": "2",
        "generation": 3,
        "creationTimestamp": "2026-01-01",
    }
    source = written(tmp_path, runtime, {"kind": "List", "items": [service]}, {"kind": "Secret"})
    code, out, err = told(capsys, source, "--slo", "20ms")
    assert code == 0
    assert yaml.safe_load(out)["metadata"] == {"name": "flowers", "namespace": "vision"}
    assert "Secret/(without name): is no KServe InferenceService: passed over" in err


def test_one_that_cannot_be_converted_stops_no_other(tmp_path, capsys):
    source = written(tmp_path, isvc({"sklearn": {"storageUri": "gs://m/iris"}}, name="iris"), isvc(onnx()))
    code, out, err = told(capsys, source, "--slo", "20ms")
    assert code == 1
    assert yaml.safe_load(out)["metadata"]["name"] == "flowers"
    assert f"{source}: InferenceService/iris: spec.predictor.sklearn: nothing in Seawall serves" in err


def test_what_the_api_server_would_refuse_is_not_printed(tmp_path, capsys):
    code, out, err = told(capsys, written(tmp_path, isvc(onnx(), name="9lives")), "--slo", "20ms")
    assert (code, out) == (1, "")
    assert "metadata.name must be at most 53 characters" in err
    code, _, err = told(capsys, written(tmp_path, isvc(onnx())), "--slo", "soon")
    assert code == 1
    assert "spec.slo.p99: must be a duration" in err


@pytest.mark.parametrize(
    ("text", "words", "complaint"),
    [
        pytest.param("kind: Pod", [], "there is no InferenceService of serving.kserve.io/v1beta1", id="none"),
        pytest.param("a: [", [], "find expected node content", id="no yaml"),
        pytest.param(
            yaml.safe_dump(isvc(onnx())), ["--hostname", "h"], "--hostname needs --gateway", id="host"
        ),
        pytest.param(
            yaml.safe_dump_all([isvc(onnx()), isvc(onnx(), name="b")]),
            ["--uri", "s3://m/n.onnx"],
            "for one service",
            id="one uri for two",
        ),
    ],
)
def test_bad_input(text, words, complaint, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code, out, err = told(capsys, "-", "--slo", "20ms", *words)
    assert (code, out) == (2, "")
    assert complaint in err


def test_an_objective_is_needed(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        told(capsys, written(tmp_path, isvc(onnx())))
    assert stopped.value.code == 2
    assert "--slo" in capsys.readouterr().err
