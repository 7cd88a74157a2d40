"""The JSON Schemas for editors: what becomes of each word of a structural schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from crd.test_versions import EXAMPLES
from seawall.__main__ import main
from seawall.api import crd, editor
from seawall.api.catalogue import classes
from seawall.api.walk import mismatches

NODES = {
    "a text": ({"type": "string", "description": "D.", "maxLength": 3}, {"type": "string", "description": "D.", "maxLength": 3}),
    "a choice": ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
    "bounds": ({"type": "integer", "format": "int32", "minimum": 1, "maximum": 2}, {"type": "integer", "minimum": 1, "maximum": 2}),
    "a number or a word": ({"x-kubernetes-int-or-string": True}, {"type": ["integer", "string"]}),
    "free form": ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"type": "object"}),
    "a map": (
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ),
    "an object": (
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
    ),
    "a set": (
        {"type": "array", "items": {"type": "string"}, "maxItems": 2, "x-kubernetes-list-type": "set"},
        {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": True},
    ),
    "a rule about a shape": (
        {"type": "string", "x-kubernetes-validations": [{"rule": "self.matches('^([0-9]+)$')", "message": "m"}]},
        {"type": "string", "pattern": "^([0-9]+)$"},
    ),
    "any other rule": (
        {"type": "string", "x-kubernetes-validations": [{"rule": "!self.matches('^x')", "message": "m"}]},
        {"type": "string"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NODES)
def test_what_becomes_of_a_node(case: str) -> None:
    node, expected = NODES[case]
    assert editor._node(node) == expected


def words(schema: Any, inside: str = "") -> set[str]:
    """Every word of the schema language that is used."""
    if isinstance(schema, dict):
        named = set() if inside == "properties" else set(schema)
        return named.union(*(words(v, "" if inside == "properties" else k) for k, v in schema.items()))
    return set()


@pytest.mark.parametrize("kind", crd.MODELS)
def test_no_word_of_kubernetes_is_left(kind: str) -> None:
    used = words(editor.json_schema(kind))
    assert not [word for word in used if word.startswith("x-")]
    assert {"description", "pattern", "additionalProperties", "enum"} <= used


@pytest.mark.parametrize("kind", crd.MODELS)
def test_patterns_are_ones_that_any_editor_can_read(kind: str) -> None:
    text = json.dumps(editor.json_schema(kind))
    patterns = re.findall(r'"pattern": "(.*?)"[,}]', text)
    assert patterns
    for pattern in patterns:
        re.compile(json.loads(f'"{pattern}"'))
        assert "(?" not in pattern


def test_command_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "InferenceService"]) == 0
    assert json.loads(capsys.readouterr().out) == editor.json_schema("InferenceService")


def test_command_writes_all_or_one(tmp_path: Path) -> None:
    assert main(["schema", "--out", str(tmp_path / "all")]) == 0
    assert {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "all").iterdir()} == editor.files()
    assert main(["schema", "ModelBuild", "--out", str(tmp_path / "one")]) == 0
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["modelbuild.json"]


def test_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 2
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["schema", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_the_structural_walker_agrees_about_the_examples() -> None:
    for manifest in [m for _, m in EXAMPLES] + [dict(c) for c in classes()]:
        schema = crd.schema(manifest["kind"])
        assert list(mismatches({k: v for k, v in manifest.items() if k != "metadata"}, schema, "")) == []
