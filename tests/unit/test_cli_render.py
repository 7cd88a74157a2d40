"""`seawall render`: exit codes, one line per problem, nothing else on standard output."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from seawall.__main__ import main
from seawall.api.validate import problems

GOOD = """\
apiVersion: serving.seawall.dev/v1alpha1
kind: InferenceService
metadata: {name: a, namespace: n}
spec:
  model: {uri: "s3://m/a.onnx"}
  accelerator: {class: cpu}
  slo: {p99: 20ms}
"""
CLASS = """\
apiVersion: serving.seawall.dev/v1alpha1
kind: AcceleratorClass
metadata: {name: mine}
spec: {type: cpu, runtime: {image: "example.com/triton:1", tritonVersion: "26.06"}}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "in.yaml"
    path.write_text(text)
    return str(path)


def test_every_object_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", written(tmp_path, GOOD), "--operator-image", "example.com/op:9"]) == 0
    out, err = capsys.readouterr()
    kinds = [d["kind"] for d in yaml.safe_load_all(out)]
    assert kinds == [
        "ServiceAccount", "NetworkPolicy", "Deployment", "Service", "Service", "PodDisruptionBudget",
    ]  # fmt: skip
    assert "example.com/op:9" in out
    assert err == ""


def test_shared_objects_are_printed_once_per_namespace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = f"{GOOD}---\n{GOOD.replace('name: a,', 'name: b,')}"
    assert main(["render", "-f", written(tmp_path, two), "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)
    assert len(objects) == 2 + 2 * 4


def test_standard_input_lists_and_classes_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = yaml.safe_load(GOOD.replace("class: cpu", "class: mine"))
    whole = {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(CLASS), service]}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(whole)))
    assert main(["render", "-f", "-"]) == 0
    assert "example.com/triton:1" in capsys.readouterr().out


BASE = ["ServiceAccount", "NetworkPolicy", "Deployment", "Service", "Service", "PodDisruptionBudget"]
SCALED = {
    "nothing said: the operator scales": ("", [], BASE, None),
    "a fixed number": ("  scaling: {mode: Fixed, replicas: 3}\n", [], BASE, 3),
    "HPA is what the file says": ("  scaling: {mode: HPA}\n", [], [*BASE, "HorizontalPodAutoscaler"], None),
    "KEDA is what the file says": ("  scaling: {mode: KEDA}\n", [], [*BASE, "ScaledObject"], None),
    "Auto with our metrics API": (
        "", ["--capabilities", "metrics-api"], [*BASE, "HorizontalPodAutoscaler"], None,
    ),
    "Auto with all there may be": (
        "  scaling: {mode: Auto}\n",
        ["--capabilities", "keda, metrics-api,prometheus-operator", "--prometheus-url", "http://p:1"],
        [*BASE, "ScaledObject", "PodMonitor", "PrometheusRule"],
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "options", "kinds", "replicas"), SCALED.values(), ids=SCALED)
def test_what_scales_it_is_printed_and_the_count_only_where_the_spec_says_one(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    line: str,
    options: list[str],
    kinds: list[str],
    replicas: int | None,
) -> None:
    assert main(["render", "-f", written(tmp_path, GOOD + line), "--json", *options]) == 0
    out, err = capsys.readouterr()
    objects = json.loads(out)
    assert ([made["kind"] for made in objects], err) == (kinds, "")
    assert objects[2]["spec"].get("replicas") == replicas
    if "--prometheus-url" in options:
        assert objects[6]["spec"]["triggers"][0]["metadata"]["serverAddress"] == "http://p:1"


def test_an_unknown_capability_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", written(tmp_path, GOOD), "--capabilities", "keda,istio"]) == 2
    assert "istio is none of keda, metrics-api, prometheus-operator" in capsys.readouterr().err


REFUSED_BY_THE_OPERATOR = {
    "a field that is not acted on": (
        "  rollout: {capacity: {mode: Displace}}\n",
        "NotImplemented: spec.rollout.capacity.mode Displace",
    ),
    "a class that does not exist": (None, "AcceleratorClassNotFound"),
    "a misspelt podTemplate": (
        "  podTemplate: {spec: {hostNetwrk: true}}\n",
        "InvalidPodTemplate: spec.podTemplate: spec.hostNetwrk: Kubernetes knows no such field",
    ),
}


@pytest.mark.parametrize(("line", "words"), REFUSED_BY_THE_OPERATOR.values(), ids=REFUSED_BY_THE_OPERATOR)
def test_what_the_operator_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str | None, words: str
) -> None:
    text = GOOD + line if line else GOOD.replace("class: cpu", "class: none-such")
    path = written(tmp_path, text)
    assert main(["render", "-f", path]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{path}: InferenceService/a: ")
    assert words in err


def test_a_config_that_tritons_schema_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace('{uri: "s3://m/a.onnx"}', '{uri: "s3://m/a.onnx", config: {max_batchsize: 1}}')
    assert main(["render", "-f", written(tmp_path, text)]) == 1
    assert "InvalidConfig: spec.model.config: max_batchsize" in capsys.readouterr().err


def test_one_refused_service_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = f"{GOOD}---\n{GOOD.replace('name: a,', 'name: b,')}  rollout: {{capacity: {{mode: Displace}}}}\n"
    assert main(["render", "-f", written(tmp_path, two)]) == 1
    out, err = capsys.readouterr()
    assert "name: a-headless" in out
    assert "InferenceService/b" in err


def test_a_model_that_is_built_first_is_shown_by_its_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["render", "--json", "-f", written(tmp_path, f"{GOOD}  compression: {{preset: int8}}\n")]) == 0
    )
    out, err = capsys.readouterr()
    (build,) = json.loads(out)
    assert (build["kind"], build["metadata"]["namespace"]) == ("ModelBuild", "n")
    assert problems(build) == []
    assert err == f"the Deployment follows when ModelBuild {build['metadata']['name']} is done\n"


UNREADABLE = {
    "broken YAML": "a: [",
    "a wrong type": GOOD.replace("20ms", "20"),
    "an unknown field": f"{GOOD}  sloo: 1\n",
    "a kind that is not known": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
    "no service at all": CLASS,
    "nothing": "",
    "text": "hello",
    "the same service twice": f"{GOOD}---\n{GOOD}",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_the_api_server_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = written(tmp_path, text)
    assert main(["render", "-f", path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err
    assert all(line.startswith(f"{path}: ") for line in err.splitlines())


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(tmp_path / "none.yaml")]) == 2
    assert "No such file" in capsys.readouterr().err
