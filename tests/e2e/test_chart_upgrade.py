"""The chart and its definitions go from an older release to this one and back, while a model is served.

The older release is made here: this one without a field of the definitions, under an earlier version. No pod of
a model may restart, and no request may fail.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from demo_kube import wait_for
from load import running

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "seawall-system"
OLDER = "0.0.9"
DEFINITION, KIND = "acceleratorclasses.serving.seawall.dev", "acceleratorclass"
FIELD = ("spec", "runtime", "jaxVersion")
"""optional, and set by no class of the catalogue"""
Object = dict[str, Any]


async def helm(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "helm", *words, "--namespace", SYSTEM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, f"helm {words[0]}: {err.decode()}"
    return out.decode()


def without(schema: Object, path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        schema = schema["properties"][name]
    del schema["properties"][path[-1]]


@dataclass(frozen=True)
class Release:
    """Folders of the two charts."""

    operator: str
    definitions: str
    version: str


@pytest.fixture(scope="module")
def current() -> Release:
    folder = ROOT / "charts" / "seawall"
    version = yaml.safe_load((folder / "Chart.yaml").read_text())["version"]
    return Release(str(folder), str(ROOT / "charts" / "seawall-crds"), version)


@pytest.fixture(scope="module")
def older(current: Release, tmp_path_factory: pytest.TempPathFactory) -> Release:
    place = tmp_path_factory.mktemp("older")
    for name in ("seawall", "seawall-crds"):
        shutil.copytree(ROOT / "charts" / name, place / name)
        about = place / name / "Chart.yaml"
        about.write_text(about.read_text().replace(f"ersion: {current.version}", f"ersion: {OLDER}"))
    for folder in (place / "seawall" / "crds", place / "seawall-crds" / "files"):
        [file] = folder.glob(f"{DEFINITION}.yaml")
        definition = yaml.safe_load(file.read_text())
        without(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], FIELD)
        file.write_text("apiVersion: apiextensions.k8s.io/v1\n" + yaml.safe_dump(definition, sort_keys=False))
    return Release(str(place / "seawall"), str(place / "seawall-crds"), OLDER)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def values(
    current: Release, system: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Those of the release that is there; it is back afterwards, with its definitions."""
    file = tmp_path_factory.mktemp("values") / "values.json"
    file.write_text(await helm("get", "values", "seawall", "--output", "json"))
    yield str(file)
    await helm("upgrade", "--install", "seawall-crds", current.definitions, "--take-ownership", "--wait")
    await helm("upgrade", "--install", "seawall", current.operator, "--values", str(file), "--wait")
    await helm("uninstall", "seawall-crds")


async def installed(release: Release, values: str) -> None:
    """The definitions first, as docs/install.md has it."""
    await helm("upgrade", "--install", "seawall-crds", release.definitions, "--take-ownership", "--wait")
    await helm("upgrade", "seawall", release.operator, "--values", values, "--skip-crds", "--wait")


async def stands(system: Any, kube: Any, release: Release) -> None:
    """What runs and what is served are of this release."""

    async def look() -> tuple[bool, str]:
        pods = await system.listed("pod", **{"app.kubernetes.io/component": "operator"})
        versions = {pod["metadata"]["labels"]["app.kubernetes.io/version"] for pod in pods}
        return versions == {release.version}, f"operators of {versions}"

    async def told() -> tuple[bool, str]:
        # The API server publishes a changed definition a moment after it has taken it.
        explained = await kube.run("explain", f"{KIND}.{'.'.join(FIELD[:-1])}")
        return (FIELD[-1] in explained) is (release.version != OLDER), explained

    await wait_for(look, f"the operators of {release.version}", 120)
    await wait_for(told, f"the definitions of {release.version}", 60)


async def pods(kube: Any, name: str) -> dict[str, int]:
    """uid -> restarts"""
    return {
        pod["metadata"]["uid"]: sum(c["restartCount"] for c in pod["status"]["containerStatuses"])
        for pod in await kube.children("pod", name)
    }


async def followed(kube: Any, system: Any, name: str) -> None:
    """The operator that leads now has looked at the service: a label that it owns is put back."""
    service = await kube.get("service", name)
    label = "app.kubernetes.io/managed-by"
    await kube.patch("service", name, {"metadata": {"labels": {label: "somebody"}}})

    async def look() -> tuple[bool, str]:
        now = (await kube.get("service", name))["metadata"]["labels"].get(label)
        return now == service["metadata"]["labels"][label], f"{label}={now}"

    await wait_for(look, "the operator to mend the Service", 120)


async def test_an_upgrade_and_a_rollback_restart_no_model(
    kube: Any, digits: Any, manifest: Any, system: Any, values: str, older: Release, current: Release
) -> None:
    await installed(older, values)
    await stands(system, kube, older)
    await kube.apply(manifest("steady", replicas=2))
    await kube.wait_ready("steady")
    await kube.wait_settled("steady")
    before = await pods(kube, "steady")
    assert list(before.values()) == [0, 0]
    load = digits.load(kube, "steady", "http", 20.0)
    async with running(load):
        await installed(current, values)
        await stands(system, kube, current)
        await followed(kube, system, "steady")
        assert await pods(kube, "steady") == before
        await helm("rollback", "seawall", "--wait")
        await helm("rollback", "seawall-crds", "--wait")
        await stands(system, kube, older)
        await followed(kube, system, "steady")
        assert await pods(kube, "steady") == before
    told = load.tally.report()
    assert told["failed"] == 0
    assert told["requests"] > 0


async def test_helm_test_asks_the_operator_and_the_api_server(values: str) -> None:
    assert "Succeeded" in await helm("test", "seawall", "--timeout", "2m")


async def test_what_helm_removes_comes_back_in_seconds_and_models_go_on(
    kube: Any, digits: Any, manifest: Any, system: Any, values: str, current: Release
) -> None:
    await kube.apply(manifest("steady", replicas=2))
    await kube.wait_ready("steady")
    before = await pods(kube, "steady")
    load = digits.load(kube, "steady", "http", 20.0)
    async with running(load):
        await helm("upgrade", "--install", "seawall-crds", current.definitions, "--take-ownership", "--wait")
        await helm("uninstall", "seawall-crds")
        await helm("uninstall", "seawall", "--wait")
        assert await kube.get("customresourcedefinition", DEFINITION)
        assert await kube.get("inferenceservice", "steady")
        begun = time.monotonic()
        await helm("install", "seawall", current.operator, "--values", values, "--wait")
        took = time.monotonic() - begun
        sys.stdout.write(f"\nhelm install until both operators are Ready: {took:.1f} s\n")
        await followed(kube, system, "steady")
        await kube.wait_ready("steady")
        assert await pods(kube, "steady") == before
    assert load.tally.report()["failed"] == 0
