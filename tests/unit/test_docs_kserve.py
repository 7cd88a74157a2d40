"""docs/guides/from-kserve.md: its worked example is what the program makes of examples/kserve."""

from __future__ import annotations

import shlex

import pytest
import yaml

from seawall.__main__ import main
from support import pages
from support.pages import ROOT

PAGE = ROOT / "docs" / "guides" / "from-kserve.md"


def shown(language):
    [piece] = [piece for piece in pages.blocks(language) if piece.page == PAGE]
    return piece.text


@pytest.fixture
def converted(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(shown("sh"))
    assert words[0] == "seawall"
    assert main(words[1:]) == 0
    return capsys.readouterr()


def test_the_manifest_is_the_one_that_comes_out(converted):
    assert converted.out == f"---\n{shown('yaml')}"


def test_the_remarks_are_those_that_are_made(converted):
    assert converted.err == shown("text")


def test_every_field_of_the_example_is_carried_over_or_named(converted):
    source = yaml.safe_load((ROOT / "examples" / "kserve" / "flowers.yaml").read_text())
    lost = {line.split(": ")[2] for line in converted.err.splitlines() if ": left out: " in line}
    predictor = source["spec"]["predictor"]
    carried = {"minReplicas", "maxReplicas", "batcher", "serviceAccountName", "nodeSelector", "model"}
    assert {f"spec.predictor.{name}" for name in predictor.keys() - carried} == lost


def test_a_pipeline_that_must_lose_nothing_is_told(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main([*shlex.split(shown("sh"))[1:], "--strict"]) == 1
    capsys.readouterr()
