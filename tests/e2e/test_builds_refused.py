"""What cannot be built, or was changed after it was built: one sentence, and the old revision serves on."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from demo_kube import wait_for
from load import answers

from support.served_builds import build_of, compressed

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

Arrays = dict[str, np.ndarray]


def with_nan(data: Arrays) -> Arrays:
    data["image"][7, 0, 3, 3] = np.nan
    return data


def of_another_shape(data: Arrays) -> Arrays:
    return {**data, "image": data["image"][:, :, :7]}


def three_samples(data: Arrays) -> Arrays:
    return {name: array[:3] for name, array in data.items()}


@dataclass(frozen=True)
class Bad:
    """An edit that cannot be built, and what must be said about it."""

    reason: str
    words: str
    preset: str = "int8"
    model: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    evaluation: Callable[[Arrays], Arrays] | None = None
    calibration: Callable[[Arrays], Arrays] | None = None


EDITS = {
    "a floor that int4 cannot keep": Bad(
        "AccuracyBelowFloor", "floor", "int4", accuracy={"metric": "cosine", "floor": "0.99999"}
    ),
    "evaluation data with NaN": Bad("InvalidData", "NaN", evaluation=with_nan),
    "evaluation data of another shape": Bad("InvalidData", "image", evaluation=of_another_shape),
    "calibration data of three samples": Bad("TooFewSamples", "3", calibration=three_samples),
    "a digest that the file has not": Bad("DigestMismatch", "SHA-256", model={"sha256": "0" * 64}),
    "a truncated model": Bad("InvalidModel", "", model={"uri": "pvc://models/half.onnx", "sha256": None}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stable(kube: Any, manifest: Any, source: Path, digits: Any) -> tuple[str, np.ndarray]:
    """The revision that serves int8, and its answers."""
    whole = (source / "digits-v1.onnx").read_bytes()
    (source / "half.onnx").write_bytes(whole[: len(whole) // 2])
    await kube.apply(compressed(manifest("digits")))
    await kube.wait_ready("digits", 180)
    revision = await kube.wait_settled("digits")
    return revision, await answers(digits.target(kube, "digits", "http"), digits.inputs, 20)


def changed(service: dict[str, Any], case: str, source: Path) -> dict[str, Any]:
    bad = EDITS[case]
    service = compressed(service, bad.preset)
    service["spec"]["model"].update(bad.model)
    if service["spec"]["model"].get("sha256", "") is None:
        del service["spec"]["model"]["sha256"]
    wanted = service["spec"]["compression"]
    wanted["accuracy"].update(bad.accuracy)
    for change, file, place in (
        (bad.evaluation, "digits-test.npz", wanted["accuracy"]),
        (bad.calibration, "digits-train.npz", wanted),
    ):
        if change is not None:
            with np.load(source / file) as stored:
                data = change({name: stored[name] for name in stored.files})
            name = f"{case.replace(' ', '-')}.npz"
            np.savez(source / name, **data)
            place["evaluation" if place is not wanted else "calibration"] = f"pvc://models/{name}"
    return service


@pytest.mark.parametrize("case", EDITS)
async def test_what_cannot_be_built_is_explained_and_changes_nothing(
    kube: Any, manifest: Any, source: Path, artifacts: Path, digits: Any, stable: Any, case: str
) -> None:
    bad, (revision, given) = EDITS[case], stable
    await kube.put(changed(manifest("digits"), case, source))
    said = await kube.wait_condition("digits", "ModelReady", "False", bad.reason, seconds=90)
    assert bad.words in said["message"]
    assert "\n" not in said["message"]
    assert "Traceback" not in said["message"]
    assert (await kube.condition("digits", "Ready"))["status"] == "True"
    assert (await kube.status("digits"))["rollout"]["stableRevision"] == revision
    got = await answers(digits.target(kube, "digits", "grpc"), digits.inputs, 20)
    np.testing.assert_allclose(got, given, atol=1e-5)
    assert published(artifacts) == 1


def published(artifacts: Path) -> int:
    """Everything below the store that is no result of a stage, unfinished leftovers included."""
    return sum(each.name != "stages" for each in (artifacts / "builds").iterdir())


async def test_a_changed_artefact_is_not_served(
    kube: Any, manifest: Any, artifacts: Path, digits: Any, stable: Any
) -> None:
    await kube.put(compressed(manifest("digits")))
    await kube.wait_condition("digits", "ModelReady", "True")
    uri = (await build_of(kube, "digits"))["status"]["artifact"]["uri"]
    model = artifacts / uri.removeprefix("pvc://artifacts/") / "model.onnx"
    digest = sha256(model)
    flip_last_byte(model)
    try:
        await replace_pod(kube)
        said = await kube.wait_condition("digits", "ModelReady", "False", "ArtifactDigestMismatch")
        assert "model.onnx" in said["message"]
        assert (await kube.condition("digits", "Ready"))["status"] == "False"
    finally:
        flip_last_byte(model)
    assert sha256(model) == digest
    await replace_pod(kube)
    await kube.wait_ready("digits")
    got = await answers(digits.target(kube, "digits", "http"), digits.inputs, 20)
    np.testing.assert_allclose(got, stable[1], atol=1e-5)


async def replace_pod(kube: Any) -> None:
    (pod,) = await kube.children("pod", "digits")
    await kube.run("delete", "pod", pod["metadata"]["name"], "--grace-period=1", "--wait=true")

    async def another() -> tuple[bool, str]:
        names = [each["metadata"]["name"] for each in await kube.children("pod", "digits")]
        return bool(names) and pod["metadata"]["name"] not in names, f"pods {names}"

    await wait_for(another, "another pod", 60)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip_last_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 0xFF]))
