"""The examples of repositories: what is made is in step, and what is written by hand is accepted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from gitops_files import PLACE, SCRIPTS, files
from seawall_cluster import binaries

from apiserver.operators import Cluster
from seawall.decide.rollout_commands import VERBS

pytestmark = pytest.mark.apiserver
REPOSITORY = PLACE / "repository"
FOLDERS = [PLACE / "base", REPOSITORY / "infrastructure", REPOSITORY / "apps"]


def built(folder: Path) -> str:
    kubectl = binaries.ensure(["kubectl"])["kubectl"]
    command = [str(kubectl), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_what_is_made_is_in_step() -> None:
    stale = [name for name, content in files().items() if (PLACE / name).read_text() != content]
    assert stale == [], "run tools/gitops_files.py"


def test_argo_cd_gets_each_script_by_the_names_that_it_looks_for() -> None:
    data = yaml.safe_load((PLACE / "argocd/argocd-cm.yaml").read_text())["data"]
    service, build = (f"serving.seawall.dev_{kind}" for kind in ("InferenceService", "ModelBuild"))
    assert data.keys() == {
        f"resource.customizations.health.{service}",
        f"resource.customizations.actions.{service}",
        f"resource.customizations.health.{build}",
    }
    folder = SCRIPTS / "serving.seawall.dev/InferenceService"
    assert data[f"resource.customizations.health.{service}"] == (folder / "health.lua").read_text()
    actions = yaml.safe_load(data[f"resource.customizations.actions.{service}"])
    assert actions["discovery.lua"] == (folder / "actions/discovery.lua").read_text()
    assert {each["name"] for each in actions["definitions"]} == set(VERBS)
    for each in actions["definitions"]:
        assert each["action.lua"] == (folder / f"actions/{each['name']}/action.lua").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_each_folder_is_accepted(cluster: Cluster, folder: Path) -> None:
    manifests = [each for each in yaml.safe_load_all(built(folder)) if each]
    there(cluster, {m["metadata"].get("namespace", "default") for m in manifests})
    accepted(cluster, manifests)


@pytest.mark.parametrize("file", sorted(REPOSITORY.glob("clusters/*/*.yaml")), ids=lambda path: path.stem)
def test_flux_s_own_resources_are_accepted(cluster: Cluster, file: Path) -> None:
    there(cluster, {"flux-system"})
    [manifest] = yaml.safe_load_all(file.read_text())
    accepted(cluster, [manifest])
    assert (REPOSITORY / manifest["spec"]["path"] / "kustomization.yaml").exists()


def there(cluster: Cluster, namespaces: set[str]) -> None:
    for name in namespaces - cluster.names("namespaces", "default"):
        cluster.namespace(name)


def accepted(cluster: Cluster, manifests: list[dict[str, Any]]) -> None:
    cluster.server.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=test"),
        *("--force-conflicts", "-f", "-"),
        stdin=yaml.safe_dump_all(manifests),
    )


def test_the_models_render_offline() -> None:
    manifests = [
        each for each in yaml.safe_load_all(built(REPOSITORY / "apps")) if each["kind"] != "Namespace"
    ]
    command = [sys.executable, "-m", "seawall", "render", "-f", "-"]
    given = yaml.safe_dump_all(manifests)
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kinds = {each["kind"] for each in yaml.safe_load_all(done.stdout) if each}
    assert {"Deployment", "Service", "HTTPRoute"} <= kinds
