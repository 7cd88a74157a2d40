"""What a pipeline that compares sees after the operator has worked: nothing, whichever way it applies."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.operators import ROOT, Cluster, OperatorProcess, eventually, operator
from seawall.api.catalogue import classes

pytestmark = pytest.mark.apiserver
EXAMPLES = sorted(
    path
    for path in (ROOT / "examples").glob("*.yaml")
    if any(d and d.get("kind") == "InferenceService" for d in yaml.safe_load_all(path.read_text()))
)
WAYS = {
    "server-side": ["--server-side", "--field-manager=argocd-controller"],
    "client-side": ["--field-manager=argocd-controller"],
}


@pytest.fixture(scope="module")
def working(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    cluster.apply(*classes())
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    name = f"operator-{uuid.uuid4().hex[:8]}"
    with operator(cluster.server, log, name, lease_name=name) as one:
        yield one.working()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_has_to_be_ignored(
    cluster: Cluster, working: OperatorProcess, namespace: str, tmp_path: Path, example: Path, way: str
) -> None:
    manifests = [d for d in yaml.safe_load_all(example.read_text()) if d]
    for manifest in manifests:
        if manifest["kind"] != "AcceleratorClass":
            manifest["metadata"]["namespace"] = namespace
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    cluster.server.kubectl("apply", *WAYS[way], "-f", str(file))
    [name] = [m["metadata"]["name"] for m in manifests if m["kind"] == "InferenceService"]
    looked(cluster, name, namespace)
    assert difference(cluster, way, file) == ""
    file.write_text(file.read_text().replace("p99: ", "p99: 1"))
    assert "p99" in difference(cluster, way, file), "a difference would be seen"


def looked(cluster: Cluster, name: str, namespace: str) -> None:
    def told() -> bool:
        live: dict[str, Any] = cluster.get("swi", name, namespace) or {}
        return bool(live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"])

    eventually("the operator has looked at it", told)


def difference(cluster: Cluster, way: str, file: Path) -> str:
    server = cluster.server
    command = [str(server.programs["kubectl"]), "diff", *WAYS[way], "-f", str(file)]
    done = subprocess.run(command, env=server.environment(), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout
