"""The node tier: real pods on a real kubelet, inside the network of a cluster that `tools/e2e` made.

Each module has a namespace of its own, whose claim `models` is a folder with the example models and with
files that are broken on purpose. What a module disturbs, it puts back.
"""

import math
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "examples")]

from demo_kube import ARTIFACTS, MODELS, Kube, claims, namespace_object, wait_for  # noqa: E402
from load import Load, Target, answers, arrays, model_inputs  # noqa: E402

Object = dict[str, Any]
SYSTEM = "seawall-system"


@pytest.fixture(scope="session")
def models() -> Path:
    """What `examples/build` made."""
    folder = os.environ.get("SEAWALL_E2E_MODELS")
    if not folder:
        pytest.fail("run the node tests with tools/e2e, which makes their cluster and models", pytrace=False)
    return Path(folder)


@pytest.fixture(scope="module")
def source(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder behind the claim `models` of this module's namespace; tests may add files to it."""
    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o755)
    for file in (*models.glob("*.onnx"), *models.glob("*.npz"), *models.glob("*.pt2")):
        shutil.copyfile(file, folder / file.name)
    return folder


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder behind the claim `artifacts`, where builds publish."""
    return tmp_path_factory.mktemp("artifacts")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kube(source: Path, artifacts: Path, request: pytest.FixtureRequest) -> AsyncIterator[Kube]:
    name = request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_").replace("_", "-")
    namespace = f"{name}-{secrets.token_hex(2)}"
    kube = Kube(namespace)
    await kube.apply(namespace_object(namespace), *claims(namespace, source, artifacts))
    yield kube
    await kube.run("delete", "inferenceservices", "--all", "--wait=false")
    await kube.run("delete", "modelbuilds", "--all", "--wait=false")
    await kube.run("delete", "deployments", "--all", "--wait=true")
    await kube.run("delete", "pods", "--all", "--grace-period=1")
    await kube.run("delete", "namespace", namespace, "--wait=false")
    volumes = [f"{claim}-{namespace}" for claim in (MODELS, ARTIFACTS)]
    await kube.run("delete", "persistentvolume", *volumes, "--wait=false")


@pytest.fixture(scope="session")
def system() -> Kube:
    """Where the operator runs."""
    return Kube(SYSTEM)


class Digits:
    """The digits model: its inputs, its right answers, and load made of them."""

    def __init__(self, models: Path) -> None:
        self.inputs = model_inputs(models / "digits-test.npz")
        self.labels = arrays(models / "digits-test.npz")["labels"]
        self.scores = arrays(models / "digits-expected.npz")

    @staticmethod
    def target(kube: Kube, service: str, protocol: str) -> Target:
        host, port = (service, 8000) if protocol == "http" else (f"{service}-headless", 8001)
        return Target(service, f"{host}.{kube.namespace}.svc.cluster.local:{port}", protocol)

    async def accuracy(self, kube: Kube, service: str, protocol: str) -> float:
        scores = await answers(self.target(kube, service, protocol), self.inputs, 20)
        return float((scores.argmax(1) == self.labels).mean())

    async def version(self, kube: Kube, service: str) -> str:
        """Which of the trained networks answers."""
        few = {name: array[:4] for name, array in self.inputs.items()}
        got = await answers(self.target(kube, service, "http"), few, 4)
        (name,) = [
            n for n, scores in self.scores.items() if np.allclose(got, scores[:4], atol=1e-3, rtol=1e-3)
        ]
        return name

    def load(self, kube: Kube, service: str, protocol: str, rate: float, near: float = math.inf) -> Load:
        return Load(self.target(kube, service, protocol), self.inputs, self.scores, rate=rate, near=near)


@pytest.fixture(scope="session")
def digits(models: Path) -> Digits:
    return Digits(models)


def service_manifest(name: str, *, replicas: int = 1, example: str = "digits", **model: Any) -> Object:
    """The example under another name, with other fields of spec.model."""
    made: Object = yaml.safe_load((ROOT / "examples" / f"{example}.yaml").read_text())
    made["metadata"]["name"] = name
    made["spec"]["model"].update(model)
    made["spec"]["scaling"]["replicas"] = replicas
    return made


@pytest.fixture(scope="session")
def manifest() -> Any:
    return service_manifest


async def leader(system: Kube) -> str:
    """The operator's pod that holds the Lease."""
    holder: list[str] = []

    async def look() -> tuple[bool, str]:
        lease = await system.get("lease", "seawall-operator") or {}
        holder[:] = [(lease.get("spec") or {}).get("holderIdentity") or ""]
        return await system.get("pod", holder[0]) is not None if holder[0] else False, f"holder {holder}"

    await wait_for(look, "one of the operators to hold the lease", 60)
    return holder[0]


def kill_operator(pod: str) -> int:
    """SIGKILL to the operator's process in that pod, found by the name that the pod gave it."""
    mark = f"SEAWALL_POD_NAME={pod}".encode()
    killed = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), 9)
                killed += 1
        except (OSError, ProcessLookupError):
            continue
    return killed


@pytest.fixture(scope="session")
def operator(system: Kube) -> Any:
    class Operator:
        async def leader(self) -> str:
            return await leader(system)

        def kill(self, pod: str) -> None:
            assert kill_operator(pod), f"no process of pod {pod} found"

        async def steady(self) -> None:
            async def look() -> tuple[bool, str]:
                made = await system.get("deployment", "seawall") or {}
                ready = (made.get("status") or {}).get("readyReplicas", 0)
                return ready == made["spec"]["replicas"], f"{ready} ready"

            await wait_for(look, "all operators to be ready", 120)

    return Operator()
