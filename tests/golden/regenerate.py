"""Rewrites the golden files: each examples/*.yaml as the objects it becomes. The review reads the difference.

`python tests/golden/regenerate.py`, or `make golden`.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from seawall.api.catalogue import classes
from seawall.api.modelbuild import ModelBuild
from seawall.api.v1alpha1 import AcceleratorClass
from seawall.cli.manifests import dump, load
from seawall.decide.preview import render
from seawall.decide.types import Capabilities
from seawall.desired.inputs import Platform

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
PLATFORM = Platform(fetcher_image="example.com/seawall/operator:golden")


def examples() -> list[Path]:
    return sorted(
        path
        for path in EXAMPLES.glob("*.yaml")
        if any(d and d.get("kind") == "InferenceService" for d in load(path.read_text()))
    )


def objects(path: Path) -> list[dict[str, Any]]:
    """Everything that the services of one example become."""
    documents = [d for d in load(path.read_text()) if d]
    known = {c["metadata"]["name"]: AcceleratorClass.model_validate(c) for c in classes()}
    known |= {
        d["metadata"]["name"]: AcceleratorClass.model_validate(d)
        for d in documents
        if d["kind"] == "AcceleratorClass"
    }
    return [
        made
        for document in documents
        if document["kind"] == "InferenceService"
        for made in render(document, known, PLATFORM, Capabilities())
    ]


def rendered(path: Path) -> dict[str, str]:
    """File name -> text, for one example. Revisions are left out of the names, so that a diff is a diff."""
    files: dict[str, str] = {}
    for made in objects(path):
        labels, name = made["metadata"]["labels"], made["metadata"]["name"]
        revision = labels.get("serving.seawall.dev/revision", "")
        stem = name.removesuffix(f"-{revision}") if revision else name
        files[f"{made['kind'].lower()}-{stem}.yaml"] = dump([made])
    return files


def strict_models() -> dict[str, Any]:
    from kubernetes.client import models

    return {
        "Deployment": models.V1Deployment,
        "Service": models.V1Service,
        "PodDisruptionBudget": models.V1PodDisruptionBudget,
        "ServiceAccount": models.V1ServiceAccount,
        "NetworkPolicy": models.V1NetworkPolicy,
        "ModelBuild": ModelBuild,
    }


def main() -> None:
    for folder in HERE.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            shutil.rmtree(folder)
    for path in examples():
        folder = HERE / path.stem
        folder.mkdir()
        for name, text in rendered(path).items():
            (folder / name).write_text(text)
    podschema = _neighbour("podschema")
    podschema.PATH.write_text(podschema.text())
    _neighbour("templates").record()


def _neighbour(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
