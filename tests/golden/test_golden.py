"""The golden files are what the examples render to, and what the API's strict models take."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import pytest

from seawall.api.validate import problems
from seawall.cli.manifests import load

HERE = Path(__file__).parent


def _module(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


regenerate = _module("regenerate")
EXAMPLES = regenerate.examples()
IDS = [path.stem for path in EXAMPLES]


def test_there_are_examples_and_no_stale_goldens() -> None:
    folders = {p.name for p in HERE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert len(EXAMPLES) >= 5
    assert folders == set(IDS), "run `make golden`"


BY_THEIR_DEFINITIONS = frozenset({"HTTPRoute", "GRPCRoute"})
"""The client library has no models of these; tests/apiserver/test_routes.py shows them to a real API server."""


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_the_example_renders_to_its_golden_files(path: Path) -> None:
    golden = {p.name: p.read_text() for p in (HERE / path.stem).iterdir()}
    assert regenerate.rendered(path) == golden, "run `make golden` and read the difference"


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_the_example_is_one_that_the_api_server_takes(path: Path) -> None:
    assert [problems(document) for document in load(path.read_text()) if document] == [[]]


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_the_strict_models_take_every_object(path: Path) -> None:
    models = regenerate.strict_models()
    for made in regenerate.objects(path):
        if made["kind"] not in BY_THEIR_DEFINITIONS:
            models[made["kind"]].model_validate(made)


def test_a_changed_pod_template_has_a_raised_version() -> None:
    templates = _module("templates")
    assert templates.recorded().get(str(templates.TEMPLATE_VERSION)) == templates.current(), (
        "the same inputs render to another pod: raise TEMPLATE_VERSION in desired/inputs.py and run `make golden`"
    )


def test_the_strict_models_refuse_a_misspelt_field() -> None:
    digits = next(path for path in EXAMPLES if path.stem == "digits")
    deployment = next(o for o in regenerate.objects(digits) if o["kind"] == "Deployment")
    deployment["spec"]["replicaz"] = 2
    with pytest.raises(ValueError, match="replicaz"):
        regenerate.strict_models()["Deployment"].model_validate(deployment)


def test_the_pod_schema_is_that_of_the_kubernetes_client() -> None:
    podschema = _module("podschema")
    assert podschema.PATH.read_text() == podschema.text(), "run `make golden`"
