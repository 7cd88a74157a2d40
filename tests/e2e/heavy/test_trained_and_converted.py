"""Models that need the training image: PyTorch programs and TFLite files, and presets that fine-tune.

`make test-models` runs these; the image alone is gigabytes, so they are no part of `make test`.
"""

import json
import os
import subprocess
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from load import Target, answers

from support.served_builds import DIGITS_DATA, build_of, compressed

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).resolve().parents[3]
TRAINED = {**DIGITS_DATA, "training": {"data": "pvc://models/digits-train.npz"}}
SECONDS = 600

TFLITE = """
    import sys
    import numpy as np
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    tf.keras.utils.set_random_seed(1)
    out, (train, test) = sys.argv[1], (np.load(path) for path in sys.argv[2:])
    move = lambda data: np.moveaxis(data["image"], 1, 3)
    layers = tf.keras.layers
    model = tf.keras.Sequential([
        layers.Input((8, 8, 1), name="image"), layers.Conv2D(32, 3, activation="relu", padding="same"),
        layers.Conv2D(32, 3, activation="relu", padding="same"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(64, activation="relu"), layers.Dense(10)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(move(train), train["labels"], epochs=15, batch_size=64, verbose=0)
    model.export(out + "/saved")
    made = tf.lite.TFLiteConverter.from_saved_model(out + "/saved").convert()
    open(out + "/digits.tflite", "wb").write(made)
    running = Interpreter(model_content=made).get_signature_runner()
    given = np.concatenate([running(image=image[None])["output_0"] for image in move(test)])
    for name, data in (("train", train), ("test", test)):
        np.savez(f"{out}/tflite-{name}.npz", image=move(data), labels=data["labels"])
    np.savez(out + "/tflite-expected.npz", given)
"""


@pytest.fixture(scope="module")
def tflite(source: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The answers of a network that TensorFlow trained here, whose file now lies in the claim."""
    python = subprocess.run(
        [str(ROOT / "tools" / "convert-env")], check=True, capture_output=True, text=True
    ).stdout.strip()
    folder = tmp_path_factory.mktemp("tflite")
    data = [str(source / f"digits-{name}.npz") for name in ("train", "test")]
    subprocess.run(
        [python, "-c", textwrap.dedent(TFLITE), str(folder), *data],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3", "HOME": str(folder)},
    )
    for name in ("digits.tflite", "tflite-train.npz", "tflite-test.npz"):
        (source / name).write_bytes((folder / name).read_bytes())
    with np.load(folder / "tflite-expected.npz") as stored:
        return np.asarray(stored["arr_0"])


def write_down(figures: dict[str, Any]) -> None:
    if file := os.environ.get("SEAWALL_FIGURES"):
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(figures) + "\n")


async def served(kube: Any, service: dict[str, Any]) -> dict[str, Any]:
    """The result of its build, once it is Ready; written down where $SEAWALL_FIGURES names a file."""
    name = service["metadata"]["name"]
    await kube.apply(service)
    await kube.wait_ready(name, SECONDS)
    await kube.wait_settled(name)
    build = await build_of(kube, name)
    write_down({"service": name, "status": build["status"]})
    return dict(build["status"]["result"])


def agreement(scores: np.ndarray, original: np.ndarray) -> float:
    return float((scores.argmax(1) == original.argmax(1)).mean())


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def room(kube: Any) -> AsyncIterator[None]:
    """A build needs a core; no service stays that would hold it."""
    yield
    await kube.run("delete", "inferenceservices", "--all", "--wait=false")


@pytest.mark.parametrize("preset", ["none", "int8"])
async def test_a_pytorch_program(kube: Any, digits: Any, manifest: Any, preset: str) -> None:
    name = f"torch-{preset}"
    service = manifest(name, uri="pvc://models/digits-v1.pt2", format="torch")
    if preset != "none":
        service = compressed(service, preset)
    result = await served(kube, service)
    original = digits.scores["digits-v1"]
    for protocol in ("http", "grpc"):
        scores = await answers(digits.target(kube, name, protocol), digits.inputs, 20)
        if preset == "none":
            np.testing.assert_allclose(scores, original, atol=1e-4, rtol=1e-4)
        assert agreement(scores, original) >= 0.98
    assert preset == "none" or float(result["compressionRatio"]) >= 1 / 0.27


async def test_a_tflite_model(kube: Any, digits: Any, manifest: Any, tflite: np.ndarray) -> None:
    data = {
        "calibration": "pvc://models/tflite-train.npz",
        "accuracy": {"metric": "top1", "floor": "0.98", "evaluation": "pvc://models/tflite-test.npz"},
    }
    await served(kube, compressed(manifest("tflite", uri="pvc://models/digits.tflite"), data=data))
    inputs = {"image": np.moveaxis(digits.inputs["image"], 1, 3)}
    target: Target = digits.target(kube, "tflite", "http")
    scores = await answers(target, inputs, 20)
    assert agreement(scores, tflite) >= 0.98
    assert (scores.argmax(1) == digits.labels).mean() >= 0.95


@pytest.mark.parametrize(("preset", "ratio"), [("pruned", 1 / 0.27), ("pruned+int8", 10.0)])
async def test_a_pruned_model(kube: Any, digits: Any, manifest: Any, preset: str, ratio: float) -> None:
    name = preset.replace("+", "-")
    result = await served(kube, compressed(manifest(name), preset, TRAINED))
    assert float(result["compressionRatio"]) >= ratio
    assert float(result["accuracy"]["drop"]["drop"]) <= 1.0
    scores = await answers(digits.target(kube, name, "grpc"), digits.inputs, 20)
    right = (digits.scores["digits-v1"].argmax(1) == digits.labels).mean()
    assert (scores.argmax(1) == digits.labels).mean() >= right - 0.01
