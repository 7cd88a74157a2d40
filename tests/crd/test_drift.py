"""What is generated from the models is what the repository carries, and is what Kubernetes wants of a CRD."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import V1CustomResourceDefinition

from seawall.__main__ import main
from seawall.api import catalogue, crd, generated
from seawall.api.v1alpha1 import AcceleratorClass
from seawall.api.validate import problems
from seawall.api.walk import KNOWN

ROOT = Path(__file__).parents[2]
DEFINITIONS = {d["spec"]["names"]["kind"]: d for d in crd.definitions()}
LONGEST_TEXT = 280
FREE_FORM = {
    "InferenceService": {"spec.podTemplate", "spec.model.config"},
    "AcceleratorClass": set(),
    "ModelBuild": set(),
}


@pytest.mark.parametrize("name", generated.files())
def test_generated_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated.files()[name], "run `make crds`"


@pytest.mark.parametrize("folder", generated.DEFINITIONS)
def test_no_definition_is_left_over(folder: str) -> None:
    assert {p.name for p in (ROOT / folder).iterdir() if p.is_file()} == set(crd.files())


@pytest.mark.parametrize("name", crd.files())
def test_definition_fits_the_annotation_of_client_side_apply(name: str) -> None:
    assert len(crd.files()[name].encode()) < 256 * 1024


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_strict_kubernetes_model_takes_the_definition(kind: str) -> None:
    text = crd.files()[f"{DEFINITIONS[kind]['metadata']['name']}.yaml"]
    V1CustomResourceDefinition.model_validate(yaml.safe_load(text))


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}".lstrip("."))
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if word in schema:
            yield from nodes(schema[word], path + mark)


NODES = [(kind, *node) for kind in DEFINITIONS for node in nodes(crd.schema(kind))]


def test_every_node_is_structural() -> None:
    for kind, path, node in NODES:
        where = f"{kind} {path}"
        assert node.keys() <= KNOWN, where
        if node.get("x-kubernetes-int-or-string"):
            assert "type" not in node, where
        else:
            assert node["type"] in {"object", "array", "string", "integer", "boolean"}, where
        if node.get("type") == "array":
            assert "maxItems" in node, where
            assert node["x-kubernetes-list-type"] in {"atomic", "set", "map"}, where
        if node.get("x-kubernetes-list-type") == "map":
            assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), where
        assert not ("properties" in node and "additionalProperties" in node), where


def test_only_escape_hatches_are_free_form() -> None:
    free = {
        kind: {p for k, p, n in NODES if k == kind and n.get("x-kubernetes-preserve-unknown-fields")}
        for kind in DEFINITIONS
    }
    assert free == FREE_FORM


def test_every_text_with_a_rule_has_a_greatest_length() -> None:
    for kind, path, node in NODES:
        if node.get("type") == "string" and "x-kubernetes-validations" in node and "enum" not in node:
            assert "maxLength" in node, f"{kind} {path}"


def test_every_field_says_what_it_means_in_a_short_sentence() -> None:
    """What `kubectl explain` shows; of metadata the API server knows the text itself."""
    named = [n for n in NODES if n[1] not in ("", "metadata") and not n[1].endswith(("[]", "{}"))]
    assert len(named) > 200
    silent = [f"{kind} {path}" for kind, path, node in named if not node.get("description")]
    assert silent == []
    no_sentence = [f"{k} {p}: {n['description']}" for k, p, n in named if not n["description"].endswith(".")]
    assert no_sentence == []
    long = [f"{k} {p}" for k, p, n in named if len(n["description"]) > LONGEST_TEXT]
    assert long == []


UNITS = {
    "Ms": "milliseconds", "Seconds": "seconds", "Bytes": "bytes", "Watts": "Watts", "joules": "joules",
    "percent": "percent", "Weight": "Percent",
}  # fmt: skip


def test_numbers_with_a_unit_name_it() -> None:
    """`Seconds` of a Kubernetes toleration is the platform's own field."""
    silent = []
    for kind, path, node in NODES:
        name = path.rpartition(".")[2]
        for word, unit in UNITS.items():
            if word in name and name != "tolerationSeconds" and node.get("type") in ("integer", "string"):
                silent += [f"{kind} {path}"] if unit.lower() not in node["description"].lower() else []
    assert silent == []


def test_no_default_is_stored_by_the_api_server() -> None:
    assert [path for _, path, node in NODES if "default" in node] == []


def test_columns_are_those_that_users_rely_on() -> None:
    columns = DEFINITIONS["InferenceService"]["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [c["name"] for c in columns if not c.get("priority")]
    assert " ".join(shown) == "MODEL PRESET ACCEL SLO P99 ATTAINED REPLICAS CANARY READY AGE"
    assert [c["name"] for c in columns if c.get("priority") == 1] == ["REASON"]


def test_columns_of_builds_are_those_that_users_rely_on() -> None:
    columns = DEFINITIONS["ModelBuild"]["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [c["name"] for c in columns if not c.get("priority")]
    assert " ".join(shown) == "MODEL PRESET TARGET PHASE PROGRESS RATIO AGE"


def test_command_prints_every_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {d["spec"]["names"]["kind"]: d for d in printed} == DEFINITIONS


def test_command_writes_every_definition(tmp_path: Path) -> None:
    assert main(["crd", "--out", str(tmp_path / "new")]) == 0
    assert {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "new").iterdir()} == crd.files()


def test_command_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["crd", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err


CATALOGUE = [
    "cpu",
    "nvidia-t4",
    "nvidia-l4",
    "nvidia-a10g",
    "nvidia-a100-40gb",
    "nvidia-a100-40gb-1g.5gb",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h200",
    "tpu-v5e",
    "tpu-v5p",
    "tpu-v6e",
    "tpu-7x",
]


def test_catalogue_has_every_promised_class_once() -> None:
    names = [c["metadata"]["name"] for c in catalogue.classes()]
    assert set(CATALOGUE) <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("manifest", catalogue.classes(), ids=lambda m: m["metadata"]["name"])
def test_catalogue_class_is_accepted_and_has_no_price(manifest: dict[str, Any]) -> None:
    assert problems(manifest) == []
    spec = AcceleratorClass.model_validate(manifest).spec
    assert spec.cost is None
    assert (spec.runtime is None) == (spec.type == "tpu")
    assert spec.precisions
