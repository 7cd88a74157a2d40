"""What the pages show is what there is: manifests that the operator takes, programs that compile, commands that the
program knows. docs/tutorial.md is typed by tests/e2e/test_tutorial.py besides.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import textwrap
from functools import cache
from typing import Any

import pytest
import yaml

from seawall.__main__ import main, parser
from seawall.api import crd
from seawall.api.v1alpha1 import API_VERSION
from seawall.api.validate import problems
from support import pages
from support.pages import ROOT, Piece

MINIMAL = {
    "apiVersion": API_VERSION,
    "kind": "InferenceService",
    "metadata": {"name": "minilm", "namespace": "search"},
    "spec": {
        "model": {"uri": "s3://models/minilm.onnx", "maxBatchSize": 32},
        "accelerator": {"class": "cpu"},
        "slo": {"p99": "20ms"},
    },
}
ROUTES = {"gateways": [{"name": "public", "namespace": "infra"}], "hostnames": ["minilm.example.com"]}
PLACES: tuple[tuple[str, ...], ...] = ((), ("spec",), ("spec", "rollout"), ("spec", "compression"))
"""Where in a service the first line of a block may stand."""


def schema_at(path: tuple[str, ...], kind: str = "InferenceService") -> dict[str, Any]:
    schema: dict[str, Any] = crd.schema(kind)
    for name in path:
        schema = schema["properties"][name]
    return schema


def merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {name: merged(base.get(name), value) for name, value in over.items()}
    return over


def as_service(block: dict[str, Any]) -> dict[str, Any] | None:
    """A block that begins within a service, put into the smallest one; None if it begins nowhere in it."""
    for place in PLACES:
        if block.keys() <= schema_at(place)["properties"].keys():
            for name in reversed(place):
                block = {name: block}
            # Rollouts mean something where there are routes, and some pages show just how to do without.
            traffic = "traffic" in block.get("spec", {}).get("rollout", {})
            routed = {} if traffic else {"spec": {"routing": ROUTES}}
            return merged(merged(MINIMAL, routed), block)
    return None


@cache
def yaml_blocks() -> list[tuple[Piece, dict[str, Any]]]:
    return [
        (piece, document)
        for piece in pages.blocks("yaml")
        for document in yaml.safe_load_all(textwrap.dedent(piece.text))
    ]


def services() -> list[Any]:
    """Whole services, and parts of one in the smallest one that there is; with each an AcceleratorClass, if any."""
    found = []
    for piece, document in yaml_blocks():
        if document.get("apiVersion") == API_VERSION:
            found.append(pytest.param(document, id=str(piece)))
        elif "apiVersion" not in document and (whole := as_service(document)):
            found.append(pytest.param(whole, id=str(piece)))
    return found


@pytest.mark.parametrize("document", services())
def test_what_is_shown_of_a_service_is_accepted(document, tmp_path, capsys):
    assert [str(problem) for problem in problems(document)] == []
    shown = [document]
    if document["kind"] == "AcceleratorClass":
        uses = {"spec": {"accelerator": {"class": document["metadata"]["name"]}}}
        shown.append(merged(MINIMAL, uses))
    path = tmp_path / "shown.yaml"
    path.write_text(yaml.safe_dump_all(shown), encoding="utf-8")
    assert main(["render", "-f", str(path)]) == 0, capsys.readouterr().err


def test_every_other_block_of_yaml_is_another_kind_or_values_of_the_chart():
    """tests/unit/test_docs_chart.py gives those to helm."""
    values = yaml.safe_load((ROOT / "charts" / "seawall" / "values.yaml").read_text())
    for piece, document in yaml_blocks():
        known = document.keys() <= values.keys() or as_service(document) or document.get("kind")
        assert known or document.keys() == {"rules"}, f"{piece}: what is {sorted(document)}?"


@pytest.mark.parametrize("piece", [pytest.param(p, id=str(p)) for p in pages.blocks("json")])
def test_a_block_of_json_is_json(piece):
    json.loads(piece.text)


def programs() -> list[Any]:
    found = [(piece, piece.text) for piece in pages.blocks("python")]
    for piece in pages.blocks("sh"):
        found += [(piece, text) for text in pages.heredocs(piece.text, "python3")]
    return [pytest.param(text, id=str(piece)) for piece, text in found]


@pytest.mark.parametrize("text", programs())
def test_a_program_compiles(text):
    compile(text, "page", "exec")


# ---- commands ----------------------------------------------------------------------------------------------------


def named(words: list[str]) -> list[str] | None:
    """The words after `seawall`, if that is what these words run."""
    for prefix in (["in_cluster"], ["kubectl"], ["exec"]):
        if words[:1] == prefix and len(words) > 1 and words[1].endswith("seawall"):
            words = words[1:]
    called = words[:1] and words[0] in ("seawall", ".venv/bin/seawall")
    return words[1:] if called else None


def typed() -> list[Any]:
    return [
        pytest.param(arguments, id=f"{piece}+{line}")
        for piece in pages.blocks("sh", "console")
        for line, words in pages.commands(pages.typed(piece))
        if (arguments := named(words)) is not None
    ]


@cache
def program() -> argparse.ArgumentParser:
    return parser()


def commands_of() -> dict[str, argparse.ArgumentParser]:
    return next(action.choices for action in program()._actions if action.choices)  # type: ignore[misc,return-value]


def objection(arguments: list[str], *, whole: bool = True) -> str:
    """What is wrong with these arguments; nothing if all is well. Not `whole`: what a command needs may be missing."""
    if arguments[0] not in commands_of():
        return f"there is no command {arguments[0]}"
    known = {option for action in commands_of()[arguments[0]]._actions for option in action.option_strings}
    # The parser itself takes any beginning of an option for it.
    words = [word.partition("=")[0] for word in arguments[1:] if word.startswith("--")]
    if unknown := [word for word in words if word not in known]:
        return f"{arguments[0]} has no {' '.join(unknown)}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            program().parse_args(arguments)
    except SystemExit:
        missing = "the following arguments are required" in said.getvalue()
        return "" if missing and not whole else said.getvalue()
    return ""


@pytest.mark.parametrize(
    ("line", "whole", "wrong"),
    [
        ("status digits -n vision --watch", True, False),
        ("status --whole-fleet", True, True),
        ("render --file x", True, True),
        ("render", True, True),
        ("render", False, False),
        ("render --json", False, False),
        ("render --yaml", False, True),
        ("rollout forward digits", False, True),
        ("serve", False, True),
    ],
)
def test_what_counts_as_wrong(line, whole, wrong):
    assert bool(objection(line.split(), whole=whole)) is wrong


@pytest.mark.parametrize("arguments", typed())
def test_a_command_that_is_shown_is_one_that_the_program_takes(arguments):
    assert objection(arguments) == ""


def mentioned() -> list[Any]:
    found = []
    for piece in pages.inline():
        for _, words in pages.commands(piece.text.replace("…", "X").replace("'", "")):
            if (arguments := named(words)) and arguments[0] not in ("--help", "--version"):
                found.append(pytest.param(arguments, id=f"{piece}-{' '.join(arguments)}"))
    return found


@pytest.mark.parametrize("arguments", mentioned())
def test_a_command_that_is_mentioned_exists_and_has_these_options(arguments):
    """Prose may leave out what a command needs, but not invent what it has not."""
    assert objection(arguments, whole=False) == ""


def test_the_pages_are_read():
    """No table above is empty because a pattern fits nothing any more."""
    assert len(services()) >= 18
    assert len(typed()) >= 30
    assert len(mentioned()) >= 40
    assert len(pages.blocks("json")) >= 1
    assert len(programs()) >= 2
