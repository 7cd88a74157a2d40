"""What an administrator switches on for everybody: signed artefacts, and the nodes' model cache.

Both are values of the chart, so this module upgrades the release and rolls it back at its end.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from demo_kube import wait_for

from support.served_builds import build_of, compressed

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

CHART = Path(__file__).resolve().parents[2] / "charts" / "seawall"
SYSTEM = "seawall-system"
CACHE = "/var/lib/seawall-e2e/models"
"""in the cluster's own mounts, gone with it"""
FROM_CACHE = "taken from the node's cache"


async def helm(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "helm", *words, "--namespace", SYSTEM, "--wait", "--timeout", "2m",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unsigned(kube: Any, manifest: Any) -> str:
    """The revision of `before`, which serves what was built and published without a signature."""
    await kube.run(
        "label", "namespace", kube.namespace, "pod-security.kubernetes.io/enforce=privileged", "--overwrite"
    )
    await kube.apply(compressed(manifest("before")))
    await kube.wait_ready("before", 180)
    return str(await kube.wait_settled("before"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    kube: Any, operator: Any, unsigned: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[None]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    file = tmp_path_factory.mktemp("keys") / "key.pub"
    file.write_bytes(public)
    await kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "signing", "namespace": kube.namespace},
            "stringData": {"key.pem": private.decode()},
        }
    )
    values = {"artifacts.signingSecret": "signing", "modelCache.hostPath": CACHE, "modelCache.size": "1Gi"}
    sets = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    keys = ("--set-file", f"artifacts.publicKeys[0]={file}")
    await helm("upgrade", "seawall", str(CHART), "--reuse-values", *sets, *keys)
    yield
    await helm("rollback", "seawall")
    await operator.steady()


async def test_an_unsigned_artefact_is_not_loaded_again_and_serves_on_where_it_is(
    kube: Any, digits: Any, unsigned: str, guarded: None
) -> None:
    said = await kube.wait_condition("before", "ModelReady", "False", "SignatureMissing")
    assert "sign" in said["message"]
    assert (await kube.status("before"))["rollout"]["stableRevision"] == unsigned
    assert (await kube.condition("before", "Ready"))["status"] == "True"
    assert await digits.accuracy(kube, "before", "http") >= 0.98
    await kube.delete("inferenceservice", "before", wait=True)


async def test_a_signed_artefact_is_served(
    kube: Any, digits: Any, manifest: Any, artifacts: Path, guarded: None
) -> None:
    await kube.apply(compressed(manifest("signed", uri="pvc://models/digits-v2.onnx")))
    await kube.wait_ready("signed", 180)
    uri = (await build_of(kube, "signed"))["status"]["artifact"]["uri"]
    envelope = artifacts / uri.removeprefix("pvc://artifacts/") / "manifest.dsse.json"
    assert json.loads(envelope.read_text())["signatures"]
    assert await digits.accuracy(kube, "signed", "grpc") >= 0.98


async def files(kube: Any, pod: str, message: str) -> set[str]:
    """The files of which the fetch container of this pod said so."""
    lines = (await kube.run("logs", pod, "--container=fetch")).splitlines()
    said = [json.loads(line) for line in lines if line.startswith("{")]
    return {each["file"] for each in said if each["message"] == message and "file" in each}


@pytest.mark.parametrize("built", [False, True], ids=["as it comes", "built"])
async def test_a_second_pod_on_the_node_fetches_nothing(
    kube: Any, digits: Any, manifest: Any, source: Path, guarded: None, built: bool
) -> None:
    if built:
        name = "signed"
    else:
        name, digest = "plain", hashlib.sha256((source / "digits-v1.onnx").read_bytes()).hexdigest()
        await kube.apply(manifest(name, sha256=digest))
        await kube.wait_ready(name)
    (first,) = await kube.children("pod", name)
    assert not await files(kube, first["metadata"]["name"], FROM_CACHE)
    await kube.run("scale", "inferenceservice", name, "--replicas=2")

    async def second() -> tuple[bool, str]:
        pods = await kube.children("pod", name)
        return len(pods) == 2, f"{len(pods)} pods"

    await wait_for(second, "a second pod", 60)
    await kube.wait_settled(name)
    pods = [each["metadata"]["name"] for each in await kube.children("pod", name)]
    (other,) = [each for each in pods if each != first["metadata"]["name"]]
    assert ("model.onnx" if built else "digits-v1.onnx") in await files(kube, other, FROM_CACHE)
    # Where signatures are demanded, the envelope is read from the store.
    assert await files(kube, other, "fetched") == ({"manifest.dsse.json"} if built else set())
    assert await digits.accuracy(kube, name, "http") >= 0.98
